//! What must hold of every simulation, and what a simulated station has in common with the real one.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::iss::catalogue::Nature;
use crate::iss::time::event_time;

/// 2018-10-12T05:00:00Z.
const START: Timestamp = Timestamp { seconds: 1_539_320_400, nanos: 0 };
const DAY: i64 = 86_400;

fn after(start: Timestamp, seconds: i64) -> Timestamp {
    Timestamp { seconds: start.seconds + seconds, ..start }
}

/// What is said in so many seconds.
fn said(simulator: Simulator, start: Timestamp, seconds: i64) -> impl Iterator<Item = Simulated> {
    let end = milliseconds(&after(start, seconds));
    simulator.take_while(move |said| milliseconds(&said.at) < end)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_hour_keeps_the_rules(seed: u64, start in 0..4_000_000_000_i64, nanos in 0..1_000_000_000) {
        let start = Timestamp { seconds: start, nanos };
        let ranges: HashMap<_, _> = ranges::all().iter().map(|range| (&*range.name, range)).collect();
        let (mut last, mut seconds) = (i64::MIN, BTreeMap::new());
        for Simulated { at, update } in said(Simulator::new(seed, start), start, 3_600) {
            prop_assert!(milliseconds(&at) >= last, "times never go back");
            last = milliseconds(&at);
            if !update.is_snapshot {
                *seconds.entry(at.seconds).or_insert(0) += 1;
            }
            prop_assert_eq!(update.status_indicator.as_deref(), Some(INDICATOR));
            let meant = event_time(year_of(&at), update.time_stamp.as_deref().unwrap()).unwrap();
            // The feed's text has it to some nanoseconds.
            prop_assert!((milliseconds(&meant) - milliseconds(&at)).abs() <= 1);
            let (item, value) = (&*update.item, update.value.unwrap());
            prop_assert!(Nature::of(item) != Nature::Unknown && Nature::of(item).value(&value).is_some());
            let number: f64 = value.parse().unwrap();
            match item {
                CLOCK => prop_assert!((86_400_000. ..=86_400_000. * 367.).contains(&number)),
                YEAR => prop_assert_eq!(number, f64::from(year_of(&at))),
                TANK_LEVEL => prop_assert!(number.fract() == 0. && (0. ..=85.).contains(&number), "{value}"),
                "USLAB000084" | "USLAB000102" => {}
                _ => prop_assert!((ranges[item].min..=ranges[item].max).contains(&number), "{item} {value}"),
            }
        }
        prop_assert!(seconds.values().all(|count| *count <= UPDATES_PER_SECOND_MAX), "{seconds:?}");
    }

    #[test]
    fn a_seed_and_a_start_say_it_all(seed: u64) {
        let run = |seed| said(Simulator::new(seed, START), START, 60).collect::<Vec<_>>();
        prop_assert_eq!(run(seed), run(seed));
        prop_assert_ne!(run(seed), run(seed.wrapping_add(1)));
    }

    #[test]
    fn the_tank_alone_is_the_tank_of_the_whole_station(seed: u64) {
        let is_tank = |said: &Simulated| [TANK_LEVEL, PROCESSOR_STATE].contains(&&*said.update.item);
        let whole = said(Simulator::new(seed, START), START, 7_200).filter(is_tank);
        prop_assert!(whole.eq(said(Simulator::of_tank(seed, START), START, 7_200)));
    }
}

#[test]
fn a_day_is_as_busy_as_a_recorded_one() {
    let (mut updates, mut silences, mut last) = (0, Vec::new(), milliseconds(&START));
    for said in said(Simulator::new(1, START), START, DAY) {
        updates += 1;
        let at = milliseconds(&said.at);
        if at - last > 4_900 {
            silences.push((at - last) / 1_000);
        }
        last = at;
    }
    let per_second = f64::from(updates) / DAY as f64;
    assert!((27. ..35.).contains(&per_second), "{per_second} updates a second");
    assert!(
        (30..90).contains(&silences.len()) && silences.iter().any(|seconds| *seconds > 60),
        "{silences:?}"
    );
}

