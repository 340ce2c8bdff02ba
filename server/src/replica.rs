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
use std::time::Duration;

use anyhow::{Context as _, bail};
use downlink_storage::{Beginning, Log, Offset};

use crate::config::{Config, FOLLOW_VARIABLES};
use crate::kafka::{Access, Error, Origin, Properties, Received, Topic, sessions};
use crate::shutdown::Tasks;
use failure::Failure;
use kept::Kept;
use session::{Goal, Session};
pub(crate) use status::Status;

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
        Some(kept) => {
            check_beginning(config, &kept)?;
            open_copy(config, &kept)
        }
        None => begin(config, &find_log_id(config, &|| false)?),
    }?;
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
        check_beginning(config, &kept)?;
        return open_copy(config, &kept);
    }
    if !dir.join("segments").exists() {
        return begin(config, &await_log_id(config, tasks)?);
    }
    let log = Log::open_dir(dir, config.log_options())?;
    let log_id = await_log_id(config, tasks)?;
    if log_id != log.id().to_string() {
        bail!(
            "it is log {}, and topic {:?} is the mirror of log {log_id}: unset follow_bootstrap_servers, or choose another \
             follow_topic",
            log.id(),
            config.follow_topic
        );
    }
    let beginning = Beginning { log_id: log.id(), first: log.oldest() };
    let kept = Kept::new(beginning, &config.follow_topic, log.oldest(), Vec::new());
    check_beginning(config, &kept)?;
    kept.save(dir)?;
    Ok(log)
}

/// Waits for the topic to say which log it is of.
fn await_log_id(config: &Config, tasks: &Tasks) -> anyhow::Result<String> {
    let mut found = None;
    let mut said = String::new();
    let failed = |failure: &Failure, delay: Duration| {
        // As long as it is the same, once is enough.
        if said != failure.to_string() {
            said = failure.to_string();
            tracing::warn!(%failure, retry_in = ?delay, "the log of the topic is not known yet");
        }
    };
    let is_stopped = || tasks.is_draining();
    let find = |_: &mut dyn FnMut()| find_log_id(config, &is_stopped).map(|log_id| found = Some(log_id));
    sessions(tasks, Duration::from_millis(config.follow_retry_ms_max), find, failed);
    found.context("stopped before the topic has said which log it is of")
}

/// That a copy begins where the settings want it to, if they do.
fn check_beginning(config: &Config, kept: &Kept) -> anyhow::Result<()> {
    let first = kept.beginning().map_or(Offset::FIRST, |beginning| beginning.first);
    match config.follow_first_offset.filter(|wanted| *wanted != first.get()) {
        None => Ok(()),
        Some(wanted) => bail!(
            "{} has a copy of the log from offset {first} on, not {wanted}: choose another --data-dir, or leave that out",
            config.data_dir.display()
        ),
    }
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
            if noted.problem.note(Some(failure.to_string())) {
                tracing::warn!(%failure, retry_in = ?delay, "the replica has stopped, and tries again");
            }
        };
        sessions(&watched, longest, |works| session.run(Goal::Never, works), failed);
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
fn begin(config: &Config, log_id: &str) -> anyhow::Result<Log> {
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
fn find_log_id(config: &Config, is_stopped: &dyn Fn() -> bool) -> Result<String, Failure> {
    let topic = Topic::connect(access(config)?)?;
    let ends = topic.ends()?;
    let nothing = |problem| Err(Failure::Nothing { topic: topic.name().to_owned(), problem });
    if ends.is_empty() {
        return nothing("is not there");
    }
    let from: Vec<_> = ends.iter().map(|ends| ends.first).collect();
    let mut found = None;
    let each = |message: &Received<'_>| {
        found = Some(message.log_id.to_owned());
        Ok::<_, Error>(false)
    };
    topic.read(&from, &ends, is_stopped, each)?;
    match found {
        None => nothing("has no messages"),
        Some(log_id) if log_id.is_empty() => nothing("has messages that name no log"),
        Some(log_id) => Ok(log_id),
    }
}

/// How the topic is reached, by the settings as they are now.
fn access(config: &Config) -> Result<Access, Failure> {
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let defaults: Properties =
        [("client.id", "downlink-replica"), ("socket.nagle.disable", "true")].map(own).into();
    let fixed: Properties = [own(("bootstrap.servers", &config.follow_bootstrap_servers))].into();
    let origin = Origin {
        file: &config.follow_client_file,
        variables: FOLLOW_VARIABLES,
        name: "follow_client_file and DOWNLINK_FOLLOW_CLIENT_*",
    };
    Ok(Access::load(&config.follow_topic, defaults, origin, fixed)?)
}
