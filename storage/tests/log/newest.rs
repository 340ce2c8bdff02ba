//! Newest events that are too large to be kept: the log says of them what it would say if it had kept them.

use std::collections::BTreeMap;
use std::sync::Arc;

use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::{Event, Log, Options, SignalInfo, Value};

use crate::support::{Random, SeedOnPanic, TestClock, anonymous, append, event, small_options};

fn options(newest_bytes_max: usize) -> Options {
    Options { newest_bytes_max, snapshot_every_events: 20, ..small_options() }
}

fn open(engine: &MemoryEngine, newest_bytes_max: usize) -> Log {
    Log::open(Arc::new(engine.clone()), Arc::new(TestClock::new()), options(newest_bytes_max)).unwrap()
}

fn signals(log: &Log) -> Vec<SignalInfo> {
    let signals: Vec<_> = log.signals(None, |_| true).map(Result::unwrap).collect();
    for signal in &signals {
        assert_eq!(log.signal(&signal.name).unwrap().as_ref(), Some(signal));
        assert_eq!(log.with_latest(&signal.name, Clone::clone).unwrap(), signal.latest);
    }
    signals
}

/// Of one of a few signals: often the same value again, often a large one, sometimes with large attributes.
fn any_event(random: &mut Random, number: i64) -> Event {
    let text = |random: &mut Random| {
        random.below(3).to_string().repeat([1, 256, 257, 900][random.below(4) as usize])
    };
    let value = match random.below(4) {
        0 => Value::Int(random.below(3) as i64),
        1 => Value::Bytes(text(random).into_bytes()),
        _ => Value::String(text(random)),
    };
    let attributes =
        if random.chance(6) { BTreeMap::from([("a".to_owned(), "x".repeat(500))]) } else { BTreeMap::new() };
    Event { value, attributes, ..event(&format!("s/{}", random.below(6)), number) }
}

#[test]
fn what_is_said_of_a_signal_does_not_depend_on_what_is_kept() {
    for seed in 0..20 {
        let _seed = SeedOnPanic(seed);
        let mut random = Random::new(seed);
        let (engines, bounds) = ([MemoryEngine::new(), MemoryEngine::new()], [usize::MAX / 2, 1_500]);
        let [mut keeping, mut placing] = [0, 1].map(|index| open(&engines[index], bounds[index]));
        let mut has_placed = false;
        for number in 0..60 {
            let events: Vec<_> = (0..=random.below(3)).map(|_| any_event(&mut random, number)).collect();
            for log in [&keeping, &placing] {
                append(log, anonymous(events.clone())).unwrap();
            }
            assert_eq!(signals(&keeping), signals(&placing));
            assert!(keeping.newest_are_in_memory());
            has_placed |= !placing.newest_are_in_memory();
            if random.chance(10) {
                drop((keeping, placing));
                keeping = open(&engines[0], bounds[0]);
                placing = open(&engines[1], [0, 1_500, 3_000][random.below(3) as usize]);
                assert_eq!(signals(&keeping), signals(&placing));
            }
        }
        assert!(has_placed, "everything was kept");
        // What was kept by a larger bound is given up by a smaller one.
        drop(keeping);
        let strict = open(&engines[0], 0);
        assert!(placing.newest_are_in_memory() || !strict.newest_are_in_memory());
        assert_eq!(signals(&strict), signals(&placing));
    }
}
