//! Events on their way to one reader, cut into messages: each is bounded, and in the order of the log.

use std::collections::VecDeque;

use downlink_storage::{EventRef, Offset};

use super::encode::{EncodedBatch, Encoder, Encoding};
use super::pieces::bytes_of;
use crate::observability::Links;
use crate::query::PieceMax;

/// Messages that are full, and one in the making.
#[derive(Debug)]
pub(crate) struct Batches {
    most: PieceMax,
    full: VecDeque<Full>,
    open: Encoder,
    open_bytes: usize,
    /// Where the events of the one in the making come from, if anybody traces.
    links: Option<Links>,
    /// Events dropped in favour of newer ones, of which nothing has been told yet.
    conflated_events: u64,
}

/// A message that is full.
#[derive(Debug)]
struct Full {
    batch: EncodedBatch,
    bytes: usize,
    last_offset: Option<Offset>,
}

impl Batches {
    /// For messages of at most `most`.
    pub(crate) fn new(encoding: Encoding, most: PieceMax, links: Option<Links>) -> Self {
        let open = Encoder::new(encoding);
        Self { most, full: VecDeque::new(), open, open_bytes: 0, links, conflated_events: 0 }
    }

    /// Adds an event, and says how many bytes it makes, about.
    pub(crate) fn push(&mut self, event: &EventRef<'_>) -> usize {
        let bytes = bytes_of(event);
        if let Some(last) = self.open.last_offset() {
            // A large event does not join others, and one that has waited may be older than what came before it.
            let is_large = self.open_bytes + bytes > self.most.bytes;
            if self.is_full() || is_large || event.offset <= last {
                self.close();
            }
        }
        self.open.push(event);
        if let Some(links) = &mut self.links {
            links.see(event.trace_context);
        }
        self.open_bytes += bytes;
        bytes
    }

    /// Takes note of events that were dropped in favour of newer ones.
    pub(crate) const fn note_conflated(&mut self, events: u64) {
        self.conflated_events += events;
    }

    /// About how many bytes the messages have that are full; the one in the making has its own bound.
    pub(crate) fn full_bytes(&self) -> usize {
        self.full.iter().map(|full| full.bytes).sum()
    }

    /// What still goes into the message in the making; always something.
    pub(crate) fn room(&self) -> PieceMax {
        if self.is_full() {
            return self.most;
        }
        let events = self.most.events - self.open.len();
        PieceMax { events, bytes: self.most.bytes - self.open_bytes, ..self.most }
    }

    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.open.len() == 0 && self.conflated_events == 0
    }

    /// Whether waiting for company is over.
    pub(crate) fn is_ready(&self) -> bool {
        !self.full.is_empty() || self.is_full() || self.conflated_events > 0
    }

    /// The first message, and the offset of its last event, if it has any.
    pub(crate) fn next(&mut self) -> Option<(EncodedBatch, Option<Offset>)> {
        if self.is_empty() {
            return None;
        }
        if self.full.is_empty() {
            self.close();
        }
        let Full { mut batch, last_offset, .. } = self.full.pop_front()?;
        batch.note_conflated(std::mem::take(&mut self.conflated_events));
        Some((batch, last_offset))
    }

    fn is_full(&self) -> bool {
        self.open.len() >= self.most.events || self.open_bytes >= self.most.bytes
    }

    fn close(&mut self) {
        let (bytes, last_offset) = (std::mem::take(&mut self.open_bytes), self.open.last_offset());
        let mut batch = self.open.take();
        batch.contents.links = self.links.as_mut().map(std::mem::take).unwrap_or_default();
        self.full.push_back(Full { batch, bytes, last_offset });
    }
}
