//! Gathers the rollups of a window: from disk, from memory, and of events that are in none yet.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::aggregate::rows::{BlockReader, Finder, Rows};
use crate::aggregate::spans::{Cut, Window, times_of};
use crate::aggregate::{AggregateQuery, Holding};
use crate::block::Summary;
use crate::error::Error;
use crate::event::{Offset, SignalId, Timestamp};
use crate::rollup::builder::Rolled;
use crate::rollup::units::{Fold, Times, Unit};
use crate::rollup::{Point, Sample, Series, base_of};
use crate::shared::Shared;

/// A stretch of the log, and where its rollups come from.
enum Piece {
    Stored(Arc<Unit>),
    Memory(Unit, Vec<Series>),
    /// From the blocks: looked for, or found.
    Loose(Finder),
    Found(VecDeque<Summary>),
}

/// The newest event before the window, as far as is known.
type Before = Option<(Timestamp, Offset, Sample)>;

/// What is known of a window so far.
pub(crate) struct Gather {
    signals: Vec<SignalId>,
    window: Window,
    holding: Holding,
    cut: Cut,
    /// In the order of the log: rollups are joined in it.
    pieces: VecDeque<Piece>,
    /// Units that may hold what came before the window, those that end last first.
    earlier: VecDeque<Arc<Unit>>,
    fold: Fold,
    before: Vec<Before>,
    reader: BlockReader,
    incomplete: Vec<Times>,
    /// Where events of cut times may be.
    ranges: Vec<(Range<Offset>, Option<Times>)>,
}

impl Gather {
    pub(crate) fn new(
        shared: &Shared,
        query: &AggregateQuery,
        signals: &[SignalId],
        window: Window,
        head: Offset,
    ) -> Self {
        let mut gather = Self {
            signals: signals.to_vec(),
            window,
            holding: query.holding,
            cut: Cut::new(window, &query.buckets),
            pieces: VecDeque::new(),
            earlier: VecDeque::new(),
            fold: Fold::of(signals),
            before: vec![None; signals.len()],
            reader: BlockReader::default(),
            incomplete: Vec::new(),
            ranges: Vec::new(),
        };
        gather.plan(shared.rollups.snapshot(signals), shared.segments.oldest(), head);
        shared.rollups.wake_if_behind(head);
        gather
    }

    /// Which pieces of the log matter.
    fn plan(&mut self, rolled: Rolled, oldest: Offset, head: Offset) {
        let times = self.window.times();
        let mut next = oldest;
        for unit in rolled.units {
            self.loose(next..unit.first);
            next = unit.end;
            self.incomplete.extend(unit.holes.iter());
            self.ranges.push((unit.first..unit.end, Some(unit.times.unwrap_or(times))));
            if unit.touches(times) && !self.cut.is_all() {
                self.pieces.push_back(Piece::Stored(unit));
            } else if self.wants_before() && unit.times.is_some_and(|(first, _)| first < times.0) {
                self.earlier.push_back(unit);
            }
        }
        if let Some((unit, series)) = rolled.open {
            self.loose(next..unit.first);
            next = unit.end.max(next);
            self.incomplete.extend(unit.holes.iter());
            self.ranges.push((unit.first..unit.end, unit.times));
            self.pieces.push_back(Piece::Memory(unit, series));
        }
        self.loose(next..head);
        self.earlier.make_contiguous().sort_by_key(|unit| std::cmp::Reverse(unit.times));
    }

    fn loose(&mut self, range: Range<Offset>) {
        if range.start < range.end {
            self.ranges.push((range.clone(), None));
            self.pieces.push_back(Piece::Loose(Finder::new([range])));
        }
    }

    /// Whether it matters what came before the window.
    fn wants_before(&self) -> bool {
        self.holding != Holding::Ignored && self.window.is_first
    }

    /// Goes on by a block or a unit; `true` when all is there.
    pub(crate) fn step(&mut self, shared: &Shared) -> Result<bool, Error> {
        if let Some(piece) = self.pieces.pop_front() {
            self.piece(shared, piece)?;
            return Ok(false);
        }
        if let Some(unit) = self.earlier.pop_front() {
            self.look_before(shared, &unit);
            return Ok(false);
        }
        self.leave_to_blocks();
        Ok(true)
    }

    fn piece(&mut self, shared: &Shared, piece: Piece) -> Result<(), Error> {
        match piece {
            Piece::Stored(unit) => {
                let series: Result<Vec<Series>, _> =
                    self.signals.iter().map(|signal| shared.rollups.series(&unit, *signal)).collect();
                match series {
                    Ok(series) => self.join(unit.first, series),
                    Err(_) => self.pieces.push_front(Piece::Loose(Finder::new([unit.first..unit.end]))),
                }
            }
            Piece::Memory(unit, series) => self.join(unit.first, series),
            Piece::Loose(mut finder) => {
                let (window, wants_before) = (self.window.times(), self.wants_before());
                let wants = |block: &Summary| {
                    let (first, last) = times_of(block);
                    first <= window.1 && (last >= window.0 || wants_before)
                };
                if finder.step(shared, Some(&self.signals), wants)? {
                    self.incomplete.extend(finder.holes());
                    self.pieces.push_front(Piece::Found(finder.take().into()));
                } else {
                    self.pieces.push_front(Piece::Loose(finder));
                }
            }
            Piece::Found(mut blocks) => {
                let Some(block) = blocks.pop_front() else { return Ok(()) };
                self.fold(shared, &block)?;
                self.pieces.push_front(Piece::Found(blocks));
            }
        }
        Ok(())
    }

