//! Whether there is a signal: told through a live session and its interruptions.

use downlink_client::iss::update::Update;
use downlink_proto::v1::Quality;
use downlink_proto::v1::value::Kind;

use crate::harness::{Server, soon};
use crate::lightstreamer::{Plan, StandIn, Trouble, update};

const TANK: &str = "NODE3000005";

/// The station's clock, with or without a signal.
fn tick(time_stamp: &str, status_class: &str) -> Update {
    Update { status_class: Some(status_class.to_owned()), ..update("TIME_000001", time_stamp, "1") }
}

/// A feed in a server's process, and what it is connected to.
struct Fed {
    stand_in: StandIn,
    server: Server,
    _dir: tempfile::TempDir,
}

impl Fed {
    async fn start(updates: Vec<Update>) -> Self {
        let stand_in = StandIn::start(Plan::new(updates.into_iter()).awaiting_items(3)).await;
        let url = format!("feed_server_url={}", stand_in.url());
        let dir = tempfile::tempdir().unwrap();
        let settings = ["--feed", "iss", "--set", &url, "--set", "feed_items=NODE3000005"];
        Self { server: Server::start_with(dir.path(), settings), stand_in, _dir: dir }
    }

    /// Waits until a signal has had so many events.
    async fn has(&self, signal: &str, count: usize) {
        let waited = async {
            while self.server.read_of(&[signal]).await.len() < count {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        soon(signal, waited).await;
    }

    /// Has the tank, the third item behind the station's clock, say something, whatever the plan is.
    async fn tank_says(&self, time_stamp: &str, count: usize) {
        self.stand_in.make(Trouble::Line(format!("U,1,3,{time_stamp}|16|24|#|#|#")));
        self.has("iss/NODE3000005", count).await;
    }
}

async fn states(server: &Server) -> Vec<String> {
    let states = server.read_of(&["_feed/iss"]).await.into_iter().map(|event| event.value.unwrap().kind);
    states
        .map(|kind| if let Some(Kind::StringValue(state)) = kind { state } else { panic!("{kind:?}") })
        .collect()
}

async fn qualities(server: &Server) -> Vec<Quality> {
    server.read_of(&["iss/NODE3000005"]).await.iter().map(|event| event.quality()).collect()
}

#[tokio::test]
async fn a_loss_of_signal_outlasts_an_interruption_of_the_session() {
    let year = update("TIME_000002", "24", "2018");
    let tank = |time_stamp| update(TANK, time_stamp, "15");
    let updates = vec![year, tick("6844", "24"), tank("6844"), tick("6844.1", "1"), tank("6844.1")];
    let fed = Fed::start(updates).await;
    fed.has("iss/NODE3000005", 2).await;
    fed.stand_in.make(Trouble::Drop);
    fed.has("_feed/iss", 6).await;
    fed.tank_says("6844.2", 3).await;
    let server = &fed.server;
    assert_eq!(states(server).await, ["connected", "AOS", "LOS", "disconnected", "connected", "LOS"]);
    assert_eq!(qualities(server).await, [Quality::Good, Quality::Stale, Quality::Stale]);
    let told = server.read_of(&["_feed/iss"]).await;
    assert_eq!(told[5].event_time, told[2].event_time, "it is the same loss");
    let began = server.read_of(&["iss/TIME_000001"]).await[1].event_time;
    assert_eq!(told[2].event_time, began, "and began when the station said so");
}

#[tokio::test]
async fn what_another_session_repeats_from_long_ago_is_stale() {
    let now = downlink_client::time::rfc3339(&std::time::SystemTime::now().into());
    let year = update("TIME_000002", "24", &now[..4]);
    let fed =
        Fed::start(vec![year, tick("24.1", "24"), tick("24.5", "24"), update(TANK, "24.5", "15")]).await;
    fed.has("iss/NODE3000005", 1).await;
    fed.stand_in.make(Trouble::End(48));
    // Whatever the first session took for live.
    let ended = async {
        while states(&fed.server).await.iter().rev().take(3).ne(["stale", "connected", "disconnected"].iter())
        {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    soon("another session", ended).await;
    fed.tank_says("24.6", 2).await;
    assert_eq!(qualities(&fed.server).await[1], Quality::Stale);
}
