//! The urine tank: it is filled by toilet uses and bulk transfers, emptied by the processor, and read in whole percents.
//!
//! Sizes, rates and habits are those of recorded days. The level moves in straight lines between the things that happen,
//! so that a day takes a few hundred steps.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::history::{Happening, Kind};
use super::random::Random;
use super::{PROCESSOR_STATE, TANK_LEVEL, timestamp};

/// The level at which the processor starts by itself, and at which it stops at the latest.
const START_PERCENT: i64 = 70;
const STOP_PERCENT: i64 = 5;
/// Above this nothing more is put in.
const FULL_PERCENT: f64 = 74.;
/// A bulk transfer has at least so much.
const TRANSFER_PERCENT_MIN: f64 = 13.;
const STANDBY: i64 = 32;
const NORMAL: i64 = 16;
/// Seen for a second between two states.
const BETWEEN: i64 = 0;

/// What the sensors say anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) at_ms: i64,
    reading: Reading,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Level(i64),
    State(i64),
}

impl Change {
    /// The same at another time.
    pub(super) fn at(self, at_ms: i64) -> Self {
        Self { at_ms, ..self }
    }

    pub(super) fn item(self) -> &'static str {
        [TANK_LEVEL, PROCESSOR_STATE][self.place()]
    }

    pub(super) fn value(self) -> String {
        let (Reading::Level(value) | Reading::State(value)) = self.reading;
        value.to_string()
    }

    /// Whether it says that the processor is at work.
    pub(super) fn is_processing(self) -> bool {
        self.reading == Reading::State(NORMAL)
    }

    /// Its item's number, from 0.
    pub(super) fn place(self) -> usize {
        match self.reading {
            Reading::Level(_) => 0,
            Reading::State(_) => 1,
        }
    }
}

/// What will happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    /// Somebody may want to use the toilet.
    Toilet,
    /// Somebody may want to empty a container into the tank.
    Transfer,
    Flush,
    FillEnds,
    /// The processor is started by command.
    Start,
    /// The reading flickers, so many times more; only while nothing has changed since.
    Flicker {
        times: u32,
        after_crossings: u64,
    },
}

/// What fills the tank at present.
#[derive(Clone, Copy, Debug)]
struct Fill {
    kind: Kind,
    percent_per_second: f64,
    end_s: f64,
}

/// The processor at work.
#[derive(Clone, Copy, Debug)]
struct Run {
    percent_per_second: f64,
    begin_s: f64,
    stop_percent: i64,
}

/// The tank, from a time on.
#[derive(Debug)]
pub(super) struct Tank {
    random: Random,
    start_ms: i64,
    now_s: f64,
    /// The level: whole percents, and from 0 to 1 of another one.
    whole: i64,
    part: f64,
    crossings: u64,
    /// What the sensor says.
    read: i64,
    fill: Option<Fill>,
    run: Option<Run>,
    /// Keyed by milliseconds.
    agenda: BinaryHeap<Reverse<(i64, Next)>>,
    changes: VecDeque<Change>,
    /// A toilet use that may still be followed by a flush: its begin, its end, and how much it was.
    visit: Option<(f64, f64, f64)>,
    happened: VecDeque<Happening>,
}

impl Tank {
    pub(super) fn new(seed: u64, start_ms: i64) -> Self {
        let mut random = Random::new(seed, "tank");
        let whole = random.between(8., 60.) as i64;
        let part = random.between(0., 1.);
        let mut tank = Self {
            random,
            start_ms,
            now_s: 0.,
            whole,
            part,
            crossings: 0,
            read: whole,
            fill: None,
            run: None,
            agenda: BinaryHeap::new(),
            changes: VecDeque::new(),
            visit: None,
            happened: VecDeque::new(),
        };
        tank.plan_toilet(0.);
        tank.plan_transfer();
        tank
    }

    /// What the sensors say now.
    pub(super) fn now(&self) -> [Change; 2] {
        let at_ms = self.ms(self.now_s);
        let state = if self.run.is_some() { NORMAL } else { STANDBY };
        [Reading::Level(self.read), Reading::State(state)].map(|reading| Change { at_ms, reading })
    }

