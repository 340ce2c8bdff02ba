//! `Aggregate`: translates the request, has the work done a piece at a time, and sends what comes.

use std::sync::Arc;
use std::time::Duration;

use downlink_proto::v1::aggregate_request::{Function, Resolution};
use downlink_proto::v1::{
    self, AggregateRequest, AggregateResponse, ErrorReason, aggregate_request::Function as F,
};
use downlink_storage::{AggregateQuery, Aggregation, Buckets, Holding, SignalId, Step, Timestamp};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use prost::Message;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::request::{choice, invalid, names};
use crate::grpc::Shared;
use crate::grpc::convert::{duration, timestamp, wire_time, wire_value};
use crate::grpc::passage::MESSAGES_MAX;
use crate::grpc::status::{Refusal, status};
use crate::query::aggregate::{Unfit, Wanted, signals, widen, work};
use crate::query::filter::Names;

/// What is computed if nothing is asked for.
const FUNCTIONS: [Function; 6] = [F::Min, F::Max, F::Mean, F::First, F::Last, F::Count];

type Answers = mpsc::Sender<Result<AggregateResponse, Status>>;

/// The messages of an aggregate.
pub(crate) type Answer = BoxStream<'static, Result<AggregateResponse, Status>>;

/// A request that makes sense.
struct Plan {
    names: Names,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    resolution: Option<Resolution>,
    functions: Vec<Function>,
}

/// Work under way, off the runtime.
struct Work {
    shared: Arc<Shared>,
    aggregation: Option<Aggregation>,
}

/// Begins an aggregate. `permit` is given back when all of its answer has left.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    request: AggregateRequest,
    permit: OwnedSemaphorePermit,
) -> Result<Answer, Status> {
    let plan = Arc::new(plan(&shared, request)?);
    let wanted = list(&shared, &plan).await?;
    // What is wrong with a range that is given is said at once; one that is not given has to be looked for.
    let given = match (plan.start, plan.end) {
        (Some(start), Some(end)) => Some(grid(&shared, &plan, start, end, wanted.len())?),
        (_, _) => None,
    };
    let (messages, stream) = mpsc::channel(MESSAGES_MAX + 1);
    // There is always a place for the last word: it never waits for a reader.
    let last = messages.clone().try_reserve_owned().expect("the queue is empty");
    let tasks = shared.tasks.clone();
    tasks.spawn("aggregate", async move {
        if let Err(status) = run(&shared, &plan, given, &messages).await {
            last.send(Err(status));
        }
    });
    // A reader until all of the answer has left, not until all of it has been made.
    Ok(Box::pin(ReceiverStream::new(stream).map(move |message| {
        let _reader = &permit;
        message
    })))
}

/// The signals that are wanted, as of now.
async fn list(shared: &Arc<Shared>, plan: &Arc<Plan>) -> Result<Vec<Wanted>, Status> {
    let (log, plan, most) = (shared.log.clone(), plan.clone(), shared.config.aggregate_signals_max);
    let found = shared.unary("aggregate", move || signals(&log, &plan.names, most)).await?;
    found.map_err(|unfit| match unfit {
        Unfit::Unknown(name) => Refusal::signal_unknown(&name).into(),
        Unfit::TooMany => {
            invalid("signals", format!("match more than {most} signals, the most there may be")).into()
        }
    })
}

fn plan(shared: &Shared, request: AggregateRequest) -> Result<Plan, Refusal> {
    let names = names(&request.signals, "signals", shared.config.filter_patterns_max)?;
    let start = request.start_time.map(|time| timestamp(time, "start_time")).transpose()?;
    let end = request.end_time.map(|time| timestamp(time, "end_time")).transpose()?;
    let mut functions = Vec::new();
    for (index, number) in request.functions.into_iter().enumerate() {
        let field = format!("functions[{index}]");
        let function = choice::<Function>(number, &field)?;
        if function == Function::Unspecified {
            return Err(invalid(field, "0 is no function"));
        }
        if !functions.contains(&function) {
            functions.push(function);
        }
    }
    if functions.is_empty() {
        functions.extend(FUNCTIONS);
    }
    match request.resolution {
        Some(Resolution::Step(step)) if nanos_of(step).is_none() => {
            return Err(invalid("step", "must be a length of time above 0"));
        }
        Some(Resolution::MaxPoints(0)) => return Err(invalid("max_points", "must be at least 1")),
        Some(Resolution::Step(_) | Resolution::MaxPoints(_)) | None => {}
    }
    Ok(Plan { names, start, end, resolution: request.resolution, functions })
}

