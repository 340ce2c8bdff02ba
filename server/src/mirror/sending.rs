//! The way of a session's events from the log to the topic, and back what the topic says of them.

use std::sync::Arc;
use std::time::Duration;

use downlink_storage::{Block, Chunk, Log, Offset};

use super::checkpoint;
use super::failure::Failure;
use super::held::HeldOffsets;
use super::kafka::{Sent, Topic};
use super::message::Writer;
use super::progress::{Checkpoint, Progress};

/// How long acknowledgements are waited for while there is nothing to send.
const ACKNOWLEDGEMENT_WAIT: Duration = Duration::from_millis(5);
/// Events that are sent between two looks at acknowledgements.
const SENT_AT_ONCE_MAX: usize = 1_000;

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
    log: &'a Log,
    topic: &'a Topic,
    held: HeldOffsets,
    block: Option<Arc<Block>>,
    writer: Writer,
    progress: Progress,
    /// Where the last checkpoint is.
    kept: Offset,
    /// The offset after the last event that asks for a checkpoint. The mirror's own do not: they would never end.
    wanted: Offset,
}

impl<'a> Sending<'a> {
    /// Begins at a checkpoint, with a topic that holds these events already, and whose partitions end at `positions`.
    pub(super) fn new(
        log: &'a Log,
        topic: &'a Topic,
        writer: Writer,
        kept: Offset,
        held: HeldOffsets,
        positions: Vec<i64>,
    ) -> Self {
        let progress = Progress::new(kept, held.end(), positions);
        Self { log, topic, held, block: None, writer, progress, kept, wanted: kept }
    }

    /// The topic holds every event below this.
    pub(super) const fn frontier(&self) -> Offset {
        self.progress.frontier()
    }

    /// Whether all that was sent is acknowledged.
    pub(super) const fn is_settled(&self) -> bool {
        self.progress.outstanding() == 0
    }

    /// The checkpoint to keep, if there is one that is worth it. It counts as kept from now on: one that is lost is made up for
    /// by the next.
    pub(super) fn checkpoint(&mut self) -> Option<Checkpoint> {
        if self.kept >= self.wanted {
            return None;
        }
        let checkpoint = self.progress.checkpoint(self.kept)?;
        self.kept = checkpoint.next_offset;
        Some(checkpoint)
    }

    /// Takes the acknowledgements that have come; waits for some if nothing is left to do otherwise.
    pub(super) fn receive(&mut self, stopped_by: StoppedBy) -> Result<(), Failure> {
        let is_busy = stopped_by == StoppedBy::Turn || self.is_settled();
        let wait = if is_busy { Duration::ZERO } else { ACKNOWLEDGEMENT_WAIT };
        self.topic.acknowledged(wait, |acknowledged| {
            let offset = Offset::new(acknowledged.offset).expect("what was sent has an offset");
            self.progress.acknowledged(offset, acknowledged.partition, acknowledged.position);
        })
    }

    /// Sends what comes next, until something stops it.
    pub(super) fn send(&mut self) -> Result<StoppedBy, Failure> {
        for _ in 0..SENT_AT_ONCE_MAX {
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
            let row = usize::try_from(next.since(block.first_offset())).expect("a block fits memory");
            let event = block.event(row);
            let message = self.writer.write(&event);
            if self.topic.send(next.get(), &message)? == Sent::NoRoom {
                return Ok(StoppedBy::NoRoom);
            }
            if **event.signal != *checkpoint::SIGNAL {
                self.wanted = next.plus(1);
            }
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
        if let Some(block) = &self.block
            && (block.first_offset()..block.end_offset()).contains(&next)
        {
            return Ok(Some(block.clone()));
        }
        self.block = match self.log.read(next, None)? {
            Chunk::Block(block) => Some(block),
            Chunk::Head => None,
            Chunk::Gap { end, .. } | Chunk::Skipped { end } => {
                let (first, end) = (next, end);
                tracing::error!(%first, %end, "events are lost to damage, and cannot be mirrored");
                self.skip(end);
                None
            }
        };
        Ok(self.block.clone())
    }
}
