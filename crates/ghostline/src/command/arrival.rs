//! What arrived of a client's commands, counted by the server: for tools, and for whoever tunes slack and redundancy.

use bevy_ecs::prelude::Component;
use ghostline_wire::NetworkTick;

/// What became of the commands of a block.
#[derive(Default, Clone, Copy)]
pub(super) struct StoreCounts {
    pub stored: u64,
    pub repeated: u64,
    pub late: u64,
    pub refused: u64,
}

impl StoreCounts {
    /// Commands, whatever became of them.
    pub(super) fn all(&self) -> u64 {
        self.stored + self.repeated + self.late + self.refused
    }
}

/// How a client's commands arrive. On the server's connection entities; everything counts from the connection's first command packet in the game on.
#[derive(Component, Clone, Copy, PartialEq, Debug, Default)]
pub struct CommandArrivalStatistics {
    /// Command packets, with or without commands.
    pub num_command_packets_arrived: u64,
    /// Commands in them, each as often as it came.
    pub num_commands_arrived: u64,
    /// Of these, the ones that were known already: what redundancy costs while nothing is lost.
    pub num_redundant_resends: u64,
    /// Of these, the ones that were new after their tick was simulated: they count for a later tick.
    pub num_arrived_too_late: u64,
    /// What a packet holds beside its header, in bits: a running average in which each packet counts an eighth.
    pub avg_command_payload_size_bits: f32,
    /// The packet that was sent last, as far as is known: when, by the client's clock, and for which tick.
    last_sent: Option<(u16, NetworkTick)>,
}

/// A packet that was sent at most so much before another one was overtaken by it. One that seems to be older yet is newer: the clock in packets has
/// wrapped meanwhile.
const LONGEST_OVERTAKING_MS: u16 = 2_000;

impl CommandArrivalStatistics {
    /// Commands per packet, on average over all packets.
    pub fn avg_commands_per_packet(&self) -> f64 {
        self.num_commands_arrived as f64 / self.num_command_packets_arrived.max(1) as f64
    }

    /// Counts a packet with so many bits behind its header.
    pub(super) fn note_packet(&mut self, payload_bits: usize) {
        /// Weight of a packet in the average.
        const WEIGHT: f32 = 1.0 / 8.0;
        let bits = payload_bits as f32;
        let average = &mut self.avg_command_payload_size_bits;
        *average = if self.num_command_packets_arrived == 0 { bits } else { *average + (bits - *average) * WEIGHT };
        self.num_command_packets_arrived += 1;
    }

    /// The tick of the packet that was sent last, this one taken into account. It may go back, when the client's clock was put back.
    pub(super) fn newest_target_tick(&mut self, sent_at_ms: u16, target: NetworkTick) -> NetworkTick {
        match self.last_sent {
            Some((newest, tick)) if (1..=LONGEST_OVERTAKING_MS).contains(&newest.wrapping_sub(sent_at_ms)) => tick,
            _ => {
                self.last_sent = Some((sent_at_ms, target));
                target
            }
        }
    }

    /// Counts the commands of a block.
    pub(super) fn note_commands(&mut self, counts: StoreCounts) {
        self.num_commands_arrived += counts.all();
        self.num_redundant_resends += counts.repeated;
        self.num_arrived_too_late += counts.late;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_sent_last_says_up_to_which_tick_commands_count() {
        let mut statistics = CommandArrivalStatistics::default();
        let mut after = |sent_at_ms, tick| statistics.newest_target_tick(sent_at_ms, NetworkTick::new(tick)).index();
        assert_eq!((after(65_500, 100), after(65_516, 101), after(0, 102)), (100, 101, 102));
        assert_eq!(after(65_520, 101), 102, "overtaken, over the wrap of the clock");
        assert_eq!((after(20, 40), after(0, 102)), (40, 40), "put back, and an older packet comes late");
        assert_eq!(after(20 + 40_000, 50), 50, "after a pause that is longer than half the clock");
    }

    #[test]
    fn payloads_are_averaged_and_commands_counted_by_their_fate() {
        let mut statistics = CommandArrivalStatistics::default();
        statistics.note_packet(80);
        statistics.note_commands(StoreCounts { stored: 1, ..StoreCounts::default() });
        statistics.note_packet(160);
        statistics.note_commands(StoreCounts { stored: 1, repeated: 3, late: 2, refused: 1 });
        assert_eq!(statistics.avg_command_payload_size_bits, 90.0);
        assert_eq!(
            (statistics.num_commands_arrived, statistics.num_redundant_resends, statistics.num_arrived_too_late),
            (8, 3, 2)
        );
        assert_eq!(statistics.avg_commands_per_packet(), 4.0);
    }
}
