//! What the server asks of the system, and when: no acknowledgement leaves before what it promises is on disk, the
//! names of the files included.

mod durable;
mod trace;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use downlink_proto::v1::admin_service_client::AdminServiceClient;
use downlink_proto::v1::append_stream_request::{Message as Request, Open};
use downlink_proto::v1::append_stream_response::Message as Answer;
use downlink_proto::v1::{
    AppendResponse, AppendStreamRequest, AppendStreamResponse, Event, RollSegmentRequest, Value, value,
};

use crate::harness::{PATIENCE, Server, server_command};
use crate::producer::Producer;
use crate::random::Random;
use trace::Call;

const TRACED: &str = "trace=read,readv,recvfrom,recvmsg,write,writev,pwrite64,pwritev,sendto,sendmsg,fdatasync,\
    fsync,open,openat,mkdir,mkdirat,rename,renameat,renameat2";
const SMALL_EVENTS: usize = 40;
const LARGE_EVENTS: usize = 3;

const WINDOW: u64 = 16;
const BATCHES: u64 = 160;
const BATCH_EVENTS: u64 = 4;
/// Segments roll and are sealed, snapshots are taken, commits hold a few batches each.
const SETTINGS: [&str; 3] = ["segment_blocks_max=6", "commit_events_max=12", "snapshot_every_events=100"];

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledgement_leaves_before_the_sync_that_covers_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let server = start(&data, &[]);
    let mut random = Random::seeded(7);
    let mut tokens = Vec::new();
    for number in 0..SMALL_EVENTS + LARGE_EVENTS {
        // A large value that does not compress goes into a file of its own, which must be synced too.
        let token = noise(&mut random, if number < SMALL_EVENTS { 32 } else { 1 << 20 });
        server.append(vec![event(token.clone())]).await;
        tokens.push(token);
    }
    let calls = end(server, &data);
    let mut files = 0;
    for token in tokens {
        // Each request has a connection of its own.
        let socket = &arrival(&calls, &token).file;
        let answers = wire::messages::<AppendResponse>(sends(&calls, socket));
        let [(_, answered)] = &answers[..] else { panic!("one request, one answer") };
        files = files.max(covered(&calls, dir.path(), &token, answered).1);
    }
    assert!(
        files > 1,
        "the large values went the way of the small ones: nothing was shown for the other files"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledgement_of_a_window_leaves_before_the_syncs_that_cover_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("new").join("data");
    let calls = windowed(&data).await;
    check_acknowledgements(&calls, dir.path());
    for file in [&data, &data.join("segments"), &data.join("segments/00000000000000000001/db")] {
        let without = without_syncs(&calls, |synced| synced == file);
        let noticed = catch_unwind(|| check_acknowledgements(&without, dir.path())).is_err();
        assert!(noticed, "nobody misses the syncs of {}", file.display());
    }
}

/// The calls but for the syncs of some files.
fn without_syncs(calls: &[Call], is_one: impl Fn(&Path) -> bool) -> Vec<Call> {
    calls.iter().filter(|call| !call.is_sync() || !is_one(Path::new(&call.file))).cloned().collect()
}

fn check_acknowledgements(calls: &[Call], root: &Path) {
    let mut random = Random::seeded(WINDOW);
    let tokens: Vec<_> = (0..BATCHES).map(|_| noise(&mut random, 32)).collect();
    let socket = &arrival(calls, &tokens[0]).file;
    let received = calls.iter().filter(|call| call.is_receive() && call.file == *socket);
    let mut arrived = BTreeMap::new();
    for (request, call) in wire::messages::<AppendStreamRequest>(received) {
        if let Some(Request::Batch(batch)) = request.message {
            arrived.insert(batch.sequence, call.ended);
        }
    }
    assert_eq!(arrived.len() as u64, BATCHES);
    let (mut settled, mut in_flight, mut stores) = (0, 0, BTreeSet::new());
    for (answer, call) in wire::messages::<AppendStreamResponse>(sends(calls, socket)) {
        let Some(Answer::Ack(ack)) = answer.message else { continue };
        in_flight =
            in_flight.max(arrived.values().filter(|line| **line < call.began).count() as u64 - settled);
        for sequence in settled + 1..=ack.through_sequence {
            let (store, _) = covered(calls, root, &tokens[sequence as usize - 1], call);
            stores.insert(store);
        }
        settled = ack.through_sequence;
    }
    assert_eq!(settled, BATCHES);
    assert!(in_flight > 1 && stores.len() > 3, "{in_flight} in flight, {stores:?}: that shows nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_renamed_is_whole_before_and_on_disk_before_anything_relies_on_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let calls = windowed(&data).await;
    check_renames(&calls, dir.path());
    let segments = data.join("segments");
    let is_store = |dir: &Path| dir.parent() == Some(segments.as_path()) && dir.extension().is_none();
    let is_being_sealed = |dir: &Path| dir.extension().is_some_and(|extension| extension == "sealing");
    let in_one_being_sealed =
        |file: &Path| file.ends_with("db") && file.parent().is_some_and(is_being_sealed);
    let notices = |is_one: &dyn Fn(&Path) -> bool| {
        let without = without_syncs(&calls, is_one);
        catch_unwind(|| check_renames(&without, dir.path())).is_err()
    };
    assert!(notices(&|dir| dir == segments), "nobody misses the syncs of the segments' names");
    assert!(notices(&is_store), "nobody misses the syncs of the snapshots' names");
    assert!(notices(&is_being_sealed), "nobody misses the syncs of the names in a sealed segment");
    assert!(notices(&in_one_being_sealed), "nobody misses the syncs of a sealed segment's content");
}

fn check_renames(calls: &[Call], root: &Path) {
    let renames = || calls.iter().filter_map(|call| Some((call, call.renamed()?)));
    let (mut sealed, mut snapshots) = (0, 0);
    for (rename, (_, to)) in renames() {
        if to.extension().is_some_and(|extension| extension == "sealed") {
            // The only other copy goes.
            let raw = to.with_extension("");
            let removed = renames().find(|(_, (from, _))| *from == raw).expect("the raw segment goes");
            durable::published(calls, root, rename, removed.0.began);
            sealed += 1;
        } else if to.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snap.")) {
            // From here on the engine may write over what the snapshot before it needed.
            let store = to.parent().expect("a directory");
            let next = calls.iter().find(|call| {
                call.began > rename.ended && call.is_write() && Path::new(&call.file).starts_with(store)
            });
            durable::names(calls, store, to, next.map_or(usize::MAX, |write| write.began));
            snapshots += 1;
        }
    }
    assert!(sealed > 3 && snapshots > 3, "{sealed} sealed, {snapshots} snapshots: that shows nothing");
}

