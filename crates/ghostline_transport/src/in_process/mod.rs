//! The in-process transport: two queues per connection, between drivers of one [`InProcessNetwork`].
//! Drivers put parcels on their outbox (`driver.rs`); `deliver` moves them to the inboxes (`hub.rs`); drivers poll
//! (`receive.rs`).
//!
//! What a driver puts on the link becomes visible to the other side only after [`InProcessNetwork::deliver`], and
//! everything that drivers share changes only there. So worlds of one stage may run in any order, or in parallel, with
//! the same result. Links that are not perfect (`crossing.rs`, `link.rs`) keep to that: what happens on them is decided
//! in `deliver`, and a poll takes what has arrived by its own time. The one exception is the table of ports: of two
//! drivers that ask for the same port, the first one gets it.

mod connection;
mod crossing;
mod driver;
mod endpoint;
mod hub;
mod link;
mod network;
mod pool;
mod queue;
mod receive;

pub use driver::{InProcessDriver, InProcessStats};
pub use network::{InProcessNetwork, ProfileError, Recorded};
pub use pool::PoolStats;
pub use queue::Direction;
