//! The server as a whole: health, reflection, and how it stops.

use std::time::Duration;

use downlink_proto::v1::append_stream_request::Open;
use downlink_proto::v1::append_stream_response::Message;
use downlink_proto::v1::read_response;
use downlink_proto::v1::subscribe_response::Frame;
use downlink_proto::v1::{ReadRequest, SubscribeRequest};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::{v1, v1alpha};

use crate::append::numbered;
use crate::harness::{Server, soon};
use crate::producer::{Producer, named};
use crate::read::at;
use crate::refusal::Refusal;
use crate::subscribe::Subscription;

/// How long a stop may take, with a little for the process itself.
const STOP: Duration = Duration::from_millis(5_500);
/// Batches of 1,000 events that no client takes in without reading.
const BATCHES: u64 = 120;

const SERVICES: [&str; 5] = [
    "downlink.v1.AdminService",
    "downlink.v1.ConsumerService",
    "downlink.v1.IngestService",
    "downlink.v1.LogService",
    "downlink.v1.QueryService",
];

fn service(name: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: name.to_owned() }
}

#[tokio::test]
async fn every_service_and_the_server_as_a_whole_are_healthy() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut health = HealthClient::new(server.channel().await);
    for name in SERVICES.into_iter().chain([""]) {
        let status = health.check(service(name)).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{name:?}");
    }
    let status = health.check(service("downlink.v1.Nonsense")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn who_watches_the_health_is_told_of_the_stop() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut health = HealthClient::new(server.channel().await);
    let mut watches = Vec::new();
    for name in ["", "downlink.v1.IngestService"] {
        let mut watch = health.watch(service(name)).await.unwrap().into_inner();
        let first = soon("a status", watch.message()).await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::Serving);
        watches.push(watch);
    }
    let stopping = tokio::task::spawn_blocking(move || server.terminate());
    for watch in &mut watches {
        let next = soon("a status", watch.message()).await.unwrap();
        assert_eq!(next.as_ref().map(HealthCheckResponse::status), Some(ServingStatus::NotServing));
    }
    let (status, took) = stopping.await.unwrap();
    assert!(status.success() && took < STOP, "{status} after {took:?}");
}

#[tokio::test]
async fn reflection_v1_lists_every_service_and_knows_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let mut ask = async |question| {
        let request = v1::ServerReflectionRequest { host: String::new(), message_request: Some(question) };
        let mut answers =
            client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
        soon("reflection", answers.message()).await.unwrap().unwrap().message_response.unwrap()
    };
    use v1::server_reflection_request::MessageRequest::{FileContainingSymbol, ListServices};
    use v1::server_reflection_response::MessageResponse;
    let MessageResponse::ListServicesResponse(list) = ask(ListServices(String::new())).await else {
        panic!("no list");
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in SERVICES.into_iter().chain(["grpc.health.v1.Health"]) {
        assert!(names.iter().any(|found| found == name), "{name} is not in {names:?}");
        let answer = ask(FileContainingSymbol(name.to_owned())).await;
        let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("{name}: {answer:?}") };
        assert!(!files.file_descriptor_proto.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn reflection_v1alpha_lists_every_service_too() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let question = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut answers =
        client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = soon("reflection", answers.message()).await.unwrap().unwrap().message_response.unwrap();
    let v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}");
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in SERVICES {
        assert!(names.iter().any(|found| found == name), "{name} is not in {names:?}");
    }
}

/// Sends batches until it is told to stop; gives back the last acknowledged sequence.
async fn produce_until_draining(server: &Server) -> u64 {
    let (mut producer, _) = Producer::open(server, named("busy", 1)).await;
    let (mut sent, mut acknowledged, mut told) = (0, 0, false);
    loop {
        while !told && sent < acknowledged + 32 {
            sent += 1;
            producer.send(sent, numbered("busy", 10));
        }
        match producer.try_answer().await.unwrap() {
            Some(Message::Ack(ack)) => acknowledged = ack.through_sequence,
            Some(Message::Draining(draining)) => {
                assert!(draining.retry_after.is_some());
                told = true;
                producer.close();
            }
            None => break,
            Some(other @ (Message::Opened(_) | Message::Reject(_))) => panic!("{other:?}"),
        }
    }
    assert!(told, "Draining comes before the end");
    assert_eq!(acknowledged, sent, "what was sent by then is still acknowledged");
    acknowledged
}

