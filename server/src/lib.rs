//! The Downlink server: takes telemetry in over gRPC, keeps it in the log, hands it out.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use downlink_server::{Server, config::Config};
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let server = Server::open(Config::standard(), listener).await?;
//! println!("{}", server.address());
//! server.serve(async { /* until this completes */ }).await
//! # }
//! ```

mod accept;
mod blocks;
pub mod config;
mod consumers;
mod follow;
mod grpc;
mod health;
mod history;
mod http;
mod ingest;
mod kafka;
mod metrics;
mod mirror;
pub mod observability;
mod offsets;
mod query;
pub mod replica;
mod report;
pub mod shutdown;
mod sync;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use downlink_storage::{Clock, Log, SystemClock};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout, timeout_at};

use config::Config;
use grpc::{Front, Shared};
use health::{Health, Subjects};
pub use metrics::FeedFigures;
use metrics::Metrics;
use observability::Tracer;
use shutdown::Tasks;

/// Where a server is to listen. A listener alone is one for gRPC, without HTTP.
pub struct Listeners {
    /// For gRPC.
    pub grpc: TcpListener,
    /// For HTTP, if that is wanted.
    pub http: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(grpc: TcpListener) -> Self {
        Self { grpc, http: None }
    }
}

/// Opens the log of `config`, serves it on `listeners` until `shutdown` completes, and drains.
///
/// # Errors
/// If the log cannot be opened, or if a defect has ended the server.
pub async fn run(
    config: Config,
    listeners: impl Into<Listeners>,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    Server::open(config, listeners).await?.serve(shutdown).await
}

/// As [`run`], on a log that is open already, such as one on an engine that fails on command.
///
/// # Errors
/// If a defect has ended the server.
pub async fn run_with_log(
    config: Config,
    log: Log,
    listeners: impl Into<Listeners>,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    Server::with_log(config, log, Arc::new(SystemClock), listeners)?.serve(shutdown).await
}

/// How long the last spans may take to be sent.
const TRACES_WAIT: Duration = Duration::from_secs(1);

/// A server whose log is open.
pub struct Server {
    drain_max: Duration,
    log: Log,
    doors: Doors,
}

/// Where callers come in.
struct Doors {
    address: SocketAddr,
    front: Front,
    http: Option<http::Door>,
    health: Health,
    metrics: Arc<Metrics>,
    tracer: Tracer,
}

impl Doors {
    /// Opens them: callers wait for the log, and may ask what it is at.
    fn open(config: &Config, listeners: Listeners) -> anyhow::Result<Self> {
        let Listeners { grpc: listener, http } = listeners;
        let address = listener.local_addr().context("the listener has no address")?;
        let is_there = config.data_dir.join("segments").exists();
        let health = Health::beginning(Tasks::default(), is_there);
        let metrics = Arc::new(Metrics::new(grpc::rpcs()));
        let known = || http::Known::new(health.clone(), metrics.clone());
        let http = http.map(|listener| http::Door::begin(config, listener, known())).transpose()?;
        let tracer = Tracer::new(config, &metrics.spans)?;
        let front = Front::begin(config, listener, &health, &metrics, &tracer);
        Ok(Self { address, front, http, health, metrics, tracer })
    }
}

impl Server {
    /// Opens the log of `config`, and serves it. Callers may connect meanwhile: their calls wait, and if that takes long they
    /// are told to come back.
    ///
    /// # Errors
    /// If the log cannot be opened.
    pub async fn open(config: Config, listeners: impl Into<Listeners>) -> anyhow::Result<Self> {
        let doors = Doors::open(&config, listeners.into())?;
        let dir = config.data_dir.clone();
        let (settings, stop) = (config.clone(), doors.health.tasks().clone());
        let opening = tokio::task::spawn_blocking(move || replica::open(&settings, &stop));
        let log = opening.await.context("opening the log has panicked")?.with_context(|| {
            format!("cannot open the log in {} (choose another place with --data-dir)", dir.display())
        })?;
        Self::begin(config, log, Arc::new(SystemClock), doors)
    }

