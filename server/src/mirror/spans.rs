//! What is sent to the topic as spans: one for each stretch until all of it is acknowledged, linked to the appends it came with.

use std::time::Duration;

use downlink_storage::EventRef;

use crate::observability::{Began, Kind, Links, Span, Tracer};

/// How long a stretch lasts at most; where events come without a pause they are never all acknowledged.
const STRETCH_MAX: Duration = Duration::from_secs(30);

/// The stretch of a session that is under way.
pub(super) struct Spans {
    tracer: Tracer,
    topic: String,
    stretch: Option<Stretch>,
}

struct Stretch {
    began: Began,
    events: u64,
    last_offset: u64,
    links: Links,
}

impl Spans {
    /// Tells `tracer` of what is sent to `topic`.
    pub(super) const fn new(tracer: Tracer, topic: String) -> Self {
        Self { tracer, topic, stretch: None }
    }

    /// An event is on its way.
    #[inline]
    pub(super) fn sent(&mut self, event: &EventRef<'_>) {
        if !self.tracer.is_on() {
            return;
        }
        let fresh = || Stretch { began: Began::now(), events: 0, last_offset: 0, links: Links::default() };
        let stretch = self.stretch.get_or_insert_with(fresh);
        stretch.events += 1;
        stretch.last_offset = event.offset.get();
        stretch.links.see(event.trace_context);
    }

    /// So many events on their way have not been acknowledged.
    pub(super) fn acknowledged(&mut self, outstanding: usize) {
        let is_long = |stretch: &Stretch| stretch.began.lasted() >= STRETCH_MAX;
        if outstanding == 0 || self.stretch.as_ref().is_some_and(is_long) {
            self.end(None);
        }
    }

    fn end(&mut self, error: Option<&str>) {
        let Some(Stretch { began, events, last_offset, links }) = self.stretch.take() else { return };
        let is_linked = !links.is_empty();
        let place = self.tracer.begin(None);
        if !place.is_sampled() && !is_linked && error.is_none() {
            return;
        }
        let span = Span::new(place, Kind::Producer, format!("{} send", self.topic), began.until_now())
            .linked(links.into_places())
            .with("messaging.system", "kafka")
            .with("messaging.operation.type", "send")
            .with("messaging.operation.name", "send")
            .with("messaging.destination.name", self.topic.clone())
            .with("messaging.batch.message_count", events.cast_signed())
            .with("downlink.last_offset", last_offset.cast_signed());
        self.tracer.keep_always(match error {
            Some(error) => span.failed(error.to_owned()),
            None => span,
        });
    }
}

impl Drop for Spans {
    /// The session has ended before the topic had all of it.
    fn drop(&mut self) {
        self.end(Some("not acknowledged"));
    }
}
