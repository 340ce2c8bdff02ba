//! What is seen of every call from outside, from its beginning to its end: metrics and traces are both made from this.
//!
//! In a trace a unary call is a span. A stream is a short one for its opening, and then a span linked to it for every
//! stretch of at most 30 s in which something was sent: nobody would see one that lasts as long as the stream before its end.

pub(super) mod measure;
pub(super) mod methods;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use downlink_proto::FILE_DESCRIPTOR_SET;
use downlink_storage::Offset;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::codegen::http::HeaderMap;
use tonic::metadata::MetadataMap;

use self::methods::methods;
use super::convert;
use super::passage::Passage;
use crate::metrics::{self, Metrics};
use crate::observability::{Began, Kind, Links, Place, Span, Tracer};

/// How long a stretch of a stream lasts at most.
const STRETCH_MAX: Duration = Duration::from_secs(30);
/// Calls of other services are counted, and not traced.
const TRACED: &str = "downlink.";

/// What an append has brought: beside the answer, if its trace is kept.
#[derive(Clone)]
pub(crate) struct Brought {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) first: Option<Offset>,
}

/// Who is told of calls.
#[derive(Clone)]
pub(crate) struct Calls {
    metrics: Arc<Metrics>,
    tracer: Tracer,
    /// The methods in which messages follow each other, either way.
    streams: Arc<HashSet<String>>,
}

impl Calls {
    /// Those of a server.
    pub(crate) fn new(metrics: Arc<Metrics>, tracer: Tracer) -> Self {
        let methods = methods(FILE_DESCRIPTOR_SET).into_iter();
        let streams = methods.filter(|(_, method)| method.client_streaming() || method.server_streaming());
        Self { metrics, tracer, streams: Arc::new(streams.map(|(path, _)| path).collect()) }
    }

    /// A call begins. If its trace is kept, what serves it finds its place there with the request.
    pub(crate) fn begin(&self, request: &mut http::Request<Body>) -> Call {
        let counted = metrics::Call::begin(&self.metrics, request.uri().path());
        let is_traced = self.tracer.is_on() && counted.method().starts_with(TRACED);
        let traced = is_traced.then(|| {
            let parent = Place::of_caller(request.headers());
            let place = self.tracer.begin(parent.as_ref());
            if place.is_sampled() {
                request.extensions_mut().insert(place.clone());
            }
            let is_stream = self.streams.contains(counted.method());
            Traced {
                tracer: self.tracer.clone(),
                parent,
                place,
                began: Began::now(),
                is_stream,
                brought: None,
                stretch: None,
            }
        });
        Call { counted, traced }
    }
}

/// One call. It has been cancelled when it is dropped before it has ended.
pub(crate) struct Call {
    counted: metrics::Call,
    /// Until it has ended, if it has a place in a trace.
    traced: Option<Traced>,
}

impl Call {
    /// For log lines about it; none unless its trace is kept.
    pub(crate) fn log_span(&self) -> tracing::Span {
        let place = self.traced.as_ref().map(|traced| &traced.place).filter(|place| place.is_sampled());
        place.map_or_else(tracing::Span::none, Place::log_span)
    }

    /// Its answer begins so, which is all of it if the headers are a refusal.
    pub(crate) fn answered(&mut self, response: &mut http::Response<Body>) {
        let brought = response.extensions_mut().remove();
        let headers = response.headers_mut();
        let refused = measure::ending(headers);
        if let Some(traced) = &mut self.traced {
            traced.brought = brought;
            if traced.place.is_sampled() {
                traced.place.tell(headers);
            }
            if refused.is_none() && traced.is_stream {
                traced.opened(self.counted.method(), Code::Ok);
            }
        }
        if let Some((code, reason)) = refused {
            self.counted.end(code.into(), &reason);
            if let Some(traced) = self.traced.take() {
                traced.opened(self.counted.method(), code);
            }
        }
    }

    /// So many bytes of its answer are about to leave.
    pub(crate) fn sends(&mut self, bytes: usize) {
        if let Some(traced) = self.traced.as_mut().filter(|traced| traced.is_stream) {
            traced.sends(self.counted.method(), bytes as u64);
        }
    }

    /// A message of its answer, the bytes of which are told of as well, has left with this.
    pub(crate) fn delivers(&mut self, passage: Passage) {
        if let (Some(traced), Some(end)) = (&mut self.traced, passage.end) {
            traced.delivers(self.counted.method(), passage, end);
        }
    }

    /// Its answer ends with these trailers, if they say so.
    pub(crate) fn ended(&mut self, trailers: &HeaderMap) {
        let Some((code, reason)) = measure::ending(trailers) else { return };
        self.counted.end(code.into(), &reason);
        self.end_trace(code);
    }

