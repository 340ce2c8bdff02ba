//! HTTP: how the server is, for orchestrators, monitoring and people, from the first moment until the very end.

mod accept;
mod health;
mod log_filter;
mod metrics;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use crate::config::Config;
use crate::grpc::Shared;
use crate::health::Health;
use crate::metrics::Metrics;

/// What a request may bring.
const BODY_BYTES_MAX: usize = 4 << 10;

/// What is said at `/`.
const PATHS: &str = "Downlink\n\n/livez   whether the process should live on\n/readyz  whether it serves all it is for, or what is the matter\n/readyz/reads  whether it answers readers\n/metrics  what Prometheus collects\n/log_filter  which log lines are written; PUT others\n";

/// What is known of the server.
#[derive(Clone)]
pub(crate) struct Known {
    health: Health,
    metrics: Arc<Metrics>,
    /// What the services share, once the log is open. It lives as long as they do.
    shared: Arc<OnceLock<Weak<Shared>>>,
    /// One looks at a time: it may block on the disk.
    looking: Arc<tokio::sync::Mutex<()>>,
}

impl Known {
    /// Of a server that begins to open its log.
    pub(crate) fn new(health: Health, metrics: Arc<Metrics>) -> Self {
        Self { health, metrics, shared: Arc::default(), looking: Arc::default() }
    }
}

/// What serves HTTP, until it is dropped.
pub(crate) struct Door {
    address: SocketAddr,
    known: Known,
    _serving: AbortOnDropHandle<()>,
}

impl Door {
    /// Begins to serve on `listener`. Within a runtime.
    ///
    /// # Errors
    /// If `listener` does not know its address.
    pub(crate) fn begin(config: &Config, listener: TcpListener, known: Known) -> anyhow::Result<Self> {
        let address = listener.local_addr().context("the HTTP listener has no address")?;
        tracing::info!(%address, "serving HTTP");
        let patience = Duration::from_millis(config.http_timeout_ms_max);
        let routes = routes(known.clone())
            .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX))
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, patience));
        let permits = Arc::new(Semaphore::new(config.http_connections_max));
        known.metrics.permits.watch("http_connections", &permits, config.http_connections_max);
        let serving = accept::serve(listener, routes, permits, patience);
        Ok(Self { address, known, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) })
    }

    /// The log is open.
    pub(crate) fn opened(&self, shared: &Arc<Shared>) {
        // There is one log to a server.
        let _ = self.known.shared.set(Arc::downgrade(shared));
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

fn routes(known: Known) -> Router {
    Router::new()
        .route("/", get(|| async { PATHS }))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/readyz/reads", get(health::ready_for_reads))
        .route("/metrics", get(metrics::metrics))
        .route("/log_filter", get(log_filter::get).put(log_filter::put))
        .with_state(known)
}
