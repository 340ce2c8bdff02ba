//! `downlink import`: what `export` wrote comes in again, each event once.

use std::path::Path;

use downlink_proto::v1::value::Kind;
use downlink_proto::v1::{Event, Quality, Value};
use prost_types::Timestamp;

use crate::harness::{Server, downlink, event, run, succeed};

/// An event of each kind, with everything that is kept by an export.
fn events() -> Vec<Event> {
    let kinds = [
        Kind::DoubleValue(f64::from_bits(0x7ff8_0000_0000_0001)),
        Kind::DoubleValue(-0.0),
        Kind::IntValue(i64::MIN),
        Kind::BoolValue(false),
        Kind::StringValue("two\nlines, \"quoted\"".to_owned()),
        Kind::BytesValue(vec![0, 255]),
    ];
    let full = |(number, kind): (usize, Kind)| Event {
        event_time: Some(Timestamp { seconds: number as i64 - 3, nanos: 1 }),
        value: Some(Value { kind: Some(kind) }),
        quality: Quality::Uncertain.into(),
        trace_context: vec![number as u8; 25],
        source: "somewhere".to_owned(),
        attributes: [("key".to_owned(), "väl,ue".to_owned())].into(),
        ..event(&format!("kind/{number}"), 0.0)
    };
    kinds.into_iter().enumerate().map(full).collect()
}

/// What an import can keep of events; doubles by their bits.
fn kept(events: Vec<Event>) -> Vec<String> {
    let bits = |event: &Event| match event.value.as_ref().and_then(|value| value.kind.as_ref()) {
        Some(Kind::DoubleValue(double)) => double.to_bits(),
        _ => 0,
    };
    let without = |event: Event| Event { ingest_time: None, ..event };
    events.into_iter().map(|event| format!("{:x} {:?}", bits(&event), without(event))).collect()
}

fn import(server: &Server, file: &Path, more: &[&str]) -> serde_json::Value {
    let mut command = downlink(&server.url());
    command.args(["--output", "json", "import"]).arg(file).args(more);
    serde_json::from_str(&succeed(&mut command)).unwrap()
}

#[tokio::test]
async fn an_export_comes_in_again_whole_and_once() {
    let (old_dir, new_dir, files) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let old = Server::start(old_dir.path());
    old.append(events()).await;
    let expected = kept(old.read_all().await);
    for format in ["csv", "jsonl", "parquet"] {
        let server = Server::start(&new_dir.path().join(format));
        let file = files.path().join(format!("all.{format}"));
        succeed(downlink(&old.url()).args(["export", "--format", format, "--out"]).arg(&file));
        assert_eq!(import(&server, &file, &[])["events_sent"], 6, "{format}");
        assert_eq!(kept(server.read_all().await), expected, "{format}");

        let again = import(&server, &file, &[]);
        assert_eq!((&again["events_sent"], &again["events_resumed"]), (&0.into(), &6.into()), "{format}");
        assert_eq!(import(&server, &file, &["--epoch", "1"])["events_sent"], 6, "{format}");
        assert_eq!(server.info().await.head_offset, 13, "{format}");
    }
}

#[tokio::test]
async fn a_bad_line_is_named_and_what_came_before_it_is_kept() {
    let (dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(dir.path());
    let file = files.path().join("bad.csv");
    std::fs::write(&file, "signal,value,kind\na,1,int\na,x,int\na,3,int\n").unwrap();
    let output = run(downlink(&server.url()).arg("import").arg(&file));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("line 3"), "{said}");
    assert_eq!(server.info().await.head_offset, 2);
    let skipping = import(&server, &file, &["--bad-lines", "skip"]);
    assert_eq!((&skipping["events_sent"], &skipping["skipped_rows"]), (&1.into(), &1.into()));

    for (name, text) in [("no_value.csv", "signal\na\n"), ("unknown.csv", "signal,value,colour\na,1,red\n")] {
        let file = files.path().join(name);
        std::fs::write(&file, text).unwrap();
        let output = run(downlink(&server.url()).arg("import").arg(&file));
        assert!(
            !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("column"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_export_to_parquet_has_the_columns_asked_for() {
    let (dir, new_dir, files) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(dir.path());
    server.append(events()).await;
    let file = files.path().join("few.parquet");
    let export = ["export", "--format", "parquet", "--columns", "value,signal", "--out"];
    succeed(downlink(&server.url()).args(export).arg(&file));
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));

    let new = Server::start(new_dir.path());
    assert_eq!(import(&new, &file, &[])["events_sent"], 6);
    let few = |event: Event| {
        let value = event.value.and_then(|value| value.kind);
        let bits = if let Some(Kind::DoubleValue(double)) = &value { double.to_bits() } else { 0 };
        format!("{} {bits:x} {value:?}", event.signal)
    };
    let got = new.read_all().await;
    assert!(got.iter().all(|event| event.source.is_empty() && event.attributes.is_empty()));
    let wanted: Vec<_> = events().into_iter().map(few).collect();
    assert_eq!(got.into_iter().map(few).collect::<Vec<_>>(), wanted);

    let output = run(downlink(&new.url()).args(["import", "--format", "parquet", "-"]));
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("give a file"));
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = succeed(downlink("http://127.0.0.1:1").args(["completions", shell]));
        assert!(script.contains("downlink") && script.contains("export"), "{shell}");
    }
}
