//! What became of spans.

use std::sync::atomic::{AtomicU64, Ordering};

use super::SPANS;
use super::page::Page;

/// Spans that were to be sent.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    sent: AtomicU64,
    lost: AtomicU64,
}

impl Spans {
    /// So many have been taken.
    pub(crate) fn sent(&self, spans: u64) {
        self.sent.fetch_add(spans, Ordering::Relaxed);
    }

    /// So many have not, or had no room to wait.
    pub(crate) fn lost(&self, spans: u64) {
        self.lost.fetch_add(spans, Ordering::Relaxed);
    }

    pub(super) fn tell(&self, page: &mut Page) {
        page.number(&SPANS, &["sent"], self.sent.load(Ordering::Relaxed));
        page.number(&SPANS, &["lost"], self.lost.load(Ordering::Relaxed));
    }
}
