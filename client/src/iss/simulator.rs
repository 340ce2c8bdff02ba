//! A simulator of the station for use without a network: the feed's items, in the feed's words, with nothing behind them.
//!
//! What it says is a function of a seed and a start time: no clock, no I/O. What really happened is known, so that whoever looks
//! for events in telemetry can be measured: [`Simulator::of_tank`] is what the tank's sensors say, and [`happenings`] of the same
//! seed and start is the truth. Every update says in its `Status.Indicator` what it is.

mod demo;
mod history;
mod item;
mod random;
mod ranges;
mod sight;
mod tank;
#[cfg(test)]
mod tests;
mod waste_water;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use prost_types::Timestamp;

use super::clock::{TIME_ITEM as CLOCK, YEAR_ITEM as YEAR};
use super::time::hours_text;
use super::update::{LIVE_CLASS, Update};
use crate::time::{days_to_year, year_of};
pub use demo::Demo;
pub use history::{Happening, Kind, happenings};
use item::Item;
use random::Random;
use sight::{Gap, Gaps};
use tank::{Change, Tank};

/// The level of the urine tank, in whole percents.
pub const TANK_LEVEL: &str = "NODE3000005";
/// The state of the urine processor.
pub const PROCESSOR_STATE: &str = "NODE3000004";
/// What `Status.Indicator` says of every update.
pub const INDICATOR: &str = "SIMULATED";
/// The most updates in a second, as measured. What the station says when a session begins is not counted.
pub const UPDATES_PER_SECOND_MAX: u32 = 54;

/// The most updates in a second of the items that may wait for the next one.
const PATIENT_MAX: u32 = UPDATES_PER_SECOND_MAX - 5;
const LOST: &str = "1";
const SECOND_MS: i64 = 1_000;
/// Items that went silent speak again within so long.
const RETURN_MS: f64 = 5_000.;

/// An update, and when it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulated {
    /// Never earlier than that of the update before it.
    pub at: Timestamp,
    /// As a session with the feed would bring it.
    pub update: Update,
}

/// The station from a time on, update after update, without end. It begins with the newest value of every item.
#[derive(Debug)]
pub struct Simulator {
    /// Where in a second the tank is read.
    tank_phase_ms: i64,
    items: Vec<Item>,
    due: BinaryHeap<Reverse<(i64, usize)>>,
    tank: Option<Tank>,
    next_change: Option<Change>,
    /// What the tank said last, and what it would say if it were heard.
    said: [Option<Change>; 2],
    clock_at: Option<i64>,
    year_said: i32,
    gaps: Gaps,
    gap: Gap,
    has_said_loss: bool,
    now_ms: i64,
    second: i64,
    in_second: u32,
    ready: VecDeque<Simulated>,
}

impl Simulator {
    /// Every item whose range is known.
    pub fn new(seed: u64, start: Timestamp) -> Self {
        Self::of(seed, start, |_| true)
    }

    /// The urine tank and its processor only, as in [`Simulator::new`]: thousands of times faster.
    pub fn of_tank(seed: u64, start: Timestamp) -> Self {
        Self::of(seed, start, |item| [TANK_LEVEL, PROCESSOR_STATE].contains(&item))
    }

    fn of(seed: u64, start: Timestamp, is_wanted: impl Fn(&str) -> bool) -> Self {
        let start_ms = milliseconds(&start);
        let mut gaps = Gaps::new(seed, start_ms);
        let mut simulator = Self {
            tank_phase_ms: Random::new(seed, "tank phase").between(0., 1e3) as i64,
            items: Vec::new(),
            due: BinaryHeap::new(),
            tank: is_wanted(TANK_LEVEL).then(|| Tank::new(seed, start_ms)),
            next_change: None,
            said: [None, None],
            clock_at: is_wanted(CLOCK).then_some(start_ms),
            year_said: year_of(&start),
            gap: gaps.next_gap(),
            gaps,
            has_said_loss: false,
            now_ms: start_ms,
            second: i64::MIN,
            in_second: 0,
            ready: VecDeque::new(),
        };
        // Before all others, which lack the year.
        if simulator.clock_at.is_some() {
            simulator.snapshot(start_ms, YEAR, simulator.year_said.to_string());
            simulator.snapshot(start_ms, CLOCK, clock_value(start_ms));
        }
        let own = [TANK_LEVEL, PROCESSOR_STATE, CLOCK, YEAR];
        for range in ranges::all().iter().filter(|range| is_wanted(&range.name)) {
            if own.contains(&&*range.name) {
                continue;
            }
            let mut item = Item::new(seed, range);
            let value = item.value(start_ms, false);
            simulator.snapshot(start_ms, &range.name, value);
            if let Some(wait_ms) = item.wait_ms() {
                simulator.due.push(Reverse((start_ms + wait_ms, simulator.items.len())));
            }
            simulator.items.push(item);
        }
        if let Some(tank) = &mut simulator.tank {
            let now = tank.now();
            simulator.next_change = Some(tank.next_change());
            for change in now {
                simulator.snapshot(start_ms, change.item(), change.value());
                simulator.said[change.place()] = Some(change);
            }
        }
        simulator
    }

    fn snapshot(&mut self, at_ms: i64, item: &str, value: String) {
        let mut simulated = simulated(at_ms, item.into(), value, LIVE_CLASS);
        simulated.update.is_snapshot = true;
        self.ready.push_back(simulated);
    }

