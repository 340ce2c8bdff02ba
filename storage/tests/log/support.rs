//! What the tests of the log share: a clock they drive, small options, events, and answers that are waited for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Once};
use std::time::Duration;

use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::{
    Append, Appended, Chunk, Clock, Error, Event, EventRef, Identity, Log, Offset, Opened, Options, Quality,
    SignalId, Timestamp, Value,
};

/// No wait of a test is longer: whatever takes longer hangs.
pub(crate) const WAIT_SECONDS_MAX: u64 = 60;

/// A clock that stands still unless it is moved.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_700_000_000_000)))
    }

    pub(crate) fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        time_ms(self.0.load(Ordering::Relaxed))
    }
}

pub(crate) fn time_ms(ms: i64) -> Timestamp {
    Timestamp::from_unix_nanos(i128::from(ms) * 1_000_000).expect("a date of our time")
}

pub(crate) fn offset(number: u64) -> Offset {
    Offset::new(number).expect("not 0")
}

/// A small generator of well mixed numbers (Steele, Lea and Flood 2014): the same seed, the same history.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// Prints the seed of a history that panics.
pub(crate) struct SeedOnPanic(pub(crate) u64);

impl Drop for SeedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this history failed with seed {}", self.0);
        }
    }
}

/// Bounds so small that every one of them is met within a few appends.
pub(crate) fn small_options() -> Options {
    Options {
        segment_blocks_max: 6,
        commit_events_max: 64,
        open_segments_max: 2,
        tail_cache_bytes_max: 1,
        disk_reserve_bytes: 1 << 20,
        ..Options::standard()
    }
}

pub(crate) fn open(engine: &MemoryEngine, options: &Options) -> Log {
    Log::open(Arc::new(engine.clone()), Arc::new(TestClock::new()), options.clone()).expect("the log opens")
}

pub(crate) fn event(signal: &str, value: i64) -> Event {
    Event {
        signal: signal.to_owned(),
        event_time: time_ms(1_600_000_000_000 + value),
        value: Value::Int(value),
        quality: Quality::Good,
        source: String::new(),
        attributes: BTreeMap::new(),
        trace_context: Vec::new(),
    }
}

/// Events of three signals, with values from `first` on.
pub(crate) fn events(first: i64, count: usize) -> Vec<Event> {
    (first..).take(count).map(|value| event(&format!("s/{}", value % 3), value)).collect()
}

pub(crate) fn anonymous(events: Vec<Event>) -> Append {
    Append { events: events.into(), identity: Identity::Anonymous, expected_head: None, note: None }
}

pub(crate) fn by_request(events: Vec<Event>, id: u8) -> Append {
    Append { events: events.into(), identity: Identity::Request([id; 16]), expected_head: None, note: None }
}

pub(crate) fn by_producer(events: Vec<Event>, id: &str, session: u64, sequence: u64) -> Append {
    let identity = Identity::Producer { id: id.into(), epoch: 1, session, sequence };
    Append { events: events.into(), identity, expected_head: None, note: None }
}

/// Hands the batch in; the answer comes later, and comes certainly.
pub(crate) fn submit(log: &Log, append: Append) -> Receiver<Result<Appended, Error>> {
    let (sender, receiver) = channel();
    log.append(append, move |answer| drop(sender.send(answer)));
    receiver
}

pub(crate) fn answer<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(Duration::from_secs(WAIT_SECONDS_MAX)).expect("every request is answered")
}

pub(crate) fn append(log: &Log, append: Append) -> Result<Appended, Error> {
    answer(&submit(log, append))
}

pub(crate) fn open_producer(log: &Log, id: &str, epoch: u64) -> Result<Opened, Error> {
    let (sender, receiver) = channel();
    log.open_producer(id.into(), epoch, move |answer| drop(sender.send(answer)));
    answer(&receiver)
}

/// An event that was read, with what the log gave it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Read {
    pub(crate) offset: Offset,
    pub(crate) ingest_time: Timestamp,
    pub(crate) signal_id: SignalId,
    pub(crate) event: Event,
}

/// Everything from the oldest offset to the head: the events, and the gaps between.
pub(crate) fn read_all(log: &Log) -> (Vec<Read>, Vec<(u64, u64)>) {
    read_from(log, log.oldest(), None)
}

/// Everything from `from` on; with `signals`, at least all events of those. Who reads backwards finds the same.
pub(crate) fn read_from(
    log: &Log,
    from: Offset,
    signals: Option<&[SignalId]>,
) -> (Vec<Read>, Vec<(u64, u64)>) {
    let (events, gaps) = read_forwards(log, from, signals);
    let wanted = |events: &[Read]| -> Vec<Read> {
        let wanted = events.iter().filter(|read| signals.is_none_or(|ids| ids.contains(&read.signal_id)));
        wanted.cloned().collect()
    };
    let (back, gaps_back) = read_backwards(log, from, signals);
    assert_eq!(wanted(&back), wanted(&events), "backwards to {from}");
    assert_eq!(joined(gaps_back), joined(gaps.clone()), "backwards to {from}");
    (events, gaps)
}