    /// The next change of what they say.
    pub(super) fn next_change(&mut self) -> Change {
        loop {
            if let Some(change) = self.changes.pop_front() {
                // Nobody here asks what really happened.
                self.happened.clear();
                return change;
            }
            self.step();
        }
    }

    /// The next thing that really happened, by when it was over.
    pub(super) fn next_happening(&mut self) -> Happening {
        loop {
            if let Some(happening) = self.happened.pop_front() {
                return happening;
            }
            self.step();
            self.changes.clear();
        }
    }

    fn ms(&self, at_s: f64) -> i64 {
        self.start_ms + (at_s * 1e3) as i64
    }

    fn level(&self) -> f64 {
        self.whole as f64 + self.part
    }

    fn plan(&mut self, after_s: f64, next: Next) {
        let at_ms = self.ms(self.now_s + after_s.max(0.001));
        self.agenda.push(Reverse((at_ms, next)));
    }

    /// Up to the next crossing of a whole percent, or to what is planned next, whichever is first.
    fn step(&mut self) {
        let filling = self.fill.map_or(0., |fill| fill.percent_per_second);
        let net = filling - self.run.map_or(0., |run| run.percent_per_second);
        let crossing_s = match net {
            net if net > 0. => (1. - self.part) / net,
            net if net < 0. => self.part / -net,
            _ => f64::INFINITY,
        };
        let Some(Reverse((planned_ms, next))) = self.agenda.peek().copied() else { return };
        let planned_s = (planned_ms - self.start_ms) as f64 / 1e3;
        if self.now_s + crossing_s <= planned_s {
            self.now_s += crossing_s;
            self.cross(net);
            return;
        }
        self.agenda.pop();
        self.part = (self.part + net * (planned_s - self.now_s).max(0.)).clamp(0., 1.);
        self.now_s = planned_s.max(self.now_s);
        self.happen(next);
    }

    fn cross(&mut self, net: f64) {
        self.crossings += 1;
        (self.whole, self.part) = if net > 0. { (self.whole + 1, 0.) } else { (self.whole - 1, 1.) };
        self.say_level(self.whole);
        if self.whole >= START_PERCENT && self.run.is_none() {
            self.start(STOP_PERCENT);
        }
        if self.run.is_some_and(|run| self.whole <= run.stop_percent) {
            self.stop();
        }
        if net < 0. {
            self.plan_flicker();
        }
    }

    fn say_level(&mut self, level: i64) {
        if level != self.read {
            self.read = level;
            self.changes.push_back(Change { at_ms: self.ms(self.now_s), reading: Reading::Level(level) });
        }
    }

