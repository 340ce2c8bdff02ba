//! When the station is out of sight: as often and as long as on a recorded day.

use super::random::Random;

/// From one loss of signal to the next, on average.
const SIGHT_SECONDS: f64 = 1_400.;
/// The share of short ones, between two antennas.
const SHORT: f64 = 0.83;
/// A long one that the status does not tell.
const UNANNOUNCED: f64 = 0.1;

/// A time without any update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) begin_ms: i64,
    pub(super) end_ms: i64,
    /// Whether the status says so. The feed often forgets.
    pub(super) is_announced: bool,
}

/// One gap after the other, without end.
#[derive(Debug)]
pub(super) struct Gaps {
    random: Random,
    at_ms: i64,
}

impl Gaps {
    pub(super) fn new(seed: u64, start_ms: i64) -> Self {
        Self { random: Random::new(seed, "sight"), at_ms: start_ms }
    }

    pub(super) fn next_gap(&mut self) -> Gap {
        let random = &mut self.random;
        let sight = 10. + random.wait(SIGHT_SECONDS);
        let is_short = random.chance(SHORT);
        let length = match is_short {
            true => random.lopsided(21., 0.4).clamp(5., 59.),
            false => random.lopsided(360., 0.7).clamp(60., 1_227.),
        };
        let is_announced = !is_short && !random.chance(UNANNOUNCED);
        let begin_ms = self.at_ms + (sight * 1e3) as i64;
        self.at_ms = begin_ms + (length * 1e3) as i64;
        Gap { begin_ms, end_ms: self.at_ms, is_announced }
    }
}
