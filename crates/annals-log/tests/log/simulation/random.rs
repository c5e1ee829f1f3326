//! Pseudo-random numbers: the same seed, the same test.

/// A small generator (SplitMix64, Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Numbers that depend on all of these.
    pub(crate) fn of(seeds: &[u64]) -> Self {
        let mut random = Self(0x005E_ED0F_A11A_7E57);
        for seed in seeds {
            random.0 ^= *seed;
            random.next();
        }
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        self.0 ^= mixed >> 31;
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit.max(1)
    }
}

/// The seed of all random tests: `ANNALS_SEED`, else always the same.
pub(crate) fn seed() -> u64 {
    std::env::var("ANNALS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_260_101)
}

/// Whether the longer run is asked for.
pub(crate) fn long_run() -> bool {
    std::env::var_os("ANNALS_LONG").is_some_and(|value| value != "0")
}
