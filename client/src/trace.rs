//! Traces: each call is a span of whoever has OpenTelemetry set up, and events keep the place they were appended from.
//!
//! What counts is the context that is current while a method is called ([`opentelemetry::Context::current`]): the spans of
//! the calls are its children and say so to the server, by the W3C's Trace Context. Without a tracer provider in
//! [`opentelemetry::global`] there are no spans here, but a current context is still passed on; without either nothing is.

use std::borrow::Cow;
use std::task::{Context as Polled, Poll};

use downlink_proto::v1::Event;
use opentelemetry::global::BoxedSpan;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue, global};
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::transport::{Channel, Error};

/// How the bytes begin that events keep: trace id, span id, flags.
const TRACE_BYTES: usize = 16;
const SPAN_BYTES: usize = 8;

/// The span that an event was appended in, for links to it; `None` if none was kept with it.
pub fn context_of(event: &Event) -> Option<SpanContext> {
    let (trace, rest) = event.trace_context.split_first_chunk::<TRACE_BYTES>()?;
    let (span, flags) = rest.split_first_chunk::<SPAN_BYTES>()?;
    let &[flags] = flags else { return None };
    let (trace, span) = (TraceId::from_bytes(*trace), SpanId::from_bytes(*span));
    let context = SpanContext::new(trace, span, TraceFlags::new(flags), true, TraceState::NONE);
    Some(context).filter(SpanContext::is_valid)
}

/// The event with the place of the current span, unless it has one already or the trace is not to be kept.
pub(crate) fn placed(event: &Event) -> Cow<'_, Event> {
    let current = Context::map_current(|current| match current.has_active_span() {
        true => bytes(current.span().span_context()),
        false => None,
    });
    match current {
        Some(trace_context) if event.trace_context.is_empty() => {
            Cow::Owned(Event { trace_context, ..event.clone() })
        }
        Some(_) | None => Cow::Borrowed(event),
    }
}

fn bytes(context: &SpanContext) -> Option<Vec<u8>> {
    let is_kept = context.is_valid() && context.is_sampled();
    let (trace, span) = (context.trace_id().to_bytes(), context.span_id().to_bytes());
    is_kept.then(|| [&trace[..], &span[..], &[context.trace_flags().to_u8()]].concat())
}

/// A channel whose calls are spans, from when they are sent to when the server begins to answer.
#[derive(Clone, Debug)]
pub(crate) struct Traced(pub(crate) Channel);

impl Service<Request<Body>> for Traced {
    type Response = Response<Body>;
    type Error = Error;
    type Future = BoxFuture<Response<Body>, Error>;

    fn poll_ready(&mut self, polled: &mut Polled<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(polled)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut span = begin(request.uri().path());
        tell(span.span_context(), request.headers_mut());
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await;
            end(&mut span, &answer);
            answer
        })
    }
}

/// A span by the conventions for RPC clients, <https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/>.
fn begin(path: &str) -> BoxedSpan {
    let path = path.trim_start_matches('/');
    let (service, method) = path.rsplit_once('/').unwrap_or(("", path));
    let attributes = [("rpc.system", "grpc"), ("rpc.service", service), ("rpc.method", method)];
    let attributes = attributes.map(|(key, value)| KeyValue::new(key, value.to_owned()));
    let builder =
        SpanBuilder::from_name(path.to_owned()).with_kind(SpanKind::Client).with_attributes(attributes);
    Context::map_current(|current| global::tracer("downlink-client").build_with_context(builder, current))
}

/// Says to the server where its part belongs.
fn tell(context: &SpanContext, headers: &mut HeaderMap) {
    if !context.is_valid() || headers.contains_key("traceparent") {
        return;
    }
    let flags = context.trace_flags().to_u8();
    let parent = format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
    for (name, value) in [("traceparent", parent), ("tracestate", context.trace_state().header())] {
        // A state that is no header is not passed on: traces hold together without.
        if let Some(value) = HeaderValue::from_str(&value).ok().filter(|value| !value.is_empty()) {
            headers.insert(name, value);
        }
    }
}

/// A refusal of a call is in the head of its answer.
fn end(span: &mut BoxedSpan, answer: &Result<Response<Body>, Error>) {
    match answer {
        Ok(answer) => {
            if let Some(refusal) = tonic::Status::from_header_map(answer.headers()) {
                let code = i64::from(refusal.code() as i32);
                span.set_attribute(KeyValue::new("rpc.grpc.status_code", code));
                if refusal.code() != tonic::Code::Ok {
                    span.set_status(Status::error(refusal.message().to_owned()));
                }
            }
        }
        Err(error) => span.set_status(Status::error(error.to_string())),
    }
    span.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn somewhere(flags: TraceFlags) -> SpanContext {
        let state = TraceState::from_key_value([("vendor", "x")]).unwrap();
        SpanContext::new(TraceId::from_bytes([7; 16]), SpanId::from_bytes([9; 8]), flags, true, state)
    }

    #[test]
    fn an_event_keeps_where_it_was_appended() {
        let event = crate::event("a", 1.0);
        assert!(matches!(placed(&event), Cow::Borrowed(same) if same.trace_context.is_empty()));
        for (flags, is_kept) in [(TraceFlags::SAMPLED, true), (TraceFlags::NOT_SAMPLED, false)] {
            let place = somewhere(flags);
            let _current = Context::new().with_remote_span_context(place.clone()).attach();
            let kept = context_of(&placed(&event)).map(|kept| (kept.trace_id(), kept.span_id()));
            assert_eq!(kept, is_kept.then_some((place.trace_id(), place.span_id())));
            let own = Event { trace_context: vec![1; 25], ..event.clone() };
            assert_eq!(placed(&own).trace_context, [1; 25]);
        }
        for wrong in [vec![], vec![0; 25], vec![1; 24], vec![1; 26]] {
            assert_eq!(context_of(&Event { trace_context: wrong, ..event.clone() }), None);
        }
    }

    #[test]
    fn a_current_context_is_passed_on_without_any_provider() {
        let mut headers = HeaderMap::new();
        tell(begin("/a.B/C").span_context(), &mut headers);
        assert!(headers.is_empty());
        let _current = Context::new().with_remote_span_context(somewhere(TraceFlags::SAMPLED)).attach();
        tell(begin("/a.B/C").span_context(), &mut headers);
        assert_eq!(headers["traceparent"], "00-07070707070707070707070707070707-0909090909090909-01");
        assert_eq!(headers["tracestate"], "vendor=x");
    }
}
