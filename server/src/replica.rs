//! The way back: a log out of the topic that its mirror has filled, once (`restore`) or on and on (a read replica).
//!
//! The copy is the log: the same identity, offsets, events and ingest times. So nothing is appended to it but what comes from
//! the topic, and where it goes on there is kept beside it.

mod copier;
mod failure;
mod kept;
mod merge;
mod reading;
mod session;
mod status;
mod survey;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use downlink_storage::{Beginning, Log, Offset};

use crate::config::{Config, FOLLOW_VARIABLES};
use crate::mirror;
use crate::mirror::reader::{Next, Reader, ReaderSettings};
use crate::shutdown::Tasks;
use failure::Failure;
use kept::Kept;
use session::{Goal, Session};
pub(crate) use status::Status;

/// How long the first message of a topic is waited for at a time.
const WAIT: Duration = Duration::from_millis(50);
/// How long in all.
const FIRST_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long a topic may give nothing of what it has.
const STALL: Duration = Duration::from_secs(60);

/// What a restore has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The log's identity.
    pub log_id: String,
    /// Its first offset.
    pub oldest_offset: u64,
    /// The offset that its next event will get.
    pub head_offset: u64,
    /// Events that the topic had twice.
    pub duplicates: u64,
}

/// Rebuilds the log of the topic in the data directory of `config`, which is empty, or has what an earlier restore of the
/// same log has left. Blocks.
///
/// # Errors
/// If the directory is not, or the topic cannot be read, or is not the mirror of a log, or lacks an event.
pub fn restore(config: &Config) -> anyhow::Result<Restored> {
    let dir = &config.data_dir;
    let kept = load(dir)?;
    if kept.is_none() && has_something(dir)? {
        bail!(
            "{} is not empty, and not a restore that has been interrupted: choose another --data-dir",
            dir.display()
        );
    }
    let log = match kept {
        Some(kept) => open_copy(config, &kept),
        None => begin(config, find_log_id(config)?),
    }?;
    if let Some(wanted) = config.follow_first_offset.filter(|wanted| *wanted != log.oldest().get()) {
        bail!(
            "{} has a restore from offset {} on, not {wanted}: choose another --data-dir",
            dir.display(),
            log.oldest()
        );
    }
    let status = Status::new(String::new(), config.follow_topic.clone());
    let session = Session::new(config.clone(), log.clone(), &status, &|| false);
    session.run(Goal::End, &mut || {})?;
    log.close();
    Kept::remove(dir).with_context(|| format!("cannot finish {}", dir.display()))?;
    Ok(Restored {
        log_id: log.id().to_string(),
        oldest_offset: log.oldest().get(),
        head_offset: log.head().get(),
        duplicates: status.duplicates(),
    })
}

/// Opens the log of a server: a copy, if it follows; then it waits for the topic to say of which log. Blocks.
///
/// # Errors
/// If the log cannot be opened, or is a copy and should not be.
pub(crate) fn open(config: &Config, tasks: &Tasks) -> anyhow::Result<Log> {
    let dir = &config.data_dir;
    let kept = load(dir)?;
    if config.follow_bootstrap_servers.is_empty() {
        if kept.is_some() {
            bail!(
                "{0} is a read replica's, or a restore that has not come to its end: set follow_bootstrap_servers, or finish \
                 the restore. To make it a log of its own, as it is, remove {0}/{1}",
                dir.display(),
                kept::FILE
            );
        }
        return Ok(Log::open_dir(dir, config.log_options())?);
    }
    if config.follow_primary_url.is_empty() {
        bail!("a read replica names its primary to those who append: set follow_primary_url");
    }
    if let Some(kept) = kept {
        return open_copy(config, &kept);
    }
    if dir.join("segments").exists() {
        let log = Log::open_dir(dir, config.log_options())?;
        let beginning = Beginning { log_id: log.id(), first: log.oldest() };
        Kept::new(beginning, &config.follow_topic, log.oldest(), Vec::new()).save(dir)?;
        return Ok(log);
    }
    let mut found = None;
    let mut said = String::new();
    let failed = |failure: &Failure, delay: Duration| {
        // As long as it is the same, once is enough.
        if said != failure.to_string() {
            said = failure.to_string();
            tracing::warn!(%failure, retry_in = ?delay, "the log of the topic is not known yet");
        }
    };
    let find = |_: &mut dyn FnMut()| find_log_id(config).map(|log_id| found = Some(log_id));
    mirror::sessions(tasks, Duration::from_millis(config.follow_retry_ms_max), find, failed);
    begin(config, found.context("stopped before the topic has said which log it is of")?)
}

