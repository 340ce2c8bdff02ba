//! Where the batches of a stream come from, as their events keep it and their commits are told.

use std::time::Duration;

use downlink_storage::Note;
use tokio::time::Instant;

use crate::observability::Place;

/// A stream may make as many commits as there are: not all of them are in its trace.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// The trace of a stream.
pub(crate) struct Origin {
    trace_context: Vec<u8>,
    /// If it is kept.
    place: Option<Place>,
    noted: Option<Instant>,
}

impl Origin {
    /// With this trace context for events that bring none, and this place for commits.
    pub(crate) const fn new(trace_context: Vec<u8>, place: Option<Place>) -> Self {
        Self { trace_context, place, noted: None }
    }

    /// For events that bring none.
    pub(super) fn trace_context(&self) -> &[u8] {
        &self.trace_context
    }

    /// For the commit of the next batch, if it is time for one.
    pub(super) fn note(&mut self) -> Option<Note> {
        let place = self.place.as_ref()?;
        if self.noted.is_some_and(|noted| noted.elapsed() < NOTE_EVERY) {
            return None;
        }
        self.noted = Some(Instant::now());
        Some(place.to_note())
    }
}
