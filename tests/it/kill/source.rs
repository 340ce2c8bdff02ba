//! Somebody who appends for as long as the server lives, and remembers every acknowledgement.

use downlink_proto::v1::append_stream_request::{Batch, Message as Request, Open};
use downlink_proto::v1::append_stream_response::Message as Response;
use downlink_proto::v1::ingest_service_client::IngestServiceClient;
use downlink_proto::v1::{AppendRequest, AppendStreamRequest, AppendStreamResponse, Event, Value, value};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use uuid::Uuid;

use crate::random::Random;

/// Batches that may be on their way.
const WINDOW: u64 = 16;
const BATCH_EVENTS_MAX: u64 = 20;

/// How a source makes its retries harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `AppendStream` as a named producer, many batches in flight.
    Stream,
    /// `Append` with a request id, one after the other.
    Unary,
}

/// Counts upwards on a signal of its own: event `i` has the value `i`.
pub(crate) struct Source {
    pub(crate) signal: String,
    way: Way,
    random: Random,
    /// The value after the last of each batch made so far; the first entry stands before all batches.
    ends: Vec<u64>,
    /// Batches that may have left this process, and those known to be durable.
    sent: u64,
    acked: u64,
    /// Batches and the offset of their last event, as acknowledged.
    places: Vec<(u64, u64)>,
    /// How many batches were acknowledged as being there already.
    pub(crate) duplicates: u64,
}

impl Source {
    pub(crate) fn new(signal: String, way: Way, seed: u64) -> Self {
        let random = Random::seeded(seed);
        Self { signal, way, random, ends: vec![0], sent: 0, acked: 0, places: Vec::new(), duplicates: 0 }
    }

    /// Appends until the server is gone.
    pub(crate) async fn append_until_broken(&mut self, url: &str) {
        self.append(url, u64::MAX).await;
    }

    /// Appends so many further batches; whether the server lived to acknowledge them all.
    pub(crate) async fn append_more(&mut self, url: &str, batches: u64) -> bool {
        let goal = self.sent + batches;
        self.append(url, goal).await;
        self.acked == goal
    }

    /// Appends again what was not acknowledged, and nothing more.
    pub(crate) async fn settle(&mut self, url: &str) {
        self.append(url, self.sent).await;
        assert_eq!(self.acked, self.sent, "{}: not everything can be settled", self.signal);
    }