/// Follows until the server drains; gives back how many events came.
async fn follow_until_draining(mut subscription: Subscription) -> u64 {
    let mut count = 0;
    loop {
        match subscription.frame().await {
            Frame::Events(batch) => count += batch.events.len() as u64,
            Frame::Draining(draining) => {
                assert!(draining.retry_after.is_some());
                assert_eq!(subscription.next, count + 1, "where to resume");
                assert!(matches!(subscription.try_frame().await, Ok(None)), "Draining is the last frame");
                return count;
            }
            Frame::Started(_) | Frame::CaughtUp(_) | Frame::FellBehind(_) | Frame::Heartbeat(_) => {}
            gap @ Frame::Gap(_) => panic!("{gap:?}"),
        }
    }
}

#[tokio::test]
async fn sigterm_drains_open_streams_and_keeps_everything_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let subscription =
        Subscription::to(&server, SubscribeRequest { start: at(1), ..Default::default() }).await;
    let mut witness = Subscription::to(&server, SubscribeRequest::default()).await;
    let stop = async {
        witness.events(1_000).await;
        server.signal("TERM");
        std::time::Instant::now()
    };
    let streams =
        async { tokio::join!(produce_until_draining(&server), follow_until_draining(subscription), stop) };
    let (acknowledged, followed, signalled) = soon("the drain", streams).await;
    let status = tokio::task::spawn_blocking(move || server.wait()).await.unwrap();
    assert!(status.success(), "{status}");
    assert!(signalled.elapsed() < STOP, "{:?}", signalled.elapsed());

    let server = Server::start(dir.path());
    let kept = server.info().await.head_offset - 1;
    assert_eq!(kept, acknowledged * 10, "exactly what was acknowledged");
    assert!(followed <= kept && followed >= 1_000, "{followed} of {kept}");
    let (_, opened) = Producer::open(&server, named("busy", 1)).await;
    assert_eq!(opened.last_durable_sequence, acknowledged);
}

#[tokio::test]
async fn sigterm_does_not_wait_longer_than_5_s_for_clients_that_take_no_notice() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    // Far more than fits into a client's window of 2 MiB.
    for _ in 0..BATCHES {
        server.append(numbered("a", 1_000)).await;
    }
    // Open and never closed; a replay that nobody reads; a subscription that nobody reads.
    let (_stubborn, _) = Producer::open(&server, Open::default()).await;
    let request = ReadRequest { max_batch_events: 10, ..Default::default() };
    let mut unread = server.query().await.read(request).await.unwrap().into_inner();
    let _unread = Subscription::to(&server, SubscribeRequest { start: at(1), ..Default::default() }).await;
    let (status, took) = tokio::task::spawn_blocking(move || server.terminate()).await.unwrap();
    assert!(status.success() && took < STOP, "{status} after {took:?}");

    let last = loop {
        match soon("the end", unread.message()).await {
            Ok(Some(response)) => {
                let frame = response.frame.unwrap();
                assert!(matches!(frame, read_response::Frame::Events(_)), "no End of what is not at its end");
            }
            other => break other,
        }
    };
    assert!(last.is_err(), "a replay that was broken off is no good end");
    assert_eq!(Server::start(dir.path()).info().await.head_offset, 1 + 1_000 * BATCHES);
}

#[tokio::test]
async fn a_replay_in_the_middle_of_a_drain_says_where_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for _ in 0..BATCHES {
        server.append(numbered("a", 1_000)).await;
    }
    let request = ReadRequest { max_batch_events: 10, ..Default::default() };
    let mut stream = server.query().await.read(request).await.unwrap().into_inner();
    let stopping = tokio::task::spawn_blocking(move || server.terminate());
    let mut next = 1;
    let status = loop {
        match soon("a frame", stream.message()).await {
            Ok(Some(response)) => match response.frame.unwrap() {
                read_response::Frame::Events(batch) => {
                    assert_eq!(batch.events[0].offset, next);
                    next += batch.events.len() as u64;
                    // The reader is slow: the window is full when the signal comes.
                    tokio::task::yield_now().await;
                }
                // The whole log was out before the signal.
                read_response::Frame::End(_) => break None,
                read_response::Frame::Gap(gap) => panic!("{gap:?}"),
            },
            Ok(None) => panic!("a replay ends with End or with an error"),
            Err(status) => break Some(status),
        }
    };
    if let Some(status) = status {
        let refusal = Refusal::read(&status).is(Code::Unavailable, "DRAINING");
        assert_eq!(refusal.metadata["next_offset"], next.to_string());
        assert!(refusal.retry_after.is_some());
    }
    assert!(stopping.await.unwrap().0.success());
}

#[test]
fn an_idle_server_stops_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (status, took) = Server::start(dir.path()).terminate();
    assert!(status.success() && took < Duration::from_secs(2), "{status} after {took:?}");
}