/// One stream with a window, on a new log, until everything is sealed.
async fn windowed(data: &Path) -> Vec<Call> {
    let server = start(data, &SETTINGS);
    let mut random = Random::seeded(WINDOW);
    let (mut producer, _) = Producer::open(&server, Open::default()).await;
    let mut settled = 0;
    for sequence in 1..=BATCHES {
        while sequence > settled + WINDOW {
            settled = producer.ack().await.through_sequence;
        }
        let token = noise(&mut random, 32);
        producer.send(sequence, (0..BATCH_EVENTS).map(|_| event(token.clone())).collect());
    }
    producer.finish().await;
    let mut admin = AdminServiceClient::new(server.channel().await);
    admin.roll_segment(RollSegmentRequest { wait_until_sealed: true }).await.expect("rolled");
    end(server, data)
}

/// Bytes that no codec makes smaller, so that they are found again as they are.
fn noise(random: &mut Random, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| random.number() as u8).collect()
}

fn event(token: Vec<u8>) -> Event {
    let value = Some(Value { kind: Some(value::Kind::BytesValue(token)) });
    Event { signal: "token".to_owned(), value, ..Event::default() }
}

/// The tracer runs beside the server, so that signals reach the server itself.
fn start(data: &Path, settings: &[&str]) -> Server {
    let plain = server_command(data);
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-y", "-xx", "-s", "65536", "-e", TRACED, "-o"]).arg(trace_of(data));
    command.arg(plain.get_program()).args(plain.get_args());
    for setting in settings {
        command.args(["--set", setting]);
    }
    Server::spawn(command).unwrap_or_else(|said| panic!("needs strace: install it, then try again. {said}"))
}

/// A name that a path below is not made of.
fn trace_of(data: &Path) -> PathBuf {
    let root = data.ancestors().find(|path| path.is_dir()).expect("a directory that is there");
    root.join("trace")
}

/// Stops the server and reads the trace, once the tracer has written all of it.
fn end(server: Server, data: &Path) -> Vec<Call> {
    let (status, _) = server.terminate();
    assert!(status.success());
    let trace = data.ancestors().map(|path| path.join("trace")).find(|path| path.exists()).expect("a trace");
    let started = Instant::now();
    loop {
        let text = std::fs::read_to_string(&trace).expect("a trace");
        // The last thread to end is the process itself.
        if text.lines().last().is_some_and(|line| line.contains("+++ exited with 0 +++")) {
            return trace::parse(&text);
        }
        assert!(started.elapsed() < PATIENCE, "the trace does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The call that received the token.
fn arrival<'a>(calls: &'a [Call], token: &[u8]) -> &'a Call {
    // A large one comes in several pieces: its beginning will do.
    let beginning = &token[..16];
    let arrived = calls.iter().find(|call| call.is_receive() && contains(&call.bytes, beginning));
    arrived.expect("every token arrives")
}

fn sends<'a>(calls: &'a [Call], socket: &str) -> impl Iterator<Item = &'a Call> {
    calls.iter().filter(move |call| call.is_send() && call.file == socket)
}

/// When the answer leaves, the token is on disk, with all that was written to its segment before it, and so are the
/// names that lead there. Gives back the segment's directory and how many files there were.
fn covered(calls: &[Call], root: &Path, token: &[u8], answered: &Call) -> (PathBuf, usize) {
    let is_segment = |file: &str| {
        file.contains("/segments/") && !file.contains("/derived/") && !file.contains(".sealing/")
    };
    let written = calls
        .iter()
        .find(|call| call.is_write() && is_segment(&call.file) && contains(&call.bytes, &token[..16]));
    let written = written.expect("every token is written");
    assert!(written.ended < answered.began, "answered in line {} and written later", answered.began);
    let segment = Path::new(&written.file)
        .ancestors()
        .find(|dir| dir.parent().is_some_and(|parent| parent.ends_with("segments")));
    let segment = segment.expect("a segment");
    let files = durable::contents(calls, segment, written.began, answered.began);
    for file in &files {
        durable::names(calls, root, file, answered.began);
    }
    (segment.to_owned(), files.len())
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
