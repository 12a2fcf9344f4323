//! What a client received: sequence numbers, epochs, the window of received packets, and the ack block that tells of it.
//! Fed with the sequence number of every snapshot packet; travels in every command packet (`docs/wire-format.md`, 4.1).
//! Only packets are named, never ghosts: the server knows what was in a packet.

use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;
use crate::limits::ACK_WINDOW;
use crate::packed::packed_bits;

/// The number of a snapshot packet in its epoch: 16 bits that wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PacketSequence(pub u16);

impl PacketSequence {
    /// The number of the packet after this one.
    #[must_use]
    #[inline]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// How many packets after `older` this one is; negative if `older` is in fact newer.
    #[must_use]
    #[inline]
    pub const fn since(self, older: Self) -> i16 {
        self.0.wrapping_sub(older.0).cast_signed()
    }

    /// Whether this packet comes after `other`.
    #[must_use]
    #[inline]
    pub const fn is_newer_than(self, other: Self) -> bool {
        self.since(other) > 0
    }

    /// As [`since`](Self::since), but the direction is known from the ticks of the packets: `ticks` is by how many this one's is newer. So a
    /// packet that is newer for sure is up to 65,535 after another, however many were lost between them, and an older one so many before. Of
    /// packets of one tick it is the nearer direction.
    #[must_use]
    pub const fn since_by_tick(self, older: Self, ticks: i32) -> i32 {
        let ahead = self.0.wrapping_sub(older.0);
        match ticks {
            1.. => ahead as i32,
            0 => ahead.cast_signed() as i32,
            _ => (ahead as i32).wrapping_sub(if ahead == 0 { 0 } else { 1 << 16 }),
        }
    }
}

/// A stretch of a connection that is complete in itself: 8 bits that wrap.
/// What was sent in an older epoch counts for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch(pub u8);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    #[inline]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// Whether this epoch comes after `other`.
    #[must_use]
    #[inline]
    pub const fn is_newer_than(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() > 0
    }
}

/// What a packet is to those received before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reception {
    /// The newest so far.
    New,
    /// Overtaken by a newer one, and not seen before.
    Late,
    /// Seen before.
    Duplicate,
    /// Older than the window, or than the epoch: whether it was seen is not known.
    TooOld,
}

/// The last 256 packets of an epoch, as their receiver knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceivedPackets {
    acks: Option<SnapshotAcks>,
}

impl ReceivedPackets {
    /// Nothing received yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { acks: None }
    }

    /// Forgets everything: an epoch begins.
    pub const fn clear(&mut self) {
        self.acks = None;
    }

    /// Notes a packet of which nothing but its number is known, and tells what it is to the others.
    pub fn receive(&mut self, sequence: PacketSequence) -> Reception {
        self.receive_by_tick(sequence, 0)
    }

    /// Notes a packet and tells what it is to the others. `ticks` is by how many its tick is newer than that of the newest packet so far.
    pub fn receive_by_tick(&mut self, sequence: PacketSequence, ticks: i32) -> Reception {
        let Some(acks) = &mut self.acks else {
            // Numbers begin at 0, so this many packets were sent in the epoch so far.
            let sent = u32::from(sequence.0).saturating_add(1);
            self.acks = Some(SnapshotAcks { newest: sequence, mask: [1, 0, 0, 0], len: sent.min(ACK_WINDOW) as u16 });
            return Reception::New;
        };
        let distance = sequence.since_by_tick(acks.newest, ticks);
        let steps = distance.unsigned_abs();
        if distance > 0 {
            acks.mask = shifted(acks.mask, steps);
            set_bit(&mut acks.mask, 0);
            acks.newest = sequence;
            acks.len = u32::from(acks.len).saturating_add(steps).min(ACK_WINDOW) as u16;
            return Reception::New;
        }
        if steps >= u32::from(acks.len) {
            return Reception::TooOld;
        }
        if bit(&acks.mask, steps) {
            return Reception::Duplicate;
        }
        set_bit(&mut acks.mask, steps);
        Reception::Late
    }

    /// What to tell the sender; `None` before the first packet.
    #[must_use]
    pub const fn acks(&self) -> Option<SnapshotAcks> {
        self.acks
    }
}

/// Which of the newest packets were received: what an ack block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotAcks {
    /// The newest packet received.
    pub newest: PacketSequence,
    /// Bit i: the packet `newest − i` was received. Bit 0 is set; bits from `len` on are 0.
    mask: [u64; 4],
    /// How many packets are told of, 1 to 256.
    len: u16,
}

