//! `/metrics`: every metric moves, says what is so, and is what Prometheus and its own checker take.

mod page;

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use downlink_proto::v1::admin_service_client::AdminServiceClient;
use downlink_proto::v1::append_stream_request::Open;
use downlink_proto::v1::consumer_service_client::ConsumerServiceClient;
use downlink_proto::v1::value::Kind;
use downlink_proto::v1::{
    AppendRequest, CommitCheckpointRequest, Event, RollSegmentRequest, SubscribeRequest, Value,
    VerifyLogRequest,
};
use uuid::Uuid;

use crate::append::numbered;
use crate::harness::{Server, event, peer, root, server_command, soon};
use crate::http::{free_address, get, wait_for};
use crate::kafka::{Broker, Topic};
use crate::lightstreamer::{Plan, StandIn, Trouble, update};
use crate::mirror::{caught_up, mirrored};
use crate::producer::{Producer, named};
use crate::read::at;
use crate::replica::replica_dir;
use crate::subscribe::Subscription;
use crate::verify::verify;
use page::Page;

/// What this load need not move: what never does, and what does for moments only, while a
/// replica catches up or a feed is ahead of the log.
const MAY_BE_STILL: [&str; 3] =
    ["downlink_replica_lag_events", "downlink_feed_buffered_events", "downlink_build_info"];

/// The names that METRICS.md has.
fn documented() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("METRICS.md")).expect("METRICS.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap_or_default().to_owned()).collect()
}

/// A server's whole life: appends good and bad, readers of all kinds, a consumer, sealing, the mirror.
async fn busy_life(dir: &Path, topic: &Topic) -> Vec<Page> {
    // No checkpoints of the mirror between the events.
    let settings = [
        "metrics_signals=life/*,nothing",
        "calls_max=100",
        "mirror_checkpoint_ms=3600000",
        // Nobody is there.
        "trace_endpoint=http://127.0.0.1:1",
        "trace_sample_percent=100",
    ];
    let server = mirrored(dir, topic, &settings);
    let mut pages = vec![Page::of(&server)];
    for number in 0..20 {
        server.append(numbered(&format!("life/{number}"), 100)).await;
    }
    let again = AppendRequest {
        events: numbered("life/again", 3),
        request_id: Uuid::new_v4().into(),
        ..AppendRequest::default()
    };
    for _ in 0..2 {
        server.ingest().await.append(again.clone()).await.expect("appended, or there already");
    }
    let bad = AppendRequest { events: vec![Event::default()], ..AppendRequest::default() };
    server.ingest().await.append(bad).await.expect_err("no name");
    let checkpoint = CommitCheckpointRequest {
        consumer: "slow".to_owned(),
        next_offset: 4,
        ..CommitCheckpointRequest::default()
    };
    let mut consumers = ConsumerServiceClient::new(server.channel().await);
    consumers.commit_checkpoint(checkpoint).await.expect("a checkpoint");

    let mut live = Subscription::to(&server, SubscribeRequest::default()).await;
    live.frame().await;
    let history = SubscribeRequest { start: at(1), ..SubscribeRequest::default() };
    let mut replay = Subscription::to(&server, history).await;
    replay.events(2_003).await;
    let (producer, _) = Producer::open(&server, named("p", 1)).await;
    producer.send(1, numbered("life/stream", 10));
    live.events(10).await;
    assert_eq!(server.read_of(&["life/**"]).await.len(), 2_013);
    let roll = RollSegmentRequest { wait_until_sealed: true };
    AdminServiceClient::new(server.channel().await).roll_segment(roll).await.expect("rolled");
    caught_up(&server).await;

    let page = Page::of(&server);
    says_what_is_so(&page, server.info().await.head_offset);
    pages.push(page);
    drop((live, replay, producer));
    wait_for(server.http(), "/metrics", |answer| {
        answer.body.contains("downlink_subscribers{state=\"live\"} 0\n")
            && has_moved(&answer.body, "downlink_trace_spans_total{outcome=\"lost\"}")
    });
    pages.push(Page::of(&server));
    server.kill();
    pages
}

