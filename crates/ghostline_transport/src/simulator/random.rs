//! The simulator's source of chance: SplitMix64, written after Steele, Lea and Flood, "Fast splittable pseudorandom
//! number generators" (OOPSLA 2014), with the constants of Sebastiano Vigna's public-domain `splitmix64.c`.
//! Seeds come from whoever makes a link; draws go to the model. Not for anything that must be hard to guess.

/// A generator with 64 bits of state: small, fast, and every seed is a good one.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix64 {
    state: u64,
}

/// The odd number nearest to 2^64 divided by the golden ratio.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

impl SplitMix64 {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        finalise(self.state)
    }
}

/// Turns two numbers into a seed. Neighbouring numbers give unrelated seeds.
pub(crate) const fn mix(seed: u64, number: u64) -> u64 {
    SplitMix64::new(SplitMix64::new(seed).next() ^ number).next()
}

const fn finalise(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Whether a draw falls into `probability`, 0 (never) to 1 (always).
pub(crate) fn chance(draw: u64, probability: f64) -> bool {
    const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
    (draw >> 11) as f64 * STEP < probability
}

/// Maps a draw to 0 .. `bound` evenly, as far as 64 bits allow; 0 for an empty range.
pub(crate) fn below(draw: u64, bound: u64) -> u64 {
    let product = u128::from(draw).saturating_mul(u128::from(bound));
    // The upper half of a product of two 64-bit numbers fits.
    u64::try_from(product >> 64).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_the_published_sequence() {
        let mut random = SplitMix64::new(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(expected.map(|_| random.next()), expected);
    }

    #[test]
    fn a_chance_of_0_never_comes_and_one_of_1_always() {
        for draw in [0, 1, u64::MAX / 2, u64::MAX] {
            assert!(!chance(draw, 0.0));
            assert!(chance(draw, 1.0));
            assert!(!chance(draw, f64::NAN));
        }
        assert!(chance(u64::MAX / 4, 0.5));
        assert!(!chance(u64::MAX / 4 * 3, 0.5));
    }

    #[test]
    fn a_draw_below_a_bound_reaches_both_ends() {
        assert_eq!(below(0, 10), 0);
        assert_eq!(below(u64::MAX, 10), 9);
        assert_eq!(below(u64::MAX, 0), 0);
        assert_eq!(below(u64::MAX, u64::MAX), u64::MAX - 1);
    }

    #[test]
    fn seeds_of_neighbours_differ() {
        let mut seeds: Vec<u64> = (0..64).flat_map(|a| (0..64).map(move |b| mix(a, b))).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 64 * 64);
    }
}
