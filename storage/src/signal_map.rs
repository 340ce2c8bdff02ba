//! A map from signals' numbers, as fast as their being dense allows.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::event::SignalId;

/// Something for each of some signals.
pub type SignalMap<T> = HashMap<SignalId, T, BuildHasherDefault<SignalHasher>>;

/// Spreads signal numbers, which are dense and chosen by the log itself, so no attacker can make them collide.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignalHasher(u64);

impl Hasher for SignalHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        let spread = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }
}
