//! Readers see every event once and in order, whatever the writer and the sealer do meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::{Chunk, Log, Offset, Options, SignalId, Value, Wait};

use crate::support::{
    answer, by_producer, event, open, open_producer, read_whole, small_options, submit, with_watchdog,
};

const PRODUCERS: usize = 4;
const BATCHES: u64 = 250;
const BATCH_EVENTS: i64 = 3;

/// The value of the event says whose it is and which.
fn produce(log: &Log, producer: usize) {
    let id = format!("producer {producer}");
    let session = open_producer(log, &id, 1).unwrap().session;
    let mut waiting = Vec::new();
    for sequence in 1..=BATCHES {
        let first = (sequence as i64 - 1) * BATCH_EVENTS;
        let batch = (first..first + BATCH_EVENTS).map(|value| event(&id, value)).collect();
        waiting.push(submit(log, by_producer(batch, &id, session, sequence)));
        if waiting.len() == 8 {
            for receiver in waiting.drain(..) {
                assert!(!answer(&receiver).unwrap().duplicate);
            }
        }
    }
    assert!(waiting.iter().all(|receiver| answer(receiver).is_ok()));
}

/// Reads from the beginning to the head of the moment; each producer's events must come in order, each once.
fn read_once(log: &Log, signals: Option<&[SignalId]>) -> u64 {
    let head = log.head();
    let mut next = [0_i64; PRODUCERS];
    let mut from = Offset::FIRST;
    while from < head {
        match log.read(from, signals).unwrap() {
            Chunk::Block(block) => {
                for event in block.events().filter(|event| event.offset >= from) {
                    if signals.is_some_and(|signals| !signals.contains(&event.signal_id)) {
                        continue;
                    }
                    let producer: usize = event.signal["producer ".len()..].parse().unwrap();
                    assert_eq!(event.value.to_value(), Value::Int(next[producer]), "at {}", event.offset);
                    next[producer] += 1;
                }
                from = block.end_offset();
            }
            Chunk::Skipped { end } if signals.is_some() => from = end,
            chunk @ (Chunk::Gap { .. } | Chunk::Skipped { .. } | Chunk::Head) => {
                panic!("{chunk:?} at {from}, the head was {head}")
            }
        }
    }
    next.iter().map(|count| *count as u64).sum()
}

fn run(options: &Options) {
    let engine = MemoryEngine::new();
    let log = open(&engine, options);
    let done = Arc::new(AtomicBool::new(false));
    let commits = Arc::new(AtomicU64::new(0));
    let counted = commits.clone();
    log.on_commit(move |head| assert!(counted.fetch_max(head.get(), Ordering::Relaxed) < head.get()));
    thread::scope(|scope| {
        for reader in 0..3 {
            let (log, done) = (log.clone(), done.clone());
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let id = SignalId(reader);
                    read_once(&log, (reader > 0).then_some(&[id][..]));
                    log.info().unwrap();
                }
            });
        }
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let log = log.clone();
                scope.spawn(move || produce(&log, producer))
            })
            .collect();
        let joined: Vec<_> = producers.into_iter().map(|producer| producer.join()).collect();
        log.roll(Wait::UntilSealed).unwrap();
        done.store(true, Ordering::Relaxed);
        assert!(joined.iter().all(Result::is_ok));
    });
    let expected = PRODUCERS as u64 * BATCHES * BATCH_EVENTS as u64;
    assert_eq!(read_once(&log, None), expected);
    assert_eq!(read_whole(&log).len() as u64, expected);
    assert_eq!(commits.load(Ordering::Relaxed), expected + 1);
    let info = log.info().unwrap();
    assert_eq!(info.sealed_segments + 1, info.segments);
    assert!(info.segments > 10, "{info:?}");
}

#[test]
fn readers_see_every_event_once_while_segments_are_rolled_and_sealed() {
    with_watchdog(|| {
        for open_segments_max in [0, 1, 3] {
            let options = Options { open_segments_max, commit_events_max: 16, ..small_options() };
            run(&options);
        }
    });
}
