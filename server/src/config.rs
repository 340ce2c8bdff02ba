//! All settings of the server: one flat table, each with its default, its bounds and a sentence.

mod define;
mod globs;
mod http;
mod load;
mod print;
mod words;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use define::{Text, settings};
use downlink_storage::Options;
use downlink_storage::block::BLOCK_ROWS_MAX;
pub use globs::Globs;
pub use http::HttpListen;
pub use load::{Error, FOLLOW_VARIABLES, MIRROR_VARIABLES, Overrides, load};
pub use print::print;
pub use words::{Feed, LogFormat, LogOutput, MirrorValues};

/// A setting as the table knows it.
pub struct Setting {
    /// Its name in the file; in the environment it is `DOWNLINK_` and the name in capitals.
    pub key: &'static str,
    /// What it means.
    pub doc: &'static [&'static str],
    /// The numbers it may have; `None` where it is not a number.
    pub range: Option<RangeInclusive<u64>>,
}

/// The log's own defaults.
const LOG: Options = Options::standard();
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

settings! {
    /// Where gRPC is served. Nothing is open beyond this machine unless this says so.
    listen: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50051);
    /// Where health and metrics are told over HTTP, to whoever asks; port 0: any; "off": nowhere.
    http_listen: HttpListen = HttpListen::At(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464));
    /// HTTP connections at once; more are closed.
    http_connections_max: usize = 64, 1..=10_000;
    /// The longest an HTTP request may take, and the longest silence before it.
    http_timeout_ms_max: u64 = 10_000, 100..=600_000;
    /// Signals whose newest values are among the metrics, by name or glob, such as ["iss/NODE3*"]; with commas in a flag.
    metrics_signals: Globs = Globs(Vec::new());
    /// The most signals there.
    metrics_signals_max: usize = 1_000, 0..=100_000;
    /// The most consumers whose lags are among the metrics.
    metrics_consumers_max: usize = 100, 0..=10_000;
    /// The directory of the log. One server at a time.
    data_dir: PathBuf = PathBuf::from("data");
    /// How log lines look: "text", "json", or "auto": text on a terminal, JSON elsewhere.
    log_format: LogFormat = LogFormat::Auto;
    /// Where they go: "stderr", or "stdout", beside the lines that scripts wait for.
    log_output: LogOutput = LogOutput::Stderr;
    /// Which log lines are written, such as "info" or "warn,downlink_server=debug". Of the feed's session only errors by default: what
    /// becomes of it, the feed says itself.
    log_filter: String = "info,lightstreamer_rs=error".to_owned();

    /// Who takes traces, by OTLP over gRPC, such as Jaeger on "http://127.0.0.1:4317". Empty: nobody.
    trace_endpoint: String = String::new();
    /// How many of a hundred traces are kept that begin here; who calls from within a trace decides about that one.
    /// Failed calls are kept in any case.
    trace_sample_percent: u8 = 10, 0..=100;
    /// How long a commit may take before it is kept in any case.
    trace_slow_commit_ms: u64 = 100, 1..=3_600_000;
    /// Spans that may wait to be sent; further ones are counted and lost.
    trace_queue_spans_max: usize = 8_192, 1..=1 << 20;
    /// How long sending spans may take before they are counted and lost.
    trace_export_ms_max: u64 = 5_000, 10..=60_000;

    /// The longest name of a signal.
    signal_bytes_max: usize = 255, 1..=255;
    /// The longest source of an event.
    source_bytes_max: usize = 255, 0..=255;
    /// The longest string or bytes value.
    value_bytes_max: usize = MIB, 0..=1 << 20;
    /// The most attributes of an event.
    attributes_max: usize = 64, 0..=64;
    /// The most bytes of an event's attributes, names and values together.
    attributes_bytes_max: usize = 16 * KIB, 0..=1 << 14;
    /// The longest trace context of an event.
    trace_context_bytes_max: usize = 64, 0..=64;
    /// How far before the server's clock an event time may lie. Unset: any time.
    event_time_past_seconds_max: Option<u64> = None, 0..=400_000_000_000;
    /// How far after the server's clock an event time may lie. Unset: any time.
    event_time_future_seconds_max: Option<u64> = None, 0..=400_000_000_000;
    /// The most events of a batch.
    batch_events_max: usize = 1_000, 1..=100_000;
    /// The most bytes of a batch, encoded; a batch of one event may be as large as its value.
    batch_bytes_max: usize = MIB, 1024..=1 << 24;
    /// The most memory that events may take while they wait for the log, over all callers.
    append_bytes_in_flight_max: usize = 64 * MIB, 1 << 20..=1 << 31;
    /// How long a unary append waits for its turn before it is OVERLOADED.
    append_wait_ms_max: u64 = 2_000, 0..=60_000;
    /// Unary appends at once; more are OVERLOADED.
    append_calls_max: usize = 512, 1..=100_000;
    /// Append streams at once; more are refused, reason QUOTA.
    append_streams_max: usize = 1_024, 1..=100_000;
    /// Batches of one append stream that may wait for the disk.
    stream_batches_in_flight_max: usize = 64, 1..=10_000;

    /// Reads and subscriptions at once; more are refused, reason QUOTA.
    read_streams_max: usize = 1_024, 1..=100_000;
    /// Events in one message to a reader who does not say.
    read_batch_events: usize = 1_000, 1..=10_000;
    /// The most events in one message to a reader.
    read_batch_events_max: usize = 10_000, 1..=100_000;
    /// About how many bytes one message to a reader has at most; a single larger event goes alone.
    read_batch_bytes_max: usize = MIB, 1024..=1 << 21;
    /// About how many bytes of messages to readers may be under way, over all readers: each gets its share, and never
    /// less than a single event.
    read_bytes_in_flight_max: usize = 64 * MIB, 1 << 20..=1 << 31;
    /// The most bytes of larger messages on their way to readers, over all of them: a value that is more than a share,
    /// and more than 32 KiB, waits for room before it is read.
    large_read_bytes_in_flight_max: usize = 32 * MIB, 1 << 20..=1 << 31;
    /// How long a reader may take nothing of such a message while others wait for its room; then it is made to go,
    /// reason SLOW_CONSUMER.
    reader_stall_ms_max: u64 = 5_000, 10..=3_600_000;
    /// Pieces of the log read from disk at the same time. The store loads up to 16 stored values for each, so large
    /// values make this the bound of its memory.
    disk_reads_max: usize = 2, 1..=1_000;
    /// Threads that read history: replays, subscriptions that catch up, aggregates. Unless this says otherwise one less
    /// than there are cores, but at least one.
    history_threads_max: usize = all_cores_but_one(), 1..=512;
    /// How far these threads, sealing, rollups, the hash and the mirror give way to the rest of the server where there is not enough
    /// CPU for all: their niceness, on top of the server's own. 0: not at all.
    background_niceness: u8 = 10, 0..=19;
    /// The most events that a position `last_events` counts back.
    position_events_max: u64 = 1_000_000, 0..=1 << 40;
    /// The longest silence of a replay at a pace, unless the reader says otherwise.
    replay_gap_ms: u64 = 10_000, 0..=3_600_000;
    /// Verifications of the log under way at the same time; more are refused, reason OVERLOADED.
    verifications_max: usize = 1, 1..=100;
    /// Aggregates under way at the same time, each with up to about 30 MiB of memory; others wait.
    aggregates_max: usize = 4, 1..=1_000;
    /// The most signals of an aggregate.
    aggregate_signals_max: usize = 100_000, 1..=1 << 30;
    /// The most buckets of an aggregate, over all its signals.
    aggregate_buckets_max: usize = 1_000_000, 1..=1 << 40;
    /// The most state ranges in one bucket of an aggregate.
    aggregate_states_max: usize = 1_000, 1..=10_000;
    /// A subscription that is so many events behind is told so and reads from disk.
    fell_behind_events: u64 = 100_000, 1..=1 << 40;
    /// Signals of which one subscription with a `report` remembers something, or gets the newest events at once; more
    /// end it, reason QUOTA.
    report_signals_max: usize = 100_000, 1..=10_000_000;
    /// Memory for what the reports of all subscriptions remember, and for newest events on their way to them; more ends
    /// the one that asks for it, reason QUOTA.
    report_bytes_max: usize = 64 * MIB, 1 << 16..=1 << 40;
    /// Silence after which a subscription gets a heartbeat, unless it says otherwise.
    heartbeat_interval_ms: u64 = 10_000, 100..=3_600_000;
    /// Entries on a page, for callers who do not say.
    page_entries: usize = 1_000, 1..=10_000;
    /// The most entries on a page.
    page_entries_max: usize = 10_000, 1..=100_000;
    /// About how many bytes a page has at most.
    page_bytes_max: usize = MIB, 1024..=1 << 21;
    /// The most bytes of pages on their way to callers, over all of them; more wait. A caller who takes nothing of a large
    /// one for `reader_stall_ms_max` while others wait is made to go.
    page_bytes_in_flight_max: usize = 16 * MIB, 1 << 20..=1 << 31;
    /// The most patterns of a filter.
    filter_patterns_max: usize = 1_000, 1..=100_000;

    /// The largest message taken, also after decompression.
    message_bytes_max: usize = 4 * MIB, 1 << 16..=1 << 26;
    /// Bytes of one request that carries no events, before and after decompression.
    request_bytes_max: usize = 128 << 10, 1 << 16..=1 << 22;
    /// The most bytes of messages on their way in, over all callers: those of more than 16 KiB wait for room before
    /// they are read. Three quarters are for messages of more than 256 KiB, so that others need not wait behind them.
    request_bytes_in_flight_max: usize = 32 * MIB, 1 << 20..=1 << 31;
    /// Messages of any size that are decompressed and decoded but not yet admitted, over all callers: each may take
    /// `message_bytes_max`, and what it is when decoded.
    messages_decoding_max: usize = 8, 1..=1_000;
    /// The longest a message of more than 16 KiB may take to arrive, once there is room for it.
    message_arrival_ms_max: u64 = 30_000, 1_000..=3_600_000;
    /// How long such a message may not get on at all while others wait for its room.
    message_stall_ms_max: u64 = 2_000, 10..=3_600_000;
    /// Calls at once, streams among them; more are refused, reason QUOTA.
    calls_max: usize = 4_096, 1..=1_000_000;
    /// Connections at once; more are closed.
    connections_max: usize = 1_024, 1..=100_000;
    /// Calls at once on one connection.
    connection_streams_max: u32 = 256, 1..=100_000;
    /// HTTP/2 window of one call: bytes that may arrive before they are asked for. A producer far away can send no
    /// more than this in one round trip.
    stream_window_bytes: u32 = 512 << 10, 1 << 16..=(1 << 31) - 1;
    /// HTTP/2 window of one connection. Times `connections_max` it is memory that hostile callers may fill: lower one of
    /// the two where that is too much. A connection with more small unread frames than half of it holds, each counted
    /// with 256 bytes, is ended (ENHANCE_YOUR_CALM): much less than this ends callers who only send many small messages.
    connection_window_bytes: u32 = 1 << 20, 1 << 16..=(1 << 31) - 1;
    /// Silence after which a connection is asked whether it is still there.
    keepalive_interval_ms: u64 = 30_000, 1_000..=86_400_000;
    /// How long it may take to answer that.
    keepalive_timeout_ms: u64 = 20_000, 1_000..=86_400_000;
    /// The longest a unary call may take, whatever its own deadline.
    unary_deadline_ms_max: u64 = 30_000, 100..=86_400_000;
    /// How long a call waits for the log to be opened; then it is refused, reason STARTING.
    start_wait_ms_max: u64 = 1_000, 0..=60_000;
    /// The longest the server takes to stop.
    drain_ms_max: u64 = 5_000, 100..=600_000;
    /// Threads that answer callers from memory, where that takes a while.
    reader_threads_max: usize = 16, 1..=512;

    /// Stored bytes after which a new segment begins.
    segment_payload_bytes_max: u64 = LOG.segment_payload_bytes_max, 1 << 16..=1 << 40;
    /// Commits after which a new segment begins.
    segment_blocks_max: u32 = LOG.segment_blocks_max, 1..=1 << 30;
    /// Age after which a new segment begins.
    segment_age_seconds_max: u64 = LOG.segment_age_seconds_max, 1..=1 << 32;
    /// Events in one commit.
    commit_events_max: usize = LOG.commit_events_max, 1..=1 << 20;
    /// Bytes of events in one commit; a larger batch is a commit of its own.
    commit_bytes_max: usize = LOG.commit_bytes_max, 1024..=1 << 28;
    /// How long a commit of many small batches waits for more of them before it syncs: fewer syncs for more clients.
    commit_delay_micros: u64 = LOG.commit_delay.as_micros() as u64, 0..=100_000;
    /// Batches that must have come since the commit before for the next one to wait.
    commit_siblings_min: usize = LOG.commit_siblings_min, 1..=1 << 20;
    /// Batches that may wait for the disk, over all callers.
    append_queue_max: usize = LOG.append_queue_max, 1..=1 << 20;
    /// Room that is left on the disk: with less, appends are refused, reason DISK_FULL.
    disk_reserve_bytes: u64 = LOG.disk_reserve_bytes, 1 << 24..=1 << 50;
    /// Memory for the newest blocks, which live readers share.
    tail_cache_bytes_max: usize = LOG.tail_cache_bytes_max, 0..=1 << 40;
    /// Sealed segments that are open at once.
    open_segments_max: usize = LOG.open_segments_max, 1..=1 << 16;
    /// Request ids remembered.
    request_ids_max: usize = LOG.request_ids_max, 1..=1 << 30;
    /// Producers remembered; more are refused, reason QUOTA.
    producers_max: usize = LOG.producers_max, 1..=1 << 30;
    /// Signals known; more are refused, reason QUOTA.
    signals_max: usize = LOG.signals_max, 1..=1 << 30;
    /// Memory for newest events of more than 256 bytes, over all signals: further ones are read from the log when they are
    /// asked for. Smaller ones are always kept, one for each of `signals_max`.
    newest_bytes_max: usize = LOG.newest_bytes_max, 0..=1 << 40;
    /// Events after which the derived state is saved, to make the next start fast.
    snapshot_every_events: u64 = LOG.snapshot_every_events, 1..=1 << 50;
    /// Kafka or Redpanda brokers to mirror every event to, such as "10.0.0.1:9092,10.0.0.2:9092". Empty: no mirror.
    mirror_bootstrap_servers: String = String::new();
    /// The topic of the mirror; it is created if it is missing.
    mirror_topic: String = "downlink.events.v1".to_owned();
    /// What the messages' values are: "protobuf", or "json" (protobuf's own JSON).
    mirror_values: MirrorValues = MirrorValues::Protobuf;
    /// How many partitions it is created with.
    mirror_partitions: u32 = 12, 1..=100_000;
    /// How many brokers keep each of them. Unset: as many as the brokers do by default.
    mirror_replication: Option<u64> = None, 1..=1_000;
    /// How long the brokers keep what is in a topic that is created.
    mirror_retention_ms: u64 = 7 * 24 * 60 * 60 * 1000, 60_000..=1 << 50;
    /// A file of further settings of the Kafka client, `name=value` in each line: security.protocol, sasl.mechanisms, and any
    /// other that librdkafka has. Also from the environment: DOWNLINK_MIRROR_CLIENT_SASL_PASSWORD is sasl.password.
    mirror_client_file: PathBuf = PathBuf::new();
    /// A schema registry with Confluent's protocol, which Redpanda serves too, such as "http://10.0.0.1:8081": the schema of protobuf
    /// values is registered there for `<mirror_topic>-value`. Empty: nowhere. In `mirror_client_file`, or as variables, it may have
    /// schema.registry.username, schema.registry.password, and the certificates to trust in schema.registry.ca.file.
    mirror_schema_registry_url: String = String::new();
    /// Events that may be on their way to the brokers.
    mirror_queue_events_max: usize = 100_000, 1..=10_000_000;
    /// Their bytes.
    mirror_queue_bytes_max: usize = 32 * MIB, 1 << 20..=1 << 31;
    /// How often the log keeps how far the mirror is: so much is looked at again when it starts.
    mirror_checkpoint_ms: u64 = 1_000, 10..=3_600_000;
    /// How long the topic must stand still, when the mirror starts, before it is believed to be all that was sent before.
    mirror_settle_ms: u64 = 500, 0..=600_000;
    /// The mirror is behind, as health tells, when an event has been in the log for longer than this, and is not in the topic.
    mirror_behind_ms_max: u64 = 30_000, 100..=1 << 40;
    /// The longest wait between two tries to reach the brokers.
    mirror_retry_ms_max: u64 = 10_000, 100..=3_600_000;
    /// Kafka or Redpanda brokers with the mirror of another server, such as "10.0.0.1:9092": this server is a read replica of
    /// that one then, and takes no appends. Empty: it is none.
    follow_bootstrap_servers: String = String::new();
    /// The topic with that mirror.
    follow_topic: String = "downlink.events.v1".to_owned();
    /// Where the server is whose log it is: named to those who append here. A replica must have it.
    follow_primary_url: String = String::new();
    /// Where the log of a replica begins whose directory is empty; one that begins elsewhere does not start. Unset: at 1, and
    /// what the topic lacks from there on is waited for.
    follow_first_offset: Option<u64> = None, 1..=u64::MAX;
    /// A file of further settings of the replica's Kafka client, as `mirror_client_file`. The variables begin with
    /// DOWNLINK_FOLLOW_CLIENT_.
    follow_client_file: PathBuf = PathBuf::new();
    /// Memory for what is on its way from the topic: half of it for what the client fetches ahead, though 64 KiB of each partition
    /// at least, half for events that came before others that come first.
    follow_buffer_bytes_max: usize = 64 * MIB, 1 << 20..=1 << 31;
    /// Events that may have come before others that come first: not fewer than `mirror_queue_events_max` of the primary.
    follow_buffer_events_max: usize = 200_000, 1..=10_000_000;
    /// The longest wait between two tries to reach the brokers.
    follow_retry_ms_max: u64 = 10_000, 100..=3_600_000;
    /// What the server feeds its log with, in its own process: "iss", the live telemetry of the International Space Station,
    /// "demo", that of a simulated one, on signals that begin with demo/, or "none".
    feed: Feed = Feed::None;
    /// The Lightstreamer server with the live telemetry.
    feed_server_url: String = "https://push.lightstreamer.com".to_owned();
    /// The items wanted of it by their names, such as ["NODE3000005"]; with commas in a flag. Empty: all that are known.
    feed_items: Globs = Globs(Vec::new());
    /// Events between it and the log. While the log cannot take more, older ones give way to newer ones of their signals.
    feed_buffer_events_max: usize = 65_536, 1_024..=10_000_000;
    /// Events after which the rollups that aggregates are answered from are saved. Fewer are rolled up in memory.
    rollup_events: u64 = LOG.rollup_events, 1_000..=1 << 30;
}

