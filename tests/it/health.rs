//! Every state a server can be in, provoked from outside, and read as an orchestrator does: HTTP, and health over gRPC.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use downlink_proto::v1::append_stream_request::Open;
use tonic::transport::Channel;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Server, bare_server_command, event, server_command, soon};
use crate::http::{ask, free_address, get, try_get, wait_for};
use crate::producer::Producer;
use crate::replica::replica_dir;

const INGEST: &str = "downlink.v1.IngestService";
const QUERY: &str = "downlink.v1.QueryService";
/// A mirror or a topic that is never there.
const NOBODY: &str = "127.0.0.1:1";

/// A server that is not ready yet, killed when dropped.
struct Early {
    child: Child,
    grpc: String,
    http: String,
}

impl Early {
    fn start(dir: &Path, settings: &[&str]) -> Self {
        let (grpc, http) = (free_address(), free_address());
        let mut command = bare_server_command();
        command.arg("--data-dir").arg(dir);
        command.args(["--listen", &grpc, "--http-listen", &http]).args(settings);
        let child = command.stdout(Stdio::null()).spawn().expect("downlink-server");
        Self { child, grpc, http }
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn status(channel: Channel, service: &str) -> i32 {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = soon("health", HealthClient::new(channel).check(request)).await;
    answer.expect("a known service").into_inner().status
}

/// Asserts which of ingestion, queries and the whole are served.
async fn assert_served(channel: Channel, expected: [bool; 3]) {
    let serving = tonic_health::pb::health_check_response::ServingStatus::Serving as i32;
    for (service, expected) in [INGEST, QUERY, ""].into_iter().zip(expected) {
        let is_served = status(channel.clone(), service).await == serving;
        assert_eq!(is_served, expected, "{service:?}: {}", ServingStatus::Serving);
    }
}

/// What `/readyz`, `/readyz/reads` and `/livez` answer.
fn codes(http: &str) -> [u16; 3] {
    ["/readyz", "/readyz/reads", "/livez"].map(|path| get(http, path).code)
}

#[tokio::test]
async fn a_server_in_order_is_ready_without_reasons() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let answer = get(server.http(), "/readyz");
    assert_eq!((answer.code, answer.json()["status"].as_str()), (200, Some("ready")));
    assert_eq!(answer.reasons(), [""; 0]);
    assert_eq!(codes(server.http()), [200; 3]);
    assert_served(server.channel().await, [true; 3]).await;
    assert_eq!(get(server.http(), "/nothing").code, 404);
    assert!(get(server.http(), "/").body.contains("/readyz"));
}

#[tokio::test]
async fn a_replica_without_a_topic_is_starting() {
    let dir = tempfile::tempdir().unwrap();
    let follow = ["--set", "follow_bootstrap_servers=127.0.0.1:1", "--set", "follow_primary_url=http://a:1"];
    let server = Early::start(dir.path(), &follow);
    let answer = wait_for(&server.http, "/readyz", |answer| answer.code != 0);
    assert_eq!(answer.reasons(), ["starting"]);
    assert_eq!(codes(&server.http), [503, 503, 200]);
    assert_served(server.channel().await, [false; 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_being_opened_is_recovering() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(vec![event("a", 1.0)]).await;
    assert!(server.terminate().0.success());

    // As if the process before were still letting go of it: that is waited for.
    let store = File::open(dir.path().join("segments/00000000000000000001/db")).expect("the newest segment");
    store.lock().expect("nobody has it");
    let server = Early::start(dir.path(), &[]);
    let answer = wait_for(&server.http, "/readyz", |answer| answer.code != 0);
    assert_eq!(answer.reasons(), ["recovering"]);
    assert_eq!(codes(&server.http), [503, 503, 200]);
    assert_served(server.channel().await, [false; 3]).await;
    store.unlock().expect("it is ours");
    wait_for(&server.http, "/readyz", |answer| answer.code == 200);
    assert_served(server.channel().await, [true; 3]).await;
}

#[tokio::test]
async fn a_log_that_has_lost_its_newest_segment_is_read_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.append(vec![event("a", 1.0)]).await;
    assert!(server.terminate().0.success());
    std::fs::remove_dir_all(dir.path().join("segments/00000000000000000001")).expect("the newest segment");

    let server = Server::start(dir.path());
    assert_eq!(get(server.http(), "/readyz").reasons(), ["read_only"]);
    assert_eq!(codes(server.http()), [503, 200, 200]);
    assert_served(server.channel().await, [false, true, true]).await;
}

#[tokio::test]
async fn a_disk_without_room_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let reserve = format!("disk_reserve_bytes={}", 1_u64 << 50);
    let server = Server::start_with(dir.path(), ["--set", &reserve]);
    assert_eq!(get(server.http(), "/readyz").reasons(), ["disk_full"]);
    assert_eq!(codes(server.http()), [503, 200, 200]);
    assert_served(server.channel().await, [false, true, true]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_waits_for_its_last_callers_is_draining() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    // Open, and never closed.
    let (_stubborn, _) = Producer::open(&server, Open::default()).await;
    server.signal("TERM");
    let answer = wait_for(server.http(), "/readyz", |answer| answer.code != 200);
    assert_eq!(answer.reasons(), ["draining"]);
    assert_eq!(codes(server.http()), [503, 503, 200]);
    assert!(server.wait().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_without_a_broker_is_behind_and_everything_else_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let brokers = format!("mirror_bootstrap_servers={NOBODY}");
    let settings = ["--set", &brokers, "--set", "mirror_behind_ms_max=200"];
    let server = Server::start_with(dir.path(), settings);
    server.append(vec![event("a", 1.0)]).await;
    let answer = wait_for(server.http(), "/readyz", |answer| !answer.reasons().is_empty());
    assert_eq!(answer.reasons(), ["mirror_behind"]);
    assert_eq!(codes(server.http()), [200; 3]);
    let channel = server.channel().await;
    assert_served(channel.clone(), [true; 3]).await;
    let not_serving = tonic_health::pb::health_check_response::ServingStatus::NotServing as i32;
    assert_eq!(status(channel, "mirror").await, not_serving);
    server.says(&["the mirror is behind", "from 1 on"]).await;
}

#[tokio::test]
async fn a_replica_is_ready_and_takes_no_appends() {
    let dir = replica_dir().await;
    let follow = ["--set", "follow_bootstrap_servers=127.0.0.1:1", "--set", "follow_primary_url=http://a:1"];
    let server = Server::start_with(dir.path(), follow);
    let answer = get(server.http(), "/readyz");
    assert_eq!(answer.reasons(), ["replica"]);
    assert!(answer.body.contains("http://a:1"), "{answer:?}");
    assert_eq!(codes(server.http()), [200; 3]);
    assert_served(server.channel().await, [false, true, true]).await;
}

#[test]
fn http_can_be_switched_off_and_an_address_in_use_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), ["--http-listen", "off"]);
    assert!(server.try_http().is_none());

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let other = tempfile::tempdir().unwrap();
    let mut command: Command = server_command(other.path());
    let output = command.args(["--http-listen", &address]).output().expect("downlink-server");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains(&address) && said.contains("--http-listen"), "{said}");
}