    fn end_trace(&mut self, code: Code) {
        if let Some(traced) = self.traced.take() {
            traced.ended(self.counted.method(), code);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end_trace(Code::Cancelled);
    }
}

/// Its place in a trace, and what there is to be told of it there.
struct Traced {
    tracer: Tracer,
    parent: Option<Place>,
    place: Place,
    began: Began,
    is_stream: bool,
    brought: Option<Brought>,
    /// Of a stream, what has been sent lately.
    stretch: Option<Stretch>,
}

/// What a stream has sent in a while.
struct Stretch {
    began: Began,
    /// From its beginning to what was sent last.
    lasted: Duration,
    bytes: u64,
    /// None but for those that deliver events.
    delivered: Option<Delivered>,
}

/// Events that a stream has sent in a while.
#[derive(Default)]
struct Delivered {
    events: u64,
    links: Links,
    /// How many came after the last of them.
    lag_events: u64,
    next_offset: u64,
}

impl Traced {
    /// It has been answered, or opened if it is a stream.
    fn opened(&self, method: &str, code: Code) {
        let mut span = Span::new(self.place.clone(), Kind::Server, method.to_owned(), self.began.until_now());
        if let Some(Brought { events, bytes, first }) = &self.brought {
            span = span
                .with("downlink.events", *events as i64)
                .with("downlink.bytes", *bytes as i64)
                .with("downlink.first_offset", first.map_or(0, Offset::get).cast_signed());
        }
        self.keep(of_call(span.under(self.parent.clone()), method, code), code);
    }

    fn sends(&mut self, method: &str, bytes: u64) {
        self.stretch(method).bytes += bytes;
    }

    fn delivers(&mut self, method: &str, passage: Passage, end: Offset) {
        let delivered = self.stretch(method).delivered.get_or_insert_default();
        delivered.events += passage.contents.events;
        delivered.links.join(passage.contents.links);
        delivered.lag_events = passage.lag_events;
        delivered.next_offset = end.get();
    }

    /// The stretch that what is sent now belongs to.
    fn stretch(&mut self, method: &str) -> &mut Stretch {
        if self.stretch.as_ref().is_some_and(|stretch| stretch.began.lasted() >= STRETCH_MAX) {
            self.end_stretch(method, Code::Ok);
        }
        let fresh = || Stretch { began: Began::now(), lasted: Duration::ZERO, bytes: 0, delivered: None };
        let stretch = self.stretch.get_or_insert_with(fresh);
        stretch.lasted = stretch.began.lasted();
        stretch
    }

    fn end_stretch(&mut self, method: &str, code: Code) {
        let Some(Stretch { began, lasted, bytes, delivered }) = self.stretch.take() else { return };
        let is_linked = delivered.as_ref().is_some_and(|delivered| !delivered.links.is_empty());
        // Who subscribes without a trace still delivers events of those that are kept.
        let is_kept = self.place.is_sampled() || is_linked && self.parent.is_none();
        if !is_kept && !has_failed(code) {
            return;
        }
        let what = if delivered.is_some() { "deliver" } else { "answer" };
        let (place, when) = (self.tracer.begin(Some(&self.place)), (began.at(), lasted));
        let mut span = Span::new(place, Kind::Internal, format!("{method} {what}"), when)
            .linked(Some(self.place.clone()).filter(Place::is_sampled))
            .with("downlink.sent_bytes", bytes.cast_signed());
        if let Some(Delivered { events, links, lag_events, next_offset }) = delivered {
            span = span
                .linked(links.into_places())
                .with("downlink.events", events.cast_signed())
                .with("downlink.lag_events", lag_events.cast_signed())
                .with("downlink.next_offset", next_offset.cast_signed());
        }
        self.tracer.keep_always(of_call(span, method, code));
    }

    fn ended(mut self, method: &str, code: Code) {
        if !self.is_stream {
            return self.opened(method, code);
        }
        if has_failed(code) && self.stretch.is_none() {
            self.sends(method, 0);
        }
        self.end_stretch(method, code);
    }

    fn keep(&self, span: Span, code: Code) {
        if has_failed(code) { self.tracer.keep_always(span) } else { self.tracer.keep(span) }
    }
}

/// By OpenTelemetry's conventions for gRPC.
fn of_call(span: Span, method: &str, code: Code) -> Span {
    let (service, name) = method.split_once('/').unwrap_or((method, ""));
    let span = span
        .with("rpc.system", "grpc")
        .with("rpc.service", service.to_owned())
        .with("rpc.method", name.to_owned())
        .with("rpc.grpc.status_code", i64::from(code as i32));
    if is_ours(code) { span.failed(format!("{code:?}")) } else { span }
}

/// Whether there is something to be found out. A reader that goes when it has read enough is no failure.
const fn has_failed(code: Code) -> bool {
    !matches!(code, Code::Ok | Code::Cancelled)
}

/// Whether a call that ends so has failed by the server's fault; others are the caller's.
const fn is_ours(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// The trace context that the caller tells of, or else that of the call itself if its trace is kept; empty without either.
pub(crate) fn trace_context(metadata: &MetadataMap, place: Option<&Place>) -> Vec<u8> {
    let w3c = metadata.get("traceparent").and_then(|header| header.to_str().ok());
    let jaeger = || Place::of_caller(metadata.as_ref()).map(|place| place.to_bytes().to_vec());
    let own = || place.map(|place| place.to_bytes().to_vec());
    w3c.and_then(convert::trace_context).or_else(jaeger).or_else(own).unwrap_or_default()
}
