//! What a reader is told of damage, over gRPC and at a prompt.

use std::sync::Arc;

use downlink_proto::v1::gap::Reason;
use downlink_proto::v1::ingest_service_client::IngestServiceClient;
use downlink_proto::v1::query_service_client::QueryServiceClient;
use downlink_proto::v1::{
    AppendRequest, Gap, OnDamage, Position, ReadRequest, ReadResponse, SubscribeRequest, position,
    read_response, subscribe_response,
};
use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::{Log, Options, SystemClock};
use tonic::{Code, Status, Streaming};

use crate::harness::{downlink, event, run, soon};
use crate::in_process::InProcess;
use crate::refusal::refused;

const BATCHES: u64 = 3;
const BATCH_EVENTS: u64 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_skips_damage_gets_a_gap_and_the_events_around_it() {
    let server = damaged().await;
    let mut query = QueryServiceClient::new(server.channel().await);
    let replay = query.read(ReadRequest::default()).await.expect("a replay").into_inner();
    let (offsets, gaps, end) = read(replay).await;
    assert_eq!(end.expect("an end").code(), Code::Ok);
    assert_eq!(offsets, [1, 2, 5, 6]);
    let reason = Reason::Corruption.into();
    assert_eq!(gaps, [Gap { first_offset: 3, last_offset: 4, reason }]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_fails_on_damage_gets_data_loss_with_the_offsets() {
    let server = damaged().await;
    let mut query = QueryServiceClient::new(server.channel().await);
    let request = ReadRequest { on_damage: OnDamage::Fail.into(), ..ReadRequest::default() };
    let replay = query.read(request).await.expect("a replay").into_inner();
    let (offsets, gaps, end) = read(replay).await;
    let refusal = refused::<()>(Err(end.expect("an end"))).is(Code::DataLoss, "BLOCK_CORRUPT");
    assert_eq!(offsets, [1, 2], "what comes before is whole");
    assert_eq!(gaps, []);
    let place = |key: &str| refusal.metadata.get(key).map(String::as_str);
    assert_eq!((place("first_offset"), place("last_offset")), (Some("3"), Some("4")), "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_gets_a_gap_with_the_offset_behind_it_and_what_comes_after_it() {
    let server = damaged().await;
    let mut query = QueryServiceClient::new(server.channel().await);
    let start = Some(Position { at: Some(position::At::Offset(1)) });
    let request = SubscribeRequest { start, ..SubscribeRequest::default() };
    let mut frames = query.subscribe(request).await.expect("a subscription").into_inner();
    let mut seen = Vec::new();
    while seen.last() != Some(&Seen::Events(vec![7], 8)) {
        let response =
            soon("a frame", frames.message()).await.expect("a frame").expect("it goes on for ever");
        let next = response.next_offset;
        match response.frame.expect("never empty") {
            subscribe_response::Frame::Events(batch) => {
                seen.push(Seen::Events(batch.events.iter().map(|event| event.offset).collect(), next));
            }
            subscribe_response::Frame::Gap(gap) => seen.push(Seen::Gap(gap, next)),
            subscribe_response::Frame::CaughtUp(_) => {
                let events = vec![event("tank", 0.0)];
                let mut ingest = IngestServiceClient::new(server.channel().await);
                ingest.append(AppendRequest { events, ..AppendRequest::default() }).await.expect("appended");
                seen.push(Seen::CaughtUp(next));
            }
            subscribe_response::Frame::Started(_) => assert_eq!(next, 1),
            other @ (subscribe_response::Frame::FellBehind(_)
            | subscribe_response::Frame::Heartbeat(_)
            | subscribe_response::Frame::Draining(_)) => panic!("{other:?}"),
        }
    }
    let gap = Gap { first_offset: 3, last_offset: 4, reason: Reason::Corruption.into() };
    let [one, two] = [Seen::Events(vec![1, 2], 3), Seen::Events(vec![5, 6], 7)];
    assert_eq!(seen, [one, Seen::Gap(gap, 5), two, Seen::CaughtUp(7), Seen::Events(vec![7], 8)]);
}

/// A frame, and where to resume behind it.
#[derive(Debug, PartialEq)]
enum Seen {
    Events(Vec<u64>, u64),
    Gap(Gap, u64),
    CaughtUp(u64),
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_leaves_damaged_events_out_says_so_and_ends_with_3() {
    let server = damaged().await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("out.csv");
    let csv = "offset\n1\n2\n5\n6\n";
    let (code, out, said) = command(&server, &["export", "--columns", "offset"]).await;
    assert_eq!((code, &*out), (3, csv));
    let lines: Vec<_> = said.lines().collect();
    assert!(matches!(lines[..], [gap, sum] if gap.contains("3 to 4") && sum.contains("2 events")), "{said}");

    let path = file.to_str().expect("a path");
    let (code, out, _) = command(&server, &["export", "--columns", "offset", "--out", path]).await;
    assert_eq!((code, &*out), (3, ""));
    assert_eq!(std::fs::read_to_string(&file).expect("as whole as it can be"), csv);

    let (code, out, said) = command(&server, &["read", "--output", "json"]).await;
    let lines: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let offsets: Vec<_> = lines.iter().map(|line| line["offset"].as_u64()).collect();
    assert_eq!((code, &offsets[..]), (3, &[Some(1), Some(2), None, Some(5), Some(6)][..]), "{out}{said}");
    assert!(lines[2].to_string().contains("3") && lines[2].to_string().contains("4"), "{}", lines[2]);

    // Beside the damage nothing is missing.
    assert_eq!(command(&server, &["export", "--columns", "offset", "--from", "5"]).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_that_is_to_fail_on_damage_ends_there_with_1() {
    let server = damaged().await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("out.csv");
    let path = file.to_str().expect("a path");
    for arguments in [&["read"][..], &["export", "--out", path][..]] {
        let arguments = [arguments, &["--on-damage", "fail"]].concat();
        let (code, _, said) = command(&server, &arguments).await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("BLOCK_CORRUPT") || said.contains("damaged"), "{said}");
    }
    assert!(!file.exists(), "half an export does not pass for a whole one");
}

/// Runs `downlink` to its end: the exit code, and what it printed and said.
async fn command(server: &InProcess, arguments: &[&str]) -> (i32, String, String) {
    let mut command = downlink(server.url());
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || run(&mut command)).await.expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

/// A server whose log has three blocks, the one in the middle damaged.
async fn damaged() -> InProcess {
    let engine = MemoryEngine::new();
    let open = || Log::open(Arc::new(engine.clone()), Arc::new(SystemClock), Options::standard());
    let server = InProcess::serve(open().expect("a log")).await;
    let mut ingest = IngestServiceClient::new(server.channel().await);
    for batch in 0..BATCHES {
        let events = (0..BATCH_EVENTS).map(|index| event("tank", (batch * BATCH_EVENTS + index) as f64));
        let request = AppendRequest { events: events.collect(), ..AppendRequest::default() };
        ingest.append(request).await.expect("appended");
    }
    drop(ingest);
    server.stop().await;
    let block = [&[1][..], &(1 + BATCH_EVENTS).to_be_bytes()].concat();
    assert!(engine.corrupt("00000000000000000001", &block, 100), "there is a block");
    // Opened anew, so that the block does not come from memory.
    InProcess::serve(open().expect("a log")).await
}

/// The offsets of the events, the gaps, and how it ended.
async fn read(mut replay: Streaming<ReadResponse>) -> (Vec<u64>, Vec<Gap>, Option<Status>) {
    let (mut offsets, mut gaps, mut end) = (Vec::new(), Vec::new(), None);
    loop {
        match replay.message().await {
            Ok(Some(ReadResponse { frame: Some(frame) })) => match frame {
                read_response::Frame::Events(batch) => {
                    offsets.extend(batch.events.iter().map(|event| event.offset))
                }
                read_response::Frame::Gap(gap) => gaps.push(gap),
                read_response::Frame::End(_) => end = Some(Status::ok("")),
            },
            Ok(Some(empty)) => panic!("{empty:?}"),
            Ok(None) => return (offsets, gaps, end),
            Err(status) => return (offsets, gaps, Some(status)),
        }
    }
}
