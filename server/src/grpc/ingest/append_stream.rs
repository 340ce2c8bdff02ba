//! `AppendStream`: batches in by their sequence, acknowledgements out in the same order.

mod origin;

use std::sync::Arc;
use std::time::Duration;

use downlink_proto::v1::append_stream_request::{self, Batch, Open};
use downlink_proto::v1::append_stream_response::{Ack, Draining, Message, Opened, Reject};
use downlink_proto::v1::{AppendStreamRequest, AppendStreamResponse, ErrorReason};
use downlink_storage::{Append, Appended, Error, Identity, Offset};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::arrival::{Incoming, Turn};
use super::checks::Events;
use super::codec::{Received, in_our_terms};
use crate::grpc::Shared;
use crate::grpc::convert::{rejection, wire_duration};
use crate::grpc::status::{Refusal, status};
use crate::ingest::{Settled, outcome};
use crate::shutdown::RETRY_AFTER;
pub(crate) use origin::Origin;

/// How many answers may wait for a producer that does not read.
const ANSWERS_MAX: usize = 16;
/// The longest name of a producer.
const PRODUCER_BYTES_MAX: usize = 255;
/// How long a producer may take to say who it is.
const OPEN_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a producer may go on after it has been told that the server drains.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

type Answers = mpsc::Sender<Result<AppendStreamResponse, Status>>;
type Requests = Incoming<Received<AppendStreamRequest>>;

/// The stream has said its last word, or nobody listens any more.
struct Over;

/// Serves one stream until it ends. `permit` is given back then.
pub(crate) fn serve(
    shared: Arc<Shared>,
    requests: Requests,
    origin: Origin,
    permit: OwnedSemaphorePermit,
) -> ReceiverStream<Result<AppendStreamResponse, Status>> {
    let (answers, stream) = mpsc::channel(ANSWERS_MAX);
    let tasks = shared.tasks.clone();
    tasks.spawn("append stream", async move {
        if let Err(status) = converse(shared, requests, origin, &answers).await {
            // An error means that the producer has gone: nobody to tell.
            let _ = answers.send(Err(status)).await;
        }
        drop(permit);
    });
    ReceiverStream::new(stream)
}

/// A whole stream. The error is the status it ends with.
async fn converse(
    shared: Arc<Shared>,
    mut requests: Requests,
    origin: Origin,
    answers: &Answers,
) -> Result<(), Status> {
    let Some(open) = first_message(&shared, &mut requests).await? else { return Ok(()) };
    let (producer, opened) = open_producer(&shared, &open).await?;
    if say(answers, Message::Opened(opened)).await.is_err() {
        return Ok(());
    }
    let (pending, settled) = mpsc::channel(shared.config.stream_batches_in_flight_max);
    let reader = Reader { shared, producer, allow_partial: open.allow_partial, origin, pending };
    let reading = async { Ok(reader.run(requests, answers).await) };
    // When the stream is over for one of the two, the other is dropped. What the log has got it settles all
    // the same; nothing of it is acknowledged out of order, because nothing is acknowledged at all.
    match tokio::try_join!(reading, acknowledge(settled, answers)) {
        Ok((Some(status), ())) => Err(status),
        Ok((None, ())) | Err(Over) => Ok(()),
    }
}

/// Waits for `Open`. `None` if the producer leaves without a word.
async fn first_message(shared: &Shared, requests: &mut Requests) -> Result<Option<Open>, Status> {
    let first = tokio::select! {
        biased;
        () = shared.tasks.draining() => return Err(status(Error::Closed)),
        () = tokio::time::sleep(OPEN_WAIT_MAX) => {
            let seconds = OPEN_WAIT_MAX.as_secs();
            let problem = format!("must be sent within {seconds} seconds");
            return Err(Refusal::field(ErrorReason::InvalidRequest, "open", problem).into());
        }
        first = requests.next() => {
            first.map_err(|status| in_our_terms(status, shared.config.message_bytes_max))?
        }
    };
    let count = match first.map(|(first, _)| first) {
        None => return Ok(None),
        Some(Received::TooLarge { events, .. }) => events,
        Some(Received::Whole { message, .. }) => match message.message {
            Some(append_stream_request::Message::Open(open)) => return Ok(Some(open)),
            Some(append_stream_request::Message::Batch(batch)) => {
                Events::new(batch.events, batch.columns).len()
            }
            None => 0,
        },
    };
    shared.ingest.count_rejected(count);
    Err(Refusal::field(ErrorReason::InvalidRequest, "open", "must be the first message").into())
}

