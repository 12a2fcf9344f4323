//! What a game says and asks about snapshots: how much a server sends, and how much of it a client has. Known in every build, so that a game's
//! plugin compiles for each side.

use bevy_ecs::prelude::{Component, Resource};

/// How much is sent in snapshots, and what is left out when not everything fits. A resource of server worlds.
#[derive(Resource, Clone, Copy, PartialEq, Eq, Debug)]
pub struct GhostSendSystemData {
    /// Bytes of snapshots per client and network tick; 0 (the default): one datagram. At least [`MIN_SNAPSHOT_BYTES`].
    pub default_snapshot_packet_size: usize,
    /// Ghosts whose importance × ticks since they were sent is below this wait, except for the first time. Default 0.
    pub min_send_importance: u32,
    /// How much more urgent than any other a ghost is that a client never had: by so many times what was needed last to be sent at all. 0: as
    /// urgent as others. Default 1.
    pub first_send_importance_multiplier: u32,
    /// No row is predicted from more than one earlier one, whatever the prefabs say. Default: off.
    pub force_single_baseline: bool,
    /// Bytes of past rows that the server keeps as clients' baselines. Beyond it the slowest client gets whole rows instead of differences.
    /// Default 64 MiB.
    pub max_history_bytes: usize,
}

impl Default for GhostSendSystemData {
    fn default() -> Self {
        Self {
            default_snapshot_packet_size: 0,
            min_send_importance: 0,
            first_send_importance_multiplier: 1,
            force_single_baseline: false,
            max_history_bytes: 64 << 20,
        }
    }
}

/// Bytes of snapshots per network tick for this connection, instead of the default. Set by the game on the server.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetworkStreamSnapshotTargetSize {
    /// Bytes; at least [`MIN_SNAPSHOT_BYTES`].
    pub value: usize,
}

/// The least that can be asked of a snapshot per tick, in bytes.
pub const MIN_SNAPSHOT_BYTES: usize = 100;
/// How many ghosts there are, for progress bars. A resource of client worlds.
#[derive(Resource, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GhostCount {
    /// Ghosts on the server that are relevant to this client.
    pub on_server: u32,
    /// Ghosts whose state this client has received.
    pub received: u32,
    /// Ghosts that have an entity in this world.
    pub instantiated: u32,
}
