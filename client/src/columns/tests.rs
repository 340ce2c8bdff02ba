//! What goes into columns comes out again.

use downlink_proto::v1::append_stream_request::Batch;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::append::BatchBuilder;

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        any::<u64>().prop_map(|bits| Kind::DoubleValue(f64::from_bits(bits))),
        any::<i64>().prop_map(Kind::IntValue),
        any::<bool>().prop_map(Kind::BoolValue),
        ".{0,5}".prop_map(Kind::StringValue),
        prop::collection::vec(any::<u8>(), 0..5).prop_map(Kind::BytesValue),
    ]
}

prop_compose! {
    fn any_event(timed: bool)(
        signal in "[a-c]?", kind in any_kind(), time in (any::<i64>(), prop_oneof![Just(0), any::<i32>()]),
        quality in 1..=4, source in "[xy]?", trace_context in prop_oneof![Just(vec![]), Just(vec![1; 25])],
        attributes in prop_oneof![Just(BTreeMap::new()), prop::collection::btree_map("[kl]", ".{0,3}", 0..3)],
    ) -> Event {
        let event_time = timed.then_some(Timestamp { seconds: time.0, nanos: time.1 });
        let value = Some(Value { kind: Some(kind) });
        Event { signal, event_time, value, quality, source, attributes, trace_context, ..Event::default() }
    }
}

fn any_events() -> impl Strategy<Value = Vec<Event>> {
    any::<bool>().prop_flat_map(|timed| prop::collection::vec(any_event(timed), 0..30))
}

proptest! {
    #[test]
    fn events_come_back_from_columns(events in any_events()) {
        let mut builder = ColumnsBuilder::default();
        events.iter().for_each(|event| builder.push(event));
        let bytes = builder.bytes();
        let columns = builder.take();
        prop_assert!(columns.encoded_len() <= bytes + 64);
        prop_assert!(builder.is_empty());
        // Compared as bytes: NaN does not equal itself.
        let encoded = |events: &[Event]| events.iter().map(Message::encode_to_vec).collect::<Vec<_>>();
        prop_assert_eq!(encoded(&rows(columns).unwrap()), encoded(&events));
    }

    #[test]
    fn a_batch_in_columns_holds_the_same_events(events in any_events()) {
        let mut builder = BatchBuilder::new(Encoding::Columns);
        events.iter().for_each(|event| builder.push(event));
        prop_assert_eq!(builder.len(), events.len());
        let batch = builder.take();
        prop_assert_eq!(batch.len(), events.len());
        let found = Batch::decode(batch.body).unwrap().columns.unwrap_or_default();
        prop_assert_eq!(rows(found).unwrap().len(), events.len());
    }

    #[test]
    fn no_arrays_do_harm(
        signal_indexes in prop::collection::vec(0..3_u32, 0..4), kinds in prop::collection::vec(0..7_u32, 0..4),
        first_offset in any::<u64>(), offset_skips in prop::collection::vec(any::<u64>(), 0..4),
        event_time_second_deltas in prop::collection::vec(any::<i64>(), 0..4),
        double_values in prop::collection::vec(any::<f64>(), 0..4),
        source_indexes in prop::collection::vec(0..3_u32, 0..4), descending in any::<bool>(),
    ) {
        let signals = vec!["a".to_owned(), "b".to_owned()];
        let _ = rows(EventColumns {
            signals, signal_indexes, kinds, first_offset, offset_skips, event_time_second_deltas, double_values,
            source_indexes, descending, ..EventColumns::default()
        });
    }
}

#[test]
fn an_event_without_a_time_does_not_join_those_that_have_one() {
    let mut builder = ColumnsBuilder::default();
    let untimed = crate::event("a", 1.0);
    builder.push(&untimed);
    assert!(builder.fits(&untimed));
    assert!(!builder.fits(&Event { event_time: Some(Timestamp::default()), ..untimed }));
}
