//! The stand-in as an official client sees it: Lightstreamer's own one for Python, through all the trouble there is.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::{Plan, StandIn, Trouble, recording, update};
use crate::day::HOUR;
use crate::harness::{peer, root, soon};

/// The tank, the cabin's pressure, a position, an angle with late rows, and one that changes every second.
const ITEMS: [&str; 5] = ["NODE3000005", "USLAB000058", "USLAB000032", "USLAB000084", "S0000004"];
/// The item, not of the feed, whose only update is the last.
const LAST: &str = "LAST";
/// Rows of the hour, of all items.
const ROWS: u64 = 113_191;

/// What the client was sent of each item, in order: time, value, and whether it came as a snapshot.
type Received = BTreeMap<String, Vec<(String, String, bool)>>;

fn plan() -> Plan {
    let last = update(LAST, "8000", "over");
    Plan::new(recording(&root().join(HOUR)).chain([last])).awaiting_items(ITEMS.len() + 1)
}

/// The official client at work, killed when dropped.
struct Client {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Client {
    fn of(stand_in: &StandIn) -> Self {
        let mut command = Command::new(peer("DOWNLINK_PYTHON"));
        command.arg(root().join("tests/clients/lightstreamer_client.py")).arg(stand_in.url());
        let mut child = command.args(ITEMS).arg(LAST).stdout(Stdio::piped()).spawn().expect("python");
        let printed = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel(64);
        std::thread::spawn(move || {
            for line in printed.lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a client receives until that is enough, and the states that its session had.
async fn received(mut client: Client, is_enough: impl Fn(&Received) -> bool) -> (Received, Vec<String>) {
    let (mut received, mut states) = (Received::new(), Vec::new());
    while !is_enough(&received) {
        let line = soon("a line of the client", client.lines.recv()).await.expect("a line");
        let mut said: Json = serde_json::from_str(&line).expect("JSON");
        match said["kind"].as_str() {
            Some("update") => {
                let text = |field: &str| said["fields"][field].as_str().map(str::to_owned);
                let item = said["item"].as_str().expect("an item").to_owned();
                let [time, value] = ["TimeStamp", "Value"].map(|field| text(field).expect("text"));
                let others = said["fields"].as_object_mut().expect("fields");
                others.retain(|name, _| name != "TimeStamp" && name != "Value");
                let expected = serde_json::json!({
                    "Status.Class": "24", "Status.Indicator": "", "Status.Color": "#00ff00", "CalibratedData": null,
                });
                assert_eq!(said["fields"], expected, "{item}");
                let is_snapshot = said["is_snapshot"].as_bool().expect("a flag");
                received.entry(item).or_default().push((time, value, is_snapshot));
            }
            Some("status") => states.push(said["status"].as_str().expect("text").to_owned()),
            _ => panic!("the client complains: {said}"),
        }
    }
    received.remove(LAST);
    (received, states)
}

/// Whether the last update has come.
fn is_over(received: &Received) -> bool {
    received.contains_key(LAST)
}

/// What the recording has of the items.
fn recorded() -> BTreeMap<String, Vec<(String, String)>> {
    let mut rows = BTreeMap::<_, Vec<_>>::new();
    for update in recording(&root().join(HOUR)) {
        if ITEMS.contains(&&*update.item) {
            let row = (update.time_stamp.expect("a time"), update.value.expect("a value"));
            rows.entry(update.item.to_string()).or_default().push(row);
        }
    }
    assert_eq!(rows.len(), ITEMS.len());
    rows
}

/// Without what a session begins with: of each item, after its first update, the newest before it once more.
fn without_repetitions(received: Received, sessions: usize) -> BTreeMap<String, Vec<(String, String)>> {
    let once = |(item, updates): (String, Vec<(String, String, bool)>)| {
        let snapshots = updates.iter().filter(|(.., is_snapshot)| *is_snapshot).count();
        assert_eq!(snapshots, sessions, "{item}: each session begins with one");
        let mut rows = Vec::<(String, String)>::new();
        for (time, value, is_snapshot) in updates {
            let row = (time, value);
            if is_snapshot && !rows.is_empty() {
                assert_eq!(rows.last(), Some(&row), "{item}: a snapshot is what was newest");
            } else {
                rows.push(row);
            }
        }
        (item, rows)
    };
    received.into_iter().map(once).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_official_client_gets_the_recorded_hour_through_drops_loops_and_silence() {
    let troubles = [
        (20_000, Trouble::Drop),
        (40_000, Trouble::Loop),
        (60_000, Trouble::Mute),
        (80_000, Trouble::Loop),
        (ROWS, Trouble::Drop),
    ];
    let stand_in = StandIn::start(plan().with_troubles(troubles)).await;
    let (received, states) = received(Client::of(&stand_in), is_over).await;
    assert_eq!(without_repetitions(received, 1), recorded());
    assert!(states.iter().any(|state| state == "CONNECTED:WS-STREAMING"), "{states:?}");
    assert_eq!(stand_in.asked("recovery"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_official_client_begins_anew_when_its_session_is_ended_or_forgotten() {
    let troubles = [
        (30_000, Trouble::End(48)),
        (60_000, Trouble::Refuse(4)),
        (60_000, Trouble::Drop),
        (90_000, Trouble::Refuse(5)),
        (90_000, Trouble::Forget),
    ];
    let stand_in = StandIn::start(plan().at_times(100_000.).with_troubles(troubles)).await;
    let (received, _) = received(Client::of(&stand_in), is_over).await;
    let sessions = stand_in.asked("create_session");
    assert!(sessions >= 3, "only {sessions} sessions");
    println!("{sessions} sessions, {} recoveries", stand_in.asked("recovery"));
    for (item, rows) in recorded() {
        let mut received = received[&item].iter().map(|(time, value, _)| (time.clone(), value.clone()));
        assert!(received.all(|row| rows.contains(&row)), "{item}: nothing that was not recorded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_official_client_takes_what_is_said_again_and_passes_over_what_it_does_not_know() {
    let updates = ["1", "2"].map(|value| update("NODE3000005", "25.5", value));
    let stand_in = StandIn::start(Plan::new(updates.into_iter()).awaiting_items(ITEMS.len() + 1)).await;
    let client = Client::of(&stand_in);
    stand_in.is_through().await;
    stand_in.make(Trouble::Line("NEWS,1,2,3".to_owned()));
    stand_in.make(Trouble::Repeat);
    stand_in.make(Trouble::End(48));
    let (received, _) =
        received(client, |received| received.get("NODE3000005").is_some_and(|tank| tank.len() == 4)).await;
    let row = |value: &str, is_snapshot| ("25.5".to_owned(), value.to_owned(), is_snapshot);
    assert_eq!(received["NODE3000005"], [row("1", true), row("2", false), row("2", false), row("2", true)]);
    assert_eq!(stand_in.asked("create_session"), 2);
}
