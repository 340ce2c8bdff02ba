//! `downlink signals define`, and what the command makes of definitions.

use std::fs;
use std::process::{Command, Stdio};

use super::*;
use crate::harness::{downlink, run, succeed};

fn lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_337_items_of_the_station_are_defined_once_and_copied_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for _ in 0..2 {
        let said = succeed(downlink(&server.url()).args(["signals", "define", "--iss"]));
        assert_eq!(said, "337 definitions, at offsets 1 to 337\n");
    }
    let tank = list(&server, "iss/NODE3000005").await.remove(0);
    assert_eq!(
        (&*tank.display_name, &*tank.unit, tank.value_type()),
        ("Urine tank level", "%", ValueType::Double)
    );
    assert_eq!(list(&server, "iss/NODE3000004").await[0].states[&16], "Normal");

    let json = succeed(downlink(&server.url()).args(["signals", "--output", "json"]));
    assert_eq!(lines(&json).len(), 337);
    let other_dir = tempfile::tempdir().unwrap();
    let other = Server::start(other_dir.path());
    let file = other_dir.path().join("copied.jsonl");
    fs::write(&file, &json).unwrap();
    succeed(downlink(&other.url()).args(["signals", "define", "--file"]).arg(&file));
    assert_eq!(list(&other, "").await, list(&server, "").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_read_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let table = dir.path().join("lab.csv");
    fs::write(&table, "name,unit,states,display_name,expected_period_seconds\nlab/p,mm[Hg],,Pressure,3600\nlab/fan,,0=Off|1=On,,\n").unwrap();
    succeed(downlink(&server.url()).args(["signals", "define", "--file"]).arg(&table));
    let old = Some(prost_types::Timestamp { seconds: 1_539_344_528, nanos: 0 });
    let fan = Value { kind: Some(Kind::IntValue(1)) };
    server
        .append(vec![
            Event { event_time: old, ..event("lab/p", 741.5) },
            Event { value: Some(fan), ..event("lab/fan", 0.0) },
        ])
        .await;
    let shown = succeed(downlink(&server.url()).args(["signals", "lab/*"]));
    assert!(shown.contains("mm[Hg]") && shown.contains("Pressure"), "{shown}");
    let shown = succeed(downlink(&server.url()).args(["latest"]));
    assert!(
        shown.contains("741.5 mm[Hg]") && shown.contains("good, old") && shown.contains("1 (On)"),
        "{shown}"
    );
    let json = lines(&succeed(downlink(&server.url()).args(["latest", "--output", "json"])));
    assert_eq!((&json[0]["state"], &json[0]["stale"]), (&"On".into(), &false.into()), "{json:?}");
    assert_eq!((&json[1]["unit"], &json[1]["stale"]), (&"mm[Hg]".into(), &true.into()), "{json:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_definition_is_named_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let refused = |command: &mut Command, named: &str| {
        let output = run(command.stdin(Stdio::null()));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(named), "{error}");
    };
    for (name, text, named) in [
        ("a.csv", "name,colour\nx,red\n", "colour"),
        ("b.csv", "name,limits\nx,none\n", "row 2"),
        ("c.jsonl", "{\"name\":\"a\"}\n\n{\"unit\":\"V\"}\n", "line 3"),
        ("d.jsonl", "\n", "no definitions"),
        ("e.csv", "name\n_own\n", "signals[0].name"),
    ] {
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        refused(downlink(&server.url()).args(["signals", "define", "--file"]).arg(&file), named);
    }
    refused(downlink(&server.url()).args(["signals", "define"]), "--iss");
    assert_eq!(server.info().await.head_offset, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_are_committed_shown_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(numbered("a", 10)).await;
    let consumers = |arguments: &[&str]| {
        let mut command = downlink(&server.url());
        command.args(["--output", "json", "consumers"]).args(arguments);
        command
    };
    let stored = lines(&succeed(&mut consumers(&["commit", "bot", "4"]))).remove(0);
    assert_eq!(
        (&stored["name"], &stored["next_offset"], &stored["events_behind"]),
        (&"bot".into(), &4.into(), &7.into())
    );
    for arguments in [&["get", "bot"][..], &["list"]] {
        assert_eq!(lines(&succeed(&mut consumers(arguments))), std::slice::from_ref(&stored));
    }
    let table = succeed(downlink(&server.url()).args(["consumers", "list"]));
    assert!(table.starts_with("CONSUMER") && table.contains("bot"), "{table}");
    for (arguments, named) in [
        (&["commit", "bot", "3"][..], "CHECKPOINT_REWIND"),
        (&["commit", "bot", "5", "--etag", "1"], "ETAG_MISMATCH"),
        (&["get", "nobody"], "nobody"),
        (&["delete", "nobody"], "CONSUMER_UNKNOWN"),
    ] {
        let output = run(&mut consumers(arguments));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(named), "{error}");
    }
    succeed(&mut consumers(&["commit", "bot", "3", "--rewind"]));
    succeed(&mut consumers(&["delete", "bot"]));
    assert_eq!(succeed(&mut consumers(&["list"])), "");
}