impl SnapshotAcks {
    /// How many packets are told of, the newest included: 1 to 256.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.len as u32
    }

    /// Whether a packet was received; `None` if nothing is said of it.
    #[must_use]
    pub fn received(&self, sequence: PacketSequence) -> Option<bool> {
        let age = u32::from(self.newest.0.wrapping_sub(sequence.0));
        (age < self.count()).then(|| bit(&self.mask, age))
    }

    /// The packets told of, newest to oldest, and whether each was received.
    pub fn iter(&self) -> impl Iterator<Item = (PacketSequence, bool)> + use<> {
        let Self { newest, mask, len } = *self;
        (0..len).map(move |age| {
            let sequence = PacketSequence(newest.0.wrapping_sub(age));
            (sequence, bit(&mask, u32::from(age)))
        })
    }

    /// Writes the ack block in the smaller of its two forms.
    pub fn encode(&self, out: &mut BitWriter) {
        let (mut runs, mut run_bits) = (0u32, 0u32);
        self.for_each_run(|length| {
            runs = runs.saturating_add(1);
            run_bits = run_bits.saturating_add(packed_bits(length.saturating_sub(1)));
        });
        run_bits = run_bits.saturating_add(packed_bits(runs.saturating_sub(1)));
        let last = self.count().saturating_sub(1);
        let mask_bits = packed_bits(last).saturating_add(self.count());

        out.write_u16(self.newest.0);
        out.write_bool(mask_bits < run_bits);
        if mask_bits < run_bits {
            out.write_packed(last);
            let mut left = self.count();
            for word in self.mask {
                let bits = left.min(64);
                out.write_bits64(word, bits);
                left = left.saturating_sub(bits);
            }
        } else {
            out.write_packed(runs.saturating_sub(1));
            self.for_each_run(|length| out.write_packed(length.saturating_sub(1)));
        }
    }

    /// The lengths of the runs of received and missing packets in turn, from the newest on.
    fn for_each_run(&self, mut visit: impl FnMut(u32)) {
        let mut from = 0;
        let mut received = true;
        while from < self.count() {
            let end = run_end(&self.mask, from, received).min(self.count());
            visit(end.saturating_sub(from));
            from = end;
            received = !received;
        }
    }

    /// Reads an ack block.
    ///
    /// # Errors
    /// [`DecodeError::LimitExceeded`] if it tells of more than 256 packets, [`DecodeError::BadValue`] if it says that its
    /// newest packet is missing, and what reading bits can end in.
    pub fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        let newest = PacketSequence(input.read_u16()?);
        let mut mask = [0; 4];
        let len;
        if input.read_bool()? {
            len = read_count(input)?;
            let mut left = len;
            for word in &mut mask {
                let bits = left.min(64);
                *word = input.read_bits64(bits)?;
                left = left.saturating_sub(bits);
            }
            if !bit(&mask, 0) {
                return Err(DecodeError::BadValue { what: "newest acknowledged packet" });
            }
        } else {
            let runs = read_count(input)?;
            let mut from = 0u32;
            let mut received = true;
            for _ in 0..runs {
                let length = input.read_packed()?.saturating_add(1);
                let end = from.saturating_add(length);
                DecodeError::check_limit("acknowledged packets", ACK_WINDOW, end)?;
                if received {
                    set_bits(&mut mask, from, end);
                }
                from = end;
                received = !received;
            }
            len = from;
        }
        Ok(Self { newest, mask, len: len as u16 })
    }
}

/// Reads a number of packets or runs, 1 to 256, sent less one.
fn read_count(input: &mut BitReader<'_>) -> Result<u32, DecodeError> {
    let count = input.read_packed()?.saturating_add(1);
    DecodeError::check_limit("acknowledged packets", ACK_WINDOW, count)
}

/// Whether a bit of the mask is set; those past the end are not.
fn bit(mask: &[u64; 4], index: u32) -> bool {
    mask.get((index / 64) as usize).is_some_and(|word| word.wrapping_shr(index) & 1 == 1)
}

fn set_bit(mask: &mut [u64; 4], index: u32) {
    if let Some(word) = mask.get_mut((index / 64) as usize) {
        *word |= 1u64.wrapping_shl(index);
    }
}

/// Sets the bits from `from` to `end`, `end` excluded.
fn set_bits(mask: &mut [u64; 4], from: u32, end: u32) {
    for (i, word) in (0u32..).zip(mask) {
        let base = i.wrapping_mul(64);
        let low = from.saturating_sub(base).min(64);
        let high = end.saturating_sub(base).min(64);
        *word |= first_bits(high) & !first_bits(low);
    }
}

