//! Aggregates are what brute force makes of all events, whatever is rolled up, late, sealed, lost or made anew.

use std::sync::Arc;

use downlink_storage::engine::Engine as _;
use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::{
    AggregateQuery, Bucket, Buckets, Event, Extremum, Holding, Log, Options, SignalId, StateRange, Step,
    Timestamp, Value, Wait,
};

use crate::support::{
    Random, Read, SeedOnPanic, TestClock, anonymous, append, event, read_whole, small_options, time_ms,
};

const HISTORIES: u64 = 40;
const QUERIES: u64 = 25;
const BASE_MS: i64 = 600_000;
pub(crate) const START_MS: i64 = 1_600_000_000_000 / BASE_MS * BASE_MS;

fn options() -> Options {
    Options { rollup_events: 60, segment_blocks_max: 12, ..small_options() }
}

pub(crate) fn open(engine: &MemoryEngine) -> Log {
    Log::open(Arc::new(engine.clone()), Arc::new(TestClock::new()), options()).expect("the log opens")
}

/// Some kinds of values for each signal.
fn value(random: &mut Random, signal: u64) -> Value {
    match (signal, random.below(8)) {
        (0, 0) => Value::Double(f64::NAN),
        (0, _) => Value::Double(random.below(2_000) as f64 / 8.0 - 100.0),
        (1, number) => Value::Int((number / 3).cast_signed()),
        (_, 0) => Value::Bool(random.chance(2)),
        (_, 1) => Value::String("x".repeat(100)),
        (_, 2) => Value::Bytes(vec![1, 2]),
        (_, number) => Value::String(format!("mode {}", number / 4)),
    }
}

/// Appends a few batches; `now_ms` is where the feed is. Some events are late, by less than `late_ms`.
pub(crate) fn feed(log: &Log, random: &mut Random, now_ms: &mut i64, batches: u64, late_ms: u64) {
    for _ in 0..batches {
        let count = 1 + random.below(30);
        let events: Vec<Event> = (0..count)
            .map(|_| {
                *now_ms += random.below(40_000).cast_signed();
                let late_ms = if random.chance(12) { random.below(late_ms) } else { 0 };
                // Often on the full second, so that some are at the same time and some on an edge.
                let ms = (*now_ms - late_ms.cast_signed()) / 1_000 * 1_000;
                let signal = random.below(3);
                let value = value(random, signal);
                Event { event_time: time_ms(ms), value, ..event(&format!("s/{signal}"), 0) }
            })
            .collect();
        append(log, anonymous(events)).unwrap();
    }
}

pub(crate) fn answer(log: &Log, query: &AggregateQuery) -> Vec<Bucket> {
    let mut aggregation = log.aggregate(query.clone());
    let mut buckets = Vec::new();
    loop {
        match aggregation.step().expect("the log can be read") {
            Step::Working => {}
            Step::Buckets(more) => buckets.extend(more),
            Step::Done => return buckets,
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Double(number) => (!number.is_nan()).then_some(*number),
        Value::Int(number) => Some(*number as f64),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::String(_) | Value::Bytes(_) => None,
    }
}

fn is_state(value: &Value) -> bool {
    match value {
        Value::Double(_) | Value::Int(_) | Value::Bool(_) => true,
        Value::String(text) => text.len() <= 64,
        Value::Bytes(_) => false,
    }
}

/// The events of a signal in the order of time.
pub(crate) fn sorted(read: &[Read], signal: SignalId) -> Vec<(Timestamp, Value)> {
    let mut events: Vec<_> = read.iter().filter(|read| read.signal_id == signal).collect();
    events.sort_by_key(|read| (read.event.event_time, read.offset));
    events.into_iter().map(|read| (read.event.event_time, read.event.value.clone())).collect()
}

/// The bucket, computed from all events of the signal.
pub(crate) fn expected(
    events: &[(Timestamp, Value)],
    query: &AggregateQuery,
    found: &Bucket,
    range_end: Timestamp,
) -> Bucket {
    let (start, end) = (found.start, found.end);
    let inside: Vec<_> = events.iter().filter(|(time, _)| (start..end).contains(time)).collect();
    let numbers: Vec<(Timestamp, f64)> =
        inside.iter().filter_map(|(time, value)| Some((*time, number(value)?))).collect();
    let extremum = |found: Option<(Timestamp, f64)>| found.map(|(time, number)| Extremum { number, time });
    // How long each value holds inside the bucket: until the next event before the end of the range, or until now.
    let (mut integral, mut held, mut states) = (0.0, 0.0, Vec::<StateRange>::new());
    for (place, (time, value)) in events.iter().enumerate().filter(|(_, (time, _))| *time < end) {
        let next = events.get(place + 1).filter(|(next, _)| *next < range_end);
        let until = next.map_or(end.min(query.now), |(next, _)| end.min(*next));
        let from = start.max(*time);
        if from >= until {
            continue;
        }
        let seconds = (until.unix_nanos() - from.unix_nanos()) as f64 / 1e9;
        if let Some(number) = number(value) {
            integral += number * seconds;
            held += seconds;
        }
        if is_state(value) {
            match states.last_mut() {
                Some(last) if last.end == from && last.value == *value => last.end = until,
                Some(_) | None => states.push(StateRange { value: value.clone(), start: from, end: until }),
            }
        }
    }
    let most = match query.holding {
        Holding::States(most) => most,
        Holding::Ignored | Holding::Mean => 0,
    };
    Bucket {
        signal: found.signal,
        start,
        end,
        count: inside.len() as u64,
        min: extremum(numbers.iter().copied().reduce(|a, b| if b.1 < a.1 { b } else { a })),
        max: extremum(numbers.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a })),
        mean: (!numbers.is_empty())
            .then(|| numbers.iter().map(|(_, number)| number).sum::<f64>() / numbers.len() as f64),
        first: inside.first().map(|(_, value)| value.clone()),
        last: inside.last().map(|(_, value)| value.clone()),
        times: inside.first().zip(inside.last()).map(|((first, _), (last, _))| (*first, *last)),
        time_weighted_mean: (held > 0.0 && query.holding != Holding::Ignored).then_some(integral / held),
        states_left_out: states.len() > most && most > 0,
        states: states.into_iter().take(most).collect(),
        incomplete: false,
    }
}

