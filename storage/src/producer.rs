//! Who has sent what: makes retries harmless, keeps old epochs out, and notices gaps.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::block::{BatchRecord, Block, RequestRecord};
use crate::bytes::{Fault, Reader, Writer};
use crate::error::Error;
use crate::event::Offset;

/// How many batches of each producer are remembered by their offsets; older ones are looked up in the log.
const RECENT_BATCHES: usize = 64;

/// A producer: what the log holds of it, and what has been agreed with it since the log was opened.
#[derive(Clone, Debug, PartialEq)]
struct Producer {
    recorded: Recorded,
    /// At least the recorded epoch: higher between the opening of a new epoch and its first batch.
    epoch: u64,
    /// The newest sequence of `epoch` that is settled: ahead of the recorded one by refused and empty batches.
    settled_sequence: u64,
    /// Changes whenever the producer opens a stream: batches of older sessions are fenced.
    session: u64,
}

/// What the blocks say of a producer's newest epoch.
#[derive(Clone, Debug, Default, PartialEq)]
struct Recorded {
    epoch: u64,
    last_sequence: u64,
    last_offset: Option<Offset>,
    events: u64,
    recent: VecDeque<(u64, Span)>,
}

/// The answer to a producer that opens a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Proves that its batches belong to this stream and not to an older one.
    pub session: u64,
    /// The newest sequence of the epoch that is settled; 0 for none.
    pub last_sequence: u64,
    /// The offset of the epoch's newest event.
    pub last_offset: Option<Offset>,
    /// How many events of the epoch are in the log.
    pub events: u64,
}

/// Adjacent offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: Offset,
    pub(crate) events: u32,
}

impl Span {
    pub(crate) fn last(self) -> Offset {
        Offset::new(self.first.plus(u64::from(self.events)).get() - 1).unwrap_or(self.first)
    }
}

/// What to do with a producer's batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It comes next.
    Append,
    /// It is in the log, here.
    Duplicate(Span),
    /// It is settled, but had no events or was refused: other events must come under the next sequence.
    Empty {
        /// That sequence.
        next: u64,
    },
    /// It is settled, but too long ago to be remembered here.
    Settled,
}

/// All producers and all remembered request ids, as of an offset. Derived from the blocks' records.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Producers {
    by_id: HashMap<Arc<str>, Producer>,
    requests: HashMap<[u8; 16], Span>,
    /// The request ids, oldest first.
    request_order: VecDeque<[u8; 16]>,
    sessions: u64,
}

impl Producers {
    /// A producer opens a stream: takes it over from older sessions. An older epoch is fenced.
    pub(crate) fn open(&mut self, id: &Arc<str>, epoch: u64, producers_max: usize) -> Result<Opened, Error> {
        if !self.by_id.contains_key(id) && self.by_id.len() >= producers_max {
            return Err(Error::Quota { what: "producers", bound: producers_max as u64 });
        }
        let producer = self.by_id.entry(id.clone()).or_insert_with(|| Producer::new(epoch));
        if epoch < producer.epoch {
            return Err(fenced(id, epoch, format!("epoch {}", producer.epoch)));
        }
        if epoch > producer.epoch {
            producer.epoch = epoch;
            producer.settled_sequence = 0;
        }
        self.sessions += 1;
        producer.session = self.sessions;
        let recorded = (producer.recorded.epoch == epoch).then_some(&producer.recorded);
        Ok(Opened {
            session: producer.session,
            last_sequence: producer.settled_sequence,
            last_offset: recorded.and_then(|recorded| recorded.last_offset),
            events: recorded.map_or(0, |recorded| recorded.events),
        })
    }

    /// Whether a batch may be appended. Changes nothing.
    pub(crate) fn judge(&self, id: &str, epoch: u64, session: u64, sequence: u64) -> Result<Verdict, Error> {
        let gap = |expected| Error::SequenceGap { producer: id.to_owned(), expected, found: sequence };
        let Some(producer) = self.by_id.get(id) else { return Err(gap(1)) };
        if epoch != producer.epoch {
            return Err(fenced(id, epoch, format!("epoch {}", producer.epoch)));
        }
        if session != producer.session {
            return Err(fenced(id, epoch, "a newer stream of the same producer".to_owned()));
        }
        let next = producer.settled_sequence.saturating_add(1);
        if sequence == next {
            return Ok(Verdict::Append);
        }
        if sequence == 0 || sequence > next {
            return Err(gap(next));
        }
        if producer.recorded.epoch != epoch {
            // What is recorded are the same numbers of an older epoch: other batches.
            return Ok(Verdict::Empty { next });
        }
        let recent = &producer.recorded.recent;
        Ok(match recent.binary_search_by_key(&sequence, |(sequence, _)| *sequence) {
            Ok(found) => Verdict::Duplicate(recent[found].1),
            Err(0) if recent.len() == RECENT_BATCHES => Verdict::Settled,
            Err(_) => Verdict::Empty { next },
        })
    }

