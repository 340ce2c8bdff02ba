//! The plain list of events, and who sent which of them: what the log is compared with.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use downlink_storage::{Append, Event, Identity, Options, SignalId, SignalInfo, Timestamp};

pub(super) struct Model {
    pub(super) events: Vec<(Event, Timestamp)>,
    pub(super) duplicates: u64,
    pub(super) rejected: u64,
    /// Counted by itself: what was handed in.
    pub(super) received: u64,
    producers: BTreeMap<String, Producer>,
    /// Remembered request ids, oldest first.
    requests: VecDeque<([u8; 16], Span)>,
    requests_max: usize,
    producers_max: usize,
    signals_max: usize,
}

/// First offset and number of events.
type Span = (u64, u64);

#[derive(Default)]
struct Producer {
    epoch: u64,
    session: Option<u64>,
    settled: u64,
    /// The newest epoch that has an event in the log, and its batches.
    recorded_epoch: u64,
    recorded: BTreeMap<u64, Span>,
}

#[derive(Debug)]
pub(super) enum Expected {
    Appended { first: Option<u64>, events: u64, duplicate: bool },
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    Fenced,
    Gap { expected: u64 },
    Head { head: u64 },
    Quota,
}

impl Model {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            events: Vec::new(),
            duplicates: 0,
            rejected: 0,
            received: 0,
            producers: BTreeMap::new(),
            requests: VecDeque::new(),
            requests_max: options.request_ids_max,
            producers_max: options.producers_max,
            signals_max: options.signals_max,
        }
    }

    pub(super) fn head(&self) -> u64 {
        self.events.len() as u64 + 1
    }

    pub(super) fn settled(&self, id: &str) -> u64 {
        self.producers.get(id).map_or(0, |producer| producer.settled)
    }

    /// The log was closed and opened: what has no event in it is forgotten.
    pub(super) fn restart(&mut self) {
        self.producers.retain(|_, producer| !producer.recorded.is_empty());
        for producer in self.producers.values_mut() {
            producer.epoch = producer.recorded_epoch;
            producer.session = None;
            producer.settled = producer.recorded.keys().last().copied().unwrap_or(0);
        }
    }

    pub(super) fn open_producer(&mut self, id: &str, epoch: u64) -> Result<(u64, u64, u64), Refusal> {
        if !self.producers.contains_key(id) && self.producers.len() >= self.producers_max {
            return Err(Refusal::Quota);
        }
        let producer = self.producers.entry(id.to_owned()).or_default();
        if epoch < producer.epoch {
            return Err(Refusal::Fenced);
        }
        if epoch > producer.epoch {
            (producer.epoch, producer.settled) = (epoch, 0);
        }
        let recorded = producer.recorded_of(epoch);
        let last = recorded.and_then(|recorded| recorded.values().last());
        let events = recorded.map_or(0, |recorded| recorded.values().map(|(_, events)| events).sum());
        Ok((producer.settled, last.map_or(0, |(first, events)| first + events - 1), events))
    }

    pub(super) fn set_session(&mut self, id: &str, session: u64) {
        self.producers.get_mut(id).expect("just opened").session = Some(session);
    }

    pub(super) fn append(&mut self, append: Append, now: Timestamp) -> Expected {
        let events = append.events.len() as u64;
        self.received += events;
        match self.judge(&append) {
            Ok(None) => self.take(append, now),
            Ok(Some(span)) => {
                self.duplicates += events;
                let (first, events) = span.map_or((None, 0), |(first, events)| (Some(first), events));
                Expected::Appended { first, events, duplicate: first.is_some() }
            }
            Err(refusal) => {
                self.rejected += events;
                Expected::Refused(refusal)
            }
        }
    }

    /// `None`: append. `Some`: a duplicate, and where it is.
    fn judge(&self, append: &Append) -> Result<Option<Option<Span>>, Refusal> {
        match &append.identity {
            Identity::Anonymous => {}
            Identity::Request(id) => {
                if let Some((_, span)) = self.requests.iter().find(|(known, _)| known == id) {
                    return Ok(Some(Some(*span)));
                }
            }
            Identity::Producer { id, epoch, session, sequence } => {
                let Some(producer) = self.producers.get(&**id) else {
                    return Err(Refusal::Gap { expected: 1 });
                };
                // After a restart nobody has a session; numbers that were given out before are worth nothing.
                if *epoch != producer.epoch || *session != producer.session.unwrap_or(0) {
                    return Err(Refusal::Fenced);
                }
                let expected = producer.settled + 1;
                if *sequence == 0 || *sequence > expected {
                    return Err(Refusal::Gap { expected });
                }
                if *sequence < expected {
                    let recorded = producer.recorded_of(*epoch);
                    let span = recorded.and_then(|recorded| recorded.get(sequence)).copied();
                    if span.is_none() && !append.events.is_empty() {
                        return Err(Refusal::Gap { expected });
                    }
                    return Ok(Some(span));
                }
            }
        }
        let head = self.head();
        if append.expected_head.is_some_and(|expected| expected.get() != head) {
            return Err(Refusal::Head { head });
        }
        let known = self.events.iter().map(|(event, _)| &event.signal);
        let signals: BTreeSet<_> =
            known.cloned().chain(append.events.events().map(|event| event.signal)).collect();
        if signals.len() > self.signals_max { Err(Refusal::Quota) } else { Ok(None) }
    }

    fn take(&mut self, append: Append, now: Timestamp) -> Expected {
        let (first, events) = (self.head(), append.events.len() as u64);
        let now = self.events.last().map_or(now, |(_, last)| now.max(*last));
        self.events.extend(append.events.events().map(|event| (event, now)));
        match append.identity {
            Identity::Anonymous => {}
            Identity::Request(id) if events > 0 => {
                self.requests.push_back((id, (first, events)));
                if self.requests.len() > self.requests_max {
                    self.requests.pop_front();
                }
            }
            Identity::Request(_) => {}
            Identity::Producer { id, epoch, sequence, .. } => {
                let producer = self.producers.get_mut(&*id).expect("judged");
                producer.settled = sequence;
                if events > 0 {
                    if producer.recorded_epoch != epoch {
                        producer.recorded_epoch = epoch;
                        producer.recorded.clear();
                    }
                    producer.recorded.insert(sequence, (first, events));
                }
            }
        }
        Expected::Appended { first: (events > 0).then_some(first), events, duplicate: false }
    }

    /// Newest values, counts, and since when a value has been the same.
    pub(super) fn check_signals(&self, said: &[SignalInfo], ids: &BTreeMap<String, SignalId>) {
        let mut expected: BTreeMap<&str, (u64, u64, Timestamp)> = BTreeMap::new();
        for (position, (event, _)) in self.events.iter().enumerate() {
            let before = expected.get(&*event.signal).copied();
            let since = match before {
                Some((last, _, since)) if self.events[last as usize].0.value == event.value => since,
                Some(_) | None => event.event_time,
            };
            let count = before.map_or(0, |(_, count, _)| count) + 1;
            expected.insert(&event.signal, (position as u64, count, since));
        }
        assert!(said.iter().map(|info| &*info.name).eq(expected.keys().copied()));
        for info in said {
            let (last, count, since) = expected[&*info.name];
            let (event, ingest_time) = &self.events[last as usize];
            let latest = info.latest.as_ref().unwrap();
            assert_eq!((&latest.event, latest.ingest_time), (event, *ingest_time));
            assert_eq!((latest.offset.get(), info.events, latest.unchanged_since), (last + 1, count, since));
            assert_eq!((info.id, latest.signal_id), (ids[&*info.name], ids[&*info.name]));
        }
    }
}

impl Producer {
    fn recorded_of(&self, epoch: u64) -> Option<&BTreeMap<u64, Span>> {
        (self.recorded_epoch == epoch).then_some(&self.recorded)
    }
}