    /// On a log that is open already, by a clock of the caller's. Within a runtime.
    ///
    /// # Errors
    /// If a listener does not know its address.
    pub fn with_log(
        config: Config,
        log: Log,
        clock: Arc<dyn Clock>,
        listeners: impl Into<Listeners>,
    ) -> anyhow::Result<Self> {
        let doors = Doors::open(&config, listeners.into())?;
        Self::begin(config, log, clock, doors)
    }

    fn begin(config: Config, log: Log, clock: Arc<dyn Clock>, doors: Doors) -> anyhow::Result<Self> {
        let tasks = doors.health.tasks();
        let drain_max = Duration::from_millis(config.drain_ms_max);
        let mirror_behind_max = Duration::from_millis(config.mirror_behind_ms_max);
        let mirror = mirror::start(&config, &log, &clock, tasks, &doors.tracer);
        let replica = replica::start(&config, &log, tasks);
        let subjects = Subjects {
            log: log.clone(),
            mirror: mirror.clone(),
            replica: replica.clone(),
            clock: clock.clone(),
            mirror_behind_max,
        };
        observability::trace(&log, &doors.tracer, Duration::from_millis(config.trace_slow_commit_ms));
        let told = (doors.metrics.clone(), doors.tracer.clone());
        let copies = (mirror, replica);
        let shared = Arc::new(Shared::new(config, log.clone(), clock, tasks.clone(), told, copies)?);
        if let Some(http) = &doors.http {
            http.opened(&shared);
        }
        doors.front.open(grpc::services(&shared)?);
        doors.health.opened(subjects);
        Ok(Self { drain_max, log, doors })
    }

    /// Where it serves gRPC.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.doors.address
    }

    /// Where it serves HTTP, if it does.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.doors.http.as_ref().map(http::Door::address)
    }

    /// Takes note of a feed in this process: `/metrics` has what it says of itself.
    pub fn tell_feed(&self, name: &'static str, figures: impl Fn() -> FeedFigures + Send + Sync + 'static) {
        self.doors.metrics.has_feed(name, figures);
    }

    /// Serves on until `shutdown` completes, then drains: streams are told, what is queued is settled and
    /// acknowledged, the log is closed. After `drain_ms_max` it leaves anyway.
    ///
    /// # Errors
    /// If a defect has ended the server.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { drain_max, log, doors } = self;
        // HTTP tells how it goes until the very end.
        let Doors { mut front, http: _http, health, tracer, .. } = doors;
        let tasks = health.tasks();
        let early = tokio::select! {
            () = shutdown => None,
            () = tasks.failed() => None,
            ended = &mut front.serving => Some(ended),
        };
        tasks.drain();
        let deadline = Instant::now() + drain_max;
        // Some of the time is for the log.
        let streams_deadline = Instant::now() + drain_max * 4 / 5;
        // Whatever has ended it, the log is closed.
        let ended = match early {
            Some(ended) => ended.context("the gRPC server has panicked").flatten(),
            None => drain_connections(front, tasks, streams_deadline).await,
        };

        let closing = tasks.blocking("close", move || log.close());
        if timeout_at(deadline, closing).await.is_err() {
            tracing::warn!("the log did not close in time");
        }
        let _ = tasks.blocking("traces", move || tracer.end(TRACES_WAIT)).await;
        ended?;
        if tasks.has_failed() {
            bail!("a defect has ended the server: its log has the details");
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Lets every stream finish, or breaks the connections that take too long.
async fn drain_connections(mut front: Front, tasks: &Tasks, deadline: Instant) -> anyhow::Result<()> {
    /// How long a broken connection may take to notice.
    const BREAKING: Duration = Duration::from_millis(200);

    if let Ok(ended) = timeout_at(deadline, &mut front.serving).await {
        ended.context("the gRPC server has panicked")??;
    } else {
        tracing::warn!("some connections did not end in time and are broken");
        front.broken.cancel();
        // Whatever does not end now is left behind.
        let _ = timeout(BREAKING, &mut front.serving).await;
    }
    let _ = timeout(BREAKING, tasks.ended()).await;
    Ok(())
}

#[cfg(test)]
mod tests;
