//! Random events, clocks and rules: the reports are those of a model that looks at everything anew each time.

use std::collections::BTreeMap;

use downlink_storage::{Event, Latest};
use proptest::prelude::*;

use super::*;

const SECOND: Nanos = 1_000_000_000;

/// What happens next.
#[derive(Clone, Debug)]
enum Tick {
    /// An event: of which signal, by how much the log's clock moves on, how far from it the event time lies.
    Event { signal: u32, after: Nanos, skew: Nanos, value: Value, quality: Quality },
    /// So much time passes, live.
    Pass(Nanos),
}

fn rules() -> impl Strategy<Value = Rule> {
    let which = prop_oneof![
        Just(Which::All),
        (0_u32..4).prop_map(|width| Which::Changes(Deadband::new(f64::from(width)).unwrap())),
    ];
    let length = (1_u64..6_000).prop_map(Duration::from_millis);
    let spacing = prop_oneof![
        Just(Spacing::None),
        length.clone().prop_map(Spacing::AtLeast),
        length.prop_map(Spacing::Sampled),
    ];
    (which, spacing, proptest::option::of(6_000_u64..20_000)).prop_map(|(which, spacing, resend)| Rule {
        which,
        spacing,
        resend: resend.map(Duration::from_millis),
    })
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => (-4_i32..4).prop_map(|value| Value::Double(f64::from(value))),
        1 => Just(Value::Double(f64::NAN)),
        2 => (-4_i64..4).prop_map(Value::Int),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => "[ab]".prop_map(Value::String),
    ]
}

fn ticks() -> impl Strategy<Value = Vec<Tick>> {
    let skew = prop_oneof![6 => -100_i128..100, 1 => -90_000_i128..90_000];
    let quality = prop_oneof![9 => Just(Quality::Good), 1 => Just(Quality::Stale)];
    let event = (0_u32..3, 0_i128..1_500, skew, values(), quality).prop_map(
        |(signal, after, skew, value, quality)| Tick::Event {
            signal,
            after: after * SECOND / 1_000,
            skew: skew * SECOND / 1_000,
            value,
            quality,
        },
    );
    let pass = (0_i128..9_000).prop_map(|milliseconds| Tick::Pass(milliseconds * SECOND / 1_000));
    proptest::collection::vec(prop_oneof![8 => event, 1 => pass], 0..120)
}

fn kept(offset: u64, signal: u32, now: Nanos, skew: Nanos, value: &Value, quality: Quality) -> Kept {
    let time = |nanos| Timestamp::from_unix_nanos(nanos).unwrap();
    let event = Event {
        signal: format!("signal {signal}"),
        event_time: time(now + skew),
        value: value.clone(),
        quality,
        source: String::new(),
        attributes: BTreeMap::new(),
        trace_context: Vec::new(),
    };
    let (offset, signal_id) = (Offset::new(offset).unwrap(), SignalId(signal));
    Kept::from(Latest { event, offset, ingest_time: time(now), signal_id, unchanged_since: time(now) })
}

/// The same ticks as events and moments: up to `live` they are history.
fn script(ticks: &[Tick], live: usize) -> Vec<(Clock, Nanos, Option<Kept>)> {
    let (mut now, mut offset) = (1_000 * SECOND, 0);
    let mut script = Vec::new();
    for (index, tick) in ticks.iter().enumerate() {
        match tick {
            Tick::Event { signal, after, skew, value, quality } => {
                (now, offset) = (now + after, offset + 1);
                let clock = if index < live { Clock::History } else { Clock::Live(now) };
                script.push((clock, now, Some(kept(offset, *signal, now, *skew, value, *quality))));
            }
            Tick::Pass(_) if index < live => {}
            Tick::Pass(time) => {
                now += time;
                script.push((Clock::Live(now), now, None));
            }
        }
    }
    script
}

/// One signal by the definition: everything that has happened is looked at anew at every tick.
#[derive(Default)]
struct Model {
    /// When, by both clocks, and what.
    sent: Vec<(Nanos, Nanos, Kept)>,
    /// What came since, with the moment at which it came.
    since: Vec<(Nanos, Kept)>,
}

impl Model {
    fn says_the_same(&self, rule: &Rule, event: &Kept) -> bool {
        match (rule.which, self.sent.last()) {
            (Which::Changes(deadband), Some((_, _, last))) => {
                !deadband.is_left(&last.event().value.to_value(), last.event().quality, &event.event())
            }
            (Which::All, _) | (_, None) => false,
        }
    }

