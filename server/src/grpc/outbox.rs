//! The messages of one reader, from where they are made to where they are encoded.

use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, ready};

use downlink_storage::Offset;
use futures::Stream;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::codec::{BufferSettings, EncodeBody, SingleMessageCompressionOverride};
use tonic::{Response, Status};
use tonic_prost::ProstCodec;

use super::departure::{Departures, Encoding, Pace, SMALL_BYTES, lock};

/// How many messages wait for a reader: one on its way out, one ready, one in the making.
pub(crate) const MESSAGES_MAX: usize = 2;

/// Nobody waits for messages any more.
#[derive(Debug)]
pub(crate) struct Closed;

/// What a message with events carries besides: the stretch of the log it covers, and its room if it is large.
#[derive(Debug)]
pub(crate) struct Passage {
    stretch: Option<(Offset, Offset)>,
    room: Option<OwnedSemaphorePermit>,
    /// Says of the reader that it holds room.
    pace: Option<Arc<Mutex<Pace>>>,
}

impl Passage {
    /// From `from` to before `end`.
    pub(crate) const fn new(from: Offset, end: Offset, room: Option<OwnedSemaphorePermit>) -> Self {
        Self { stretch: Some((from, end)), room, pace: None }
    }

    /// Whether it is large.
    pub(crate) const fn has_room(&self) -> bool {
        self.room.is_some()
    }

    /// The offset after it.
    pub(crate) fn end(&self) -> Option<Offset> {
        self.stretch.map(|(_, end)| end)
    }
}

struct Parcel<T> {
    message: Result<T, Status>,
    passage: Option<Passage>,
}

/// Where messages are put in.
pub(crate) struct Sender<T> {
    parcels: mpsc::Sender<Parcel<T>>,
    /// The place for the last word.
    last: mpsc::OwnedPermit<Parcel<T>>,
    pace: Weak<Mutex<Pace>>,
}

/// Where they come out, in order, whichever of its handles is asked.
pub(crate) struct Outgoing<T> {
    parcels: Arc<Mutex<mpsc::Receiver<Parcel<T>>>>,
    pulled: Arc<Mutex<Vec<Passage>>>,
}

/// A queue of a few messages.
pub(crate) fn outbox<T>(departures: &Arc<Departures>) -> (Sender<T>, Outbox<T>) {
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX + 1);
    let last = sender.clone().try_reserve_owned().expect("the queue is empty");
    let pace = Arc::<Mutex<Pace>>::default();
    let sender = Sender { parcels: sender, last, pace: Arc::downgrade(&pace) };
    let outgoing = Outgoing { parcels: Arc::new(Mutex::new(receiver)), pulled: Arc::default() };
    (sender, Outbox { outgoing, pace, departures: departures.clone() })
}

impl<T> Sender<T> {
    /// Puts in what has no events, when there is room in the queue.
    pub(crate) async fn send(&self, message: Result<T, Status>) -> Result<(), Closed> {
        self.parcels.send(Parcel { message, passage: None }).await.map_err(|_| Closed)
    }

    /// Puts in events.
    pub(crate) async fn send_events(&self, message: T, mut passage: Passage) -> Result<(), Closed> {
        let pace = self.pace.upgrade().ok_or(Closed)?;
        {
            // One is the answer's, one ours.
            let is_first = passage.has_room() && Arc::strong_count(&pace) <= 2;
            let mut pace = lock(&pace);
            pace.next_offset = pace.next_offset.or(passage.stretch.map(|(from, _)| from));
            if is_first {
                pace.moved = Instant::now();
            }
        }
        passage.pace = passage.has_room().then_some(pace);
        self.parcels.send(Parcel { message: Ok(message), passage: Some(passage) }).await.map_err(|_| Closed)
    }

    /// Ends them with `status`. That never waits for a reader: there is always a place for it.
    pub(crate) fn end(self, status: Status) {
        self.last.send(Parcel { message: Err(status), passage: None });
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

impl<T> Outgoing<T> {
    fn again(&self) -> Self {
        Self { parcels: self.parcels.clone(), pulled: self.pulled.clone() }
    }
}

impl<T: Message + Default + 'static> Outgoing<T> {
    fn body(&self) -> Body {
        let encoder = ProstCodec::<T, T>::raw_encoder(BufferSettings::default());
        let compression = SingleMessageCompressionOverride::default();
        Body::new(EncodeBody::new_server(encoder, self.again(), None, compression, None))
    }
}

impl<T> Stream for Outgoing<T> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let parcel = ready!(lock(&self.parcels).poll_recv(context));
        Poll::Ready(parcel.map(|parcel| {
            lock(&self.pulled).extend(parcel.passage);
            parcel.message
        }))
    }
}

/// What the answer to a reader needs beside its messages, on its way to whoever sends it.
#[derive(Clone)]
pub(crate) struct Handover(Arc<Mutex<Option<Encoding>>>);

impl Handover {
    fn attach<T>(encoding: Encoding, mut response: Response<T>) -> Response<T> {
        response.extensions_mut().insert(Self(Arc::new(Mutex::new(Some(encoding)))));
        response
    }

    /// Once.
    pub(crate) fn take(&self) -> Option<Encoding> {
        lock(&self.0).take()
    }
}

/// Messages and what their answer needs.
pub(crate) struct Outbox<T> {
    outgoing: Outgoing<T>,
    pace: Arc<Mutex<Pace>>,
    departures: Arc<Departures>,
}

impl<T: Message + Default + 'static> Outbox<T> {
    /// As the answer to a call. `reader` is given back when all of it has left, not when all of it has been made.
    pub(crate) fn into_response(self, reader: OwnedSemaphorePermit) -> Response<Outgoing<T>> {
        let again = self.outgoing.again();
        let renew: Box<dyn Fn() -> Body + Send> = Box::new(move || again.body());
        let pulled = self.outgoing.pulled.clone();
        let (pace, departures) = (self.pace, self.departures);
        let encoding = Encoding { renew: Some(renew), pulled, pace, departures, _reader: Some(reader) };
        Handover::attach(encoding, Response::new(self.outgoing))
    }
}

/// The only message of a call as its answer, which has room for as much as it might have become.
pub(crate) fn answer<T: Message>(
    message: T,
    mut room: OwnedSemaphorePermit,
    departures: &Arc<Departures>,
) -> Response<T> {
    let bytes = message.encoded_len();
    if bytes <= SMALL_BYTES {
        return Response::new(message);
    }
    drop(room.split(room.num_permits().saturating_sub(bytes)));
    let pace = Arc::<Mutex<Pace>>::default();
    let passage = Passage { stretch: None, room: Some(room), pace: Some(pace.clone()) };
    let pulled = Arc::new(Mutex::new(vec![passage]));
    let encoding = Encoding { renew: None, pulled, pace, departures: departures.clone(), _reader: None };
    Handover::attach(encoding, Response::new(message))
}