/// The buckets of a range.
fn grid(
    shared: &Shared,
    plan: &Plan,
    start: Timestamp,
    end: Timestamp,
    signals: usize,
) -> Result<Buckets, Refusal> {
    let (field, buckets) = match plan.resolution {
        None => ("end_time", Buckets::one(start, end)),
        Some(Resolution::Step(step)) => ("step", Buckets::every(start, end, nanos_of(step).unwrap_or(1))),
        Some(Resolution::MaxPoints(points)) => ("max_points", Buckets::at_most(start, end, points)),
    };
    let buckets = buckets.ok_or_else(|| invalid("end_time", "must be later than `start_time`"))?;
    let most = shared.config.aggregate_buckets_max;
    let count = buckets.count().saturating_mul(signals as i128);
    if count > most as i128 {
        let problem = format!("makes {count} buckets over all signals, the most is {most}");
        return Err(invalid(field, problem));
    }
    Ok(buckets)
}

/// A length of time; `None` if there is none.
fn nanos_of(step: prost_types::Duration) -> Option<u128> {
    let length = duration(step, "step").ok()?;
    Some(length.as_nanos()).filter(|nanos| *nanos > 0)
}

async fn run(
    shared: &Arc<Shared>,
    plan: &Arc<Plan>,
    given: Option<Buckets>,
    messages: &Answers,
) -> Result<(), Status> {
    // What is gathered takes memory: the others wait.
    let most = Duration::from_millis(shared.config.unary_deadline_ms_max);
    let _turn = tokio::select! {
        turn = timeout(most, shared.aggregates.acquire()) => turn.map_err(|_| busy())?.expect("the semaphore is never closed"),
        () = messages.closed() => return Ok(()),
        () = shared.tasks.draining() => return Err(draining()),
    };
    // Before anything is looked for: what comes meanwhile may be counted, but is not promised.
    let as_of_offset = shared.log.head().get();
    let wanted = list(shared, plan).await?;
    let buckets = match given {
        Some(buckets) => Some(buckets),
        None => look_for_range(shared, plan, &wanted, messages).await?,
    };
    let Some(buckets) = buckets else {
        return send(shared, messages, AggregateResponse { buckets: Vec::new(), as_of_offset }).await;
    };
    let mut work = Work::begin(shared, query(shared, plan, &wanted, buckets));
    let bytes_max = shared.config.read_batch_bytes_max.min(shared.reader_share_bytes());
    let mut names = wanted.iter().peekable();
    let mut is_silent = true;
    while let Some(buckets) = work.next(messages).await? {
        let mut message = AggregateResponse { buckets: Vec::new(), as_of_offset };
        let mut bytes = 0;
        for bucket in buckets {
            while names.next_if(|(signal, _)| *signal != bucket.signal).is_some() {}
            let name = names.peek().map(|(_, name)| &**name).unwrap_or_default();
            let bucket = wire_bucket(bucket, name, &plan.functions);
            let size = bucket.encoded_len();
            if bytes > 0 && bytes + size > bytes_max {
                let full = std::mem::take(&mut message.buckets);
                send(shared, messages, AggregateResponse { buckets: full, as_of_offset }).await?;
                bytes = 0;
            }
            bytes += size;
            message.buckets.push(bucket);
        }
        is_silent = false;
        send(shared, messages, message).await?;
    }
    if is_silent {
        send(shared, messages, AggregateResponse { buckets: Vec::new(), as_of_offset }).await?;
    }
    Ok(())
}

/// Hands a message over. Whoever takes none for `reader_stall_ms_max` makes room for the next in turn.
async fn send(shared: &Shared, messages: &Answers, message: AggregateResponse) -> Result<(), Status> {
    let most = Duration::from_millis(shared.config.reader_stall_ms_max);
    let sent = tokio::select! {
        sent = messages.send_timeout(Ok(message), most) => sent,
        () = shared.tasks.draining() => return Err(draining()),
    };
    match sent {
        // That the reader has gone is noticed before the next piece of work.
        Ok(()) | Err(SendTimeoutError::Closed(_)) => Ok(()),
        Err(SendTimeoutError::Timeout(_)) => {
            let message = format!("no message was taken for {} ms", most.as_millis());
            Err(Refusal::new(ErrorReason::SlowConsumer, message).into())
        }
    }
}

