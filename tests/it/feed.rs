//! Feeds as their users run them: in the server's process, and beside it.

mod contact;
mod day;
mod garbage;
mod simulated;

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use downlink_proto::v1::value::Kind;

use crate::harness::{PATIENCE, Server, downlink, event, soon};
use crate::http::get;

/// Where nobody listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A feed that runs as a process of its own, killed when dropped.
struct Feed {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Feed {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("downlink");
        let said = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                eprintln!("{line}");
                // Drained also when nobody waits for a line.
                let _ = sender.send(line);
            }
        });
        Self { child, lines }
    }

    /// Waits for a line with all of these.
    fn says(&self, words: &[&str]) {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line with {words:?}"));
            if words.iter().all(|word| line.contains(word)) {
                return;
            }
        }
    }

    /// SIGTERM; it must end well.
    fn terminate(mut self) {
        let sent = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        assert!(sent.expect("kill").success() && self.child.wait().expect("a status").success());
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the state of a feed in the log is this.
async fn state_is(server: &Server, feed: &str, state: &str) {
    let expected = Some(Kind::StringValue(state.to_owned()));
    let waited = async {
        loop {
            let states = server.read_of(&[&format!("_feed/{feed}")]).await;
            if states.last().is_some_and(|last| last.value.clone().and_then(|value| value.kind) == expected) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    soon(state, waited).await;
}

#[tokio::test]
async fn without_a_network_the_feed_says_what_it_cannot_reach_and_everything_else_works() {
    let (dir, nowhere) = (tempfile::tempdir().unwrap(), nowhere());
    let setting = format!("feed_server_url={nowhere}");
    let server = Server::start_with(dir.path(), ["--feed", "iss", "--set", &setting]);
    server.says(&["the feed has no session", &nowhere, "trying again"]).await;
    state_is(&server, "iss", "disconnected").await;
    let told = server.read_of(&["_feed/iss"]).await;
    assert!(told[0].attributes["reason"].starts_with(&nowhere), "{told:?}");
    server.append(vec![event("a", 1.0)]).await;
    assert_eq!(server.read_all().await.len(), 1);
    let metrics = get(server.http(), "/metrics").body;
    assert!(metrics.contains("downlink_feed_updates_total{feed=\"iss\"} 0\n"), "{metrics}");
    assert_eq!(get(server.http(), "/readyz").code, 200);
    let (status, _) = tokio::task::spawn_blocking(move || server.terminate()).await.unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn beside_the_server_it_outlives_the_server() {
    let (dir, nowhere) = (tempfile::tempdir().unwrap(), nowhere());
    let server = Server::start(dir.path());
    let (address, url) = (server.address().to_owned(), server.url());
    let mut command = downlink(&url);
    let feed = Feed::start(command.args(["feed", "iss", "--item", "NODE3000005", "--server", &nowhere]));
    feed.says(&["the feed has no session", &nowhere, "trying again"]);
    state_is(&server, "iss", "disconnected").await;
    server.kill();
    feed.says(&["the feed cannot reach the log"]);
    let _server = Server::start_at(dir.path(), &address);
    feed.says(&["the feed reaches the log again"]);
    feed.terminate();
}

#[tokio::test]
async fn an_item_that_the_station_is_not_known_to_have_is_named() {
    let (dir, nowhere) = (tempfile::tempdir().unwrap(), nowhere());
    let server = Server::start(dir.path());
    let mut command = downlink(&server.url());
    let feed =
        Feed::start(command.args(["feed", "iss", "--server", &nowhere, "--item", "NODE3000005,NODE3OOOO05"]));
    feed.says(&["NODE3OOOO05", "is it spelt right?"]);
    feed.terminate();
}

#[test]
fn a_feed_that_cannot_be_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = crate::harness::server_command(dir.path());
    command.args(["--feed", "iss", "--set", "feed_server_url=ftp://nobody"]);
    let Err(said) = Server::spawn(command) else { panic!("it started") };
    assert!(said.contains("feed_server_url") && said.contains("ftp://nobody"), "{said}");
    let mut command = crate::harness::server_command(dir.path());
    command.args(["--feed", "iss", "--set", "follow_bootstrap_servers=127.0.0.1:1"]);
    let Err(said) = Server::spawn(command) else { panic!("it started") };
    assert!(said.contains("a replica takes no appends"), "{said}");
}
