//! Readers that stop reading: what becomes of them by `on_slow`, and that nobody else notices; and many readers.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use downlink_proto::v1::subscribe_response::Frame;
use downlink_proto::v1::{AppendRequest, Event, OnSlow, SubscribeRequest, Value, value::Kind};
use tokio::task::JoinSet;
use tonic::Code;

use crate::append::numbered;
use crate::harness::{Server, slow, soon};
use crate::read::{at, signals};
use crate::refusal::Refusal;
use crate::subscribe::Subscription;

const ROUNDS: u64 = 400;
const SIGNALS: u64 = 5;

/// More than any window holds: kilobytes on a few signals, round after round.
async fn flood(server: &Server) -> u64 {
    let text = |round| Value { kind: Some(Kind::StringValue(format!("{round:>4000}"))) };
    for round in 0..ROUNDS {
        let event =
            |signal| Event { signal: format!("s/{signal}"), value: Some(text(round)), ..Event::default() };
        server.append((0..SIGNALS).map(event).collect()).await;
    }
    server.info().await.head_offset
}

async fn stalled(server: &Server, on_slow: OnSlow) -> Subscription {
    let request = SubscribeRequest { on_slow: on_slow.into(), ..Default::default() };
    let mut subscription = Subscription::to(server, request).await;
    subscription.caught_up().await;
    subscription
}

#[tokio::test]
async fn a_conflating_reader_gets_the_newest_of_each_signal_and_an_exact_count_of_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), ["--set", "fell_behind_events=100"]);
    let mut subscription = stalled(&server, OnSlow::Conflate).await;
    let head = flood(&server).await;
    let (mut delivered, mut conflated, mut newest, mut last) = (0, 0, HashMap::new(), 0);
    while subscription.next < head {
        match subscription.frame().await {
            Frame::Events(batch) => {
                conflated += batch.conflated_events;
                for event in batch.events {
                    assert!(event.offset > last, "nothing comes twice");
                    (delivered, last) = (delivered + 1, event.offset);
                    newest.insert(event.signal, event.offset);
                }
                assert_eq!(delivered + conflated, subscription.next - 1, "every offset is accounted for");
            }
            Frame::Heartbeat(_) => {}
            other @ (Frame::Started(_)
            | Frame::CaughtUp(_)
            | Frame::FellBehind(_)
            | Frame::Gap(_)
            | Frame::Draining(_)) => panic!("it stays live: {other:?}"),
        }
    }
    assert!(conflated > 100 && delivered + conflated == ROUNDS * SIGNALS, "{delivered} and {conflated}");
    let expected = (0..SIGNALS).map(|signal| (format!("s/{signal}"), head - SIGNALS + signal));
    assert_eq!(newest, expected.collect());
    // And on it goes, event by event.
    server.append(numbered("s/0", 3)).await;
    assert_eq!(subscription.events(3).await.len(), 3);
}

#[tokio::test]
async fn what_is_conflated_is_the_newest_that_the_filter_wants() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), ["--set", "fell_behind_events=100"]);
    let mut filter = signals(&["s/*"]).unwrap();
    filter.sources = vec!["wanted".to_owned()];
    let on_slow = OnSlow::Conflate.into();
    let mut subscription =
        Subscription::to(&server, SubscribeRequest { on_slow, filter: Some(filter), ..Default::default() })
            .await;
    subscription.caught_up().await;
    let value = |text: &str| Some(Value { kind: Some(Kind::StringValue(format!("{text:>20000}"))) });
    let event = |signal: &str, source: &str| Event {
        signal: signal.to_owned(),
        source: source.to_owned(),
        value: value(signal),
        ..Event::default()
    };
    let mut last_wanted = 0;
    for round in 0..300 {
        let mut events = vec![event("s/a", "other"), event("other", "wanted")];
        if round < 250 {
            events.push(event("s/a", "wanted"));
        }
        let appended = server.append(events).await;
        if round < 250 {
            last_wanted = appended.last_offset;
        }
    }
    let head = server.info().await.head_offset;
    let mut last = 0;
    while subscription.next < head {
        if let Frame::Events(batch) = subscription.frame().await {
            for event in batch.events {
                assert_eq!((event.signal.as_str(), event.source.as_str()), ("s/a", "wanted"));
                last = event.offset;
            }
        }
    }
    assert_eq!(last, last_wanted);
}