/// The same, but for the last digits of what was added up in another order.
pub(crate) fn assert_same(mut found: Bucket, expected: Bucket, context: &dyn std::fmt::Debug) {
    for (found, expected) in
        [(&mut found.mean, expected.mean), (&mut found.time_weighted_mean, expected.time_weighted_mean)]
    {
        if let (Some(found), Some(expected)) = (found, expected) {
            let tolerance = 1e-9 * expected.abs().max(100.0);
            assert!((*found - expected).abs() < tolerance, "{found} for {expected}: {context:?}");
            *found = expected;
        }
    }
    assert_eq!(found, expected, "{context:?}");
}

pub(crate) fn random_query(random: &mut Random, log: &Log, now_ms: i64) -> (AggregateQuery, Timestamp) {
    let span = (now_ms - START_MS + 4 * BASE_MS) as u64;
    let edge = |random: &mut Random| {
        let ms = START_MS - 2 * BASE_MS + random.below(span).cast_signed();
        if random.chance(2) { ms / BASE_MS * BASE_MS } else { ms }
    };
    let (a, b) = (edge(random), edge(random));
    let (start, end) = (time_ms(a.min(b)), time_ms(a.max(b) + 1));
    let steps_s = [7, 61, 600, 1_200, 1_234, 3_000, 86_400];
    let buckets = match random.below(3) {
        0 => Buckets::one(start, end),
        1 => Buckets::at_most(start, end, 1 + random.below(80) as u32),
        _ => {
            let step = steps_s[random.below(steps_s.len() as u64) as usize];
            Buckets::every(start, end, step * 1_000_000_000)
        }
    };
    let holding = match random.below(4) {
        0 => Holding::Ignored,
        1 => Holding::Mean,
        2 => Holding::States(3),
        _ => Holding::States(1_000),
    };
    let signals = log.match_signals(|_| true);
    let now = if random.chance(3) { time_ms(edge(random)) } else { Timestamp::MAX };
    (AggregateQuery { signals, buckets: buckets.unwrap(), holding, now }, end)
}

pub(crate) fn compare(log: &Log, random: &mut Random, now_ms: i64, read: &[Read]) {
    for _ in 0..QUERIES {
        let (query, end) = random_query(random, log, now_ms);
        let found = answer(log, &query);
        assert_eq!(found.len() as i128, query.buckets.count() * query.signals.len() as i128, "{query:?}");
        for signal in &query.signals {
            let events = sorted(read, *signal);
            for bucket in found.iter().filter(|bucket| bucket.signal == *signal) {
                let expected = expected(&events, &query, bucket, end);
                assert_same(bucket.clone(), expected, &(&query, &bucket));
            }
        }
    }
}

