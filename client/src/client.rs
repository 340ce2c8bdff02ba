//! A connection to a server: a typed method for each call.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use downlink_proto::v1::admin_service_client::AdminServiceClient;
use downlink_proto::v1::ingest_service_client::IngestServiceClient;
use downlink_proto::v1::log_service_client::LogServiceClient;
use downlink_proto::v1::query_service_client::QueryServiceClient;
use downlink_proto::v1::{
    AppendRequest, AppendResponse, DefineSignalsRequest, DefineSignalsResponse, Event, EventBatch,
    GetLatestRequest, GetLatestResponse, GetLogInfoRequest, GetLogInfoResponse, ListSignalsRequest,
    ListSignalsResponse, LookupOffsetRequest, LookupOffsetResponse, Position, ReadRequest, ReadResponse,
    RollSegmentRequest, RollSegmentResponse, Signal, SubscribeRequest, VerifyLogRequest, read_response,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::columns;
use crate::retry::retry;
use crate::trace::Traced;
use crate::{Appender, AppenderOptions, Error, Result, Subscription, Verification};

/// How to connect, and how long to wait.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a unary call may take, and how long the first answer of a stream.
    pub call_timeout: Duration,
    /// How long calls that a retry cannot harm are tried again.
    pub retry_for: Duration,
    /// How many bytes a message from the server may have.
    pub message_bytes_max: usize,
    /// How many bytes may be under way from the server on one stream.
    pub stream_window_bytes: u32,
    /// How many bytes may be under way from the server in all.
    pub connection_window_bytes: u32,
    /// Silence on the connection after which the server is asked for a sign of life.
    pub keep_alive_interval: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(10),
            retry_for: Duration::from_secs(5),
            message_bytes_max: 64 << 20,
            stream_window_bytes: 8 << 20,
            connection_window_bytes: 16 << 20,
            keep_alive_interval: Duration::from_secs(20),
        }
    }
}

/// A connection to a server. Clones are cheap and share it; it is made again when it breaks.
#[derive(Clone, Debug)]
pub struct Client {
    url: Arc<str>,
    channel: Channel,
    options: Arc<ClientOptions>,
}

impl Client {
    /// Connects with the default options. The scheme may be left out.
    pub async fn connect(url: impl AsRef<str>) -> Result<Self> {
        Self::connect_with(url, ClientOptions::default()).await
    }

    /// Connects.
    pub async fn connect_with(url: impl AsRef<str>, options: ClientOptions) -> Result<Self> {
        let url = url.as_ref();
        let invalid = |reason: &str| Error::InvalidUrl { url: url.to_owned(), reason: reason.to_owned() };
        let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let endpoint = Endpoint::from_shared(full.clone()).map_err(|error| invalid(&root_cause(&error)))?;
        match endpoint.uri().scheme_str() {
            Some("http") => {}
            Some("https") => return Err(invalid("TLS is not supported yet")),
            Some(_) | None => return Err(invalid("its scheme is not http")),
        }
        let endpoint = endpoint
            .connect_timeout(options.connect_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(options.stream_window_bytes)
            .initial_connection_window_size(options.connection_window_bytes)
            .http2_keep_alive_interval(options.keep_alive_interval)
            .keep_alive_timeout(options.keep_alive_interval)
            .keep_alive_while_idle(true);
        let connected = endpoint.connect().await;
        let channel = connected.map_err(|error| {
            Error::from_transport(&full, &error, options.connect_timeout).while_connecting()
        })?;
        Ok(Self { url: full.into(), channel, options: Arc::new(options) })
    }

    /// The server's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Appends one batch, atomically. Not tried again: see [`Self::append_events`].
    pub async fn append(&self, request: AppendRequest) -> Result<AppendResponse> {
        self.answer(self.ingest().append(self.timed(request)).await)
    }

    /// Appends events atomically, once, and tries again where a retry can help.
    pub async fn append_events(&self, events: Vec<Event>) -> Result<AppendResponse> {
        // The id makes the retries harmless.
        let request_id = uuid::Uuid::new_v4().to_string();
        let request = AppendRequest { events, request_id, ..AppendRequest::default() };
        retry(self.options.retry_for, || self.append(request.clone())).await
    }

    /// Tells the log what signals mean, all of them or none: unit, meaning, states, limits, expected period. A
    /// definition replaces the one before; the same again changes nothing, so it is tried again where that can help.
    ///
    /// ```no_run
    /// # async fn example(client: downlink_client::Client) -> Result<(), downlink_client::Error> {
    /// use downlink_client::v1::Signal;
    ///
    /// let signal = Signal {
    ///     name: "lab/fan".to_owned(),
    ///     description: "The fan above the oven".to_owned(),
    ///     states: [(0, "Off".to_owned()), (1, "On".to_owned())].into(),
    ///     ..Signal::default()
    /// };
    /// client.define_signals(vec![signal]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn define_signals(&self, signals: Vec<Signal>) -> Result<DefineSignalsResponse> {
        let request = DefineSignalsRequest { signals };
        let call = async || self.answer(self.ingest().define_signals(self.timed(request.clone())).await);
        retry(self.options.retry_for, call).await
    }

    /// Opens a stream of appends that batches, pipelines, and goes on after a lost connection.
    pub async fn appender(&self, options: AppenderOptions) -> Result<Appender> {
        Appender::open(self.clone(), options).await
    }

    /// Replays a part of the log. Its batches have rows, whichever encoding they travel in.
    pub async fn read(&self, request: ReadRequest) -> Result<Replay> {
        self.replay(request, Unpack::Always).await
    }

