//! The gRPC door: limits, services, health, reflection.

mod admin;
mod aggregate;
mod append_stream;
mod arrival;
mod as_of;
mod batches;
mod checks;
mod codec;
mod connection;
mod consumer;
mod convert;
mod define;
mod definition;
mod departure;
mod door;
mod encode;
mod ingest;
mod latest;
mod log;
mod outbox;
mod position;
mod query;
mod read;
mod request;
mod status;
mod subscribe;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use downlink_proto::v1::admin_service_server::{self, AdminServiceServer};
use downlink_proto::v1::consumer_service_server::{self, ConsumerServiceServer};
use downlink_proto::v1::log_service_server::{self, LogServiceServer};
use downlink_proto::v1::query_service_server::{self, QueryServiceServer};
use downlink_proto::v1::{ErrorReason, ingest_service_server};
use downlink_storage::{Clock, Log, Offset, State};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower_layer::layer_fn;

use crate::config::Config;
use crate::ingest::Ingest;
use crate::shutdown::Tasks;
use departure::Departures;
use status::Refusal;

/// Every service by name, the server as a whole among them.
const SERVICES: [&str; 6] = [
    "",
    ingest_service_server::SERVICE_NAME,
    query_service_server::SERVICE_NAME,
    consumer_service_server::SERVICE_NAME,
    log_service_server::SERVICE_NAME,
    admin_service_server::SERVICE_NAME,
];
/// Headers of a call.
const HEADER_BYTES_MAX: u32 = 16 << 10;

/// What the services share.
pub(crate) struct Shared {
    /// The settings.
    pub(crate) config: Config,
    /// The log.
    pub(crate) log: Log,
    /// The way into it.
    pub(crate) ingest: Ingest,
    /// The checks of events.
    pub(crate) checks: checks::Checks,
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
    pub(crate) aggregates: Semaphore,
    /// Permits to read a piece of the log from disk.
    disk_reads: Semaphore,
    /// What the reports of subscriptions remember, in bytes.
    pub(crate) report_bytes: Arc<AtomicUsize>,
    /// The tasks.
    pub(crate) tasks: Tasks,
}

impl Shared {
    /// What the services need to serve `log`.
    pub(crate) fn new(config: Config, log: Log, clock: Arc<dyn Clock>, tasks: Tasks) -> Self {
        let (news, head) = watch::channel(log.head());
        let news = Arc::new(news);
        let listener = news.clone();
        log.on_commit(move |head| rise(&listener, head));
        // What was committed before the listener was there.
        rise(&news, log.head());
        let ingest = Ingest::new(log.clone(), &config);
        let checks = checks::Checks::new(&config, clock.clone());
        let readers = Arc::new(Semaphore::new(config.read_streams_max));
        let departures = Arc::new(Departures::new(config.large_read_bytes_in_flight_max, &config));
        let pages = Arc::new(Departures::new(config.page_bytes_in_flight_max, &config));
        let disk_reads = Semaphore::new(config.disk_reads_max);
        let aggregates = Semaphore::new(config.aggregates_max);
        Self {
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
            disk_reads,
            report_bytes: Arc::default(),
            tasks,
        }
    }

    /// How many bytes the next message to one of the present readers may have.
    pub(crate) fn reader_share_bytes(&self) -> usize {
        let readers = self.config.read_streams_max - self.readers.available_permits();
        // One in the making, those that wait, one on its way out.
        let messages = readers.max(1) * (outbox::MESSAGES_MAX + 2);
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

    /// Runs what reads the disk, when it is its turn.
    pub(crate) async fn disk<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        let _turn = self.disk_reads.acquire().await.expect("the semaphore is never closed");
        self.blocking(name, work).await
    }

    /// Runs what may block on a thread for that. A panic there is a defect: it stops the server.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        self.tasks.blocking(name, work).await.map_err(|_| {
            Refusal::new(
                ErrorReason::Internal,
                "the server has met a defect and stops; its log has the details",
            )
            .into()
        })
    }

    /// Waits no longer than a unary call may take.
    pub(crate) async fn in_time<T>(&self, call: impl Future<Output = T>) -> Result<T, Status> {
        let most = Duration::from_millis(self.config.unary_deadline_ms_max);
        let late = || Status::deadline_exceeded(format!("the call took longer than {} ms", most.as_millis()));
        tokio::time::timeout(most, call).await.map_err(|_| late())
    }
}

