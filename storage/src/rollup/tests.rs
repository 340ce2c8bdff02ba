//! The algebra of rollups: joined from any parts, they say what all events together say.

use proptest::prelude::*;

use super::*;
use crate::codec::series;

fn at(nanos: u32) -> Timestamp {
    Timestamp::from_unix_nanos(i128::from(nanos)).unwrap()
}

fn samples() -> impl Strategy<Value = Sample> {
    prop_oneof![
        4 => (-3_i32..3).prop_map(|number| Sample::Double(f64::from(number) / 2.0)),
        1 => prop_oneof![Just(f64::NAN), Just(-0.0), Just(f64::INFINITY), any::<f64>()].prop_map(Sample::Double),
        2 => (-3_i64..3).prop_map(Sample::Int),
        1 => any::<bool>().prop_map(Sample::Bool),
        1 => prop_oneof![Just(""), Just("é"), Just("on")].prop_map(|text| Sample::Text(text.into())),
        1 => (1_u64..9).prop_map(|offset| Sample::At(Offset::new(offset).unwrap())),
    ]
}

fn fold(events: &[(u32, Sample)]) -> Option<Rollup> {
    let (time, sample) = events.first()?;
    let mut rollup = Rollup::of(at(*time), sample.clone());
    events[1..].iter().for_each(|(time, sample)| rollup.join(Rollup::of(at(*time), sample.clone())));
    Some(rollup)
}

fn join(parts: impl IntoIterator<Item = Option<Rollup>>) -> Option<Rollup> {
    parts.into_iter().flatten().reduce(|mut all, part| {
        all.join(part);
        all
    })
}

fn is_near(a: f64, b: f64, size: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (a - b).abs() <= size * 1e-12
}

/// What a rollup should say, from all events at once.
fn check(rollup: &Rollup, events: &[(u32, Sample)]) {
    let mut order: Vec<usize> = (0..events.len()).collect();
    order.sort_by_key(|place| events[*place].0);
    let sorted: Vec<&(u32, Sample)> = order.into_iter().map(|place| &events[place]).collect();
    let numbers: Vec<(u32, f64)> =
        sorted.iter().filter_map(|(time, sample)| Some((*time, sample.number()?))).collect();
    assert_eq!((rollup.count, rollup.numbers), (events.len() as u64, numbers.len() as u64));
    let size: f64 = numbers.iter().map(|(_, number)| number.abs()).sum();
    assert!(is_near(rollup.sum.total(), numbers.iter().map(|(_, number)| number).sum(), size));
    let least = numbers.iter().copied().reduce(|a, b| if b.1 < a.1 { b } else { a });
    let most = numbers.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a });
    let extreme = |found: Option<Extreme>| found.map(|found| (found.time, found.number));
    assert_eq!(extreme(rollup.min), least.map(|(time, number)| (at(time), number)));
    assert_eq!(extreme(rollup.max), most.map(|(time, number)| (at(time), number)));
    let (first, last) = (sorted[0], sorted[sorted.len() - 1]);
    assert_eq!(rollup.first, Point { time: at(first.0), sample: first.1.clone() });
    assert_eq!(rollup.last, Point { time: at(last.0), sample: last.1.clone() });
    let Some(held) = rollup.held else { return };
    let (mut integral, mut size, mut nanos, mut changes) = (0.0, 0.0, 0, 0);
    for pair in sorted.windows(2) {
        let nanos_held = u64::from(pair[1].0 - pair[0].0);
        changes += u64::from(pair[0].1 != pair[1].1);
        if let Some(number) = pair[0].1.number().filter(|_| nanos_held > 0) {
            integral += number * nanos_held as f64;
            size += number.abs() * nanos_held as f64;
            nanos += nanos_held;
        }
    }
    assert_eq!((held.nanos, held.changes), (nanos, changes));
    assert!(is_near(held.integral.total(), integral, size), "{held:?} {integral}");
}

proptest! {
    #[test]
    fn any_parts_joined_are_the_whole(
        events in prop::collection::vec((0_u32..1_000, samples()), 1..40),
        cuts in prop::collection::vec(0_usize..40, 0..5),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(events.len())).collect();
        cuts.extend([0, events.len()]);
        cuts.sort_unstable();
        let parts: Vec<_> = cuts.windows(2).map(|cut| fold(&events[cut[0]..cut[1]])).collect();
        check(&join(parts.clone()).unwrap(), &events);
        check(&fold(&events).unwrap(), &events);
        // Joined in another grouping.
        let middle = parts.len() / 2;
        let grouped = [join(parts[..middle].to_vec()), join(parts[middle..].to_vec())];
        check(&join(grouped).unwrap(), &events);
    }

    #[test]
    fn in_their_order_the_times_they_held_are_always_known(
        mut events in prop::collection::vec((0_u32..1_000, samples()), 1..40),
        cut in 0_usize..40,
    ) {
        events.sort_by_key(|(time, _)| *time);
        let cut = cut.min(events.len());
        let joined = join([fold(&events[..cut]), fold(&events[cut..])]).unwrap();
        prop_assert!(joined.held.is_some());
        check(&joined, &events);
        // Late, but not between: the order is known all the same.
        let (early, late) = events.split_at(cut);
        if let (Some((last, _)), Some((first, _))) = (early.last(), late.first())
            && last < first
        {
            let turned = [late, early].concat();
            let joined = join([fold(late), fold(early)]).unwrap();
            prop_assert!(joined.held.is_some());
            check(&joined, &turned);
        }
    }

    #[test]
    fn a_series_comes_back_from_its_bytes(
        buckets in prop::collection::btree_map(
            -5_000_000_i64..5_000_000,
            prop::collection::vec((0_u64..600_000_000_000, samples()), 1..6),
            0..20,
        ),
        millis in any::<bool>(),
    ) {
        let series: Series = buckets.into_iter().map(|(base, events)| {
            let rollups = events.into_iter().map(|(nanos, sample)| {
                let nanos = if millis { nanos / 1_000_000 * 1_000_000 } else { nanos };
                let time = i128::from(base) * BASE_NANOS + i128::from(nanos);
                Some(Rollup::of(Timestamp::from_unix_nanos(time).unwrap(), sample))
            });
            let mut rollup = join(rollups).unwrap();
            // What rounding has cut off is not kept.
            rollup.sum = Sum::new(rollup.sum.total());
            if let Some(held) = &mut rollup.held {
                held.integral = Sum::new(held.integral.total());
            }
            (base, rollup)
        }).collect();
        let bytes = series::encode(&series);
        let found = series::decode(&bytes).unwrap();
        // NaN equals nothing, not even itself.
        prop_assert_eq!(format!("{found:?}"), format!("{series:?}"));
    }

    #[test]
    fn bytes_that_are_no_series_are_refused_and_nothing_more(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = series::decode(&bytes);
    }
}
