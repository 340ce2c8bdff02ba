//! Events on their way into the copy: gathered into batches, a few of which are under way at a time.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use downlink_storage::{Copied, CopiedEvent, Error, Log, Offset};

/// Events in a batch.
const BATCH_EVENTS_MAX: usize = 8_192;
/// Their bytes, encoded: the batch ends with the event that brings it there.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Batches under way.
const UNDER_WAY_MAX: usize = 4;

/// What became of a batch.
type Answer = Result<(), Error>;

/// The way into the copy.
pub(super) struct Copier {
    log: Log,
    batch: Copied,
    bytes: usize,
    under_way: usize,
    answers: (SyncSender<Answer>, Receiver<Answer>),
    /// Called when there is an answer.
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Copier {
    /// Into `log`, from its head on. Calls `wake`, which must not block, whenever something has been settled.
    pub(super) fn new(log: Log, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let batch = Copied::new(log.head(), 0);
        let answers = sync_channel(UNDER_WAY_MAX);
        Self { log, batch, bytes: 0, under_way: 0, answers, wake: Arc::new(wake) }
    }

    /// Adds the next event, which has so many bytes. Waits while too much is under way.
    pub(super) fn push(&mut self, event: CopiedEvent<'_>, bytes: usize) -> Result<(), Error> {
        self.batch.push(event)?;
        self.bytes += bytes;
        let is_full = self.batch.len() >= BATCH_EVENTS_MAX || self.bytes >= BATCH_BYTES_MAX;
        if is_full { self.hand_in_in_turn() } else { Ok(()) }
    }

    /// Sees what has been settled, and hands in what there is if nothing is under way.
    pub(super) fn advance(&mut self) -> Result<(), Error> {
        while let Ok(answer) = self.answers.1.try_recv() {
            self.under_way -= 1;
            answer?;
        }
        if self.under_way == 0 {
            self.hand_in();
        }
        Ok(())
    }

    /// Returns when everything is durable.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        self.hand_in_in_turn()?;
        while self.under_way > 0 {
            self.answer()?;
        }
        Ok(())
    }

    /// The offset after the last event.
    pub(super) fn end(&self) -> Offset {
        self.batch.end()
    }

    fn hand_in_in_turn(&mut self) -> Result<(), Error> {
        while self.under_way >= UNDER_WAY_MAX {
            self.answer()?;
        }
        self.hand_in();
        Ok(())
    }

    fn hand_in(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let next = Copied::new(self.batch.end(), self.batch.len());
        let batch = std::mem::replace(&mut self.batch, next);
        self.bytes = 0;
        self.under_way += 1;
        let (answers, wake) = (self.answers.0.clone(), self.wake.clone());
        // There is room for the answers of all that are under way; nobody listens any more after a failure.
        self.log.append_copied(batch, move |answer| {
            drop(answers.try_send(answer.map(drop)));
            wake();
        });
    }

    fn answer(&mut self) -> Answer {
        let answer = self.answers.1.recv().unwrap_or(Err(Error::Closed));
        self.under_way -= 1;
        answer
    }
}

/// The next session begins at the head: it must not move any more.
impl Drop for Copier {
    fn drop(&mut self) {
        while self.under_way > 0 {
            // What failed has been told, or will be met again.
            let _ = self.answer();
        }
    }
}
