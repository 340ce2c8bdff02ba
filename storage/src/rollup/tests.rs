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
        1 => prop_oneof![Just(f64::MAX), Just(f64::MIN), Just(1e308), Just(3e-310)].prop_map(Sample::Double),
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

/// Compares a mean with the sum of every number times its part of the whole, halved: neither overflows.
fn assert_mean(found: f64, parts: &[(f64, f64)]) {
    let whole: f64 = parts.iter().map(|(_, times)| times).sum();
    let half = |number: f64, times: f64| number * (times / whole) / 2.0;
    let expected: f64 = parts.iter().map(|(number, times)| half(*number, *times)).sum();
    let size: f64 = parts.iter().map(|(number, times)| half(number.abs(), *times)).sum();
    let is_same = (found / 2.0).to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
    let tolerance = size * 1e-12 + 1e-290;
    assert!(is_same || (found / 2.0 - expected).abs() <= tolerance, "{found} of {parts:?}");
}

/// What a rollup should say, from all events at once.
fn check(rollup: &Rollup, events: &[(u32, Sample)]) {
    let mut order: Vec<usize> = (0..events.len()).collect();
    order.sort_by_key(|place| events[*place].0);
    let sorted: Vec<&(u32, Sample)> = order.into_iter().map(|place| &events[place]).collect();
    let numbers: Vec<(u32, f64)> =
        sorted.iter().filter_map(|(time, sample)| Some((*time, sample.number()?))).collect();
    assert_eq!((rollup.count, rollup.numbers), (events.len() as u64, numbers.len() as u64));
    assert_eq!(rollup.mean().is_some(), !numbers.is_empty());
    if let Some(mean) = rollup.mean() {
        assert_mean(mean, &numbers.iter().map(|(_, number)| (*number, 1.0)).collect::<Vec<_>>());
    }
    let least = numbers.iter().copied().reduce(|a, b| if b.1 < a.1 { b } else { a });
    let most = numbers.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a });
    let extreme = |found: Option<Extreme>| found.map(|found| (found.time, found.number));
    assert_eq!(extreme(rollup.min), least.map(|(time, number)| (at(time), number)));
    assert_eq!(extreme(rollup.max), most.map(|(time, number)| (at(time), number)));
    let (first, last) = (sorted[0], sorted[sorted.len() - 1]);
    assert_eq!(rollup.first, Point { time: at(first.0), sample: first.1.clone() });
    assert_eq!(rollup.last, Point { time: at(last.0), sample: last.1.clone() });
    let Some(held) = rollup.held else { return };
    let (mut parts, mut nanos, mut changes) = (Vec::new(), 0, 0);
    for pair in sorted.windows(2) {
        let nanos_held = u128::from(pair[1].0 - pair[0].0);
        changes += u64::from(pair[0].1 != pair[1].1);
        if let Some(number) = pair[0].1.number().filter(|_| nanos_held > 0) {
            parts.push((number, nanos_held as f64));
            nanos += nanos_held;
        }
    }
    assert_eq!((held.nanos, held.changes), (nanos, changes));
    if nanos > 0 {
        assert_mean(held.integral.over(nanos as f64), &parts);
    }
}

#[test]
fn no_mean_of_finite_numbers_is_beyond_them() {
    let of = |numbers: &[f64]| {
        let events: Vec<_> = numbers.iter().map(|number| (0, Sample::Double(*number))).collect();
        let mut series = vec![(0, fold(&events).unwrap())];
        let mean = series[0].1.mean().unwrap();
        series = series::decode(&series::encode(&series)).unwrap();
        assert_eq!(series[0].1.mean(), Some(mean), "on disk and back");
        mean
    };
    assert_eq!(of(&[1.5e308, 1.6e308, 1.7e308]), 1.6e308);
    assert_eq!(of(&[f64::MAX; 1_000]), f64::MAX);
    assert_eq!(of(&[f64::MIN; 7]), f64::MIN);
    assert_eq!(of(&[f64::MAX, f64::MAX, f64::MIN, f64::MIN, 0.0]), 0.0);
    assert_eq!(of(&[0.1; 10]), 0.1);
    assert_eq!(of(&[f64::INFINITY, 1.0]), f64::INFINITY);

    // For all of time, in nanoseconds.
    let (first, last) = (Timestamp::MIN, Timestamp::MAX);
    let mut rollup = Rollup::of(first, Sample::Double(f64::MAX));
    for time in [at(0), last] {
        rollup.join(Rollup::of(time, Sample::Double(f64::MAX)));
    }
    let held = rollup.held.unwrap();
    assert_eq!(held.nanos, nanos_between(first, last));
    assert!(held.integral.over(held.nanos as f64) >= f64::MAX * (1.0 - 1e-15));
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
            rollup.sum = rollup.sum.total().into();
            if let Some(held) = &mut rollup.held {
                held.integral = held.integral.total().into();
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