    async fn append(&mut self, url: &str, goal: u64) {
        let Ok(client) = IngestServiceClient::connect(url.to_owned()).await else { return };
        let broken = match self.way {
            Way::Stream => self.stream(client, goal).await,
            Way::Unary => self.call(client, goal).await,
        };
        // A server that dies breaks connections; whatever else it says is an error of its own.
        if let Err(status) = broken {
            let dead =
                matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal);
            assert!(dead && status.details().is_empty(), "{}: {status:?}", self.signal);
        }
    }

    async fn stream(
        &mut self,
        mut client: IngestServiceClient<tonic::transport::Channel>,
        goal: u64,
    ) -> Result<(), tonic::Status> {
        let (requests, received) = mpsc::channel(1);
        let open = Open { producer_id: self.signal.clone(), producer_epoch: 1, allow_partial: false };
        requests.send(request(Request::Open(open))).await.expect("room for one");
        let mut answers = client.append_stream(ReceiverStream::new(received)).await?.into_inner();
        let Some(AppendStreamResponse { message: Some(Response::Opened(opened)) }) =
            answers.message().await?
        else {
            panic!("{}: not opened", self.signal)
        };
        let durable = opened.last_durable_sequence;
        assert!(durable >= self.acked, "{}: acknowledged {}, kept {durable}", self.signal, self.acked);
        assert!(durable <= self.sent, "{}: sent {}, kept {durable}", self.signal, self.sent);
        assert_eq!(opened.durable_events, self.ends[durable as usize], "{}", self.signal);

        let mut next = self.acked + 1;
        while self.acked < goal {
            let may_send = next <= goal && next <= self.acked + WINDOW;
            tokio::select! {
                permit = requests.reserve(), if may_send => {
                    let Ok(permit) = permit else { return Ok(()) };
                    let events = self.batch(next);
                    permit.send(request(Request::Batch(Batch { sequence: next, events, columns: None })));
                    next += 1;
                }
                answer = answers.message() => match answer?.and_then(|answer| answer.message) {
                    Some(Response::Ack(ack)) => {
                        assert!((self.acked + 1..next).contains(&ack.through_sequence), "{ack:?}");
                        self.acknowledged(ack.through_sequence, ack.last_offset, ack.duplicate);
                    }
                    None => return Ok(()),
                    Some(other) => panic!("{}: {other:?}", self.signal),
                },
            }
        }
        Ok(())
    }

    async fn call(
        &mut self,
        mut client: IngestServiceClient<tonic::transport::Channel>,
        goal: u64,
    ) -> Result<(), tonic::Status> {
        while self.acked < goal {
            let sequence = self.acked + 1;
            let events = self.batch(sequence);
            let count = events.len() as u64;
            let request_id = Uuid::from_u128(id(&self.signal, sequence)).to_string();
            let request = AppendRequest { events, request_id, ..AppendRequest::default() };
            let answer = client.append(request).await?.into_inner();
            assert_eq!(answer.last_offset - answer.first_offset + 1, count, "{answer:?}");
            self.acknowledged(sequence, answer.last_offset, answer.duplicate);
        }
        Ok(())
    }

    fn acknowledged(&mut self, through: u64, last_offset: u64, duplicate: bool) {
        self.acked = through;
        self.places.push((through, last_offset));
        self.duplicates += u64::from(duplicate);
    }

    /// The events of a batch, the same each time.
    fn batch(&mut self, sequence: u64) -> Vec<Event> {
        if self.ends.len() as u64 == sequence {
            let before = self.ends[sequence as usize - 1];
            self.ends.push(before + 1 + self.random.below(BATCH_EVENTS_MAX));
        }
        self.sent = self.sent.max(sequence);
        let values = self.ends[sequence as usize - 1]..self.ends[sequence as usize];
        values.map(|number| event(&self.signal, number)).collect()
    }

    /// Whether the log holds everything that was sent once and in order, where it was acknowledged to be.
    pub(crate) fn check(&self, log: &[Event]) -> u64 {
        let mine: Vec<_> = log.iter().filter(|event| event.signal == self.signal).collect();
        for (expected, found) in mine.iter().enumerate() {
            assert_eq!(number(found), expected as u64, "{} at {}", self.signal, found.offset);
        }
        assert_eq!(mine.len() as u64, self.ends[self.sent as usize], "{}: events sent and kept", self.signal);
        for (sequence, last_offset) in &self.places {
            let last = &log[*last_offset as usize - 1];
            let expected = (self.signal.as_str(), self.ends[*sequence as usize] - 1);
            assert_eq!((last.signal.as_str(), number(last)), expected, "acknowledged at {last_offset}");
        }
        mine.len() as u64
    }
}

fn request(message: Request) -> AppendStreamRequest {
    AppendStreamRequest { message: Some(message) }
}

fn event(signal: &str, number: u64) -> Event {
    let value = Some(Value { kind: Some(value::Kind::IntValue(number as i64)) });
    Event { signal: signal.to_owned(), value, ..Event::default() }
}

fn number(event: &Event) -> u64 {
    match event.value.as_ref().and_then(|value| value.kind.as_ref()) {
        Some(value::Kind::IntValue(number)) => *number as u64,
        other => panic!("a value of another kind: {other:?}"),
    }
}

/// A number of its own for each batch of each source.
fn id(signal: &str, sequence: u64) -> u128 {
    let name = signal.bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    (u128::from(name) << 64) | u128::from(sequence)
}
