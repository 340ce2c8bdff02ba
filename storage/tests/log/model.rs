//! Random histories of operations against a plain list of events: whatever is asked, the log answers as the list.

mod state;

use std::collections::BTreeMap;
use std::sync::Arc;

use downlink_storage::engine::Engine;
use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::{
    Append, Clock, Error, Event, Identity, Log, Options, Quality, Seek, SignalId, Value, Wait,
};

use crate::support::{
    Random, Read, SeedOnPanic, TestClock, answer, histories, open_producer, read_from, read_whole,
    small_options, submit, time_ms,
};
use state::{Expected, Model};

const PRODUCERS: [&str; 3] = ["p", "q", "r"];

struct History {
    random: Random,
    engine: MemoryEngine,
    clock: TestClock,
    options: Options,
    log: Option<Log>,
    model: Model,
    /// The newest session of each producer, as this history knows it: perhaps out of date.
    sessions: BTreeMap<&'static str, (u64, u64)>,
    signal_ids: BTreeMap<String, SignalId>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let options = Options {
            segment_blocks_max: 2 + random.below(20) as u32,
            segment_age_seconds_max: 60,
            open_segments_max: random.below(4) as usize,
            tail_cache_bytes_max: [1, 4_000, 1 << 20][random.below(3) as usize],
            request_ids_max: 4,
            producers_max: 2 + random.below(2) as usize,
            signals_max: 12,
            snapshot_every_events: 1 + random.below(200),
            ..small_options()
        };
        let model = Model::new(&options);
        let (engine, clock) = (MemoryEngine::new(), TestClock::new());
        let mut history = Self {
            random,
            engine,
            clock,
            options,
            log: None,
            model,
            sessions: BTreeMap::new(),
            signal_ids: BTreeMap::new(),
        };
        history.open();
        history
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("open between operations")
    }

    fn open(&mut self) {
        let engine = Arc::new(self.engine.clone());
        let log = Log::open(engine, Arc::new(self.clock.clone()), self.options.clone());
        self.log = Some(log.expect("the log opens"));
    }

    fn step(&mut self) {
        match self.random.below(24) {
            0 => drop(self.log().roll(Wait::No).expect("writable")),
            1 => drop(self.log().roll(Wait::UntilSealed).expect("writable")),
            2 => {
                self.log = None;
                self.open();
                self.model.restart();
            }
            3 => {
                // The books without a snapshot are those of the last block.
                self.append_all(vec![self.plain(1)]);
                self.log = None;
                self.engine.remove("derived").expect("closed");
                self.open();
                self.model.restart();
            }
            4 | 5 => self.clock.advance_ms(self.random.below(60_000) as i64 - 20_000),
            6..9 => self.open_producer(),
            9 => {
                self.log().count_rejected(3);
                self.model.rejected += 3;
                self.model.received += 3;
            }
            _ => {
                let count = 1 + self.random.below(4);
                let batches = (0..count).map(|_| self.any_append()).collect();
                self.append_all(batches);
            }
        }
    }

    fn open_producer(&mut self) {
        let id = PRODUCERS[self.random.below(3) as usize];
        let epoch = 1 + self.random.below(3);
        let expected = self.model.open_producer(id, epoch);
        match (open_producer(self.log(), id, epoch), expected) {
            (Ok(opened), Ok(expected)) => {
                let said = (
                    opened.last_sequence,
                    opened.last_offset.map_or(0, |offset| offset.get()),
                    opened.events,
                );
                assert_eq!(said, expected, "{id} {epoch}");
                self.model.set_session(id, opened.session);
                self.sessions.insert(id, (epoch, opened.session));
            }
            (Err(error), Err(expected)) => assert!(expected.is(&error), "{error} for {expected:?}"),
            (said, expected) => panic!("{said:?} for {expected:?}"),
        }
    }

    /// Hands all batches in before it waits for the first answer: they may share a commit.
    fn append_all(&mut self, batches: Vec<Append>) {
        let ingest_time = self.clock.now();
        let receivers: Vec<_> = batches.iter().map(|batch| submit(self.log(), batch.clone())).collect();
        for (batch, receiver) in batches.into_iter().zip(receivers) {
            let text = format!("{:?} {:?}", batch.identity, batch.expected_head);
            let expected = self.model.append(batch, ingest_time);
            match (answer(&receiver), expected) {
                (Ok(said), Expected::Appended { first, events, duplicate }) => {
                    let last = first.map(|first| first + events - 1);
                    let offsets = (said.first.map(|first| first.get()), said.last.map(|last| last.get()));
                    assert_eq!((offsets, said.duplicate), ((first, last), duplicate), "{text}");
                    assert!(last.is_none_or(|last| said.head.get() > last));
                }
                (Err(error), Expected::Refused(expected)) => {
                    assert!(expected.is(&error), "{error} for {expected:?}: {text}");
                }
                (said, expected) => panic!("{said:?} for {expected:?}: {text}"),
            }
        }
    }

    fn plain(&self, count: u64) -> Append {
        let mut random = Random::new(self.model.events.len() as u64);
        let signal = self.model.events.first().map_or("s/0", |(event, _)| &event.signal);
        let events =
            (0..count).map(|_| Event { signal: signal.to_owned(), ..any_event(&mut random, 1) }).collect();
        Append { events, identity: Identity::Anonymous, expected_head: None, note: None }
    }

    fn any_append(&mut self) -> Append {
        let random = &mut self.random;
        let count = match random.below(8) {
            0 => 0,
            1 => self.options.commit_events_max as u64,
            2 => 30,
            _ => 1 + random.below(4),
        };
        let signals = if random.chance(20) { 40 } else { 10 };
        let events = (0..count).map(|_| any_event(random, signals)).collect();
        let expected_head = match random.below(12) {
            0 => downlink_storage::Offset::new(self.model.head()),
            1 => downlink_storage::Offset::new(1 + random.below(200)),
            _ => None,
        };
        Append { events, identity: self.any_identity(), expected_head, note: None }
    }

    fn any_identity(&mut self) -> Identity {
        let random = &mut self.random;
        match random.below(4) {
            0 => Identity::Anonymous,
            1 => Identity::Request([random.below(8) as u8; 16]),
            _ => {
                let id = PRODUCERS[random.below(3) as usize];
                let (epoch, session) = self.sessions.get(id).copied().unwrap_or((1, 0));
                let epoch = if random.chance(12) { 1 + random.below(3) } else { epoch };
                let session = if random.chance(12) { random.below(9) } else { session };
                let next = self.model.settled(id) + 1;
                let sequence = match random.below(8) {
                    0 => next + 1 + random.below(2),
                    1 => next.saturating_sub(random.below(3)),
                    2 => random.below(next + 1),
                    _ => next,
                };
                Identity::Producer { id: id.into(), epoch, session, sequence }
            }
        }
    }

    /// Everything that can be asked, compared with the list.
    fn check(&mut self) {
        let log = self.log.as_ref().expect("open");
        let read = read_whole(log);
        assert_eq!(read.len(), self.model.events.len());
        for (read, (event, ingest_time)) in read.iter().zip(&self.model.events) {
            assert_eq!((&read.event, read.ingest_time), (event, *ingest_time), "at {}", read.offset);
        }
        for read in &read {
            let id = *self.signal_ids.entry(read.event.signal.clone()).or_insert(read.signal_id);
            assert_eq!(id, read.signal_id, "a signal's number never changes");
        }
        self.model.check_signals(
            &log.signals(None, |_| true).map(Result::unwrap).collect::<Vec<_>>(),
            &self.signal_ids,
        );
        let info = log.info().expect("readable");
        let Model { duplicates, rejected, .. } = self.model;
        let totals = (info.totals.appended, info.totals.duplicates, info.totals.rejected);
        assert_eq!(totals, (read.len() as u64, duplicates, rejected));
        assert_eq!(info.totals.received, self.model.received);
        assert_eq!(info.oldest_time, read.first().map(|read| read.ingest_time));
        assert_eq!(info.newest_time, read.last().map(|read| read.ingest_time));
        assert_eq!((info.signals, info.head.get()), (self.signal_ids.len() as u64, self.model.head()));
        check_seeks(log, &read, &mut self.random);
        check_filters(log, &read, &self.signal_ids, &mut self.random);
    }
}

