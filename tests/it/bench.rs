//! `downlink bench`: what it prints is what the log saw.

use serde_json::Value as Json;

use crate::harness::{Server, downlink, succeed};

fn bench(server: &Server, arguments: &[&str]) -> Json {
    let mut command = downlink(&server.url());
    command.args(["--output", "json", "bench"]).args(arguments);
    if arguments[0] != "ingest" && arguments[0] != "replay" {
        command.arg("--server-pid").arg(server.pid().to_string());
    }
    serde_json::from_str(&succeed(&mut command)).unwrap()
}

fn number(report: &Json, pointer: &str) -> f64 {
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

    let report = bench(&server, &["latest", "bench/*", "--rate", "50", "--seconds", "1"]);
    assert_eq!((number(&report, "/answers"), number(&report, "/signals_in_an_answer")), (50.0, 4.0));
}
