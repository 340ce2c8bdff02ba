//! `Subscribe` with a `report`: on change, sampled, spaced, resent, with initial values, and together with resuming.

use std::collections::HashMap;

use downlink_proto::v1::report::Mode;
use downlink_proto::v1::subscribe_response::Frame;
use downlink_proto::v1::{Edge, Event, Report, SubscribeRequest};
use prost_types::{Duration, Timestamp};
use tonic::Code;

use crate::append::numbered;
use crate::harness::{Server, event};
use crate::random::Random;
use crate::read::{at, edge, signals};
use crate::refusal::{Refusal, refused};
use crate::subscribe::Subscription;

fn milliseconds(length: u64) -> Option<Duration> {
    Some(Duration { seconds: (length / 1_000) as i64, nanos: (length % 1_000 * 1_000_000) as i32 })
}

fn report(mode: Mode) -> Report {
    Report { mode: mode.into(), ..Default::default() }
}

fn reported(start: u64, report: Report) -> SubscribeRequest {
    let heartbeat_interval = milliseconds(100);
    SubscribeRequest { start: at(start), report: Some(report), heartbeat_interval, ..Default::default() }
}

/// An event so many milliseconds after some moment.
fn timed(signal: &str, number: f64, after: i64) -> Event {
    let event_time =
        Timestamp { seconds: 1_000_000 + after / 1_000, nanos: (after % 1_000 * 1_000_000) as i32 };
    Event { event_time: Some(event_time), ..event(signal, number) }
}

fn offsets(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.offset).collect()
}

/// The next heartbeat: where to resume, and how many events were suppressed.
async fn heartbeat(subscription: &mut Subscription) -> (u64, u64) {
    loop {
        match subscription.frame().await {
            Frame::Heartbeat(heartbeat) => return (subscription.next, heartbeat.suppressed_events),
            Frame::CaughtUp(_) => {}
            other @ (Frame::Started(_)
            | Frame::Events(_)
            | Frame::FellBehind(_)
            | Frame::Gap(_)
            | Frame::Draining(_)) => panic!("unexpected {other:?}"),
        }
    }
}

#[tokio::test]
async fn on_change_sends_what_differs_by_the_deadband_and_counts_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let bad = |number| Event { quality: 4, ..event("a", number) };
    let values = [1.0, 1.25, 1.5, 1.75, 0.9, 1.0, f64::NAN, f64::NAN, 1.0];
    let mut events: Vec<_> = values.into_iter().map(|value| event("a", value)).collect();
    events.extend([bad(1.0), bad(1.25), event("b", 1.0), event("b", 1.0)]);
    server.append(events.clone()).await;
    let request = reported(1, Report { deadband: 0.5, ..report(Mode::OnChange) });
    let mut subscription = Subscription::to(&server, request).await;
    assert_eq!(subscription.caught_up().await.0, [1, 3, 5, 7, 9, 10, 12]);
    assert_eq!(heartbeat(&mut subscription).await, (14, 6));
    // Live it goes on from what was sent last.
    server.append(vec![event("b", 1.25), bad(1.25), event("b", 1.5)]).await;
    assert_eq!(offsets(&subscription.events(1).await), [16]);
    assert_eq!(heartbeat(&mut subscription).await, (17, 8));
}

#[tokio::test]
async fn a_history_is_sampled_by_its_own_times() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    // Recorded at once, but four events a second of one signal, one every two seconds of another.
    let mut events = Vec::new();
    for step in 0..20 {
        events.push(timed("fast", f64::from(step), i64::from(step) * 250));
        if step % 8 == 3 {
            events.push(timed("slow", f64::from(step), i64::from(step) * 250));
        }
    }
    server.append(events).await;
    let all = server.read_all().await;
    let request = reported(1, Report { min_interval: milliseconds(1_000), ..report(Mode::Sample) });
    let mut subscription = Subscription::to(&server, request.clone()).await;
    let expected = |signal: &str| {
        let mut newest = HashMap::new();
        for event in all.iter().filter(|event| event.signal == signal) {
            newest.insert(event.event_time.unwrap().seconds, event.offset);
        }
        let mut offsets: Vec<_> = newest.into_values().collect();
        offsets.sort_unstable();
        offsets
    };
    let events = subscription.events(8).await;
    for signal in ["fast", "slow"] {
        let sent: Vec<_> = events.iter().filter(|event| event.signal == signal).cloned().collect();
        assert_eq!(offsets(&sent), expected(signal), "{signal}");
    }
    assert_eq!(heartbeat(&mut subscription).await, (all.len() as u64 + 1, all.len() as u64 - 8));
}