/// What readers of history may take, so that there is always a core for those who append.
fn all_cores_but_one() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.saturating_sub(1).clamp(1, 512)
}

impl Config {
    /// The part that the log wants.
    #[must_use]
    pub fn log_options(&self) -> Options {
        Options {
            segment_payload_bytes_max: self.segment_payload_bytes_max,
            segment_blocks_max: self.segment_blocks_max,
            segment_age_seconds_max: self.segment_age_seconds_max,
            commit_events_max: self.commit_events_max,
            commit_bytes_max: self.commit_bytes_max,
            commit_delay: Duration::from_micros(self.commit_delay_micros),
            commit_siblings_min: self.commit_siblings_min,
            append_queue_max: self.append_queue_max,
            disk_reserve_bytes: self.disk_reserve_bytes,
            tail_cache_bytes_max: self.tail_cache_bytes_max,
            open_segments_max: self.open_segments_max,
            request_ids_max: self.request_ids_max,
            producers_max: self.producers_max,
            signals_max: self.signals_max,
            newest_bytes_max: self.newest_bytes_max,
            snapshot_every_events: self.snapshot_every_events,
            rollup_events: self.rollup_events,
            background_niceness: self.background_niceness,
        }
    }

    /// Whether all settings are within their bounds and fit each other; otherwise the key in question and a
    /// sentence that says what to do.
    ///
    /// # Errors
    /// The first setting that is not.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        self.check_ranges()?;
        let not_above = |key, value: usize, other: &str, bound: usize| {
            if value <= bound {
                Ok(())
            } else {
                Err((key, format!("{value} is more than {other}, {bound}: lower it, or raise that")))
            }
        };
        not_above(
            "read_batch_events",
            self.read_batch_events,
            "`read_batch_events_max`",
            self.read_batch_events_max,
        )?;
        not_above("page_entries", self.page_entries, "`page_entries_max`", self.page_entries_max)?;
        not_above("batch_bytes_max", self.batch_bytes_max, "`message_bytes_max`", self.message_bytes_max)?;
        not_above("value_bytes_max", self.value_bytes_max, "`message_bytes_max`", self.message_bytes_max)?;
        // The batch that fills a commit goes in whole.
        let rows = self.commit_events_max.saturating_add(self.batch_events_max);
        if rows > BLOCK_ROWS_MAX {
            let most = format!("{rows} events with `batch_events_max`, but a commit holds {BLOCK_ROWS_MAX}");
            return Err(("commit_events_max", format!("{most}: lower one of the two")));
        }
        if !self.follow_bootstrap_servers.is_empty() && !self.mirror_bootstrap_servers.is_empty() {
            let problem = "a replica has no events of its own, so it cannot keep where a mirror is: unset one of the two";
            return Err(("mirror_bootstrap_servers", problem.to_owned()));
        }
        if !self.follow_bootstrap_servers.is_empty() && self.feed != Feed::None {
            let problem = "a replica takes no appends: feed its primary";
            return Err(("feed", problem.to_owned()));
        }
        let registry = &self.mirror_schema_registry_url;
        let has_scheme = |url: &str| ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
        if !registry.is_empty() && (!has_scheme(registry) || registry.contains('@')) {
            // Not the value: there may be a password in it.
            let problem =
                "it begins with http:// or https://, and has no user name: that is in `mirror_client_file`";
            return Err(("mirror_schema_registry_url", problem.to_owned()));
        }
        if !self.trace_endpoint.is_empty() && !has_scheme(&self.trace_endpoint) {
            return Err((
                "trace_endpoint",
                "it begins with http:// or https://, such as http://127.0.0.1:4317".to_owned(),
            ));
        }
        if !crate::observability::is_filter(&self.log_filter) {
            return Err((
                "log_filter",
                format!("{:?} is no filter: write a level such as \"info\"", self.log_filter),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