/// Who appends.
enum Producer {
    /// Nobody in particular: the stream itself keeps count.
    Anonymous { sequence: u64 },
    /// A producer that the log knows.
    Named { id: Arc<str>, epoch: u64, session: u64 },
}

async fn open_producer(shared: &Shared, open: &Open) -> Result<(Producer, Opened), Status> {
    let config = &shared.config;
    let mut opened = Opened {
        max_batch_bytes: u32::try_from(config.batch_bytes_max).unwrap_or(u32::MAX),
        max_batch_events: u32::try_from(config.batch_events_max).unwrap_or(u32::MAX),
        log_id: shared.ingest.log_id(),
        ..Opened::default()
    };
    if open.producer_id.is_empty() {
        return Ok((Producer::Anonymous { sequence: 0 }, opened));
    }
    if open.producer_id.len() > PRODUCER_BYTES_MAX || open.producer_id.chars().any(char::is_control) {
        let problem = format!("must have at most {PRODUCER_BYTES_MAX} bytes and no control characters");
        return Err(Refusal::field(ErrorReason::InvalidRequest, "open.producer_id", problem).into());
    }
    let (id, epoch) = (Arc::<str>::from(open.producer_id.as_str()), open.producer_epoch);
    let found = shared.ingest.open_producer(id.clone(), epoch).await.map_err(status)?;
    opened.last_durable_sequence = found.last_sequence;
    opened.last_offset = found.last_offset.map_or(0, Offset::get);
    opened.durable_events = found.events;
    Ok((Producer::Named { id, epoch, session: found.session }, opened))
}

/// A batch on its way, or what ends the stream once everything before it is settled.
enum Pending {
    Batch { sequence: u64, settled: Settled<Appended>, reject: Option<(Reject, usize)> },
    Fatal { sequence: u64, refusal: Refusal },
}

/// Reads batches and hands them to the log, a bounded number ahead of the acknowledgements.
struct Reader {
    shared: Arc<Shared>,
    producer: Producer,
    allow_partial: bool,
    origin: Origin,
    pending: mpsc::Sender<Pending>,
}

impl Reader {
    /// Until the producer ends its side, breaks a rule (then the status to end with), or the server drains.
    async fn run(mut self, mut requests: Requests, answers: &Answers) -> Option<Status> {
        let tasks = self.shared.tasks.clone();
        let mut stop_at = None;
        loop {
            // Only the wait for a message may be given up: a batch that has been read is always seen through.
            let received = tokio::select! {
                biased;
                () = tasks.draining(), if stop_at.is_none() => {
                    let draining = Draining { retry_after: Some(wire_duration(RETRY_AFTER)) };
                    say(answers, Message::Draining(draining)).await.ok()?;
                    // What the producer had sent by then is still taken in.
                    stop_at = Some(Instant::now() + DRAIN_GRACE);
                    continue;
                }
                () = until(stop_at) => return None,
                received = requests.next() => received,
            };
            let pending = match received {
                Ok(Some((received, turn))) => self.take(received, turn).await,
                Ok(None) => return None,
                Err(status) => Err(in_our_terms(status, self.shared.config.message_bytes_max)),
            };
            match pending {
                Ok(pending) => {
                    let is_fatal = matches!(pending, Pending::Fatal { .. });
                    self.pending.send(pending).await.ok()?;
                    if is_fatal {
                        return None;
                    }
                }
                Err(status) => return Some(status),
            }
        }
    }

