//! What the server can do at present, and what keeps it from the rest: the same for HTTP, for gRPC and in the metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use downlink_storage::{Clock, Log, Offset, State};
use tokio::sync::watch;

use crate::shutdown::Tasks;
use crate::{mirror, replica};

/// How often is looked at what nobody reports: whether a full disk has room again, how far the mirror is.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What may be the matter with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A log is being made, or a replica waits for its topic to say of which log it is.
    Starting,
    /// What an earlier process has left is being opened.
    Recovering,
    /// It is stopping.
    Draining,
    /// A defect has been met, and it stops for that.
    Failed,
    /// Nothing can be appended until it is started again.
    ReadOnly,
    /// Nothing can be appended until there is room on the disk.
    DiskFull,
    /// The mirror lacks events that have been in the log for too long.
    MirrorBehind,
    /// It has a copy of another server's log, which alone takes appends.
    Replica,
}

/// What is not served because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Without {
    /// All is served that such a server serves.
    Nothing,
    /// Appends are refused.
    Appends,
    /// Every call waits, or is refused.
    Everything,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Starting,
        Self::Recovering,
        Self::Draining,
        Self::Failed,
        Self::ReadOnly,
        Self::DiskFull,
        Self::MirrorBehind,
        Self::Replica,
    ];

    /// Its name where machines read it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Recovering => "recovering",
            Self::Draining => "draining",
            Self::Failed => "failed",
            Self::ReadOnly => "read_only",
            Self::DiskFull => "disk_full",
            Self::MirrorBehind => "mirror_behind",
            Self::Replica => "replica",
        }
    }

    /// What is not served that a server of its kind should serve.
    pub(crate) const fn without(self) -> Without {
        match self {
            Self::Starting | Self::Recovering | Self::Draining | Self::Failed => Without::Everything,
            Self::ReadOnly | Self::DiskFull => Without::Appends,
            Self::MirrorBehind | Self::Replica => Without::Nothing,
        }
    }
}

/// Something that is the matter at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// What.
    pub(crate) kind: Kind,
    /// A sentence for people.
    pub(crate) message: String,
}

impl Condition {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// How a server is. A clone is a handle on the same.
#[derive(Clone)]
pub(crate) struct Health {
    seen: Arc<watch::Sender<Seen>>,
    tasks: Tasks,
}

/// What was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    conditions: Vec<Condition>,
    has_mirror: bool,
}

/// Tells of changes, the drain excepted.
pub(crate) struct Changes(watch::Receiver<Seen>);

impl Changes {
    /// Completes when something has changed; never, when nothing will any more.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What is looked at once the log is open.
pub(crate) struct Subjects {
    /// The log.
    pub(crate) log: Log,
    /// The mirror, if there is one.
    pub(crate) mirror: Option<Arc<mirror::Status>>,
    /// The replica, if the log is one.
    pub(crate) replica: Option<Arc<replica::Status>>,
    /// What time it is.
    pub(crate) clock: Arc<dyn Clock>,
    /// How long an event may be in the log without being in the mirror.
    pub(crate) mirror_behind_max: Duration,
}

impl Health {
    /// Of a server that begins to open its log.
    pub(crate) fn beginning(tasks: Tasks, is_there: bool) -> Self {
        let condition = if is_there {
            Condition::new(Kind::Recovering, "the log is being opened: come back later")
        } else {
            Condition::new(Kind::Starting, "there is no log yet: come back later")
        };
        let seen = Seen { conditions: vec![condition], has_mirror: false };
        Self { seen: Arc::new(watch::Sender::new(seen)), tasks }
    }

    /// The log is open: looks after it from here on, until the drain.
    pub(crate) fn opened(&self, subjects: Subjects) {
        let has_mirror = subjects.mirror.is_some();
        self.seen.send_replace(Seen { conditions: subjects.of_the_log(), has_mirror });
        let (news, changes) = watch::channel(());
        subjects.log.on_state(move |_| {
            news.send_replace(());
        });
        self.tasks.spawn("health", self.clone().look_after(Arc::new(subjects), changes));
    }

