//! The QUIC driver: quinn-proto's state machine over any datagram socket, encrypted, told the time, never waiting.
//! `driver.rs` is the face; `port.rs` is one socket with its endpoint (`receive.rs` its way in), `link.rs` one connection
//! on it (`send.rs` its way out).
//!
//! On the way out: `send` puts messages into a link; `flush` asks the link's `budget.rs` what may leave, cuts datagrams
//! (`fragment.rs`) and frames reliable messages (`frame.rs`), and lets QUIC make packets of them for the socket. On the
//! way in: `poll` takes packets from the socket, QUIC opens them, and links read messages out of them as events.
//!
//! Trust is in `trust.rs` (whom a client believes), `identity.rs` (who a server is) and `join.rs` (how both get
//! together); every limit of quinn-proto is set in `config.rs` from [`limits`](crate::limits).

mod base64;
mod budget;
mod cause;
mod clock;
mod config;
mod congestion;
mod connection_id;
mod crypto;
mod driver;
mod fragment;
mod frame;
mod identity;
mod join;
mod link;
mod port;
mod receive;
mod send;
mod settings;
mod socket;
mod stats;
mod trust;

pub use driver::QuicDriver;
pub use identity::{Identity, IdentityError};
pub use join::{JoinString, JoinStringError};
pub use settings::{QuicDriverError, QuicSettings};
pub use socket::{
    DatagramSocket, ImpairedNetwork, ImpairedSocket, Incoming, Outgoing, RecordedPacket, SimulatedHost,
    SimulatedNetwork, SimulatedSocket, UdpNetwork, UdpSocket,
};
pub use stats::QuicStats;
pub use trust::{CertificateHash, InvalidCertificateHash, Trust};
