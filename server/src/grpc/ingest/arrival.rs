//! Messages on their way in: what they take until the log has admitted them is bounded over all callers.
//!
//! A message that is not small waits, unread, for room as large as it says it is, and gives it back when it has
//! been admitted; while it holds room it must get on. The last piece of any message waits for a turn at decoding,
//! because decompressed and decoded it may be far larger than it was.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use downlink_proto::v1::ErrorReason;
use futures::stream::BoxStream;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::body::Body;
use tonic::codegen::http::HeaderMap;
use tonic::{Status, Streaming};

use crate::config::Config;
use crate::grpc::status::Refusal;
use crate::metrics::Permits;
use crate::sync::{lock, take};

/// Messages up to this size need no room: `calls_max` bounds what they take.
pub(crate) const SMALL_BYTES: usize = 16 << 10;
/// Messages up to this size do not queue behind larger ones.
const ORDINARY_BYTES: usize = 256 << 10;
/// What gRPC writes before each message: whether it is compressed, and its length.
const HEADER_BYTES: usize = 5;

type Frame = http_body::Frame<Bytes>;

/// What messages a call has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One that is to be appended, after which the caller ends its side.
    Append,
    /// Any number of them.
    Appends,
    /// One that asks for something, likewise.
    Request,
    /// Any number of small ones, of what every server serves: health and reflection.
    Common,
}

impl Kind {
    const fn is_single(self) -> bool {
        matches!(self, Self::Append | Self::Request)
    }
}

/// Room for messages on their way in, over all callers.
pub(crate) struct Arrivals {
    ordinary: Arc<Room>,
    large: Arc<Room>,
    /// Turns at decoding what is to be appended: they may last as long as the log takes to admit it.
    decoding: Arc<Semaphore>,
    /// Turns at decoding what asks for something, which takes no longer than that.
    decoding_requests: Arc<Semaphore>,
    decoding_max: usize,
    wait_max: Duration,
    arrival_max: Duration,
    stall_max: Duration,
}

struct Room {
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    /// Everybody who waits for room holds a clone.
    waiting: Arc<()>,
}

impl Room {
    fn of(bytes_max: usize) -> Arc<Self> {
        let bytes = Arc::new(Semaphore::new(bytes_max));
        Arc::new(Self { bytes, bytes_max, waiting: Arc::new(()) })
    }

    fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.waiting) > 1
    }
}

/// What a message holds while it arrives.
struct Place {
    permit: OwnedSemaphorePermit,
    room: Arc<Room>,
    until: Instant,
}

/// What a message holds from its last byte until it has been admitted, or refused.
pub(crate) struct Turn {
    _decoding: OwnedSemaphorePermit,
    _room: Option<OwnedSemaphorePermit>,
    /// Whether decoding it needs buffers worth giving back.
    is_large: bool,
}

impl Arrivals {
    /// Within the bounds of `config`.
    pub(crate) fn new(config: &Config) -> Self {
        let bytes_max = config.request_bytes_in_flight_max;
        Self {
            ordinary: Room::of(bytes_max / 4),
            large: Room::of(bytes_max - bytes_max / 4),
            decoding: Arc::new(Semaphore::new(config.messages_decoding_max)),
            decoding_requests: Arc::new(Semaphore::new(config.messages_decoding_max)),
            decoding_max: config.messages_decoding_max,
            wait_max: Duration::from_millis(config.append_wait_ms_max),
            arrival_max: Duration::from_millis(config.message_arrival_ms_max),
            stall_max: Duration::from_millis(config.message_stall_ms_max),
        }
    }

    /// Shows how much of it is taken.
    pub(crate) fn watch(&self, permits: &Permits) {
        permits.watch("arriving_bytes", &self.ordinary.bytes, self.ordinary.bytes_max);
        permits.watch("arriving_large_bytes", &self.large.bytes, self.large.bytes_max);
        permits.watch("decoding", &self.decoding, self.decoding_max);
        permits.watch("decoding_requests", &self.decoding_requests, self.decoding_max);
    }

    /// A turn at decoding; what is small in any form needs none.
    async fn turn(&self, kind: Kind) -> Result<Option<OwnedSemaphorePermit>, Status> {
        let turns = match kind {
            Kind::Append | Kind::Appends => &self.decoding,
            Kind::Request => &self.decoding_requests,
            Kind::Common => return Ok(None),
        };
        self.wait(kind, turns.clone().acquire_owned()).await.map(Some)
    }

