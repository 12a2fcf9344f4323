//! Plain counters of a world: the one source for every tool and test.

#[cfg(feature = "server")]
mod bits;
mod snapshot;

use bevy_ecs::prelude::Resource;

#[cfg(feature = "server")]
pub use bits::{ComponentBits, GhostTypeBits, SnapshotBits};
pub use snapshot::{SnapshotConnectionStats, SnapshotPacketLossStatistics};

/// What a world has sent, received and refused since it was made. Bytes are the library's payload, without the transport's overhead.
#[derive(Resource, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NetworkStats {
    /// Bytes handed to the transport.
    pub sent_bytes: u64,
    /// Bytes received from the transport.
    pub received_bytes: u64,
    /// Snapshot packets sent (server).
    pub sent_snapshot_packets: u64,
    /// Bytes of them.
    pub sent_snapshot_bytes: u64,
    /// Command packets sent (client).
    pub sent_command_packets: u64,
    /// RPC packets sent; several RPCs share one.
    pub sent_rpc_packets: u64,
    /// Packets of unreliable RPCs sent.
    pub sent_unreliable_rpc_packets: u64,
    /// Packets of unreliable RPCs that came twice or too late to tell, and were ignored.
    pub repeated_rpc_packets: u64,
    /// Snapshot packets received (client).
    pub received_snapshot_packets: u64,
    /// Command packets received (server).
    pub received_command_packets: u64,
    /// Messages that could not be read, in whole or in part.
    pub invalid_messages: u64,
    /// Messages dropped because a buffer was full.
    pub dropped_messages: u64,
    /// Rows of ghosts sent to clients (server).
    pub sent_rows: u64,
    /// Rows that were encoded for that (server); the others were copied from what was encoded for another client.
    pub encoded_rows: u64,
    /// Rows sent against no baseline.
    pub absolute_rows: u64,
    /// Bits of rows sent.
    pub row_bits: u64,
    /// Baselines of slow clients that were given up because past rows took too much memory (server).
    pub dropped_baselines: u64,
    /// Rows decoded (client).
    pub decoded_rows: u64,
    /// Snapshot packets that came so late that what they build on was forgotten (client); they count as lost.
    pub overtaken_snapshot_packets: u64,
    /// Commands stored for the game (server).
    pub stored_commands: u64,
    /// Commands whose tick had been simulated already (server).
    pub late_commands: u64,
    /// Acknowledgements of packets that were never sent (server).
    pub bad_acks: u64,
    /// Fresh starts: a client's state was unusable and is sent anew.
    pub fresh_starts: u64,
    /// Values that were not a number when they were quantised.
    pub quantised_nan: u64,
    /// Values beyond what their quantisation can hold.
    pub quantised_saturated: u64,
}

/// How a client's predictions fare. A resource of client worlds; everything counts from the world's first frame on.
#[derive(Resource, Clone, PartialEq, Debug, Default)]
pub struct PredictionStats {
    /// States of the server that were compared with what was predicted for their tick.
    pub comparisons: u64,
    /// Of them, those that agreed only because a quantum of a rounded float is forgiven.
    pub forgiven: u64,
    /// Of them, those that disagreed.
    pub mispredictions: u64,
    /// States of the server of a past tick that prediction has no state of, as after merged steps.
    pub unknown: u64,
    /// Disagreeing or unknown states that lay too far back to be replayed.
    pub too_old: u64,
    /// Ghosts that were put back to a past tick, those that went along with others included.
    pub rollbacks: u64,
    /// Ghosts that were corrected at a later tick than the one they went back to together with others.
    pub corrected_on_the_way: u64,
    /// Full ticks that were simulated for the first time.
    pub first_time_ticks: u64,
    /// Full ticks that were simulated again.
    pub resimulated_ticks: u64,
    /// The cause of the last misprediction: its place in [`causes`](Self::causes).
    pub last_cause: Option<usize>,
    /// Mispredictions by the component of the first field that was wrong: every component of every ghost type.
    pub causes: Vec<RollbackCause>,
    /// How far predictions were off: every field of every ghost type.
    pub errors: Vec<FieldPredictionError>,
}

/// Mispredictions that began with one component.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RollbackCause {
    /// Name of the ghost type.
    pub ghost_type: String,
    /// Name of the component.
    pub component: String,
    /// How many.
    pub count: u64,
}

impl RollbackCause {
    #[cfg(feature = "client")]
    pub(crate) fn new(ghost_type: &str, component: &str) -> Self {
        Self { ghost_type: ghost_type.to_owned(), component: component.to_owned(), count: 0 }
    }
}

/// How far the predictions of one field were off when they were corrected: of numbers the difference, of vectors the length of the
/// difference, of rotations the angle in radians.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FieldPredictionError {
    /// Name of the ghost type.
    pub ghost_type: String,
    /// `Component.field`.
    pub field: String,
    /// Of the last correction.
    pub last: f32,
    /// The largest.
    pub max: f32,
    /// All together; with [`count`](Self::count) the mean.
    pub sum: f64,
    /// How many.
    pub count: u64,
}

impl FieldPredictionError {
    #[cfg(feature = "client")]
    pub(crate) fn new(ghost_type: &str, component: &str, field: &str) -> Self {
        Self { ghost_type: ghost_type.to_owned(), field: format!("{component}.{field}"), ..Self::default() }
    }

    #[cfg(feature = "client")]
    pub(crate) fn note(&mut self, distance: f32) {
        self.last = distance;
        self.max = self.max.max(distance);
        self.sum += f64::from(distance);
        self.count += 1;
    }
}