    fn say_state(&mut self, after_s: f64, state: i64) {
        let at_ms = self.ms(self.now_s + after_s);
        self.changes.push_back(Change { at_ms, reading: Reading::State(state) });
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Toilet => {
                let is_free = self.fill.is_none() && self.visit.is_none() && self.level() < FULL_PERCENT;
                if is_free && self.random.chance(self.demand()) {
                    let (percent, pace) = (self.random.between(2.1, 5.2), self.random.between(4.8, 6.2));
                    self.fill(Kind::ToiletUse, percent, pace);
                    self.visit = Some((self.now_s, self.now_s, percent));
                }
                self.plan_toilet(360.);
            }
            Next::Transfer => self.transfer(),
            Next::Flush => {
                let (percent, pace) = (self.random.between(1.0, 2.2), self.random.between(4.8, 6.2));
                self.fill(Kind::ToiletUse, percent, pace);
                if let Some((.., whole)) = &mut self.visit {
                    *whole += percent;
                }
            }
            Next::FillEnds => self.fill_ends(),
            Next::Start if self.run.is_none() && self.whole > 20 => {
                let stop = self.random.between(8., self.level() - 8.) as i64;
                self.start(stop);
            }
            Next::Start => {}
            Next::Flicker { times, after_crossings } if after_crossings == self.crossings => {
                let is_true = self.read == self.whole;
                self.say_level(if is_true { self.whole + 1 } else { self.whole });
                if times > 0 {
                    let wait = self.random.lopsided(3., 1.6).clamp(0.9, 240.);
                    self.plan(wait, Next::Flicker { times: times - 1, after_crossings });
                }
            }
            Next::Flicker { .. } => {}
        }
    }

    /// How likely somebody is to be awake and to have to, from 0 to 1, by the crew's day.
    fn demand(&self) -> f64 {
        match self.hour() {
            6.0..8.0 => 1.,
            8.0..21.5 => 0.65,
            _ => 0.1,
        }
    }

    fn hour(&self) -> f64 {
        (self.ms(self.now_s).rem_euclid(86_400_000)) as f64 / 3.6e6
    }

    fn plan_toilet(&mut self, least_s: f64) {
        let wait = least_s + self.random.wait(2_400.);
        self.plan(wait, Next::Toilet);
    }

    fn plan_transfer(&mut self) {
        let wait = self.random.wait(28_000.);
        self.plan(wait, Next::Transfer);
    }

    fn transfer(&mut self) {
        let room = FULL_PERCENT - self.level();
        let is_free = self.fill.is_none() && self.visit.is_none();
        if is_free && room >= TRANSFER_PERCENT_MIN && (7.0..20.0).contains(&self.hour()) {
            let (percent, pace) =
                (self.random.between(TRANSFER_PERCENT_MIN, room.min(60.)), self.random.between(3.1, 4.1));
            self.fill(Kind::BulkTransfer, percent, pace);
        }
        self.plan_transfer();
    }

    fn fill(&mut self, kind: Kind, percent: f64, seconds_per_percent: f64) {
        let seconds = percent * seconds_per_percent;
        let percent_per_second = 1. / seconds_per_percent;
        self.fill = Some(Fill { kind, percent_per_second, end_s: self.now_s + seconds });
        if kind == Kind::BulkTransfer {
            self.book(kind, self.now_s, self.now_s + seconds, percent);
        }
        self.plan(seconds, Next::FillEnds);
    }

    fn fill_ends(&mut self) {
        let Some(Fill { kind, end_s, .. }) = self.fill.take() else { return };
        if kind == Kind::ToiletUse
            && let Some((begin_s, first_end_s, percent)) = self.visit
        {
            let is_first = first_end_s == begin_s;
            self.visit = Some((begin_s, end_s, percent));
            if is_first && self.random.chance(0.6) {
                let wait = self.random.between(60., 170.);
                self.plan(wait, Next::Flush);
            } else {
                self.visit = None;
                self.book(kind, begin_s, end_s, percent);
            }
        }
        if self.run.is_none() && self.whole > 25 && self.random.chance(0.1) {
            let wait = self.random.between(300., 3_600.);
            self.plan(wait, Next::Start);
        }
    }

    fn start(&mut self, stop_percent: i64) {
        let percent_per_second = 1. / self.random.between(249., 324.);
        self.run = Some(Run { percent_per_second, begin_s: self.now_s, stop_percent });
        self.say_state(0., NORMAL);
    }

    fn stop(&mut self) {
        let Some(run) = self.run.take() else { return };
        let percent = -(self.now_s - run.begin_s) * run.percent_per_second;
        self.book(Kind::Processing, run.begin_s, self.now_s, percent);
        let is_seen_between = self.random.chance(0.3);
        if is_seen_between {
            self.say_state(0., BETWEEN);
        }
        self.say_state(if is_seen_between { 1. } else { 0. }, STANDBY);
    }

    /// The level is cut off at whole percents, and just below one the sensor cannot make up its mind.
    fn plan_flicker(&mut self) {
        if self.run.is_some() && self.random.chance(0.7) {
            let times = 1 + 2 * self.random.wait(1.3).min(12.) as u32;
            let wait = self.random.lopsided(3., 1.6).clamp(0.9, 120.);
            self.plan(wait, Next::Flicker { times, after_crossings: self.crossings });
        }
    }

    fn book(&mut self, kind: Kind, begin_s: f64, end_s: f64, percent: f64) {
        let [begin, end] = [begin_s, end_s].map(|at_s| timestamp(self.ms(at_s)));
        self.happened.push_back(Happening { kind, begin, end, percent });
    }
}
