//! Worlds: their kinds, what runs in which, how they are made, and the frame of each.

mod bootstrap;
#[cfg(feature = "client")]
mod client_frame;
mod config;
mod connect_override;
mod creators;
mod describe;
mod drivers;
#[cfg(feature = "client")]
mod embedded;
mod exit_signal;
mod filter;
mod flavour;
mod frame;
mod kind;
mod messages;
mod migration;
mod net_world;
mod parallel;
mod play_type;
mod prepared;
mod program_options;
mod runner;
mod stalls;
mod taken;
mod thin_client;
mod world_commands;
mod world_error;
mod worlds;

pub use bootstrap::{ClientServerBootstrap, Initialized, MAX_THIN_CLIENTS, ScheduleExecutor};
#[cfg(feature = "client")]
pub use client_frame::shift_predict_target;
pub use config::{AutomaticBootstrap, ConfigError, NetCodeConfig};
pub use connect_override::{CONNECT_ARGUMENT, CONNECT_VARIABLE};
pub use describe::{build_schedules, describe_frame};
#[cfg(feature = "quic")]
pub use drivers::{DefaultDrivers, ServerIdentity};
pub use drivers::{DriverConstructionError, DriverConstructor, DriverContext, InProcessDrivers};
#[cfg(feature = "client")]
pub use embedded::{EmbeddedClient, EmbeddedWorlds, RunEmbeddedWorlds};
pub use exit_signal::ExitSignal;
pub use filter::AddSystemsIn;
pub use flavour::{BUILD_FLAVOUR, BuildFlavour};
pub use frame::FrameClock;
pub(crate) use frame::{mirror_time, resolved_rate};
pub use kind::{WorldFlags, WorldKind, is_client, is_host, is_server, is_thin_client, kind_of};
pub(crate) use messages::rotate_messages;
pub use migration::{MigrationAppExt, MigrationError, MigrationTicket, WorldMigration};
pub(crate) use migration::{MoveComponent, move_component};
pub use net_world::{NetWorld, WorldId};
pub use play_type::{PLAY_TYPE_ARGUMENT, PLAY_TYPE_VARIABLE, PlayType, UnknownPlayType};
pub use prepared::PreparedWorld;
pub use runner::run_in_real_time;
pub(crate) use taken::with_taken;
pub use thin_client::ThinClients;
pub use world_commands::{MAX_WORLD_COMMANDS, WorldCommands};
pub use world_error::WorldError;
pub use worlds::{DEFAULT_WORLD_NAME, WorldOrder, Worlds, WorldsOverview};
