//! The way back: what is rebuilt from the mirror's topic is the log, and what cannot be is named.

mod brokers;
mod follow;
mod restore;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use downlink_proto::v1::Event;
use prost::Message as _;
use tempfile::TempDir;

use crate::append::numbered;
use crate::definitions::{define, full};
use crate::harness::{Server, binary, run, server_command, soon};
use crate::kafka::{Broker, Message, Topic};
use crate::mirror::{caught_up, mirrored};
use crate::values;

/// A log as its primary had it.
struct Origin {
    log_id: String,
    events: Vec<Event>,
    /// The hash over all of them, with the offset after the last.
    hash: (u64, Vec<u8>),
}

impl Origin {
    /// What `server` has. With a mirror, its own checkpoints may follow.
    async fn of(server: &Server) -> Self {
        let log_id = server.info().await.log_id;
        let (events, hash) = (server.read_everything().await, hash(server).await);
        Self { log_id, events, hash }
    }

    /// That a server has the same log from `first` on, as far as either goes: at least to the offset `least`.
    async fn is_copied(&self, server: &Server, first: u64, least: u64) {
        let info = server.info().await;
        assert_eq!((&info.log_id, info.oldest_offset), (&self.log_id, first));
        let copied = server.read_everything().await;
        assert!(copied.len() as u64 + first >= least, "it ends at {}", info.head_offset);
        assert_eq!(info.head_offset, first + copied.len() as u64);
        for (event, copied) in self.events[first as usize - 1..].iter().zip(&copied) {
            // Bit for bit, numbers of signals and ingest times included.
            assert_eq!(copied.encode_to_vec(), event.encode_to_vec(), "{copied:?} is not {event:?}");
        }
    }
}

/// The hash over all that a server has, and the offset after it.
async fn hash(server: &Server) -> (u64, Vec<u8>) {
    let hashed = async {
        loop {
            let info = server.info().await;
            if info.hash_offset == info.head_offset {
                break (info.hash_offset, info.head_hash);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let hash = soon("a hash over everything", hashed).await;
    assert!(!hash.1.is_empty());
    hash
}

/// Events of every kind, over many signals and commits.
async fn append_all_kinds(server: &Server) {
    for event in values::large().into_iter().chain(values::all()) {
        server.append(vec![event]).await;
    }
    define(server, vec![full("tank")]).await;
    for number in 0..40 {
        server.append(numbered(&format!("numbered/{number}"), 300)).await;
        server.append(values::all()).await;
    }
}

/// A log, its topic, and what is in it, after the server has gone.
struct Mirrored {
    dir: TempDir,
    topic: Topic,
    origin: Origin,
    /// The offset after the last event that the topic has.
    end: u64,
}

/// A log of so many events on twenty signals, with its topic.
async fn mirrored_log(events_per_signal: usize) -> Mirrored {
    let (dir, topic) = (tempfile::tempdir().unwrap(), Broker::shared().topic());
    // No checkpoints but the last, which stays out of the topic.
    let server = mirrored(dir.path(), &topic, &["mirror_checkpoint_ms=3600000"]);
    for number in 0..20 {
        server.append(numbered(&format!("numbered/{number}"), events_per_signal)).await;
    }
    caught_up(&server).await;
    let origin = Origin::of(&server).await;
    let end = origin.events.len() as u64 + 1;
    assert!(server.terminate().0.success());
    Mirrored { dir, topic, origin, end }
}

/// The directory of a server that has been a replica.
pub(crate) async fn replica_dir() -> TempDir {
    let (primary, dir) = (mirrored_log(1).await, tempfile::tempdir().unwrap());
    assert!(follower(dir.path(), &primary.topic, &[]).terminate().0.success());
    dir
}

fn restore_command(topic: &Topic, dir: &Path) -> Command {
    let mut command = Command::new(binary("downlink-server"));
    command.args([
        "restore",
        "--from",
        "kafka",
        "--bootstrap-servers",
        topic.brokers(),
        "--topic",
        topic.name(),
    ]);
    command.arg("--data-dir").arg(dir);
    command
}

fn restore(topic: &Topic, dir: &Path, more: &[&str]) -> Output {
    run(restore_command(topic, dir).args(more))
}

/// A restore that succeeds; gives what it says.
#[track_caller]
fn restores(topic: &Topic, dir: &Path, more: &[&str]) -> String {
    let output = restore(topic, dir, more);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    out.into_owned()
}

/// A restore that fails and says all this.
#[track_caller]
fn fails(topic: &Topic, dir: &Path, more: &[&str], words: &[&str]) -> String {
    let output = restore(topic, dir, more);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{err}");
    let last = err.lines().last().unwrap_or_default();
    assert!(words.iter().all(|word| last.contains(word)), "{words:?} are not in {last}");
    err
}

/// A read replica on `dir`, of a primary that is named `http://primary`.
fn follower(dir: &Path, topic: &Topic, settings: &[&str]) -> Server {
    Server::spawn(follower_command(dir, topic, settings))
        .unwrap_or_else(|output| panic!("the replica did not start: {output}"))
}

fn follower_command(dir: &Path, topic: &Topic, settings: &[&str]) -> Command {
    let mut command = server_command(dir);
    let brokers = format!("follow_bootstrap_servers={}", topic.brokers());
    let name = format!("follow_topic={}", topic.name());
    let fixed = [&*brokers, &name, "follow_primary_url=http://primary", "follow_retry_ms_max=500"];
    for setting in fixed.iter().chain(settings) {
        command.args(["--set", setting]);
    }
    command
}

/// The message of an event.
fn message_of(messages: &[Message], offset: u64) -> &Message {
    let offset = offset.to_string();
    messages.iter().find(|message| message.headers["offset"] == offset).expect("the topic has it")
}

/// A topic with these messages.
fn filled(partitions: u32, messages: &[Message]) -> Topic {
    let topic = Broker::shared().topic();
    topic.create(partitions, &["retention.ms=-1", "max.message.bytes=10000000"]);
    topic.fill(messages);
    topic
}
