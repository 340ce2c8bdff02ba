//! Places in traces, and the headers and bytes that carry them from one process to the next.

use downlink_storage::Note;
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator as W3c;

/// The header of the W3C's Trace Context, <https://www.w3.org/TR/trace-context/>.
const TRACEPARENT: &str = "traceparent";
/// Jaeger's own, <https://www.jaegertracing.io/sdk-migration/#propagation-format>.
const UBER_TRACE_ID: &str = "uber-trace-id";

/// A span, here or elsewhere, that others can be children of or linked to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place(pub(super) SpanContext);

impl Place {
    /// How many bytes [`Self::to_bytes`] makes.
    const BYTES: usize = 16 + 8 + 1;

    /// What a caller says of itself; the W3C's header counts before Jaeger's. `None` if it says nothing that is well-formed.
    pub(crate) fn of_caller(headers: &HeaderMap) -> Option<Self> {
        let read =
            |context: Context| Some(context.span().span_context().clone()).filter(SpanContext::is_valid);
        let mut found = None;
        if headers.contains_key(TRACEPARENT) {
            found = read(W3c::new().extract_with_context(&Context::new(), &Incoming(headers)));
        }
        if found.is_none() && headers.contains_key(UBER_TRACE_ID) {
            found = read(jaeger().extract_with_context(&Context::new(), &Incoming(headers)));
        }
        found.map(Self)
    }

    /// Says so to who comes next, in both headers.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        let context = Context::new().with_remote_span_context(self.0.clone());
        let mut outgoing = Outgoing(headers);
        W3c::new().inject_context(&context, &mut outgoing);
        jaeger().inject_context(&context, &mut outgoing);
    }

    /// As events keep it.
    pub(crate) fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.0.trace_id().to_bytes());
        bytes[16..24].copy_from_slice(&self.0.span_id().to_bytes());
        bytes[24] = self.0.trace_flags().to_u8();
        bytes
    }

    /// As the log gives it back with the commit of an append.
    pub(crate) fn to_note(&self) -> Note {
        Box::new(self.to_bytes())
    }

    /// What events have kept, if that is a place.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (trace, span) = (bytes[..16].try_into().ok()?, bytes[16..24].try_into().ok()?);
        let (trace, span) = (TraceId::from_bytes(trace), SpanId::from_bytes(span));
        let context = SpanContext::new(trace, span, TraceFlags::new(bytes[24]), true, TraceState::NONE);
        Some(Self(context)).filter(|place| place.0.is_valid())
    }

    /// For log lines: those that are written within it say so.
    pub(crate) fn log_span(&self) -> tracing::Span {
        let (trace_id, span_id) = (self.0.trace_id(), self.0.span_id());
        // As long as any lines are written.
        tracing::error_span!("call", %trace_id, %span_id)
    }

    /// Whether its trace is to be kept.
    pub(crate) fn is_sampled(&self) -> bool {
        self.0.is_sampled()
    }
}

/// Jaeger has moved to the W3C's header, but its own older clients have not.
#[expect(deprecated, reason = "older clients of Jaeger still speak so")]
fn jaeger() -> opentelemetry_jaeger_propagator::Propagator {
    opentelemetry_jaeger_propagator::Propagator::new()
}

struct Incoming<'a>(&'a HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Outgoing<'a>(&'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value))
            && !value.is_empty()
        {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn of(headers: &[(&'static str, &str)]) -> Option<Place> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(*value).unwrap()));
        Place::of_caller(&headers.collect())
    }

    #[test]
    fn callers_say_where_they_are_in_either_header() {
        let w3c = of(&[(TRACEPARENT, &format!("00-{TRACE}-{SPAN}-01"))]).unwrap();
        assert_eq!((w3c.0.trace_id().to_string(), w3c.is_sampled()), (TRACE.to_owned(), true));
        let jaeger = of(&[(UBER_TRACE_ID, &format!("{TRACE}:{SPAN}:0:1"))]).unwrap();
        assert_eq!(jaeger, w3c);
        assert!(!of(&[(UBER_TRACE_ID, &format!("{TRACE}:{SPAN}:0:0"))]).unwrap().is_sampled());
        // Nonsense in the one does not hide the other.
        let both = [(TRACEPARENT, "nonsense"), (UBER_TRACE_ID, &format!("{TRACE}:{SPAN}:0:1"))];
        assert_eq!(of(&both).unwrap(), w3c);
        for nonsense in ["", "00-0-0-01", &format!("00-{}-{SPAN}-01", "0".repeat(32))] {
            assert_eq!(of(&[(TRACEPARENT, nonsense), (UBER_TRACE_ID, nonsense)]), None);
        }
    }

    #[test]
    fn what_is_told_is_understood() {
        let place = of(&[(TRACEPARENT, &format!("00-{TRACE}-{SPAN}-01"))]).unwrap();
        let mut told = HeaderMap::new();
        place.tell(&mut told);
        assert_eq!(told[TRACEPARENT], format!("00-{TRACE}-{SPAN}-01"));
        assert_eq!(told[UBER_TRACE_ID], format!("{TRACE}:{SPAN}:0:1"));
        assert_eq!(Place::of_caller(&told), Some(place));
    }

    #[test]
    fn an_event_keeps_it_in_25_bytes() {
        let place = of(&[(TRACEPARENT, &format!("00-{TRACE}-{SPAN}-01"))]).unwrap();
        let hex: String = place.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, format!("{TRACE}{SPAN}01"));
        assert_eq!(Place::of_bytes(&place.to_bytes()), Some(place));
        assert_eq!(Place::of_bytes(&[0; 25]), None);
        assert_eq!(Place::of_bytes(b"what somebody else has kept"), None);
    }
}