/// The lowest `count` bits set; `count` is 0 to 64.
const fn first_bits(count: u32) -> u64 {
    match u64::MAX.checked_shl(count) {
        Some(rest) => !rest,
        None => u64::MAX,
    }
}

/// The first index from `from` on whose bit is not `value`; 256 if there is none.
fn run_end(mask: &[u64; 4], from: u32, value: bool) -> u32 {
    let flip = if value { u64::MAX } else { 0 };
    let mut at = from;
    while let Some(word) = mask.get((at / 64) as usize) {
        // Set where the bit is not `value`.
        let others = (word ^ flip).wrapping_shr(at);
        if others != 0 {
            return at.saturating_add(others.trailing_zeros());
        }
        at = (at | 63).saturating_add(1);
    }
    at
}

/// The mask after `steps` newer packets: bit i moves to i + `steps`.
fn shifted(mask: [u64; 4], steps: u32) -> [u64; 4] {
    let words = (steps / 64) as usize;
    let bits = steps % 64;
    let mut result = [0; 4];
    for (i, word) in result.iter_mut().enumerate() {
        let source = |back: usize| {
            i.checked_sub(words.saturating_add(back)).and_then(|from| mask.get(from)).copied().unwrap_or(0)
        };
        // Two shifts, because one by 64 would be a shift by 0.
        let below = (source(1) >> 1).wrapping_shr(63u32.wrapping_sub(bits));
        *word = source(0).wrapping_shl(bits) | below;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(sequences: &[u16]) -> ReceivedPackets {
        let mut packets = ReceivedPackets::new();
        for sequence in sequences {
            packets.receive(PacketSequence(*sequence));
        }
        packets
    }

    fn round_trip(acks: SnapshotAcks) -> (SnapshotAcks, usize) {
        let mut out = BitWriter::new();
        acks.encode(&mut out);
        let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
        let decoded = SnapshotAcks::decode(&mut input).unwrap();
        assert!(input.is_empty());
        (decoded, out.bit_len())
    }

    #[test]
    fn numbers_and_epochs_are_compared_across_the_wrap() {
        assert_eq!(PacketSequence(2).since(PacketSequence(65_534)), 4);
        assert!(PacketSequence(2).is_newer_than(PacketSequence(65_534)));
        assert!(!PacketSequence(2).is_newer_than(PacketSequence(2)));
        assert_eq!(PacketSequence(65_535).next(), PacketSequence(0));
        assert!(Epoch(0).is_newer_than(Epoch(255)));
        assert!(!Epoch(255).is_newer_than(Epoch(0)) && !Epoch(7).is_newer_than(Epoch(7)));
        assert_eq!(Epoch(255).next(), Epoch(0));
    }

    // SEQ-01, with 16 bits
    #[test]
    fn ticks_tell_the_direction_of_numbers_that_wrap() {
        let since = |new, old, ticks| PacketSequence(new).since_by_tick(PacketSequence(old), ticks);
        let newer = [(5, 5, 0), (1, 0, 1), (1, 65_535, 2), (130, 120, 10), (5, 6, 65_535), (40_000, 0, 40_000)];
        for (new, old, distance) in newer {
            assert_eq!(since(new, old, 1), distance, "{new} is newer than {old}");
        }
        let older = [(0, 1, -1), (0, 65_535, -65_535), (65_535, 1, -2), (130, 120, -65_526), (6, 5, -65_535)];
        for (new, old, distance) in older {
            assert_eq!(since(new, old, -1), distance, "{new} is older than {old}");
        }
        assert_eq!((since(130, 120, 0), since(120, 130, 0), since(5, 5, 0)), (10, -10, 0), "the nearer way");
    }

    #[test]
    fn after_forty_thousand_lost_packets_the_next_is_new_if_its_tick_is() {
        let mut packets = received(&[7]);
        assert_eq!(packets.receive(PacketSequence(40_007)), Reception::TooOld);
        assert_eq!(packets.receive_by_tick(PacketSequence(40_007), 3), Reception::New);
        assert_eq!(packets.acks().unwrap().count(), 256);
        assert_eq!(packets.receive_by_tick(PacketSequence(7), -3), Reception::TooOld);
        assert_eq!(packets.receive_by_tick(PacketSequence(40_006), -1), Reception::Late);
    }

    #[test]
    fn nothing_is_acknowledged_before_the_first_packet() {
        let mut packets = received(&[]);
        assert_eq!(packets.acks(), None);
        packets.receive(PacketSequence(0));
        assert!(packets.acks().is_some());
        packets.clear();
        assert_eq!(packets, ReceivedPackets::new());
    }

    #[test]
    fn a_packet_is_new_late_duplicate_or_too_old() {
        let mut packets = ReceivedPackets::new();
        let mut receive = |sequence| packets.receive(PacketSequence(sequence));
        assert_eq!(receive(10), Reception::New);
        assert_eq!(receive(10), Reception::Duplicate);
        assert_eq!(receive(12), Reception::New);
        assert_eq!(receive(11), Reception::Late);
        assert_eq!(receive(11), Reception::Duplicate);
        assert_eq!(receive(0), Reception::Late, "the epoch began with 0");
        assert_eq!(receive(65_535), Reception::TooOld, "no packet of this epoch");
        assert_eq!(receive(300), Reception::New);
        assert_eq!(receive(44), Reception::TooOld, "256 packets ago");
        assert_eq!(receive(45), Reception::Late, "255 packets ago");
    }

    #[test]
    fn acks_reach_back_to_the_begin_of_the_epoch_and_no_further() {
        let acks = received(&[3, 1]).acks().unwrap();
        let told: Vec<(u16, bool)> = acks.iter().map(|(sequence, received)| (sequence.0, received)).collect();
        assert_eq!(told, [(3, true), (2, false), (1, true), (0, false)]);
        assert_eq!(acks.received(PacketSequence(2)), Some(false));
        assert_eq!(acks.received(PacketSequence(1)), Some(true));
        assert_eq!(acks.received(PacketSequence(65_535)), None);
        assert_eq!(acks.received(PacketSequence(4)), None);
    }

    #[test]
    fn the_window_holds_256_packets_across_the_wrap() {
        let mut packets = ReceivedPackets::new();
        for sequence in 0..=65_535u16 {
            packets.receive(PacketSequence(sequence));
        }
        packets.receive(PacketSequence(99));
        let acks = packets.acks().unwrap();
        assert_eq!((acks.newest, acks.count()), (PacketSequence(99), 256));
        assert_eq!(acks.received(PacketSequence(98)), Some(false));
        assert_eq!(acks.received(PacketSequence(65_535)), Some(true));
        assert_eq!(acks.iter().filter(|(_, received)| *received).count(), 1 + 156);
    }

    #[test]
    fn the_writer_picks_the_smaller_form() {
        // All 256 received: one run, 16 + 1 + 2 + 13 bits.
        let all = received(&Vec::from_iter(0..256));
        assert_eq!(round_trip(all.acks().unwrap()), (all.acks().unwrap(), 32));
        // Every second one: runs would take two bits for each packet.
        let half = received(&Vec::from_iter((0..256).step_by(2)));
        let (decoded, bits) = round_trip(half.acks().unwrap());
        assert_eq!(decoded, half.acks().unwrap());
        assert_eq!(bits, 16 + 1 + 13 + 255);
        // Two of two received take five bits in either form: runs it is.
        let mut out = BitWriter::new();
        received(&[0, 1]).acks().unwrap().encode(&mut out);
        assert_eq!((out.bit_len(), out.as_bytes()[2] & 1), (16 + 1 + 5, 0));
    }

    #[test]
    fn an_ack_block_that_adds_up_to_more_than_the_window_is_malformed() {
        let mut out = BitWriter::new();
        out.write_u16(9);
        out.write_bool(false);
        out.write_packed(1);
        out.write_packed(254);
        let runs = out.bit_len();
        let decode = |out: &BitWriter| SnapshotAcks::decode(&mut BitReader::new(out.as_bytes()));
        out.write_packed(0);
        assert_eq!(decode(&out).map(|acks| acks.count()), Ok(256));
        out.truncate(runs);
        out.write_packed(1);
        let what = "acknowledged packets";
        assert_eq!(decode(&out), Err(DecodeError::LimitExceeded { what, limit: 256, got: 257 }));
        out.truncate(runs);
        out.write_packed(u32::MAX);
        assert!(matches!(decode(&out), Err(DecodeError::LimitExceeded { got: u32::MAX, .. })));
    }

    #[test]
    fn a_mask_that_denies_its_own_newest_packet_is_malformed() {
        let mut out = BitWriter::new();
        out.write_u16(9);
        out.write_bool(true);
        out.write_packed(7);
        out.write_bits(0b1111_1110, 8);
        let decoded = SnapshotAcks::decode(&mut BitReader::new(out.as_bytes()));
        assert_eq!(decoded, Err(DecodeError::BadValue { what: "newest acknowledged packet" }));
    }
}
