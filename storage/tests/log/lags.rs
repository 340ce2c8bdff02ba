//! What lags are measured with: ingest times by offset, the newest telemetry, and signals by the begin of their names.

use std::sync::Arc;

use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::engine::{Engine, Profile};
use downlink_storage::{Log, Offset, Options, SYSTEM_PREFIX, Timestamp, Wait};

use crate::support::{TestClock, anonymous, append, event, offset, read_whole, small_options};

/// A log of five segments, all but the newest sealed; time passes between the commits.
fn filled(engine: &MemoryEngine) -> Log {
    let clock = TestClock::new();
    let options = Options { tail_cache_bytes_max: 1 << 10, ..small_options() };
    let log = Log::open(Arc::new(engine.clone()), Arc::new(clock.clone()), options).unwrap();
    for commit in 0..40_i64 {
        let name = if commit % 3 == 2 { format!("_system/{commit}") } else { format!("s/{}", commit % 7) };
        let events = (0..5).map(|value| event(&name, commit * 5 + value)).collect();
        append(&log, anonymous(events)).unwrap();
        clock.advance_ms(commit * 100);
        if commit % 9 == 8 {
            log.roll(Wait::UntilSealed).unwrap();
        }
    }
    log
}

fn newest_telemetry(log: &Log) -> Option<(Offset, Timestamp)> {
    let events = read_whole(log).into_iter().rev();
    let mut telemetry = events.filter(|read| !read.event.signal.starts_with(SYSTEM_PREFIX));
    telemetry.next().map(|read| (read.offset, read.ingest_time))
}

#[test]
fn every_offset_has_the_ingest_time_of_its_event_also_after_a_restart() {
    let engine = MemoryEngine::new();
    let mut log = filled(&engine);
    for _ in 0..2 {
        assert!(log.info().unwrap().sealed_segments >= 4);
        for read in read_whole(&log) {
            assert_eq!(log.ingest_time(read.offset).unwrap(), Some(read.ingest_time), "{}", read.offset);
        }
        assert_eq!(log.ingest_time(log.head()).unwrap(), None);
        drop(log);
        log = Log::open(Arc::new(engine.clone()), Arc::new(TestClock::new()), small_options()).unwrap();
    }
}

#[test]
fn damage_leaves_an_ingest_time_near_by() {
    let engine = MemoryEngine::new();
    let whole = read_whole(&filled(&engine));
    for name in engine.list().unwrap().into_iter().filter(|name| name.ends_with(".sealed")) {
        let store = engine.open(&name, Profile::Sealed).unwrap();
        let (key, _) = store.at_or_after(&[1]).unwrap().unwrap();
        drop(store);
        assert!(engine.corrupt(&name, &key, 1_000));
    }
    let log = Log::open(Arc::new(engine), Arc::new(TestClock::new()), small_options()).unwrap();
    let mut missed = 0;
    for read in &whole {
        let time = log.ingest_time(read.offset).unwrap().unwrap();
        missed += usize::from(time != read.ingest_time);
        assert!((whole[0].ingest_time..=whole[whole.len() - 1].ingest_time).contains(&time));
    }
    assert!(missed > 0, "nothing was damaged");
}

#[test]
fn the_newest_telemetry_is_what_is_not_the_systems_own_also_after_a_restart() {
    let engine = MemoryEngine::new();
    let log = Log::open(Arc::new(engine.clone()), Arc::new(TestClock::new()), small_options()).unwrap();
    assert_eq!(log.newest_telemetry(), None);
    append(&log, anonymous(vec![event("_own", 1)])).unwrap();
    assert_eq!(log.newest_telemetry(), None);
    drop(log);
    let engine = MemoryEngine::new();
    let mut log = filled(&engine);
    append(&log, anonymous(vec![event("a", 1), event("_own", 2)])).unwrap();
    for _ in 0..2 {
        assert_eq!(log.newest_telemetry().unwrap().0.plus(2), log.head());
        assert_eq!(log.newest_telemetry(), newest_telemetry(&log));
        drop(log);
        log = Log::open(Arc::new(engine.clone()), Arc::new(TestClock::new()), small_options()).unwrap();
    }
}

#[test]
fn signals_are_found_by_the_begin_of_their_names() {
    let log = Log::open(Arc::new(MemoryEngine::new()), Arc::new(TestClock::new()), small_options()).unwrap();
    let names = ["_", "_a", "_a/1", "_a/2", "_a/3", "_a0", "_b/1", "z"];
    append(&log, anonymous(names.map(|name| event(name, 1)).into())).unwrap();
    let under = |prefix, after, most| {
        let found = log.signals_under(prefix, after, |name| name != "_a/2").take(most);
        found.map(|info| info.unwrap().name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(under("_a/", None, 9), ["_a/1", "_a/3"]);
    assert_eq!(under("_a/", Some("_a/1"), 9), ["_a/3"]);
    assert_eq!(under("_a/", Some("Z"), 1), ["_a/1"]);
    assert_eq!(under("_a/", Some("_b"), 9), [""; 0]);
    assert_eq!(under("", None, 99).len(), names.len() - 1);
    assert_eq!(log.signal("z").unwrap().unwrap().latest.unwrap().offset, offset(8));
}