#[tokio::test]
async fn of_a_burst_the_first_and_the_last_come_and_the_resume_token_waits_for_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let request = reported(1, Report { min_interval: milliseconds(500), ..report(Mode::All) });
    let mut subscription = Subscription::to(&server, request.clone()).await;
    subscription.caught_up().await;
    server.append(numbered("a", 5)).await;
    assert_eq!(offsets(&subscription.events(1).await), [1]);
    assert_eq!(subscription.next, 5, "the last one waits");
    let mut resumed = Subscription::to(&server, SubscribeRequest { start: at(5), ..request }).await;
    assert_eq!(offsets(&resumed.events(1).await), [5]);
    assert_eq!(offsets(&subscription.events(1).await), [5]);
    assert_eq!((subscription.next, heartbeat(&mut subscription).await), (6, (6, 3)));
}

#[tokio::test]
async fn an_unchanged_value_is_resent_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let request = reported(1, Report { resend_interval: milliseconds(120), ..report(Mode::OnChange) });
    let mut subscription = Subscription::to(&server, request).await;
    subscription.caught_up().await;
    server.append(vec![event("a", 1.0), event("a", 1.0)]).await;
    assert_eq!(
        offsets(&subscription.events(3).await)[..3],
        [1, 2, 2],
        "the newest event, also if it was no news"
    );
    server.append(vec![event("a", 2.0)]).await;
    let last = loop {
        let last = subscription.events(1).await[0].offset;
        assert!((2..=3).contains(&last));
        if last == 3 {
            break last;
        }
    };
    assert_eq!((last, subscription.next), (3, 4));
}

#[tokio::test]
async fn initial_values_come_first_as_of_the_start_and_count_as_sent() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for (signal, number) in [("a", 1.0), ("b", 2.0), ("a", 3.0), ("c/d", 4.0), ("b", 5.0), ("a", 3.0)] {
        server.append(vec![event(signal, number)]).await;
    }
    let initial = Report { initial_values: true, ..report(Mode::OnChange) };
    // As of the head, as of the past, as of the beginning; then what follows, where it differs.
    for (start, first, rest) in
        [(7, vec![4, 5, 6], vec![]), (5, vec![2, 3, 4], vec![5]), (1, vec![], vec![1, 2, 3, 4, 5])]
    {
        let mut subscription = Subscription::to(&server, reported(start, initial)).await;
        if !first.is_empty() {
            let Frame::Events(batch) = subscription.frame().await else { panic!("no initial values") };
            assert_eq!((offsets(&batch.events), subscription.next), (first, start));
        }
        assert_eq!(subscription.caught_up().await.0, rest);
        assert_eq!(heartbeat(&mut subscription).await, (7, 7 - start - rest.len() as u64));
    }
    // Only of signals that the filter wants; every event follows where that is the rule.
    let every = Report { initial_values: true, ..Report::default() };
    let request = SubscribeRequest { filter: signals(&["a", "c/*"]), ..reported(5, every) };
    let mut subscription = Subscription::to(&server, request).await;
    assert_eq!(subscription.caught_up().await.0, [3, 4, 6]);
    let head = SubscribeRequest { report: Some(every), start: edge(Edge::Head), ..Default::default() };
    let mut subscription = Subscription::to(&server, head).await;
    assert_eq!(subscription.caught_up().await.0, [4, 5, 6]);
    server.append(vec![event("a", 3.0)]).await;
    assert_eq!(offsets(&subscription.events(1).await), [7]);
}

#[tokio::test]
async fn events_wait_for_company_until_the_message_is_full_or_the_delay_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let waiting = |delay| SubscribeRequest {
        start: at(1),
        max_batch_events: 4,
        max_batch_delay: milliseconds(delay),
        filter: signals(&["a"]),
        ..Default::default()
    };
    let mut patient = Subscription::to(&server, waiting(10_000)).await;
    let mut impatient = Subscription::to(&server, waiting(1)).await;
    patient.caught_up().await;
    impatient.caught_up().await;
    for number in 0..6 {
        server.append(vec![event("a", f64::from(number)), event("other", 0.0)]).await;
        assert_eq!(offsets(&impatient.events(1).await).len(), 1, "nothing comes with it, and it comes");
    }
    let Frame::Events(batch) = patient.frame().await else { panic!("no events") };
    assert_eq!((offsets(&batch.events), patient.next >= 8), (vec![1, 3, 5, 7], true));
    // What else there is to say comes after what waits.
    drop(impatient);
    server.signal("TERM");
    let Frame::Events(batch) = patient.frame().await else { panic!("no events") };
    assert_eq!((offsets(&batch.events), patient.next), (vec![9, 11], 13));
    assert!(matches!(patient.frame().await, Frame::Draining(_)));
}

