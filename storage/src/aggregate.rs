//! Aggregates over time: what the events of signals come to in each bucket, from rollups where they fit and from the
//! blocks where they do not.
//!
//! The work is done in steps of about one block each, so that whoever waits can give up between them, and in groups of
//! signals, so that its memory does not grow with what is asked for. A group whose values change more often than there
//! is room for is done again in two halves; of a single signal, buckets are given away as soon as they are whole.

mod answer;
mod bucket;
mod buckets;
mod gather;
mod rows;
mod spans;
mod track;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

pub use bucket::{Bucket, Extremum, StateRange};
pub use buckets::Buckets;

use crate::aggregate::answer::Answer;
use crate::aggregate::gather::Gather;
use crate::aggregate::rows::{Finder, Rows};
use crate::aggregate::spans::{Window, times_of};
use crate::error::Error;
use crate::event::{Offset, SignalId, Timestamp};
use crate::rollup::units::Times;
use crate::shared::Shared;

/// Rollups and buckets in memory, over all signals of a group.
const SLOTS_MAX: i128 = 65_536;

/// What to aggregate.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateQuery {
    /// Of these signals, in the order of the answer.
    pub signals: Vec<SignalId>,
    /// Over these.
    pub buckets: Buckets,
    /// Whether it matters how long values hold.
    pub holding: Holding,
    /// The newest value of a signal holds until now.
    pub now: Timestamp,
}

/// What is wanted of how long values hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Nothing.
    Ignored,
    /// The mean weighted by time.
    Mean,
    /// The same, and the runs of equal values, at most so many in a bucket.
    States(usize),
}

/// What one step has come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// There is more to do.
    Working,
    /// The next buckets.
    Buckets(Vec<Bucket>),
    /// There are no more.
    Done,
}

/// An aggregate under way.
pub struct Aggregation {
    shared: Arc<Shared>,
    query: Arc<AggregateQuery>,
    head: Offset,
    groups: VecDeque<Range<usize>>,
    group: Option<Group>,
}

/// Some of the signals, and how far they are.
struct Group {
    answer: Answer,
    windows: VecDeque<Window>,
    stage: Stage,
}

/// What is done for one window of time.
enum Stage {
    Begin,
    Gather(Box<Gather>),
    Rows(Box<Rows>),
    /// Buckets are given away; some rows may be left for later ones.
    Answer(Option<Box<Rows>>),
}

/// What a step of a group has come to.
enum Progress {
    Step(Step),
    /// There is no room for what its values change to.
    Overflow,
}

impl Aggregation {
    pub(crate) fn new(shared: Arc<Shared>, query: AggregateQuery) -> Self {
        let head = shared.head();
        let slots = query.buckets.count() + query.buckets.bases();
        let at_once = usize::try_from((SLOTS_MAX / slots.max(1)).max(1)).unwrap_or(1);
        let count = query.signals.len();
        let groups = (0..count).step_by(at_once).map(|first| first..count.min(first + at_once)).collect();
        Self { shared, query: Arc::new(query), head, groups, group: None }
    }

    /// Every event below this offset is accounted for.
    #[must_use]
    pub fn as_of(&self) -> Offset {
        self.head
    }

    /// Goes on. Blocks on the disk, for about as long as it takes to read a block.
    pub fn step(&mut self) -> Result<Step, Error> {
        let group = match &mut self.group {
            Some(group) => group,
            None => {
                let Some(signals) = self.groups.pop_front() else { return Ok(Step::Done) };
                let answer = Answer::new(self.query.clone(), signals);
                let windows = Window::all(&self.query.buckets, SLOTS_MAX);
                self.group.insert(Group { answer, windows, stage: Stage::Begin })
            }
        };
        match group.step(&self.shared, &self.query, self.head)? {
            Progress::Step(Step::Done) => {
                self.group = None;
                Ok(Step::Working)
            }
            Progress::Step(step) => Ok(step),
            Progress::Overflow => {
                let Range { start, end } = group.answer.places();
                let middle = start.midpoint(end);
                self.groups.push_front(middle..end);
                self.groups.push_front(start..middle);
                self.group = None;
                Ok(Step::Working)
            }
        }
    }
}

impl Group {
    fn step(
        &mut self,
        shared: &Arc<Shared>,
        query: &AggregateQuery,
        head: Offset,
    ) -> Result<Progress, Error> {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Begin) {
            Stage::Begin => {
                let Some(window) = self.windows.pop_front() else {
                    return Ok(Progress::Step(Step::Done));
                };
                Stage::Gather(Box::new(Gather::new(shared, query, self.answer.signals(), window, head)))
            }
            Stage::Gather(mut gather) => match gather.step(shared)? {
                true => {
                    self.answer.begin(&mut gather);
                    Stage::Rows(Box::new(gather.into_rows()))
                }
                false => Stage::Gather(gather),
            },
            Stage::Rows(mut rows) => {
                let answer = &mut self.answer;
                let is_over = rows.step(shared, &mut |slot, time, sample| answer.row(slot, time, sample))?;
                if is_over {
                    answer.end(rows.incomplete());
                    Stage::Answer(None)
                } else if !answer.is_full() {
                    Stage::Rows(rows)
                } else if answer.signals().len() > 1 {
                    // So many signals have one window only: nothing has been given away.
                    return Ok(Progress::Overflow);
                } else {
                    answer.pause(rows.incomplete());
                    Stage::Answer(Some(rows))
                }
            }
            Stage::Answer(rows) => {
                let buckets = self.answer.take(shared)?;
                if !buckets.is_empty() {
                    self.stage = Stage::Answer(rows);
                    return Ok(Progress::Step(Step::Buckets(buckets)));
                }
                rows.map_or(Stage::Begin, Stage::Rows)
            }
        };
        Ok(Progress::Step(Step::Working))
    }
}

/// The earliest and the latest event time in the log.
pub(crate) fn event_times(shared: &Shared) -> Result<Option<Times>, Error> {
    let (rolled, head) = (shared.rollups.snapshot(&[]), shared.head());
    let units = rolled.units.iter().map(AsRef::as_ref).chain(rolled.open.as_ref().map(|(unit, _)| unit));
    let mut next = shared.segments.oldest();
    let (mut times, mut loose) = (Vec::new(), Vec::new());
    for unit in units {
        loose.push(next..unit.first);
        next = unit.end;
        times.extend(unit.times);
    }
    loose.push(next..head);
    let mut finder = Finder::new(loose);
    while !finder.step(shared, None, |_| true)? {}
    times.extend(finder.take().iter().map(times_of));
    Ok(times.into_iter().reduce(|(first, last), (from, to)| (first.min(from), last.max(to))))
}
