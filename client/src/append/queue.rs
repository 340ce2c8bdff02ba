//! What the appender's caller and its task share: the batch in the making and those ready to go.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use downlink_proto::v1::Event;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::RejectedBatch;
use super::batch::{BatchBuilder, BatchLimits, EncodedBatch};
use crate::Encoding;

const REJECTIONS_KEPT_MAX: usize = 1000;

/// The appender's task is gone.
#[derive(Debug)]
pub(super) struct Closed;

/// Shared state. A batch that is sealed holds a permit until it is settled.
#[derive(Debug)]
pub(super) struct Queue {
    limits: BatchLimits,
    delay_max: Duration,
    state: Mutex<State>,
    permits: Semaphore,
    work: Notify,
}

#[derive(Debug, Default)]
struct State {
    builder: BatchBuilder,
    /// When the oldest event in the builder has waited long enough.
    due: Option<Instant>,
    sealed: VecDeque<EncodedBatch>,
    sealed_batches: u64,
    rejections: VecDeque<RejectedBatch>,
    closing: bool,
}

impl State {
    fn seal(&mut self) {
        self.due = None;
        if !self.builder.is_empty() {
            self.sealed.push_back(self.builder.take());
            self.sealed_batches += 1;
        }
    }
}

/// What the task finds when it looks.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) sealed: VecDeque<EncodedBatch>,
    /// When to look again, unless something happens before.
    pub(super) due: Option<Instant>,
    pub(super) closing: bool,
}

impl Queue {
    pub(super) fn new(
        limits: BatchLimits,
        encoding: Encoding,
        delay_max: Duration,
        window_batches: usize,
    ) -> Self {
        let permits = Semaphore::new(window_batches.max(1));
        let state = State { builder: BatchBuilder::new(encoding), ..State::default() };
        Self { limits, delay_max, state: Mutex::new(state), permits, work: Notify::new() }
    }

    /// Adds an event to the batch in the making. False when that has no room: it must be sealed first.
    pub(super) fn push(&self, event: &Event) -> bool {
        let mut state = self.lock();
        if !state.builder.fits(event, self.limits) {
            return false;
        }
        state.builder.push(event);
        if state.builder.is_full(self.limits) {
            if let Ok(permit) = self.permits.try_acquire() {
                permit.forget();
                state.seal();
                self.work.notify_one();
            }
        } else if state.due.is_none() {
            state.due = Some(Instant::now() + self.delay_max);
            self.work.notify_one();
        }
        true
    }

    /// Seals the batch in the making, once the window has room.
    pub(super) async fn seal(&self) -> Result<(), Closed> {
        let permit = self.permits.acquire().await.map_err(|_closed| Closed)?;
        let mut state = self.lock();
        if !state.builder.is_empty() {
            permit.forget();
            state.seal();
            self.work.notify_one();
        }
        Ok(())
    }

    /// How many batches have been sealed since the beginning.
    pub(super) fn sealed_batches(&self) -> u64 {
        self.lock().sealed_batches
    }

    /// Says that nothing more will come.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }

    pub(super) fn take_rejections(&self) -> Vec<RejectedBatch> {
        self.lock().rejections.drain(..).collect()
    }

    // For the task.

    /// Takes what is ready to go, a batch that has waited long enough included.
    pub(super) fn take_work(&self) -> Work {
        let mut state = self.lock();
        let full = state.builder.is_full(self.limits);
        if (full || state.due.is_some_and(|due| due <= Instant::now()))
            && let Ok(permit) = self.permits.try_acquire()
        {
            permit.forget();
            state.seal();
        }
        // Without a permit there is nothing to do at that time: the next settled batch brings one.
        let due = state.due.filter(|_| self.permits.available_permits() > 0);
        Work { sealed: std::mem::take(&mut state.sealed), due, closing: state.closing }
    }

    /// Until there may be work.
    pub(super) async fn work(&self) {
        self.work.notified().await;
    }

    /// So many batches are settled: the window has room for as many.
    pub(super) fn settled(&self, batches: usize) {
        self.permits.add_permits(batches);
    }

    pub(super) fn rejected(&self, rejected: RejectedBatch) {
        let mut state = self.lock();
        if state.rejections.len() == REJECTIONS_KEPT_MAX {
            state.rejections.pop_front();
        }
        state.rejections.push_back(rejected);
    }

    /// The task ends: whoever waits for room need not.
    pub(super) fn fail(&self) {
        self.permits.close();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }
}
