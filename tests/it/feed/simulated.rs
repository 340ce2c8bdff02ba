//! The simulated station: in the server's process by one flag, beside it, and the same again from the same seed.

use std::process::Command;

use downlink_proto::v1::Event;

use super::{Feed, state_is};
use crate::harness::{Server, downlink, soon};
use crate::http::{get, wait_for};

/// Waits until so many events are on signals of the simulation, and gives them back.
async fn simulated(server: &Server, count: usize) -> Vec<Event> {
    let waited = async {
        loop {
            let mut events = server.read_of(&["demo/**"]).await;
            if events.len() >= count {
                events.truncate(count);
                return events;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    soon("the simulation", waited).await
}

#[tokio::test]
async fn one_flag_starts_a_server_with_a_station_that_is_plainly_simulated() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), ["--demo"]);
    state_is(&server, "demo", "AOS").await;
    // The newest value of every item whose range is known, and then some.
    let events = simulated(&server, 300).await;
    assert!(events.iter().all(|event| event.source == "demo" && event.signal.starts_with("demo/")));
    for item in ["NODE3000005", "NODE3000004", "TIME_000001", "USLAB000058"] {
        assert!(events.iter().any(|event| event.signal == format!("demo/{item}")), "{item}");
    }
    let told = server.read_of(&["_feed/demo"]).await;
    assert!(told[0].attributes["reason"].contains("simulation"), "{told:?}");
    let is_counted = "downlink_feed_updates_total{feed=\"demo\"}";
    wait_for(server.http(), "/metrics", |answer| answer.body.contains(is_counted));
    assert_eq!(get(server.http(), "/readyz").code, 200);
    let (status, _) = tokio::task::spawn_blocking(move || server.terminate()).await.unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn the_same_seed_and_begin_are_the_same_telemetry() {
    let mut lives = Vec::new();
    for seed in ["7", "7", "8"] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path());
        let mut command: Command = downlink(&server.url());
        command.args(["feed", "demo", "--from", "2026-01-01T00:00:00Z", "--speed", "max", "--seed", seed]);
        let feed = Feed::start(&mut command);
        let mut events = simulated(&server, 5_000).await;
        drop(feed);
        // The year is that of the beginning, from the first event on, whenever this runs.
        let begin = 1_767_225_600;
        let seconds = events.iter().map(|event| event.event_time.as_ref().expect("a time").seconds);
        assert!(
            seconds.clone().all(|seconds| (begin..begin + 3_600).contains(&seconds)),
            "{:?}",
            seconds.min()
        );
        for event in &mut events {
            // What is of this life, or depends on the moment.
            (event.offset, event.ingest_time, event.quality) = (0, None, 0);
        }
        lives.push(events);
    }
    assert_eq!(lives[0], lives[1]);
    assert_ne!(lives[0], lives[2]);
}