    /// The end of the interval, by both clocks; `None` if there is none.
    fn end(&self, rule: &Rule) -> Option<(Nanos, Nanos)> {
        match rule.spacing {
            Spacing::None => None,
            Spacing::AtLeast(interval) => {
                self.sent.last().map(|(at, time, _)| (at + length(interval), time + length(interval)))
            }
            Spacing::Sampled(period) => {
                // The period of the first that came since the last was sent or left out for good.
                let first = self.since.iter().rposition(|(_, event)| self.says_the_same(rule, event));
                let (now, event) = &self.since[first.map_or(0, |last| last + 1)];
                let end = |time: Nanos| time - time.rem_euclid(length(period)) + length(period);
                Some((end(*now), end(nanos(event.event().event_time))))
            }
        }
    }

    fn send(&mut self, now: Nanos, event: Kept, interval: Nanos) -> Kept {
        let time = nanos(event.event().event_time);
        let time = self.sent.last().map_or(time, |(_, before, _)| time.max(before + interval));
        self.sent.push((now, time, event.clone()));
        self.since.clear();
        event
    }

    /// What is sent now, because an interval has ended.
    fn due(&mut self, rule: &Rule, now: Nanos, event_now: Option<Nanos>) -> Option<Kept> {
        let spacing = rule.interval();
        if let Some((_, newest)) = self.since.last().cloned()
            && !self.says_the_same(rule, &newest)
        {
            let (end, end_by_events) = self.end(rule)?;
            let is_over = now >= end || event_now.is_some_and(|time| time >= end_by_events);
            return is_over.then(|| self.send(now, newest, spacing));
        }
        let (at, _, last) = self.sent.last()?;
        let resend = length(rule.resend?);
        let newest = self.since.last().map_or(last, |(_, newest)| newest).clone();
        (now >= at + resend).then(|| self.send(now, newest, resend))
    }

    fn take(&mut self, rule: &Rule, now: Nanos, event_now: Option<Nanos>, event: &Kept) -> Vec<Kept> {
        let mut out = Vec::new();
        if self.since.last().is_some_and(|(_, newest)| !self.says_the_same(rule, newest)) {
            out.extend(self.due(rule, now, event_now));
        }
        let is_resent = match (rule.resend, event_now, self.sent.last()) {
            (Some(resend), Some(time), Some((_, sent, _))) => time >= sent + length(resend),
            _ => false,
        };
        self.since.push((now, event.clone()));
        if self.says_the_same(rule, event) && !is_resent {
            return out;
        }
        let waits = self.end(rule).is_some_and(|(end, end_by_events)| {
            now < end && event_now.is_none_or(|time| time < end_by_events)
        });
        if !waits {
            out.push(self.send(now, event.clone(), rule.interval()));
        }
        out
    }
}

fn offsets(events: &[Kept]) -> Vec<u64> {
    events.iter().map(|event| event.offset().get()).collect()
}

/// What the machine sends, tick by tick, of each signal.
fn run(report: &mut Report, tick: &(Clock, Nanos, Option<Kept>)) -> Vec<(SignalId, u64)> {
    let mut sent = Vec::new();
    let mut send = |event: &EventRef<'_>| sent.push((event.signal_id, event.offset.get()));
    match tick {
        (clock, _, Some(event)) => report.take(&event.event(), *clock, &mut send),
        (_, now, None) => report.advance(*now, &mut send),
    }
    sent
}

fn of(sent: &[(SignalId, u64)], signal: u32) -> Vec<u64> {
    sent.iter().filter(|(id, _)| id.0 == signal).map(|(_, offset)| *offset).collect()
}

