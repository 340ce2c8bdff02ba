//! The messages of one reader, from where they are made to where they leave: encoded at once, and never many.

use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use downlink_storage::Offset;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::Empty;
use tonic::{Response, Status};

use super::departure::{Answer, Departures, Pace, SMALL_BYTES};
use crate::observability::Links;
use crate::sync::lock;

/// How many messages wait for a reader: one on its way out, one ready, one in the making.
pub(crate) const MESSAGES_MAX: usize = 2;

/// Nobody waits for messages any more.
#[derive(Debug)]
pub(crate) struct Closed;

/// What a message brings to its reader.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Events in it.
    pub(crate) events: u64,
    /// The traces that they belong to, if anybody traces.
    pub(crate) links: Links,
}

/// What a message with events carries besides: the stretch of the log it covers, and its room if it is large.
#[derive(Debug, Default)]
pub(crate) struct Passage {
    pub(super) from: Option<Offset>,
    pub(super) end: Option<Offset>,
    pub(super) room: Option<OwnedSemaphorePermit>,
    pub(super) contents: Contents,
    /// Events that its reader has not got with it, and is to get.
    pub(super) lag_events: u64,
}

impl Passage {
    /// From `from` to before `end`.
    pub(crate) fn new(from: Offset, end: Offset, room: Option<OwnedSemaphorePermit>) -> Self {
        Self { from: Some(from), end: Some(end), room, ..Self::default() }
    }

    /// With these events, so many before the last one that its reader wants.
    #[must_use]
    pub(crate) fn with(self, contents: Contents, lag_events: u64) -> Self {
        Self { contents, lag_events, ..self }
    }
}

/// A message as it travels, and what it carries besides.
pub(super) struct Parcel {
    pub(super) bytes: Bytes,
    pub(super) passage: Passage,
}

impl Parcel {
    /// The message itself is gone by the time its parcel waits.
    fn new(message: impl Message, passage: Passage) -> Self {
        let length = message.encoded_len();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + length);
        // Not compressed.
        bytes.push(0);
        bytes.extend_from_slice(&u32::try_from(length).expect("a message is below 4 GiB").to_be_bytes());
        message.encode_raw(&mut bytes);
        Self { bytes: bytes.into(), passage }
    }
}

/// What gRPC writes before each message: whether it is compressed, and its length.
const HEADER_BYTES: usize = 5;

/// Where messages are put in.
pub(crate) struct Sender {
    parcels: mpsc::Sender<Result<Parcel, Status>>,
    /// The place for the last word.
    last: mpsc::OwnedPermit<Result<Parcel, Status>>,
    pace: Weak<Mutex<Pace>>,
}

/// A queue of a few messages.
pub(crate) fn outbox(departures: &Arc<Departures>) -> (Sender, Outbox) {
    let (sender, parcels) = mpsc::channel(MESSAGES_MAX + 1);
    let last = sender.clone().try_reserve_owned().expect("the queue is empty");
    let pace = Arc::<Mutex<Pace>>::default();
    let sender = Sender { parcels: sender, last, pace: Arc::downgrade(&pace) };
    (sender, Outbox { parcels, pace, departures: departures.clone() })
}

impl Sender {
    /// Puts in what has no events, when there is room in the queue.
    pub(crate) async fn send(&self, message: impl Message) -> Result<(), Closed> {
        let parcel = Parcel::new(message, Passage::default());
        self.parcels.send(Ok(parcel)).await.map_err(|_| Closed)
    }

    /// Puts in events.
    pub(crate) async fn send_events(&self, message: impl Message, passage: Passage) -> Result<(), Closed> {
        {
            let pace = self.pace.upgrade().ok_or(Closed)?;
            let mut pace = lock(&pace);
            pace.next_offset = pace.next_offset.or(passage.from);
            if passage.room.is_some() {
                pace.take_room();
            }
        }
        let parcel = Parcel::new(message, passage);
        self.parcels.send(Ok(parcel)).await.map_err(|_| Closed)
    }

    /// Ends them with `status`. That never waits for a reader: there is always a place for it.
    pub(crate) fn end(self, status: Status) {
        self.last.send(Err(status));
    }

    /// Whether nobody waits for messages any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.parcels.is_closed()
    }

    /// Completes when nobody does.
    pub(crate) async fn closed(&self) {
        self.parcels.closed().await;
    }
}

/// Where they come out.
pub(crate) struct Outbox {
    parcels: mpsc::Receiver<Result<Parcel, Status>>,
    pace: Arc<Mutex<Pace>>,
    departures: Arc<Departures>,
}

impl Outbox {
    /// As the answer to a call. `reader` is given back when all of it has left, not when all of it has been made.
    pub(crate) fn into_response<T>(self, reader: OwnedSemaphorePermit) -> Response<Empty<T>> {
        let answer = Answer::new(self.parcels, self.pace, Some(reader));
        Handover::attach(self.departures.register(answer), tokio_stream::empty())
    }
}

/// The only message of a call as its answer, which has room for as much as it might have become.
pub(crate) fn answer<T: Message + Default>(
    message: T,
    mut room: OwnedSemaphorePermit,
    departures: &Arc<Departures>,
) -> Response<T> {
    let bytes = message.encoded_len();
    if bytes <= SMALL_BYTES {
        return Response::new(message);
    }
    drop(room.split(room.num_permits().saturating_sub(bytes)));
    let (sender, outbox) = outbox(departures);
    lock(&outbox.pace).take_room();
    let parcel = Parcel::new(message, Passage { room: Some(room), ..Passage::default() });
    sender.last.send(Ok(parcel));
    let answer = Answer::new(outbox.parcels, outbox.pace, None);
    Handover::attach(departures.register(answer), T::default())
}

/// An answer on its way from a method to its call's door, beside the empty one that goes by the usual way.
#[derive(Clone)]
pub(crate) struct Handover(pub(super) Arc<Mutex<Answer>>);

impl Handover {
    fn attach<T>(answer: Arc<Mutex<Answer>>, instead: T) -> Response<T> {
        let mut response = Response::new(instead);
        response.extensions_mut().insert(Self(answer));
        response
    }
}
