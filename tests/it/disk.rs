//! Disks that are full, read-only, broken, or written by a newer version.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use downlink_proto::v1::admin_service_client::AdminServiceClient;
use downlink_proto::v1::get_log_info_response::State;
use downlink_proto::v1::ingest_service_client::IngestServiceClient;
use downlink_proto::v1::log_service_client::LogServiceClient;
use downlink_proto::v1::query_service_client::QueryServiceClient;
use downlink_proto::v1::{
    AppendRequest, Event, GetLogInfoRequest, ReadRequest, RollSegmentRequest, Value, read_response, value,
};
use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::engine::sled::SledEngine;
use downlink_storage::engine::{Engine as _, Profile};
use downlink_storage::{Log, Options, SystemClock};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Server, event, server_command, soon};
use crate::in_process::InProcess;
use crate::random::Random;
use crate::refusal::{Books, refused};

const MIB: usize = 1 << 20;
const DISK: &str = "size=160m";
const RESERVE_MIB: usize = 64;
/// Enough to fill the disk several times over.
const APPENDS_MAX: usize = 400;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_appends_until_there_is_room_and_reads_go_on() {
    let disk = Tmpfs::mount();
    let server = Server::start(&disk.path().join("data"));
    server.append(vec![event("before", 1.0)]).await;
    let books = Books::of(&server).await;

    let filler = disk.fill();
    let noticed = async {
        while server.info().await.state() != State::DiskFull {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon("that it is told before the first append", noticed).await;
    for rejected in 1..=3 {
        let batch = AppendRequest { events: vec![event("refused", 2.0)], ..AppendRequest::default() };
        let refusal = refused(server.ingest().await.append(batch).await);
        let refusal = refusal.is(Code::ResourceExhausted, "DISK_FULL");
        assert!(refusal.retry_after.is_some(), "{refusal:?}");
        assert_eq!(Books::of(&server).await, books.plus(0, 0, rejected));
    }
    let info = server.info().await;
    assert_eq!(info.state(), State::DiskFull, "{info:?}");
    assert!(!info.state_reason.is_empty());
    assert_eq!(signals(&server.read_all().await), ["before"]);

    std::fs::remove_file(filler).expect("room again");
    server.append(vec![event("after", 3.0)]).await;
    assert_eq!(server.info().await.state(), State::Serving);
    assert_eq!(Books::of(&server).await, books.plus(1, 0, 3));
    assert_eq!(signals(&server.read_all().await), ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_started_on_a_disk_without_a_byte_left_serves_what_it_has() {
    let disk = Tmpfs::mount();
    let data = disk.path().join("data");
    let server = Server::start_with(&data, ["--set", "segment_blocks_max=2"]);
    for number in 0..6 {
        server.append(vec![event(&format!("before/{number}"), 1.0)]).await;
    }
    roll(&server).await;
    let before = server.read_all().await;
    let ballast = data.join("BALLAST");
    assert!(ballast.exists());
    server.kill();

    let filler = disk.fill_to_the_last_byte();
    for is_first in [true, false] {
        let server = Server::start(&data);
        assert_eq!(server.info().await.state(), State::DiskFull, "before the first append");
        assert_eq!(server.read_all().await, before);
        let batch = AppendRequest { events: vec![event("refused", 2.0)], ..AppendRequest::default() };
        refused(server.ingest().await.append(batch).await).is(Code::ResourceExhausted, "DISK_FULL");
        assert!(!ballast.exists(), "it has been given up");
        if is_first {
            server.kill();
            continue;
        }
        std::fs::remove_file(&filler).expect("room again");
        server.append(vec![event("after", 3.0)]).await;
        assert_eq!(server.info().await.state(), State::Serving);
        assert!(ballast.exists(), "it is put back");
        assert_eq!(server.read_all().await.len(), before.len() + 1);
    }
}

async fn roll(server: &Server) {
    let mut admin = AdminServiceClient::new(server.channel().await);
    admin.roll_segment(RollSegmentRequest { wait_until_sealed: true }).await.expect("rolled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_fills_its_disk_keeps_all_it_acknowledged_and_is_never_broken() {
    let disk = Tmpfs::mount();
    let data = disk.path().join("data");
    // Segments roll and are sealed until the very end.
    let arguments = ["--set", "segment_payload_bytes_max=8388608"];
    let server = Server::start_with(&data, arguments);
    let mut random = Random::announced("fills_its_disk");
    let mut kept = 0;
    let mut client = server.ingest().await;
    for number in 0..APPENDS_MAX {
        let batch = AppendRequest { events: vec![noise(number, &mut random)], ..AppendRequest::default() };
        match client.append(batch).await {
            Ok(_) => kept += 1,
            // Sealing gives room back, so that the next may succeed.
            Err(status) => drop(refused::<()>(Err(status)).is(Code::ResourceExhausted, "DISK_FULL")),
        }
    }
    assert!(kept > 0 && kept < APPENDS_MAX, "{kept} of {APPENDS_MAX} fit");
    let before = server.read_all().await;
    assert_eq!(before.len(), kept);
    server.kill();
    let server = Server::start_with(&data, arguments);
    assert_eq!(server.read_all().await, before);
    assert_ne!(server.info().await.state(), State::ReadOnly);
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_with_the_reason() {
    let disk = Tmpfs::mount();
    let data = disk.path().join("data");
    drop(Server::start(&data));
    disk.make_read_only();
    is_refused(&data, "Read-only file system");
}

#[test]
fn a_log_of_a_newer_format_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    Server::start(dir.path()).terminate();
    let engine = SledEngine::new(dir.path().join("segments")).expect("an engine");
    let store = engine.open("00000000000000000001", Profile::Newest).expect("the newest segment");
    let header = store.get(&[0]).expect("a header").expect("a header");
    store.insert(&[0], &newer(&header)).expect("written");
    store.sync().expect("synced");
    drop(store);
    is_refused(dir.path(), "format version 3");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_sync_nothing_is_acknowledged_and_reads_go_on() {
    let engine = MemoryEngine::new();
    let log = Log::open(Arc::new(engine.clone()), Arc::new(SystemClock), Options::standard()).expect("a log");
    let server = InProcess::serve(log).await;
    let channel = server.channel().await;
    let mut ingest = IngestServiceClient::new(channel.clone());
    let batch = |name| AppendRequest { events: vec![event(name, 1.0)], ..AppendRequest::default() };
    ingest.append(batch("before")).await.expect("appended");
    assert_eq!(health(&channel, "downlink.v1.IngestService").await, ServingStatus::Serving);

    engine.fail_next_sync();
    for _ in 0..3 {
        refused(ingest.append(batch("after")).await).is(Code::Unavailable, "READ_ONLY");
    }
    let told = async {
        while health(&channel, "downlink.v1.IngestService").await != ServingStatus::NotServing {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("health", told).await;
    assert_eq!(health(&channel, "downlink.v1.QueryService").await, ServingStatus::Serving);

    let mut query = QueryServiceClient::new(channel.clone());
    let mut replay = query.read(ReadRequest::default()).await.expect("a replay").into_inner();
    let mut events = Vec::new();
    while let Some(response) = replay.message().await.expect("a frame") {
        if let Some(read_response::Frame::Events(batch)) = response.frame {
            events.extend(batch.events);
        }
    }
    assert_eq!(signals(&events), ["before"]);
    let mut facts = LogServiceClient::new(channel.clone());
    let info = facts.get_log_info(GetLogInfoRequest {}).await.expect("info").into_inner();
    assert_eq!((info.state(), info.head_offset), (State::ReadOnly, 2));
    let totals = info.totals.expect("totals");
    assert_eq!((totals.received_events, totals.appended_events, totals.rejected_events), (4, 1, 3));
    drop((channel, ingest, query, facts, replay));
    server.stop().await;
}

async fn health(channel: &tonic::transport::Channel, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(channel.clone()).check(request).await.expect("health").into_inner().status()
}

fn signals(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.signal.as_str()).collect()
}

/// A megabyte that no codec makes smaller.
fn noise(number: usize, random: &mut Random) -> Event {
    let bytes = (0..MIB / 8).flat_map(|_| random.number().to_le_bytes()).collect();
    let value = Some(Value { kind: Some(value::Kind::BytesValue(bytes)) });
    Event { signal: format!("noise/{number}"), value, ..Event::default() }
}

/// The server does not start, says why, and leaves with 1.
fn is_refused(data: &Path, reason: &str) {
    // One that starts all the same would never end by itself.
    assert!(Server::spawn(server_command(data)).is_err(), "it starts");
    let output = crate::harness::run(&mut server_command(data));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(reason), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
}

/// The same value as a version of the format would write it that does not exist yet: 2 is that of copies.
fn newer(value: &[u8]) -> Vec<u8> {
    let mut content = value[..value.len() - 4].to_vec();
    assert_eq!(content[0], 1, "the version comes first");
    content[0] = 3;
    let checksum = crc32(&content).to_le_bytes();
    assert_eq!(crc32(&value[..value.len() - 4]).to_le_bytes(), value[value.len() - 4..], "CRC-32");
    content.extend(checksum);
    content
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1)))
    })
}

/// A small disk of its own. Needs the right to mount, as root has in CI.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        run("mount", &["-t", "tmpfs", "-o", DISK, "downlink-test"], dir.path());
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves less than the reserve.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let file = File::create(&path).expect("a file");
        let chunk = vec![1; MIB];
        while self.free_mib() >= RESERVE_MIB {
            std::io::Write::write_all(&mut &file, &chunk).expect("room");
        }
        path
    }

    /// Leaves nothing at all.
    fn fill_to_the_last_byte(&self) -> PathBuf {
        let path = self.path().join("filler");
        let file = File::create(&path).expect("a file");
        for length in [MIB, 1] {
            while std::io::Write::write_all(&mut &file, &vec![1; length]).is_ok() {}
        }
        path
    }

    fn free_mib(&self) -> usize {
        let output = Command::new("df").args(["--block-size=1M", "--output=avail"]).arg(self.path()).output();
        let output = String::from_utf8(output.expect("df").stdout).expect("text");
        output.lines().last().and_then(|line| line.trim().parse().ok()).expect("a number")
    }

    fn make_read_only(&self) {
        run("mount", &["-o", "remount,ro"], self.path());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

fn run(program: &str, arguments: &[&str], dir: &Path) {
    let output = Command::new(program).args(arguments).arg(dir).output().expect(program);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "needs the right to mount a small disk (run as root): {said}");
}
