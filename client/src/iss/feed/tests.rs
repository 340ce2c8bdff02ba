//! The feed with a source that follows a script, against a log that dies, restarts and stays away.

use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::iss::clock::{TIME_ITEM, YEAR_ITEM};
use crate::iss::update::{SessionEvent, Update};
use crate::testing::Server;
use crate::time::rfc3339;
use downlink_proto::v1::Event;
use downlink_proto::v1::{Quality, value::Kind};

struct Script(mpsc::Receiver<SessionEvent>);

impl Source for Script {
    async fn next(&mut self) -> SessionEvent {
        self.0.recv().await.unwrap_or(SessionEvent::Ended)
    }
}

fn connected() -> SessionEvent {
    SessionEvent::Connected { source: "a script".to_owned() }
}

fn update(item: &str, hours: &str, value: &str) -> SessionEvent {
    SessionEvent::Update(Update::live(item, hours, value))
}

/// The hour after 6844 h, in which a value counts up to ten million.
fn counting(from: usize, to: usize) -> Vec<SessionEvent> {
    let hours = |n: usize| format!("6844.{n:07}");
    (from..to).map(|n| update("NODE3000005", &hours(n), &n.to_string())).collect()
}

/// 2018, whenever this runs.
fn year() -> SessionEvent {
    update(YEAR_ITEM, "6844", "2018")
}

fn options() -> Options {
    Options { patience: Duration::from_secs(60), ..Options::iss() }
}

async fn feed(server: &Server, figures: &Figures, script: Vec<SessionEvent>) {
    let (sender, receiver) = mpsc::channel(script.len().max(1));
    script.into_iter().for_each(|event| sender.try_send(event).unwrap());
    drop(sender);
    let client = Client::connect(&server.url).await.unwrap();
    let options = options();
    let run = run(&client, Script(receiver), &options, figures, std::future::pending());
    run.await.unwrap().expect("it ends with its source");
}

/// The values of a signal, in the log's order.
fn values(server: &Server, signal: &str) -> Vec<Kind> {
    let of = |event: &Event| event.value.clone().unwrap().kind.unwrap();
    server.log().events.iter().filter(|event| event.signal == signal).map(of).collect()
}

fn counted(range: std::ops::Range<usize>) -> Vec<Kind> {
    range.map(|n| Kind::DoubleValue(n as f64)).collect()
}

