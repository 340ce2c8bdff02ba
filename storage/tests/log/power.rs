//! Power cuts, thousands of them: whatever step they come at, what was acknowledged is there, once, where it was
//! said to be; what was not is there whole or not at all; and a retry finds out which.

use std::collections::BTreeMap;
use std::sync::Arc;

use downlink_storage::engine::memory::{CrashPlan, MemoryEngine};
use downlink_storage::{Append, Error, Identity, Log, Options, Value, Wait};

use crate::support::{
    Random, Read, SeedOnPanic, TestClock, answer, append, event, histories, open_producer, read_whole,
    small_options, submit,
};

const PRODUCERS: [&str; 2] = ["p", "q"];

/// A batch that was sent, perhaps several times.
struct Batch {
    /// The values of its events: each value is used once in a history.
    values: Vec<i64>,
    identity: Who,
    /// The first offset, if it was acknowledged.
    acknowledged: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Nobody,
    Request(u8),
    Producer { producer: usize, sequence: u64 },
}

struct History {
    random: Random,
    engine: MemoryEngine,
    clock: TestClock,
    options: Options,
    sent: Vec<Batch>,
    next_value: i64,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let options = Options {
            segment_blocks_max: 1 + random.below(5) as u32,
            snapshot_every_events: if random.chance(4) { 1 + random.below(20) } else { 1_000_000 },
            ..small_options()
        };
        let (engine, clock) = (MemoryEngine::new(), TestClock::new());
        Self { random, engine, clock, options, sent: Vec::new(), next_value: 1 }
    }

    fn open(&self) -> Result<Log, Error> {
        Log::open(Arc::new(self.engine.clone()), Arc::new(self.clock.clone()), self.options.clone())
    }

    /// Opens the log, which only a failure that was left armed can prevent, once.
    fn reopen(&self) -> Log {
        self.open().or_else(|_| self.open()).expect("the log opens after a power cut")
    }

    fn arm(&mut self) {
        let step = self.engine.steps() + 1 + self.random.below(40);
        self.engine.crash_at_step(step);
    }

    fn crash(&mut self) {
        let plan = match self.random.below(6) {
            0 => CrashPlan::LoseAll,
            1 => CrashPlan::KeepAll,
            _ => CrashPlan::Mixed { seed: self.random.next() },
        };
        self.engine.crash(plan);
    }

    /// One life of the process, up to a power cut, a failed sync or a clean close.
    fn live(&mut self) {
        let ending = self.random.below(8);
        if ending > 1 {
            self.arm();
        }
        if let Ok(log) = self.open() {
            let sessions = PRODUCERS.map(|id| open_producer(&log, id, 1).ok());
            let mut sequences =
                [0, 1].map(|producer: usize| sessions[producer].map_or(0, |opened| opened.last_sequence));
            for _ in 0..3 + self.random.below(10) {
                self.clock.advance_ms(self.random.below(2000) as i64 - 500);
                if ending == 1 && self.random.chance(6) {
                    self.engine.fail_next_sync();
                }
                match self.random.below(12) {
                    0 => drop(log.roll(Wait::No)),
                    1 | 2 => drop(log.roll(Wait::UntilSealed)),
                    _ => self.send(
                        &log,
                        sessions.map(|opened| opened.map(|opened| opened.session)),
                        &mut sequences,
                    ),
                }
            }
        }
        if ending > 1 {
            self.crash();
        }
    }

    /// A few batches at once, so that some of them share a commit.
    fn send(&mut self, log: &Log, sessions: [Option<u64>; 2], sequences: &mut [u64; 2]) {
        let mut waiting = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let identity = match self.random.below(4) {
                0 => Who::Nobody,
                1 => Who::Request(self.random.below(200) as u8),
                producer => {
                    let producer = producer as usize - 2;
                    sequences[producer] += 1;
                    Who::Producer { producer, sequence: sequences[producer] }
                }
            };
            let batch = self.batch(identity);
            let session = match identity {
                Who::Producer { producer, .. } => sessions[producer].unwrap_or(0),
                Who::Nobody | Who::Request(_) => 0,
            };
            waiting.push((batch, submit(log, self.append(batch, session))));
        }
        for (batch, receiver) in waiting {
            if let Ok(appended) = answer(&receiver) {
                let first = appended.first.expect("no batch is empty").get();
                let known = self.sent[batch].acknowledged.replace(first);
                assert!(known.is_none_or(|known| known == first), "a retry is told the original offset");
            }
        }
    }

    /// The batch of this identity, or a new one: what was sent once under a name is never anything else.
    fn batch(&mut self, identity: Who) -> usize {
        let known = self.sent.iter().position(|batch| batch.identity == identity);
        if let Some(known) = known.filter(|_| identity != Who::Nobody) {
            return known;
        }
        let count = 1 + self.random.below(4) as i64;
        let values = (self.next_value..self.next_value + count).collect();
        self.next_value += count;
        self.sent.push(Batch { values, identity, acknowledged: None });
        self.sent.len() - 1
    }

    fn append(&self, batch: usize, session: u64) -> Append {
        let Batch { values, identity, .. } = &self.sent[batch];
        let events = values.iter().map(|value| event(&format!("s/{}", value % 3), *value)).collect();
        let identity = match *identity {
            Who::Nobody => Identity::Anonymous,
            Who::Request(id) => Identity::Request([id; 16]),
            Who::Producer { producer, sequence } => {
                Identity::Producer { id: PRODUCERS[producer].into(), epoch: 1, session, sequence }
            }
        };
        Append { events, identity, expected_head: None, note: None }
    }

    /// Compares what is in the log with what was sent and answered.
    fn check(&self, log: &Log) -> BTreeMap<i64, u64> {
        let read = read_whole(log);
        let mut offsets = BTreeMap::new();
        for Read { offset, event, .. } in &read {
            let Value::Int(value) = event.value else { panic!("only integers were sent") };
            assert_eq!(offsets.insert(value, offset.get()), None, "value {value} is there once");
        }
        let mut expected = 0;
        for batch in &self.sent {
            let found: Vec<_> = batch.values.iter().filter_map(|value| offsets.get(value)).collect();
            expected += found.len();
            let Some(first) = found.first() else {
                assert_eq!(batch.acknowledged, None, "what was acknowledged is there");
                continue;
            };
            assert!((**first..).take(batch.values.len()).eq(found.iter().map(|offset| **offset)), "whole");
            assert!(batch.acknowledged.is_none_or(|acknowledged| acknowledged == **first));
        }
        assert_eq!(expected, read.len(), "nothing is there that was never sent");
        self.check_order(&offsets);
        check_derived(log, &read);
        offsets
    }

    fn check_order(&self, offsets: &BTreeMap<i64, u64>) {
        for number in 0..PRODUCERS.len() {
            let mut batches: Vec<_> = self
                .sent
                .iter()
                .filter_map(|batch| match batch.identity {
                    Who::Producer { producer, sequence } if producer == number => {
                        offsets.get(&batch.values[0]).map(|offset| (sequence, *offset))
                    }
                    Who::Producer { .. } | Who::Nobody | Who::Request(_) => None,
                })
                .collect();
            batches.sort_unstable();
            assert!(batches.is_sorted_by_key(|(_, offset)| *offset), "in the producer's order");
            assert!(batches.iter().map(|(sequence, _)| *sequence).eq(1..=batches.len() as u64));
        }
    }

    /// Sends everything again: what is durable is a duplicate, the rest is appended.
    fn retry(&mut self, log: &Log, offsets: &BTreeMap<i64, u64>) {
        let sessions = PRODUCERS.map(|id| open_producer(log, id, 1).expect("writable"));
        let mut order: Vec<usize> = (0..self.sent.len()).collect();
        order.sort_by_key(|batch| match self.sent[*batch].identity {
            Who::Producer { sequence, .. } => sequence,
            Who::Nobody | Who::Request(_) => 0,
        });
        for batch in order {
            let session = match self.sent[batch].identity {
                Who::Nobody => continue,
                Who::Request(_) => 0,
                Who::Producer { producer, .. } => sessions[producer].session,
            };
            let answered = append(log, self.append(batch, session)).expect("writable");
            let known = offsets.get(&self.sent[batch].values[0]).copied();
            assert_eq!(answered.duplicate, known.is_some(), "{:?}", self.sent[batch].identity);
            let first = answered.first.expect("no batch is empty").get();
            assert!(known.is_none_or(|known| known == first), "a retry is told the original offset");
            self.sent[batch].acknowledged = Some(first);
        }
    }
}