fn check_seeks(log: &Log, read: &[Read], random: &mut Random) {
    for _ in 0..8 {
        let time = match read.len() {
            0 => time_ms(0),
            len => {
                let read = &read[random.below(len as u64) as usize];
                if random.chance(2) { read.ingest_time } else { read.event.event_time }
            }
        };
        let first = |late: &dyn Fn(&Read) -> bool| {
            read.iter().find(|read| late(read)).map_or(log.head(), |read| read.offset)
        };
        let ingest = log.seek(Seek::IngestTime(time)).expect("readable");
        assert_eq!(ingest, first(&|read| read.ingest_time >= time));
        let event = log.seek(Seek::EventTime(time)).expect("readable");
        assert_eq!(event, first(&|read| read.event.event_time >= time));
    }
}

fn check_filters(log: &Log, read: &[Read], ids: &BTreeMap<String, SignalId>, random: &mut Random) {
    for _ in 0..4 {
        let wanted: Vec<SignalId> = ids.values().copied().filter(|_| random.chance(4)).collect();
        let from = downlink_storage::Offset::new(1 + random.below(read.len() as u64 + 1)).expect("not 0");
        let (found, gaps) = read_from(log, from, Some(&wanted));
        assert_eq!(gaps, []);
        let is_wanted = |read: &&Read| read.offset >= from && wanted.contains(&read.signal_id);
        assert!(found.iter().filter(is_wanted).eq(read.iter().filter(is_wanted)));
    }
}