    /// What is the matter.
    pub(crate) fn conditions(&self) -> Vec<Condition> {
        let mut conditions = self.seen.borrow().conditions.clone();
        if self.tasks.has_failed() {
            let message = "a defect has ended the server: its log has the details";
            conditions.insert(0, Condition::new(Kind::Failed, message));
        }
        if self.tasks.is_draining() {
            conditions.insert(0, Condition::new(Kind::Draining, "the server is stopping"));
        }
        conditions
    }

    /// What tells of changes.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.seen.subscribe())
    }

    /// Whether there is a mirror, as far as is known yet.
    pub(crate) fn has_mirror(&self) -> bool {
        self.seen.borrow().has_mirror
    }

    /// The tasks of the server.
    pub(crate) const fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    async fn look_after(self, subjects: Arc<Subjects>, mut changes: watch::Receiver<()>) {
        let begun = Instant::now();
        loop {
            changes.mark_unchanged();
            let looked_at = subjects.clone();
            let Ok(conditions) = self.tasks.blocking("health", move || looked_at.look(begun)).await else {
                return;
            };
            self.note(conditions);
            tokio::select! {
                // An error means that the log has gone, and then the server drains.
                changed = changes.changed() => if changed.is_err() { self.tasks.draining().await },
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                () = self.tasks.draining() => {}
            }
            if self.tasks.is_draining() {
                return;
            }
        }
    }

    /// Takes what was seen for what is. Says what others do not say.
    fn note(&self, conditions: Vec<Condition>) {
        let behind = |conditions: &[Condition]| {
            conditions.iter().find(|condition| condition.kind == Kind::MirrorBehind).cloned()
        };
        let before = behind(&self.seen.borrow().conditions);
        match (before, behind(&conditions)) {
            (None, Some(behind)) => tracing::warn!(reason = behind.message, "the mirror is behind"),
            (Some(_), None) => tracing::info!("the mirror is no longer behind"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        self.seen.send_if_modified(|seen| {
            let is_news = seen.conditions != conditions;
            seen.conditions = conditions;
            is_news
        });
    }
}

impl Subjects {
    /// What is the matter. Blocks on the disk.
    fn look(&self, begun: Instant) -> Vec<Condition> {
        // Who sends no appends would never learn that the disk has become full, or that there is room again.
        self.log.check_room();
        let mut conditions = self.of_the_log();
        conditions.extend(self.mirror_behind(begun));
        conditions
    }

    fn of_the_log(&self) -> Vec<Condition> {
        let state = match self.log.state() {
            State::Serving => None,
            State::DiskFull(reason) => Some(Condition::new(Kind::DiskFull, reason)),
            State::ReadOnly(reason) => Some(Condition::new(Kind::ReadOnly, reason)),
        };
        let replica = self.replica.as_ref().map(|replica| {
            let url = replica.primary_url();
            Condition::new(Kind::Replica, format!("a read replica: appends go to its primary, {url}"))
        });
        state.into_iter().chain(replica).collect()
    }

    fn mirror_behind(&self, begun: Instant) -> Option<Condition> {
        let mirror = self.mirror.as_ref()?;
        let lacks_from = match Offset::new(mirror.next_offset()) {
            Some(next) => next,
            // Where it is, is only known once the topic has been seen.
            None if begun.elapsed() < self.mirror_behind_max => return None,
            None => self.log.oldest(),
        };
        if lacks_from >= self.log.head() {
            return None;
        }
        // What cannot be read is damaged, which others tell.
        let since = self.log.ingest_time(lacks_from).ok().flatten()?;
        let nanos = self.clock.now().unix_nanos().saturating_sub(since.unix_nanos());
        let waited = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
        let is_behind = waited > self.mirror_behind_max;
        is_behind.then(|| {
            let because = mirror.problem().map(|problem| format!(": {problem}")).unwrap_or_default();
            let message = format!("events from {lacks_from} on are not in the topic yet{because}");
            Condition::new(Kind::MirrorBehind, message)
        })
    }
}