    /// Hands one batch to the log.
    async fn take(
        &mut self,
        received: Received<AppendStreamRequest>,
        turn: Option<Turn>,
    ) -> Result<Pending, Status> {
        let (batch, batch_bytes) = match received {
            Received::Whole { message, batch_bytes } => (only_batch(message)?, batch_bytes),
            Received::TooLarge { events, sequence, refusal } => {
                self.shared.ingest.count_rejected(events);
                return Ok(match self.out_of_order(sequence) {
                    Some(fatal) => fatal,
                    None => self.refuse_whole(sequence, refusal, Vec::new(), events).await,
                });
            }
        };
        let Batch { sequence, events, columns } = batch;
        let incoming = Events::new(events, columns);
        let count = incoming.len();
        if let Some(fatal) = self.out_of_order(sequence) {
            self.shared.ingest.count_rejected(count);
            return Ok(fatal);
        }
        let permit = self.shared.ingest.admit(count, batch_bytes).await;
        drop(turn);
        let (events, bad) = match self.shared.checks.judge(incoming, self.origin.trace_context()) {
            Ok(judged) => judged,
            Err(refusal) => {
                self.shared.ingest.count_rejected(count);
                drop(permit);
                return Ok(self.refuse_whole(sequence, refusal, Vec::new(), count).await);
            }
        };
        if let Some(refusal) = Refusal::all(bad.iter().map(|(_, refusal)| refusal.clone()).collect()) {
            if !self.allow_partial || events.is_empty() {
                self.shared.ingest.count_rejected(count);
                drop(permit);
                let bad = if self.allow_partial { bad } else { Vec::new() };
                return Ok(self.refuse_whole(sequence, refusal, bad, count).await);
            }
            self.shared.ingest.count_rejected(bad.len());
            let reject = (reject(sequence, refusal, bad), count);
            let (identity, note) = (self.identity(sequence), self.origin.note());
            let batch = Append { events, identity, expected_head: None, note };
            let settled = self.shared.ingest.append(batch, permit);
            return Ok(Pending::Batch { sequence, settled, reject: Some(reject) });
        }
        let settled = if events.is_empty() {
            self.use_up(sequence).await
        } else {
            let (identity, note) = (self.identity(sequence), self.origin.note());
            self.shared.ingest.append(Append { events, identity, expected_head: None, note }, permit)
        };
        Ok(Pending::Batch { sequence, settled, reject: None })
    }

    /// Keeps count for an anonymous stream; a named producer's sequence is the log's to judge.
    fn out_of_order(&mut self, found: u64) -> Option<Pending> {
        let Producer::Anonymous { sequence } = &mut self.producer else { return None };
        let expected = *sequence + 1;
        if found == expected {
            *sequence = expected;
            return None;
        }
        let error = Error::SequenceGap { producer: String::new(), expected, found };
        Some(Pending::Fatal { sequence: found, refusal: error.into() })
    }

    /// Uses the sequence up without events, in order with the batches around it, and says why.
    async fn refuse_whole(
        &self,
        sequence: u64,
        refusal: Refusal,
        bad: Vec<(u32, Refusal)>,
        events: usize,
    ) -> Pending {
        let reject = Some((reject(sequence, refusal, bad), events));
        Pending::Batch { sequence, settled: self.use_up(sequence).await, reject }
    }

    /// An empty batch.
    async fn use_up(&self, sequence: u64) -> Settled<Appended> {
        match &self.producer {
            Producer::Anonymous { .. } => {
                let (answer, settled) = oneshot::channel();
                let head = self.shared.log.head();
                let _ = answer.send(Ok(Appended { first: None, last: None, head, duplicate: false }));
                settled
            }
            Producer::Named { .. } => {
                let permit = self.shared.ingest.admit(0, 0).await;
                let events = downlink_storage::Batch::default();
                let identity = self.identity(sequence);
                self.shared
                    .ingest
                    .append(Append { events, identity, expected_head: None, note: None }, permit)
            }
        }
    }

