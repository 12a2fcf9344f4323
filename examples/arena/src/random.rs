//! Chance, seeded: the same numbers for the same seed on every machine. One generator per purpose, as a resource of a world.

use bevy_ecs::prelude::Resource;

/// A generator of numbers that look random (SplitMix64).
#[derive(Resource, Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The generator of `purpose` in a run with this seed.
    pub fn new(seed: u64, purpose: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ purpose.wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to 1, without 1.
    pub fn unit(&mut self) -> f32 {
        // 24 bits are what an f32 holds exactly.
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }

    /// From `low` up to `high`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// True in one of `n` cases on average; never for 0.
    pub fn one_in(&mut self, n: u32) -> bool {
        n > 0 && self.next().is_multiple_of(u64::from(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_numbers_and_other_purposes_other_ones() {
        let numbers = |seed, purpose| {
            let mut chance = Chance::new(seed, purpose);
            [chance.next(), chance.next(), chance.next()]
        };
        assert_eq!(numbers(1, 2), numbers(1, 2));
        assert_ne!(numbers(1, 2), numbers(1, 3));
        assert_ne!(numbers(1, 2), numbers(2, 2));
    }

    #[test]
    fn numbers_stay_within_their_bounds_and_use_them() {
        let mut chance = Chance::new(7, 0);
        let drawn: Vec<f32> = (0..1000).map(|_| chance.between(-2.0, 3.0)).collect();
        assert!(drawn.iter().all(|x| (-2.0..3.0).contains(x)));
        assert!(drawn.iter().any(|&x| x < -1.5) && drawn.iter().any(|&x| x > 2.5));
        let hits = (0..10_000).filter(|_| chance.one_in(10)).count();
        assert!((800..1200).contains(&hits), "{hits}");
    }
}
