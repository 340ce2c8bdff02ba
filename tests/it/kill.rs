//! kill -9 at random moments, over and over: nothing acknowledged is lost, nothing comes twice, nothing is made up.

pub(crate) mod source;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Server, server_command, slow};
use crate::random::Random;
use source::{Source, Way};

/// Kills of one log; a long run begins a new log after so many.
const ROUNDS: u64 = 30;
const HISTORIES_SLOW: u64 = 34;

/// The longest life of a server, and of one that is killed while it opens the log.
const LIFE_MS_MAX: u64 = 250;
const OPENING_MS_MAX: u64 = 80;

/// So that segments roll and are sealed all the time.
const SETTINGS: [&str; 5] = [
    "segment_blocks_max=6",
    "commit_events_max=64",
    "snapshot_every_events=200",
    "open_segments_max=2",
    "log_filter=error",
];

/// What the kills hit.
#[derive(Debug, Default)]
struct Hits {
    kills: u64,
    while_opening: u64,
    while_sealing: u64,
    while_creating_or_removing: u64,
    events: u64,
    duplicate_batches: u64,
    segments: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_nothing_acknowledged_and_doubles_nothing() {
    let mut random = Random::announced("kill_9");
    let mut hits = Hits::default();
    let started = Instant::now();
    for _ in 0..if slow() { HISTORIES_SLOW } else { 1 } {
        history(&mut random, &mut hits).await;
        println!("{hits:?} in {:?}", started.elapsed());
    }
    assert!(
        hits.while_opening > 0 && hits.while_sealing > 0,
        "kills that hit nothing prove nothing: {hits:?}"
    );
    assert!(hits.duplicate_batches > 0, "nothing was ever sent twice: {hits:?}");
}

/// One log from its beginning through many kills.
async fn history(random: &mut Random, hits: &mut Hits) {
    let dir = tempfile::tempdir().expect("a directory");
    let ways = [Way::Stream, Way::Stream, Way::Stream, Way::Unary, Way::Unary];
    let mut sources: Vec<_> = ways
        .into_iter()
        .enumerate()
        .map(|(number, way)| Source::new(format!("{way:?}/{number}"), way, random.number()))
        .collect();
    for _ in 0..ROUNDS {
        let server = start(dir.path());
        check_books(&server).await;
        let life = Duration::from_millis(random.below(LIFE_MS_MAX));
        let url = server.url();
        let appending: Vec<_> = sources
            .into_iter()
            .map(|mut source| {
                let url = url.clone();
                tokio::spawn(async move {
                    source.append_until_broken(&url).await;
                    source
                })
            })
            .collect();
        // Chance decides when the server dies, not a condition to wait for.
        tokio::time::sleep(life).await;
        server.kill();
        hits.kills += 1;
        look_around(dir.path(), hits);
        sources = Vec::new();
        for task in appending {
            let joined = tokio::time::timeout(PATIENCE, task).await;
            sources.push(joined.expect("a source notices that the server is gone").expect("see above"));
        }
        while random.below(3) == 0 {
            kill_while_opening(dir.path(), Duration::from_millis(random.below(OPENING_MS_MAX))).await;
            hits.while_opening += 1;
            look_around(dir.path(), hits);
        }
    }
    let server = start(dir.path());
    for source in &mut sources {
        source.settle(&server.url()).await;
    }
    check_books(&server).await;
    let log = server.read_all().await;
    for (index, event) in log.iter().enumerate() {
        assert_eq!(event.offset, index as u64 + 1, "offsets are dense");
    }
    let sent: u64 = sources.iter().map(|source| source.check(&log)).sum();
    assert_eq!(log.len() as u64, sent, "something was made up");
    hits.events += sent;
    hits.duplicate_batches += sources.iter().map(|source| source.duplicates).sum::<u64>();
    hits.segments += u64::from(server.info().await.segments);
}

fn start(dir: &Path) -> Server {
    let mut command = server_command(dir);
    set(&mut command);
    Server::spawn(command).unwrap_or_else(|output| panic!("the server did not start again: {output}"))
}

fn set(command: &mut Command) {
    for setting in SETTINGS {
        command.args(["--set", setting]);
    }
}

async fn kill_while_opening(dir: &Path, after: Duration) {
    let mut command = server_command(dir);
    set(&mut command);
    let mut server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("downlink-server");
    tokio::time::sleep(after).await;
    let ended = server.try_wait().expect("a status");
    assert_eq!(ended, None, "the server did not start again");
    server.kill().expect("kill -9");
    server.wait().expect("a status");
}

/// Counts what the kill interrupted, by the directories that stand half done.
fn look_around(dir: &Path, hits: &mut Hits) {
    let Ok(entries) = std::fs::read_dir(dir.join("segments")) else { return };
    let names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
    let ends = |ending: &str| names.iter().any(|name| name.to_string_lossy().ends_with(ending));
    hits.while_sealing += u64::from(ends(".sealing"));
    hits.while_creating_or_removing += u64::from(ends(".creating") || ends(".removed"));
}

async fn check_books(server: &Server) {
    let info = server.info().await;
    let totals = info.totals.expect("totals");
    assert_eq!(totals.appended_events, info.head_offset - 1);
    assert_eq!(info.durable_offset, info.head_offset);
    assert_eq!(
        totals.received_events,
        totals.appended_events + totals.duplicate_events + totals.rejected_events
    );
    assert_eq!(totals.rejected_events, 0, "nothing deserved to be refused");
}