#[test]
fn a_thousand_days_have_what_recorded_days_have_of_everything() {
    let mut counts = HashMap::<Kind, (f64, f64)>::new();
    const DAYS: i64 = 1_000;
    let mut updates = 0;
    for seed in 0..DAYS as u64 {
        for happening in happenings(seed, START, after(START, DAY)) {
            let (count, percent) = counts.entry(happening.kind).or_default();
            *count += 1. / DAYS as f64;
            *percent += happening.percent / DAYS as f64;
        }
        updates += said(Simulator::of_tank(seed, START), START, DAY).count() as i64;
    }
    let between = |kind, least: f64, most: f64| {
        let (count, _) = counts[&kind];
        assert!((least..most).contains(&count), "{kind:?}: {count} a day");
    };
    between(Kind::ToiletUse, 11., 17.);
    between(Kind::BulkTransfer, 0.7, 2.5);
    between(Kind::Processing, 0.8, 4.);
    between(Kind::LossOfSignal, 45., 70.);
    assert!((300..900).contains(&(updates / DAYS)), "{} updates of the tank a day", updates / DAYS);
}

#[test]
fn waste_water_rises_as_urine_is_processed() {
    // What it gained by the hour: while urine was processed, and while it was not.
    let (mut gained, mut is_processing, mut last) = ([(0., 0.); 2], false, None);
    for Simulated { at, update } in said(Simulator::new(11, START), START, 3 * DAY) {
        let value: f64 = update.value.unwrap().parse().unwrap();
        match &*update.item {
            PROCESSOR_STATE => (is_processing, last) = (value == 16., None),
            waste_water::WASTE_WATER => {
                if let Some((before, percent)) = last.replace((milliseconds(&at), value)) {
                    let (sum, hours) = &mut gained[usize::from(is_processing)];
                    *sum += value - percent;
                    *hours += (milliseconds(&at) - before) as f64 / 3.6e6;
                }
            }
            _ => {}
        }
    }
    let [idle, processing] = gained.map(|(percent, hours)| percent / hours);
    assert!((3. ..4.).contains(&processing) && idle < 0.5, "{processing} and {idle} percent an hour");
}

#[test]
fn a_long_loss_of_signal_is_told_kept_to_and_followed_by_what_has_changed() {
    let seconds = 3 * DAY;
    let lost: Vec<_> = happenings(3, START, after(START, seconds))
        .into_iter()
        .filter(|happening| happening.kind == Kind::LossOfSignal)
        .collect();
    let mut announced = 0;
    let mut gaps = lost.iter().peekable();
    for Simulated { at, update } in said(Simulator::new(3, START), START, seconds) {
        while gaps.peek().is_some_and(|gap| milliseconds(&gap.end) <= milliseconds(&at)) {
            gaps.next();
        }
        let is_inside = gaps.peek().is_some_and(|gap| milliseconds(&gap.begin) <= milliseconds(&at));
        let is_loss = update.status_class.as_deref() != Some(LIVE_CLASS);
        assert!(
            !is_inside || (is_loss && &*update.item == CLOCK),
            "{update:?} is said while nothing can be heard"
        );
        announced += u32::from(is_loss);
    }
    assert!(announced > 5 && (announced as usize) < lost.len(), "{announced} of {}", lost.len());
}

#[tokio::test]
async fn a_demo_says_it_when_its_time_has_come_and_whoever_stops_waiting_misses_nothing() {
    use crate::iss::update::{SessionEvent, Source as _};
    let began = tokio::time::Instant::now();
    let mut demo = Demo::since(5, START, 1.);
    let first = demo.next().await;
    assert!(
        matches!(&first, SessionEvent::Connected { source } if source.contains("simulation")),
        "{first:?}"
    );
    for expected in said(Simulator::new(5, START), START, 2) {
        let next = loop {
            let patience = std::time::Duration::from_millis(1);
            if let Ok(next) = tokio::time::timeout(patience, demo.next()).await {
                break next;
            }
        };
        assert_eq!(next, SessionEvent::Update(expected.update));
        let due = milliseconds(&expected.at) - milliseconds(&START);
        assert!(began.elapsed().as_millis() >= due as u128);
    }
}
