//! Chance that can be repeated: every test that rolls dice prints its seed.

use std::time::{SystemTime, UNIX_EPOCH};

/// Well mixed numbers from a seed (SplitMix64 by Steele, Lea and Flood, 2014).
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The seed in `DOWNLINK_SEED`, or another one each time; printed under the name of the test.
    pub(crate) fn announced(test: &str) -> Self {
        let seed = std::env::var("DOWNLINK_SEED").ok().map(|seed| seed.parse().expect("DOWNLINK_SEED"));
        let seed = seed.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
            u64::from(now.subsec_nanos()) ^ now.as_secs()
        });
        println!("{test}: DOWNLINK_SEED={seed}");
        Self(seed)
    }

    /// From a seed of the caller's.
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }
}
