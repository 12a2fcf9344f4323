//! Worlds: their kinds, what runs in which, how they are made, and the frame of each.

mod bootstrap;
mod connect_override;
mod drivers;
mod embedded;
mod exit_signal;
mod filter;
mod frame;
mod kind;
mod thin_client;
mod worlds;

pub use bootstrap::{ClientServerBootstrap, MAX_THIN_CLIENTS, run_in_real_time};
pub use connect_override::{CONNECT_ARGUMENT, CONNECT_VARIABLE};
#[cfg(feature = "quic")]
pub use drivers::{DefaultDrivers, ServerIdentity};
pub use drivers::{DriverConstructionError, DriverConstructor, DriverContext, InProcessDrivers};
pub use embedded::{EmbeddedClient, EmbeddedWorlds};
pub use exit_signal::ExitSignal;
pub use filter::{AddSystemsIn, describe_frame};
pub use frame::{FrameClock, shift_predict_target};
pub(crate) use frame::{mirror_time, resolved_rate, rotate_messages};
pub use kind::{WorldFlags, WorldKind, is_client, is_host, is_server, is_thin_client, kind_of};
pub use thin_client::ThinClients;
pub use worlds::{NetWorld, PlayType, WorldError, WorldId, WorldOrder, Worlds, WorldsOverview};
