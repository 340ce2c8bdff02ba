//! The waste water tank: it gets what the urine processor makes, and the water processor empties it now and then.

use super::random::Random;

/// The tank, NODE3000008.
pub(super) const WASTE_WATER: &str = "NODE3000008";

/// As measured on 2018-10-12: what an hour brings while urine is processed, and the station's moisture in any hour.
const PROCESSED_PERCENT_PER_HOUR: f64 = 3.35;
const MOISTURE_PERCENT_PER_HOUR: f64 = 0.2;
/// What the water processor takes in an hour, and between which levels it works. How fast it is nobody has measured.
const TAKEN_PERCENT_PER_HOUR: f64 = 13.;
const FULL_PERCENT: f64 = 70.;
const EMPTY_PERCENT: f64 = 31.;
/// How far the sensor is off.
const NOISE_PERCENT: f64 = 0.005;

/// Its level at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct WasteWater {
    percent: f64,
    at_ms: Option<i64>,
    is_emptied: bool,
}

impl WasteWater {
    pub(super) fn new(random: &mut Random) -> Self {
        Self { percent: random.between(EMPTY_PERCENT, FULL_PERCENT), at_ms: None, is_emptied: false }
    }

    /// What the sensor says at a later time, if urine was processed until then or was not.
    pub(super) fn read(&mut self, at_ms: i64, makes_water: bool, random: &mut Random) -> f64 {
        let hours = self.at_ms.replace(at_ms).map_or(0., |before| (at_ms - before) as f64 / 3.6e6);
        // The water processor waits for the urine processor to end.
        self.is_emptied = match self.is_emptied {
            true => self.percent > EMPTY_PERCENT,
            false => self.percent > FULL_PERCENT && !makes_water,
        };
        let rates = [
            (true, MOISTURE_PERCENT_PER_HOUR),
            (makes_water, PROCESSED_PERCENT_PER_HOUR),
            (self.is_emptied && !makes_water, -TAKEN_PERCENT_PER_HOUR),
        ];
        let rate: f64 = rates.iter().filter(|(applies, _)| *applies).map(|(_, rate)| rate).sum();
        self.percent = (self.percent + rate * hours).clamp(0., 100.);
        self.percent + random.bell() * NOISE_PERCENT
    }
}