#[test]
fn http_callers_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["--set", "http_connections_max=2", "--set", "http_timeout_ms_max=300"];
    let server = Server::start_with(dir.path(), settings);
    let http = server.http().to_owned();

    // Who does not say what it wants is let go, and makes room.
    let half = |_| {
        let mut stream = TcpStream::connect(&http).unwrap();
        stream.write_all(b"GET /readyz HT").unwrap();
        stream
    };
    let mut slow: Vec<_> = (0..2).map(half).collect();
    let refused = wait_for_refusal(&http);
    assert!(refused, "a third connection is closed");
    for stream in &mut slow {
        let mut rest = Vec::new();
        // Reset or closed: it has an end.
        let _ = stream.read_to_end(&mut rest);
    }
    wait_for(&http, "/livez", |answer| answer.code == 200);

    let large = format!("GET /readyz HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    // Answered, or cut off while it still speaks.
    assert!(ask(&http, &large).map_or(true, |answer| answer.code == 431));
    wait_for(&http, "/livez", |answer| answer.code == 200);
}

/// Whether a connection beyond the bound is closed without a word, while the others are still there.
fn wait_for_refusal(http: &str) -> bool {
    (0..3).any(|_| !matches!(try_get(http, "/livez"), Ok(answer) if answer.code == 200))
}