#[tokio::test]
async fn a_reader_that_is_to_be_let_go_learns_where_to_resume() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), ["--set", "fell_behind_events=100"]);
    let mut subscription = stalled(&server, OnSlow::Disconnect).await;
    let head = flood(&server).await;
    let mut offsets = Vec::new();
    let status = loop {
        match subscription.try_frame().await {
            Ok(Some(Frame::Events(batch))) => offsets.extend(batch.events.iter().map(|event| event.offset)),
            Ok(other) => panic!("unexpected {other:?}"),
            Err(status) => break status,
        }
    };
    let refusal = Refusal::read(&status).is(Code::ResourceExhausted, "SLOW_CONSUMER");
    assert_eq!(refusal.metadata["next_offset"], subscription.next.to_string());
    assert!(refusal.metadata["events_behind"].parse::<u64>().unwrap() > 100);
    assert!(offsets.iter().copied().eq(1..subscription.next) && subscription.next < head);
    let rest = SubscribeRequest { start: at(subscription.next), ..Default::default() };
    let (rest, _) = Subscription::to(&server, rest).await.caught_up().await;
    assert!(rest.into_iter().eq(subscription.next..head));
}

#[tokio::test]
async fn a_hundred_readers_of_every_kind_slow_nobody_and_lose_nothing() {
    const EVENTS: u64 = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    // Some read nothing at all until the end.
    let mut lazy = Vec::new();
    for _ in 0..5 {
        lazy.push(stalled(&server, OnSlow::CatchUp).await);
    }
    let mut readers = JoinSet::new();
    for _ in 0..100 {
        let mut subscription =
            Subscription::to(&server, SubscribeRequest { start: at(1), ..Default::default() }).await;
        readers.spawn(async move {
            let mut next = 1;
            while next <= EVENTS {
                for event in subscription.events(1).await {
                    assert_eq!(event.offset, next, "nothing is lost, nothing comes twice");
                    next += 1;
                }
            }
        });
    }
    let mut ingest = server.ingest().await;
    for _ in 0..EVENTS / 100 {
        let events = numbered("flood", 100);
        let request = downlink_proto::v1::AppendRequest { events, ..Default::default() };
        soon("an append", ingest.append(request)).await.unwrap();
    }
    soon("a hundred readers", readers.join_all()).await;
    for subscription in &mut lazy {
        let events = subscription.events(EVENTS as usize).await;
        assert!(events.iter().map(|event| event.offset).eq(1..=EVENTS));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_pauses_under_full_ingest_slows_nobody_and_loses_nothing() {
    let pause = Duration::from_secs(if slow() { 60 } else { 3 });
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), ["--set", "fell_behind_events=1000"]);
    let mut pausing = stalled(&server, OnSlow::CatchUp).await;
    let mut lively = stalled(&server, OnSlow::CatchUp).await;
    let (mut ingest, started, mut appended) = (server.ingest().await, Instant::now(), 0);
    let mut text = numbered("flood", 200);
    for event in &mut text {
        event.value = Some(Value { kind: Some(Kind::StringValue("x".repeat(500))) });
    }
    while started.elapsed() < pause {
        let request = AppendRequest { events: text.clone(), ..AppendRequest::default() };
        appended = soon("an append", ingest.append(request)).await.unwrap().into_inner().last_offset;
        // Who reads gets what comes, as it comes, whatever the other one does.
        while lively.next <= appended {
            lively.frame().await;
        }
    }
    let (mut next, mut others) = (1, Vec::new());
    while next <= appended {
        match pausing.frame().await {
            Frame::Events(batch) => {
                for event in batch.events {
                    assert_eq!(event.offset, next, "nothing is lost, nothing comes twice");
                    next += 1;
                }
            }
            Frame::FellBehind(_) => others.push("fell behind"),
            Frame::CaughtUp(_) => others.push("caught up"),
            Frame::Heartbeat(_) => {}
            other @ (Frame::Started(_) | Frame::Gap(_) | Frame::Draining(_)) => panic!("{other:?}"),
        }
    }
    assert_eq!(others.first(), Some(&"fell behind"), "of {appended} events none waited");
    pausing.caught_up().await;
}
