//! What is seen of every call from outside, from its beginning to its end: metrics and traces are both made from this.
//!
//! In a trace a unary call is a span. A stream is a short one for its opening, and then a span linked to it for every
//! stretch of at most 30 s in which something was sent: nobody would see one that lasts as long as the stream before its end.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use downlink_proto::FILE_DESCRIPTOR_SET;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::codegen::http::HeaderMap;

use super::measure;
use super::methods::methods;
use crate::metrics::{self, Metrics};
use crate::observability::{Began, Kind, Place, Span, Tracer};

/// How long a stretch of a stream lasts at most.
const STRETCH_MAX: Duration = Duration::from_secs(30);
/// Calls of other services are counted, and not traced.
const TRACED: &str = "downlink.";

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
    pub(super) fn begin(&self, request: &mut http::Request<Body>) -> Call {
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
    /// Its answer begins with these headers, which is all of it if they are a refusal.
    pub(super) fn answered(&mut self, headers: &mut HeaderMap) {
        let refused = measure::ending(headers);
        if let Some(traced) = &mut self.traced {
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
    pub(super) fn sends(&mut self, bytes: usize) {
        if let Some(traced) = self.traced.as_mut().filter(|traced| traced.is_stream) {
            traced.sends(self.counted.method(), bytes as u64);
        }
    }

    /// Its answer ends with these trailers, if they say so.
    pub(super) fn ended(&mut self, trailers: &HeaderMap) {
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
    /// Of a stream, what has been sent lately.
    stretch: Option<Stretch>,
}

/// What a stream has sent in a while.
struct Stretch {
    began: Began,
    /// From its beginning to what was sent last.
    lasted: Duration,
    bytes: u64,
}

impl Traced {
    /// It has been answered, or opened if it is a stream.
    fn opened(&self, method: &str, code: Code) {
        let span = Span::new(self.place.clone(), Kind::Server, method.to_owned(), self.began.until_now());
        self.keep(of_call(span.under(self.parent.clone()), method, code), code);
    }

    fn sends(&mut self, method: &str, bytes: u64) {
        if self.stretch.as_ref().is_some_and(|stretch| stretch.began.lasted() >= STRETCH_MAX) {
            self.end_stretch(method, Code::Ok);
        }
        let fresh = || Stretch { began: Began::now(), lasted: Duration::ZERO, bytes: 0 };
        let stretch = self.stretch.get_or_insert_with(fresh);
        stretch.lasted = stretch.began.lasted();
        stretch.bytes += bytes;
    }

    fn end_stretch(&mut self, method: &str, code: Code) {
        let Some(Stretch { began, lasted, bytes }) = self.stretch.take() else { return };
        let place = self.tracer.begin(Some(&self.place));
        let span = Span::new(place, Kind::Internal, format!("{method} deliver"), (began.at(), lasted))
            .linked([self.place.clone()])
            .with("downlink.sent_bytes", bytes.cast_signed());
        self.keep(of_call(span, method, code), code);
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
