//! Spans: what took how long, in which trace.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{Link, SpanId, SpanKind, Status};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanLinks};

use super::place::Place;

/// The most links of a span. OpenTelemetry's default.
const LINKS_MAX: usize = 128;

/// What a span is to the one that caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Answers a call.
    Server,
    /// Works inside the server.
    Internal,
    /// Hands something to somebody who takes it later.
    Producer,
}

/// A span that has ended or is about to.
#[derive(Debug)]
pub(crate) struct Span {
    pub(super) place: Place,
    parent: Option<Place>,
    kind: Kind,
    name: Cow<'static, str>,
    started: SystemTime,
    ended: SystemTime,
    attributes: Vec<KeyValue>,
    links: Vec<Place>,
    error: Option<String>,
}

impl Span {
    /// At `place`, from `started` on for so long.
    pub(crate) fn new(
        place: Place,
        kind: Kind,
        name: impl Into<Cow<'static, str>>,
        (started, lasted): (SystemTime, Duration),
    ) -> Self {
        Self {
            place,
            parent: None,
            kind,
            name: name.into(),
            started,
            ended: started + lasted,
            attributes: Vec::new(),
            links: Vec::new(),
            error: None,
        }
    }

    /// Caused by a span that waits for it.
    #[must_use]
    pub(crate) fn under(mut self, parent: Option<Place>) -> Self {
        self.parent = parent;
        self
    }

    /// Has to do with spans that do not wait for it.
    #[must_use]
    pub(crate) fn linked(mut self, to: impl IntoIterator<Item = Place>) -> Self {
        self.links.extend(to);
        self
    }

    /// With something to be known of it.
    #[must_use]
    pub(crate) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// It has failed.
    #[must_use]
    pub(crate) fn failed(mut self, why: impl Into<String>) -> Self {
        self.error = Some(why.into());
        self
    }

    /// As OpenTelemetry has it. Who has not been kept can be nobody's parent: it is linked to then.
    pub(super) fn into_data(mut self, scope: InstrumentationScope) -> SpanData {
        let parent = self.parent.take_if(|parent| parent.is_sampled());
        self.links.extend(self.parent);
        let dropped = self.links.len().saturating_sub(LINKS_MAX);
        self.links.truncate(LINKS_MAX);
        let mut links = SpanLinks::default();
        links.links = self.links.into_iter().map(|place| Link::with_context(place.0)).collect();
        links.dropped_count = u32::try_from(dropped).unwrap_or(u32::MAX);
        SpanData {
            span_context: self.place.0,
            parent_span_id: parent.as_ref().map_or(SpanId::INVALID, |parent| parent.0.span_id()),
            parent_span_is_remote: parent.is_some_and(|parent| parent.0.is_remote()),
            span_kind: match self.kind {
                Kind::Server => SpanKind::Server,
                Kind::Internal => SpanKind::Internal,
                Kind::Producer => SpanKind::Producer,
            },
            name: self.name,
            start_time: self.started,
            end_time: self.ended,
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: Default::default(),
            links,
            status: self.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: scope,
        }
    }
}

/// When something began: by the calendar, and by a clock that is never put back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Began {
    at: SystemTime,
    clock: Instant,
}

impl Began {
    /// Now.
    pub(crate) fn now() -> Self {
        Self { at: SystemTime::now(), clock: Instant::now() }
    }

    /// When.
    pub(crate) const fn at(self) -> SystemTime {
        self.at
    }

    /// How long it has lasted.
    pub(crate) fn lasted(self) -> Duration {
        self.clock.elapsed()
    }

    /// When, and how long it has lasted.
    pub(crate) fn until_now(self) -> (SystemTime, Duration) {
        (self.at, self.lasted())
    }
}
