//! Blocks hold what was pushed; merging and slicing lose nothing.

use proptest::prelude::*;

use super::*;
use crate::event::{Event, Value};

/// Names of the signals that [`any_event`] uses.
pub(crate) const SIGNALS: usize = 6;

fn any_time() -> impl Strategy<Value = Timestamp> {
    let seconds = Timestamp::MIN.seconds()..=Timestamp::MAX.seconds();
    prop_oneof![
        6 => (0..100_i64).prop_map(|ms| Timestamp::new(1_539_320_355, ms as u32 * 1_000_000).unwrap()),
        2 => (1_539_320_000..1_539_330_000_i64, 0..1_000_000_000_u32)
            .prop_map(|(seconds, nanos)| Timestamp::new(seconds, nanos).unwrap()),
        1 => (seconds, 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Timestamp::new(seconds, nanos).unwrap()),
        1 => prop_oneof![Just(Timestamp::MIN), Just(Timestamp::MAX), Just(Timestamp::EPOCH)],
    ]
}

fn any_double() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        any::<f32>().prop_map(f64::from),
        (any::<u32>(), 0..3_usize).prop_map(|(bits, factor)| {
            let value = f64::from(f32::from_bits(bits)) * [1.0, 57.2958, 1.355818][factor];
            format!("{value:.14e}").parse().unwrap()
        }),
        (-1_000_000..1_000_000_i64, 0..23_i32)
            .prop_map(|(digits, scale)| format!("{digits}e-{scale}").parse().unwrap()),
        prop::sample::select(vec![
            0.0,
            -0.0,
            f64::NAN,
            -f64::NAN,
            f64::from_bits(0x7ff0_0000_0000_0001),
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN_POSITIVE,
            f64::from_bits(1),
            9_007_199_254_740_993.0,
            0.1,
        ]),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => any_double().prop_map(Value::Double),
        1 => any::<i64>().prop_map(Value::Int),
        1 => prop::sample::select(vec![0, 1, -1, i64::MIN, i64::MAX]).prop_map(Value::Int),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => "\\PC{0,12}".prop_map(Value::String),
        1 => prop::collection::vec(any::<u8>(), 0..12).prop_map(Value::Bytes),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    let qualities = vec![Quality::Good, Quality::Good, Quality::Stale, Quality::Uncertain, Quality::Bad];
    let attributes = prop_oneof![
        4 => Just(BTreeMap::new()),
        1 => prop::collection::btree_map("[a-c]?", "\\PC{0,4}", 0..3),
    ];
    let traces = vec![Vec::new(), vec![7; 25], vec![8; 25]];
    (
        (0..SIGNALS, any_time(), any_value()),
        prop::sample::select(qualities),
        prop::sample::select(vec!["", "isslive", "replay"]),
        attributes,
        prop::sample::select(traces),
    )
        .prop_map(|((signal, event_time, value), quality, source, attributes, trace_context)| Event {
            signal: format!("iss/{signal}"),
            event_time,
            value,
            quality,
            source: source.to_owned(),
            attributes,
            trace_context,
        })
}

/// Commits: events that came together.
pub(crate) fn any_commits() -> impl Strategy<Value = Vec<Vec<Event>>> {
    prop::collection::vec(prop::collection::vec(any_event(), 1..40), 1..5)
}