fn says_what_is_so(page: &Page, head: u64) {
    let append = "method=\"downlink.v1.IngestService/Append\"";
    let stream = "method=\"downlink.v1.IngestService/AppendStream\"";
    for (sample, expected) in [
        (format!("downlink_rpcs_total{{{append},code=\"OK\"}}"), 22.0),
        (format!("downlink_rpcs_total{{{append},code=\"INVALID_ARGUMENT\"}}"), 1.0),
        (format!("downlink_rpc_errors_total{{{append},reason=\"INVALID_EVENT\"}}"), 1.0),
        (format!("downlink_rpc_duration_seconds_count{{{append}}}"), 23.0),
        (format!("downlink_rpcs_in_flight{{{append}}}"), 0.0),
        (format!("downlink_rpcs_in_flight{{{stream}}}"), 1.0),
        ("downlink_permits_taken{permit=\"append_streams\"}".to_owned(), 1.0),
        ("downlink_permits{permit=\"calls\"}".to_owned(), 100.0),
        ("downlink_events_total{outcome=\"duplicate\"}".to_owned(), 3.0),
        ("downlink_events_total{outcome=\"rejected\"}".to_owned(), 1.0),
        ("downlink_subscribers{state=\"live\"}".to_owned(), 2.0),
        ("downlink_signal_value{signal=\"life/7\"}".to_owned(), 99.0),
        ("downlink_events_delivered_total{call=\"read\"}".to_owned(), 2_013.0),
        ("downlink_consumer_lag_events{consumer=\"slow\"}".to_owned(), 2_011.0),
        ("downlink_seals_total{outcome=\"sealed\"}".to_owned(), 1.0),
        ("downlink_segments{form=\"sealed\"}".to_owned(), 1.0),
    ] {
        assert_eq!(page.value(&sample), expected, "{sample}");
    }
    let commits = page.value("downlink_commits_total");
    assert_eq!(page.value("downlink_commit_part_duration_seconds_count{part=\"sync\"}"), commits);
    assert_eq!(page.value("downlink_commit_events_sum"), page.value("downlink_head_offset") - 1.0);
    assert!(page.value("downlink_head_offset") <= head as f64);
    assert!(page.value("downlink_mirrored_offset") > 2_000.0);
}

/// The same log again, after a kill and with damage.
async fn damaged_life(dir: &Path) -> Vec<Page> {
    let server = Server::start(dir);
    let killed = Page::of(&server);
    assert!(killed.value("downlink_opening_replayed_events") > 0.0, "it was killed");
    server.kill();

    let db = dir.join("segments/00000000000000000001.sealed/db");
    let mut bytes = std::fs::read(&db).expect("a sealed segment");
    // In the middle of what is there: the rest of the file is zeroes.
    let telling: Vec<_> = (0..bytes.len()).filter(|index| bytes[*index] != 0).collect();
    let middle = telling.len() / 2;
    for index in &telling[middle..middle + 256] {
        bytes[*index] ^= 0xff;
    }
    std::fs::write(&db, bytes).expect("damage");
    let server = Server::start(dir);
    let before = Page::of(&server);
    let (found, _) = verify(&server, VerifyLogRequest::default()).await.expect("a verification");
    assert!(!found.is_empty(), "damage in the middle of a segment is found");
    let after = Page::of(&server);
    assert!(after.value("downlink_invariant_violations_total{invariant=\"block_readable\"}") > 0.0);
    vec![killed, before, after]
}

/// A mirror and a replica whose brokers are not there, and a replica whose disk is full.
async fn lives_apart(topic: &Topic) -> Vec<Page> {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let nobody = ["--set", "mirror_bootstrap_servers=127.0.0.1:1", "--set", "mirror_behind_ms_max=100"];
    let mirror = Server::start_with(dirs[0].path(), nobody);
    mirror.append(vec![event("a", 1.0)]).await;
    wait_for(mirror.http(), "/metrics", |answer| answer.body.contains("downlink_mirror_problem 1\n"));

    let (replica, primary) = (replica_dir().await, "follow_primary_url=http://a:1");
    let nobody = ["--set", "follow_bootstrap_servers=127.0.0.1:1", "--set", primary];
    let lost = Server::start_with(replica.path(), nobody);
    wait_for(lost.http(), "/metrics", |answer| answer.body.contains("downlink_replica_problem 1\n"));

    let mut command = server_command(dirs[1].path());
    let brokers = format!("follow_bootstrap_servers={}", topic.brokers());
    let (name, full) =
        (format!("follow_topic={}", topic.name()), format!("disk_reserve_bytes={}", 1_u64 << 50));
    for setting in [&*brokers, &name, primary, "follow_first_offset=5", &full] {
        command.args(["--set", setting]);
    }
    let late = Server::spawn(command).unwrap_or_else(|output| panic!("the replica did not start: {output}"));
    wait_for(late.http(), "/metrics", |answer| answer.body.contains("downlink_replica_lag_events "));
    [&mirror, &lost, &late].map(Page::of).to_vec()
}

