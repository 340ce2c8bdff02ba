//! The topic against the log, event by event.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use downlink_storage::{Block, Chunk, Log, Offset};

use super::failure::Failure;
use super::kafka;
use super::message::{CONTENT_TYPE, Found, JSON, LOG_ID, Message, OFFSET, Writer};
use super::runs::Runs;
use super::settings::Settings;
use crate::config::{Config, MirrorValues};
use crate::grpc::differing_field;

/// Blocks of the log at hand: partitions are never at quite the same place.
const BLOCKS_MAX: usize = 8;
/// Runs of events that are told apart while the topic is read. A topic with more holes than this has the first of them given
/// up as lost; a message that comes for it later is then taken for a second one.
pub(crate) const RUNS_MAX: usize = 100_000;

/// How often it is told how far a comparison is.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Something that is not the same in log and topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// What is wrong.
    pub(crate) kind: Kind,
    /// Which events; of a message of another log, what it says.
    pub(crate) offsets: Range<u64>,
    /// The message, if there is one: partition and position.
    pub(crate) place: Option<(i32, i64)>,
    /// Which field or header of it.
    pub(crate) field: String,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The topic does not have these events.
    Missing,
    /// The topic has the event before.
    Doubled,
    /// The message is not what the mirror makes of the event.
    Altered,
    /// The message is not of this log, or of no event that the log has had.
    Foreign,
}

/// Compares the topic with the log.
struct Comparison<'a> {
    log: &'a Log,
    log_id: String,
    range: Range<Offset>,
    seen: Runs,
    /// What the log itself has lost cannot be compared.
    lost: &'a Runs,
    blocks: Vec<Arc<Block>>,
    protobuf: Writer,
    json: Writer,
}

/// What a comparison tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// How far it is in the log.
    Reached(u64),
    /// Something is not the same.
    Different(Difference),
}

/// What a comparison has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// Everything was compared.
    All,
    /// It was to end before.
    Stopped,
}

/// Compares what the topic has of a range with the log, but for what the log itself has lost. Differences are handed to
/// `tell`, and now and then how far it is; who does not want to know more gives `false` back.
///
/// # Errors
/// If the topic or the log cannot be read: a sentence for people.
pub(crate) fn compare(
    config: &Config,
    log: &Log,
    (range, lost): (Range<Offset>, &Runs),
    is_stopped: &dyn Fn() -> bool,
    tell: &mut dyn FnMut(Told) -> bool,
) -> Result<Compared, String> {
    let mut comparison = Comparison::new(log, range, lost);
    let (mut goes_on, mut told) = (true, Instant::now());
    let settings = Settings::load(config).map_err(|failure| failure.to_string())?;
    let each = |found: &Found<'_>| -> Result<bool, Failure> {
        goes_on = comparison.take(found)?.into_iter().all(|different| tell(Told::Different(different)));
        if told.elapsed() >= TELL_EVERY {
            goes_on &= tell(Told::Reached(found.offset));
            told = Instant::now();
        }
        Ok(goes_on)
    };
    kafka::read_merged(&settings, each, is_stopped).map_err(|failure| failure.to_string())?;
    goes_on = goes_on && !is_stopped() && comparison.missing().all(|missing| tell(Told::Different(missing)));
    Ok(if goes_on { Compared::All } else { Compared::Stopped })
}

impl<'a> Comparison<'a> {
    fn new(log: &'a Log, range: Range<Offset>, lost: &'a Runs) -> Self {
        let log_id = log.id().to_string();
        let writer = |values| Writer::new(log_id.clone(), values);
        let (protobuf, json) = (writer(MirrorValues::Protobuf), writer(MirrorValues::Json));
        Self { log, range, seen: Runs::new(RUNS_MAX), lost, blocks: Vec::new(), protobuf, json, log_id }
    }

