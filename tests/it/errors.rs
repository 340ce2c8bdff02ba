//! Bad events: each is refused by name and index, nothing of it is kept, and the books balance.

use downlink_proto::v1::value::Kind;
use downlink_proto::v1::{AppendRequest, ErrorReason, Event, Value};
use prost_types::Timestamp;
use tonic::Code;

use crate::append::numbered;
use crate::harness::{Server, event};
use crate::producer::{Producer, named};
use crate::refusal::{Books, Refusal, refused};

/// An event on `signal`.
fn on(signal: &str) -> Event {
    event(signal, 1.0)
}

fn at(seconds: i64, nanos: i32) -> Event {
    Event { event_time: Some(Timestamp { seconds, nanos }), ..on("a") }
}

fn of(kind: Kind) -> Event {
    Event { value: Some(Value { kind: Some(kind) }), ..on("a") }
}

fn attributes(entries: usize, bytes_each: usize) -> Event {
    let attributes = (0..entries).map(|key| (format!("{key:0bytes_each$}"), String::new())).collect();
    Event { attributes, ..on("a") }
}

/// Every bad event, and the field that is wrong with it.
fn bad_events() -> Vec<(&'static str, Event)> {
    let year_1 = -62_135_596_800;
    let year_10000 = 253_402_300_800;
    vec![
        ("signal", on("")),
        ("signal", on(&"x".repeat(256))),
        ("signal", on(&"é".repeat(128))),
        ("signal", on("a\nb")),
        ("signal", on("a\0")),
        ("signal", on("\u{7f}")),
        ("signal", on("a\u{85}")),
        ("signal", on("_")),
        ("signal", on("_signal/a")),
        ("value", Event { value: None, ..on("a") }),
        ("value", Event { value: Some(Value { kind: None }), ..on("a") }),
        ("value.string_value", of(Kind::StringValue("x".repeat((1 << 20) + 1)))),
        ("value.bytes_value", of(Kind::BytesValue(vec![0; (1 << 20) + 1]))),
        ("event_time", at(year_1 - 1, 999_999_999)),
        ("event_time", at(year_10000, 0)),
        ("event_time", at(i64::MIN, 0)),
        ("event_time", at(i64::MAX, 0)),
        ("event_time", at(0, -1)),
        ("event_time", at(0, 1_000_000_000)),
        ("event_time", at(0, i32::MAX)),
        ("quality", Event { quality: 5, ..on("a") }),
        ("quality", Event { quality: -1, ..on("a") }),
        ("source", Event { source: "x".repeat(256), ..on("a") }),
        ("attributes", attributes(65, 2)),
        ("attributes", attributes(1, (16 << 10) + 1)),
        ("trace_context", Event { trace_context: vec![0; 65], ..on("a") }),
    ]
}

#[tokio::test]
async fn each_bad_event_is_refused_by_index_and_field_and_nothing_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.ingest().await;
    let mut books = Books::default();
    for (field, bad) in bad_events() {
        // The large ones are a batch of their own: two would be too large together.
        let alone = bad.value.as_ref() != on("").value.as_ref() && field.starts_with("value.");
        let (events, index) = if alone { (vec![bad], 0) } else { (vec![on("good"), bad, on("good")], 1) };
        books = books.plus(0, 0, events.len() as u64);
        let said = format!("{field} of {:?}", events[index].signal);
        let refusal = refused(client.append(AppendRequest { events, ..Default::default() }).await);
        let named = format!("events[{index}].{field}");
        assert_eq!(refusal.fields, [&*named], "{said}");
        assert!(refusal.message.contains(&named), "{said}: {}", refusal.message);
        assert_eq!(refusal.retry_after, None, "the same again would be refused again");
        refusal.is(Code::InvalidArgument, "INVALID_EVENT");
        assert_eq!(Books::of(&server).await, books, "{said}");
    }
    assert_eq!(server.info().await.head_offset, 1);
}

#[tokio::test]
async fn each_bad_event_is_left_out_with_allow_partial() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.ingest().await;
    let mut books = Books::default();
    for (field, bad) in bad_events().into_iter().filter(|(field, _)| !field.starts_with("value.")) {
        let events = vec![on("good"), bad, on("good")];
        let request = AppendRequest { events, allow_partial: true, ..Default::default() };
        let answer = client.append(request).await.unwrap().into_inner();
        let [rejection] = &answer.rejections[..] else { panic!("{field}: {answer:?}") };
        let problem = rejection.problem.as_ref().unwrap();
        assert_eq!((rejection.index, &*problem.field), (1, &*format!("events[1].{field}")));
        assert_eq!((problem.code, problem.reason()), (3, ErrorReason::InvalidEvent));
        assert_eq!(answer.last_offset, answer.first_offset + 1);
        books = books.plus(2, 0, 1);
        assert_eq!(Books::of(&server).await, books, "{field}");
    }
}

#[tokio::test]
async fn each_bad_event_is_rejected_on_a_stream_which_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (mut producer, _) = Producer::open(&server, named("p", 1)).await;
    let mut books = Books::default();
    for (sequence, (field, bad)) in (1..).step_by(2).zip(bad_events()) {
        producer.send(sequence, vec![bad]);
        producer.send(sequence + 1, vec![on("good")]);
        let reject = producer.reject().await;
        let problem = reject.problem.unwrap();
        assert_eq!((reject.sequence, reject.fatal), (sequence, false), "{field}");
        assert_eq!((problem.code, problem.reason()), (3, ErrorReason::InvalidEvent), "{field}");
        assert_eq!(problem.field, format!("events[0].{field}"));
        producer.acks_through(sequence + 1).await;
        books = books.plus(1, 0, 1);
        assert_eq!(Books::of(&server).await, books, "{field}");
    }
}

