//! What really happened in a simulation: the yardstick for whoever finds events in telemetry.

use prost_types::Timestamp;

use super::sight::Gaps;
use super::tank::Tank;
use super::{milliseconds, timestamp};

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Somebody used the toilet, and flushed it, perhaps a minute or two later.
    ToiletUse,
    /// A container was emptied into the tank.
    BulkTransfer,
    /// The processor emptied the tank.
    Processing,
    /// Nothing was heard.
    LossOfSignal,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Happening {
    /// What.
    pub kind: Kind,
    /// From when.
    pub begin: Timestamp,
    /// Until when.
    pub end: Timestamp,
    /// How many percents of the tank it put in; below zero what it took out.
    pub percent: f64,
}

/// What happened in the simulation of this seed and start, as far as it was over before `end`, by its begin.
pub fn happenings(seed: u64, start: Timestamp, end: Timestamp) -> Vec<Happening> {
    let is_over = |happening: &Happening| milliseconds(&happening.end) < milliseconds(&end);
    let mut tank = Tank::new(seed, milliseconds(&start));
    // What the tank books ends in order but for bulk transfers, which it books when they begin.
    let mut all = Vec::new();
    loop {
        let happening = tank.next_happening();
        if milliseconds(&happening.begin) >= milliseconds(&end) {
            break;
        }
        all.push(happening);
    }
    let mut gaps = Gaps::new(seed, milliseconds(&start));
    let gaps = std::iter::repeat_with(|| gaps.next_gap()).map(|gap| Happening {
        kind: Kind::LossOfSignal,
        begin: timestamp(gap.begin_ms),
        end: timestamp(gap.end_ms),
        percent: 0.,
    });
    all.extend(gaps.take_while(is_over));
    all.retain(is_over);
    all.sort_by_key(|happening| milliseconds(&happening.begin));
    all
}
