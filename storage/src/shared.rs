//! What the writer, the readers and the sealer have in common.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use uuid::Uuid;

use crate::api::Totals;
use crate::block::{Block, Tally};
use crate::chain::follower::Follower;
use crate::chain::links::Links;
use crate::error::Error;
use crate::event::{Offset, Timestamp};
use crate::observer::Observer;
use crate::passes::Passes;
use crate::projection::Projection;
use crate::rollup::builder::Rollups;
use crate::segments::Segments;

/// What the log can do at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Append and read.
    Serving,
    /// Read only, until there is room on the disk again.
    DiskFull(String),
    /// Read only, until the log is opened again.
    ReadOnly(String),
}

type Listeners<T> = RwLock<Vec<Box<dyn Fn(T) + Send + Sync>>>;

/// The log as everybody sees it. Changed by the writer only, the books excepted.
pub(crate) struct Shared {
    pub(crate) log_id: Uuid,
    pub(crate) segments: Segments,
    pub(crate) projection: RwLock<Projection>,
    newest_bytes_max: usize,
    pub(crate) books: Books,
    pub(crate) sealing: Passes,
    pub(crate) rollups: Rollups,
    pub(crate) chain: Follower,
    /// Whoever is at something long gives it up.
    pub(crate) closing: AtomicBool,
    /// Since the log was opened.
    pub(crate) commits: AtomicU64,
    head: AtomicU64,
    newest_ingest_time: RwLock<Option<Timestamp>>,
    tail: RwLock<Tail>,
    state: RwLock<State>,
    commit_listeners: Listeners<Offset>,
    state_listeners: Listeners<State>,
    observers: RwLock<Vec<Arc<dyn Observer>>>,
}

/// Events that got no offset, since the log began. Those that did are the offsets given out.
#[derive(Debug, Default)]
pub(crate) struct Books {
    duplicates: AtomicU64,
    rejected: AtomicU64,
}

/// The newest blocks, ready to read.
struct Tail {
    blocks: VecDeque<Arc<Block>>,
    bytes: usize,
    bytes_max: usize,
}

