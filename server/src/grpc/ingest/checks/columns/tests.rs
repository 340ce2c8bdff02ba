//! Columns are judged as rows are, and no arrays do harm.

use downlink_proto::v1::event_columns::Extras;
use downlink_proto::v1::{self, value::Kind};
use proptest::prelude::*;

use super::*;
use crate::grpc::ingest::checks::tests::checks;
use crate::tests::columns::as_columns;

fn any_kind() -> impl Strategy<Value = Option<Kind>> {
    prop_oneof![
        Just(None),
        Just(Some(Kind::DoubleValue(1.0))),
        Just(Some(Kind::BoolValue(true))),
        (0..20_usize).prop_map(|bytes| Some(Kind::StringValue("x".repeat(bytes)))),
        (0..20_usize).prop_map(|bytes| Some(Kind::BytesValue(vec![0; bytes]))),
    ]
}

prop_compose! {
    /// An event with something wrong, or not.
    fn any_row()(
        signal in "[ab_\n]{0,4}", source in "[ab]{0,4}", kind in any_kind(), quality in 0..7,
        seconds in prop_oneof![Just(0), any::<i64>()], nanos in prop_oneof![Just(0), any::<i32>()],
        attributes in prop::collection::btree_map("[a-c]", "x{0,4}", 0..4),
        trace_context in prop::collection::vec(any::<u8>(), 0..5),
    ) -> v1::Event {
        let event_time = Some(prost_types::Timestamp { seconds, nanos });
        let value = Some(v1::Value { kind });
        v1::Event { signal, source, event_time, value, quality, attributes, trace_context, ..v1::Event::default() }
    }
}

prop_compose! {
    /// Arrays of any length with anything in them.
    fn any_columns()(
        tables in (prop::collection::vec("[a_]?", 0..3), prop::collection::vec("[a-z]?", 0..3)),
        places in (prop::collection::vec(0..4_u32, 0..6), prop::collection::vec(0..4_u32, 0..6)),
        times in (prop::collection::vec(any::<i64>(), 0..6), prop::collection::vec(any::<u32>(), 0..6)),
        kinds in prop::collection::vec(0..7_u32, 0..6), qualities in prop::collection::vec(any::<i32>(), 0..6),
        double_values in prop::collection::vec(any::<f64>(), 0..6),
        bool_values in prop::collection::vec(any::<bool>(), 0..2),
        indexes in prop::collection::vec(any::<u32>(), 0..2),
        trace_contexts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3), 0..2),
    ) -> EventColumns {
        EventColumns {
            signals: tables.0, sources: tables.1, signal_indexes: places.0, source_indexes: places.1,
            event_time_second_deltas: times.0, event_time_nanos: times.1, kinds, qualities, double_values,
            bool_values, trace_contexts, trace_context_indexes: indexes.clone(),
            extras: indexes.into_iter().map(|index| Extras { index, ..Extras::default() }).collect(),
            ..EventColumns::default()
        }
    }
}

proptest! {
    #[test]
    fn columns_are_refused_for_the_same_reasons_as_rows(rows in prop::collection::vec(any_row(), 0..20)) {
        let checks = checks(|config| {
            config.signal_bytes_max = 3;
            config.source_bytes_max = 3;
            config.value_bytes_max = 10;
            config.attributes_max = 2;
            config.attributes_bytes_max = 5;
            config.trace_context_bytes_max = 3;
            config.event_time_past_seconds_max = Some(1 << 40);
        });
        let (good, bad) = checks.columns(as_columns(&rows), &[9]).unwrap();
        let (good_rows, bad_rows) = checks.rows(rows, &[9]);
        prop_assert_eq!(good, good_rows);
        let problems = |bad: Vec<(u32, Refusal)>| -> Vec<(u32, String)> {
            let problem = |refusal: Refusal| refusal.into_problem().message.split_once(": ").unwrap().1.to_owned();
            bad.into_iter().map(|(index, refusal)| (index, problem(refusal))).collect()
        };
        prop_assert_eq!(problems(bad), problems(bad_rows));
    }

    #[test]
    fn no_arrays_do_harm(columns in any_columns()) {
        let events = columns.signal_indexes.len();
        if let Ok((good, bad)) = checks(|_| {}).columns(columns, &[]) {
            prop_assert_eq!(good.len() + bad.len(), events);
        }
    }
}
