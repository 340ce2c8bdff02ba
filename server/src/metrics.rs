//! Every metric: name, unit, labels and meaning. What is known elsewhere is asked for when somebody looks, not kept twice.

mod collect;
mod commits;
mod feed;
mod histogram;
mod page;
mod permits;
mod process;
mod rpcs;
mod signals;
mod spans;
mod subscribers;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use collect::scrape;
use commits::Commits;
use feed::Feed;
pub use feed::FeedFigures;
pub(crate) use page::Format;
pub(crate) use permits::Permits;
pub(crate) use rpcs::{Call, Rpcs};
pub(crate) use spans::Spans;
use subscribers::Subscribers;
pub(crate) use subscribers::{Standing, Subscriber};
use table::{Kind, Metric, metrics};

metrics! {
    /// Calls that have ended, by their gRPC status.
    RPCS: Counter "downlink_rpcs_total" "" ["method", "code"];
    /// Calls that have ended with an error, by the reason it names; "none" where it names none.
    RPC_ERRORS: Counter "downlink_rpc_errors_total" "" ["method", "reason"];
    /// From the arrival of a call to the last byte of its answer; of a stream, its whole life.
    RPC_DURATION: Histogram "downlink_rpc_duration_seconds" "seconds" ["method"];
    /// Calls that have begun and not ended.
    RPCS_IN_FLIGHT: Gauge "downlink_rpcs_in_flight" "" ["method"];

    /// What is taken of each bound at present: calls, bytes, batches. "append_queue" is how many batches wait for the disk.
    PERMITS_TAKEN: Gauge "downlink_permits_taken" "" ["permit"];
    /// How much there is of it.
    PERMITS: Gauge "downlink_permits" "" ["permit"];

    /// Commits: each is one stored value and one sync.
    COMMITS: Counter "downlink_commits_total" "" [];
    /// Commits that failed: the log is read-only after the first.
    COMMIT_FAILURES: Counter "downlink_commit_failures_total" "" [];
    /// From the first append of a commit to its last part.
    COMMIT_DURATION: Histogram "downlink_commit_duration_seconds" "seconds" [];
    /// Its parts: gather, encode, store, sync, publish.
    COMMIT_PART_DURATION: Histogram "downlink_commit_part_duration_seconds" "seconds" ["part"];
    /// Appends in one commit.
    COMMIT_APPENDS: Histogram "downlink_commit_appends" "" [];
    /// Events in one commit.
    COMMIT_EVENTS: Histogram "downlink_commit_events" "" [];
    /// What is stored for one commit.
    COMMIT_SIZE: Histogram "downlink_commit_size_bytes" "bytes" [];

    /// Events received since the server was started, by what became of them: appended, duplicate, rejected. What has
    /// become of all since the log began, `GetLogInfo` tells.
    EVENTS: Counter "downlink_events_total" "" ["outcome"];
    /// Events handed to the connections of readers, by the kind of call: read, subscribe.
    EVENTS_DELIVERED: Counter "downlink_events_delivered_total" "" ["call"];

    /// The offset that the next event gets.
    HEAD: Gauge "downlink_head_offset" "" [];
    /// Everything below this is on disk. Readers see nothing else, and so it is the head.
    DURABLE: Gauge "downlink_durable_offset" "" [];
    /// The oldest offset kept.
    OLDEST: Gauge "downlink_oldest_offset" "" [];
    /// Everything below this is in the hash over the log's contents.
    HASHED: Gauge "downlink_hashed_offset" "" [];
    /// Everything below this is in the topic of the mirror; 0 while that is not known. Only with a mirror.
    MIRRORED: Gauge "downlink_mirrored_offset" "" [];
    /// Whether something keeps events from the topic. Only with a mirror.
    MIRROR_PROBLEM: Gauge "downlink_mirror_problem" "" [];
    /// Messages that the topic has and this replica lacks. Only in a replica.
    REPLICA_LAG: Gauge "downlink_replica_lag_events" "" [];
    /// Whether something keeps the replica from following. Only in a replica.
    REPLICA_PROBLEM: Gauge "downlink_replica_problem" "" [];

    /// Events between where a consumer goes on and the newest event, the system's own not counted. The first
    /// `metrics_consumers_max` consumers by name; the mirror is "_mirror".
    CONSUMER_LAG: Gauge "downlink_consumer_lag_events" "" ["consumer"];
    /// The time between the ingest of the two.
    CONSUMER_LAG_TIME: Gauge "downlink_consumer_lag_seconds" "seconds" ["consumer"];
    /// Subscriptions by state: replaying, live, behind (no longer live, and catching up).
    SUBSCRIBERS: Gauge "downlink_subscribers" "" ["state"];

    /// Signals that have had an event.
    SIGNALS: Gauge "downlink_signals" "" [];
    /// Segments by form: sealed, or raw as they were committed.
    SEGMENTS: Gauge "downlink_segments" "" ["form"];
    /// What the log takes on disk, everything included.
    DISK: Gauge "downlink_disk_bytes" "bytes" [];
    /// What its stored blocks have.
    PAYLOAD: Gauge "downlink_payload_bytes" "bytes" [];
    /// What it takes on disk for each event.
    EVENT_DISK: Gauge "downlink_event_disk_bytes" "bytes" [];
    /// Attempts to seal a segment, by outcome: sealed, postponed, left_alone (it is damaged).
    SEALS: Counter "downlink_seals_total" "" ["outcome"];
    /// How long sealing a segment took.
    SEAL_DURATION: Histogram "downlink_seal_duration_seconds" "seconds" [];
    /// Events in segments that were sealed.
    SEALED_EVENTS: Counter "downlink_sealed_events_total" "" [];
    /// How long it took to open the log.
    OPENING_DURATION: Gauge "downlink_opening_duration_seconds" "seconds" [];
    /// Events that were gone through again when it was opened, because no snapshot held them.
    OPENING_REPLAYED: Gauge "downlink_opening_replayed_events" "" [];

    /// Whether this is the matter at present: starting, recovering, draining, failed, read_only, disk_full, mirror_behind, replica.
    CONDITION: Gauge "downlink_condition" "" ["condition"];
    /// What must never be, and was met: block_readable (a block of the log cannot be read), hash_unchanged (events are not what
    /// they were when they came), task_survives (a defect has ended a task).
    VIOLATIONS: Counter "downlink_invariant_violations_total" "" ["invariant"];

    /// Updates that the feed has received. Here and below: only with a feed in the server's process, by its name.
    FEED_UPDATES: Counter "downlink_feed_updates_total" "" ["feed"];
    /// Updates that did not get into the log: known (it had them), rejected (they make no sense); and events that did not: refused (by
    /// the log), merged (newer ones of their signals came while the log could not be reached).
    FEED_LEFT_OUT: Counter "downlink_feed_left_out_total" "" ["feed", "reason"];
    /// Updates that came after newer ones of the same item. They are kept.
    FEED_LATE: Counter "downlink_feed_late_total" "" ["feed"];
    /// How often the source was connected to again.
    FEED_RECONNECTS: Counter "downlink_feed_reconnects_total" "" ["feed"];
    /// Events between the source and the log.
    FEED_BUFFERED: Gauge "downlink_feed_buffered_events" "" ["feed"];
    /// The age of the newest update by its own time. None before the first.
    FEED_AGE: Gauge "downlink_feed_newest_age_seconds" "seconds" ["feed"];
    /// From the arrival of an update to its event on disk; sampled.
    FEED_LATENCY: Histogram "downlink_feed_durable_seconds" "seconds" ["feed"];
    /// Spans of traces, by what became of them: sent, or lost because nobody took them in time.
    SPANS: Counter "downlink_trace_spans_total" "" ["outcome"];

    /// The newest value of a signal that `metrics_signals` asks for, where it is a number; true is 1.
    SIGNAL_VALUE: Gauge "downlink_signal_value" "" ["signal"];
    /// Its own time, since 1970.
    SIGNAL_TIME: Gauge "downlink_signal_time_seconds" "seconds" ["signal"];

    /// The version that runs.
    BUILD: Gauge "downlink_build_info" "" ["version"];
    /// CPU time of the process, user and system.
    PROCESS_CPU: Counter "process_cpu_seconds_total" "seconds" [];
    /// Memory in use.
    PROCESS_RESIDENT: Gauge "process_resident_memory_bytes" "bytes" [];
    /// Address space in use.
    PROCESS_VIRTUAL: Gauge "process_virtual_memory_bytes" "bytes" [];
    /// Open files, connections included.
    PROCESS_FDS: Gauge "process_open_fds" "" [];
    /// How many there may be.
    PROCESS_FDS_MAX: Gauge "process_max_fds" "" [];
    /// Threads.
    PROCESS_THREADS: Gauge "process_threads" "" [];
    /// When the process was started, since 1970.
    PROCESS_START: Gauge "process_start_time_seconds" "seconds" [];
}

