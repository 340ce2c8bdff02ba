//! Admission: what waits for the log is bounded in bytes and in batches, over all callers.

use std::sync::Arc;
use std::time::Duration;

use downlink_storage::{Append, Appended, Batch, Error, Log, Opened};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::config::Config;
use crate::metrics::Permits;

/// The way into the log.
pub(crate) struct Ingest {
    log: Log,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    slots: Arc<Semaphore>,
    slots_max: usize,
    wait_max: Duration,
}

/// The right to hand one batch to the log. Given back when the batch is settled, also when its caller has gone.
pub(crate) struct Permit {
    _bytes: OwnedSemaphorePermit,
    _slot: OwnedSemaphorePermit,
}

/// What the log will say about a batch.
pub(crate) type Settled<T> = oneshot::Receiver<Result<T, Error>>;

impl Ingest {
    /// Into `log`, within the bounds of `config`.
    #[must_use]
    pub(crate) fn new(log: Log, config: &Config) -> Self {
        let bytes_max = config.append_bytes_in_flight_max;
        Self {
            log,
            bytes: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
            slots: Arc::new(Semaphore::new(config.append_queue_max)),
            slots_max: config.append_queue_max,
            wait_max: Duration::from_millis(config.append_wait_ms_max),
        }
    }

    /// Shows how much of its bounds is taken.
    pub(crate) fn watch(&self, permits: &Permits) {
        permits.watch("append_bytes", &self.bytes, self.bytes_max);
        permits.watch("append_queue", &self.slots, self.slots_max);
    }

    /// Waits until there is room for a batch of so many events and encoded bytes.
    pub(crate) async fn admit(&self, events: usize, encoded_bytes: usize) -> Permit {
        let cost =
            encoded_bytes.saturating_add(events.saturating_mul(Batch::EVENT_BYTES)).min(self.bytes_max);
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        let slot = self.slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let bytes = self.bytes.clone().acquire_many_owned(cost).await.expect("the semaphore is never closed");
        Permit { _bytes: bytes, _slot: slot }
    }

    /// As [`Self::admit`], but for no longer than a unary call may wait.
    ///
    /// # Errors
    /// `Overloaded` if there is no room in time.
    pub(crate) async fn admit_in_time(&self, events: usize, encoded_bytes: usize) -> Result<Permit, Error> {
        let waiting = tokio::time::timeout(self.wait_max, self.admit(events, encoded_bytes));
        waiting.await.map_err(|_| {
            let taken = self.bytes_max.saturating_sub(self.bytes.available_permits());
            Error::Overloaded { waiting: u64::try_from(taken / Batch::EVENT_BYTES).unwrap_or(u64::MAX) }
        })
    }

    /// Hands a batch to the log. The answer comes when it is durable or refused; `held`, its permit and whatever
    /// else must last as long, is given back then.
    #[must_use]
    pub(crate) fn append(&self, batch: Append, held: impl Send + 'static) -> Settled<Appended> {
        let (answer, settled) = oneshot::channel();
        self.log.append(batch, move |result| {
            drop(held);
            // Nobody listens when the caller has gone; the batch is settled all the same.
            let _ = answer.send(result);
        });
        settled
    }

    /// Takes a producer over from whoever had it.
    pub(crate) async fn open_producer(&self, id: Arc<str>, epoch: u64) -> Result<Opened, Error> {
        let permit = self.admit(0, 0).await;
        let (answer, opened) = oneshot::channel();
        self.log.open_producer(id, epoch, move |result| {
            drop(permit);
            let _ = answer.send(result);
        });
        outcome(opened).await
    }

    /// Enters events in the books that are refused before they reach the log.
    pub(crate) fn count_rejected(&self, events: usize) {
        if events > 0 {
            self.log.count_rejected(u64::try_from(events).unwrap_or(u64::MAX));
        }
    }

    /// The log's own name.
    #[must_use]
    pub(crate) fn log_id(&self) -> String {
        self.log.id().to_string()
    }
}

/// Waits for the log's answer.
///
/// # Errors
/// The log's; `Closed` if the log went away without an answer.
pub(crate) async fn outcome<T>(settled: Settled<T>) -> Result<T, Error> {
    settled.await.unwrap_or(Err(Error::Closed))
}
