//! Traces: calls as spans in a real Jaeger, in the trace of whoever called.

use downlink_proto::v1::{AppendRequest, ReadRequest, SubscribeRequest};
use tonic::{Code, Request};

use crate::harness::{Server, event};
use crate::jaeger::{Jaeger, Span};

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
    let (status, _) = server.terminate();
    assert!(status.success());
}
