//! A fleet of ghostline worlds under virtual time, with checkers that know the truth: what ghostline is tested with, and what games
//! can test their own rules with.
//!
//! Worlds talk over the in-process link, exact to the tick, or over QUIC on a simulated network ([`Transport`]): the whole stack that players
//! use but the socket. Both repeat exactly from a seed.
//!
//! A [`Fleet`] holds a server and any number of clients, ticks them together or one by one, cuts and listens to their links, and fails the test
//! on an unexpected warning or a broken invariant.

mod builder;
mod checks;
mod fleet;
mod fleet_world;
mod link;
mod logs;
mod network;
mod tap;

pub use builder::FleetBuilder;
pub use fleet::{FLEET_PORT, FRAME, Fleet};
pub use fleet_world::FleetWorld;
pub use ghostline::transport::{
    Direction, DriverSettings, LinkConditions, LinkProfile, LinkStats, Loss, Pipeline, Recorded, RecordedPacket,
};
pub use ghostline::wire::MessageKind;
pub use ghostline::world::WorldOrder;
pub use link::Link;
pub use logs::{LogLine, Logs};
pub use network::Transport;