fn cases() -> ProptestConfig {
    let cases = if std::env::var_os("SLOW_TESTS").is_some() { 100_000 } else { 2_000 };
    ProptestConfig { cases, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_reports_are_those_of_the_definition(rule in rules(), ticks in ticks(), live in 0_usize..120) {
        // What samples takes every event.
        let rule = match rule.spacing { Spacing::Sampled(_) => Rule { which: Which::All, ..rule }, Spacing::None | Spacing::AtLeast(_) => rule };
        let mut report = Report::new(rule, 0);
        let mut models: Vec<Model> = (0..3).map(|_| Model::default()).collect();
        for tick in script(&ticks, live) {
            let sent = run(&mut report, &tick);
            let (clock, now, event) = tick;
            for (signal, model) in (0..).zip(&mut models) {
                let mut expected: Vec<Kept> = model.due(&rule, now, None).into_iter().collect();
                if let Some(event) = event.as_ref().filter(|event| event.event().signal_id.0 == signal) {
                    let event_now = (clock == Clock::History).then(|| nanos(event.event().event_time));
                    expected.extend(model.take(&rule, now, event_now, event));
                }
                prop_assert_eq!(of(&sent, signal), offsets(&expected), "signal {} at {}", signal, now);
            }
        }
    }

    #[test]
    fn a_resume_anywhere_ends_with_the_same_values(rule in rules(), ticks in ticks(), cut in 0_usize..120) {
        let rule = match rule.spacing { Spacing::Sampled(_) => Rule { which: Which::All, ..rule }, Spacing::None | Spacing::AtLeast(_) => rule };
        let script: Vec<_> = script(&ticks, usize::MAX);
        let cut = cut.min(script.len());
        let mut before = Report::new(rule, 0);
        let mut newest_sent = HashMap::new();
        for tick in &script[..cut] {
            newest_sent.extend(run(&mut before, tick));
        }
        let settled = before.settled(Offset::new(cut as u64 + 1).unwrap());
        prop_assert!(settled.get() <= cut as u64 + 1);
        let mut after = Report::new(rule, 0);
        for tick in &script[settled.get() as usize - 1..] {
            newest_sent.extend(run(&mut after, tick));
        }
        // Once everything that waits has had its time, the subscriber knows of each signal what there is to know.
        let mut rest = Vec::new();
        after.advance(1 << 100, &mut |event| rest.push((event.signal_id, event.offset.get())));
        newest_sent.extend(rest);
        prop_assert_eq!(after.settled(Offset::new(script.len() as u64 + 1).unwrap()).get(), script.len() as u64 + 1);
        for (id, sent) in newest_sent {
            let of_signal = || script.iter().filter_map(|(_, _, event)| event.as_ref()).filter(|event| event.event().signal_id == id);
            let newest = of_signal().next_back().unwrap();
            let sent = of_signal().find(|event| event.offset().get() == sent).unwrap().event();
            let is_known = match rule.which {
                Which::All => sent.offset == newest.offset(),
                Which::Changes(deadband) => !deadband.is_left(&sent.value.to_value(), sent.quality, &newest.event()),
            };
            prop_assert!(is_known, "{:?} instead of {:?}", sent, newest);
        }
    }

    #[test]
    fn events_of_a_signal_keep_their_order_and_distance(rule in rules(), ticks in ticks(), live in 0_usize..120) {
        let mut report = Report::new(rule, 0);
        let (mut last, mut distinct) = (HashMap::<SignalId, (Nanos, u64)>::new(), 0);
        for tick in script(&ticks, live) {
            let now = tick.1;
            for (id, offset) in run(&mut report, &tick) {
                let before = last.insert(id, (now, offset));
                prop_assert!(before.is_none_or(|(_, before)| offset >= before));
                distinct += u64::from(before.is_none_or(|(_, before)| offset > before));
                // In history the event times may say that the interval has ended.
                if let (Spacing::AtLeast(interval), Clock::Live(_), Some((at, _))) = (rule.spacing, tick.0, before) {
                    prop_assert!(now - at >= length(interval));
                }
            }
        }
        prop_assert_eq!(report.sent_events(), distinct);
    }
}

#[test]
fn what_is_remembered_is_counted_and_given_back() {
    let rule = Rule {
        which: Which::Changes(Deadband::new(0.0).unwrap()),
        spacing: Spacing::AtLeast(Duration::from_secs(1)),
        resend: None,
    };
    let mut report = Report::new(rule, 0);
    let text = |length: usize| Value::String("x".repeat(length));
    let take = |report: &mut Report, offset, now, value: &Value| {
        let event = kept(offset, 1, now, 0, value, Quality::Good);
        report.take(&event.event(), Clock::Live(now), &mut |_| {});
    };
    take(&mut report, 1, SECOND, &text(10_000));
    let one = report.bytes();
    assert!((10_000..11_000).contains(&one) && report.signals() == 1);
    take(&mut report, 2, SECOND, &text(20_000));
    assert!(report.bytes() > one + 20_000 && report.settled(Offset::new(9).unwrap()).get() == 2);
    report.advance(2 * SECOND, &mut |event| assert_eq!(event.offset.get(), 2));
    take(&mut report, 3, 3 * SECOND, &Value::Bool(true));
    assert!(report.bytes() < one);
}
