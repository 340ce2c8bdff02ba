//! Messages on their way out: what large ones take until they have left is bounded over all readers.
//!
//! A message that is larger than a reader's share waits for room before it is made, and gives it back when its last
//! piece has gone to the connection, a copy of a few kilobytes at a time. While others wait for room, a reader who
//! has some and does not get on is made to go: what it holds is freed at once, also if it never reads again.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use downlink_proto::v1::ErrorReason;
use downlink_storage::Offset;
use http_body::{Body as _, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::HeaderMap;

use super::outbox::Passage;
use super::status::Refusal;
use crate::config::Config;

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

/// How a reader gets on. Everything of its that holds room has a handle on it.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When it last took something, or was given room without having any.
    pub(crate) moved: Instant,
    /// What it has not yet got begins here.
    pub(crate) next_offset: Option<Offset>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { moved: Instant::now(), next_offset: None }
    }
}

/// What has been encoded, and how the next message will be.
pub(crate) struct Encoding {
    /// Makes an encoder of the messages that still come, if more than one may.
    pub(crate) renew: Option<Box<dyn Fn() -> Body + Send>>,
    /// Of the messages encoded since this was last emptied.
    pub(crate) pulled: Arc<Mutex<Vec<Passage>>>,
    /// The reader's.
    pub(crate) pace: Arc<Mutex<Pace>>,
    /// Where its room is from.
    pub(crate) departures: Arc<Departures>,
    /// What makes it one of the readers.
    pub(crate) _reader: Option<OwnedSemaphorePermit>,
}

/// An answer with large messages in it.
struct Answer {
    body: Body,
    encoding: Encoding,
    /// A large chunk, as far as it has not left, and the messages in it.
    chunk: Bytes,
    passages: Vec<Passage>,
    ended: Option<Status>,
}

impl Answer {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(status) = self.ended.take() {
            let mut trailers = HeaderMap::new();
            let said = status.add_header(&mut trailers);
            return Poll::Ready(Some(said.map(|()| Frame::trailers(trailers))));
        }
        if self.chunk.is_empty() {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
            let passages = std::mem::take(&mut *lock(&self.encoding.pulled));
            let frame = match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) if passages.iter().any(Passage::has_room) => {
                    (self.chunk, self.passages) = (bytes, passages);
                    // An encoder keeps the buffer of its largest message; now it has nothing else.
                    if let Some(renew) = &self.encoding.renew {
                        self.body = renew();
                    }
                    return Poll::Ready(Some(Ok(self.piece())));
                }
                Some(Ok(Ok(bytes))) => Some(Ok(Frame::data(bytes))),
                Some(Ok(Err(other))) => Some(Ok(other)),
                Some(Err(status)) => Some(Err(status)),
                None => None,
            };
            self.left(&passages);
            return Poll::Ready(frame);
        }
        Poll::Ready(Some(Ok(self.piece())))
    }

    /// A copy, so that what has left holds nothing but itself.
    fn piece(&mut self) -> Frame<Bytes> {
        let length = self.chunk.len().min(PIECE_BYTES);
        let piece = Bytes::copy_from_slice(&self.chunk[..length]);
        self.chunk.advance(length);
        if self.chunk.is_empty() {
            self.chunk = Bytes::new();
            let passages = std::mem::take(&mut self.passages);
            self.left(&passages);
        } else {
            lock(&self.encoding.pace).moved = Instant::now();
        }
        Frame::data(piece)
    }

    fn left(&self, passages: &[Passage]) {
        let mut pace = lock(&self.encoding.pace);
        pace.moved = Instant::now();
        pace.next_offset = passages.last().and_then(Passage::end).or(pace.next_offset);
    }

    fn end_if_stalled(&mut self, most: Duration) {
        let holds_room = Arc::strong_count(&self.encoding.pace) > 1;
        let next_offset = {
            let pace = lock(&self.encoding.pace);
            if !holds_room || pace.moved.elapsed() < most {
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
        (self.chunk, self.passages, self.body) = (Bytes::new(), Vec::new(), Body::empty());
        lock(&self.encoding.pulled).clear();
        // With it goes the queue, and with that whoever fills it.
        self.encoding.renew = None;
    }
}

/// An answer on its way out. The call is at an end when it is.
pub(crate) struct Departing {
    answer: Kind,
    _call: OwnedSemaphorePermit,
}

enum Kind {
    Small(Body),
    Large(Arc<Mutex<Answer>>),
}

impl Departing {
    /// `body`, of the call that holds `call`.
    pub(crate) fn new(body: Body, call: OwnedSemaphorePermit) -> Self {
        Self { answer: Kind::Small(body), _call: call }
    }

    /// The same, with messages that may be large.
    pub(crate) fn large(body: Body, encoding: Encoding, call: OwnedSemaphorePermit) -> Self {
        let departures = encoding.departures.clone();
        let (chunk, passages, ended) = (Bytes::new(), Vec::new(), None);
        let answer = Arc::new(Mutex::new(Answer { body, encoding, chunk, passages, ended }));
        let mut answers = lock(&departures.answers);
        answers.retain(|answer| answer.strong_count() > 0);
        answers.push(Arc::downgrade(&answer));
        drop(answers);
        Self { answer: Kind::Large(answer), _call: call }
    }
}

impl http_body::Body for Departing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut self.answer {
            Kind::Small(body) => Pin::new(body).poll_frame(context),
            Kind::Large(answer) => lock(answer).poll_frame(context),
        }
    }

    /// A refusal is all in its headers, and they must say so: to some clients it would be none otherwise.
    fn is_end_stream(&self) -> bool {
        match &self.answer {
            Kind::Small(body) => body.is_end_stream(),
            Kind::Large(_) => false,
        }
    }
}

/// What a panic elsewhere has left is as good as ever: nobody panics in the middle of a change.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
