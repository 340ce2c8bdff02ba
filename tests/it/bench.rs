//! `downlink bench`: what it prints is what the log saw.

use std::process::{Command, Stdio};

use serde_json::Value as Json;

use crate::harness::{Server, binary, downlink, run, soon, succeed};

pub(crate) fn bench(server: &Server, arguments: &[&str]) -> Json {
    let mut command = downlink(&server.url());
    command.args(["--output", "json", "bench"]).args(arguments);
    command.arg("--server-pid").arg(server.pid().to_string());
    serde_json::from_str(&succeed(&mut command)).unwrap()
}

pub(crate) fn number(report: &Json, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Json::as_f64).unwrap_or_else(|| panic!("{pointer} in {report}"))
}

#[tokio::test]
async fn every_bench_measures_what_it_says_and_names_its_conditions() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());

    for kind in [&["unary"][..], &["unary", "--streams"], &["unary", "--rate", "200"]] {
        let before = server.info().await.head_offset;
        let report = bench(&server, &[kind, &["--clients", "4", "--seconds", "1"]].concat());
        let appended = server.info().await.head_offset - before;
        assert!(appended > 0 && number(&report, "/events_per_sync") >= 1.0, "{report}");
        assert!(number(&report, "/acknowledgement_ms/p50") <= number(&report, "/acknowledgement_ms/p99"));
        assert_eq!(number(&report, "/conditions/clients"), 4.0);
        if kind.contains(&"--rate") {
            assert_eq!(appended, 200, "every turn of an open loop is taken: {report}");
        }
    }

    let tail = ["tail", "--subscribers", "3", "--rate", "500", "--batch", "25", "--seconds", "1"];
    let report = bench(&server, &tail);
    assert_eq!(number(&report, "/delivered_events"), 1500.0);
    assert!(number(&report, "/server/resident_mib") > 1.0 && number(&report, "/fdatasync_4k_ms/p50") > 0.0);
    assert!(number(&report, "/fdatasync_4k_at_its_pace_ms/p50") > 0.0);
    assert!((1.0..=20.0).contains(&number(&report, "/fdatasync_4k_at_its_pace_ms/every_ms")), "{report}");

    for kind in [&["--encoding", "rows"][..], &["--encoding", "columns", "--rate", "100000"]] {
        let before = server.info().await.head_offset;
        let size = ["ingest", "--events", "20500", "--runs", "2", "--signals", "7"];
        let report = bench(&server, &[&size, kind].concat());
        assert_eq!(server.info().await.head_offset - before, 41_000);
        assert_eq!(number(&report, "/acknowledged_events"), 41_000.0);
        assert!(number(&report, "/payload_bytes_per_event") > 0.0, "{report}");
        assert!(number(&report, "/acknowledgement_ms/p50") <= number(&report, "/acknowledgement_ms/p99"));
        assert!(number(&report, "/server/cpu_cores") >= 0.0 && number(&report, "/fdatasync_4k_ms/p99") > 0.0);
    }

    let readers = ["ingest", "--events", "20500", "--runs", "2", "--signals", "7", "--readers", "3"];
    let report = bench(&server, &readers);
    assert_eq!(
        (number(&report, "/acknowledged_events"), number(&report, "/conditions/readers")),
        (41_000.0, 3.0)
    );
    assert!(number(&report, "/readers_events_per_second") > 0.0, "{report}");

    let report = bench(&server, &["replay", "--runs", "2", "--encoding", "columns"]);
    assert_eq!(number(&report, "/conditions/events_per_run"), (server.info().await.head_offset - 1) as f64);
    assert!(number(&report, "/server/resident_mib") > 1.0 && number(&report, "/fdatasync_4k_ms/p50") > 0.0);

    let report = bench(&server, &["latest", "bench/*", "--rate", "50", "--seconds", "1"]);
    assert_eq!((number(&report, "/answers"), number(&report, "/signals_in_an_answer")), (50.0, 7.0));

    // Three runs of 1,000 s, a day apart.
    let ingest = ["ingest", "--events", "9000", "--signals", "9", "--runs", "3", "--shift", "1d"];
    bench(&server, &ingest);
    for (last, events) in [(&[][..], 3_000.0), (&["--last", "1d"][..], 1_000.0)] {
        let aggregate = ["aggregate", "bench/8", "--points", "100", "--rate", "20", "--seconds", "1"];
        let report = bench(&server, &[&aggregate, last].concat());
        assert_eq!((number(&report, "/answers"), number(&report, "/events_in_an_answer")), (20.0, events));
        assert!(number(&report, "/buckets_in_an_answer") <= 100.0);
    }
}

#[tokio::test]
async fn a_bench_that_is_not_alone_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut other = Command::new(binary("downlink"));
    other.args(["--url", &server.url(), "bench", "unary", "--clients", "1", "--seconds", "60"]);
    let mut other = other.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    soon("the other appends", async {
        while server.info().await.head_offset == 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let arguments = ["bench", "ingest", "--events", "50000", "--runs", "1"];
    let output = run(downlink(&server.url()).args(arguments));
    other.kill().unwrap();
    other.wait().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("does anybody else append?"), "{said}");
}
