//! The QUIC driver: quinn-proto's state machine over any datagram socket, encrypted, told the time, never waiting.
//! `driver.rs` is the face; `port.rs` is one socket with its endpoint (`receive.rs` its way in), `link.rs` one connection
//! on it (`send.rs` its way out).
//!
//! On the way out: `send` puts messages into a link; `flush` asks the link's `budget.rs` (at a rate set by `brakes.rs`) what may leave, cuts datagrams
//! (`fragment.rs`) and frames reliable messages (`frame.rs`), and lets QUIC make packets of them for the socket. On the
//! way in: `poll` takes packets from the socket, QUIC opens them, and links read messages out of them as events.
//!
//! Trust is in `trust.rs` (whom a client believes) and `identity.rs` (who a server is); names are looked up in
//! `resolve.rs`; every limit of quinn-proto is set in `config.rs` from [`limits`](crate::limits).

mod brakes;
mod budget;
mod cause;
mod clock;
mod config;
mod congestion;
mod connecting;
mod connection_id;
mod crypto;
mod driver;
mod fragment;
mod frame;
mod identity;
mod link;
mod port;
mod receive;
mod resolve;
mod send;
mod settings;
mod socket;
mod trust;

pub(crate) use crypto::sha256;
pub use driver::QuicDriver;
pub use identity::{Identity, IdentityError};
pub use resolve::{Answer, Resolver, SystemResolver};
pub use settings::{QuicDriverError, QuicSettings};
pub use socket::{
    DatagramSocket, ImpairedNetwork, ImpairedSocket, Incoming, Outgoing, RecordedPacket, SimulatedHost,
    SimulatedNetwork, SimulatedSocket, UdpNetwork, UdpSocket, lan_ip,
};
pub use trust::{Authorities, AuthoritiesError, Trust};
