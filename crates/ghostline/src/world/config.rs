//! The configuration of a program's worlds as one plain value: checked as a whole, and put into each world before the game's plugin is
//! built there. Whatever a game sets itself, in the bootstrap, in its plugin or while a world runs, is left alone.

use bevy_ecs::prelude::World;
use ghostline_transport::{DriverSettings, SettingsError};
use thiserror::Error;

use super::bootstrap::MAX_THIN_CLIENTS;
use super::kind::WorldKind;
use crate::snapshot::{GhostSendSystemData, MIN_SNAPSHOT_BYTES};
use crate::time::{ClientServerTickRate, ClientTickRate, ReplicateTickRate, TickRateError};

/// Whether a program makes its worlds by itself when it starts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum AutomaticBootstrap {
    /// The worlds of the play type are made, or those of the game's own initialisation.
    #[default]
    Enabled,
    /// One local world is made and nothing else: the game makes the others when it wants them.
    Disabled,
}

/// Everything that can be configured, in one value: `ClientServerBootstrap::config` takes it.
///
/// It fills what nobody else has set. A setting of the bootstrap ([`tick_rate`](super::ClientServerBootstrap::tick_rate), say) goes before it
/// in whatever order they are called; a resource that was in a world before, or that the game's plugin inserts, too.
///
/// ```
/// # use ghostline::prelude::*;
/// # use ghostline::world::NetCodeConfig;
/// # fn game(_: &mut bevy_app::App) {}
/// let config = NetCodeConfig {
///     client_server_tick_rate: ClientServerTickRate { simulation_tick_rate: 30, ..Default::default() },
///     ..Default::default()
/// };
/// # let alone = ghostline::world::InProcessDrivers::default();
/// let worlds = ClientServerBootstrap::new(game).drivers(alone).config(config).build()?;
/// let server = worlds.server_world().unwrap().world();
/// assert_eq!(server.resource::<ClientServerTickRate>().simulation_tick_rate, 30);
/// # Ok::<(), ghostline::world::WorldError>(())
/// ```
#[derive(Clone, PartialEq, Debug, Default)]
pub struct NetCodeConfig {
    /// Whether the program makes worlds when it starts. A game may decide otherwise:
    /// [`automatic_bootstrap`](super::ClientServerBootstrap::automatic_bootstrap).
    pub automatic_bootstrap: AutomaticBootstrap,
    /// The tick rates of server and local worlds. Clients learn them in the handshake.
    pub client_server_tick_rate: ClientServerTickRate,
    /// The time settings of client worlds.
    pub client_tick_rate: ClientTickRate,
    /// Whether a server tells its clients when it changes its tick rates later. See [`ReplicateTickRate`].
    pub replicate_tick_rate: bool,
    /// How much server worlds send in snapshots.
    pub ghost_send: GhostSendSystemData,
    /// The drivers that the bootstrap makes by itself. A [`DriverConstructor`](super::DriverConstructor) of the game's has settings of its own.
    pub drivers: DriverSettings,
}

/// A setting that is wrong. Prints as what it is, what it should be, and where it stands.
#[derive(Clone, PartialEq, Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A tick rate or time setting is out of range.
    #[error(transparent)]
    TickRate(#[from] TickRateError),
    /// A driver setting is out of range.
    #[error("NetCodeConfig::drivers: {0}")]
    Driver(#[from] SettingsError),
    /// What the game's own [`DriverConstructor`](super::DriverConstructor) says of its settings.
    #[error("drivers: {0}")]
    OfDrivers(String),
    /// Snapshots could hold next to nothing.
    #[error(
        "GhostSendSystemData::default_snapshot_packet_size is {bytes}, allowed is 0 (one datagram) or at least {MIN_SNAPSHOT_BYTES}"
    )]
    SnapshotTooSmall {
        /// What it is.
        bytes: usize,
    },
    /// More thin clients than one process may have.
    #[error("{count} thin clients are more than {MAX_THIN_CLIENTS}")]
    TooManyThinClients {
        /// What was asked for.
        count: u32,
    },
    /// Only one can have its way.
    #[error("`initialize` was called {0} times; a program has one initialisation, so put everything into one")]
    SeveralInitializations(u32),
    /// The main world of an application is a client, so nothing of a server alone could be embedded.
    #[error("an embedded main world is a client; use `ClientServerBootstrap::run` for a server alone")]
    ServerEmbedded,
}

impl NetCodeConfig {
    /// Everything that is wrong with it; empty if all is well.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut errors: Vec<ConfigError> = Vec::new();
        errors.extend(self.client_server_tick_rate.validate().into_iter().map(ConfigError::from));
        errors.extend(self.client_tick_rate.validate().into_iter().map(ConfigError::from));
        if let Err(invalid) = self.drivers.validate() {
            errors.extend(invalid.errors.into_iter().map(ConfigError::from));
        }
        let bytes = self.ghost_send.default_snapshot_packet_size;
        if bytes != 0 && bytes < MIN_SNAPSHOT_BYTES {
            errors.push(ConfigError::SnapshotTooSmall { bytes });
        }
        errors
    }

    /// Fills a new world with what it lacks.
    pub(super) fn apply(&self, world: &mut World, kind: WorldKind) {
        if !kind.is_client() {
            world.get_resource_or_insert_with(|| self.client_server_tick_rate.clone());
        }
        match kind {
            WorldKind::Server => {
                world.get_resource_or_insert_with(|| self.ghost_send);
                if self.replicate_tick_rate {
                    world.init_resource::<ReplicateTickRate>();
                }
            }
            WorldKind::Client | WorldKind::ThinClient => {
                world.get_resource_or_insert_with(|| self.client_tick_rate.clone());
            }
            WorldKind::Local => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_named_at_once() {
        let config = NetCodeConfig {
            client_server_tick_rate: ClientServerTickRate { snapshot_ack_mask_capacity: 100, ..Default::default() },
            client_tick_rate: ClientTickRate {
                max_predict_ahead_time_ms: 501,
                prediction_time_scale_min: 2.0,
                ..Default::default()
            },
            ghost_send: GhostSendSystemData { default_snapshot_packet_size: 99, ..GhostSendSystemData::default() },
            drivers: DriverSettings { connect_timeout_ms: 0, heartbeat_timeout_ms: 20_000, ..Default::default() },
            ..Default::default()
        };
        let texts: Vec<String> = config.validate().iter().map(ToString::to_string).collect();
        for named in [
            "snapshot_ack_mask_capacity is 100",
            "max_predict_ahead_time_ms is 501",
            "prediction_time_scale_min is 2",
            "connect_timeout_ms is 0",
            "heartbeat_timeout_ms (20000) must be below disconnect_timeout_ms",
            "default_snapshot_packet_size is 99",
        ] {
            assert_eq!(texts.iter().filter(|text| text.contains(named)).count(), 1, "{named} in {texts:?}");
        }
        assert_eq!(texts.len(), 6, "{texts:?}");
        assert_eq!(NetCodeConfig::default().validate(), []);
    }
}
