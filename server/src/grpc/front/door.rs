//! What every call passes on its way in: a bounded number at once, and room for its messages.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use downlink_proto::FILE_DESCRIPTOR_SET;
use downlink_proto::v1::{ErrorReason, ingest_service_server};
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tracing::Instrument as _;

use super::health;
use super::primary::Primary;
use crate::config::Config;
use crate::grpc::call::methods::methods;
use crate::grpc::call::{Call, Calls};
use crate::grpc::ingest::arrival::{Arrival, Arrivals, Kind};
use crate::grpc::outbox::departure::Departing;
use crate::grpc::outbox::departure::Handover;
use crate::grpc::status::Refusal;
use crate::metrics::Metrics;

/// Calls that ask for health, at once. Most of them wait for news of it.
const HEALTH_CALLS_MAX: usize = 1_024;
/// What the names of services begin with that every server has.
const COMMON: &str = "grpc.";

/// The bounds of all calls.
#[derive(Clone)]
pub(crate) struct Bounds {
    calls: Arc<Semaphore>,
    /// Whether a server is well is told however busy it is.
    health_calls: Arc<Semaphore>,
    arrivals: Arc<Arrivals>,
    /// The methods that take a stream of messages.
    streams: Arc<HashSet<String>>,
    message_bytes_max: usize,
    request_bytes_max: usize,
    /// Where the log is changed, if not here.
    primary: Option<Primary>,
    observed: Calls,
}

impl Bounds {
    /// Those of the server.
    pub(crate) fn new(config: &Config, metrics: &Metrics, observed: Calls) -> Self {
        let (calls, arrivals) = (Arc::new(Semaphore::new(config.calls_max)), Arrivals::new(config));
        metrics.permits.watch("calls", &calls, config.calls_max);
        arrivals.watch(&metrics.permits);
        Self {
            calls,
            health_calls: Arc::new(Semaphore::new(HEALTH_CALLS_MAX)),
            arrivals: Arc::new(arrivals),
            streams: Arc::new(client_streams()),
            message_bytes_max: config.message_bytes_max,
            request_bytes_max: config.request_bytes_max,
            primary: Primary::of(config),
            observed,
        }
    }

    /// Bounds the messages of `request`.
    fn admit(&self, request: http::Request<Body>) -> http::Request<Body> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path().trim_start_matches('/');
        let (service, _) = path.rsplit_once('/').unwrap_or_default();
        let is_ingest = service == ingest_service_server::SERVICE_NAME;
        let bytes_max = if is_ingest { self.message_bytes_max } else { self.request_bytes_max };
        let kind = match service {
            _ if self.streams.contains(path) => Kind::Appends,
            _ if is_ingest => Kind::Append,
            _ if service.starts_with(COMMON) => Kind::Common,
            _ => Kind::Request,
        };
        let arrival = Arrival::new(self.arrivals.clone(), body, kind, bytes_max);
        let body = arrival.body();
        parts.extensions.insert(arrival);
        http::Request::from_parts(parts, body)
    }
}

/// The methods of the API that take a stream of messages, as "service/method".
fn client_streams() -> HashSet<String> {
    let streams = methods(FILE_DESCRIPTOR_SET).into_iter().filter(|(_, method)| method.client_streaming());
    streams.map(|(path, _)| path).collect()
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

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let mut call = self.bounds.observed.begin(&mut request);
        let is_health = request.uri().path().starts_with(health::PATH);
        let calls = if is_health { &self.bounds.health_calls } else { &self.bounds.calls };
        let Ok(permit) = calls.clone().try_acquire_owned() else {
            return refused(call, Refusal::new(ErrorReason::Quota, "too many calls at once"));
        };
        let refusal = self.bounds.primary.as_ref().and_then(|primary| primary.refuse(request.uri().path()));
        if let Some(refusal) = refusal {
            return refused(call, refusal);
        }
        let lines = call.log_span();
        let answering = lines.in_scope(|| self.inner.call(self.bounds.admit(request))).instrument(lines);
        Box::pin(async move {
            let mut response = answering.await?;
            let handover = response.extensions_mut().remove::<Handover>();
            call.answered(&mut response);
            Ok(response.map(|body| {
                Body::new(match handover {
                    Some(handover) => Departing::large(handover, call, permit),
                    None => Departing::new(body, call, permit),
                })
            }))
        })
    }
}

/// The answer to a call that does not get in.
fn refused(mut call: Call, refusal: Refusal) -> BoxFuture<http::Response<Body>, Infallible> {
    let mut response = Status::from(refusal).into_http();
    call.answered(&mut response);
    Box::pin(async { Ok(response) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_append_stream_takes_a_stream() {
        assert_eq!(client_streams(), HashSet::from(["downlink.v1.IngestService/AppendStream".to_owned()]));
    }
}
