//! Rolls the log up behind the writer, on a thread of its own: a part in memory, whole units on disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::error::Error;
use crate::event::{Offset, SignalId};
use crate::passes::Passes;
use crate::read::{self, Chunk};
use crate::rollup::Series;
use crate::rollup::store::{Damaged, UnitStore};
use crate::rollup::units::{Fold, Unit};
use crate::shared::Shared;

/// Events after which the thread is woken; fewer are read from the blocks by who needs them.
const NUDGE_EVENTS: u64 = 65_536;

/// Rollups in memory: with more, a unit is written down before it has all its events.
const ROLLUPS_MAX: usize = 65_536;

/// The rollups of the log. They lag behind its head: what they do not hold is in the blocks.
#[derive(Default)]
pub(crate) struct Rollups {
    pub(crate) passes: Passes,
    state: RwLock<State>,
    store: OnceLock<UnitStore>,
    nudge_at: AtomicU64,
}

#[derive(Default)]
struct State {
    units: Vec<Arc<Unit>>,
    /// The unit in the making, in memory.
    open: Option<(Unit, Fold)>,
    /// A unit whose rollups were found damaged: it and all after it are made again.
    distrusted: Option<Offset>,
}

/// The rollups as of one moment: every event below `end` is in exactly one of its units.
pub(crate) struct Rolled {
    pub(crate) units: Vec<Arc<Unit>>,
    /// The last unit, from memory: the rollups of the signals asked for, in their order.
    pub(crate) open: Option<(Unit, Vec<Series>)>,
}

impl Rollups {
    /// What is rolled up, with the part in memory for these signals.
    pub(crate) fn snapshot(&self, signals: &[SignalId]) -> Rolled {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let open = state.open.as_ref().map(|(unit, fold)| {
            let series = signals.iter().map(|signal| fold.get(*signal).cloned().unwrap_or_default());
            (unit.clone(), series.collect())
        });
        Rolled { units: state.units.clone(), open }
    }

    /// The rollups of a signal in a unit on disk.
    pub(crate) fn series(&self, unit: &Unit, signal: SignalId) -> Result<Series, Damaged> {
        let found = self.store.get().ok_or(Damaged)?.series(unit, signal);
        found.inspect_err(|_| {
            tracing::warn!(unit = %unit.first, signal = signal.0, "damaged rollups: they are made again");
            self.state.write().unwrap_or_else(PoisonError::into_inner).distrusted = Some(unit.first);
            self.passes.request();
        })
    }

    /// The head has moved. Never waits.
    pub(crate) fn nudge(&self, head: Offset) {
        if head.get() >= self.nudge_at.load(Ordering::Relaxed) {
            self.nudge_at.store(u64::MAX, Ordering::Relaxed);
            self.passes.request();
        }
    }

    /// Somebody reads the log up to `head`: what is not rolled up now will be wanted again.
    pub(crate) fn wake_if_behind(&self, head: Offset) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let is_behind = state.open.as_ref().is_none_or(|(unit, _)| unit.end < head);
        drop(state);
        if is_behind {
            self.passes.request();
        }
    }

    /// Works until the log is closed.
    pub(crate) fn run(&self, shared: &Shared, events_max: u64, reserve_bytes: u64) {
        let begin = || {
            let mut builder = Builder { shared, rollups: self, events_max, reserve_bytes };
            builder.begin();
            builder
        };
        let pass = |builder: &mut Builder<'_>| {
            if let Err(error) = builder.catch_up() {
                tracing::warn!(%error, "rollups are behind: aggregates read the blocks instead");
            }
            self.nudge_at.store(shared.head().plus(NUDGE_EVENTS).get(), Ordering::Relaxed);
        };
        self.passes.work(|| shared.is_closing(), begin, pass);
    }
}

/// The thread at work.
struct Builder<'a> {
    shared: &'a Shared,
    rollups: &'a Rollups,
    events_max: u64,
    reserve_bytes: u64,
}

impl Builder<'_> {
    /// Goes on where the process before has left off.
    fn begin(&mut self) {
        let engine = self.shared.segments.engine.as_ref();
        let units = match UnitStore::find(engine, self.shared.log_id) {
            Ok(Some(store)) => {
                let units = store.load(self.shared.head());
                let _ = self.rollups.store.set(store);
                units
            }
            Ok(None) => Vec::new(),
            Err(error) => {
                tracing::warn!(%error, "the rollups cannot be read");
                Vec::new()
            }
        };
        let mut state = self.rollups.state.write().unwrap_or_else(PoisonError::into_inner);
        state.units = units.into_iter().map(Arc::new).collect();
    }

    /// Rolls up what is there.
    fn catch_up(&mut self) -> Result<(), Error> {
        while !self.shared.is_closing() {
            let from = self.resume();
            if from >= self.shared.head() {
                return Ok(());
            }
            match read::read(self.shared, from, None)? {
                Chunk::Block(block) => {
                    let mut state = self.state();
                    let Some((unit, fold)) = state.open.as_mut() else { continue };
                    fold.learn(block.signals());
                    fold.take(&block, from..block.end_offset(), &mut |_, _, _| true);
                    unit.pass(&block);
                    let is_full = unit.end.since(unit.first) >= self.events_max || fold.len >= ROLLUPS_MAX;
                    drop(state);
                    if is_full {
                        self.flush()?;
                    }
                }
                Chunk::Gap { end, .. } | Chunk::Skipped { end } => {
                    if let Some((unit, _)) = self.state().open.as_mut() {
                        unit.holes.gap();
                        unit.end = end;
                    }
                }
                Chunk::Head => return Ok(()),
            }
        }
        Ok(())
    }

    fn state(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.rollups.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where to go on; gives up what is damaged, or what retention has removed a part of.
    fn resume(&self) -> Offset {
        let oldest = self.shared.segments.oldest();
        let mut state = self.state();
        if let Some(distrusted) = state.distrusted.take() {
            state.units.retain(|unit| unit.first < distrusted);
            state.open = None;
        }
        if state.units.first().is_some_and(|unit| unit.first < oldest) {
            state.units.retain(|unit| unit.first >= oldest);
            // What remains must follow the oldest event without a gap, or be made again.
            if state.units.first().is_some_and(|unit| unit.first > oldest) {
                state.units.clear();
                state.open = None;
            }
        }
        if state.open.as_ref().is_some_and(|(unit, _)| unit.first < oldest) {
            state.open = None;
        }
        let end = state.units.last().map_or(oldest, |unit| unit.end);
        state.open.get_or_insert_with(|| (Unit::new(end), Fold::default())).0.end
    }

    /// Writes the unit in memory down and begins the next.
    fn flush(&self) -> Result<(), Error> {
        let engine = self.shared.segments.engine.as_ref();
        let free_bytes = engine.free_bytes()?;
        if free_bytes < self.reserve_bytes {
            return Err(Error::DiskFull { free_bytes, reserve_bytes: self.reserve_bytes });
        }
        if self.rollups.store.get().is_none() {
            let _ = self.rollups.store.set(UnitStore::open(engine, self.shared.log_id)?);
        }
        let store = self.rollups.store.get().expect("set above");
        // Readers go on meanwhile; nobody but this thread writes.
        let written = {
            let state = self.rollups.state.read().unwrap_or_else(PoisonError::into_inner);
            let Some((unit, fold)) = state.open.as_ref() else { return Ok(()) };
            store.save(unit, fold)?;
            unit.clone()
        };
        let mut state = self.state();
        let next = written.end;
        state.units.push(Arc::new(written));
        state.open = Some((Unit::new(next), Fold::default()));
        Ok(())
    }
}
