//! Closing: everybody is answered, and nobody waits for long.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::{Chunk, Error, Log, Offset, Options, SystemClock, Wait};

use crate::support::{
    anonymous, answer, append, events, open, read_whole, small_options, submit, with_watchdog,
};

#[test]
fn an_append_that_comes_while_the_log_closes_is_answered() {
    with_watchdog(|| {
        for round in 0..50 {
            let engine = MemoryEngine::new();
            let log = open(&engine, &small_options());
            let appender = log.clone();
            let sender = std::thread::spawn(move || {
                (0..200).map(|value| submit(&appender, anonymous(events(value, 1)))).collect::<Vec<_>>()
            });
            if round % 2 == 0 {
                std::thread::yield_now();
            }
            log.close();
            let answers: Vec<_> = sender.join().unwrap().iter().map(answer).collect();
            let appended = answers.iter().filter(|answer| answer.is_ok()).count();
            assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(Error::Closed))));
            assert_eq!(read_whole(&log).len(), appended);
        }
    });
}

#[test]
fn after_closing_reads_work_and_appends_do_not() {
    let engine = MemoryEngine::new();
    let log = open(&engine, &small_options());
    append(&log, anonymous(events(1, 3))).unwrap();
    log.close();
    log.close();
    assert!(matches!(append(&log, anonymous(events(1, 3))), Err(Error::Closed)));
    assert!(matches!(log.roll(Wait::UntilSealed), Err(Error::Closed)));
    assert_eq!(read_whole(&log).len(), 3);
    assert_eq!(log.info().unwrap().totals.rejected, 3);
}

#[test]
fn the_last_clone_may_be_dropped_by_an_answer() {
    with_watchdog(|| {
        let engine = MemoryEngine::new();
        let log = open(&engine, &small_options());
        let (sender, receiver) = channel();
        // Keeps the writer busy until the only clone left is the one in the answer.
        let (go, gate) = channel::<()>();
        log.append(anonymous(events(1, 1)), move |_| assert!(gate.recv().is_err()));
        let kept = log.clone();
        log.append(anonymous(events(2, 1)), move |answer| {
            drop(kept);
            drop(sender.send(answer));
        });
        drop(log);
        drop(go);
        answer(&receiver).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let reopened = loop {
            let clock = std::sync::Arc::new(SystemClock);
            match Log::open(std::sync::Arc::new(engine.clone()), clock, small_options()) {
                Ok(log) if log.state() == downlink_storage::State::Serving => break log,
                Ok(_) | Err(_) => assert!(Instant::now() < deadline, "the threads end by themselves"),
            }
        };
        assert_eq!(read_whole(&reopened).len(), 2);
    });
}

#[test]
fn closing_does_not_wait_for_a_segment_to_be_sealed() {
    let engine = MemoryEngine::new();
    let options = Options { segment_blocks_max: 1_000_000, commit_events_max: 10_000, ..small_options() };
    let log = open(&engine, &options);
    for value in 0..60 {
        append(&log, anonymous(events(value * 10_000, 10_000))).unwrap();
    }
    log.roll(Wait::No).unwrap();
    let started = Instant::now();
    log.close();
    assert!(started.elapsed() < Duration::from_secs(2), "closing took {:?}", started.elapsed());
    let Chunk::Block(block) = log.read(Offset::FIRST, None).unwrap() else { panic!("a block") };
    assert_eq!(block.first_offset(), Offset::FIRST);
    drop(log);
    let log = open(&engine, &options);
    log.roll(Wait::UntilSealed).unwrap();
    assert_eq!(log.info().unwrap().sealed_segments, 1);
    assert_eq!(read_whole(&log).len(), 600_000);
}
