//! The whole server in process, over real gRPC: hostile input, faults of the disk, and the drain.

mod aggregate;
pub(crate) mod columns;
mod faults;
mod gate;
mod history;
mod hostile;
pub(crate) mod methods;
mod reasons;
mod streams;
mod subscribing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use downlink_proto::v1::ingest_service_client::IngestServiceClient;
use downlink_proto::v1::log_service_client::LogServiceClient;
use downlink_proto::v1::query_service_client::QueryServiceClient;
use downlink_proto::v1::value::Kind;
use downlink_proto::v1::{
    AppendRequest, AppendStreamRequest, Event, GetLogInfoRequest, IngestTotals, Value, append_stream_request,
};
use downlink_storage::engine::Engine;
use downlink_storage::engine::memory::MemoryEngine;
use downlink_storage::{Log, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use crate::Server;
use crate::config::Config;

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a disk that fails on command.
struct Fixture {
    address: SocketAddr,
    engine: MemoryEngine,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Fixture {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let engine = MemoryEngine::new();
        Self::start_on(engine.clone(), Arc::new(engine), change).await
    }

    /// On `disk`, which keeps what it holds in `engine`.
    async fn start_on(engine: MemoryEngine, disk: Arc<dyn Engine>, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::standard();
        change(&mut config);
        let log = Log::open(disk, Arc::new(SystemClock), config.log_options()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::with_log(config, log, Arc::new(SystemClock), listener).unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(async move { drop(stopped.await) }));
        Self { address, engine, stop: Some(stop), serving: Some(serving) }
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    async fn ingest(&self) -> IngestServiceClient<Channel> {
        IngestServiceClient::new(self.channel().await)
    }

    async fn query(&self) -> QueryServiceClient<Channel> {
        QueryServiceClient::new(self.channel().await)
    }

    /// The books, which must be in order.
    async fn totals(&self) -> IngestTotals {
        let mut client = LogServiceClient::new(self.channel().await);
        let info = client.get_log_info(GetLogInfoRequest {}).await.unwrap().into_inner();
        let totals = info.totals.unwrap();
        let sum = totals.appended_events + totals.duplicate_events + totals.rejected_events;
        assert_eq!(totals.received_events, sum);
        totals
    }

    fn stop(&mut self) {
        drop(self.stop.take());
    }

    async fn stopped(&mut self) {
        let serving = self.serving.take().unwrap();
        tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap().unwrap();
    }
}

fn event(signal: &str, value: i64) -> Event {
    let value = Some(Value { kind: Some(Kind::IntValue(value)) });
    Event { signal: signal.to_owned(), value, ..Event::default() }
}

fn append(events: Vec<Event>) -> AppendRequest {
    AppendRequest { events, ..AppendRequest::default() }
}

fn open(producer_id: &str, allow_partial: bool) -> AppendStreamRequest {
    let open =
        append_stream_request::Open { producer_id: producer_id.to_owned(), producer_epoch: 1, allow_partial };
    AppendStreamRequest { message: Some(append_stream_request::Message::Open(open)) }
}

fn batch(sequence: u64, events: Vec<Event>) -> AppendStreamRequest {
    let batch = append_stream_request::Batch { sequence, events, columns: None };
    AppendStreamRequest { message: Some(append_stream_request::Message::Batch(batch)) }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}
