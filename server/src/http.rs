//! HTTP: how the server is, for orchestrators and people, from the first moment until the very end.

mod accept;
mod health;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use crate::config::Config;
use crate::health::Health;

/// What a request may bring.
const BODY_BYTES_MAX: usize = 4 << 10;

/// What is said at `/`.
const PATHS: &str = "Downlink\n\n/livez   whether the process should live on\n/readyz  whether it serves all it is for, or what is the matter\n/readyz/reads  whether it answers readers\n";

/// What serves HTTP, until it is dropped.
pub(crate) struct Door {
    address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Door {
    /// Begins to serve on `listener`. Within a runtime.
    ///
    /// # Errors
    /// If `listener` does not know its address.
    pub(crate) fn begin(config: &Config, listener: TcpListener, health: Health) -> anyhow::Result<Self> {
        let address = listener.local_addr().context("the HTTP listener has no address")?;
        tracing::info!(%address, "serving HTTP");
        let patience = Duration::from_millis(config.http_timeout_ms_max);
        let routes = routes(health)
            .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX))
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, patience));
        let serving = accept::serve(listener, routes, config.http_connections_max, patience);
        Ok(Self { address, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

fn routes(health: Health) -> Router {
    Router::new()
        .route("/", get(|| async { PATHS }))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/readyz/reads", get(health::ready_for_reads))
        .with_state(health)
}