/// Few signals and few values, so that values repeat; now and then one that tests the encoding.
fn any_event(random: &mut Random, signals: u64) -> Event {
    let value = match random.below(8) {
        0 => Value::Double(f64::from_bits(random.next())),
        1 => Value::String("x".repeat(random.below(9) as usize)),
        2 => Value::Bytes(vec![7; random.below(3) as usize]),
        3 => Value::Bool(random.chance(2)),
        4 => Value::Double([0.0, -0.0][random.below(2) as usize]),
        _ => Value::Int(random.below(2) as i64),
    };
    let attributes = match random.below(6) {
        0 => BTreeMap::from([("unit".to_owned(), "%".to_owned())]),
        _ => BTreeMap::new(),
    };
    Event {
        signal: format!("s/{}", random.below(signals)),
        event_time: time_ms(1_600_000_000_000 + random.below(1_000_000) as i64),
        value,
        quality: [Quality::Good, Quality::Stale][random.below(2) as usize],
        source: ["", "feed"][random.below(2) as usize].to_owned(),
        attributes,
        trace_context: vec![1; random.below(2) as usize],
    }
}

#[test]
fn the_log_answers_as_a_list_of_events_would() {
    for seed in 0..histories(150, 5_000) {
        let _seed = SeedOnPanic(seed);
        let mut history = History::new(seed);
        for _ in 0..4 {
            for _ in 0..30 {
                history.step();
            }
            history.check();
        }
        history.log().roll(Wait::UntilSealed).expect("writable");
        history.check();
        let info = history.log().info().expect("readable");
        assert_eq!(info.sealed_segments + 1, info.segments);
    }
}

impl state::Refusal {
    fn is(self, error: &Error) -> bool {
        match self {
            Self::Fenced => matches!(error, Error::ProducerFenced { .. }),
            Self::Gap { expected } => {
                matches!(error, Error::SequenceGap { expected: said, .. } if *said == expected)
            }
            Self::Head { head } => {
                matches!(error, Error::HeadMismatch { head: said, .. } if said.get() == head)
            }
            Self::Quota => matches!(error, Error::Quota { .. }),
        }
    }
}