/// A server with a feed, whose source repeats itself, is late, talks nonsense and breaks off.
async fn fed_life() -> Vec<Page> {
    let tank = |time_stamp, value| update("NODE3000005", time_stamp, value);
    let updates = [tank("6844.1", "15"), tank("6844.5", "16"), tank("6844.4", "17"), tank("6844.6", "full")];
    let troubles = [(2, Trouble::Repeat), (4, Trouble::End(48))];
    let stand_in = StandIn::start(Plan::new(updates.into_iter()).with_troubles(troubles)).await;
    let url = format!("feed_server_url={}", stand_in.url());
    let dir = tempfile::tempdir().unwrap();
    let settings = ["--feed", "iss", "--set", &url, "--set", "feed_items=NODE3000005"];
    let server = Server::start_with(dir.path(), settings);
    for sample in [
        "downlink_feed_left_out_total{feed=\"iss\",reason=\"known\"}",
        "downlink_feed_left_out_total{feed=\"iss\",reason=\"rejected\"}",
        "downlink_feed_late_total{feed=\"iss\"}",
        "downlink_feed_reconnects_total{feed=\"iss\"}",
        "downlink_feed_durable_seconds_count{feed=\"iss\"}",
    ] {
        wait_for(server.http(), "/metrics", |answer| has_moved(&answer.body, sample));
    }
    let expected = [15.0, 16.0, 17.0].map(|value| Some(Kind::DoubleValue(value)));
    // What has been counted may still be on its way to the disk.
    let all_come = async {
        while server.read_of(&["iss/NODE3000005"]).await.len() < expected.len() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the events", all_come).await;
    let events = server.read_of(&["iss/NODE3000005"]).await;
    let values = events.into_iter().map(|event| event.value.expect("a value").kind);
    assert_eq!(values.collect::<Vec<_>>(), expected, "each once, in the order in which they came");
    vec![Page::of(&server)]
}

/// Whether it is told, which it may not be at first, and is not nothing.
fn has_moved(page: &str, sample: &str) -> bool {
    let value = |line: &str| line.strip_prefix(sample)?.strip_prefix(' ').map(|value| value != "0");
    page.lines().find_map(value).unwrap_or_default()
}

/// A server whose files may not grow for ever, so that a commit fails.
async fn failing_life() -> Vec<Page> {
    let dir = tempfile::tempdir().unwrap();
    let plain = server_command(dir.path());
    let mut command = Command::new("bash");
    // The write fails instead of ending the process.
    let script = "trap '' XFSZ; ulimit -n 1500; ulimit -f 20480; exec \"$0\" \"$@\"";
    command.args(["-c", script]).arg(plain.get_program()).args(plain.get_args());
    command.env("DOWNLINK_HTTP_LISTEN", "127.0.0.1:0");
    let server = Server::spawn(command).unwrap_or_else(|output| panic!("the server did not start: {output}"));
    let mut client = server.ingest().await;
    let mut random = crate::random::Random::announced("failing_life");
    for _ in 0..400 {
        let noise = (0..100_000).map(|_| random.below(256) as u8).collect();
        let value = Some(Value { kind: Some(Kind::BytesValue(noise)) });
        let noise = Event { signal: "noise".to_owned(), value, ..Event::default() };
        let batch = AppendRequest { events: vec![noise], ..AppendRequest::default() };
        if client.append(batch).await.is_err() {
            break;
        }
    }
    let read_only = "downlink_condition{condition=\"read_only\"} 1\n";
    wait_for(server.http(), "/metrics", |answer| answer.body.contains(read_only));
    let page = Page::of(&server);
    assert_eq!(page.value("downlink_commit_failures_total"), 1.0);
    vec![page]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_moves_and_all_that_is_told_is_documented() {
    let dir = tempfile::tempdir().unwrap();
    let topic = Broker::shared().topic();
    let mut pages = busy_life(dir.path(), &topic).await;
    pages.extend(damaged_life(dir.path()).await);
    pages.extend(lives_apart(&topic).await);
    pages.extend(fed_life().await);
    pages.extend(failing_life().await);

    let documented = documented();
    for page in &pages {
        for metric in page.metrics() {
            assert!(documented.iter().any(|name| name == metric), "{metric} is not in METRICS.md");
        }
        passes_promtool(page);
    }
    let moves = |metric: &&String| {
        let seen: Vec<_> = pages.iter().map(|page| page.samples_of(metric)).collect();
        let seen: Vec<_> = seen.into_iter().filter(|samples| !samples.is_empty()).collect();
        seen.iter().any(|samples| samples != &seen[0])
            || (seen.len() < pages.len() && seen.iter().flatten().any(|(_, value)| *value != 0.0))
    };
    let still = documented.iter().filter(|metric| !MAY_BE_STILL.contains(&metric.as_str()) && !moves(metric));
    assert_eq!(still.collect::<Vec<_>>(), Vec::<&String>::new(), "nothing in the load moves these");
}

/// Prometheus' own checker finds nothing to say.
fn passes_promtool(page: &Page) {
    let mut promtool = Command::new(peer("DOWNLINK_PROMTOOL"));
    let promtool = promtool.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut child = promtool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("promtool");
    child.stdin.take().expect("piped").write_all(page.text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("an end");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(output.status.success() && said.iter().all(String::is_empty), "{said:?}\n{}", page.text);
}

/// Prometheus itself, killed when dropped.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_collects_them_as_openmetrics() {
    let (dir, server_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(server_dir.path());
    server.append(numbered("a", 41)).await;
    let config = dir.path().join("prometheus.yml");
    let target = server.http();
    let text = format!(
        "global: {{scrape_interval: 200ms}}\nscrape_configs: [{{job_name: downlink, static_configs: [{{targets: ['{target}']}}]}}]\n"
    );
    std::fs::write(&config, text).unwrap();
    let address = free_address();
    let mut prometheus = Command::new(peer("DOWNLINK_PROMETHEUS"));
    prometheus.arg(format!("--config.file={}", config.display()));
    prometheus.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
    prometheus.arg(format!("--web.listen-address={address}"));
    let child = prometheus.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("prometheus");
    let _prometheus = Prometheus(child);
    let answer = wait_for(&address, "/api/v1/query?query=downlink_head_offset", |answer| {
        answer.body.contains("\"value\"")
    });
    assert!(answer.body.contains("\"42\""), "{answer:?}");
    // What it says of a metric it has from the page: as OpenMetrics, where a unit is told.
    let metadata = get(&address, "/api/v1/metadata?metric=downlink_commit_duration_seconds");
    assert!(metadata.body.contains("\"unit\":\"seconds\""), "{metadata:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_told_while_the_log_is_still_being_opened_and_while_draining() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (_stubborn, _) = Producer::open(&server, Open::default()).await;
    server.signal("TERM");
    let draining = "downlink_condition{condition=\"draining\"} 1\n";
    wait_for(server.http(), "/metrics", |answer| answer.body.contains(draining));
    drop(soon("the end", tokio::task::spawn_blocking(move || server.wait())).await);

    let address = free_address();
    let mut command = server_command(tempfile::tempdir().unwrap().path());
    command.args(["--http-listen", &address, "--set", "follow_bootstrap_servers=127.0.0.1:1"]);
    command.args(["--set", "follow_primary_url=http://a:1"]);
    let mut child = command.stdout(Stdio::null()).spawn().expect("downlink-server");
    let starting = "downlink_condition{condition=\"starting\"} 1\n";
    wait_for(&address, "/metrics", |answer| answer.body.contains(starting));
    child.kill().expect("it runs");
    child.wait().expect("an end");
}