/// Starts to follow, if the settings ask for it. Ends when the tasks are to.
pub(crate) fn start(config: &Config, log: &Log, tasks: &Tasks) -> Option<Arc<Status>> {
    if config.follow_bootstrap_servers.is_empty() {
        return None;
    }
    let status = Arc::new(Status::new(config.follow_primary_url.clone(), config.follow_topic.clone()));
    let (noted, watched, log, config) = (status.clone(), tasks.clone(), log.clone(), config.clone());
    let longest = Duration::from_millis(config.follow_retry_ms_max);
    tasks.thread("replica", move || {
        let is_stopped = || watched.is_draining();
        let session = Session::new(config, log, &noted, &is_stopped);
        let failed = |failure: &Failure, delay: Duration| {
            if noted.note(Some(failure.to_string())) {
                tracing::warn!(%failure, retry_in = ?delay, "the replica has stopped, and tries again");
            }
        };
        mirror::sessions(&watched, longest, |works| session.run(Goal::Never, works), failed);
    });
    Some(status)
}

fn load(dir: &Path) -> anyhow::Result<Option<Kept>> {
    let file = dir.join(kept::FILE);
    Kept::load(dir).with_context(|| {
        format!("{} cannot be read: remove it, and the topic is read from its beginning", file.display())
    })
}

fn has_something(dir: &Path) -> anyhow::Result<bool> {
    match std::fs::read_dir(dir) {
        // What was being written when the process was killed says nothing.
        Ok(mut entries) => {
            Ok(entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != kept::NEW_FILE)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot look into {}", dir.display())),
    }
}

/// Makes the directory a copy of this log.
fn begin(config: &Config, log_id: String) -> anyhow::Result<Log> {
    let first = config.follow_first_offset.and_then(Offset::new).unwrap_or(Offset::FIRST);
    let log_id = log_id.parse().with_context(|| format!("the topic names {log_id:?}, which is no log"))?;
    let beginning = Beginning { log_id, first };
    let kept = Kept::new(beginning, &config.follow_topic, first, Vec::new());
    // First, so that what is half made is known for what it is.
    let dir = &config.data_dir;
    kept.save(dir).with_context(|| format!("cannot write to {}", dir.display()))?;
    open_copy(config, &kept)
}

fn open_copy(config: &Config, kept: &Kept) -> anyhow::Result<Log> {
    let beginning = kept.beginning().expect("it has been read, or made");
    Ok(Log::open_copy(&config.data_dir, config.log_options(), beginning)?)
}

/// Which log the topic is of, as its messages say.
fn find_log_id(config: &Config) -> Result<String, Failure> {
    let mut reader = Reader::connect(settings(config)?)?;
    let topic = reader.topic().to_owned();
    let ends = reader.ends()?;
    let nothing = |problem| Err(Failure::Nothing { topic: topic.clone(), problem });
    if ends.is_empty() {
        return nothing("is not there");
    }
    if ends.iter().all(|ends| ends.first == ends.end) {
        return nothing("has no messages");
    }
    reader.read_from(&ends.iter().map(|ends| ends.first).collect::<Vec<_>>())?;
    let begun = Instant::now();
    while begun.elapsed() < FIRST_WAIT_MAX {
        for partition in 0..ends.len() {
            if let Next::Message(log_id) = reader.next(partition, |message| message.log_id.to_owned())? {
                return if log_id.is_empty() { nothing("has messages that name no log") } else { Ok(log_id) };
            }
        }
        reader.wait(WAIT);
    }
    nothing("has no messages that can be read")
}

/// How the topic is reached.
fn settings(config: &Config) -> Result<ReaderSettings, Failure> {
    let defaults = [("client.id", "downlink-replica"), ("socket.nagle.disable", "true")];
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let mut client: mirror::Client = defaults.map(own).into();
    client.extend(mirror::chosen(&config.follow_client_file, FOLLOW_VARIABLES).map_err(Failure::Client)?);
    client.extend([own(("bootstrap.servers", &config.follow_bootstrap_servers))]);
    Ok(ReaderSettings {
        topic: config.follow_topic.clone(),
        client,
        client_from: "follow_client_file and DOWNLINK_FOLLOW_CLIENT_*",
        fetched_bytes_max: config.follow_buffer_bytes_max / 2,
    })
}
