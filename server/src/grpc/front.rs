//! The front: takes connections and calls from the beginning, and hands them to the services once the log is open.

mod connection;
mod door;
mod health;
mod primary;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use downlink_proto::v1::ErrorReason;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::pb::health_server::HealthServer;
use tower_layer::layer_fn;

use super::call::Calls;
use super::status::Refusal;
use crate::config::Config;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::observability::Tracer;

/// Headers of a call.
const HEADER_BYTES_MAX: u32 = 16 << 10;

/// What listens.
pub(crate) struct Front {
    /// Until the tasks drain, then until every connection has ended or `broken` is cancelled.
    pub(crate) serving: AbortOnDropHandle<anyhow::Result<()>>,
    /// Breaks every connection.
    pub(crate) broken: CancellationToken,
    services: watch::Sender<Option<Routes>>,
}

impl Front {
    /// Begins to listen: calls wait for the services, but those that ask how the server is.
    pub(crate) fn begin(
        config: &Config,
        listener: TcpListener,
        health: &Health,
        metrics: &Arc<Metrics>,
        tracer: &Tracer,
    ) -> Self {
        let (services, opened) = watch::channel(None);
        let wait_max = Duration::from_millis(config.start_wait_ms_max);
        let gate = Gate { services: opened, health: health::serve(health.clone()), wait_max };
        let tasks = health.tasks().clone();
        let bounds = door::Bounds::new(config, metrics, Calls::new(metrics.clone(), tracer.clone()));
        let broken = CancellationToken::new();
        let permits = Arc::new(Semaphore::new(config.connections_max));
        metrics.permits.watch("connections", &permits, config.connections_max);
        let connections = connection::accept(listener, permits, broken.clone());
        let serving = Server::builder()
            // For requests that take for ever to arrive: of a unary call it bounds the whole, of a stream only the
            // opening. What takes long in here ends a second earlier, with a better status than this has.
            .timeout(Duration::from_millis(config.unary_deadline_ms_max) + Duration::from_secs(1))
            .initial_stream_window_size(config.stream_window_bytes)
            .initial_connection_window_size(config.connection_window_bytes)
            .max_concurrent_streams(config.connection_streams_max)
            .http2_keepalive_interval(Some(Duration::from_millis(config.keepalive_interval_ms)))
            .http2_keepalive_timeout(Some(Duration::from_millis(config.keepalive_timeout_ms)))
            .http2_max_header_list_size(HEADER_BYTES_MAX)
            // The services come later, through the gate.
            .layer(layer_fn(move |_| door::Door::new(gate.clone(), bounds.clone())))
            .add_routes(Routes::default())
            .serve_with_incoming_shutdown(connections, async move { tasks.draining().await });
        let serving = AbortOnDropHandle::new(tokio::spawn(async { Ok(serving.await?) }));
        Self { serving, broken, services }
    }

    /// Hands all calls to the services from here on.
    pub(crate) fn open(&self, services: Routes) {
        self.services.send_replace(Some(services.prepare()));
    }
}

/// Where calls wait for the services.
#[derive(Clone)]
struct Gate {
    services: watch::Receiver<Option<Routes>>,
    health: HealthServer<health::Service>,
    wait_max: Duration,
}

impl Service<http::Request<Body>> for Gate {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path().starts_with(health::PATH) {
            return self.health.call(request);
        }
        if let Some(services) = &mut self.services.borrow().clone() {
            return Box::pin(services.call(request));
        }
        let (mut opened, wait_max) = (self.services.clone(), self.wait_max);
        Box::pin(async move {
            let services = timeout(wait_max, opened.wait_for(Option::is_some)).await;
            let services = services.ok().and_then(Result::ok).and_then(|services| services.clone());
            let Some(mut services) = services else {
                let refusal = Refusal::new(ErrorReason::Starting, "the log is being opened: come back later");
                return Ok(Status::from(refusal).into_http());
            };
            services.call(request).await
        })
    }
}
