//! Reads a topic into a copy of its log: in the order of the offsets, comparing what comes twice.

use downlink_storage::{Chunk, CopiedEvent, Log, Offset};

use super::copier::Copier;
use super::failure::Failure;
use super::merge::{Bounds, Merge, Message, Offered};
use super::status::Status;
use crate::blocks::{Blocks, event_at};
use crate::config::Config;
use crate::kafka::{Ends, Next, Place, Reader, Received};
use crate::wire::{EVENT_BYTES_MAX, decode_event};

/// Blocks of the log at hand for what comes twice: partitions are never at quite the same place.
const BLOCKS_MAX: usize = 8;

/// Messages that are read between two looks at anything else.
const READ_AT_ONCE_MAX: usize = 1_000;

/// How far to read.
#[derive(Clone, Debug)]
pub(super) enum Until<'a> {
    /// For ever.
    Stopped,
    /// To where the partitions ended at some moment.
    Ends(&'a [Ends]),
}

/// A topic on its way into a log.
pub(super) struct Reading<'a> {
    log: Log,
    log_id: String,
    topic: String,
    reader: &'a Reader,
    status: &'a Status,
    pub(super) merge: Merge,
    pub(super) copier: Copier,
    /// Whatever comes twice from here on does so in the topic, and is not only read twice.
    first: Offset,
    blocks: Blocks,
}

impl<'a> Reading<'a> {
    /// Out of a reader that goes on at these positions.
    pub(super) fn new(
        log: &Log,
        reader: &'a Reader,
        status: &'a Status,
        positions: &[i64],
        config: &Config,
    ) -> Self {
        let (events, bytes) = (config.follow_buffer_events_max, config.follow_buffer_bytes_max / 2);
        Self {
            log: log.clone(),
            log_id: log.id().to_string(),
            topic: config.follow_topic.clone(),
            reader,
            status,
            merge: Merge::new(log.head(), positions, Bounds { events, bytes }),
            copier: Copier::new(log.clone(), reader.waker()),
            first: log.head(),
            blocks: Blocks::of(log.clone(), BLOCKS_MAX),
        }
    }

    /// Reads for a turn; whether anything had arrived.
    pub(super) fn turn(&mut self, until: &Until<'_>) -> Result<bool, Failure> {
        let mut has_read = false;
        for _ in 0..READ_AT_ONCE_MAX {
            let Some((offset, message)) = self.next(until)? else { break };
            has_read = true;
            self.take_in(offset, message, until)?;
        }
        self.copier.advance()?;
        Ok(has_read)
    }

    /// The next message that has arrived, from where it is wanted most.
    fn next(&mut self, until: &Until<'_>) -> Result<Option<(Offset, Message)>, Failure> {
        let mut ended = Vec::new();
        let mut found = None;
        for partition in self.merge.to_read() {
            match self.reader.next(partition, |message| self.check(message))? {
                Next::Message(message) => {
                    found = Some(message?);
                    break;
                }
                Next::End if matches!(until, Until::Ends(_)) => ended.push(partition),
                Next::End | Next::Nothing => {}
            }
        }
        ended.into_iter().for_each(|partition| self.merge.close(partition));
        Ok(found)
    }

    /// A message as it waits, if it can be one of this log.
    fn check(&self, received: &Received<'_>) -> Result<(Offset, Message), Failure> {
        let place = received.place;
        let foreign = |problem: String| self.foreign(place, problem);
        let Some(offset) = Offset::new(received.offset) else {
            return Err(foreign("has a message without an offset, which no mirror has written".to_owned()));
        };
        if received.log_id != self.log_id {
            return Err(foreign(format!("is an event of log {:?}", received.log_id)));
        }
        if received.content_type.starts_with("application/json") {
            let problem = "has JSON, which does not keep every value bit for bit: only protobuf makes a copy \
                           (mirror_values of the primary)";
            return Err(foreign(problem.to_owned()));
        }
        if received.value.len() > EVENT_BYTES_MAX {
            return Err(foreign(format!(
                "has {} bytes, and no event more than {EVENT_BYTES_MAX}",
                received.value.len()
            )));
        }
        Ok((offset, Message { place, value: received.value.into() }))
    }

    fn take_in(&mut self, offset: Offset, message: Message, until: &Until<'_>) -> Result<(), Failure> {
        let Place { partition, position } = message.place;
        match self.merge.offer(offset, message) {
            Offered::Kept => {}
            Offered::Past(message) => self.compare_with_log(offset, &message)?,
            Offered::Twice(message) => self.compare_with_waiting(offset, &message)?,
        }
        if let Until::Ends(ends) = until
            && ends.get(partition).is_none_or(|ends| position + 1 >= ends.end)
        {
            self.merge.close(partition);
        }
        while let Some((offset, message)) = self.merge.take() {
            let Message { place, value } = message;
            let copier = &mut self.copier;
            let pushed = decode_event(&value, |event| {
                (event.offset == offset).then(|| copier.push(event, value.len()))
            });
            match pushed {
                Ok(Some(pushed)) => pushed?,
                Ok(None) => {
                    return Err(
                        self.foreign(place, format!("says that it is event {offset}, and is another"))
                    );
                }
                Err(problem) => return Err(self.foreign(place, format!("is no event: {problem}"))),
            }
        }
        Ok(())
    }

    /// That a message is what another one with its offset is, which waits.
    fn compare_with_waiting(&mut self, offset: Offset, message: &Message) -> Result<(), Failure> {
        let waiting = self.merge.waiting(offset).expect("the other one waits");
        let decoded = |other: CopiedEvent<'_>| decode_event(&message.value, |event| event == other);
        let is_same =
            *waiting.value == *message.value || matches!(decode_event(&waiting.value, decoded), Ok(Ok(true)));
        if !is_same {
            return Err(self.contradiction(offset, message, waiting.place.to_string()));
        }
        self.status.met_twice();
        Ok(())
    }

    /// That a message is the event that the log has there.
    fn compare_with_log(&mut self, offset: Offset, message: &Message) -> Result<(), Failure> {
        if offset < self.log.oldest() {
            return Ok(());
        }
        if offset >= self.log.head() {
            self.copier.finish()?;
        }
        // What is damaged here cannot be compared.
        let Chunk::Block(block) = self.blocks.read(offset)? else { return Ok(()) };
        let known = CopiedEvent::from(event_at(&block, offset));
        if decode_event(&message.value, |event| event == known) != Ok(true) {
            return Err(self.contradiction(offset, message, "the log has".to_owned()));
        }
        if offset >= self.first {
            self.status.met_twice();
        }
        Ok(())
    }

    /// How many messages lie before these ends that the log does not have yet.
    pub(super) fn behind(&self, ends: &[Ends]) -> u64 {
        let unread = |(partition, ends): (usize, &Ends)| {
            u64::try_from(ends.end - self.merge.position(partition)).unwrap_or_default()
        };
        let unread: u64 = ends.iter().enumerate().map(unread).sum();
        unread + self.merge.len() as u64 + self.copier.end().since(self.log.head())
    }

    fn foreign(&self, place: Place, problem: String) -> Failure {
        let (topic, log_id) = (self.topic.clone(), self.log_id.clone());
        Failure::Foreign { topic, log_id, place, problem }
    }

    fn contradiction(&self, offset: Offset, message: &Message, other: String) -> Failure {
        let (topic, place) = (self.topic.clone(), message.place);
        Failure::Contradiction { topic, offset: offset.get(), place, other }
    }
}