    /// Takes rollups in, one series for each signal.
    fn join(&mut self, unit: Offset, series: Vec<Series>) {
        let (reach, last) = self.window.times();
        for (slot, series) in series.into_iter().enumerate() {
            for (base, rollup) in series {
                if base > base_of(last) || rollup.first.time > last {
                    break;
                }
                if rollup.last.time < reach {
                    consider(&mut self.before[slot], rollup.last.time, unit, || rollup.last.sample);
                } else if !self.cut.has(base) {
                    self.fold.join(slot, base, rollup);
                }
            }
        }
    }

    /// Takes events in that no rollup holds.
    fn fold(&mut self, shared: &Shared, block: &Summary) -> Result<(), Error> {
        let (reach, last) = self.window.times();
        let (fold, before, cut) = (&mut self.fold, &mut self.before, &self.cut);
        self.reader.read(shared, block, |block, offsets| {
            let unit = offsets.start;
            fold.take(block, offsets, &mut |slot, time, sample| {
                if time < reach {
                    consider(&mut before[slot], time, unit, sample);
                }
                time >= reach && time <= last && !cut.has(base_of(time))
            });
        })
    }

    /// Looks for what came before the window in a unit, unless what is known is later than anything there.
    fn look_before(&mut self, shared: &Shared, unit: &Arc<Unit>) {
        let reach = self.window.reach();
        for (slot, signal) in self.signals.iter().enumerate() {
            let before = &mut self.before[slot];
            let is_later = |(_, last): Times| before.as_ref().is_none_or(|(time, ..)| *time <= last);
            if !unit.times.is_some_and(is_later) {
                continue;
            }
            let Ok(series) = shared.rollups.series(unit, *signal) else {
                let blocks = Finder::new([unit.first..unit.end]);
                self.pieces.push_back(Piece::Loose(blocks));
                return;
            };
            let earlier = series.partition_point(|(_, rollup)| rollup.last.time < reach);
            if let Some((_, rollup)) = earlier.checked_sub(1).map(|last| &series[last]) {
                consider(before, rollup.last.time, unit.first, || rollup.last.sample.clone());
            }
        }
    }

    /// What rollups cannot tell is left to the blocks.
    fn leave_to_blocks(&mut self) {
        let is_unknown = |rollup: &crate::rollup::Rollup| match (self.holding, rollup.held) {
            (Holding::Ignored, _) => false,
            (Holding::Mean | Holding::States(_), None) => true,
            (Holding::Mean, Some(_)) => false,
            (Holding::States(_), Some(held)) => held.changes > 0,
        };
        let all = self.fold.series.iter().flat_map(|(_, series)| series);
        let unknown: Vec<i64> = all.filter(|(_, rollup)| is_unknown(rollup)).map(|(base, _)| *base).collect();
        unknown.into_iter().for_each(|base| self.cut.insert(base));
        let cut = &self.cut;
        self.fold.series.iter_mut().for_each(|(_, series)| series.retain(|(base, _)| !cut.has(*base)));
    }

    /// The rollups and what came before them, for each signal.
    pub(crate) fn take(&mut self) -> Vec<(Series, Option<Point>)> {
        let series = std::mem::take(&mut self.fold.series).into_iter().map(|(_, series)| series);
        let before = std::mem::take(&mut self.before).into_iter();
        let before = before.map(|before| before.map(|(time, _, sample)| Point { time, sample }));
        series.zip(before).collect()
    }

    pub(crate) fn window(&self) -> Window {
        self.window
    }

    /// Times in which events are missing.
    pub(crate) fn incomplete(&self) -> Vec<Times> {
        self.incomplete.iter().chain(&self.reader.lost).copied().collect()
    }

    /// What has to be read from the blocks.
    pub(crate) fn into_rows(self) -> Rows {
        let cut = self.cut;
        let ranges =
            self.ranges.into_iter().filter(|(_, times)| times.is_none_or(|times| cut.touches(times)));
        let mut merged: Vec<Range<Offset>> = Vec::new();
        for (range, _) in ranges {
            match merged.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                Some(_) | None => merged.push(range),
            }
        }
        Rows::new(cut, self.signals, merged)
    }
}

/// Keeps the later of two events, the later in the log of two at the same time.
fn consider(before: &mut Before, time: Timestamp, unit: Offset, sample: impl FnOnce() -> Sample) {
    if before.as_ref().is_none_or(|(known, of, _)| (*known, *of) <= (time, unit)) {
        *before = Some((time, unit, sample()));
    }
}
