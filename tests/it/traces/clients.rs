//! Traces that clients begin: from the program that appends to the one that is told, in one picture.

use std::collections::HashSet;

use super::*;
use crate::harness::{downlink, succeed};
use crate::python::Installed;

/// No span lasts longer than a stretch of a stream may.
const LASTED_US_MAX: u64 = 31_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_command_begins_a_trace_which_its_events_keep() {
    let (dir, jaeger) = (tempfile::tempdir().unwrap(), Jaeger::start());
    let server = traced(dir.path(), &jaeger, 0);
    let put = |arguments: &[&str]| {
        let mut put = downlink(&server.url());
        succeed(put.arg("put").args(arguments).env("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.endpoint()))
    };
    let said = put(&["a", "1", "--trace", "--output", "human"]);
    let trace = said.strip_prefix("offset 1  trace ").expect(&said).trim();

    let spans = jaeger.trace(trace, |spans| spans.len() == 3);
    let command = only(&spans, "downlink put");
    assert!(command.references.is_empty(), "{command:?}");
    let calls = spans.iter().filter(|span| span.name == "downlink.v1.IngestService/Append");
    let mut calls = calls.map(|call| (call.tags["span.kind"].as_str().unwrap(), call)).collect::<Vec<_>>();
    calls.sort_by_key(|(kind, _)| kind.to_owned());
    let [("client", client), ("server", call)] = calls[..] else { panic!("{spans:#?}") };
    let child_of = |parent: &Span| [("CHILD_OF".to_owned(), trace.to_owned(), parent.id.clone())];
    assert_eq!(client.references, child_of(command));
    assert_eq!(call.references, child_of(client));

    put(&["a", "2"]);
    for (output, first, second) in [
        ("json", format!("\"trace_id\":\"{trace}\""), "\"value\":2}"),
        ("human", format!("1  trace {trace}"), "2"),
    ] {
        let read = succeed(downlink(&server.url()).args(["read", "--trace", "--output", output]));
        let lines = read.lines().collect::<Vec<_>>();
        assert!(lines[0].contains(&first) && !lines[1].contains("trace"), "{read}");
        assert!(lines[1].contains(second.trim_end_matches('}')), "{read}");
    }
    // What was read can be put again.
    let again =
        succeed(downlink(&server.url()).args(["read", "--trace", "--output", "json", "--max-events", "1"]));
    std::fs::write(dir.path().join("again"), again).unwrap();
    let mut put = downlink(&server.url());
    succeed(put.args(["put", "-"]).stdin(std::fs::File::open(dir.path().join("again")).unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_python_program_is_followed_to_the_topic_and_to_its_subscriber_in_one_picture() {
    let (dir, jaeger) = (tempfile::tempdir().unwrap(), Jaeger::start());
    let topic = Broker::shared().topic();
    let endpoint = format!("trace_endpoint={}", jaeger.endpoint());
    let server = mirrored(dir.path(), &topic, &[&endpoint, "trace_sample_percent=0"]);
    let mut live = Subscription::to(&server, SubscribeRequest::default()).await;
    live.frame().await;
    let program = format!(
        "import downlink\n\
         with downlink.traceparent('00-{TRACE}-{CALLER}-01'), downlink.Client('{}') as client:\n\
         \x20   client.append([downlink.Event('a', 1.0)])\n",
        server.url()
    );
    let installed = Installed::from_a_fresh_clone(&[]);
    succeed(installed.python_with_the_package().args(["-c", &program]));
    live.events(1).await;
    drop(live);
    caught_up(&server).await;

    let call = jaeger.trace(TRACE, |spans| !spans.is_empty());
    let append = only(&call, "downlink.v1.IngestService/Append").id.clone();
    let commit = jaeger.found("commit", |commit| is_linked(commit, &append));
    let send = format!("{} send", topic.name());
    let sent = jaeger.found(&send, |sent| is_linked(sent, CALLER));
    let delivered = "downlink.v1.QueryService/Subscribe deliver";
    let delivery = jaeger.found(delivered, |delivery| is_linked(delivery, CALLER));

    let picture = call.iter().chain(&commit).chain(&sent).chain(&delivery).collect::<Vec<_>>();
    let known = picture.iter().map(|span| span.id.as_str()).chain([CALLER]).collect::<HashSet<_>>();
    for span in &picture {
        assert!(span.lasted_us <= LASTED_US_MAX, "endless: {span:?}");
        for (_, _, to) in &span.references {
            assert!(known.contains(to.as_str()), "it leads nowhere: {span:?} among {picture:#?}");
        }
    }
    for (spans, name, kind) in [
        (&call, "downlink.v1.IngestService/Append", "server"),
        (&commit, "commit", "internal"),
        (&commit, "sync", "internal"),
        (&sent, send.as_str(), "producer"),
        (&delivery, delivered, "internal"),
    ] {
        assert_eq!(only(spans, name).tags["span.kind"], kind, "{name}");
    }
    let append = only(&call, "downlink.v1.IngestService/Append");
    assert_eq!(append.references, [("CHILD_OF".to_owned(), TRACE.to_owned(), CALLER.to_owned())]);
    for (tag, value) in
        [("rpc.system", "grpc"), ("rpc.service", "downlink.v1.IngestService"), ("rpc.method", "Append")]
    {
        assert_eq!(append.tags[tag], value);
    }
}