/// Tells those who watch the head, unless they know already.
fn rise(news: &watch::Sender<Offset>, head: Offset) {
    news.send_if_modified(|known| {
        let is_news = head > *known;
        *known = head.max(*known);
        is_news
    });
}

/// Serves until the tasks drain, then until every connection has ended or `broken` is cancelled.
///
/// # Errors
/// If it cannot serve at all.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    listener: TcpListener,
    broken: CancellationToken,
) -> anyhow::Result<()> {
    let config = &shared.config;
    let reporter = HealthReporter::new();
    for service in SERVICES {
        reporter.set_service_status(service, ServingStatus::Serving).await;
    }
    let health = tonic_health::server::HealthService::from_health_reporter(reporter.clone());
    shared.tasks.spawn("health", report_health(reporter, shared.log.clone(), shared.tasks.clone()));

    macro_rules! limited {
        ($server:expr) => {
            $server
                .accept_compressed(Zstd)
                .accept_compressed(Gzip)
                .max_decoding_message_size(config.request_bytes_max)
        };
    }
    let tasks = shared.tasks.clone();
    let bounds = door::Bounds::new(&shared);
    Server::builder()
        // For requests that take for ever to arrive: of a unary call it bounds the whole, of a stream only the
        // opening. What takes long in here ends a second earlier, with a better status than this has.
        .timeout(Duration::from_millis(config.unary_deadline_ms_max) + Duration::from_secs(1))
        .initial_stream_window_size(config.stream_window_bytes)
        .initial_connection_window_size(config.connection_window_bytes)
        .max_concurrent_streams(config.connection_streams_max)
        .http2_keepalive_interval(Some(Duration::from_millis(config.keepalive_interval_ms)))
        .http2_keepalive_timeout(Some(Duration::from_millis(config.keepalive_timeout_ms)))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .layer(layer_fn(move |routes| door::Door::new(routes, bounds.clone())))
        .add_service(ingest::IngestServer::new(shared.clone()))
        .add_service(limited!(QueryServiceServer::new(query::Query::new(shared.clone()))))
        .add_service(limited!(ConsumerServiceServer::new(consumer::Consumers::new(shared.clone()))))
        .add_service(limited!(LogServiceServer::new(log::LogFacts { shared: shared.clone() })))
        .add_service(limited!(AdminServiceServer::new(admin::Admin::new(shared.clone()))))
        .add_service(tonic_health::pb::health_server::HealthServer::new(health))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .serve_with_incoming_shutdown(
            connection::accept(listener, config.connections_max, broken),
            async move { tasks.draining().await },
        )
        .await?;
    Ok(())
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(downlink_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // So that the details of errors can be read at a prompt.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}

/// Tells who asks for health what the log can do, until the drain.
async fn report_health(mut reporter: HealthReporter, log: Log, tasks: Tasks) {
    let (news, mut changes) = watch::channel(());
    log.on_state(move |_| {
        news.send_replace(());
    });
    loop {
        changes.mark_unchanged();
        let ingest = match log.state() {
            // A full disk may have room again any moment; each append says how it is.
            State::Serving | State::DiskFull(_) => ServingStatus::Serving,
            State::ReadOnly(reason) => {
                tracing::error!(reason, "the log is read-only until the server is restarted");
                ServingStatus::NotServing
            }
        };
        reporter.set_service_status(ingest_service_server::SERVICE_NAME, ingest).await;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { break },
            () = tasks.draining() => break,
        }
    }
    tasks.draining().await;
    for service in SERVICES {
        reporter.set_service_status(service, ServingStatus::NotServing).await;
        // Who watches is told that, and then let go: a watch would keep its connection open for ever.
        reporter.clear_service_status(service).await;
    }
}