/// A block per commit, adjacent, each with a batch record and a request record, and with later ingest times.
pub(crate) fn build_all(commits: &[Vec<Event>]) -> Vec<Block> {
    let mut first_offset = Offset::new(1000).unwrap();
    let names: Vec<Arc<str>> = (0..SIGNALS).map(|signal| format!("iss/{signal}").into()).collect();
    let mut blocks = Vec::new();
    for (number, events) in (0_u32..).zip(commits) {
        let ingest_time = Timestamp::new(1_539_320_355 + i64::from(number / 2), number).unwrap();
        let mut builder = BlockBuilder::new(first_offset, ingest_time);
        // As the writer does: several batches in one commit.
        for batch in events.chunks(7) {
            builder.push(batch.iter().cloned().collect(), |signal| {
                let id = names.iter().position(|name| name == signal).unwrap();
                BlockSignal { id: SignalId(id as u32 * 800_000_000), name: names[id].clone() }
            });
        }
        let producer = ProducerStamp { id: "p".into(), epoch: u64::MAX, sequence: u64::from(number) << 40 };
        builder.push_batch(BatchRecord { producer, first_offset, events: events.len() as u32 });
        builder.push_request(RequestRecord { request_id: [number as u8; 16], first_offset, events: number });
        let tally = Tally { duplicate_events: u64::from(number), rejected_events: 2 };
        blocks.push(builder.finish(tally));
        first_offset = first_offset.plus(events.len() as u64);
    }
    blocks
}

proptest! {
    /// What was pushed comes out again, in order, whichever way it is read.
    #[test]
    fn a_block_holds_what_was_pushed(commits in any_commits()) {
        let merged = Block::merge(&build_all(&commits));
        let events: Vec<&Event> = commits.iter().flatten().collect();
        prop_assert_eq!(merged.len(), events.len());
        for (row, (event, pushed)) in merged.events().zip(&events).enumerate() {
            prop_assert_eq!(&event.to_event(), *pushed);
            prop_assert_eq!(event, merged.event(row));
            prop_assert_eq!(event.offset, merged.first_offset().plus(row as u64));
            prop_assert_eq!(event.signal_id, merged.signals()[merged.signal_index(row)].id);
        }
        let summary = merged.summary();
        prop_assert_eq!(Some(summary.event_time_min), events.iter().map(|event| event.event_time).min());
        prop_assert_eq!(Some(summary.event_time_max), events.iter().map(|event| event.event_time).max());
    }

    /// A merge keeps every event with its ingest time, every record, and the last tally.
    #[test]
    fn a_merge_keeps_everything(commits in any_commits()) {
        let blocks: Vec<Arc<Block>> = build_all(&commits).into_iter().map(Arc::new).collect();
        let merged = Block::merge(&blocks);
        prop_assert!(merged.events().eq(blocks.iter().flat_map(|block| block.events())));
        prop_assert!(merged.batches().iter().eq(blocks.iter().flat_map(|block| block.batches())));
        prop_assert!(merged.requests().iter().eq(blocks.iter().flat_map(|block| block.requests())));
        prop_assert_eq!(merged.tally(), blocks[blocks.len() - 1].tally());
        prop_assert_eq!(merged.end_offset(), blocks[blocks.len() - 1].end_offset());
        prop_assert_eq!(merged.summary().ingest_time_last, blocks[blocks.len() - 1].summary().ingest_time_last);
    }

    /// Pieces of a block, wherever it is cut, make the block again.
    #[test]
    fn slices_merge_to_the_whole(commits in any_commits(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        let whole = Block::merge(&build_all(&commits));
        let mut edges: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len())).chain([0, whole.len()]).collect();
        edges.sort_unstable();
        edges.dedup();
        let pieces: Vec<Block> = edges.windows(2).map(|edge| whole.slice(edge[0]..edge[1])).collect();
        prop_assert_eq!(Block::merge(&pieces), whole);
    }
}

/// An empty block cannot be made.
#[test]
#[should_panic(expected = "at least one event")]
fn an_empty_block_is_refused() {
    let _ = BlockBuilder::new(Offset::FIRST, Timestamp::EPOCH).finish(Tally::default());
}

/// Blocks with a gap between them are not merged.
#[test]
#[should_panic(expected = "adjacent")]
fn a_gap_is_not_merged() {
    let event = Event {
        signal: "iss/0".to_owned(),
        event_time: Timestamp::EPOCH,
        value: Value::Bool(true),
        quality: Quality::Good,
        source: String::new(),
        attributes: BTreeMap::new(),
        trace_context: Vec::new(),
    };
    let block = || build_all(&[vec![event.clone()]]).remove(0);
    let _ = Block::merge(&[block(), block()]);
}
