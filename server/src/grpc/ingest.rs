//! `IngestService`: judges, converts, hands to admission. Mounted by hand because of its codec.

pub(super) mod append_stream;
pub(super) mod arrival;
pub(super) mod checks;
pub(super) mod codec;
mod define;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use downlink_proto::v1::{
    AppendRequest, AppendResponse, AppendStreamRequest, AppendStreamResponse, DefineSignalsRequest,
    DefineSignalsResponse, ErrorReason,
};
use downlink_storage::{Append, Appended, Identity, Offset};
use tokio::sync::{Mutex, Semaphore};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codec::{Codec, CompressionEncoding};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use self::append_stream::Origin;
use self::arrival::{Arrival, Incoming};
use self::checks::Events;
use self::codec::{BatchMax, BoundedCodec, Received, in_our_terms};
use self::define::define;
use super::Shared;
use super::call::{Brought, trace_context};
use super::convert;
use super::status::{Refusal, status};
use crate::ingest::outcome;
use crate::observability::Place;

/// Takes events in.
#[derive(Clone)]
pub(crate) struct IngestServer {
    shared: Arc<Shared>,
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    define_calls: Arc<Semaphore>,
    define_turns: Arc<Mutex<()>>,
}

/// Calls at once that define signals: each may take `batch_bytes_max`, and many times that once decoded.
const DEFINE_CALLS_MAX: usize = 4;

impl IngestServer {
    /// On what the services share.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let calls = Arc::new(Semaphore::new(shared.config.append_calls_max));
        let streams = Arc::new(Semaphore::new(shared.config.append_streams_max));
        let define_calls = Arc::new(Semaphore::new(DEFINE_CALLS_MAX));
        let permits = &shared.metrics.permits;
        permits.watch("append_calls", &calls, shared.config.append_calls_max);
        permits.watch("append_streams", &streams, shared.config.append_streams_max);
        Self { shared, calls, streams, define_calls, define_turns: Arc::default() }
    }

    fn grpc<C: Codec>(&self, codec: C) -> Grpc<C> {
        Grpc::new(codec)
            .accept_compressed(CompressionEncoding::Zstd)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(self.shared.config.message_bytes_max)
    }

    fn batch_max(&self) -> BatchMax {
        BatchMax { events: self.shared.config.batch_events_max, bytes: self.shared.config.batch_bytes_max }
    }

    async fn unary(self, request: http::Request<Body>) -> http::Response<Body> {
        // Before the message is read: this bounds what messages on their way in may take.
        let Ok(_permit) = self.calls.clone().try_acquire_owned() else {
            let refusal = Refusal::new(ErrorReason::Overloaded, "too many appends at once");
            return Status::from(refusal).into_http();
        };
        let shared = self.shared.clone();
        let codec = BoundedCodec::<AppendRequest, AppendResponse>::new(self.batch_max());
        let mut grpc = self.grpc(codec);
        let call = grpc.unary(Call(|request| append(shared.clone(), request)), request);
        self.in_terms(call, self.shared.config.message_bytes_max).await
    }

    async fn stream(self, request: http::Request<Body>) -> http::Response<Body> {
        let Ok(permit) = self.streams.clone().try_acquire_owned() else {
            let refusal = Refusal::new(ErrorReason::Quota, "too many append streams at once");
            return Status::from(refusal).into_http();
        };
        let shared = self.shared.clone();
        let codec = BoundedCodec::<AppendStreamRequest, AppendStreamResponse>::new(self.batch_max());
        let (decoder, encoding) = (codec.clone(), encoding(request.headers()));
        let bytes_max = shared.config.message_bytes_max;
        let decode =
            move |body| Streaming::new_request(decoder.clone().decoder(), body, encoding, Some(bytes_max));
        let mut once = Some((permit, decode));
        let call = Call(|request: Request<Streaming<Received<AppendStreamRequest>>>| {
            let place = request.extensions().get::<Place>().cloned();
            let trace_context = trace_context(request.metadata(), place.as_ref());
            let arrival =
                request.extensions().get::<Arrival>().expect("every request passes the door").clone();
            let (permit, decode) = once.take().expect("a stream is served once");
            let requests = Incoming::new(arrival, decode);
            let answers =
                append_stream::serve(shared.clone(), requests, Origin::new(trace_context, place), permit);
            async { Ok::<_, Status>(Response::new(answers)) }
        });
        self.grpc(codec).streaming(call, request).await
    }

    async fn define_signals(self, request: http::Request<Body>) -> http::Response<Body> {
        let Ok(_permit) = self.define_calls.clone().try_acquire_owned() else {
            let refusal = Refusal::new(ErrorReason::Overloaded, "too many calls define signals at once");
            return Status::from(refusal).into_http();
        };
        let (shared, turns) = (self.shared.clone(), self.define_turns.clone());
        let codec = BoundedCodec::<DefineSignalsRequest, DefineSignalsResponse>::new(self.batch_max());
        let bytes_max = self.shared.config.batch_bytes_max;
        let mut grpc = self.grpc(codec).max_decoding_message_size(bytes_max);
        let call = grpc.unary(Call(|request| define(shared.clone(), turns.clone(), request)), request);
        self.in_terms(call, bytes_max).await
    }

    /// The answer to a unary call, in time and in our own terms.
    async fn in_terms(
        &self,
        call: impl Future<Output = http::Response<Body>>,
        bytes_max: usize,
    ) -> http::Response<Body> {
        // What the log has got by then it settles all the same.
        let response = self.shared.in_time(call).await.unwrap_or_else(Status::into_http);
        match Status::from_header_map(response.headers()) {
            Some(status) => in_our_terms(status, bytes_max).into_http(),
            None => response,
        }
    }
}

