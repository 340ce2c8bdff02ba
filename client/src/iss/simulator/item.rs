//! An item like most: it wanders about within its range, in the steps and at the intervals that it was seen to have.

use std::sync::Arc;

use super::random::Random;
use super::ranges::Range;
use super::waste_water::{WASTE_WATER, WasteWater};
use crate::iss::catalogue::Nature;

/// Seconds since 1970 when the clock of GPS began, and by how many leap seconds it is ahead since 2017.
const GPS_BEGAN: i64 = 315_964_800;
const GPS_AHEAD: i64 = 18;
/// The share of the intervals that are about the median; the others make up for the mean.
const REGULAR: f64 = 0.6;
/// How much of its way back to the median an item goes in a step.
const PULL: f64 = 0.02;

/// One item.
#[derive(Debug)]
pub(super) struct Item {
    random: Random,
    range: Range,
    value: f64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Seconds of the GPS.
    GpsClock,
    /// One of the codes that were seen.
    State,
    WasteWater(WasteWater),
    Measured,
}

impl Item {
    pub(super) fn new(seed: u64, range: &Range) -> Self {
        let mut random = Random::new(seed, &range.name);
        let kind = match &*range.name {
            "USLAB000084" | "USLAB000102" => Kind::GpsClock,
            WASTE_WATER => Kind::WasteWater(WasteWater::new(&mut random)),
            name if Nature::of(name) == Nature::Enumerated => Kind::State,
            _ => Kind::Measured,
        };
        Self { random, range: range.clone(), value: range.median, kind }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.range.name
    }

    /// How long until its next update; none if there will be none.
    pub(super) fn wait_ms(&mut self) -> Option<i64> {
        let (median, mean) = self.range.seconds?;
        let seconds = if self.random.chance(REGULAR) || mean <= median {
            self.random.between(0.8, 1.2) * median.min(mean)
        } else {
            self.random.wait((mean - REGULAR * median) / (1. - REGULAR))
        };
        Some((seconds * 1e3).max(100.) as i64)
    }

    /// Any time up to so long.
    pub(super) fn spread(&mut self, most_ms: f64) -> i64 {
        self.random.between(0., most_ms) as i64
    }

    /// Its next value, as text, while urine is processed or is not.
    pub(super) fn value(&mut self, at_ms: i64, is_processing: bool) -> String {
        match &mut self.kind {
            Kind::GpsClock => (at_ms.div_euclid(1_000) - GPS_BEGAN + GPS_AHEAD).to_string(),
            Kind::State => self.code(),
            Kind::WasteWater(tank) => {
                let Range { min, max, .. } = self.range;
                let percent = tank.read(at_ms, is_processing, &mut self.random).clamp(min, max);
                // In the feed's steps.
                format!("{percent:.2}")
            }
            Kind::Measured => self.measured(),
        }
    }

    /// Mostly the usual state.
    fn code(&mut self) -> String {
        let Range { min, median, max, .. } = self.range;
        self.value = match self.value == median {
            false => median,
            true if self.random.chance(0.5) => min,
            true => max,
        };
        self.value.to_string()
    }

    /// A step up or down, nearly always within the inner range, and never out of the range.
    fn measured(&mut self) -> String {
        let Range { min, p01, median, p99, max, distinct, is_whole, .. } = self.range;
        if distinct <= 1 {
            return number(median);
        }
        let step = (max - min) / f64::from(distinct - 1);
        let stride = step.max((p99 - p01) / 50.);
        let pulled = self.value + PULL * (median - self.value) + self.random.bell() * stride;
        let (least, most) = if self.random.chance(0.98) { (p01, p99) } else { (min, max) };
        self.value = pulled.clamp(least, most);
        let stepped = (min + ((self.value - min) / step).round() * step).clamp(min, max);
        number(if is_whole { stepped.round() } else { stepped })
    }
}

/// With at most 15 digits, as the feed has them.
fn number(value: f64) -> String {
    if value == 0. {
        return "0".to_owned();
    }
    let digits = 14 - value.abs().log10().floor() as i32;
    let text = format!("{value:.*}", digits.clamp(0, 17) as usize);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}
