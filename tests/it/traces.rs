//! Traces: calls as spans in a real Jaeger, in the trace of whoever called.

mod clients;

use downlink_proto::v1::admin_service_client::AdminServiceClient;
use downlink_proto::v1::append_stream_request::Open;
use downlink_proto::v1::{AppendRequest, ReadRequest, RollSegmentRequest, SubscribeRequest};
use tonic::{Code, Request};

use crate::harness::{Server, event};
use crate::http::wait_for;
use crate::jaeger::{Jaeger, Span};
use crate::kafka::Broker;
use crate::mirror::{caught_up, mirrored};
use crate::producer::Producer;
use crate::subscribe::Subscription;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// From within a trace that is kept.
fn sampled<T>(message: T) -> Request<T> {
    called(message, ("traceparent", format!("00-{TRACE}-{CALLER}-01")))
}

/// Whether a span is linked to that one of [`TRACE`].
fn is_linked(span: &Span, to: &str) -> bool {
    span.references.contains(&("FOLLOWS_FROM".to_owned(), TRACE.to_owned(), to.to_owned()))
}

/// A server that tells `jaeger` of so many traces of a hundred.
fn traced(dir: &std::path::Path, jaeger: &Jaeger, percent: u8) -> Server {
    let settings =
        [format!("trace_endpoint={}", jaeger.endpoint()), format!("trace_sample_percent={percent}")];
    Server::start_with(dir, settings.iter().flat_map(|setting| ["--set", setting]))
}