impl NamedService for IngestServer {
    const NAME: &'static str = downlink_proto::v1::ingest_service_server::SERVICE_NAME;
}

impl Service<http::Request<Body>> for IngestServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next().unwrap_or_default();
            Ok(match method {
                "Append" => server.unary(request).await,
                "AppendStream" => server.stream(request).await,
                "DefineSignals" => server.define_signals(request).await,
                _ => Status::unimplemented("there is no such method").into_http(),
            })
        })
    }
}

/// A function as a method of a service.
struct Call<F>(F);

impl<F, Answer, M, R> UnaryService<M> for Call<F>
where
    F: FnMut(Request<M>) -> Answer,
    Answer: Future<Output = Result<Response<R>, Status>>,
{
    type Response = R;
    type Future = Answer;

    fn call(&mut self, request: Request<M>) -> Answer {
        (self.0)(request)
    }
}

impl<F, Answer, M, R> StreamingService<M> for Call<F>
where
    F: FnMut(Request<Streaming<M>>) -> Answer,
    Answer: Future<Output = Result<Response<ReceiverStream<Result<R, Status>>>, Status>>,
{
    type Response = R;
    type ResponseStream = ReceiverStream<Result<R, Status>>;
    type Future = Answer;

    fn call(&mut self, request: Request<Streaming<M>>) -> Answer {
        (self.0)(request)
    }
}

/// How the messages of a request are compressed; by then nothing else is left.
fn encoding(headers: &http::HeaderMap) -> Option<CompressionEncoding> {
    match headers.get("grpc-encoding")?.as_bytes() {
        b"gzip" => Some(CompressionEncoding::Gzip),
        b"zstd" => Some(CompressionEncoding::Zstd),
        _ => None,
    }
}

/// `Append`.
async fn append(
    shared: Arc<Shared>,
    request: Request<Received<AppendRequest>>,
) -> Result<Response<AppendResponse>, Status> {
    let turn = request.extensions().get::<Arrival>().and_then(Arrival::take_turn);
    let place = request.extensions().get::<Place>().cloned();
    let trace_context = trace_context(request.metadata(), place.as_ref());
    let (mut message, batch_bytes) = match request.into_inner() {
        Received::Whole { message, batch_bytes } => (message, batch_bytes),
        Received::TooLarge { events, refusal, .. } => {
            shared.ingest.count_rejected(events);
            return Err(refusal.into());
        }
    };
    let incoming = Events::new(std::mem::take(&mut message.events), message.columns.take());
    let count = incoming.len();
    let (identity, expected_head) =
        terms(&message, count).inspect_err(|_| shared.ingest.count_rejected(count)).map_err(Status::from)?;
    let permit = shared.ingest.admit_in_time(count, batch_bytes).await.map_err(|error| {
        shared.ingest.count_rejected(count);
        status(error)
    })?;
    drop(turn);

    let judged = shared.checks.judge(incoming, &trace_context);
    let (events, bad) = judged.inspect_err(|_| shared.ingest.count_rejected(count))?;
    if !bad.is_empty() {
        let refused = if message.allow_partial { bad.len() } else { count };
        shared.ingest.count_rejected(refused);
    }
    if !message.allow_partial
        && let Some(refusal) = Refusal::all(bad.iter().map(|(_, refusal)| refusal.clone()).collect())
    {
        return Err(refusal.into());
    }
    let appended = if events.is_empty() {
        Appended { first: None, last: None, head: shared.log.head(), duplicate: false }
    } else {
        let note = place.as_ref().map(Place::to_note);
        outcome(shared.ingest.append(Append { events, identity, expected_head, note }, permit))
            .await
            .map_err(status)?
    };
    let mut response = Response::new(AppendResponse {
        first_offset: appended.first.map_or(0, Offset::get),
        last_offset: appended.last.map_or(0, Offset::get),
        head_offset: appended.head.get(),
        duplicate: appended.duplicate,
        rejections: bad.into_iter().map(convert::rejection).collect(),
    });
    if place.is_some() {
        let brought = Brought { events: count, bytes: batch_bytes, first: appended.first };
        response.extensions_mut().insert(brought);
    }
    Ok(response)
}

/// Under which terms a batch of so many events is to be appended.
fn terms(message: &AppendRequest, events: usize) -> Result<(Identity, Option<Offset>), Refusal> {
    let invalid = |field: &str, problem: &str| Refusal::field(ErrorReason::InvalidRequest, field, problem);
    if events == 0 {
        return Err(invalid("events", "must not be empty"));
    }
    let identity = if message.request_id.is_empty() {
        Identity::Anonymous
    } else {
        let id = Uuid::try_parse(&message.request_id).map_err(|_| invalid("request_id", "must be a UUID"))?;
        Identity::Request(id.into_bytes())
    };
    let expected_head = match message.expected_head {
        None => None,
        Some(head) => Some(Offset::new(head).ok_or_else(|| invalid("expected_head", "offsets begin at 1"))?),
    };
    Ok((identity, expected_head))
}
