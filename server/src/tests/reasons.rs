//! Every reason of the API, provoked over the wire and read as a client would. The one `match` names each of them, so a
//! new one does not compile until it is provoked here.

use std::collections::BTreeSet;

use downlink_proto::v1::admin_service_client::AdminServiceClient;
use downlink_proto::v1::append_stream_response::Message;
use downlink_proto::v1::consumer_service_client::ConsumerServiceClient;
use downlink_proto::v1::{
    AppendResponse, CommitCheckpointRequest, ErrorReason, Filter, GetConsumerRequest, GetLatestRequest,
    GetRetentionRequest, OnDamage, OnSlow, Pacing, Position, Problem, ReadRequest, SubscribeRequest,
    VerifyLogRequest, position,
};
use downlink_storage::engine::Engine as _;
use downlink_storage::engine::memory::CrashPlan;
use downlink_storage::{Beginning, Offset};
use tonic::client::Grpc;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use super::*;
use crate::grpc::Front;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::observability::Tracer;
use crate::shutdown::Tasks;

/// What a client can read of a refusal.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    code: Code,
    reason: String,
    metadata: BTreeSet<String>,
    fields: Vec<String>,
    has_delay: bool,
}

impl Seen {
    fn new(code: Code, reason: ErrorReason) -> Self {
        let reason = reason.as_str_name().strip_prefix("ERROR_REASON_").unwrap().to_owned();
        Self { code, reason, metadata: BTreeSet::new(), fields: Vec::new(), has_delay: false }
    }

    fn with(mut self, keys: &[&str]) -> Self {
        self.metadata = keys.iter().map(|&key| key.to_owned()).collect();
        self
    }

    fn naming(mut self, field: &str) -> Self {
        self.fields = vec![field.to_owned()];
        self
    }

    fn delayed(mut self) -> Self {
        self.has_delay = true;
        self
    }
}

impl From<Status> for Seen {
    fn from(status: Status) -> Self {
        let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
        assert_eq!(info.domain, "downlink");
        assert!(!status.message().is_empty(), "{status:?}");
        let fields = status.get_details_bad_request().map(|request| request.field_violations);
        let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
        Self {
            code: status.code(),
            reason: info.reason,
            metadata: info.metadata.into_keys().collect(),
            fields: fields.into_iter().flatten().map(|violation| violation.field).collect(),
            has_delay: delay.is_some_and(|delay| !delay.is_zero()),
        }
    }
}

impl From<Problem> for Seen {
    fn from(problem: Problem) -> Self {
        assert!(!problem.message.is_empty());
        let seen = Self::new(Code::from_i32(problem.code.try_into().unwrap()), problem.reason());
        let fields = if problem.field.is_empty() { vec![] } else { vec![problem.field] };
        Self { metadata: problem.metadata.into_keys().collect(), fields, ..seen }
    }
}

impl Fixture {
    async fn appends(&self, request: AppendRequest) -> Result<AppendResponse, Status> {
        self.ingest().await.append(request).await.map(tonic::Response::into_inner)
    }

    /// Begins a read, and goes on to its end.
    async fn reads(&self, request: ReadRequest) -> Result<(), Status> {
        let mut frames = self.query().await.read(request).await?.into_inner();
        while soon(frames.message()).await?.is_some() {}
        Ok(())
    }

    /// Opens a stream of this epoch and sends a batch of this sequence: the answers.
    async fn streams(&self, epoch: u64, sequence: u64) -> Result<Vec<Message>, Status> {
        let mut opening = open("p", false);
        if let Some(append_stream_request::Message::Open(open)) = &mut opening.message {
            open.producer_epoch = epoch;
        }
        let requests = tokio_stream::iter([opening, batch(sequence, vec![event("a", 1)])]);
        let mut answers = self.ingest().await.append_stream(requests).await?.into_inner();
        let mut said = Vec::new();
        while let Some(answer) = soon(answers.message()).await? {
            said.extend(answer.message);
        }
        Ok(said)
    }

