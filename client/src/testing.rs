//! A small server in memory, for the tests of this crate: it can be killed, restarted, and made to fail.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use downlink_proto::v1::append_stream_request::{Batch, Message as Request_, Open};
use downlink_proto::v1::append_stream_response::{Ack, Message as Answer, Opened, Reject};
use downlink_proto::v1::ingest_service_server::{IngestService, IngestServiceServer};
use downlink_proto::v1::query_service_server::{QueryService, QueryServiceServer};
use downlink_proto::v1::subscribe_response::{CaughtUp, Frame, Heartbeat, Started};
use downlink_proto::v1::{position::At, *};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What is "on disk": it outlives the servers.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) id: String,
    pub(crate) events: Vec<Event>,
    /// Last sequence, events and last offset of each producer and epoch.
    producers: HashMap<(String, u64), (u64, u64, u64)>,
    /// The last sequence of each that had an event to keep: what a restarted server knows of.
    kept_sequences: HashMap<(String, u64), u64>,
    request_ids: HashMap<String, u64>,
    /// Breaks the stream after so many more batches, the last of them kept but not acknowledged.
    pub(crate) cut_after_batches: Option<u64>,
    /// Ends a subscription after so many more frames.
    pub(crate) cut_after_frames: Option<u64>,
    /// Answers so many unary appends with UNAVAILABLE, after keeping the events.
    pub(crate) unanswered_appends: u64,
    /// Keeps batches waiting.
    pub(crate) is_stuck: bool,
    pub(crate) batch_events_max_seen: usize,
}

pub(crate) struct Server {
    pub(crate) log: Arc<Mutex<Log>>,
    pub(crate) url: String,
    runtime: Option<tokio::runtime::Runtime>,
    address: SocketAddr,
}

