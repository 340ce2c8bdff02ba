//! The way of a session's events from the log to the topic, and back what the topic says of them.

use std::sync::Arc;
use std::time::Duration;

use downlink_storage::{Block, Chunk, Log, Offset};

use super::checkpoint;
use super::failure::Failure;
use super::progress::{Checkpoint, Progress};
use super::spans::Spans;
use crate::blocks::{Blocks, event_at};
use crate::kafka::{Acknowledged, Producer, Sent, Writer};
use crate::offsets::Offsets;

/// How long acknowledgements are waited for while there is nothing to send.
const ACKNOWLEDGEMENT_WAIT: Duration = Duration::from_millis(5);
/// Events that are sent between two looks at acknowledgements.
const SENT_AT_ONCE_MAX: usize = 1_000;
/// Events that may be in the topic while one before them is not, a byte each: a partition without a leader takes nothing,
/// and the others go on.
const AHEAD_EVENTS_MAX: usize = 16 << 20;

/// Why no more is sent for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoppedBy {
    /// There is more, but acknowledgements come first.
    Turn,
    /// Too much is on its way.
    NoRoom,
    /// There is no more.
    Head,
}

/// What is sent, and how far that is.
pub(super) struct Sending<'a> {
    producer: &'a Producer,
    blocks: Blocks,
    held: Offsets,
    writer: Writer,
    spans: Spans,
    progress: Progress,
    /// Where the last checkpoint is.
    kept: Offset,
    /// The offset after the last event that asks for a checkpoint. The mirror's own do not: they would never end.
    wanted: Offset,
}

impl<'a> Sending<'a> {
    /// Begins at a checkpoint, with a topic that holds these events already, and whose partitions end at `positions`.
    pub(super) fn new(
        log: &Log,
        producer: &'a Producer,
        (writer, spans): (Writer, Spans),
        kept: Offset,
        held: Offsets,
        positions: Vec<i64>,
    ) -> Self {
        let progress = Progress::new(kept, held.end(), positions);
        // It goes on and on, so one block is enough.
        let blocks = Blocks::of(log.clone(), 1);
        Self { producer, blocks, held, writer, spans, progress, kept, wanted: kept }
    }

    /// The topic holds every event below this.
    pub(super) const fn frontier(&self) -> Offset {
        self.progress.frontier()
    }

    /// Whether all that was sent is acknowledged.
    pub(super) const fn is_settled(&self) -> bool {
        self.progress.outstanding() == 0
    }

    /// The checkpoint to keep, if there is one that is worth it.
    pub(super) fn checkpoint(&mut self) -> Option<Checkpoint> {
        if self.kept < self.wanted { self.progress.checkpoint(self.kept) } else { None }
    }

    /// The log has kept a checkpoint.
    pub(super) fn kept(&mut self, next_offset: Offset) {
        self.kept = self.kept.max(next_offset);
    }

    /// Takes the acknowledgements that have come; waits for some if nothing is left to do otherwise.
    pub(super) fn receive(&mut self, stopped_by: StoppedBy) -> Result<(), Failure> {
        let is_busy = stopped_by == StoppedBy::Turn || self.is_settled();
        let wait = if is_busy { Duration::ZERO } else { ACKNOWLEDGEMENT_WAIT };
        let mut is_another = false;
        self.producer.acknowledged(wait, |acknowledged| {
            let Acknowledged { offset, partition, position } = acknowledged;
            is_another |= self.progress.is_taken(partition, position);
            let offset = Offset::new(offset).expect("what was sent has an offset");
            self.progress.acknowledged(offset, partition, position);
        })?;
        self.spans.acknowledged(self.progress.outstanding());
        if is_another { Err(Failure::MadeAnew) } else { Ok(()) }
    }

    /// Sends what comes next, until something stops it.
    pub(super) fn send(&mut self) -> Result<StoppedBy, Failure> {
        for _ in 0..SENT_AT_ONCE_MAX {
            if self.progress.ahead() >= AHEAD_EVENTS_MAX {
                return Ok(StoppedBy::NoRoom);
            }
            let next = self.progress.next_offset();
            if self.held.contains(next) {
                // It is in the topic, so it was in the log.
                self.skip(next.plus(1));
                continue;
            }
            let Some(block) = self.block_at(next)? else {
                let is_further = self.progress.next_offset() > next;
                return Ok(if is_further { StoppedBy::Turn } else { StoppedBy::Head });
            };
            let event = event_at(&block, next);
            let message = self.writer.write(&event);
            if self.producer.send(next.get(), &message)? == Sent::NoRoom {
                return Ok(StoppedBy::NoRoom);
            }
            if **event.signal != *checkpoint::SIGNAL {
                self.wanted = next.plus(1);
            }
            self.spans.sent(&event);
            self.progress.sent();
        }
        Ok(StoppedBy::Turn)
    }

    /// Passes over what need not be sent, or cannot.
    fn skip(&mut self, end: Offset) {
        while self.progress.next_offset() < end {
            self.progress.skipped();
        }
        self.wanted = end;
    }

    /// The block with this offset; `None` at the head, or when it is lost.
    fn block_at(&mut self, next: Offset) -> Result<Option<Arc<Block>>, Failure> {
        match self.blocks.read(next)? {
            Chunk::Block(block) => Ok(Some(block)),
            Chunk::Head => Ok(None),
            Chunk::Gap { end, .. } | Chunk::Skipped { end } => {
                tracing::error!(first = %next, %end, "events are lost to damage, and cannot be mirrored");
                self.skip(end);
                Ok(None)
            }
        }
    }
}
