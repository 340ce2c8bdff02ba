//! What the services share, and where their work is done.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use downlink_proto::v1::ErrorReason;
use downlink_storage::{Clock, Log, Offset};
use tokio::sync::{Semaphore, watch};
use tonic::Status;

use super::ingest::checks::Checks;
use super::outbox::departure::Departures;
use super::passage::MESSAGES_MAX;
use super::status::Refusal;
use crate::config::Config;
use crate::history::History;
use crate::ingest::Ingest;
use crate::metrics::Metrics;
use crate::observability::Tracer;
use crate::shutdown::Tasks;
use crate::{mirror, replica};

/// What the services share.
pub(crate) struct Shared {
    /// The settings.
    pub(crate) config: Config,
    /// The log.
    pub(crate) log: Log,
    /// The way into it.
    pub(crate) ingest: Ingest,
    /// The checks of events.
    pub(crate) checks: Checks,
    /// The clock.
    pub(crate) clock: Arc<dyn Clock>,
    /// The head, as it moves.
    pub(crate) head: watch::Receiver<Offset>,
    /// Permits to read a stream.
    pub(crate) readers: Arc<Semaphore>,
    /// Room for large messages to readers.
    pub(crate) departures: Arc<Departures>,
    /// Room for large pages.
    pub(crate) pages: Arc<Departures>,
    /// Permits to work on an aggregate.
    pub(crate) aggregates: Arc<Semaphore>,
    /// Where history is read.
    history: History,
    /// Permits to read a piece of the log from disk.
    disk_reads: Arc<Semaphore>,
    /// What the reports of subscriptions remember, in bytes.
    pub(crate) report_bytes: Arc<AtomicUsize>,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Who is told of traces.
    pub(crate) tracer: Tracer,
    /// The tasks.
    pub(crate) tasks: Tasks,
    /// How far the mirror is, if there is one.
    pub(crate) mirror: Option<Arc<mirror::Status>>,
    /// How far the replica is, if the log is one.
    pub(crate) replica: Option<Arc<replica::Status>>,
}

impl Shared {
    /// What the services need to serve `log`.
    ///
    /// # Errors
    /// If there can be no threads for history.
    pub(crate) fn new(
        config: Config,
        log: Log,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        (metrics, tracer): (Arc<Metrics>, Tracer),
        (mirror, replica): (Option<Arc<mirror::Status>>, Option<Arc<replica::Status>>),
    ) -> std::io::Result<Self> {
        let (news, head) = watch::channel(log.head());
        let news = Arc::new(news);
        let listener = news.clone();
        log.on_commit(move |head| rise(&listener, head));
        // What was committed before the listener was there.
        rise(&news, log.head());
        let ingest = Ingest::new(log.clone(), &config);
        let checks = Checks::new(&config, clock.clone());
        let readers = Arc::new(Semaphore::new(config.read_streams_max));
        let departures = Arc::new(Departures::new(config.large_read_bytes_in_flight_max, &config));
        let pages = Arc::new(Departures::new(config.page_bytes_in_flight_max, &config));
        let history = History::new(config.history_threads_max, config.background_niceness)?;
        let disk_reads = Arc::new(Semaphore::new(config.disk_reads_max));
        let aggregates = Arc::new(Semaphore::new(config.aggregates_max));
        log.observe(metrics.commits.clone());
        for (name, permits, most) in [
            ("read_streams", &readers, config.read_streams_max),
            ("disk_reads", &disk_reads, config.disk_reads_max),
            ("aggregates", &aggregates, config.aggregates_max),
        ] {
            metrics.permits.watch(name, permits, most);
        }
        departures.watch("large_read_bytes", &metrics.permits);
        pages.watch("page_bytes", &metrics.permits);
        ingest.watch(&metrics.permits);
        Ok(Self {
            config,
            log,
            ingest,
            checks,
            clock,
            head,
            readers,
            departures,
            pages,
            aggregates,
            history,
            disk_reads,
            report_bytes: Arc::default(),
            metrics,
            tracer,
            tasks,
            mirror,
            replica,
        })
    }

    /// How many bytes the next message to one of the present readers may have.
    pub(crate) fn reader_share_bytes(&self) -> usize {
        let readers = self.config.read_streams_max - self.readers.available_permits();
        // One in the making, those that wait, one on its way out.
        let messages = readers.max(1) * (MESSAGES_MAX + 2);
        self.config.read_bytes_in_flight_max / messages
    }

    /// Runs the work of a unary call on a thread for what may block, for as long as such a call may take.
    pub(crate) async fn unary<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        self.in_time(self.blocking(name, work)).await?
    }

    /// Runs the work of a unary call that asks for newest events: as what reads the disk if not all are in memory.
    pub(crate) async fn newest<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        if self.log.newest_are_in_memory() {
            self.unary(name, work).await
        } else {
            self.in_time(self.disk(name, work)).await?
        }
    }

    /// Runs what reads the disk, when it is its turn: as history.
    pub(crate) async fn disk<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        let turn = self.disk_reads.clone().acquire_owned().await.expect("the semaphore is never closed");
        // The turn lasts as long as the work does, also when nobody waits for it any more.
        let work = move || {
            let done = work();
            drop(turn);
            done
        };
        self.history(name, work).await
    }

    /// Runs what reads history, when it is its turn, on a thread that gives way to all others.
    pub(crate) async fn history<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        let reading = self.history.begin(work).await;
        self.tasks.outcome(name, reading).await.map_err(|_| defect())
    }

    /// Runs what may block on a thread for that. A panic there is a defect: it stops the server.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        self.tasks.blocking(name, work).await.map_err(|_| defect())
    }

    /// Waits no longer than a unary call may take.
    pub(crate) async fn in_time<T>(&self, call: impl Future<Output = T>) -> Result<T, Status> {
        let most = Duration::from_millis(self.config.unary_deadline_ms_max);
        let late = || Status::deadline_exceeded(format!("the call took longer than {} ms", most.as_millis()));
        tokio::time::timeout(most, call).await.map_err(|_| late())
    }
}

/// The answer to a call whose work has panicked.
fn defect() -> Status {
    let message = "the server has met a defect and stops; its log has the details";
    Refusal::new(ErrorReason::Internal, message).into()
}

/// Tells those who watch the head, unless they know already.
fn rise(news: &watch::Sender<Offset>, head: Offset) {
    news.send_if_modified(|known| {
        let is_news = head > *known;
        *known = head.max(*known);
        is_news
    });
}
