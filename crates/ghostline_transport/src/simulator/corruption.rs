//! Which bits of a packet the link has flipped.
//! Decided when the packet is sent, handed over with it, and applied by whoever owns the bytes.

use super::random::{SplitMix64, below};
use crate::limits::MAX_CORRUPTED_BITS;

/// The damage that one packet takes: 1 to [`MAX_CORRUPTED_BITS`] flipped bits, anywhere in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corruption {
    seed: u64,
}

impl Corruption {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The positions of the flipped bits in a packet of `bit_count` bits: all different, below `bit_count`, the same
    /// with every call. At least one, unless the packet is empty.
    pub fn bits(self, bit_count: usize) -> impl Iterator<Item = usize> {
        let mut random = SplitMix64::new(self.seed);
        let wanted = below(random.next(), MAX_CORRUPTED_BITS as u64).saturating_add(1);
        let mut positions = [0; MAX_CORRUPTED_BITS];
        let mut found = 0_usize;
        if bit_count > 0 {
            for _ in 0..wanted {
                let position = usize::try_from(below(random.next(), bit_count as u64)).unwrap_or(0);
                // A bit flipped twice would be whole again.
                let is_new = !positions.iter().take(found).any(|known| *known == position);
                if is_new && let Some(slot) = positions.get_mut(found) {
                    *slot = position;
                    found = found.saturating_add(1);
                }
            }
        }
        positions.into_iter().take(found)
    }

    /// Flips these bits in the bytes of the packet. Changes them in any case, unless there are none.
    pub fn apply(self, bytes: &mut [u8]) {
        for bit in self.bits(bytes.len().saturating_mul(8)) {
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1_u8.rotate_left((bit % 8) as u32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrupted_bytes_always_differ_by_as_many_bits_as_the_positions_say() {
        let mut counts = [0; MAX_CORRUPTED_BITS + 1];
        for seed in 0..2_000 {
            let corruption = Corruption::new(seed);
            for length in [1, 2, 7, 300] {
                let mut bytes = vec![0_u8; length];
                corruption.apply(&mut bytes);
                let flipped: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
                let positions: Vec<usize> = corruption.bits(length * 8).collect();
                assert_eq!(flipped as usize, positions.len());
                assert!((1..=MAX_CORRUPTED_BITS).contains(&positions.len()));
                assert!(positions.iter().all(|bit| *bit < length * 8));
                assert_eq!(positions, corruption.bits(length * 8).collect::<Vec<_>>());
                corruption.apply(&mut bytes);
                assert_eq!(bytes, vec![0; length], "twice the same damage is none");
                counts[positions.len()] += 1;
            }
        }
        assert!(counts[1..].iter().all(|count| *count > 0), "every number of bits occurs: {counts:?}");
    }

    #[test]
    fn an_empty_packet_can_t_be_corrupted() {
        assert_eq!(Corruption::new(1).bits(0).count(), 0);
        Corruption::new(1).apply(&mut []);
    }
}
