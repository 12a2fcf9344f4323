//! Datagrams and reliable messages between the endpoints of ghostline: the driver trait, the store of drivers, the
//! in-process driver, the QUIC driver and a network simulator. Bytes and the time come from the caller above; bytes leave as
//! [`DriverEvent`]s. Nothing here knows entities, ghosts, a wall clock or threads.
//!
//! The whole surface of a transport is the [`Driver`] trait: `listen`, `connect`, `send`, `disconnect`, `poll`,
//! `flush`. Nothing blocks, and the same calls in the same order give the same events.
//!
//! ```
//! use std::time::Duration;
//! use ghostline_transport::{Driver, DriverEvent, InProcessNetwork, Pipeline};
//!
//! let network = InProcessNetwork::new();
//! let (mut server, mut client) = (network.driver(), network.driver());
//! let now = Duration::ZERO;
//! let address = server.listen("127.0.0.1:4242".parse()?)?;
//! let to_server = client.connect(address, now)?;
//! client.flush(now);
//! network.deliver();
//!
//! let mut events = Vec::new();
//! server.poll(now, &mut events);
//! let [DriverEvent::Accepted { connection }] = events[..] else { panic!("{events:?}") };
//! server.send(connection, Pipeline::ReliableOrdered, b"welcome")?;
//! server.flush(now);
//! network.deliver();
//!
//! events.clear();
//! client.poll(now, &mut events);
//! assert_eq!(events[0], DriverEvent::Connected { connection: to_server });
//! assert!(matches!(&events[1], DriverEvent::Received { bytes, .. } if bytes == b"welcome"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod address;
mod base64;
mod certificate_hash;
mod close;
mod driver;
mod error;
mod in_process;
pub mod limits;
mod patience;
#[cfg(feature = "quic")]
mod quic;
mod settings;
mod simulator;
mod slots;
mod statistics;
mod store;

pub use address::{ServerAddress, ServerAddressError, ServerHost};
pub use certificate_hash::{CertificateHash, InvalidCertificateHash};
pub use close::{CloseReason, DisconnectCause};
pub use driver::{Capabilities, Driver, DriverConnection, DriverEvent, Pipeline, TransportKind};
pub use error::{ConnectError, ListenError, SendError, SimulatorError, StoreError};
pub use in_process::{Direction, InProcessDriver, InProcessNetwork, InProcessStats, PoolStats, ProfileError, Recorded};
#[cfg(feature = "quic")]
pub use quic::{
    Answer, Authorities, AuthoritiesError, DatagramSocket, Identity, IdentityError, ImpairedNetwork, ImpairedSocket,
    Incoming, Outgoing, QuicDriver, QuicDriverError, QuicSettings, RecordedPacket, Resolver, SimulatedHost,
    SimulatedNetwork, SimulatedSocket, SystemResolver, Trust, UdpNetwork, UdpSocket, lan_ip,
};
pub use settings::{DriverSettings, InvalidSettings, SettingsError};
pub use simulator::{
    ConditionsError, Corruption, Delivery, DropCause, Dropped, InvalidConditions, InvalidProfile, LinkConditions,
    LinkProfile, LinkStats, Loss, SimulatedLink, presets,
};
pub use statistics::{ConnectionStatistics, DriverStatistics, UnreliableDrops};
pub use store::{ConnectionHandle, DriverId, DriverStore};