    fn say(&mut self, at_ms: i64, item: impl Into<Arc<str>>, value: String, class: &str) {
        self.ready.push_back(simulated(at_ms, item.into(), value, class));
    }

    /// The next thing that happens, heard or not.
    fn step(&mut self) {
        let item_at = self.due.peek().map_or(i64::MAX, |Reverse((at, _))| *at);
        let tank_at = self.next_change.map_or(i64::MAX, |change| self.read_at(change));
        let clock_at = self.clock_at.unwrap_or(i64::MAX);
        let loss_at = if self.has_said_loss { i64::MAX } else { self.gap.begin_ms };
        let at = item_at.min(tank_at).min(clock_at).min(loss_at).min(self.gap.end_ms);
        let is_silent = at >= self.gap.begin_ms;
        self.now_ms = at;
        if at == self.gap.end_ms {
            self.regain();
        } else if at == loss_at {
            self.has_said_loss = true;
            if self.clock_at.is_some() && self.gap.is_announced {
                self.say(at, CLOCK, clock_value(at), LOST);
            }
        } else if at == clock_at {
            self.clock_at = Some(if is_silent { self.gap.end_ms + SECOND_MS } else { at + SECOND_MS });
            if !is_silent {
                self.tick(at);
            }
        } else if at == tank_at {
            self.read_tank(at, is_silent);
        } else if let Some(Reverse((_, place))) = self.due.pop() {
            self.update_item(place, at, is_silent);
        }
    }

    /// When a change of the tank is read: once a second.
    fn read_at(&self, change: Change) -> i64 {
        let since = change.at_ms - self.tank_phase_ms;
        let read = since + (-since).rem_euclid(SECOND_MS) + self.tank_phase_ms;
        // What came in the same second waits for the next one.
        let earliest = self.said[change.place()].map_or(i64::MIN, |said| said.at_ms + SECOND_MS);
        read.max(earliest).max(self.now_ms)
    }

    fn read_tank(&mut self, at_ms: i64, is_silent: bool) {
        let Some(change) = self.next_change.take() else { return };
        self.next_change = self.tank.as_mut().map(Tank::next_change);
        let change = change.at(at_ms);
        self.said[change.place()] = Some(change);
        if !is_silent {
            self.say(at_ms, change.item(), change.value(), LIVE_CLASS);
        }
    }

    /// The signal is back: what has changed is said, and what is said every second goes on.
    fn regain(&mut self) {
        let Gap { begin_ms, end_ms, .. } = self.gap;
        if self.clock_at.is_some() {
            self.tick(end_ms);
            self.clock_at = Some(end_ms + SECOND_MS);
        }
        for change in self.said.into_iter().flatten().filter(|change| change.at_ms >= begin_ms) {
            let change = change.at(end_ms);
            self.said[change.place()] = Some(change);
            self.say(end_ms, change.item(), change.value(), LIVE_CLASS);
        }
        self.gap = self.gaps.next_gap();
        self.has_said_loss = false;
    }

    fn tick(&mut self, at_ms: i64) {
        self.say(at_ms, CLOCK, clock_value(at_ms), LIVE_CLASS);
        let year = year_of(&timestamp(at_ms));
        if year != self.year_said {
            self.year_said = year;
            self.say(at_ms, YEAR, year.to_string(), LIVE_CLASS);
        }
    }

    fn update_item(&mut self, place: usize, at_ms: i64, is_silent: bool) {
        let item = &mut self.items[place];
        if is_silent {
            let wait_ms = item.spread(RETURN_MS);
            self.due.push(Reverse((self.gap.end_ms + wait_ms, place)));
            return;
        }
        let second = at_ms.div_euclid(SECOND_MS);
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
        }
        if self.in_second >= PATIENT_MAX {
            self.due.push(Reverse(((second + 1) * SECOND_MS, place)));
            return;
        }
        self.in_second += 1;
        let is_processing = self.said[1].is_some_and(Change::is_processing);
        let (name, value) = (Arc::clone(item.name()), item.value(at_ms, is_processing));
        if let Some(wait_ms) = item.wait_ms() {
            self.due.push(Reverse((at_ms + wait_ms, place)));
        }
        self.say(at_ms, name, value, LIVE_CLASS);
    }
}

impl Iterator for Simulator {
    type Item = Simulated;

    fn next(&mut self) -> Option<Simulated> {
        loop {
            match self.ready.pop_front() {
                Some(simulated) => return Some(simulated),
                None => self.step(),
            }
        }
    }
}

fn simulated(at_ms: i64, item: Arc<str>, value: String, class: &str) -> Simulated {
    let at = timestamp(at_ms);
    let update = Update {
        item,
        time_stamp: hours_text(&at),
        value: Some(value),
        status_class: Some(class.to_owned()),
        status_indicator: Some(INDICATOR.to_owned()),
        ..Update::default()
    };
    Simulated { at, update }
}

/// Milliseconds of the year, which begins with a day's.
fn clock_value(at_ms: i64) -> String {
    const DAY_SECONDS: i64 = 86_400;
    let days = days_to_year(year_of(&timestamp(at_ms)));
    (at_ms - (days - 1) * DAY_SECONDS * SECOND_MS).to_string()
}

fn milliseconds(time: &Timestamp) -> i64 {
    time.seconds * SECOND_MS + i64::from(time.nanos) / 1_000_000
}

fn timestamp(ms: i64) -> Timestamp {
    Timestamp { seconds: ms.div_euclid(SECOND_MS), nanos: (ms.rem_euclid(SECOND_MS) * 1_000_000) as i32 }
}
