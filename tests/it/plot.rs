//! `downlink plot`: a signal as a chart.

use crate::harness::{Server, downlink, event, run, succeed};

#[tokio::test]
async fn a_signal_is_drawn_in_the_terminal_and_as_a_picture() {
    let (dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(dir.path());
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let rise =
        (0..200_i64).map(|n| downlink_proto::v1::Event { event_time: at(n * 60), ..event("tank", n as f64) });
    server.append(rise.collect()).await;

    let chart =
        succeed(downlink(&server.url()).args(["plot", "tank"]).env("COLUMNS", "80").env("LINES", "12"));
    assert!(chart.starts_with("tank\n") && chart.contains("1970-01-01T00:00:00Z"), "{chart}");
    assert!(chart.chars().filter(|dot| ('\u{2801}'..='\u{28ff}').contains(dot)).count() > 20, "{chart}");

    for (name, begins) in [("tank.png", &b"\x89PNG"[..]), ("tank.svg", b"<svg")] {
        let file = files.path().join(name);
        succeed(downlink(&server.url()).args(["plot", "tank", "--out"]).arg(&file));
        assert!(std::fs::read(&file).unwrap().starts_with(begins), "{name}");
    }
    let json = succeed(downlink(&server.url()).args(["plot", "tank", "--points", "10", "--output", "json"]));
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&first["signal"], &first["event_time"]), (&"tank".into(), &"1970-01-01T00:00:00Z".into()));
    assert_eq!(
        (&first["min"], first["max"].as_f64() > first["mean"].as_f64()),
        (&0.0.into(), true),
        "{first}"
    );
    for arguments in [&["plot", "nobody"][..], &["plot", "tank", "--from", "2020-01-01T00:00:00Z"]] {
        let output = run(downlink(&server.url()).args(arguments));
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[tokio::test]
async fn each_signal_of_a_glob_has_a_chart_of_its_own_and_a_lone_event_is_a_point() {
    let (dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(dir.path());
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let events = [("a", 0, 1.0), ("a", 5_000, 2.0), ("a", 10_000, 3.0), ("b", 0, 7.0), ("b", 10_000, 8.0)];
    let events = events.map(|(name, seconds, value)| downlink_proto::v1::Event {
        event_time: at(seconds),
        ..event(&format!("tank/{name}"), value)
    });
    server.append(events.into()).await;
    server.append((0..13).map(|n| event(&format!("many/{n}"), 1.0)).collect()).await;

    let charts = succeed(downlink(&server.url()).args(["plot", "tank/*"]));
    assert!(charts.starts_with("tank/a\n") && charts.contains("\ntank/b\n"), "{charts}");
    let file = files.path().join("tank.svg");
    succeed(downlink(&server.url()).args(["plot", "tank/*", "--out"]).arg(&file));
    let picture = std::fs::read_to_string(file).unwrap();
    assert!(picture.contains("tank/a") && picture.contains("tank/b"));
    assert_eq!(picture.matches("<circle").count(), 5);

    let output = run(downlink(&server.url()).args(["plot", "many/*"]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("13 signals match"), "{said}");
}
