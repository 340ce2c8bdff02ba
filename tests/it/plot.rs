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
    for arguments in [&["plot", "nobody"][..], &["plot", "tank", "--from", "2020-01-01T00:00:00Z"]] {
        let output = run(downlink(&server.url()).args(arguments));
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty());
    }
}
