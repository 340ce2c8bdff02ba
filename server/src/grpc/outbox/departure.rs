//! Messages on their way out: what large ones take until they have left is bounded over all readers.
//!
//! A message that is larger than a reader's share waits for room before it is made, and gives it back when its last
//! piece has gone to the connection, a copy of a few kilobytes at a time. While others wait for room, a reader who
//! has some and does not get on is made to go: what it holds is freed at once, also if it never reads again.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use downlink_proto::v1::ErrorReason;
use http_body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tonic::body::Body;
use tonic::codegen::http::HeaderMap;
use tonic::{Response, Status};

use crate::config::Config;
use crate::grpc::call::Call;
use crate::grpc::passage::{Pace, Parcel, Passage};
use crate::grpc::status::Refusal;
use crate::metrics::Permits;
use crate::sync::lock;

/// A message of at most so many bytes is never held up.
pub(crate) const SMALL_BYTES: usize = 32 << 10;
/// A large message leaves in pieces of so many bytes.
const PIECE_BYTES: usize = 16 << 10;

/// Room for large messages on their way out, over all readers.
pub(crate) struct Departures {
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    stall_max: Duration,
    answers: Mutex<Vec<Weak<Mutex<Answer>>>>,
}

impl Departures {
    /// Of so many bytes, for callers as patient as `config` says.
    pub(crate) fn new(bytes_max: usize, config: &Config) -> Self {
        Self {
            bytes: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
            stall_max: Duration::from_millis(config.reader_stall_ms_max),
            answers: Mutex::default(),
        }
    }

    /// Shows how much of it is taken.
    pub(crate) fn watch(&self, name: &'static str, permits: &Permits) {
        permits.watch(name, &self.bytes, self.bytes_max);
    }

    /// Waits for room for a large message.
    pub(crate) async fn room(&self, bytes: usize) -> OwnedSemaphorePermit {
        let cost = u32::try_from(bytes.min(self.bytes_max)).unwrap_or(u32::MAX);
        let mut waiting = pin!(self.bytes.clone().acquire_many_owned(cost));
        loop {
            match timeout(self.stall_max / 2, &mut waiting).await {
                Ok(permit) => return permit.expect("the semaphore is never closed"),
                Err(_) => self.end_stalled(),
            }
        }
    }

    /// Looks after an answer as long as it is there.
    pub(super) fn register(&self, answer: Answer) -> Arc<Mutex<Answer>> {
        let answer = Arc::new(Mutex::new(answer));
        let mut answers = lock(&self.answers);
        answers.retain(|answer| answer.strong_count() > 0);
        answers.push(Arc::downgrade(&answer));
        answer
    }

    /// Makes those go who hold room and do not get on.
    fn end_stalled(&self) {
        let answers = lock(&self.answers).iter().filter_map(Weak::upgrade).collect::<Vec<_>>();
        for answer in answers {
            // What is locked is just getting on.
            if let Ok(mut answer) = answer.try_lock() {
                answer.end_if_stalled(self.stall_max);
            }
        }
    }
}

/// The messages of a call, and its end.
pub(crate) struct Answer {
    parcels: mpsc::Receiver<Result<Parcel, Status>>,
    pace: Arc<Mutex<Pace>>,
    /// A large message, as far as it has not left.
    chunk: Bytes,
    passage: Passage,
    /// What is left to be said.
    ended: Option<Status>,
    is_over: bool,
    /// What makes its reader one of the readers.
    _reader: Option<OwnedSemaphorePermit>,
}