#[test]
fn aggregates_are_what_brute_force_makes_of_all_events() {
    for seed in 0..HISTORIES {
        let _seed = SeedOnPanic(seed);
        let mut random = Random::new(seed);
        let engine = MemoryEngine::new();
        let mut log = open(&engine);
        let mut now_ms = START_MS;
        for _ in 0..4 {
            let batches = 1 + random.below(12);
            feed(&log, &mut random, &mut now_ms, batches, 3 * BASE_MS as u64);
            match random.below(5) {
                0 => log.roll_up(),
                1 => drop(log.roll(Wait::UntilSealed).unwrap()),
                2 => {
                    drop(log);
                    log = open(&engine);
                }
                3 => {
                    // Rollups thrown away: the blocks are enough, and make them anew.
                    drop(log);
                    engine.remove("rollups").unwrap();
                    log = open(&engine);
                }
                _ => {}
            }
            compare(&log, &mut random, now_ms, &read_whole(&log));
        }
        log.roll_up();
        compare(&log, &mut random, now_ms, &read_whole(&log));
    }
}

/// One long history of `count` events a signal, in order, with a value of its own each.
fn changing(log: &Log, counts: &[usize]) -> i64 {
    let mut now_ms = START_MS;
    for (signal, count) in counts.iter().enumerate() {
        for first in (0..*count).step_by(5_000) {
            let events = (first..*count.min(&(first + 5_000))).map(|number| Event {
                event_time: time_ms(START_MS + number as i64 * 100),
                value: Value::String(format!("{number:060}")),
                ..event(&format!("s/{signal}"), 0)
            });
            append(log, anonymous(events.collect())).unwrap();
        }
        now_ms = now_ms.max(START_MS + *count as i64 * 100);
    }
    now_ms
}

#[test]
fn more_states_than_there_is_room_for_come_all_the_same() {
    let engine = MemoryEngine::new();
    let options = Options { segment_blocks_max: 1_000, rollup_events: 50_000, ..options() };
    let log = Log::open(Arc::new(engine), Arc::new(TestClock::new()), options).expect("the log opens");
    // The first is too much by itself, the others together.
    let now_ms = changing(&log, &[100_000, 10, 60_000, 40_000]);
    let (start, end, now) = (time_ms(START_MS - 1), time_ms(now_ms + BASE_MS), Timestamp::MAX);
    let signals = log.match_signals(|_| true);
    let read = read_whole(&log);
    for buckets in [
        Buckets::every(start, end, 100_000_000_000),
        Buckets::every(start, end, 600_000_000_000),
        Buckets::at_most(start, end, 300),
    ] {
        let (buckets, holding) = (buckets.unwrap(), Holding::States(1_000));
        let query = AggregateQuery { signals: signals.clone(), buckets, holding, now };
        for rolled in [false, true] {
            if rolled {
                log.roll_up();
            }
            let mut found = answer(&log, &query).into_iter();
            for signal in &signals {
                let events = sorted(&read, *signal);
                for _ in 0..buckets.count() {
                    let bucket = found.next().expect("a bucket");
                    assert_eq!(bucket.signal, *signal);
                    // Only the events around the bucket matter, and brute force is slow.
                    let near = events.partition_point(|(time, _)| *time < bucket.start).saturating_sub(1);
                    let after = events.partition_point(|(time, _)| *time <= bucket.end) + 1;
                    let near = &events[near..after.clamp(near, events.len())];
                    let expected = expected(near, &query, &bucket, end);
                    assert_same(bucket, expected, &buckets);
                }
            }
            assert_eq!(found.next(), None);
        }
    }
}

#[test]
fn values_that_hold_for_ages_are_weighted_by_all_of_it() {
    let log = open(&MemoryEngine::new());
    let at = |nanos: i128, value| Event {
        event_time: Timestamp::from_unix_nanos(nanos).unwrap(),
        value: Value::Double(value),
        ..event("a", 0)
    };
    let (first, last) = (Timestamp::MIN.unix_nanos(), Timestamp::MAX.unix_nanos());
    let third = (last - first) / 3;
    append(&log, anonymous(vec![at(first, 3.0), at(first + third, 6.0), at(first + 2 * third, 9.0)]))
        .unwrap();
    append(&log, anonymous(vec![at(last, 1e300)])).unwrap();
    log.roll_up();
    let query = AggregateQuery {
        signals: log.match_signals(|_| true),
        buckets: Buckets::one(Timestamp::MIN, Timestamp::MAX).unwrap(),
        holding: Holding::Mean,
        now: Timestamp::MAX,
    };
    let [bucket] = &answer(&log, &query)[..] else { panic!("one bucket") };
    assert_eq!((bucket.count, bucket.last.clone()), (4, Some(Value::Double(1e300))));
    assert!((bucket.time_weighted_mean.unwrap() - 6.0).abs() < 1e-9, "{bucket:?}");
}
