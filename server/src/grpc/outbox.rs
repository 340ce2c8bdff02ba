//! The messages of one reader, from where they are made to where they leave: encoded at once, and never many.

pub(super) mod departure;

use std::sync::{Arc, Mutex, Weak};

use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::Empty;
use tonic::{Response, Status};

use self::departure::{Answer, Departures, Handover, SMALL_BYTES};
use super::passage::{MESSAGES_MAX, Pace, Parcel, Passage};
use crate::sync::lock;

/// Nobody waits for messages any more.
#[derive(Debug)]
pub(crate) struct Closed;

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