fn check_derived(log: &Log, read: &[Read]) {
    let info = log.info().expect("the log can be read");
    assert_eq!(info.totals.appended, read.len() as u64);
    let mut latest: BTreeMap<&str, (&Read, u64)> = BTreeMap::new();
    for event in read {
        let count = latest.get(&*event.event.signal).map_or(0, |(_, count)| *count);
        latest.insert(&event.event.signal, (event, count + 1));
    }
    let signals = log.signals(None, |_| true).collect::<Result<Vec<_>, _>>().expect("the log can be read");
    assert_eq!(signals.len(), latest.len());
    for signal in signals {
        let (event, count) = latest[&*signal.name];
        assert_eq!((signal.events, signal.id), (count, event.signal_id));
        let latest = signal.latest.expect("nothing is damaged");
        assert_eq!((latest.offset, latest.ingest_time), (event.offset, event.ingest_time));
        assert_eq!(latest.event, event.event);
    }
}

fn run(seed: u64) {
    let _seed = SeedOnPanic(seed);
    let mut history = History::new(seed);
    for _ in 0..1 + history.random.below(4) {
        history.live();
        // Recovery may be cut short as well, several times.
        while history.random.chance(3) {
            history.arm();
            drop(history.open());
            history.crash();
        }
        if history.random.chance(2) {
            let log = history.reopen();
            history.check(&log);
        }
    }
    let log = history.reopen();
    let offsets = history.check(&log);
    history.retry(&log, &offsets);
    let after = history.check(&log);
    drop(log);
    history.engine.crash(CrashPlan::LoseAll);
    let log = history.reopen();
    assert_eq!(history.check(&log), after);
}

#[test]
fn what_was_acknowledged_outlives_power_cuts_at_any_step() {
    if let Some(seed) = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        return run(seed);
    }
    let count = histories(2_000, 50_000);
    std::thread::scope(|scope| {
        for part in 0..2 {
            scope.spawn(move || (part..count).step_by(2).for_each(run));
        }
    });
}