#[tokio::test]
async fn at_a_limit_and_one_under_it_is_still_good() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.ingest().await;
    let year_10000 = 253_402_300_800;
    let mut good = vec![at(-62_135_596_800, 0), at(year_10000 - 1, 999_999_999), on("a_"), on("a\u{a0}")];
    for less in [0, 1] {
        good.extend([
            on(&"x".repeat(255 - less)),
            of(Kind::StringValue("x".repeat((1 << 20) - less))),
            of(Kind::BytesValue(vec![0; (1 << 20) - less])),
            Event { source: "x".repeat(255 - less), ..on("a") },
            Event { trace_context: vec![0; 64 - less], ..on("a") },
            attributes(64 - less, 2),
            attributes(1, (16 << 10) - less),
            attributes(64 - less, 256),
        ]);
    }
    for event in good {
        let request = AppendRequest { events: vec![event], ..Default::default() };
        client.append(request).await.unwrap();
    }
    assert_eq!(Books::of(&server).await, Books::default().plus(20, 0, 0));
}

#[tokio::test]
async fn many_bad_events_are_named_up_to_a_bound_that_fits_into_a_header() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let events = vec![Event::default(); 1_000];
    let refusal = refused(server.ingest().await.append(AppendRequest { events, ..Default::default() }).await)
        .is(Code::InvalidArgument, "INVALID_EVENT");
    assert!((1..1_000).contains(&refusal.fields.len()), "{}", refusal.fields.len());
    assert!(refusal.message.contains("999 more"), "{}", refusal.message);
    assert_eq!(Books::of(&server).await, Books::default().plus(0, 0, 1_000));
}

fn now_plus(seconds: i64) -> Event {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    at(i64::try_from(now).unwrap() + seconds, 0)
}

#[tokio::test]
async fn a_time_outside_the_configured_window_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["event_time_past_seconds_max=3600", "event_time_future_seconds_max=60"];
    let server = Server::start_with(dir.path(), settings.iter().flat_map(|setting| ["--set", setting]));
    let mut client = server.ingest().await;
    // Far enough from the edges for a slow machine.
    for good in [on("unset"), now_plus(0), now_plus(-3_000), now_plus(30)] {
        client.append(AppendRequest { events: vec![good], ..Default::default() }).await.unwrap();
    }
    for (bad, direction) in [(now_plus(-4_000), "past"), (now_plus(120), "future"), (at(0, 0), "past")] {
        let request = AppendRequest { events: vec![on("a"), bad], ..Default::default() };
        let refusal = refused(client.append(request).await).is(Code::InvalidArgument, "INVALID_EVENT");
        assert!(refusal.message.contains(direction), "{}", refusal.message);
        refusal.names(&["events[1].event_time"]);
    }
    assert_eq!(Books::of(&server).await, Books::default().plus(4, 0, 6));
}

#[tokio::test]
async fn a_request_id_that_is_no_uuid_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for request_id in ["x", "0af76519-16cd-43dd-8448-eb211c80319", "0af7651916cd43dd8448eb211c80319cc", " "] {
        let request = AppendRequest {
            events: numbered("a", 2),
            request_id: request_id.to_owned(),
            ..Default::default()
        };
        refused(server.ingest().await.append(request).await)
            .is(Code::InvalidArgument, "INVALID_REQUEST")
            .names(&["request_id"]);
    }
    assert_eq!(Books::of(&server).await, Books::default().plus(0, 0, 8));
}

#[tokio::test]
async fn an_append_of_nothing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let result = server.ingest().await.append(AppendRequest::default()).await;
    refused(result).is(Code::InvalidArgument, "INVALID_REQUEST").names(&["events"]);
}

#[tokio::test]
async fn a_bound_that_is_reached_is_resource_exhausted_and_says_when_to_retry() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["signals_max=3", "producers_max=1", "append_streams_max=2", "read_streams_max=1"];
    let server = Server::start_with(dir.path(), settings.iter().flat_map(|setting| ["--set", setting]));
    let full = |refusal: Refusal| {
        let refusal = refusal.is(Code::ResourceExhausted, "QUOTA");
        assert!(refusal.retry_after.is_some(), "{refusal:?}");
    };
    let append = async |names: &[&str]| {
        let events = names.iter().map(|name| on(name)).collect();
        server.ingest().await.append(AppendRequest { events, ..Default::default() }).await
    };
    append(&["a", "b"]).await.unwrap();
    full(refused(append(&["c", "d"]).await));
    append(&["c", "a"]).await.unwrap();
    full(refused(append(&["d"]).await));
    assert_eq!(Books::of(&server).await, Books::default().plus(4, 0, 3));

    let (_one, _) = Producer::open(&server, named("p", 1)).await;
    full(Refusal::read(&Producer::try_open(&server, named("q", 1)).await.err().expect("full")));
    let (_two, _) = Producer::open(&server, named("p", 1)).await;
    full(Refusal::read(&Producer::try_open(&server, named("p", 1)).await.err().expect("full")));

    let _subscription = crate::subscribe::Subscription::to(&server, Default::default()).await;
    full(refused(server.query().await.read(downlink_proto::v1::ReadRequest::default()).await));
}