    /// Takes the next message; gives what is wrong with it.
    fn take(&mut self, found: &Found<'_>) -> Result<Vec<Difference>, Failure> {
        let wrong = |kind, field: &str| Difference {
            kind,
            offsets: found.offset..found.offset.saturating_add(1),
            place: Some((found.partition, found.position)),
            field: field.to_owned(),
        };
        if found.header(LOG_ID) != Some(self.log_id.as_bytes()) {
            return Ok(vec![wrong(Kind::Foreign, LOG_ID)]);
        }
        let Some(offset) = Offset::new(found.offset).filter(|offset| *offset < self.log.head()) else {
            return Ok(vec![wrong(Kind::Foreign, OFFSET)]);
        };
        if !self.range.contains(&offset) || self.lost.contains(offset) {
            return Ok(Vec::new());
        }
        let mut different = Vec::new();
        if !self.seen.insert(offset) {
            different.push(wrong(Kind::Doubled, ""));
        }
        if let Some(hole) = self.seen.give_up() {
            different.extend(self.lacks(hole));
        }
        if let Some(field) = self.altered(offset, found)? {
            different.push(wrong(Kind::Altered, &field));
        }
        Ok(different)
    }

    /// The first field or header in which a message is not what the mirror makes of the event.
    fn altered(&mut self, offset: Offset, found: &Found<'_>) -> Result<Option<String>, Failure> {
        let Some(block) = self.block_at(offset)? else { return Ok(None) };
        let event =
            block.event(usize::try_from(offset.since(block.first_offset())).expect("a block fits memory"));
        // The setting may have been another one when it was sent.
        let (values, writer) = match found.header(CONTENT_TYPE) == Some(JSON.as_bytes()) {
            true => (MirrorValues::Json, &mut self.json),
            false => (MirrorValues::Protobuf, &mut self.protobuf),
        };
        let expected = writer.write(&event);
        Ok(differing_part(&expected, found).or_else(|| {
            let is_same = expected.value == found.value;
            (!is_same).then(|| differing_field(values, expected.value, found.value)).flatten()
        }))
    }

    /// The block with an event; `None` if it is lost.
    fn block_at(&mut self, offset: Offset) -> Result<Option<Arc<Block>>, Failure> {
        let has = |block: &Arc<Block>| (block.first_offset()..block.end_offset()).contains(&offset);
        if let Some(place) = self.blocks.iter().position(has) {
            let block = self.blocks.remove(place);
            self.blocks.push(block.clone());
            return Ok(Some(block));
        }
        match self.log.read(offset, None)? {
            Chunk::Block(block) => {
                if self.blocks.len() == BLOCKS_MAX {
                    self.blocks.remove(0);
                }
                self.blocks.push(block.clone());
                Ok(Some(block))
            }
            Chunk::Gap { .. } | Chunk::Skipped { .. } | Chunk::Head => Ok(None),
        }
    }

    /// What the topic does not have.
    fn missing(&self) -> impl Iterator<Item = Difference> {
        self.seen.holes(self.range.clone()).flat_map(|hole| self.lacks(hole))
    }

    /// A hole, but for what the log itself has lost.
    fn lacks(&self, hole: Range<Offset>) -> Vec<Difference> {
        let missing = self.lost.holes(hole).map(|hole| Difference {
            kind: Kind::Missing,
            offsets: hole.start.get()..hole.end.get(),
            place: None,
            field: String::new(),
        });
        missing.collect()
    }
}

/// The first part of a message beside its value that is not as expected.
fn differing_part(expected: &Message<'_>, found: &Found<'_>) -> Option<String> {
    if expected.key != found.key {
        return Some("key".to_owned());
    }
    if found.time_ms.is_some_and(|time_ms| time_ms != expected.time_ms) {
        return Some("timestamp".to_owned());
    }
    let lacks = expected.headers().find(|(key, value)| found.header(key) != Some(*value)).map(|(key, _)| key);
    let has_more = || {
        let known = |name: &str| expected.headers().any(|(key, _)| key == name);
        found.headers.iter().map(|(key, _)| *key).find(|key| !known(key))
    };
    lacks.or_else(has_more).map(|key| format!("header {key}"))
}
