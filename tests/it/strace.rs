//! What the server asks of the system, and when: no acknowledgement leaves before the sync that covers it.

mod trace;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use downlink_proto::v1::{Event, Value, value};

use crate::harness::{PATIENCE, Server, server_command};
use crate::random::Random;
use trace::Call;

const TRACED: &str =
    "trace=read,readv,recvfrom,recvmsg,write,writev,pwrite64,pwritev,sendto,sendmsg,fdatasync,fsync";
const SMALL_EVENTS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledgement_leaves_before_the_sync_that_covers_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, trace) = (dir.path().join("data"), dir.path().join("trace"));
    let server = start(&data, &trace);
    let mut random = Random::seeded(7);
    let mut markers = Vec::new();
    for number in 0..SMALL_EVENTS + 3 {
        let marker = format!("marker/{number:06}");
        // A large value that does not compress goes into a file of its own, which must be synced too.
        let length = if number < SMALL_EVENTS { 10 } else { 1 << 20 };
        let bytes = (0..length).map(|_| random.number() as u8).collect();
        let value = Some(Value { kind: Some(value::Kind::BytesValue(bytes)) });
        server.append(vec![Event { signal: marker.clone(), value, ..Event::default() }]).await;
        markers.push(marker);
    }
    let (status, _) = server.terminate();
    assert!(status.success());
    let calls = trace::parse(&whole(&trace));
    let mut files = 0;
    for marker in markers {
        files = files.max(check(&calls, &marker, &data));
    }
    assert!(
        files > 1,
        "the large values went the way of the small ones: nothing was shown for the other files"
    );
}

/// The tracer runs beside the server, so that signals reach the server itself.
fn start(data: &Path, trace: &Path) -> Server {
    let plain = server_command(data);
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-y", "-xx", "-s", "65536", "-e", TRACED, "-o"]).arg(trace);
    command.arg(plain.get_program()).args(plain.get_args());
    Server::spawn(command).unwrap_or_else(|said| panic!("needs strace: install it, then try again. {said}"))
}

/// The trace, once the tracer has written all of it.
fn whole(trace: &Path) -> String {
    let started = Instant::now();
    loop {
        let text = std::fs::read_to_string(trace).expect("a trace");
        // The last thread to end is the process itself.
        if text.lines().last().is_some_and(|line| line.contains("+++ exited with 0 +++")) {
            return text;
        }
        assert!(started.elapsed() < PATIENCE, "the trace does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Between the arrival of the request and the first byte of its answer, each file of the log that was written to
/// has been synced, and the sync began after the last write had ended. Gives back how many files there were.
fn check(calls: &[Call], marker: &str, data: &Path) -> usize {
    let arrived = calls
        .iter()
        .find(|call| call.is_receive() && contains(&call.bytes, marker.as_bytes()))
        .unwrap_or_else(|| panic!("{marker} never arrived"));
    let answered = calls
        .iter()
        .find(|call| {
            call.began > arrived.ended
                && call.is_send()
                && call.file == arrived.file
                && trace::has_data_frame(&call.bytes)
        })
        .unwrap_or_else(|| panic!("{marker} was never answered"));
    let segments = data.join("segments").display().to_string();
    let between = |call: &&Call| call.ended > arrived.began && call.began < answered.began;
    let mut last_writes = BTreeMap::<&str, usize>::new();
    for write in
        calls.iter().filter(between).filter(|call| call.is_write() && call.file.starts_with(&segments))
    {
        // Worth something only as long as it happens to be there: derived state, and a note that may be out of date.
        if !write.file.contains("/derived/") && !write.file.ends_with("/synced") {
            let last = last_writes.entry(write.file.as_str()).or_default();
            *last = write.ended.max(*last);
        }
    }
    assert!(!last_writes.is_empty(), "{marker} was answered, but nothing was written");
    for (file, last_write) in &last_writes {
        let synced = calls.iter().any(|call| {
            call.is_sync() && call.file == *file && call.began > *last_write && call.ended < answered.began
        });
        assert!(synced, "{marker} was answered in line {} before {file} was synced", answered.began);
    }
    last_writes.len()
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
