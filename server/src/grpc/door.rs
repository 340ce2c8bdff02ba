//! What every call passes on its way in: a bounded number at once, and room for its messages.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use downlink_proto::v1::{ErrorReason, ingest_service_server};
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};

use super::arrival::{Arrival, Arrivals, Shape};
use super::departure::Departing;
use super::outbox::Handover;
use super::status::Refusal;
use crate::config::Config;

/// The bounds of all calls.
#[derive(Clone)]
pub(crate) struct Bounds {
    calls: Arc<Semaphore>,
    arrivals: Arc<Arrivals>,
    message_bytes_max: usize,
    request_bytes_max: usize,
}

impl Bounds {
    /// Those of the server.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(config.calls_max)),
            arrivals: Arc::new(Arrivals::new(config)),
            message_bytes_max: config.message_bytes_max,
            request_bytes_max: config.request_bytes_max,
        }
    }

    /// Bounds the messages of `request`.
    fn admit(&self, request: http::Request<Body>) -> http::Request<Body> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path().trim_start_matches('/');
        let (service, method) = path.rsplit_once('/').unwrap_or_default();
        let is_ingest = service == ingest_service_server::SERVICE_NAME;
        let bytes_max = if is_ingest { self.message_bytes_max } else { self.request_bytes_max };
        let is_stream = is_ingest && method == "AppendStream" || service.starts_with("grpc.reflection.");
        let shape = if is_stream { Shape::Stream } else { Shape::Single };
        let arrival = Arrival::new(self.arrivals.clone(), body, shape, bytes_max);
        let body = arrival.body();
        parts.extensions.insert(arrival);
        http::Request::from_parts(parts, body)
    }
}

/// A service behind the bounds.
#[derive(Clone)]
pub(crate) struct Door<S> {
    inner: S,
    bounds: Bounds,
}

impl<S> Door<S> {
    /// Before `inner`.
    pub(crate) fn new(inner: S, bounds: Bounds) -> Self {
        Self { inner, bounds }
    }
}

impl<S> Service<http::Request<Body>> for Door<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Ok(permit) = self.bounds.calls.clone().try_acquire_owned() else {
            let refusal = Refusal::new(ErrorReason::Quota, "too many calls at once");
            return Box::pin(async { Ok(Status::from(refusal).into_http()) });
        };
        let answering = self.inner.call(self.bounds.admit(request));
        Box::pin(async move {
            let mut response = answering.await?;
            let handover = response.extensions_mut().remove::<Handover>();
            Ok(response.map(|body| {
                Body::new(match handover.and_then(|handover| handover.take()) {
                    Some(encoding) => Departing::large(body, encoding, permit),
                    None => Departing::new(body, permit),
                })
            }))
        })
    }
}
