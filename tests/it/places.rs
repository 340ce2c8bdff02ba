//! Places as people write them, in the commands that take one.

use downlink_proto::v1::Event;
use prost_types::Timestamp;

use crate::harness::{Server, downlink, event, run, succeed};

/// Four events in 2018, a minute apart, and one now.
async fn five() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let times = [0, 60, 120, 180].map(|seconds| Timestamp { seconds: 1_539_345_600 + seconds, nanos: 0 });
    let old = times.into_iter().map(|time| Event { event_time: Some(time), ..event("a", 1.0) });
    server.append(old.collect()).await;
    server.append(vec![event("a", 2.0)]).await;
    (dir, server)
}

/// The offsets that `downlink read` prints.
fn offsets(server: &Server, arguments: &[&str]) -> Vec<u64> {
    let said = succeed(downlink(&server.url()).args(["read", "--output", "json"]).args(arguments));
    let offset = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        event["offset"].as_u64().expect("an offset")
    };
    said.lines().map(offset).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_log_is_read_from_and_to_any_place_and_both_ways() {
    let (_dir, server) = five().await;
    let cases: [(&[&str], &[u64]); 12] = [
        (&[], &[1, 2, 3, 4, 5]),
        (&["--from", "4"], &[4, 5]),
        (&["--from", "2018-10-12T12:01:00Z", "--to", "2018-10-12T14:03:00+02:00"], &[2, 3]),
        (&["--from", "1 hour ago"], &[5]),
        (&["--from", "last 2"], &[4, 5]),
        (&["--last", "2"], &[4, 5]),
        (&["--last", "3", "--backwards"], &[5, 4, 3]),
        (&["--backwards", "--max-events", "2"], &[5, 4]),
        (&["--backwards", "--from", "4", "--to", "2"], &[3, 2]),
        (&["--from", "ingest:2018-10-12T12:01:00Z", "--to", "last 1"], &[1, 2, 3, 4]),
        (&["--speed", "100000", "--max-gap", "10ms"], &[1, 2, 3, 4, 5]),
        (&["--from", "oldest", "--to", "oldest"], &[]),
    ];
    for (arguments, expected) in cases {
        assert_eq!(offsets(&server, arguments), expected, "{arguments:?}");
    }
    for (arguments, said) in [
        (&["--from", "yesterday"][..], "give an offset"),
        (&["--last", "1", "--from", "2"], "cannot be used with"),
        (&["--from", "consumer:nobody"], "no consumer"),
        (&["--speed=-1"], "speed"),
    ] {
        let output = run(downlink(&server.url()).arg("read").args(arguments));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(said), "{arguments:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_looked_up_and_the_newest_values_are_shown_as_of_it() {
    let (_dir, server) = five().await;
    let lookup = |place: &str| succeed(downlink(&server.url()).args(["lookup", place]));
    assert_eq!(lookup("2018-10-12T12:00:30Z"), "2  2018-10-12T12:01:00Z\n");
    assert_eq!(lookup("head"), "6\n");
    let json = succeed(downlink(&server.url()).args(["lookup", "oldest", "--output", "json"]));
    assert_eq!(json, "{\"offset\":1,\"event_time\":\"2018-10-12T12:00:00Z\"}\n");
    let value = |place: &str| {
        let arguments = ["latest", "a", "--output", "json", "--as-of", place];
        let said = succeed(downlink(&server.url()).args(arguments));
        let latest: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        latest["offset"].as_u64().expect("an offset")
    };
    assert_eq!((value("3"), value("last 1"), value("head"), value("0s ago")), (2, 4, 5, 5));
}
