//! Events as rows and as columns mean the same, on the way in and on the way out.

use std::collections::BTreeMap;

use downlink_proto::v1::event_columns::Extras;
use downlink_proto::v1::subscribe_response::Frame;
use downlink_proto::v1::{
    AppendResponse, Encoding, ErrorReason, EventBatch, EventColumns, Filter, GetLatestRequest,
    ListSignalsRequest, Position, ReadRequest, SubscribeRequest, position, read_response,
};
use downlink_storage::{Clock as _, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use prost::Message as _;

use super::*;

/// The same events as columns, by the definition: nothing left out that may be left out.
pub(crate) fn as_columns(events: &[Event]) -> EventColumns {
    let mut columns = EventColumns::default();
    let place = |table: &mut Vec<String>, name: &String| {
        table.iter().position(|known| known == name).unwrap_or_else(|| {
            table.push(name.clone());
            table.len() - 1
        }) as u32
    };
    let mut before = 0_i64;
    for (index, event) in (0..).zip(events) {
        columns.signal_indexes.push(place(&mut columns.signals, &event.signal));
        columns.source_indexes.push(place(&mut columns.sources, &event.source));
        if let Some(time) = event.event_time {
            columns.event_time_second_deltas.push(time.seconds.wrapping_sub(before));
            columns.event_time_nanos.push(time.nanos.cast_unsigned());
            before = time.seconds;
        }
        columns.qualities.push(event.quality);
        columns.trace_contexts.push(event.trace_context.clone());
        columns.trace_context_indexes.push(index);
        columns.kinds.push(match event.value.clone().and_then(|value| value.kind) {
            Some(Kind::DoubleValue(value)) => (columns.double_values.push(value), 1).1,
            Some(Kind::IntValue(value)) => (columns.int_values.push(value), 2).1,
            Some(Kind::BoolValue(value)) => (columns.bool_values.push(value), 3).1,
            Some(Kind::StringValue(value)) => (columns.string_values.push(value), 4).1,
            Some(Kind::BytesValue(value)) => (columns.bytes_values.push(value), 5).1,
            None => 0,
        });
        if !event.attributes.is_empty() {
            columns.extras.push(Extras { index, attributes: event.attributes.clone() });
        }
    }
    columns
}

/// The same events as rows, by the definition.
fn as_rows(columns: &EventColumns) -> Vec<Event> {
    let (mut offset, mut event_seconds, mut ingest_seconds) = (columns.first_offset, 0, 0);
    let at = |array: &[u32], row: usize| array.get(row).copied().unwrap_or_default() as usize;
    let mut next = BTreeMap::new();
    let row = |row: usize| {
        if row > 0 {
            let step = 1 + columns.offset_skips.get(row).copied().unwrap_or_default();
            offset = if columns.descending { offset - step } else { offset + step };
        }
        event_seconds += columns.event_time_second_deltas[row];
        ingest_seconds += columns.ingest_time_second_deltas[row];
        let time = |seconds, nanos: usize| Some(prost_types::Timestamp { seconds, nanos: nanos as i32 });
        let kind = columns.kinds.get(row).copied().unwrap_or(1);
        let place: &mut usize = next.entry(kind).or_default();
        let value = match kind {
            1 => Kind::DoubleValue(columns.double_values[*place]),
            2 => Kind::IntValue(columns.int_values[*place]),
            3 => Kind::BoolValue(columns.bool_values[*place]),
            4 => Kind::StringValue(columns.string_values[*place].clone()),
            5 => Kind::BytesValue(columns.bytes_values[*place].clone()),
            other => panic!("kind {other}"),
        };
        *place += 1;
        let signal = columns.signal_indexes[row] as usize;
        let extras = columns.extras.iter().find(|extras| extras.index as usize == row);
        Event {
            offset,
            signal: columns.signals[signal].clone(),
            signal_id: columns.signal_ids[signal],
            event_time: time(event_seconds, at(&columns.event_time_nanos, row)),
            ingest_time: time(ingest_seconds, at(&columns.ingest_time_nanos, row)),
            value: Some(Value { kind: Some(value) }),
            quality: columns.qualities.get(row).copied().unwrap_or(1),
            source: columns.sources.get(at(&columns.source_indexes, row)).cloned().unwrap_or_default(),
            attributes: extras.map(|extras| extras.attributes.clone()).unwrap_or_default(),
            trace_context: columns
                .trace_contexts
                .get(at(&columns.trace_context_indexes, row))
                .cloned()
                .unwrap_or_default(),
        }
    };
    (0..columns.signal_indexes.len()).map(row).collect()
}

fn any_kind() -> impl Strategy<Value = Kind> {
    let doubles = [f64::NAN, -f64::NAN, f64::from_bits(0x7ff0_0000_0000_0001), -0.0, f64::INFINITY, f64::MAX];
    prop_oneof![
        4 => any::<u64>().prop_map(|bits| Kind::DoubleValue(f64::from_bits(bits))),
        2 => prop::sample::select(doubles.to_vec()).prop_map(Kind::DoubleValue),
        1 => prop::sample::select(vec![0, 1, -1, i64::MIN, i64::MAX]).prop_map(Kind::IntValue),
        1 => any::<bool>().prop_map(Kind::BoolValue),
        1 => ".{0,9}".prop_map(Kind::StringValue),
        1 => prop::collection::vec(any::<u8>(), 0..9).prop_map(Kind::BytesValue),
    ]
}

fn any_time() -> impl Strategy<Value = prost_types::Timestamp> {
    let seconds = prop_oneof![
        3 => 1_700_000_000..1_700_000_010_i64,
        1 => -62_135_596_800..=253_402_300_799_i64,
        1 => prop::sample::select(vec![-62_135_596_800, 253_402_300_799]),
    ];
    let nanos = prop_oneof![Just(0), 0..1_000_000_000, Just(999_999_999)];
    (seconds, nanos).prop_map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos })
}