#[tokio::test]
async fn options_that_make_no_sense_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let negative = Some(Duration { seconds: -1, nanos: 0 });
    let of = |report| SubscribeRequest { report: Some(report), ..Default::default() };
    let cases = [
        (of(Report { deadband: -1.0, ..report(Mode::OnChange) }), "report.deadband"),
        (of(Report { deadband: f64::NAN, ..report(Mode::OnChange) }), "report.deadband"),
        (of(Report { deadband: 1.0, ..report(Mode::All) }), "report.deadband"),
        (of(report(Mode::Sample)), "report.min_interval"),
        (of(Report { min_interval: negative, ..report(Mode::All) }), "report.min_interval"),
        (of(Report { resend_interval: negative, ..report(Mode::All) }), "report.resend_interval"),
        (
            of(Report {
                resend_interval: milliseconds(200),
                min_interval: milliseconds(300),
                ..report(Mode::All)
            }),
            "report.resend_interval",
        ),
        (of(Report { mode: 9, ..Default::default() }), "report.mode"),
        (SubscribeRequest { max_batch_delay: negative, ..Default::default() }, "max_batch_delay"),
    ];
    for (request, field) in cases {
        let result = Subscription::try_to(&server, request).await.map(|subscription| subscription.next);
        refused(result).is(Code::InvalidArgument, "INVALID_REQUEST").names(&[field]);
    }
}

#[tokio::test]
async fn a_report_that_would_have_to_remember_too_much_ends_with_where_to_resume() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), ["--set", "report_signals_max=3"]);
    let mut subscription = Subscription::to(&server, reported(1, report(Mode::OnChange))).await;
    subscription.caught_up().await;
    server.append(vec![event("a", 1.0), event("b", 1.0), event("c", 1.0)]).await;
    assert_eq!(offsets(&subscription.events(3).await), [1, 2, 3]);
    server.append(vec![event("d", 1.0)]).await;
    let status = loop {
        match subscription.try_frame().await {
            Ok(Some(Frame::Heartbeat(_))) => {}
            Ok(other) => panic!("unexpected {other:?}"),
            Err(status) => break status,
        }
    };
    let refusal = Refusal::read(&status).is(Code::ResourceExhausted, "QUOTA");
    assert_eq!(refusal.metadata["next_offset"], subscription.next.to_string());
    let initial = Report { initial_values: true, ..Report::default() };
    let mut subscription = Subscription::to(&server, reported(5, initial)).await;
    Refusal::read(&subscription.try_frame().await.unwrap_err()).is(Code::ResourceExhausted, "QUOTA");
}

#[tokio::test]
async fn whoever_is_cut_off_and_resumes_ends_with_the_same_values() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut random = Random::seeded(20_181_012);
    let rules = [
        report(Mode::OnChange),
        Report { deadband: 2.0, min_interval: milliseconds(20), ..report(Mode::OnChange) },
        Report { min_interval: milliseconds(30), ..report(Mode::All) },
        Report { min_interval: milliseconds(25), ..report(Mode::Sample) },
    ];
    for rule in rules {
        let first = server.info().await.head_offset;
        let (mut next, mut sent) = (first, HashMap::new());
        for _ in 0..25 {
            let mut subscription = Subscription::to(&server, reported(next, rule)).await;
            let batch = (0..1 + random.below(20))
                .map(|_| event(&format!("s/{}", random.below(4)), random.below(6) as f64));
            server.append(batch.collect()).await;
            for _ in 0..random.below(4) {
                if let Frame::Events(batch) = subscription.frame().await {
                    sent.extend(batch.events.into_iter().map(|event| (event.signal.clone(), event)));
                }
                assert!(subscription.next >= next);
                next = subscription.next;
            }
        }
        let head = server.info().await.head_offset;
        let mut subscription = Subscription::to(&server, reported(next, rule)).await;
        while subscription.next < head {
            if let Frame::Events(batch) = subscription.frame().await {
                sent.extend(batch.events.into_iter().map(|event| (event.signal.clone(), event)));
            }
        }
        let mut newest = HashMap::new();
        for event in server.read_all().await.into_iter().filter(|event| event.offset >= first) {
            newest.insert(event.signal.clone(), event);
        }
        for (signal, event) in newest {
            let number = |event: &Event| match event.value.as_ref().and_then(|value| value.kind.as_ref()) {
                Some(downlink_proto::v1::value::Kind::DoubleValue(number)) => *number,
                other => panic!("no number: {other:?}"),
            };
            let distance = (number(&event) - number(&sent[&signal])).abs();
            let is_known = distance == 0.0 || distance < rule.deadband;
            assert!(is_known, "{rule:?}: {:?} instead of {event:?}", sent[&signal]);
        }
    }
}