/// The whole of what there is of the signals, as far as the request does not say; `None` if there is nothing.
async fn look_for_range(
    shared: &Arc<Shared>,
    plan: &Plan,
    wanted: &[Wanted],
    messages: &Answers,
) -> Result<Option<Buckets>, Status> {
    let log = shared.log.clone();
    let all = shared.disk("aggregate", move || log.event_times()).await?.map_err(status)?;
    let Some((first, last)) = all else { return Ok(None) };
    let Some(everything) = Buckets::one(first, after(last)) else { return Ok(None) };
    let query = AggregateQuery {
        signals: wanted.iter().map(|(signal, _)| *signal).collect(),
        buckets: everything,
        holding: Holding::Ignored,
        now: shared.clock.now(),
    };
    let mut times = None;
    let mut work = Work::begin(shared, query);
    while let Some(buckets) = work.next(messages).await? {
        widen(&mut times, &buckets);
    }
    let Some((first, last)) = times else { return Ok(None) };
    let (start, end) = (plan.start.unwrap_or(first), plan.end.unwrap_or(after(last)));
    if Buckets::one(start, end).is_none() {
        return Ok(None);
    }
    Ok(Some(grid(shared, plan, start, end, wanted.len())?))
}

/// The moment after this one. The last there is has none, and includes itself as an end.
fn after(time: Timestamp) -> Timestamp {
    Timestamp::from_unix_nanos(time.unix_nanos() + 1).unwrap_or(Timestamp::MAX)
}

fn query(shared: &Shared, plan: &Plan, wanted: &[Wanted], buckets: Buckets) -> AggregateQuery {
    let holding = if plan.functions.contains(&Function::StateRanges) {
        Holding::States(shared.config.aggregate_states_max)
    } else if plan.functions.contains(&Function::TimeWeightedMean) {
        Holding::Mean
    } else {
        Holding::Ignored
    };
    let signals: Vec<SignalId> = wanted.iter().map(|(signal, _)| *signal).collect();
    AggregateQuery { signals, buckets, holding, now: shared.clock.now() }
}

impl Work {
    fn begin(shared: &Arc<Shared>, query: AggregateQuery) -> Self {
        Self { shared: shared.clone(), aggregation: Some(shared.log.aggregate(query)) }
    }

    /// The next buckets; `None` when there are no more, or nobody wants them.
    async fn next(&mut self, messages: &Answers) -> Result<Option<Vec<downlink_storage::Bucket>>, Status> {
        loop {
            if self.shared.tasks.is_draining() {
                return Err(draining());
            }
            if messages.is_closed() {
                return Ok(None);
            }
            let mut aggregation = self.aggregation.take().expect("given back after every piece");
            let working = move || (work(&mut aggregation), aggregation);
            let (step, aggregation) = self.shared.disk("aggregate", working).await?;
            self.aggregation = Some(aggregation);
            match step.map_err(status)? {
                Step::Working => {}
                Step::Buckets(buckets) => return Ok(Some(buckets)),
                Step::Done => return Ok(None),
            }
        }
    }
}

fn busy() -> Status {
    Refusal::new(ErrorReason::Overloaded, "too many aggregates are under way: try again").into()
}

fn draining() -> Status {
    Refusal::draining().into()
}

/// A bucket on the wire, with what was asked for.
fn wire_bucket(bucket: downlink_storage::Bucket, signal: &str, functions: &[Function]) -> v1::Bucket {
    let wants = |function| functions.contains(&function);
    let (min, max) = (bucket.min.filter(|_| wants(F::Min)), bucket.max.filter(|_| wants(F::Max)));
    let first = bucket.times.map(|(first, _)| first).filter(|_| wants(F::First));
    let last = bucket.times.map(|(_, last)| last).filter(|_| wants(F::Last));
    let states = bucket.states.into_iter().map(|state| v1::StateRange {
        value: Some(wire_value(state.value.as_ref())),
        start_time: Some(wire_time(state.start)),
        end_time: Some(wire_time(state.end)),
    });
    v1::Bucket {
        signal: signal.to_owned(),
        start_time: Some(wire_time(bucket.start)),
        end_time: Some(wire_time(bucket.end)),
        count: bucket.count,
        min: min.map(|min| min.number),
        max: max.map(|max| max.number),
        mean: bucket.mean.filter(|_| wants(F::Mean)),
        min_time: min.map(|min| wire_time(min.time)),
        max_time: max.map(|max| wire_time(max.time)),
        first: bucket.first.filter(|_| wants(F::First)).map(|value| wire_value(value.as_ref())),
        last: bucket.last.filter(|_| wants(F::Last)).map(|value| wire_value(value.as_ref())),
        time_weighted_mean: bucket.time_weighted_mean.filter(|_| wants(F::TimeWeightedMean)),
        state_ranges: states.collect(),
        incomplete: bucket.incomplete,
        state_ranges_left_out: bucket.states_left_out,
        first_time: first.map(wire_time),
        last_time: last.map(wire_time),
    }
}