    async fn commits(&self, next_offset: u64, etag: &str) -> Result<(), Status> {
        let (consumer, etag) = ("c".to_owned(), etag.to_owned());
        let request = CommitCheckpointRequest { consumer, next_offset, etag, allow_rewind: false };
        ConsumerServiceClient::new(self.channel().await).commit_checkpoint(request).await.map(drop)
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

fn at(offset: u64) -> Option<Position> {
    Some(Position { at: Some(position::At::Offset(offset)) })
}

/// A server with four events, the first of which it reads from the disk.
async fn filled() -> Fixture {
    let server = Fixture::start(|config| config.tail_cache_bytes_max = 0).await;
    server.appends(append(vec![event("a", 1); 3])).await.unwrap();
    // What came last stays in memory in any case.
    server.appends(append(vec![event("a", 1)])).await.unwrap();
    server
}

/// What a refused call says.
fn said<T: std::fmt::Debug>(answer: Result<T, Status>) -> Seen {
    answer.unwrap_err().into()
}

async fn overloaded() -> Seen {
    let server = Fixture::start(|config| config.append_calls_max = 1).await;
    let mut slow = Grpc::new(server.channel().await);
    slow.ready().await.unwrap();
    let never = Request::new(tokio_stream::pending::<AppendRequest>());
    let path = "/downlink.v1.IngestService/Append".parse().unwrap();
    let calling = slow.streaming(never, path, ProstCodec::<AppendRequest, AppendResponse>::default());
    let appending = async {
        // Until the one that never ends has taken the only place.
        loop {
            if let Err(status) = server.appends(append(vec![event("a", 1)])).await {
                break status.into();
            }
        }
    };
    tokio::select! {
        seen = soon(appending) => seen,
        ended = calling => panic!("{ended:?}"),
    }
}

async fn slow_consumer() -> Seen {
    let server = Fixture::start(|config| config.fell_behind_events = 1).await;
    let request = SubscribeRequest { on_slow: OnSlow::Disconnect.into(), ..Default::default() };
    let mut frames = server.query().await.subscribe(request).await.unwrap().into_inner();
    // Started, and caught up.
    for _ in 0..2 {
        soon(frames.message()).await.unwrap().unwrap();
    }
    server.appends(append(vec![event("a", 1); 3])).await.unwrap();
    said(soon(frames.message()).await)
}

async fn starting() -> Seen {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let config = Config { start_wait_ms_max: 0, ..Config::standard() };
    let health = Health::beginning(Tasks::default(), false);
    let metrics = Arc::new(Metrics::new(crate::grpc::rpcs()));
    let _front = Front::begin(&config, listener, &health, &metrics, &Tracer::default());
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    said(IngestServiceClient::new(channel).append(append(vec![event("a", 1)])).await)
}

async fn draining() -> Seen {
    let mut server = filled().await;
    let later = |value, seconds| Event {
        event_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        ..event("paced", value)
    };
    server.appends(append(vec![later(1, 0), later(2, 1_000)])).await.unwrap();
    // The second is due in an hour.
    let hour = prost_types::Duration { seconds: 3_600, nanos: 0 };
    let pacing = Some(Pacing { speed: 0.001, max_gap: Some(hour) });
    let filter = Some(Filter { signals: vec!["paced".to_owned()], ..Filter::default() });
    let request = ReadRequest { pacing, filter, ..ReadRequest::default() };
    let mut frames = server.query().await.read(request).await.unwrap().into_inner();
    soon(frames.message()).await.unwrap().unwrap();
    server.stop();
    let seen = said(soon(frames.message()).await);
    server.stopped().await;
    seen
}

async fn quota() -> Seen {
    let server = Fixture::start(|config| config.read_streams_max = 1).await;
    let _reader = server.query().await.subscribe(SubscribeRequest::default()).await.unwrap();
    said(server.reads(ReadRequest::default()).await)
}

async fn batch_too_large() -> Seen {
    let server = Fixture::start(|config| config.batch_events_max = 2).await;
    said(server.appends(append(vec![event("a", 1); 3])).await)
}

async fn block_corrupt() -> Seen {
    let server = filled().await;
    let segment = server.engine.list().unwrap().remove(0);
    let first_block = [1, 0, 0, 0, 0, 0, 0, 0, 1];
    assert!(server.engine.corrupt(&segment, &first_block, 100));
    let request = ReadRequest { on_damage: OnDamage::Fail.into(), ..ReadRequest::default() };
    said(server.reads(request).await)
}

async fn sequence_gap() -> Seen {
    let answers = filled().await.streams(1, 3).await.unwrap();
    let Some(Message::Reject(reject)) = answers.into_iter().next_back() else {
        panic!("a reject at the end")
    };
    assert!(reject.fatal);
    reject.problem.unwrap().into()
}

/// A server on a copy of a log that begins at offset 5.
async fn begun_later() -> Fixture {
    let engine = MemoryEngine::new();
    let beginning = Beginning { log_id: uuid::Uuid::from_u128(7), first: Offset::new(5).unwrap() };
    let options = Config::standard().log_options();
    drop(Log::open_copy_on(Arc::new(engine.clone()), Arc::new(SystemClock), options, beginning).unwrap());
    Fixture::start_on(engine.clone(), Arc::new(engine), |_| {}).await
}

/// A read replica whose brokers are not there.
async fn replica() -> Fixture {
    Fixture::start(|config| {
        config.follow_bootstrap_servers = "127.0.0.1:1".to_owned();
        config.follow_primary_url = "http://127.0.0.1:2".to_owned();
    })
    .await
}

/// What `reason` looks like, and how it should; `None` where nothing that is served can come to it yet.
#[expect(clippy::too_many_lines, reason = "one arm for each reason, so that the compiler misses none")]
async fn provoked(reason: ErrorReason) -> Option<(Seen, Seen)> {
    let server = filled().await;
    let (code, seen) = match reason {
        ErrorReason::Unspecified => return None,
        ErrorReason::InvalidEvent => {
            (Code::InvalidArgument, said(server.appends(append(vec![event("", 1)])).await))
        }
        ErrorReason::InvalidFilter => {
            let filter = Some(Filter { signals: vec![String::new()], ..Filter::default() });
            let request = ReadRequest { filter, ..ReadRequest::default() };
            (Code::InvalidArgument, said(server.reads(request).await))
        }
        ErrorReason::BatchTooLarge => (Code::InvalidArgument, batch_too_large().await),
        ErrorReason::InvalidRequest => (Code::InvalidArgument, said(server.appends(append(vec![])).await)),
        ErrorReason::ExpectedHeadMismatch => {
            let request = AppendRequest { expected_head: Some(9), ..append(vec![event("a", 1)]) };
            (Code::Aborted, said(server.appends(request).await))
        }
        ErrorReason::EtagMismatch => (Code::Aborted, said(server.commits(1, "another").await)),
        ErrorReason::ProducerFenced => {
            server.streams(2, 1).await.unwrap();
            (Code::FailedPrecondition, said(server.streams(1, 1).await))
        }
        ErrorReason::SequenceGap => (Code::FailedPrecondition, sequence_gap().await),
        ErrorReason::CheckpointRewind => {
            server.commits(3, "").await.unwrap();
            (Code::FailedPrecondition, said(server.commits(2, "").await))
        }
        ErrorReason::OffsetTruncated => {
            let request = ReadRequest { start: at(4), ..ReadRequest::default() };
            (Code::OutOfRange, said(begun_later().await.reads(request).await))
        }
        ErrorReason::ReadReplica => {
            (Code::FailedPrecondition, said(replica().await.appends(append(vec![event("a", 1)])).await))
        }
        ErrorReason::OffsetBeyondHead => {
            let request = ReadRequest { start: at(9), ..ReadRequest::default() };
            (Code::OutOfRange, said(server.reads(request).await))
        }
        ErrorReason::SignalUnknown => {
            let request = GetLatestRequest { signals: vec!["b".to_owned()], ..GetLatestRequest::default() };
            (Code::NotFound, said(server.query().await.get_latest(request).await))
        }
        ErrorReason::ConsumerUnknown => {
            let mut consumers = ConsumerServiceClient::new(server.channel().await);
            (
                Code::NotFound,
                said(consumers.get_consumer(GetConsumerRequest { consumer: "c".to_owned() }).await),
            )
        }
        ErrorReason::DiskFull => {
            server.engine.set_free_bytes(0);
            (Code::ResourceExhausted, said(server.appends(append(vec![event("a", 1)])).await))
        }
        ErrorReason::Quota => (Code::ResourceExhausted, quota().await),
        ErrorReason::SlowConsumer => (Code::ResourceExhausted, slow_consumer().await),
        ErrorReason::Overloaded => (Code::Unavailable, overloaded().await),
        ErrorReason::Starting => (Code::Unavailable, starting().await),
        ErrorReason::Draining => (Code::Unavailable, draining().await),
        ErrorReason::ReadOnly => {
            server.engine.fail_next_sync();
            (Code::Unavailable, said(server.appends(append(vec![event("a", 1)])).await))
        }
        ErrorReason::BlockCorrupt => (Code::DataLoss, block_corrupt().await),
        ErrorReason::NotServedYet => {
            let mut admin = AdminServiceClient::new(server.channel().await);
            (Code::Unimplemented, said(admin.get_retention(GetRetentionRequest {}).await))
        }
        ErrorReason::NoMirror => {
            let request = VerifyLogRequest { check_mirror: true, ..VerifyLogRequest::default() };
            let mut admin = AdminServiceClient::new(server.channel().await);
            (Code::FailedPrecondition, said(admin.verify_log(request).await))
        }
        // Of a broker that is not there: met in tests/it.
        ErrorReason::MirrorUnavailable => return None,
        ErrorReason::Internal => {
            // What the log has open cannot be read any more.
            server.engine.crash(CrashPlan::KeepAll);
            (Code::Internal, said(server.reads(ReadRequest::default()).await))
        }
    };
    Some((seen, details(Seen::new(code, reason))))
}

/// What goes with a reason, beside its code.
fn details(plain: Seen) -> Seen {
    match plain.reason.as_str() {
        "INVALID_EVENT" => plain.naming("events[0].signal"),
        "INVALID_FILTER" => plain.naming("filter.signals[0]"),
        "INVALID_REQUEST" => plain.naming("events"),
        "BATCH_TOO_LARGE" => plain.with(&["found", "most"]),
        "EXPECTED_HEAD_MISMATCH" => plain.with(&["expected", "head"]),
        "ETAG_MISMATCH" => plain.with(&["etag", "next_offset"]),
        "SEQUENCE_GAP" => plain.with(&["expected", "found"]),
        "CHECKPOINT_REWIND" => plain.with(&["next_offset"]),
        "OFFSET_TRUNCATED" => plain.with(&["oldest"]),
        "READ_REPLICA" => plain.with(&["primary_url"]),
        "OFFSET_BEYOND_HEAD" => plain.with(&["head"]),
        "SIGNAL_UNKNOWN" => plain.with(&["signal"]),
        "CONSUMER_UNKNOWN" => plain.with(&["consumer"]),
        "DISK_FULL" => plain.with(&["free_bytes", "reserve_bytes"]).delayed(),
        "SLOW_CONSUMER" => plain.with(&["events_behind", "next_offset"]),
        "DRAINING" => plain.with(&["next_offset"]).delayed(),
        "BLOCK_CORRUPT" => plain.with(&["first_offset", "last_offset"]),
        "QUOTA" | "OVERLOADED" | "STARTING" => plain.delayed(),
        _ => plain,
    }
}

#[tokio::test]
async fn every_reason_is_met_by_a_client_with_its_code_and_its_details() {
    let mut met = 0;
    for reason in (1..1_000).filter_map(|number| ErrorReason::try_from(number).ok()) {
        let Some((seen, expected)) = provoked(reason).await else { continue };
        assert_eq!(seen, expected);
        met += 1;
    }
    assert_eq!(met, 25, "all but MIRROR_UNAVAILABLE");
}

#[tokio::test]
async fn a_call_that_comes_while_the_log_is_being_opened_waits_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let config = Config { data_dir: dir.path().join("log"), ..Config::standard() };
    let channel = Channel::from_shared(url).unwrap().connect_lazy();
    let mut client = IngestServiceClient::new(channel);
    let serving = tokio::spawn(async {
        Server::open(config, listener).await.unwrap().serve(std::future::pending()).await.unwrap();
    });
    let answer = soon(client.append(append(vec![event("a", 1)]))).await;
    assert_eq!(answer.unwrap().into_inner().first_offset, 1);
    serving.abort();
}