    async fn place(&self, bytes: usize, kind: Kind) -> Result<Place, Status> {
        let room = if bytes <= ORDINARY_BYTES { &self.ordinary } else { &self.large };
        let cost = u32::try_from(bytes.min(room.bytes_max)).unwrap_or(u32::MAX);
        let _waits = room.waiting.clone();
        let permit = self.wait(kind, room.bytes.clone().acquire_many_owned(cost)).await?;
        Ok(Place { permit, room: room.clone(), until: Instant::now() + self.arrival_max })
    }

    /// A stream waits as long as it takes, which its producer notices; a single call is told.
    async fn wait<T>(
        &self,
        kind: Kind,
        permit: impl Future<Output = Result<T, tokio::sync::AcquireError>>,
    ) -> Result<T, Status> {
        let permit = if kind.is_single() {
            timeout(self.wait_max, permit).await.map_err(|_| {
                Refusal::new(ErrorReason::Overloaded, "too many messages are on their way in: try again")
            })?
        } else {
            permit.await
        };
        Ok(permit.expect("the semaphore is never closed"))
    }
}

/// A call's own end of what its request holds.
#[derive(Clone)]
pub(crate) struct Arrival {
    body: Arc<Mutex<Body>>,
    turn: Arc<Mutex<Option<Turn>>>,
}

impl Arrival {
    /// Lets the messages of `body` in as there is room for them; those beyond `message_bytes_max` are refused
    /// elsewhere, by what they say of themselves.
    pub(crate) fn new(arrivals: Arc<Arrivals>, body: Body, kind: Kind, message_bytes_max: usize) -> Self {
        let turn = Arc::new(Mutex::new(None));
        let arriving = Arriving {
            inner: body,
            arrivals,
            kind,
            message_bytes_max,
            ahead: Bytes::new(),
            trailers: None,
            left: 0,
            place: None,
            is_large: false,
            is_over: false,
            turn: turn.clone(),
        };
        let frames: BoxStream<'static, _> = Box::pin(futures::stream::unfold(arriving, Arriving::next));
        Self { body: Arc::new(Mutex::new(Body::new(StreamBody::new(frames)))), turn }
    }

    /// The messages, bounded. Each ends where a frame ends.
    pub(crate) fn body(&self) -> Body {
        Body::new(Shared(self.body.clone()))
    }

    /// What the message that has just been decoded holds. To be dropped as soon as it has been admitted.
    pub(crate) fn take_turn(&self) -> Option<Turn> {
        take(&self.turn)
    }
}

/// A body of which there are several handles, used one after the other.
struct Shared(Arc<Mutex<Body>>);

impl http_body::Body for Shared {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame, Status>>> {
        Pin::new(&mut *lock(&self.0)).poll_frame(context)
    }
}

/// A request on its way in.
struct Arriving {
    inner: Body,
    arrivals: Arc<Arrivals>,
    kind: Kind,
    message_bytes_max: usize,
    /// Received, not yet passed on.
    ahead: Bytes,
    trailers: Option<HeaderMap>,
    /// Bytes of the present message, its header among them, that have not been passed on.
    left: usize,
    place: Option<Place>,
    is_large: bool,
    is_over: bool,
    turn: Arc<Mutex<Option<Turn>>>,
}

impl Arriving {
    async fn next(mut self) -> Option<(Result<Frame, Status>, Self)> {
        match self.pass_on().await {
            Ok(Some(bytes)) => Some((Ok(Frame::data(bytes)), self)),
            Ok(None) => self.trailers.take().map(|trailers| (Ok(Frame::trailers(trailers)), self)),
            Err(status) => {
                (self.is_over, self.place) = (true, None);
                Some((Err(status), self))
            }
        }
    }

    /// The next bytes of the present message, or of the next one.
    async fn pass_on(&mut self) -> Result<Option<Bytes>, Status> {
        if self.left == 0 {
            self.begin().await?;
        }
        if self.ahead.is_empty() {
            let Some(received) = self.receive().await? else { return Ok(None) };
            self.ahead = received;
        }
        if self.ahead.len() < self.left || self.left == 0 {
            self.left = self.left.saturating_sub(self.ahead.len());
            return Ok(Some(std::mem::take(&mut self.ahead)));
        }
        // A single call is decoded when it is whole, so that nobody waits for its end during its turn.
        while self.kind.is_single() && self.ahead.len() == self.left {
            let Some(received) = self.receive().await? else { break };
            self.ahead = joined(std::mem::take(&mut self.ahead), received);
        }
        if self.kind.is_single() && self.ahead.len() > self.left {
            return Err(Status::unimplemented("there is more than the one message of a unary call"));
        }
        if let Some(decoding) = self.arrivals.turn(self.kind).await? {
            let room = self.place.take().map(|place| place.permit);
            *lock(&self.turn) = Some(Turn { _decoding: decoding, _room: room, is_large: self.is_large });
        }
        Ok(Some(self.ahead.split_to(std::mem::take(&mut self.left))))
    }

