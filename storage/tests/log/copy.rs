//! Events on their way back into their log: the copy is the log, wherever it begins, and what does not fit is refused.

use std::sync::Arc;
use std::sync::mpsc::channel;

use downlink_storage::engine::Engine;
use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::{
    Appended, Beginning, Chunk, Copied, CopiedEvent, Error, Log, Offset, Options, Quality, SignalId,
    Timestamp, ValueRef, Wait,
};

use crate::support::{
    Random, Read, SeedOnPanic, TestClock, anonymous, answer, append, by_request, event, events, offset, open,
    read_from, small_options, time_ms,
};

fn open_copy(engine: &MemoryEngine, options: &Options, beginning: Beginning) -> Result<Log, Error> {
    Log::open_copy_on(Arc::new(engine.clone()), Arc::new(TestClock::new()), options.clone(), beginning)
}

fn append_copied(log: &Log, copied: Copied) -> Result<Appended, Error> {
    let (sender, receiver) = channel();
    log.append_copied(copied, move |answer| drop(sender.send(answer)));
    answer(&receiver)
}

/// Hands out every event from `from` on.
fn visit(log: &Log, from: Offset, mut visit: impl FnMut(CopiedEvent<'_>)) {
    let mut next = from;
    loop {
        match log.read(next, None).unwrap() {
            Chunk::Block(block) => {
                block.events().filter(|event| event.offset >= next).for_each(|event| visit(event.into()));
                next = block.end_offset();
            }
            Chunk::Head => return,
            Chunk::Gap { .. } | Chunk::Skipped { .. } => panic!("the log is whole"),
        }
    }
}

/// Every event from `from` on, bit for bit.
fn all(log: &Log, from: Offset) -> Vec<Read> {
    let (events, gaps) = read_from(log, from, None);
    assert_eq!(gaps, [], "the log is whole");
    events
}

/// A log of many commits, at different times, with signals that come late and values of all sizes.
fn fill(log: &Log, clock: &TestClock, random: &mut Random) {
    for round in 0..40_i64 {
        clock.advance_ms(random.below(3) as i64);
        let mut batch = events(round * 10, 1 + random.below(20) as usize);
        batch.push(event(&format!("late/{}", round / 4), round));
        append(log, by_request(batch, round as u8)).unwrap();
        if random.chance(9) {
            log.roll(Wait::UntilSealed).unwrap();
        }
    }
}

/// Copies what `to` lacks in batches of random sizes, several of them under way at once.
fn copy(from: &Log, to: &Log, random: &mut Random) {
    let mut waiting = Vec::new();
    let mut copied = Copied::new(to.head(), 8);
    let mut hand_in = |copied: Copied| {
        let (sender, receiver) = channel();
        to.append_copied(copied, move |answer| drop(sender.send(answer)));
        waiting.push(receiver);
    };
    visit(from, to.head(), |event| {
        let end = event.offset.plus(1);
        copied.push(event).unwrap();
        if random.chance(7) {
            hand_in(std::mem::replace(&mut copied, Copied::new(end, 8)));
        }
    });
    hand_in(copied);
    for receiver in waiting {
        answer(&receiver).unwrap();
    }
}

#[test]
fn a_copy_is_the_log_and_goes_on_as_the_log_would() {
    for seed in 0..20 {
        let _seed = SeedOnPanic(seed);
        let mut random = Random::new(seed);
        let (clock, engine) = (TestClock::new(), MemoryEngine::new());
        let origin =
            Log::open(Arc::new(engine.clone()), Arc::new(clock.clone()), small_options()).expect("it opens");
        fill(&origin, &clock, &mut random);

        let first = if seed % 2 == 0 { Offset::FIRST } else { offset(1 + random.below(200)) };
        let beginning = Beginning { log_id: origin.id(), first };
        let engine = MemoryEngine::new();
        let replica = open_copy(&engine, &small_options(), beginning).unwrap();
        assert_eq!((replica.id(), replica.oldest(), replica.head()), (origin.id(), first, first));
        assert_eq!(replica.info().unwrap().newest_time, None, "it has nothing yet");
        copy(&origin, &replica, &mut random);
        assert_eq!(all(&replica, first), all(&origin, first));

        fill(&origin, &clock, &mut random);
        drop(replica);
        let replica = open_copy(&engine, &small_options(), beginning).unwrap();
        copy(&origin, &replica, &mut random);
        replica.roll(Wait::UntilSealed).unwrap();
        drop(replica);
        // Derived state comes back from the blocks alone.
        engine.remove("derived").unwrap();
        let replica = open(&engine, &small_options());
        assert_eq!((replica.id(), replica.oldest(), replica.head()), (origin.id(), first, origin.head()));
        assert_eq!(all(&replica, first), all(&origin, first));
        let latest = |log: &Log| log.signals(None, |_| true).map(Result::unwrap).collect::<Vec<_>>();
        let hashes = [replica.hash().unwrap(), origin.hash().unwrap()];
        assert!(hashes.iter().all(|hashed| hashed.end == origin.head()));
        assert_eq!(hashes[0] == hashes[1], first == Offset::FIRST, "{hashes:?}");
        if first == Offset::FIRST {
            assert_eq!(latest(&replica), latest(&origin));
        }
        let info = replica.info().unwrap();
        assert_eq!(info.totals.appended, origin.head().since(first));

        // As a log of its own: new signals get numbers that no other has, and time does not run backwards.
        append(&replica, anonymous(vec![event("new", 1)])).unwrap();
        let signals = latest(&replica);
        let new = signals.iter().find(|signal| &*signal.name == "new").unwrap();
        assert!(signals.iter().all(|signal| signal.id <= new.id));
        let before = replica.ingest_time(replica.head().minus(2)).unwrap();
        assert!(replica.ingest_time(replica.head().minus(1)).unwrap() >= before);
    }
}

#[test]
fn what_lies_before_the_beginning_of_a_copy_is_no_gap_and_a_lost_segment_is_one() {
    let beginning = Beginning { log_id: uuid::Uuid::from_u128(7), first: offset(100) };
    let engine = MemoryEngine::new();
    let log = open_copy(&engine, &small_options(), beginning).unwrap();
    for number in 100..160 {
        append_copied(&log, one(number, time_ms(1), (3, "s"))).unwrap();
    }
    let is_truncated = |log: &Log| matches!(log.read(offset(99), None), Err(Error::Truncated { oldest, .. }) if oldest == offset(100));
    assert!(is_truncated(&log));
    log.roll(Wait::UntilSealed).unwrap();
    drop(log);
    for segment in engine.list().unwrap() {
        if segment.starts_with("00000000000000000100") {
            engine.remove(&segment).unwrap();
        }
    }
    let log = open(&engine, &small_options());
    assert_eq!((log.id(), log.oldest()), (beginning.log_id, beginning.first));
    assert!(is_truncated(&log));
    let Chunk::Gap { first, end } = log.read(offset(100), None).unwrap() else { panic!("damage is a gap") };
    assert!(first == offset(100) && end < log.head());
}

#[test]
fn a_directory_with_another_log_is_left_alone() {
    let engine = MemoryEngine::new();
    let log = open(&engine, &small_options());
    append(&log, anonymous(events(0, 5))).unwrap();
    let found = log.id();
    drop(log);
    let wanted = uuid::Uuid::from_u128(7);
    let refused = open_copy(&engine, &small_options(), Beginning { log_id: wanted, first: Offset::FIRST });
    let is_named =
        matches!(refused.err(), Some(Error::AnotherLog { found: f, wanted: w }) if (f, w) == (found, wanted));
    assert!(is_named);
    assert_eq!(open(&engine, &small_options()).head(), offset(6));
}

/// A batch of one copied event.
fn one(number: u64, ingest_time: Timestamp, signal: (u32, &str)) -> Copied {
    let mut copied = Copied::new(offset(number), 1);
    copied.push(copied_event(number, ingest_time, signal)).unwrap();
    copied
}

fn copied_event(number: u64, ingest_time: Timestamp, (id, signal): (u32, &str)) -> CopiedEvent<'_> {
    CopiedEvent {
        offset: offset(number),
        signal_id: SignalId(id),
        signal,
        event_time: Timestamp::MAX,
        ingest_time,
        value: ValueRef::Double(f64::NAN),
        quality: Quality::Bad,
        source: "",
        attributes: Default::default(),
        trace_context: &[],
    }
}

