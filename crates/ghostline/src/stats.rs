//! Plain counters of a world: the one source for every tool and test.

use bevy_ecs::prelude::Resource;

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
    /// Snapshot packets received (client).
    pub received_snapshot_packets: u64,
    /// Command packets received (server).
    pub received_command_packets: u64,
    /// Messages that could not be read, in whole or in part.
    pub invalid_messages: u64,
    /// Messages dropped because a buffer was full.
    pub dropped_messages: u64,
    /// Rows encoded for clients (server).
    pub encoded_rows: u64,
    /// Of them, rows against no baseline.
    pub absolute_rows: u64,
    /// Bits of rows.
    pub row_bits: u64,
    /// Rows decoded (client).
    pub decoded_rows: u64,
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