/// What must never be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invariant {
    /// Every block of the log can be read.
    BlockReadable,
    /// Events stay what they were when they came.
    HashUnchanged,
}

/// What is counted as it happens.
pub(crate) struct Metrics {
    /// Calls.
    pub(crate) rpcs: Rpcs,
    /// Bounds of what may be taken.
    pub(crate) permits: Permits,
    /// Commits and seals.
    pub(crate) commits: Arc<Commits>,
    /// Who subscribes.
    pub(crate) subscribers: Arc<Subscribers>,
    feed: Feed,
    /// Spans of traces.
    pub(crate) spans: Arc<Spans>,
    read_events: AtomicU64,
    blocks_unreadable: AtomicU64,
    hashes_changed: AtomicU64,
}

impl Metrics {
    /// Nothing yet, of a server that serves `rpcs`.
    pub(crate) fn new(rpcs: Rpcs) -> Self {
        Self {
            rpcs,
            permits: Permits::default(),
            commits: Arc::new(Commits::new()),
            subscribers: Arc::default(),
            feed: Feed::default(),
            spans: Arc::default(),
            read_events: AtomicU64::new(0),
            blocks_unreadable: AtomicU64::new(0),
            hashes_changed: AtomicU64::new(0),
        }
    }

    /// A feed runs in this process. One at most.
    pub(crate) fn has_feed(
        &self,
        name: &'static str,
        figures: impl Fn() -> FeedFigures + Send + Sync + 'static,
    ) {
        self.feed.begin(name, figures);
    }

    /// So many events more have gone to those who read.
    pub(crate) fn read(&self, events: u64) {
        self.read_events.fetch_add(events, Ordering::Relaxed);
    }

    /// It was met all the same.
    pub(crate) fn violated(&self, invariant: Invariant) {
        let count = match invariant {
            Invariant::BlockReadable => &self.blocks_unreadable,
            Invariant::HashUnchanged => &self.hashes_changed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