impl Shared {
    pub(crate) fn new(
        log_id: Uuid,
        (segments, links): (Segments, Links),
        derived: (Projection, Tally, Timestamp),
        head: Offset,
        (tail_bytes_max, newest_bytes_max): (usize, usize),
    ) -> Self {
        let (projection, tally, last_ingest_time) = derived;
        let newest_ingest_time = (head > segments.oldest()).then_some(last_ingest_time);
        Self {
            log_id,
            segments,
            projection: RwLock::new(projection),
            newest_bytes_max,
            books: Books {
                duplicates: AtomicU64::new(tally.duplicate_events),
                rejected: AtomicU64::new(tally.rejected_events),
            },
            sealing: Passes::default(),
            rollups: Rollups::default(),
            chain: Follower::new(links),
            closing: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            head: AtomicU64::new(head.get()),
            newest_ingest_time: RwLock::new(newest_ingest_time),
            tail: RwLock::new(Tail { blocks: VecDeque::new(), bytes: 0, bytes_max: tail_bytes_max }),
            state: RwLock::new(State::Serving),
            commit_listeners: RwLock::default(),
            state_listeners: RwLock::default(),
            observers: RwLock::default(),
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn head(&self) -> Offset {
        Offset::new(self.head.load(Ordering::Acquire)).unwrap_or(Offset::FIRST)
    }

    /// Ingest time of the newest event; `None` in an empty log.
    pub(crate) fn newest_ingest_time(&self) -> Option<Timestamp> {
        *self.newest_ingest_time.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A durable block becomes visible: to those who ask for state first, to those who wait for the head last.
    pub(crate) fn publish(&self, block: Arc<Block>) {
        self.projection.write().unwrap_or_else(PoisonError::into_inner).apply(&block, self.newest_bytes_max);
        let head = block.end_offset();
        let ingest_time = block.summary().ingest_time_last;
        *self.newest_ingest_time.write().unwrap_or_else(PoisonError::into_inner) = Some(ingest_time);
        self.tail.write().unwrap_or_else(PoisonError::into_inner).push(block);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.head.store(head.get(), Ordering::Release);
        for listener in &*self.commit_listeners.read().unwrap_or_else(PoisonError::into_inner) {
            listener(head);
        }
    }

    /// A block that contains `offset`, if it is among the newest.
    pub(crate) fn cached(&self, offset: Offset) -> Option<Arc<Block>> {
        let tail = self.tail.read().unwrap_or_else(PoisonError::into_inner);
        let position = tail.blocks.partition_point(|block| block.end_offset() <= offset);
        tail.blocks.get(position).filter(|block| block.first_offset() <= offset).cloned()
    }

    pub(crate) fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the state and tells the listeners, unless it is the same. Read-only is final.
    pub(crate) fn set_state(&self, state: State) {
        let mut current = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if *current == state || matches!(*current, State::ReadOnly(_)) {
            return;
        }
        *current = state.clone();
        drop(current);
        match &state {
            State::Serving => tracing::info!("the log accepts appends again"),
            State::DiskFull(reason) | State::ReadOnly(reason) => {
                tracing::error!(reason, "the log accepts no appends")
            }
        }
        for listener in &*self.state_listeners.read().unwrap_or_else(PoisonError::into_inner) {
            listener(state.clone());
        }
    }

    /// Whether the disk has room for another commit, which the state says from now on: running out in the middle of
    /// one cannot be mended.
    /// What has become of all events received, those below `head` being the ones appended.
    pub(crate) fn totals(&self, head: Offset) -> Totals {
        let tally = self.books.tally();
        let appended = head.since(self.segments.oldest());
        Totals {
            received: appended + tally.duplicate_events + tally.rejected_events,
            appended,
            duplicates: tally.duplicate_events,
            rejected: tally.rejected_events,
        }
    }

    pub(crate) fn note_room(&self, reserve_bytes: u64) -> Result<(), Error> {
        let free_bytes = self.segments.engine.free_bytes()?;
        if free_bytes < reserve_bytes {
            // The figures change all the time; the state does not.
            self.set_state(State::DiskFull(format!("less than {reserve_bytes} bytes are free on the disk")));
            return Err(Error::DiskFull { free_bytes, reserve_bytes });
        }
        self.set_state(State::Serving);
        Ok(())
    }

    pub(crate) fn on_commit(&self, listener: Box<dyn Fn(Offset) + Send + Sync>) {
        self.commit_listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    pub(crate) fn add_observer(&self, observer: Arc<dyn Observer>) {
        self.observers.write().unwrap_or_else(PoisonError::into_inner).push(observer);
    }

    /// Tells everybody who observes the log.
    pub(crate) fn observe(&self, tell: impl Fn(&dyn Observer)) {
        for observer in &*self.observers.read().unwrap_or_else(PoisonError::into_inner) {
            tell(observer.as_ref());
        }
    }

    pub(crate) fn on_state(&self, listener: Box<dyn Fn(State) + Send + Sync>) {
        self.state_listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }
}

impl Books {
    pub(crate) fn count_duplicates(&self, events: u64) {
        self.duplicates.fetch_add(events, Ordering::Relaxed);
    }

    pub(crate) fn count_rejected(&self, events: u64) {
        self.rejected.fetch_add(events, Ordering::Relaxed);
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally {
            duplicate_events: self.duplicates.load(Ordering::Relaxed),
            rejected_events: self.rejected.load(Ordering::Relaxed),
        }
    }
}

impl Tail {
    fn push(&mut self, block: Arc<Block>) {
        self.bytes += block.memory_bytes();
        self.blocks.push_back(block);
        while self.bytes > self.bytes_max && self.blocks.len() > 1 {
            let Some(oldest) = self.blocks.pop_front() else { return };
            self.bytes -= oldest.memory_bytes();
        }
    }
}