    /// As [`Self::read`], but batches that travel in columns stay as they came.
    pub async fn read_raw(&self, request: ReadRequest) -> Result<Replay> {
        self.replay(request, Unpack::Never).await
    }

    async fn replay(&self, request: ReadRequest, unpack: Unpack) -> Result<Replay> {
        let frames = self.answer(self.in_time(self.query().read(request)).await?)?;
        Ok(Replay { client: self.clone(), frames, unpack, ended: false })
    }

    /// Follows the log, as a request or [`SubscriptionOptions`](crate::SubscriptionOptions) say. Its batches have rows,
    /// whichever encoding they travel in.
    pub async fn subscribe(&self, request: impl Into<SubscribeRequest>) -> Result<Subscription> {
        Subscription::open(self.clone(), request.into(), Unpack::Always).await
    }

    /// As [`Self::subscribe`], but batches that travel in columns stay as they came.
    pub async fn subscribe_raw(&self, request: impl Into<SubscribeRequest>) -> Result<Subscription> {
        Subscription::open(self.clone(), request.into(), Unpack::Never).await
    }

    /// The newest event of each signal.
    pub async fn latest(&self, request: GetLatestRequest) -> Result<GetLatestResponse> {
        self.answer(self.query().get_latest(self.timed(request)).await)
    }

    /// The signals of the log.
    pub async fn signals(&self, request: ListSignalsRequest) -> Result<ListSignalsResponse> {
        self.answer(self.query().list_signals(self.timed(request)).await)
    }

    /// The offset of a position, and the event time of the event there.
    pub async fn lookup(&self, position: Position) -> Result<LookupOffsetResponse> {
        let request = LookupOffsetRequest { position: Some(position) };
        self.answer(self.query().lookup_offset(self.timed(request)).await)
    }

    /// Identity, ends, totals and size of the log.
    pub async fn info(&self) -> Result<GetLogInfoResponse> {
        self.answer(
            LogServiceClient::new(self.channel()).get_log_info(self.timed(GetLogInfoRequest {})).await,
        )
    }

    /// Closes the newest segment, so that it gets sealed. Waiting for that can take long: no bound on it.
    pub async fn roll(&self, request: RollSegmentRequest) -> Result<RollSegmentResponse> {
        self.answer(AdminServiceClient::new(self.channel()).roll_segment(request).await)
    }

    /// Has the server read its log from disk and say what is not as it should be. It may take long.
    pub async fn verify(&self, request: VerifyLogRequest) -> Result<Verification> {
        let mut admin = AdminServiceClient::new(self.channel());
        let frames = self.answer(self.in_time(admin.verify_log(request)).await?)?;
        Ok(Verification::new(self.clone(), frames))
    }

    pub(crate) fn channel(&self) -> Traced {
        Traced(self.channel.clone())
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.options
    }

    pub(crate) fn error(&self, status: &Status) -> Error {
        Error::from_status(&self.url, status, self.options.call_timeout)
    }

    pub(crate) fn broken(&self, error: &tonic::transport::Error) -> Error {
        Error::from_transport(&self.url, error, self.options.call_timeout)
    }

    /// Waits for the begin of a stream no longer than for the answer to a call.
    pub(crate) async fn in_time<T>(&self, begin: impl Future<Output = T>) -> Result<T> {
        let after = self.options.call_timeout;
        let late = |_| Error::TimedOut { url: self.url.to_string(), after };
        tokio::time::timeout(after, begin).await.map_err(late)
    }

    pub(crate) fn query(&self) -> QueryServiceClient<Traced> {
        QueryServiceClient::new(self.channel()).max_decoding_message_size(self.options.message_bytes_max)
    }

    fn ingest(&self) -> IngestServiceClient<Traced> {
        IngestServiceClient::new(self.channel()).max_decoding_message_size(self.options.message_bytes_max)
    }

    pub(crate) fn timed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.options.call_timeout);
        request
    }

    pub(crate) fn answer<T>(&self, result: std::result::Result<tonic::Response<T>, Status>) -> Result<T> {
        result.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }
}

/// What to do about batches that travel in columns.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unpack {
    /// Make rows of them.
    Always,
    /// Leave them as they came.
    Never,
}

impl Unpack {
    pub(crate) fn apply(self, batch: &mut EventBatch, client: &Client) -> Result<()> {
        match self {
            Self::Never => Ok(()),
            Self::Always => columns::unpack(batch).map_err(|malformed| Error::Protocol {
                url: client.url().to_owned(),
                reason: malformed.to_string(),
            }),
        }
    }
}

/// A replay under way.
#[derive(Debug)]
pub struct Replay {
    client: Client,
    frames: Streaming<ReadResponse>,
    unpack: Unpack,
    ended: bool,
}

impl Replay {
    /// The next frame: events, a gap, or the end, after which there is none.
    pub async fn next(&mut self) -> Result<Option<read_response::Frame>> {
        while !self.ended {
            let message = self.frames.message().await.map_err(|status| self.client.error(&status))?;
            let Some(response) = message else {
                let reason = "a replay that ends in the middle".to_owned();
                return Err(Error::Protocol { url: self.client.url().to_owned(), reason });
            };
            // A frame of a kind that this version does not know says nothing that it could use.
            if let Some(mut frame) = response.frame {
                if let read_response::Frame::Events(batch) = &mut frame {
                    self.unpack.apply(batch, &self.client)?;
                }
                self.ended = matches!(frame, read_response::Frame::End(_));
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