/// Gaps that touch each other as one.
fn joined(mut gaps: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    gaps.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (first, end) in gaps {
        match joined.last_mut().filter(|last| last.1 == first) {
            Some(last) => last.1 = end,
            None => joined.push((first, end)),
        }
    }
    joined
}

/// The same events and gaps, found from the head back to `until`.
fn read_backwards(log: &Log, until: Offset, signals: Option<&[SignalId]>) -> (Vec<Read>, Vec<(u64, u64)>) {
    let (mut events, mut gaps) = (Vec::new(), Vec::new());
    let mut before = log.head();
    while before > until {
        let place = before;
        match log.read_back(before, signals).expect("the log can be read") {
            Chunk::Block(block) => {
                assert!(signals.is_some() || block.end_offset() >= before, "the block ends at {before}");
                let rows: Vec<_> = block.events().map(|event| read(&event)).collect();
                let range = |read: &Read| read.offset >= until && read.offset < before;
                events.extend(rows.into_iter().rev().filter(range));
                before = block.first_offset();
            }
            Chunk::Gap { first, end } => {
                assert!(end <= before, "a gap is not behind what was asked for");
                gaps.push((first.max(until).get(), end.get()));
                before = first;
            }
            Chunk::Skipped { end } => {
                assert!(signals.is_some(), "nothing is skipped for who wants all");
                before = end;
            }
            Chunk::Head => panic!("nothing before {before}, but the log begins at {until}"),
        }
        assert!(before < place, "reading goes back from {place}");
    }
    events.reverse();
    (events, gaps)
}

fn read(event: &EventRef<'_>) -> Read {
    Read {
        offset: event.offset,
        ingest_time: event.ingest_time,
        signal_id: event.signal_id,
        event: event.to_event(),
    }
}

fn read_forwards(log: &Log, mut from: Offset, signals: Option<&[SignalId]>) -> (Vec<Read>, Vec<(u64, u64)>) {
    let (mut events, mut gaps) = (Vec::new(), Vec::new());
    loop {
        let before = from;
        match log.read(from, signals).expect("the log can be read") {
            Chunk::Block(block) => {
                assert!(signals.is_some() || block.first_offset() <= from, "the block contains {from}");
                let rows = block.events().filter(|event| event.offset >= from);
                events.extend(rows.map(|event| read(&event)));
                from = block.end_offset();
            }
            Chunk::Gap { first, end } => {
                assert!(first >= from, "a gap is not before what was asked for");
                gaps.push((first.get(), end.get()));
                from = end;
            }
            Chunk::Skipped { end } => {
                assert!(signals.is_some(), "nothing is skipped for who wants all");
                from = end;
            }
            Chunk::Head => return (events, gaps),
        }
        assert!(from > before, "reading goes forward from {before}");
    }
}

/// Everything; panics if anything is missing or out of order.
pub(crate) fn read_whole(log: &Log) -> Vec<Read> {
    // Others may append meanwhile: what was there at the beginning is the least.
    let head = log.head();
    let (events, gaps) = read_all(log);
    assert_eq!(gaps, [], "nothing is lost");
    let offsets: Vec<u64> = events.iter().map(|read| read.offset.get()).collect();
    assert!(offsets.iter().copied().eq(1..=offsets.len() as u64), "offsets are dense: {offsets:?}");
    assert!(
        events.len() as u64 >= head.since(Offset::FIRST),
        "{} events, but the head is {head}",
        events.len()
    );
    let times = events.iter().map(|read| read.ingest_time);
    assert!(times.is_sorted(), "ingest time never runs backwards");
    events
}

/// Ends the process if `work` hangs: a deadlocked test would otherwise say nothing.
pub(crate) fn with_watchdog(work: impl FnOnce()) {
    let (finished, watched) = channel::<()>();
    std::thread::spawn(move || {
        let waited = watched.recv_timeout(Duration::from_secs(2 * WAIT_SECONDS_MAX));
        if waited == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("a test hangs: deadlock?");
            std::process::abort();
        }
    });
    work();
    drop(finished);
}

/// How many histories to run: few by default, many with `SLOW_TESTS=1`.
pub(crate) fn histories(normal: u64, slow: u64) -> u64 {
    static SAID: Once = Once::new();
    let is_slow = std::env::var_os("SLOW_TESTS").is_some_and(|value| value == "1");
    SAID.call_once(|| eprintln!("SLOW_TESTS: {is_slow}"));
    if is_slow { slow } else { normal }
}