prop_compose! {
    fn any_event()(
        signal in "[a-c]{1,2}", kind in any_kind(), event_time in any_time(),
        quality in prop_oneof![3 => Just(1), 1 => 1..=4], source in "[xy]?",
        attributes in prop_oneof![3 => Just(BTreeMap::new()), 1 => prop::collection::btree_map("[kl]?", ".{0,3}", 0..3)],
        trace_context in prop_oneof![Just(vec![]), Just(vec![7; 25]), prop::collection::vec(any::<u8>(), 1..64)],
    ) -> Event {
        Event {
            signal, event_time: Some(event_time), value: Some(Value { kind: Some(kind) }), quality, source,
            attributes, trace_context, ..Event::default()
        }
    }
}

/// As bytes: NaN does not equal itself.
fn bytes(events: &[Event]) -> Vec<Vec<u8>> {
    events.iter().map(Event::encode_to_vec).collect()
}

pub(super) fn rows_of(batch: EventBatch) -> Vec<Event> {
    match &batch.columns {
        Some(columns) => {
            assert!(batch.events.is_empty());
            as_rows(columns)
        }
        None => batch.events,
    }
}

fn at(offset: u64) -> Option<Position> {
    Some(Position { at: Some(position::At::Offset(offset)) })
}

/// Appends `events`, as `request` says them, and gives them as they are in the log by what else is said of them: by the
/// answer, by the list of the signals, by the newest event, which was taken in with all others, and by the clock.
async fn taken(server: &Fixture, request: AppendRequest, events: &[Event]) -> Vec<Event> {
    let before = SystemClock.now();
    let answer = server.ingest().await.append(request).await.unwrap().into_inner();
    let after = SystemClock.now();
    assert_eq!(answer.last_offset + 1 - answer.first_offset, events.len() as u64);

    let mut query = server.query().await;
    let signals = query.list_signals(ListSignalsRequest::default()).await.unwrap().into_inner().signals;
    let ids: BTreeMap<_, _> = signals.into_iter().map(|signal| (signal.name, signal.signal_id)).collect();
    let latest = query.get_latest(GetLatestRequest::default()).await.unwrap().into_inner().values;
    let latest = latest.into_iter().filter_map(|latest| latest.event).max_by_key(|event| event.offset);
    let ingest_time = latest.unwrap().ingest_time;
    let moment = ingest_time.and_then(|time| Timestamp::new(time.seconds, time.nanos.cast_unsigned()));
    assert!((before..=after).contains(&moment.unwrap()), "{before:?} to {after:?}: {moment:?}");

    let taken = |(offset, event): (u64, &Event)| Event {
        offset,
        signal_id: ids[&event.signal],
        ingest_time,
        ..event.clone()
    };
    (answer.first_offset..).zip(events).map(taken).collect()
}

