//! One commit on its way to disk and to the readers, and how long each part of it took.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::Writer;
use crate::api::Note;
use crate::block::{BlockBuilder, Effort};
use crate::error::Error;
use crate::observer::{CommitParts, CommitReport};
use crate::segment::Segment;

/// A clock that is read between the parts of a commit.
#[derive(Clone, Copy)]
pub(super) struct Stopwatch {
    begun: SystemTime,
    lap: Instant,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self { begun: SystemTime::now(), lap: Instant::now() }
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.lap, now))
    }
}

impl Writer {
    /// Makes what `appends` have brought durable, and then visible.
    pub(super) fn write(
        &mut self,
        block: BlockBuilder,
        appends: usize,
        notes: &[Note],
        mut watch: Stopwatch,
    ) -> Result<(), Error> {
        let mut parts = CommitParts { gather: watch.lap(), ..CommitParts::default() };
        let block = Arc::new(block.finish(self.shared.books.tally()));
        let encoded = block.encode(Effort::Fast);
        parts.encode = watch.lap();
        let newest = self.newest()?;
        let stored = newest.put(&block, &encoded);
        parts.store = watch.lap();
        let durable = stored.and_then(|()| Segment::sync(&newest)).map_err(|error| self.fail(&error));
        parts.sync = watch.lap();
        if durable.is_ok() {
            assert_eq!(block.first_offset(), self.shared.head(), "offsets are dense");
            self.last_ingest_time = block.summary().ingest_time_last;
            self.events_since_snapshot += block.len() as u64;
            self.shared.publish(block.clone());
            parts.publish = watch.lap();
        }
        self.shared.observe(|observer| {
            observer.committed(&CommitReport {
                block: &block,
                appends: appends as u64,
                notes,
                stored_bytes: encoded.len() as u64,
                begun: watch.begun,
                parts,
                error: durable.as_ref().err(),
            });
        });
        durable
    }
}