impl Answer {
    /// Of what comes from `parcels`.
    pub(super) fn new(
        parcels: mpsc::Receiver<Result<Parcel, Status>>,
        pace: Arc<Mutex<Pace>>,
        reader: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let (chunk, passage) = (Bytes::new(), Passage::default());
        Self { parcels, pace, chunk, passage, ended: None, is_over: false, _reader: reader }
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
        call: &mut Call,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if !self.chunk.is_empty() {
            return Poll::Ready(Some(Ok(self.piece(call))));
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        if self.ended.is_none() {
            match ready!(self.parcels.poll_recv(context)) {
                Some(Ok(Parcel { bytes, passage })) if passage.room.is_some() => {
                    (self.chunk, self.passage) = (bytes, passage);
                    return Poll::Ready(Some(Ok(self.piece(call))));
                }
                Some(Ok(Parcel { bytes, passage })) => {
                    lock(&self.pace).left(&passage);
                    call.delivers(passage);
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Err(status)) => self.ended = Some(status),
                None => {}
            }
        }
        self.is_over = true;
        let status = self.ended.take().unwrap_or_else(|| Status::ok(""));
        let mut trailers = HeaderMap::new();
        let said = status.add_header(&mut trailers);
        Poll::Ready(Some(said.map(|()| Frame::trailers(trailers))))
    }

    /// A copy, so that what has left holds nothing but itself.
    fn piece(&mut self, call: &mut Call) -> Frame<Bytes> {
        let length = self.chunk.len().min(PIECE_BYTES);
        let piece = Bytes::copy_from_slice(&self.chunk[..length]);
        self.chunk.advance(length);
        if self.chunk.is_empty() {
            self.chunk = Bytes::new();
            let passage = std::mem::take(&mut self.passage);
            lock(&self.pace).left(&passage);
            call.delivers(passage);
        } else {
            lock(&self.pace).moved = Instant::now();
        }
        Frame::data(piece)
    }

    fn end_if_stalled(&mut self, most: Duration) {
        let next_offset = {
            let pace = lock(&self.pace);
            if pace.rooms == 0 || pace.moved.elapsed() < most {
                return;
            }
            pace.next_offset
        };
        let problem = format!("nothing was read for {} ms while others waited for room", most.as_millis());
        let refusal = Refusal::new(ErrorReason::SlowConsumer, problem);
        let refusal = match next_offset {
            Some(offset) => refusal.with("next_offset", offset),
            None => refusal,
        };
        self.ended = Some(refusal.into());
        (self.chunk, self.passage) = (Bytes::new(), Passage::default());
        // Whoever fills the queue ends with it.
        self.parcels.close();
        while self.parcels.try_recv().is_ok() {}
        lock(&self.pace).rooms = 0;
    }
}

/// An answer on its way from a method to its call's door, beside the empty one that goes by the usual way.
#[derive(Clone)]
pub(crate) struct Handover(pub(super) Arc<Mutex<Answer>>);

impl Handover {
    pub(crate) fn attach<T>(answer: Arc<Mutex<Answer>>, instead: T) -> Response<T> {
        let mut response = Response::new(instead);
        response.extensions_mut().insert(Self(answer));
        response
    }
}

/// An answer on its way out. The call is at an end when it is.
pub(crate) struct Departing {
    answer: Kind,
    call: Call,
    _permit: OwnedSemaphorePermit,
}

enum Kind {
    Small(Body),
    Large(Arc<Mutex<Answer>>),
}

impl Departing {
    /// `body`, of a call that holds a permit.
    pub(crate) fn new(body: Body, call: Call, permit: OwnedSemaphorePermit) -> Self {
        Self { answer: Kind::Small(body), call, _permit: permit }
    }

    /// The same, with messages that may be large.
    pub(crate) fn large(handover: Handover, call: Call, permit: OwnedSemaphorePermit) -> Self {
        Self { answer: Kind::Large(handover.0), call, _permit: permit }
    }
}

impl http_body::Body for Departing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self { answer, call, .. } = self.get_mut();
        let frame = ready!(match answer {
            Kind::Small(body) => Pin::new(body).poll_frame(context),
            Kind::Large(answer) => lock(answer).poll_frame(context, call),
        });
        if let Some(Ok(frame)) = &frame {
            match frame.trailers_ref() {
                Some(trailers) => call.ended(trailers),
                None => call.sends(frame.data_ref().map_or(0, Bytes::len)),
            }
        }
        Poll::Ready(frame)
    }

    /// A refusal is all in its headers, and they must say so: to some clients it would be none otherwise.
    fn is_end_stream(&self) -> bool {
        match &self.answer {
            Kind::Small(body) => body.is_end_stream(),
            Kind::Large(_) => false,
        }
    }
}