async fn read(server: &Fixture, first: u64, encoding: Encoding, signals: &[String]) -> Vec<Event> {
    replayed(server, ReadRequest { start: at(first), ..reading(encoding, signals) }).await
}

/// The same events as `read`, from the other end.
async fn read_backwards(server: &Fixture, first: u64, encoding: Encoding, signals: &[String]) -> Vec<Event> {
    let request = ReadRequest { end: at(first), backwards: true, ..reading(encoding, signals) };
    let mut events = replayed(server, request).await;
    events.reverse();
    events
}

fn reading(encoding: Encoding, signals: &[String]) -> ReadRequest {
    let filter = Some(Filter { signals: signals.to_vec(), ..Filter::default() });
    ReadRequest { encoding: encoding.into(), filter, max_batch_events: 7, ..ReadRequest::default() }
}

async fn replayed(server: &Fixture, request: ReadRequest) -> Vec<Event> {
    let mut frames = server.query().await.read(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(frame) = frames.message().await.unwrap() {
        match frame.frame.unwrap() {
            read_response::Frame::Events(batch) => events.extend(rows_of(batch)),
            read_response::Frame::End(_) => break,
            read_response::Frame::Gap(gap) => panic!("unexpected {gap:?}"),
        }
    }
    events
}

async fn follow(server: &Fixture, first: u64, encoding: Encoding, count: usize) -> Vec<Event> {
    let request =
        SubscribeRequest { start: at(first), encoding: encoding.into(), ..SubscribeRequest::default() };
    let mut frames = server.query().await.subscribe(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while events.len() < count {
        if let Frame::Events(batch) = frames.message().await.unwrap().unwrap().frame.unwrap() {
            events.extend(rows_of(batch));
        }
    }
    events
}

#[test]
fn rows_and_columns_mean_the_same_whichever_way_they_go_in_and_out() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Fixture::start(|_| {}));
    let mut runner = TestRunner::new(ProptestConfig { cases: 40, ..ProptestConfig::default() });
    let batches = prop::collection::vec(any_event(), 1..30);
    let case = |events: Vec<Event>| {
        runtime.block_on(async {
            let columns = AppendRequest { columns: Some(as_columns(&events)), ..AppendRequest::default() };
            let mut expected = taken(&server, append(events.clone()), &events).await;
            expected.extend(taken(&server, columns, &events).await);
            let first = expected[0].offset;
            for encoding in [Encoding::Rows, Encoding::Columns] {
                let found = read(&server, first, encoding, &[]).await;
                prop_assert_eq!(bytes(&found), bytes(&expected));
                let found = read_backwards(&server, first, encoding, &[]).await;
                prop_assert_eq!(bytes(&found), bytes(&expected));
                let found = follow(&server, first, encoding, expected.len()).await;
                prop_assert_eq!(bytes(&found), bytes(&expected));
            }
            let one = events[0].signal.clone();
            expected.retain(|event| event.signal == one);
            for encoding in [Encoding::Rows, Encoding::Columns] {
                let found = read(&server, first, encoding, std::slice::from_ref(&one)).await;
                prop_assert_eq!(bytes(&found), bytes(&expected));
                let found = read_backwards(&server, first, encoding, std::slice::from_ref(&one)).await;
                prop_assert_eq!(bytes(&found), bytes(&expected));
            }
            Ok(())
        })
    };
    runner.run(&batches, case).unwrap();
}

async fn refused(server: &Fixture, request: AppendRequest) -> (String, String) {
    let status = server.ingest().await.append(request).await.unwrap_err();
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    (reason(&status), violations.first().map(|first| first.field.clone()).unwrap_or_default())
}

