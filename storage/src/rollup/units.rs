//! A stretch of the log folded into rollups: each signal's, and where events are missing.

use std::collections::HashMap;
use std::ops::Range;

use crate::block::{Block, BlockSignal, Summary};
use crate::event::{Offset, SignalId, Timestamp};
use crate::rollup::{Rollup, Sample, Series, base_of};

/// A stretch of the log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unit {
    pub(crate) first: Offset,
    pub(crate) end: Offset,
    /// The earliest and the latest event time in it.
    pub(crate) times: Option<Times>,
    pub(crate) holes: Holes,
}

/// From, inclusive, to, inclusive.
pub(crate) type Times = (Timestamp, Timestamp);

/// Whether the event of this slot and time, with this value, is taken in.
pub(crate) type Judge<'a> = dyn FnMut(usize, Timestamp, &dyn Fn() -> Sample) -> bool + 'a;

/// Times in which events may be missing, found while the log is read in its order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Holes {
    pub(crate) found: Vec<Times>,
    /// The last block begins here; what is missing behind it most likely does not begin before.
    before: Timestamp,
    is_open: bool,
}

/// The rollups of several signals in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fold {
    slots: HashMap<SignalId, usize>,
    pub(crate) series: Vec<(SignalId, Series)>,
    /// All rollups.
    pub(crate) len: usize,
}

impl Unit {
    /// Nothing yet, from `first` on.
    pub(crate) fn new(first: Offset) -> Self {
        Self { first, end: first, times: None, holes: Holes::default() }
    }

    /// Takes note of the next block.
    pub(crate) fn pass(&mut self, block: &Block) {
        let Summary { event_time_min, event_time_max, .. } = block.summary();
        self.holes.pass(&block.summary());
        self.times = Some(match self.times {
            Some((from, to)) => (from.min(event_time_min), to.max(event_time_max)),
            None => (event_time_min, event_time_max),
        });
        self.end = block.end_offset();
    }

    /// Whether it has events between these.
    pub(crate) fn touches(&self, (from, to): Times) -> bool {
        self.times.is_some_and(|(first, last)| first <= to && from <= last)
    }
}

impl Default for Holes {
    fn default() -> Self {
        Self { found: Vec::new(), before: Timestamp::MIN, is_open: false }
    }
}

impl Holes {
    /// Some that were found before.
    pub(crate) fn known(found: Vec<Times>) -> Self {
        Self { found, ..Self::default() }
    }

    /// Events are missing here.
    pub(crate) fn gap(&mut self) {
        self.is_open = true;
    }

    /// The next block that there is.
    pub(crate) fn pass(&mut self, block: &Summary) {
        if std::mem::take(&mut self.is_open) {
            self.found.push((self.before, block.event_time_max));
        }
        self.before = block.event_time_min;
    }

    /// All of them, as of now.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Times> {
        let open = self.is_open.then_some((self.before, Timestamp::MAX));
        self.found.iter().copied().chain(open)
    }
}

impl Fold {
    /// Of these signals only, in this order.
    pub(crate) fn of(signals: &[SignalId]) -> Self {
        let slots = signals.iter().enumerate().map(|(slot, signal)| (*signal, slot)).collect();
        Self { slots, series: signals.iter().map(|signal| (*signal, Series::new())).collect(), len: 0 }
    }

    /// The series of a signal.
    pub(crate) fn get(&self, signal: SignalId) -> Option<&Series> {
        Some(&self.series[*self.slots.get(&signal)?].1)
    }

    /// Makes room for signals that come for the first time.
    pub(crate) fn learn(&mut self, signals: &[BlockSignal]) {
        for signal in signals {
            self.slots.entry(signal.id).or_insert_with(|| {
                self.series.push((signal.id, Series::new()));
                self.series.len() - 1
            });
        }
    }

    /// Takes those rows of a block in that are of its signals and wanted.
    pub(crate) fn take(&mut self, block: &Block, offsets: Range<Offset>, wants: &mut Judge<'_>) {
        let slots = self.slots_of(block);
        for_rows(block, offsets, &slots, |slot, row| {
            let time = block.columns.event_time[row];
            let sample = || sample(block, row);
            if wants(slot, time, &sample) {
                self.join(slot, base_of(time), Rollup::of(time, sample()));
            }
        });
    }

    /// The slot of each of the block's signals, where it has one.
    pub(crate) fn slots_of(&self, block: &Block) -> Vec<Option<usize>> {
        block.signals().iter().map(|signal| self.slots.get(&signal.id).copied()).collect()
    }

    /// Takes a rollup in whose events have higher offsets than all before.
    pub(crate) fn join(&mut self, slot: usize, base: i64, rollup: Rollup) {
        let series = &mut self.series[slot].1;
        match series.last_mut() {
            Some((last, known)) if *last == base => known.join(rollup),
            Some((last, _)) if *last > base => match series.binary_search_by_key(&base, |(base, _)| *base) {
                Ok(place) => series[place].1.join(rollup),
                Err(place) => {
                    series.insert(place, (base, rollup));
                    self.len += 1;
                }
            },
            Some(_) | None => {
                series.push((base, rollup));
                self.len += 1;
            }
        }
    }
}

/// Visits the rows within `offsets` whose signals have a slot.
pub(crate) fn for_rows(
    block: &Block,
    offsets: Range<Offset>,
    slots: &[Option<usize>],
    mut visit: impl FnMut(usize, usize),
) {
    let row = |offset: Offset| (offset.since(block.first_offset()) as usize).min(block.len());
    let rows = row(offsets.start)..row(offsets.end);
    for (row, signal) in rows.clone().zip(&block.columns.signal[rows]) {
        if let Some(slot) = slots[*signal as usize] {
            visit(slot, row);
        }
    }
}

/// The value in a row.
pub(crate) fn sample(block: &Block, row: usize) -> Sample {
    Sample::new(block.columns.value(row), block.first_offset().plus(row as u64))
}
