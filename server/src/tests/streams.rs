//! Long-lived streams: order of acknowledgements, live tails, replays, the drain.

use downlink_proto::v1::append_stream_response::Message;
use downlink_proto::v1::subscribe_response::Frame;
use downlink_proto::v1::{
    Edge, Filter, Position, ReadRequest, SubscribeRequest, SubscribeResponse, position, read_response,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::*;

async fn next(stream: &mut Streaming<SubscribeResponse>) -> (u64, Frame) {
    let response = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
    (response.next_offset, response.frame.unwrap())
}

fn names(frame: Frame) -> Vec<String> {
    let Frame::Events(batch) = frame else { panic!("events, not {frame:?}") };
    batch.events.into_iter().map(|event| event.signal).collect()
}

#[tokio::test]
async fn batches_are_settled_in_order_with_the_refused_ones_between_them() {
    let server = Fixture::start(|config| config.batch_events_max = 3).await;
    let mut requests = vec![open("p", false)];
    for sequence in 1..=200 {
        let events = match sequence {
            50 => vec![event("a", 1), event("", 2)],
            60 => vec![event("a", 1); 4],
            70 => Vec::new(),
            _ => vec![event("a", 1)],
        };
        requests.push(batch(sequence, events));
    }
    let mut answers =
        server.ingest().await.append_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    assert!(matches!(answers.message().await.unwrap().unwrap().message, Some(Message::Opened(_))));
    let (mut through, mut rejected) = (0, Vec::new());
    while let Some(answer) = answers.message().await.unwrap() {
        match answer.message.unwrap() {
            Message::Ack(ack) => {
                assert!(ack.through_sequence > through && !ack.duplicate);
                through = ack.through_sequence;
            }
            Message::Reject(reject) => {
                assert!(
                    reject.sequence > through && !reject.fatal,
                    "a reject comes before the ack that covers it"
                );
                rejected.push(reject.sequence);
            }
            other @ (Message::Opened(_) | Message::Draining(_)) => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!((through, rejected), (200, vec![50, 60]));
    let totals = server.totals().await;
    assert_eq!((totals.appended_events, totals.rejected_events), (197, 6));
}

#[tokio::test]
async fn a_partial_batch_keeps_its_good_events_and_names_the_bad() {
    let server = Fixture::start(|_| {}).await;
    let events = vec![event("a", 1), event("", 2), event("b", 3)];
    let requests = tokio_stream::iter([open("", true), batch(1, events), batch(3, vec![event("a", 1)])]);
    let mut answers = server.ingest().await.append_stream(requests).await.unwrap().into_inner();
    let mut messages = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        messages.push(answer.message.unwrap());
    }
    let [Message::Opened(_), Message::Reject(partial), Message::Ack(ack), Message::Reject(gap)] =
        &messages[..]
    else {
        panic!("unexpected {messages:?}");
    };
    assert_eq!((partial.sequence, partial.fatal, partial.rejections[0].index), (1, false, 1));
    assert_eq!((ack.through_sequence, ack.last_offset), (1, 2));
    assert_eq!((gap.sequence, gap.fatal), (3, true));
    assert_eq!(server.totals().await.rejected_events, 2);
}

#[tokio::test]
async fn what_was_settled_before_is_a_duplicate_even_if_it_would_be_refused_now() {
    for allow_partial in [false, true] {
        let server = Fixture::start(|config| config.batch_events_max = 3).await;
        let again = |events| batch(1, events);
        let requests = [
            open("p", allow_partial),
            batch(1, vec![event("a", 1), event("b", 2)]),
            again(vec![event("a", 1), event("", 2)]),
            again(vec![event("", 1)]),
            again(vec![event("a", 1); 4]),
        ];
        let requests = tokio_stream::iter(requests);
        let mut answers = server.ingest().await.append_stream(requests).await.unwrap().into_inner();
        let (mut acks, mut rejects) = (Vec::new(), 0);
        while let Some(answer) = answers.message().await.unwrap() {
            match answer.message.unwrap() {
                Message::Opened(_) => {}
                Message::Ack(ack) => acks.push(ack),
                Message::Reject(reject) => rejects += u32::from(!reject.fatal),
                other @ Message::Draining(_) => panic!("unexpected {other:?}"),
            }
        }
        // Of the batch that is in the log whole there is nothing to refuse; the other two are other batches.
        assert_eq!(rejects, 2);
        assert!(!acks[0].duplicate && acks[1..].iter().all(|ack| ack.duplicate), "{acks:?}");
        assert!(acks.len() > 1 && acks.iter().all(|ack| (ack.through_sequence, ack.last_offset) == (1, 2)));
        assert_eq!(server.totals().await.appended_events, 2);
    }
}

#[tokio::test]
async fn a_refused_batch_is_refused_again_and_its_sequence_never_takes_other_events() {
    let server = Fixture::start(|_| {}).await;
    for (events, expected) in [
        (vec![event("", 1)], "reject ack"),
        (vec![event("", 1)], "reject ack"),
        (vec![event("a", 1)], "fatal"),
    ] {
        let requests = tokio_stream::iter([open("p", false), batch(1, events)]);
        let mut answers = server.ingest().await.append_stream(requests).await.unwrap().into_inner();
        let mut said = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            said.push(match answer.message.unwrap() {
                Message::Opened(_) => continue,
                Message::Ack(ack) => {
                    assert!(!ack.duplicate, "nothing of it is in the log");
                    "ack"
                }
                Message::Reject(reject) if reject.fatal => "fatal",
                Message::Reject(_) => "reject",
                Message::Draining(_) => "draining",
            });
        }
        assert_eq!(said.join(" "), expected);
    }
    assert_eq!(server.totals().await.appended_events, 0);
}

#[tokio::test]
async fn a_live_tail_sees_signals_that_did_not_exist_when_it_began() {
    let server = Fixture::start(|_| {}).await;
    let mut client = server.ingest().await;
    client.append(append(vec![event("a/old", 1), event("b", 2)])).await.unwrap();
    let filter = Some(Filter { signals: vec!["a/*".to_owned()], ..Filter::default() });
    let start = Some(Position { at: Some(position::At::Edge(Edge::Oldest.into())) });
    let request = SubscribeRequest { start, filter, ..SubscribeRequest::default() };
    let mut stream = server.query().await.subscribe(request).await.unwrap().into_inner();
    assert!(matches!(next(&mut stream).await, (1, Frame::Started(_))));
    let (offset, frame) = next(&mut stream).await;
    assert_eq!((offset, names(frame)), (3, vec!["a/old".to_owned()]));
    assert!(matches!(next(&mut stream).await, (3, Frame::CaughtUp(_))));
    client.append(append(vec![event("b", 1), event("a/new", 2)])).await.unwrap();
    let (offset, frame) = next(&mut stream).await;
    assert_eq!((offset, names(frame)), (5, vec!["a/new".to_owned()]));
}

#[tokio::test]
async fn a_quiet_subscription_gets_heartbeats_and_learns_where_to_resume() {
    let server = Fixture::start(|_| {}).await;
    let filter = Some(Filter { signals: vec!["nothing".to_owned()], ..Filter::default() });
    let heartbeat_interval = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
    let request = SubscribeRequest { filter, heartbeat_interval, ..SubscribeRequest::default() };
    let mut stream = server.query().await.subscribe(request).await.unwrap().into_inner();
    assert!(matches!(next(&mut stream).await.1, Frame::Started(_)));
    assert!(matches!(next(&mut stream).await.1, Frame::CaughtUp(_)));
    server.ingest().await.append(append(vec![event("a", 1)])).await.unwrap();
    loop {
        let (offset, frame) = next(&mut stream).await;
        let Frame::Heartbeat(heartbeat) = frame else { panic!("a heartbeat, not {frame:?}") };
        assert_eq!(heartbeat.suppressed_events, offset - 1);
        if offset == 2 {
            break;
        }
    }
}

#[tokio::test]
async fn a_replay_of_many_small_commits_comes_in_large_messages() {
    let server = Fixture::start(|_| {}).await;
    let mut client = server.ingest().await;
    for value in 0..500 {
        client.append(append(vec![event("a", value)])).await.unwrap();
    }
    let request = ReadRequest { max_events: 450, max_batch_events: 200, ..ReadRequest::default() };
    let mut frames = server.query().await.read(request).await.unwrap().into_inner();
    let (mut sizes, mut offsets) = (Vec::new(), Vec::new());
    while let Some(frame) = frames.message().await.unwrap() {
        match frame.frame.unwrap() {
            read_response::Frame::Events(batch) => {
                sizes.push(batch.events.len());
                offsets.extend(batch.events.iter().map(|event| event.offset));
            }
            read_response::Frame::End(end) => assert_eq!((end.next_offset, end.head_offset), (451, 501)),
            read_response::Frame::Gap(gap) => panic!("unexpected {gap:?}"),
        }
    }
    assert_eq!((sizes, offsets), (vec![200, 200, 50], (1..=450).collect()));
}

#[tokio::test]
async fn the_drain_tells_every_stream_and_takes_no_longer_than_it_may() {
    let mut server = Fixture::start(|config| config.drain_ms_max = 3_000).await;
    let mut tail = server.query().await.subscribe(SubscribeRequest::default()).await.unwrap().into_inner();
    assert!(matches!(next(&mut tail).await.1, Frame::Started(_)));
    assert!(matches!(next(&mut tail).await.1, Frame::CaughtUp(_)));
    // Somebody who watches health for ever must not hold the server.
    let mut health = HealthClient::new(server.channel().await);
    let watch = HealthCheckRequest { service: String::new() };
    let mut watched = health.watch(watch).await.unwrap().into_inner();
    watched.message().await.unwrap().unwrap();

    let (requests, stream) = mpsc::channel(8);
    requests.send(open("p", false)).await.unwrap();
    requests.send(batch(1, vec![event("a", 1)])).await.unwrap();
    let mut answers =
        server.ingest().await.append_stream(ReceiverStream::new(stream)).await.unwrap().into_inner();
    assert!(matches!(answers.message().await.unwrap().unwrap().message, Some(Message::Opened(_))));
    assert!(matches!(answers.message().await.unwrap().unwrap().message, Some(Message::Ack(_))));

    server.stop();
    assert!(matches!(answers.message().await.unwrap().unwrap().message, Some(Message::Draining(_))));
    requests.send(batch(2, vec![event("a", 2)])).await.unwrap();
    let Some(Message::Ack(ack)) = answers.message().await.unwrap().unwrap().message else { panic!("an ack") };
    assert_eq!(ack.through_sequence, 2);
    drop(requests);
    assert!(answers.message().await.unwrap().is_none());

    let (offset, frame) = next(&mut tail).await;
    let (offset, frame) =
        if matches!(frame, Frame::Events(_)) { next(&mut tail).await } else { (offset, frame) };
    let (offset, frame) =
        if matches!(frame, Frame::Events(_)) { next(&mut tail).await } else { (offset, frame) };
    assert!(matches!(frame, Frame::Draining(_)), "{frame:?}");
    assert!((2..=3).contains(&offset));
    server.stopped().await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_cannot_hold_the_drain() {
    let mut server = Fixture::start(|config| config.drain_ms_max = 500).await;
    let mut client = server.ingest().await;
    for _ in 0..20 {
        let value = Some(Value { kind: Some(Kind::BytesValue(vec![7; 1 << 20])) });
        client
            .append(append(vec![Event { signal: "a".to_owned(), value, ..Event::default() }]))
            .await
            .unwrap();
    }
    let frames = server.query().await.read(ReadRequest::default()).await.unwrap();
    server.stop();
    server.stopped().await;
    drop(frames);
}