/// A call from within a trace, by a header.
fn called<T>(message: T, (header, value): (&'static str, String)) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(header, value.parse().unwrap());
    request
}

fn append() -> AppendRequest {
    AppendRequest { events: vec![event("a", 1.0)], ..AppendRequest::default() }
}

fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let span = found.next().unwrap_or_else(|| panic!("no {name} in {spans:#?}"));
    assert!(found.next().is_none(), "several {name} in {spans:#?}");
    span
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_a_span_in_the_trace_of_its_caller() {
    let (dir, jaeger) = (tempfile::tempdir().unwrap(), Jaeger::start());
    // What the caller decides counts, not the share.
    let server = traced(dir.path(), &jaeger, 0);
    let cases = [
        ("traceparent", "00-TRACE-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("uber-trace-id", "TRACE:00f067aa0ba902b7:0:1", "4bf92f3577b34da6a3ce929d0e0e4737"),
    ];
    for (header, form, trace) in cases {
        let request = called(append(), (header, form.replace("TRACE", trace)));
        let answer = server.ingest().await.append(request).await.unwrap();
        // The caller is told in either way.
        let told = |name: &str| answer.metadata().get(name).unwrap().to_str().unwrap().to_owned();
        let spans = jaeger.trace(trace, |spans| !spans.is_empty());
        let span = only(&spans, "downlink.v1.IngestService/Append");
        assert_eq!(told("traceparent"), format!("00-{trace}-{}-01", span.id));
        assert_eq!(told("uber-trace-id"), format!("{trace}:{}:0:1", span.id));
        let caller = ("CHILD_OF".to_owned(), trace.to_owned(), "00f067aa0ba902b7".to_owned());
        assert_eq!(span.references, [caller]);
        for (tag, value) in [
            ("span.kind", "server"),
            ("rpc.system", "grpc"),
            ("rpc.service", "downlink.v1.IngestService"),
            ("rpc.method", "Append"),
        ] {
            assert_eq!(span.tags[tag], value);
        }
        assert_eq!(span.tags["rpc.grpc.status_code"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_a_span_for_its_opening_and_others_for_what_it_sends() {
    let (dir, jaeger) = (tempfile::tempdir().unwrap(), Jaeger::start());
    let server = traced(dir.path(), &jaeger, 0);
    server.append((0..1_000).map(|number| event("a", f64::from(number))).collect()).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let header = ("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    let mut stream =
        server.query().await.read(called(ReadRequest::default(), header)).await.unwrap().into_inner();
    while stream.message().await.unwrap().is_some() {}
    let spans = jaeger.trace(trace, |spans| spans.len() == 2);
    let opening = only(&spans, "downlink.v1.QueryService/Read");
    let delivery = only(&spans, "downlink.v1.QueryService/Read deliver");
    let to_opening = ("FOLLOWS_FROM".to_owned(), trace.to_owned(), opening.id.clone());
    assert_eq!(delivery.references, [to_opening]);
    assert!(delivery.tags["downlink.sent_bytes"].as_u64().unwrap() > 10_000, "{delivery:?}");
    for (tag, value) in [("events", 1_000), ("lag_events", 0), ("next_offset", 1_001)] {
        assert_eq!(delivery.tags[&format!("downlink.{tag}")], value);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_follows_an_event_from_its_append_through_the_commit_to_its_subscriber() {
    let (dir, jaeger) = (tempfile::tempdir().unwrap(), Jaeger::start());
    let server = traced(dir.path(), &jaeger, 0);
    let mut live = Subscription::to(&server, SubscribeRequest::default()).await;
    live.frame().await;
    server.append(vec![event("a", 1.0)]).await;
    server.ingest().await.append(sampled(append())).await.unwrap();
    live.events(2).await;
    drop(live);

    let spans = jaeger.trace(TRACE, |spans| !spans.is_empty());
    let append = only(&spans, "downlink.v1.IngestService/Append");
    for (tag, value) in [("events", 1), ("first_offset", 2)] {
        assert_eq!(append.tags[&format!("downlink.{tag}")], value, "{append:?}");
    }
    let commit = jaeger.found("commit", |commit| is_linked(commit, &append.id));
    let parts = commit.iter().map(|span| span.name.as_str()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(parts, ["commit", "encode", "publish", "store", "sync"].into());
    let whole = only(&commit, "commit");
    for (tag, value) in [("appends", 1), ("events", 1), ("first_offset", 2)] {
        assert_eq!(whole.tags[&format!("downlink.{tag}")], value, "{whole:?}");
    }
    for part in ["encode", "store", "sync", "publish"] {
        let part = only(&commit, part);
        assert_eq!(part.references.len(), 1, "{part:?}");
        assert_eq!((part.references[0].0.as_str(), &part.references[0].2), ("CHILD_OF", &whole.id));
        assert!(part.lasted_us <= whole.lasted_us);
    }
    // Although the subscription has no trace itself.
    let name = "downlink.v1.QueryService/Subscribe deliver";
    let delivery = jaeger.found(name, |delivery| is_linked(delivery, CALLER));
    let delivery = only(&delivery, name);
    assert_eq!(delivery.references.len(), 1, "the other append is not kept: {delivery:?}");
    for (tag, value) in [("events", 2), ("lag_events", 0), ("next_offset", 3)] {
        assert_eq!(delivery.tags[&format!("downlink.{tag}")], value, "{delivery:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_begins_here_is_followed_as_well() {
    let (dir, jaeger) = (tempfile::tempdir().unwrap(), Jaeger::start());
    let server = traced(dir.path(), &jaeger, 100);
    let (mut producer, _) = Producer::open(&server, Open::default()).await;
    producer.send(1, vec![event("a", 1.0)]);
    producer.ack().await;
    let events = server.read_all().await;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let context = hex(&events[0].trace_context);
    let (trace, stream) = (&context[..32], &context[32..48]);
    let spans = jaeger.trace(trace, |spans| !spans.is_empty());
    assert_eq!(only(&spans, "downlink.v1.IngestService/AppendStream").id, stream);
    let to_stream = ("FOLLOWS_FROM".to_owned(), trace.to_owned(), stream.to_owned());
    jaeger.found("commit", |commit| commit.references.contains(&to_stream));
    drop(producer);

    let roll = RollSegmentRequest { wait_until_sealed: true };
    AdminServiceClient::new(server.channel().await).roll_segment(roll).await.unwrap();
    let sealed = jaeger.found("seal", |_| true);
    assert_eq!(only(&sealed, "seal").tags["downlink.events"], 1);
    let opened = jaeger.found("recover", |_| true);
    assert_eq!(only(&opened, "recover").tags["downlink.replayed_events"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_to_the_mirror_is_linked_to_its_appends() {
    let (dir, jaeger) = (tempfile::tempdir().unwrap(), Jaeger::start());
    let topic = Broker::shared().topic();
    let endpoint = format!("trace_endpoint={}", jaeger.endpoint());
    let server = mirrored(dir.path(), &topic, &[&endpoint, "trace_sample_percent=0"]);
    server.ingest().await.append(sampled(append())).await.unwrap();
    caught_up(&server).await;
    let name = format!("{} send", topic.name());
    let sent = jaeger.found(&name, |sent| is_linked(sent, CALLER));
    let sent = only(&sent, &name);
    assert_eq!(sent.tags["span.kind"], "producer");
    assert_eq!(sent.tags["messaging.system"], "kafka");
    assert_eq!(sent.tags["messaging.destination.name"], topic.name());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_want_a_trace_gets_none_unless_the_call_fails() {
    let (dir, jaeger) = (tempfile::tempdir().unwrap(), Jaeger::start());
    let server = traced(dir.path(), &jaeger, 100);
    let (quiet, failed) = ("4bf92f3577b34da6a3ce929d0e0e4736", "4bf92f3577b34da6a3ce929d0e0e4737");
    let header = |trace: &str| ("traceparent", format!("00-{trace}-00f067aa0ba902b7-00"));
    let answer = server.ingest().await.append(called(append(), header(quiet))).await.unwrap();
    assert!(answer.metadata().get("traceparent").is_none());
    let wrong = SubscribeRequest {
        max_batch_delay: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
        ..SubscribeRequest::default()
    };
    let refused = server.query().await.subscribe(called(wrong, header(failed))).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let spans = jaeger.trace(failed, |spans| !spans.is_empty());
    let span = only(&spans, "downlink.v1.QueryService/Subscribe");
    assert_eq!(span.tags["rpc.grpc.status_code"], 3);
    // It is the caller's fault, not the server's.
    assert!(!span.tags.contains_key("error"), "{span:?}");
    // Sent in turn: if the first were kept, it would be there by now.
    assert!(jaeger.trace(quiet, |_| true).is_empty());
    // A trace of the server's own is kept, since all of them are.
    let answer = server.ingest().await.append(append()).await.unwrap();
    let told = answer.metadata().get("traceparent").unwrap().to_str().unwrap();
    let own = jaeger.trace(told.split('-').nth(1).unwrap(), |spans| !spans.is_empty());
    assert!(own[0].references.is_empty() && own[0].lasted_us < 60_000_000, "{own:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jaeger_that_is_not_there_costs_nothing_but_spans() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["--set", "trace_endpoint=http://127.0.0.1:1", "--set", "trace_sample_percent=100"];
    let server = Server::start_with(dir.path(), settings);
    for _ in 0..100 {
        server.ingest().await.append(append()).await.unwrap();
    }
    assert_eq!(server.read_all().await.len(), 100);
    wait_for(server.http(), "/metrics", |answer| {
        let lost =
            |line: &str| line.strip_prefix("downlink_trace_spans_total{outcome=\"lost\"} ")?.parse().ok();
        answer.body.lines().find_map(lost).is_some_and(|lost: u64| lost >= 100)
    });
    let (status, _) = server.terminate();
    assert!(status.success());
}
