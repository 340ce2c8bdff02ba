//! The [`Appender`]: many events in, each in the log exactly once, whatever breaks meanwhile.

mod batch;
mod driver;
mod queue;
mod stream;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use downlink_proto::v1::Event;
use downlink_proto::v1::append_stream_request::Open;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use batch::{BatchBuilder, EncodedBatch};
pub use stream::AppendStream;

use crate::{Client, Encoding, Error, Refusal, Result, trace};
use batch::BatchLimits;
use driver::Driver;
use queue::Queue;

/// How many bytes of the server's limit on a batch are left for what is around its events.
const BATCH_FRAME_BYTES: u32 = 32;

/// Who appends, and in which portions. Memory is bounded by `window_batches` × `batch_bytes_max` and an event.
#[derive(Clone, Debug)]
pub struct AppenderOptions {
    /// The producer's name for itself, stable across its restarts: what it has on disk is never kept twice. Empty:
    /// a name that nobody else has, so that at least retries are harmless.
    pub producer_id: String,
    /// A new epoch starts afresh and fences every lower one.
    pub producer_epoch: u64,
    /// Events in a batch, at most; the server's own limit holds as well.
    pub batch_events_max: usize,
    /// Bytes in a batch, at most; the server's own limit holds as well. A larger event travels alone.
    pub batch_bytes_max: usize,
    /// How its events travel. In columns a batch has only events with a time of their own, or only such without.
    pub encoding: Encoding,
    /// How long an event may wait for company.
    pub batch_delay_max: Duration,
    /// Batches sent and not yet acknowledged, at most.
    pub window_batches: usize,
    /// For how long to try again while nothing gets through.
    pub retry_for: Duration,
    /// What to do about refused events.
    pub on_reject: OnReject,
}

/// What an appender does about events that the server refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReject {
    /// Stops, with the refusal as the error. A batch with a bad event is refused as a whole.
    Fail,
    /// Goes on; [`Appender::take_rejections`] has them. The good events of a batch are kept.
    Collect,
}

impl AppenderOptions {
    /// The options of a producer, with defaults for the rest.
    pub fn new(producer_id: impl Into<String>) -> Self {
        Self {
            producer_id: producer_id.into(),
            producer_epoch: 0,
            batch_events_max: 1000,
            batch_bytes_max: 512 << 10,
            encoding: Encoding::Rows,
            batch_delay_max: Duration::from_millis(5),
            window_batches: 16,
            retry_for: Duration::from_secs(60),
            on_reject: OnReject::Fail,
        }
    }

    fn open(&self) -> Open {
        Open {
            producer_id: self.producer_id.clone(),
            producer_epoch: self.producer_epoch,
            allow_partial: self.on_reject == OnReject::Collect,
        }
    }
}

/// What became of the events of an appender so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Batches that are settled: on disk or refused.
    pub batches: u64,
    /// Events that are on disk.
    pub durable_events: u64,
    /// Events that were refused.
    pub rejected_events: u64,
    /// How often the connection had to be made again.
    pub reconnects: u64,
    /// The offset of the newest event on disk; 0: none.
    pub last_offset: u64,
}

/// Where a producer stood when its appender was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResumePoint {
    /// How many events of this producer and epoch are on disk: a source that is a file goes on behind them.
    pub durable_events: u64,
    /// The newest sequence on disk; 0: none.
    pub last_sequence: u64,
    /// The offset of the last event on disk; 0: none.
    pub last_offset: u64,
    /// The identity of the log.
    pub log_id: String,
}

/// A batch that the server refused, or a part of it.
#[derive(Clone, Debug)]
pub struct RejectedBatch {
    /// Which batch.
    pub sequence: u64,
    /// How many of its events were refused.
    pub events: u32,
    /// Why: the first reason, where there are several.
    pub refusal: Refusal,
    /// Index in the batch and reason of each refused event, where the others were kept.
    pub rejections: Vec<(u32, Refusal)>,
}

impl fmt::Display for RejectedBatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} events of batch {} were refused: {}", self.events, self.sequence, self.refusal)
    }
}