#[test]
fn what_is_no_copy_of_the_log_is_refused_and_leaves_it_as_it_was() {
    let engine = MemoryEngine::new();
    let log = open(&engine, &Options { signals_max: 10, ..small_options() });
    append_copied(&log, one(1, time_ms(5), (1, "a"))).unwrap();
    append_copied(&log, one(2, time_ms(5), (4, "b"))).unwrap();
    let before = all(&log, Offset::FIRST);

    let refused = |copied| append_copied(&log, copied).unwrap_err();
    for number in [1, 2, 4] {
        let error = refused(one(number, time_ms(9), (1, "a")));
        assert!(matches!(error, Error::HeadMismatch { head, .. } if head == offset(3)), "{number}: {error}");
    }
    let not_a_copy = |error: Error| matches!(error, Error::NotACopy(_));
    assert!(not_a_copy(refused(one(3, time_ms(4), (1, "a")))), "time runs backwards");
    for signal in [(0, "c"), (2, "a"), (1, "c"), (4, "a")] {
        assert!(not_a_copy(refused(one(3, time_ms(5), signal))), "{signal:?}");
    }
    let mut two_of_one_number = one(3, time_ms(5), (7, "c"));
    two_of_one_number.push(copied_event(4, time_ms(5), (7, "d"))).unwrap();
    assert!(not_a_copy(refused(two_of_one_number)), "two names for one number");
    assert!(matches!(refused(one(3, time_ms(5), (u32::MAX, "c"))), Error::Quota { .. }));
    let mut copied = one(3, time_ms(6), (1, "a"));
    assert!(not_a_copy(copied.push(copied_event(4, time_ms(5), (1, "a"))).unwrap_err()));
    assert!(not_a_copy(copied.push(copied_event(4, time_ms(6), (2, "a"))).unwrap_err()));
    assert_eq!((copied.len(), copied.end()), (1, offset(4)), "what is refused is not in it");
    assert_eq!(all(&log, Offset::FIRST), before);
    append_copied(&log, copied).unwrap();
    assert_eq!(log.head(), offset(4));
}
