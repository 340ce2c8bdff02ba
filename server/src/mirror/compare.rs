//! The topic against the log, event by event.

use std::ops::Range;
use std::time::{Duration, Instant};

use downlink_storage::{Chunk, Log, Offset};

use super::failure::Failure;
use super::settings;
use crate::blocks::{Blocks, event_at};
use crate::config::{Config, MirrorValues};
use crate::kafka::{CONTENT_TYPE, JSON, LOG_ID, Message, OFFSET, Place, Received, Topic, Writer};
use crate::offsets::{Offsets, SCATTERED_MAX};
use crate::wire::differing_field;

/// Blocks of the log at hand: partitions are never at quite the same place.
const BLOCKS_MAX: usize = 8;

/// How often it is told how far a comparison is.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Something that is not the same in log and topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// What is wrong.
    pub(crate) kind: Kind,
    /// Which events; of a message of another log, what it says.
    pub(crate) offsets: Range<u64>,
    /// The message, if there is one.
    pub(crate) place: Option<Place>,
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
    /// What the topic has. If that is too scattered its first holes count as lost; a message that comes for them later is then
    /// taken for a second one.
    seen: Offsets,
    /// The first offset that nothing has been compared from on.
    reached: Offset,
    /// What the log itself has lost cannot be compared.
    lost: &'a Offsets,
    blocks: Blocks,
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
    (range, lost): (Range<Offset>, &Offsets),
    is_stopped: &dyn Fn() -> bool,
    tell: &mut dyn FnMut(Told) -> bool,
) -> Result<Compared, String> {
    let mut comparison = Comparison::new(log, range, lost);
    let (mut goes_on, mut told) = (true, Instant::now());
    let each = |found: &Received<'_>| -> Result<bool, Failure> {
        goes_on = comparison.take(found)?.into_iter().all(|different| tell(Told::Different(different)));
        if told.elapsed() >= TELL_EVERY {
            goes_on &= tell(Told::Reached(comparison.reached.get()));
            told = Instant::now();
        }
        Ok(goes_on)
    };
    read(config, is_stopped, each).map_err(|failure| failure.to_string())?;
    goes_on = goes_on && !is_stopped() && comparison.missing().all(|missing| tell(Told::Different(missing)));
    Ok(if goes_on { Compared::All } else { Compared::Stopped })
}

/// Hands out everything that the topic has.
fn read(
    config: &Config,
    is_stopped: &dyn Fn() -> bool,
    each: impl FnMut(&Received<'_>) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let topic = Topic::connect(settings::access(config)?)?;
    let ends = topic.ends()?;
    if ends.is_empty() {
        let problem = "it is not there".to_owned();
        return Err(Failure::Foreign { topic: config.mirror_topic.clone(), problem });
    }
    let from: Vec<_> = ends.iter().map(|ends| ends.first).collect();
    topic.read(&from, &ends, is_stopped, each)
}

impl<'a> Comparison<'a> {
    fn new(log: &'a Log, range: Range<Offset>, lost: &'a Offsets) -> Self {
        let log_id = log.id().to_string();
        let writer = |values| Writer::new(log_id.clone(), values);
        let (protobuf, json) = (writer(MirrorValues::Protobuf), writer(MirrorValues::Json));
        let (seen, reached) = (Offsets::new(SCATTERED_MAX), range.start);
        let blocks = Blocks::of(log.clone(), BLOCKS_MAX);
        Self { log, range, seen, reached, lost, blocks, protobuf, json, log_id }
    }

    /// Takes the next message; gives what is wrong with it.
    fn take(&mut self, found: &Received<'_>) -> Result<Vec<Difference>, Failure> {
        let wrong = |kind, field: &str| Difference {
            kind,
            offsets: found.offset..found.offset.saturating_add(1),
            place: Some(found.place),
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
        different.extend(self.seen.give_up().into_iter().flat_map(|hole| self.lacks(hole)));
        self.reached = self.reached.max(offset.plus(1));
        if let Some(field) = self.altered(offset, found)? {
            different.push(wrong(Kind::Altered, &field));
        }
        Ok(different)
    }

    /// The first field or header in which a message is not what the mirror makes of the event.
    fn altered(&mut self, offset: Offset, found: &Received<'_>) -> Result<Option<String>, Failure> {
        // Otherwise the log has lost it.
        let Chunk::Block(block) = self.blocks.read(offset)? else { return Ok(None) };
        let event = event_at(&block, offset);
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
fn differing_part(expected: &Message<'_>, found: &Received<'_>) -> Option<String> {
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