impl Server {
    pub(crate) fn start() -> Self {
        let log = Log { id: "log-1".to_owned(), ..Log::default() };
        let address = "127.0.0.1:0".parse().unwrap();
        let mut server = Self { log: Arc::new(Mutex::new(log)), url: String::new(), runtime: None, address };
        server.restart();
        server.url = format!("http://{}", server.address);
        server
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    /// Who has appended by stream, each once for every epoch.
    pub(crate) fn producers(&self) -> Vec<(String, u64)> {
        self.log().producers.keys().cloned().collect()
    }

    /// As kill -9 does it: connections break, nothing is said.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not here: a runtime must not be waited for inside another.
            let stopping = std::thread::spawn(|| runtime.shutdown_timeout(Duration::from_secs(1)));
            stopping.join().unwrap();
        }
    }

    pub(crate) fn restart(&mut self) {
        self.kill();
        self.log().recover();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // The killed server's port may be taken for a moment.
        let listener = (0..500).find_map(|_| {
            std::thread::sleep(Duration::from_millis(u64::from(self.address.port() != 0) * 2));
            std::net::TcpListener::bind(self.address).ok()
        });
        let listener = listener.expect("the port is free again");
        self.address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let service = Service(Arc::clone(&self.log));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            tonic::transport::Server::builder()
                .add_service(IngestServiceServer::new(service.clone()))
                .add_service(QueryServiceServer::new(service))
                .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener))
                .await
        });
        self.runtime = Some(runtime);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Log {
    pub(crate) fn names(&self) -> Vec<&str> {
        self.events.iter().map(|event| event.signal.as_str()).collect()
    }

    /// Makes the log anew.
    pub(crate) fn replace(&mut self, id: &str) {
        *self = Self { id: id.to_owned(), ..Self::default() };
    }

    /// What a restarted server finds: batches without kept events have left nothing on disk.
    fn recover(&mut self) {
        for (key, (sequence, ..)) in &mut self.producers {
            *sequence = self.kept_sequences.get(key).copied().unwrap_or_default();
        }
    }

    fn keep(&mut self, events: Vec<Event>) -> u64 {
        for mut event in events {
            event.offset = self.events.len() as u64 + 1;
            self.events.push(event);
        }
        self.events.len() as u64
    }

    fn open(&self, open: &Open) -> Opened {
        let key = (open.producer_id.clone(), open.producer_epoch);
        let (sequence, events, offset) = self.producers.get(&key).copied().unwrap_or_default();
        Opened {
            last_durable_sequence: sequence,
            last_offset: offset,
            max_batch_bytes: 1 << 20,
            max_batch_events: 1000,
            durable_events: events,
            log_id: self.id.clone(),
        }
    }

    fn append(&mut self, open: &Open, batch: Batch) -> Vec<Answer> {
        let key = (open.producer_id.clone(), open.producer_epoch);
        let (last, kept, _) = self.producers.get(&key).copied().unwrap_or_default();
        let sequence = batch.sequence;
        self.batch_events_max_seen = self.batch_events_max_seen.max(batch.events.len());
        if sequence > last + 1 {
            let reason = ErrorReason::SequenceGap.into();
            let problem = Problem { code: 9, reason, message: "a gap".to_owned(), ..Problem::default() };
            return vec![Answer::Reject(Reject {
                sequence,
                problem: Some(problem),
                fatal: true,
                rejections: vec![],
            })];
        }
        if sequence <= last {
            return vec![Answer::Ack(Ack { through_sequence: sequence, last_offset: 0, duplicate: true })];
        }
        let mut answers = vec![];
        let refused = batch.events.iter().any(|event| event.signal == "bad");
        let (count, events) = if refused { (0, vec![]) } else { (batch.events.len(), batch.events) };
        if refused {
            let reason = ErrorReason::InvalidEvent.into();
            let problem =
                Problem { code: 3, reason, message: "a bad event".to_owned(), ..Problem::default() };
            answers.push(Answer::Reject(Reject { sequence, problem: Some(problem), ..Reject::default() }));
        }
        let last_offset = self.keep(events);
        self.producers.insert(key.clone(), (sequence, kept + count as u64, last_offset));
        if count > 0 {
            self.kept_sequences.insert(key, sequence);
        }
        answers.push(Answer::Ack(Ack { through_sequence: sequence, last_offset, duplicate: false }));
        answers
    }
}

#[derive(Clone)]
struct Service(Arc<Mutex<Log>>);

#[tonic::async_trait]
impl IngestService for Service {
    type AppendStreamStream = Answers<AppendStreamResponse>;

    async fn append(&self, request: Request<AppendRequest>) -> Result<Response<AppendResponse>, Status> {
        let (mut log, request) = (self.0.lock().unwrap(), request.into_inner());
        let known = log.request_ids.get(&request.request_id).copied();
        let last = known.unwrap_or_else(|| log.keep(request.events));
        log.request_ids.insert(request.request_id, last);
        if log.unanswered_appends > 0 {
            log.unanswered_appends -= 1;
            return Err(Status::unavailable("come back"));
        }
        Ok(Response::new(AppendResponse {
            last_offset: last,
            duplicate: known.is_some(),
            ..Default::default()
        }))
    }