    fn identity(&self, sequence: u64) -> Identity {
        match &self.producer {
            Producer::Anonymous { .. } => Identity::Anonymous,
            Producer::Named { id, epoch, session } => {
                Identity::Producer { id: id.clone(), epoch: *epoch, session: *session, sequence }
            }
        }
    }
}

/// Completes at that moment; never without one.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The batch in a message that must be one.
fn only_batch(message: AppendStreamRequest) -> Result<Batch, Status> {
    let problem = match message.message {
        Some(append_stream_request::Message::Batch(batch)) => return Ok(batch),
        Some(append_stream_request::Message::Open(_)) => "must come once only",
        None => "must be followed by batches, not by an empty message",
    };
    Err(Refusal::field(ErrorReason::InvalidRequest, "open", problem).into())
}

fn reject(sequence: u64, refusal: Refusal, bad: Vec<(u32, Refusal)>) -> Reject {
    let rejections = bad.into_iter().map(rejection).collect();
    Reject { sequence, problem: Some(refusal.into_problem()), fatal: false, rejections }
}

/// Acknowledges what is settled, in order, as much at once as there is.
async fn acknowledge(mut pending: mpsc::Receiver<Pending>, answers: &Answers) -> Result<(), Over> {
    let mut unsent: Option<Ack> = None;
    loop {
        let next = match pending.try_recv() {
            Ok(next) => next,
            Err(_) => {
                flush(&mut unsent, answers).await?;
                let Some(next) = pending.recv().await else { return Ok(()) };
                next
            }
        };
        let (sequence, result, reject) = match next {
            Pending::Fatal { sequence, refusal } => return give_up(unsent, sequence, refusal, answers).await,
            Pending::Batch { sequence, mut settled, reject } => {
                let result = match settled.try_recv() {
                    Ok(result) => result,
                    Err(_) => {
                        flush(&mut unsent, answers).await?;
                        outcome(settled).await
                    }
                };
                (sequence, result, reject)
            }
        };
        let appended = match result {
            Ok(appended) => appended,
            Err(error) => return give_up(unsent, sequence, error.into(), answers).await,
        };
        // A batch that is in the log with all of its events, perhaps from under other limits, is not refused now.
        if let Some((reject, events)) = reject
            && !(appended.duplicate && kept_events(&appended) == events as u64)
        {
            flush(&mut unsent, answers).await?;
            say(answers, Message::Reject(reject)).await?;
        }
        if unsent.as_ref().is_some_and(|ack| ack.duplicate != appended.duplicate) {
            flush(&mut unsent, answers).await?;
        }
        let last_offset = appended.last.map_or(0, Offset::get);
        unsent = Some(Ack { through_sequence: sequence, last_offset, duplicate: appended.duplicate });
    }
}

fn kept_events(appended: &Appended) -> u64 {
    appended.first.zip(appended.last).map_or(0, |(first, last)| last.since(first) + 1)
}

/// The last word of a stream: this batch is refused, and nothing after it will be taken.
async fn give_up(
    mut unsent: Option<Ack>,
    sequence: u64,
    refusal: Refusal,
    answers: &Answers,
) -> Result<(), Over> {
    flush(&mut unsent, answers).await?;
    let problem = Some(refusal.into_problem());
    say(answers, Message::Reject(Reject { sequence, problem, fatal: true, rejections: Vec::new() })).await?;
    Err(Over)
}

async fn flush(unsent: &mut Option<Ack>, answers: &Answers) -> Result<(), Over> {
    match unsent.take() {
        Some(ack) => say(answers, Message::Ack(ack)).await,
        None => Ok(()),
    }
}

async fn say(answers: &Answers, message: Message) -> Result<(), Over> {
    answers.send(Ok(AppendStreamResponse { message: Some(message) })).await.map_err(|_| Over)
}
