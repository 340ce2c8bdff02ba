//! A reader sees every event it wants, whatever becomes of the blocks meanwhile.

use std::collections::{BTreeMap, HashSet};
use std::sync::mpsc::channel;

use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::event::SystemClock;
use downlink_storage::{Append, Event, Identity, Options, Quality, Timestamp, Value, Wait};

use super::filter::{Names, Pattern};
use super::*;

fn append(log: &Log, signals: &[&str]) {
    let event = |signal: &&str| Event {
        signal: (*signal).to_owned(),
        event_time: Timestamp::EPOCH,
        value: Value::Int(1),
        quality: Quality::Good,
        source: String::new(),
        attributes: BTreeMap::new(),
        trace_context: Vec::new(),
    };
    let events = signals.iter().map(event).collect::<Vec<_>>().into();
    let (sender, receiver) = channel();
    let append = Append { events, identity: Identity::Anonymous, expected_head: None, note: None };
    log.append(append, move |answer| drop(sender.send(answer)));
    receiver.recv().unwrap().unwrap();
}

fn read(scan: &mut Scan, from: u64, until: Offset) -> Vec<String> {
    let most = PieceMax { events: 100, bytes: usize::MAX, alone: usize::MAX };
    let (mut next, mut signals) = (Offset::new(from).unwrap(), Vec::new());
    while next < until {
        let found = scan.read((next, until), most, Reach::Disk, &mut |event| {
            signals.push(event.signal.to_string());
            Some(1)
        });
        let Found::Events { end, .. } = found.unwrap() else { panic!("nothing is damaged") };
        next = end;
    }
    signals
}

/// Which signals a glob means is found out now and then. Sealing joins what was read with that in mind and what has
/// come since, on signals unknown before, to one block.
#[test]
fn a_block_that_grows_by_sealing_is_read_for_new_signals_too() {
    let options = Options { tail_cache_bytes_max: 0, disk_reserve_bytes: 0, ..Options::standard() };
    let log = Log::open(Arc::new(MemoryEngine::new()), Arc::new(SystemClock), options).unwrap();
    let names = Names::new(vec![Pattern::new("a/*").unwrap()]);
    let filter = Filter::new(names, HashSet::new(), Quality::Bad);
    let mut scan = Scan::new(log.clone(), filter, Way::Forwards);
    append(&log, &["a/1", "b/1"]);
    append(&log, &["b/1", "a/1"]);
    append(&log, &["b/1"]);
    assert_eq!(read(&mut scan, 1, Offset::new(3).unwrap()), ["a/1"]);
    append(&log, &["a/2", "b/1", "a/1"]);
    log.roll(Wait::UntilSealed).unwrap();
    append(&log, &["b/1"]);
    scan.forget();
    assert_eq!(read(&mut scan, 3, log.head()), ["a/1", "a/2", "a/1"]);
}