    /// Waits for the header of a message, and for room.
    async fn begin(&mut self) -> Result<(), Status> {
        if self.kind == Kind::Appends {
            // Whoever wanted it has taken it.
            drop(take(&self.turn));
        }
        while self.ahead.len() < HEADER_BYTES {
            // Half a header is passed on, and judged as what it is.
            let Some(received) = self.receive().await? else { return Ok(()) };
            self.ahead = joined(std::mem::take(&mut self.ahead), received);
        }
        let mut header = &self.ahead[..HEADER_BYTES];
        let is_compressed = header.get_u8() != 0;
        let length = usize::try_from(header.get_u32()).unwrap_or(usize::MAX);
        self.left = HEADER_BYTES.saturating_add(length);
        self.is_large = is_compressed || length > SMALL_BYTES;
        if self.kind == Kind::Common && length > SMALL_BYTES {
            let problem = format!("a message of {length} bytes, of at most {SMALL_BYTES}");
            return Err(Status::resource_exhausted(problem));
        }
        if (SMALL_BYTES + 1..=self.message_bytes_max).contains(&length) {
            self.place = Some(self.arrivals.place(length, self.kind).await?);
        }
        Ok(())
    }

    /// More bytes of the caller's, never none; `None` at the end.
    async fn receive(&mut self) -> Result<Option<Bytes>, Status> {
        while !self.is_over {
            let frame = match &self.place {
                None => self.inner.frame().await,
                Some(place) => in_time(&self.arrivals, place, &mut self.inner).await?,
            };
            match frame.transpose()?.map(Frame::into_data) {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => return Ok(Some(bytes)),
                Some(Err(frame)) => self.trailers = frame.into_trailers().ok(),
                None => self.is_over = true,
            }
        }
        Ok(None)
    }
}

/// The next frame of a message that holds room.
async fn in_time(
    arrivals: &Arrivals,
    place: &Place,
    body: &mut Body,
) -> Result<Option<Result<Frame, Status>>, Status> {
    loop {
        let check_at = place.until.min(Instant::now() + arrivals.stall_max);
        tokio::select! {
            biased;
            frame = body.frame() => return Ok(frame),
            () = sleep_until(check_at) => {}
        }
        if Instant::now() >= place.until {
            let most = arrivals.arrival_max.as_millis();
            return Err(Status::deadline_exceeded(format!("a message took longer than {most} ms to arrive")));
        }
        if place.room.is_wanted() {
            let problem = "a message did not get on while others waited for its room";
            return Err(Refusal::new(ErrorReason::Overloaded, problem).into());
        }
    }
}

fn joined(first: Bytes, second: Bytes) -> Bytes {
    if first.is_empty() {
        return second;
    }
    let mut joined = BytesMut::from(first);
    joined.extend_from_slice(&second);
    joined.freeze()
}

/// The messages of a stream, each with what it holds.
pub(crate) struct Incoming<T> {
    messages: Streaming<T>,
    arrival: Arrival,
    decode: Box<dyn Fn(Body) -> Streaming<T> + Send>,
}

impl<T> Incoming<T> {
    /// The messages of `arrival`, which `decode` makes of its body.
    pub(crate) fn new(arrival: Arrival, decode: impl Fn(Body) -> Streaming<T> + Send + 'static) -> Self {
        Self { messages: decode(arrival.body()), arrival, decode: Box::new(decode) }
    }

    /// The next message; `None` at the end. Can be given up and asked again.
    pub(crate) async fn next(&mut self) -> Result<Option<(T, Option<Turn>)>, Status> {
        let message = self.messages.message().await?;
        let turn = self.arrival.take_turn();
        if turn.as_ref().is_some_and(|turn| turn.is_large) {
            // A decoder keeps the buffer of its largest message; between two messages it has nothing else.
            self.messages = (self.decode)(self.arrival.body());
        }
        Ok(message.map(|message| (message, turn)))
    }
}
