//! Chance, repeatable: every part of the simulation has its own, so that none depends on which others there are.

use std::f64::consts::TAU;

/// A row of random numbers.
#[derive(Debug)]
pub(super) struct Random(fastrand::Rng);

impl Random {
    /// The row of this part of the simulation.
    pub(super) fn new(seed: u64, part: &str) -> Self {
        // FNV-1a: short names, and the same on every machine.
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = seed.to_le_bytes().into_iter().chain(part.bytes()).fold(0xcbf2_9ce4_8422_2325, mix);
        Self(fastrand::Rng::with_seed(hash))
    }

    /// Anything from one number to another.
    pub(super) fn between(&mut self, least: f64, most: f64) -> f64 {
        least + self.0.f64() * (most - least)
    }

    /// True with a probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.0.f64() < probability
    }

    /// A wait for what happens now and then.
    pub(super) fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1. - self.0.f64()).ln()
    }

    /// A bell's curve around 0, of deviation 1.
    pub(super) fn bell(&mut self) -> f64 {
        (-2. * (1. - self.0.f64()).ln()).sqrt() * (TAU * self.0.f64()).cos()
    }

    /// A wait that is mostly short and sometimes very long: by half of the time below the median.
    pub(super) fn lopsided(&mut self, median: f64, deviation: f64) -> f64 {
        median * (deviation * self.bell()).exp()
    }
}