/// A stream of appends. Dropping it forgets what is not yet acknowledged: [`Appender::finish`] waits for it.
#[derive(Debug)]
pub struct Appender {
    queue: Arc<Queue>,
    progress: watch::Receiver<Progress>,
    driver: JoinHandle<()>,
    url: String,
    resume_point: ResumePoint,
}

/// How far an appender is, for those who watch it.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// What became of the events.
    pub totals: Totals,
    /// Why there is no connection at present, if there is none.
    pub disconnected: Option<String>,
    pub(crate) failure: Option<Error>,
    pub(crate) finished: bool,
}

impl Appender {
    pub(crate) async fn open(client: Client, mut options: AppenderOptions) -> Result<Self> {
        if options.producer_id.is_empty() {
            options.producer_id = format!("client/{}", uuid::Uuid::new_v4());
        }
        let url = client.url().to_owned();
        let (stream, opened) = AppendStream::open(&client, options.open(), options.window_batches).await?;
        let resume_point = ResumePoint {
            durable_events: opened.durable_events,
            last_sequence: opened.last_durable_sequence,
            last_offset: opened.last_offset,
            log_id: opened.log_id.clone(),
        };
        let bytes_max = match opened.max_batch_bytes.saturating_sub(BATCH_FRAME_BYTES) as usize {
            0 => options.batch_bytes_max,
            bytes_max => options.batch_bytes_max.min(bytes_max),
        };
        let events_max = match opened.max_batch_events as usize {
            0 => options.batch_events_max,
            events_max => options.batch_events_max.min(events_max),
        };
        let limits = BatchLimits { events_max: events_max.max(1), bytes_max };
        let queue =
            Arc::new(Queue::new(limits, options.encoding, options.batch_delay_max, options.window_batches));
        let (driver, progress) = Driver::new(client, options, Arc::clone(&queue), &opened)?;
        // The task "appender" ends when the appender is finished or dropped, or has failed for good.
        let driver = tokio::spawn(driver.run(stream));
        Ok(Self { queue, progress, driver, url, resume_point })
    }

    /// Where the producer stood when this appender was opened.
    pub fn resume_point(&self) -> &ResumePoint {
        &self.resume_point
    }

    /// How far it is; can be watched from another task.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Hands an event over. Waits while the window is full: that is the backpressure. An error is final, and
    /// may concern an earlier event.
    pub async fn append(&mut self, event: &Event) -> Result<()> {
        let event = trace::placed(event);
        while !self.queue.push(&event) {
            self.seal().await?;
        }
        Ok(())
    }

    /// Waits until everything handed over is on disk.
    pub async fn flush(&mut self) -> Result<Totals> {
        self.seal().await?;
        let batches = self.queue.sealed_batches();
        let until = |progress: &Progress| progress.failure.is_some() || progress.totals.batches >= batches;
        self.wait(until).await
    }

    /// Waits until everything handed over is on disk, and closes the stream.
    pub async fn finish(mut self) -> Result<Totals> {
        self.flush().await?;
        self.queue.close();
        self.wait(|progress| progress.failure.is_some() || progress.finished).await
    }

    /// The refusals since the last time, with [`OnReject::Collect`]. Only the latest 1,000 are kept.
    pub fn take_rejections(&mut self) -> Vec<RejectedBatch> {
        self.queue.take_rejections()
    }

    /// Sends what is waiting for company on its way, as soon as the window has room.
    async fn seal(&self) -> Result<()> {
        match self.queue.seal().await {
            Ok(()) => Ok(()),
            Err(queue::Closed) => Err(self.failure()),
        }
    }

    async fn wait(&mut self, until: impl FnMut(&Progress) -> bool) -> Result<Totals> {
        let progress = self.progress.wait_for(until).await.map(|progress| progress.clone());
        match progress {
            Ok(Progress { failure: Some(error), .. }) => Err(error),
            Ok(Progress { totals, .. }) => Ok(totals),
            Err(_gone) => Err(self.failure()),
        }
    }

    fn failure(&self) -> Error {
        let failure = self.progress.borrow().failure.clone();
        // Without a failure the task was ended from outside, together with its runtime.
        let reason = "the appender's task has ended".to_owned();
        failure.unwrap_or_else(|| Error::ConnectionLost { url: self.url.clone(), reason })
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