    async fn append_stream(
        &self,
        request: Request<Streaming<AppendStreamRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let (log, mut requests) = (Arc::clone(&self.0), request.into_inner());
        let (answers, receiver) = mpsc::channel(64);
        tokio::spawn(async move {
            let mut open = Open::default();
            while let Ok(Some(AppendStreamRequest { message: Some(message) })) = requests.message().await {
                while log.lock().unwrap().is_stuck {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let (messages, cut) = match message {
                    Request_::Open(opening) => {
                        open = opening;
                        (vec![Answer::Opened(log.lock().unwrap().open(&open))], false)
                    }
                    Request_::Batch(batch) => {
                        let mut log = log.lock().unwrap();
                        let messages = log.append(&open, batch);
                        let left = log.cut_after_batches.map(|left| left - 1);
                        log.cut_after_batches = left.filter(|left| *left > 0);
                        (messages, left == Some(0))
                    }
                };
                if cut {
                    return answers.send(Err(Status::unavailable("cut"))).await;
                }
                for message in messages {
                    answers.send(Ok(AppendStreamResponse { message: Some(message) })).await?;
                }
            }
            Ok(())
        });
        Ok(Response::new(ReceiverStream::new(receiver).boxed()))
    }

    async fn define_signals(
        &self,
        _: Request<DefineSignalsRequest>,
    ) -> Result<Response<DefineSignalsResponse>, Status> {
        Ok(Response::new(DefineSignalsResponse::default()))
    }
}

#[tonic::async_trait]
impl QueryService for Service {
    type ReadStream = Answers<ReadResponse>;
    type SubscribeStream = Answers<SubscribeResponse>;
    type AggregateStream = Answers<AggregateResponse>;

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let log = Arc::clone(&self.0);
        let start = request.into_inner().start.and_then(|position| position.at);
        let (frames, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let head = log.lock().unwrap().events.len() as u64 + 1;
            let mut next_offset = match start {
                Some(At::Offset(offset)) => offset,
                Some(At::Edge(edge)) if edge == i32::from(Edge::Oldest) => 1,
                _ => head,
            };
            let log_id = log.lock().unwrap().id.clone();
            let mut frame = Frame::Started(Started { log_id, ..Started::default() });
            loop {
                let cut = {
                    let mut log = log.lock().unwrap();
                    log.cut_after_frames = log.cut_after_frames.map(|left| left.saturating_sub(1));
                    log.cut_after_frames == Some(0)
                };
                if cut {
                    log.lock().unwrap().cut_after_frames = None;
                    return frames.send(Err(Status::unavailable("cut"))).await;
                }
                frames.send(Ok(SubscribeResponse { next_offset, frame: Some(frame) })).await?;
                let events: Vec<_> = log
                    .lock()
                    .unwrap()
                    .events
                    .iter()
                    .skip(next_offset as usize - 1)
                    .take(3)
                    .cloned()
                    .collect();
                next_offset += events.len() as u64;
                frame = match events.is_empty() {
                    true => Frame::CaughtUp(CaughtUp::default()),
                    false => Frame::Events(EventBatch { events, ..EventBatch::default() }),
                };
                if matches!(frame, Frame::CaughtUp(_)) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    frame = Frame::Heartbeat(Heartbeat::default());
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver).boxed()))
    }

    /// Everything, whatever is asked for.
    async fn read(&self, _: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        use read_response::{End, Frame};
        let events = self.0.lock().unwrap().events.clone();
        let frames =
            [Frame::Events(EventBatch { events, ..EventBatch::default() }), Frame::End(End::default())];
        let frames = frames.map(|frame| Ok(ReadResponse { frame: Some(frame) }));
        Ok(Response::new(futures::stream::iter(frames).boxed()))
    }

    async fn get_latest(&self, _: Request<GetLatestRequest>) -> Result<Response<GetLatestResponse>, Status> {
        let log = self.0.lock().unwrap();
        let newest: HashMap<_, _> = log.events.iter().map(|event| (&event.signal, event)).collect();
        let value = |event: &Event| LatestValue { event: Some(event.clone()), ..LatestValue::default() };
        let values = newest.into_values().map(value).collect();
        Ok(Response::new(GetLatestResponse { values, ..GetLatestResponse::default() }))
    }

    async fn aggregate(
        &self,
        _: Request<AggregateRequest>,
    ) -> Result<Response<Self::AggregateStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_signals(
        &self,
        _: Request<ListSignalsRequest>,
    ) -> Result<Response<ListSignalsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn lookup_offset(
        &self,
        _: Request<LookupOffsetRequest>,
    ) -> Result<Response<LookupOffsetResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}