fn in_columns(columns: EventColumns) -> AppendRequest {
    AppendRequest { columns: Some(columns), ..AppendRequest::default() }
}

#[tokio::test]
async fn arrays_that_do_not_fit_together_are_named_and_counted() {
    let server = Fixture::start(|_| {}).await;
    let whole = as_columns(&[event("a", 1), event("b", 2)]);
    let cases = [
        ("columns.qualities", EventColumns { qualities: vec![1], ..whole.clone() }),
        ("columns.kinds", EventColumns { kinds: vec![2; 3], ..whole.clone() }),
        ("columns.double_values", EventColumns { kinds: vec![], ..whole.clone() }),
        ("columns.kinds[1]", EventColumns { kinds: vec![2, 0], ..whole.clone() }),
        ("columns.kinds[0]", EventColumns { kinds: vec![6, 2], ..whole.clone() }),
        ("columns.int_values", EventColumns { int_values: vec![1], ..whole.clone() }),
        ("columns.event_time_second_deltas", EventColumns { event_time_nanos: vec![1; 2], ..whole.clone() }),
        (
            "columns.extras[0].index",
            EventColumns { extras: vec![Extras { index: 2, ..Extras::default() }], ..whole.clone() },
        ),
    ];
    let count = cases.len() as u64 * 2;
    for (field, columns) in cases {
        assert_eq!(refused(&server, in_columns(columns)).await, ("INVALID_REQUEST".into(), field.into()));
    }
    let both = AppendRequest { events: vec![event("a", 1)], ..in_columns(whole.clone()) };
    assert_eq!(refused(&server, both).await, ("INVALID_REQUEST".into(), "columns".into()));
    let none = in_columns(EventColumns::default());
    assert_eq!(refused(&server, none).await, ("INVALID_REQUEST".into(), "events".into()));
    assert_eq!(server.totals().await.rejected_events, count + 3);
}

#[tokio::test]
async fn bad_events_in_columns_are_named_and_the_good_ones_kept_if_asked() {
    let server = Fixture::start(|_| {}).await;
    let events = [event("a", 1), event("_b", 2), event("c", 3)];
    let columns = EventColumns { signal_indexes: vec![0, 1, 9], ..as_columns(&events) };
    let whole = refused(&server, in_columns(columns.clone())).await;
    assert_eq!(whole, ("INVALID_EVENT".into(), "columns.signals[1]".into()));
    let partial = AppendRequest { allow_partial: true, ..in_columns(columns) };
    let answer: AppendResponse = server.ingest().await.append(partial).await.unwrap().into_inner();
    assert_eq!((answer.first_offset, answer.last_offset), (1, 1));
    let problems =
        answer.rejections.into_iter().map(|rejection| (rejection.index, rejection.problem.unwrap()));
    let problems: Vec<_> =
        problems.map(|(index, problem)| (index, problem.reason(), problem.field)).collect();
    let invalid = ErrorReason::InvalidEvent;
    let fields = ["columns.signals[1]", "columns.signal_indexes[2]"].map(str::to_owned);
    assert_eq!(problems, [(1, invalid, fields[0].clone()), (2, invalid, fields[1].clone())]);
    assert_eq!(server.totals().await.rejected_events, 3 + 2);
}

#[tokio::test]
async fn too_many_elements_are_refused_before_they_are_decoded() {
    let server = Fixture::start(|config| config.batch_events_max = 3).await;
    let whole = as_columns(&[event("a", 1)]);
    let four = as_columns(&[event("a", 1), event("a", 2), event("a", 3), event("a", 4)]);
    let skips = EventColumns { offset_skips: vec![0; 4], ..whole.clone() };
    let names = EventColumns { signals: vec![String::new(); 4], ..whole };
    for columns in [four, skips, names] {
        assert_eq!(refused(&server, in_columns(columns)).await.0, "BATCH_TOO_LARGE");
    }
    assert_eq!(server.totals().await.rejected_events, 4 + 1 + 1);
}