    /// A batch that was empty or refused uses its sequence up; only until the log is opened again, when the
    /// producer sends it again with the same outcome.
    pub(crate) fn skip(&mut self, id: &str, sequence: u64) {
        if let Some(producer) = self.by_id.get_mut(id) {
            producer.settled_sequence = producer.settled_sequence.max(sequence);
        }
    }

    /// A batch got its offsets.
    pub(crate) fn record(&mut self, record: &BatchRecord) {
        let stamp = &record.producer;
        let producer = self.by_id.entry(stamp.id.clone()).or_insert_with(|| Producer::new(stamp.epoch));
        if stamp.epoch > producer.epoch {
            producer.epoch = stamp.epoch;
            producer.settled_sequence = 0;
        }
        producer.settled_sequence = producer.settled_sequence.max(stamp.sequence);
        if stamp.epoch != producer.recorded.epoch {
            producer.recorded = Recorded { epoch: stamp.epoch, ..Recorded::default() };
        }
        let span = Span { first: record.first_offset, events: record.events };
        let recorded = &mut producer.recorded;
        recorded.last_sequence = stamp.sequence;
        recorded.last_offset = Some(span.last());
        recorded.events += u64::from(record.events);
        if recorded.recent.len() == RECENT_BATCHES {
            recorded.recent.pop_front();
        }
        recorded.recent.push_back((stamp.sequence, span));
    }

    /// Where a request's events are, if it is remembered.
    pub(crate) fn request(&self, id: &[u8; 16]) -> Option<Span> {
        self.requests.get(id).copied()
    }

    /// A request got its offsets; the oldest beyond `request_ids_max` is forgotten.
    pub(crate) fn record_request(&mut self, record: &RequestRecord, request_ids_max: usize) {
        let span = Span { first: record.first_offset, events: record.events };
        if self.requests.insert(record.request_id, span).is_none() {
            self.request_order.push_back(record.request_id);
        }
        while self.request_order.len() > request_ids_max {
            if let Some(oldest) = self.request_order.pop_front() {
                self.requests.remove(&oldest);
            }
        }
    }

    /// Takes a block's records in.
    pub(crate) fn apply(&mut self, block: &Block, request_ids_max: usize) {
        for record in block.batches() {
            self.record(record);
        }
        for record in block.requests() {
            self.record_request(record, request_ids_max);
        }
    }

    /// What the blocks say, and nothing that was only agreed since the log was opened.
    pub(crate) fn encode(&self, writer: &mut Writer) {
        let recorded: BTreeMap<_, _> =
            self.by_id.iter().filter(|(_, producer)| producer.recorded.events > 0).collect();
        writer.u64(recorded.len() as u64);
        for (id, Producer { recorded, .. }) in recorded {
            writer.bytes(id.as_bytes()).u64(recorded.epoch).u64(recorded.last_sequence);
            writer.u64(recorded.last_offset.map_or(0, Offset::get)).u64(recorded.events);
            writer.u64(recorded.recent.len() as u64);
            for (sequence, span) in &recorded.recent {
                writer.u64(*sequence).u64(span.first.get()).u64(u64::from(span.events));
            }
        }
        writer.u64(self.request_order.len() as u64);
        for id in &self.request_order {
            let span = self.requests[id];
            writer.bytes(id).u64(span.first.get()).u64(u64::from(span.events));
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut producers = Self::default();
        for _ in 0..reader.count()? {
            let id = reader.text()?;
            let mut recorded = Recorded {
                epoch: reader.u64()?,
                last_sequence: reader.u64()?,
                last_offset: Offset::new(reader.u64()?),
                events: reader.u64()?,
                recent: VecDeque::new(),
            };
            for _ in 0..reader.count()? {
                recorded.recent.push_back((reader.u64()?, Span::decode(reader)?));
            }
            let (epoch, settled_sequence) = (recorded.epoch, recorded.last_sequence);
            producers.by_id.insert(id, Producer { recorded, epoch, settled_sequence, session: 0 });
        }
        for _ in 0..reader.count()? {
            let id: [u8; 16] = reader.bytes()?.try_into().map_err(|_| Fault::Malformed)?;
            producers.requests.insert(id, Span::decode(reader)?);
            producers.request_order.push_back(id);
        }
        Ok(producers)
    }
}

impl Span {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self { first: reader.offset()?, events: reader.u32()? })
    }
}

impl Producer {
    fn new(epoch: u64) -> Self {
        Self { recorded: Recorded { epoch, ..Recorded::default() }, epoch, settled_sequence: 0, session: 0 }
    }
}

fn fenced(id: &str, epoch: u64, by: String) -> Error {
    Error::ProducerFenced { producer: id.to_owned(), epoch, by }
}
