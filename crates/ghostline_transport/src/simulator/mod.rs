//! A seeded network simulator: what a link does to packets, as a pure function of its conditions, a seed and the time.
//! Packets come in through `push` with the time; they leave through `pop_due`. No socket, no clock, no driver.
//!
//! [`LinkConditions`] say how bad one direction is and [`LinkProfile`] both (`conditions.rs`, `profile.rs`,
//! `presets.rs`); `model.rs` decides the fate of each packet; `link.rs` keeps those on their way. The in-process
//! network uses the model below its own queues, and [`SimulatedLink`] carries raw datagrams below a protocol.

mod conditions;
mod corruption;
mod link;
mod model;
pub mod presets;
mod profile;
mod queue;
mod random;

pub use conditions::{ConditionsError, InvalidConditions, LinkConditions, Loss};
pub use corruption::Corruption;
pub use link::{Delivery, Dropped, SimulatedLink};
pub use model::{DropCause, LinkStats};
pub use profile::{InvalidProfile, LinkProfile};

pub(crate) use model::{Arrival, Fate, LinkModel};
pub(crate) use queue::DueQueue;
pub(crate) use random::mix;