#[tokio::test]
async fn what_is_repeated_is_there_once_also_after_a_restart() {
    let (server, figures) = (Server::start(), Figures::default());
    let script = |from, to| [vec![connected(), year()], counting(from, to)].concat();
    let twice = [script(0, 20), script(19, 30)].concat();
    feed(&server, &figures, twice).await;
    // The feed's next life, with the same producer: its source begins with what the log has.
    feed(&server, &figures, script(25, 60)).await;
    assert_eq!(values(&server, "iss/NODE3000005"), counted(0..60));
    assert_eq!(values(&server, &format!("iss/{YEAR_ITEM}")), [Kind::DoubleValue(2018.0)]);
    let snapshot = figures.snapshot();
    assert_eq!((snapshot.updates, snapshot.known, snapshot.rejected), (69, 8, 0));
    assert_eq!((snapshot.reconnects, snapshot.buffered), (2, 0));
    assert_eq!(server.producers(), [("feed/iss".to_owned(), 0)], "one in all its lives");
    let time = server.log().events.iter().find(|event| event.signal == "iss/NODE3000005").unwrap().event_time;
    assert_eq!(rfc3339(&time.unwrap()), "2018-10-12T04:00:00Z");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_killed_loses_and_doubles_nothing() {
    let (mut server, figures) = (Server::start(), Figures::default());
    let client = Client::connect(&server.url).await.unwrap();
    let (sender, receiver) = mpsc::channel(8);
    let options = options();
    let run = run(&client, Script(receiver), &options, &figures, std::future::pending());
    let script = async {
        sender.send(connected()).await.unwrap();
        sender.send(year()).await.unwrap();
        for round in 0..4 {
            for event in counting(round * 500, round * 500 + 500) {
                sender.send(event).await.unwrap();
            }
            server.restart();
        }
        drop(sender);
    };
    let (result, ()) = futures::join!(run, script);
    result.unwrap();
    assert_eq!(values(&server, "iss/NODE3000005"), counted(0..2000));
}

#[tokio::test]
async fn late_values_are_kept_and_garbage_ends_nothing() {
    let (server, figures) = (Server::start(), Figures::default());
    let nothing = SessionEvent::Update(Update::default());
    let null = SessionEvent::Update(Update { item: "NODE3000005".into(), ..Update::default() });
    let mut script = vec![connected(), year(), update("NODE3000005", "6845", "7")];
    script.extend([nothing, null, update("NODE3000005", "6845.5", "full"), update("", "6845", "1")]);
    script.extend([update("NODE3000005", &"9".repeat(100_000), "7"), update("NODE3000005", "-6845", "7")]);
    script.extend([update("NODE3000005", "6844.5", "8"), update("NODE3000004", "6845", "16")]);
    feed(&server, &figures, script).await;
    assert_eq!(values(&server, "iss/NODE3000005"), [Kind::DoubleValue(7.0), Kind::DoubleValue(8.0)]);
    assert_eq!(values(&server, "iss/NODE3000004"), [Kind::IntValue(16)]);
    let snapshot = figures.snapshot();
    assert_eq!((snapshot.rejected, snapshot.late), (6, 1));
}

#[tokio::test]
async fn the_signals_state_is_in_the_log() {
    let (server, figures) = (Server::start(), Figures::default());
    let tick = |hours: &str, class: &str| {
        let SessionEvent::Update(update) = update(TIME_ITEM, hours, "1") else { unreachable!() };
        SessionEvent::Update(Update { status_class: Some(class.to_owned()), ..update })
    };
    let cut = SessionEvent::Disconnected { reason: "cut".to_owned() };
    let mut script = vec![connected(), year(), tick("6844", "24"), update("NODE3000005", "6844", "1")];
    script.extend([tick("6844.1", "1"), update("NODE3000005", "6844.1", "1")]);
    script.extend([tick("6844.2", "24"), update("NODE3000005", "6844.2", "1"), cut]);
    feed(&server, &figures, script).await;
    let states = ["connected", "AOS", "LOS", "AOS", "disconnected"];
    assert_eq!(values(&server, "_feed/iss"), states.map(|state| Kind::StringValue(state.to_owned())));
    let log = server.log();
    let begins: Vec<_> = log.events.iter().filter(|event| event.signal == "_feed/iss").collect();
    assert_eq!(rfc3339(&begins[2].event_time.unwrap()), "2018-10-12T04:06:00Z");
    assert_eq!(begins[4].attributes["reason"], "cut");
    let tank = log.events.iter().filter(|event| event.signal == "iss/NODE3000005");
    let qualities: Vec<_> = tank.map(Event::quality).collect();
    assert_eq!(qualities, [Quality::Good, Quality::Stale, Quality::Good]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_stays_away_gets_the_newest_and_is_told_so() {
    let (mut server, figures) = (Server::start(), Figures::default());
    let client = Client::connect(&server.url).await.unwrap();
    let options = Options { buffer_events_max: 100, patience: Duration::ZERO, ..Options::iss() };
    let (sender, receiver) = mpsc::channel(8);
    let run = run(&client, Script(receiver), &options, &figures, std::future::pending());
    let script = async {
        sender.send(connected()).await.unwrap();
        sender.send(year()).await.unwrap();
        while server.log().events.len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.kill();
        // More than the appender's window takes beside the buffer.
        for event in counting(0, 50_000) {
            sender.send(event).await.unwrap();
        }
        server.restart();
        drop(sender);
    };
    let (result, ()) = futures::join!(run, script);
    result.unwrap();
    let values = values(&server, "iss/NODE3000005");
    assert!(values.len() < 50_000 && values.last() == counted(49_999..50_000).last());
    let left_out = 50_000 - values.len() as i64;
    let told: i64 = self::values(&server, "_feed/iss/merged")
        .iter()
        .map(|kind| if let Kind::IntValue(count) = kind { *count } else { 0 })
        .sum();
    assert_eq!((told, figures.snapshot().merged as i64), (left_out, left_out));
}

#[tokio::test]
async fn it_stops_when_it_is_told_to_and_leaves_nothing_behind() {
    let (server, figures) = (Server::start(), Figures::default());
    let client = Client::connect(&server.url).await.unwrap();
    let (sender, receiver) = mpsc::channel(1000);
    let (stop, stopped) = oneshot::channel::<()>();
    let options = options();
    let run = run(&client, Script(receiver), &options, &figures, async {
        let _ = stopped.await;
    });
    let script = async {
        for event in [vec![connected(), year()], counting(0, 100)].concat() {
            sender.send(event).await.unwrap();
        }
        while figures.snapshot().updates < 101 {
            tokio::task::yield_now().await;
        }
        stop.send(()).unwrap();
    };
    let (result, ()) = futures::join!(run, script);
    assert_eq!(result.unwrap().unwrap().durable_events, 102);
    assert_eq!(values(&server, "iss/NODE3000005"), counted(0..100));
}
