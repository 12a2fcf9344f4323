//! Counters of the snapshots of one connection: on the server what became of what it sent, on a client what became of what it should get.

use bevy_ecs::prelude::Component;
#[cfg(feature = "client")]
use ghostline_wire::Reception;
use std::ops::{Add, Sub};

/// The server's side of one connection's snapshots. On connection entities of server worlds; of the whole connection, unless it says otherwise.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SnapshotConnectionStats {
    /// Packets handed to the transport.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Packets that the client acknowledged.
    pub acknowledged: u64,
    /// Packets that are taken as lost: newer ones were acknowledged, and they were not.
    pub lost: u64,
    /// Packets that were taken as lost, and then acknowledged.
    pub reordered: u64,
    /// Rows sent.
    pub rows: u64,
    /// Of them, rows that stood for themselves, because the client had no baseline.
    pub absolute_rows: u64,
    /// Baselines that were given up because past rows took too much memory.
    pub dropped_baselines: u64,
    /// In the last snapshot: ghosts that the client lacked something of and that could have been sent.
    pub wanted_ghosts: u32,
    /// In the last snapshot: those of them that got no place in it.
    pub unsent_ghosts: u32,
    /// In the last snapshot: ticks since the most neglected of those was sent.
    pub oldest_unsent_ticks: u32,
    /// In the last snapshot: the ticks within which everything that was wanted can be sent once, weighed by importance.
    pub pressure_ticks: u32,
}

impl SnapshotConnectionStats {
    /// The ticks within which a ghost of this importance is sent as long as nothing more is wanted than in the last snapshot: the staleness
    /// that it never exceeds. It follows from the connection's rate, the sizes of rows and the importances of all that is wanted.
    pub fn staleness_bound_ticks(&self, importance: u32) -> u32 {
        // A quarter more for what is sent early with others of its chunk, and what packets leave empty; and the snapshot itself.
        let share = self.pressure_ticks.div_ceil(importance.max(1));
        share.saturating_add(share / 4).saturating_add(2)
    }
}

/// What became of the snapshot packets that a client should have got. On the connection entity of client worlds; the difference of two of them
/// is what became of those in between.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SnapshotPacketLossStatistics {
    /// Packets that arrived, each counted once.
    pub received: u64,
    /// Of them, those that were overtaken by newer ones.
    pub reordered: u64,
    /// Packets that arrived again.
    pub repeated: u64,
    /// Packets that never arrived, as far as is known: newer ones did.
    pub lost: u64,
}

impl SnapshotPacketLossStatistics {
    /// A packet arrived; if it is a new one, it is so many after the newest of those before it.
    #[cfg(feature = "client")]
    pub(crate) fn note(&mut self, ahead: u32, reception: Reception) {
        match reception {
            Reception::New => {
                self.received += 1;
                self.lost += u64::from(ahead.saturating_sub(1));
            }
            Reception::Late => {
                self.received += 1;
                self.reordered += 1;
                self.lost = self.lost.saturating_sub(1);
            }
            _ => self.repeated += 1,
        }
    }

    /// Packets that were sent, as far as is known.
    pub fn sent(&self) -> u64 {
        self.received + self.lost
    }

    /// The share of sent packets that never arrived, in percent.
    pub fn lost_percent(&self) -> f64 {
        percent(self.lost, self.sent())
    }

    /// The share of sent packets that were overtaken, in percent.
    pub fn reordered_percent(&self) -> f64 {
        percent(self.reordered, self.sent())
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

impl Add for SnapshotPacketLossStatistics {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            reordered: self.reordered + other.reordered,
            repeated: self.repeated + other.repeated,
            lost: self.lost + other.lost,
        }
    }
}

impl Sub for SnapshotPacketLossStatistics {
    type Output = Self;

    /// What happened after `other`. A packet that was missing then and came late counts as arrived.
    fn sub(self, other: Self) -> Self {
        Self {
            received: self.received.saturating_sub(other.received),
            reordered: self.reordered.saturating_sub(other.reordered),
            repeated: self.repeated.saturating_sub(other.repeated),
            lost: self.lost.saturating_sub(other.lost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ghostline_wire::{PacketSequence, ReceivedPackets};

    fn after(sequences: &[u16]) -> SnapshotPacketLossStatistics {
        let (mut statistics, mut received) = (SnapshotPacketLossStatistics::default(), ReceivedPackets::new());
        for &sequence in sequences {
            let before = received.acks().map(|acks| acks.newest);
            let sequence = PacketSequence(sequence);
            let ahead = before.map_or(u32::from(sequence.0) + 1, |before| u32::from(sequence.0.abs_diff(before.0)));
            statistics.note(ahead, received.receive(sequence));
        }
        statistics
    }

    #[test]
    fn what_is_skipped_is_lost_until_it_comes_late() {
        assert_eq!(after(&[0, 1, 2, 5]), SnapshotPacketLossStatistics { received: 4, lost: 2, ..Default::default() });
        let late = SnapshotPacketLossStatistics { received: 5, reordered: 1, lost: 1, repeated: 1 };
        assert_eq!(after(&[0, 1, 2, 5, 3, 3]), late);
        assert_eq!((late.sent(), late.lost_percent()), (6, 100.0 / 6.0));
        assert_eq!(after(&[2]).lost, 2, "the first two of the epoch");
    }

    #[test]
    fn stretches_can_be_added_and_taken_apart() {
        let (first, both) = (after(&[0, 2]), after(&[0, 2, 3, 7]));
        assert_eq!(both - first, SnapshotPacketLossStatistics { received: 2, lost: 3, ..Default::default() });
        assert_eq!(first + (both - first), both);
    }
}
