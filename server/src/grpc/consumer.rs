//! `ConsumerService`: remembers where consumers have got to.

use std::sync::Arc;

use downlink_proto::v1::consumer_service_server::ConsumerService;
use downlink_proto::v1::{
    CommitCheckpointRequest, CommitCheckpointResponse, Consumer, DeleteConsumerRequest,
    DeleteConsumerResponse, ErrorReason, GetConsumerRequest, GetConsumerResponse, ListConsumersRequest,
    ListConsumersResponse,
};
use downlink_storage::{Append, Error, Event, Identity, Log, Offset};
use tonic::{Request, Response, Status};

use super::Shared;
use super::call::trace_context;
use super::convert::{wire_duration, wire_time};
use super::query::request::{Page, invalid};
use super::status::{Refusal, status};
use crate::consumers::{self, Checkpoint, Lag, Turn, Turns};
use crate::ingest::outcome;

/// Remembers where consumers have got to.
pub(crate) struct Consumers {
    shared: Arc<Shared>,
    turns: Turns,
}

/// Where the consumer of this name has got to. `field` is where the request names it.
pub(crate) fn known(log: &Log, name: &str, field: &str) -> Result<Checkpoint, Refusal> {
    consumers::check_name(name).map_err(|problem| invalid(field, problem))?;
    consumers::find(log, name)?.ok_or_else(|| {
        let message = format!("there is no consumer {name:?}");
        Refusal::new(ErrorReason::ConsumerUnknown, message).with("consumer", name)
    })
}

impl Consumers {
    /// On what the services share.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, turns: Turns::new() }
    }

    async fn commit(
        &self,
        request: CommitCheckpointRequest,
        trace_context: Vec<u8>,
    ) -> Result<Consumer, Status> {
        let name = &request.consumer;
        consumers::check_name(name).map_err(|problem| invalid("consumer", problem))?;
        let next =
            Offset::new(request.next_offset).ok_or_else(|| invalid("next_offset", "offsets begin at 1"))?;
        let head = self.shared.log.head();
        if next > head {
            return Err(status(Error::BeyondHead { offset: next, head }));
        }
        let turn = self.turns.take(name).await;
        let before = consumers::find(&self.shared.log, name).map_err(status)?;
        check_etag(&request, before)?;
        check_direction(&request, before)?;
        let checkpoint = match before.filter(|before| before.next_offset == next) {
            Some(same) => same,
            None => {
                let time = self.shared.clock.now();
                let event = consumers::event(name, Some(next), time, trace_context);
                Checkpoint { next_offset: next, kept_at: self.append(event, turn).await?, time }
            }
        };
        self.consumer(name.clone(), checkpoint).await
    }

    /// Waits until the event is durable; gives back its offset. The turn ends with that, also if the caller goes.
    async fn append(&self, event: Event, turn: Turn) -> Result<Offset, Status> {
        let permit = self.shared.ingest.admit_in_time(1, event.signal.len()).await.map_err(status)?;
        let batch = Append {
            events: vec![event].into(),
            identity: Identity::Anonymous,
            expected_head: None,
            note: None,
        };
        let appended = outcome(self.shared.ingest.append(batch, (permit, turn))).await.map_err(status)?;
        Ok(appended.first.expect("a batch of one event has a first one"))
    }

    async fn consumer(&self, name: String, checkpoint: Checkpoint) -> Result<Consumer, Status> {
        let lag = self.lag(checkpoint.next_offset).await?;
        Ok(Consumer {
            name,
            next_offset: checkpoint.next_offset.get(),
            events_behind: lag.events,
            time_behind: Some(wire_duration(lag.time)),
            update_time: Some(wire_time(checkpoint.time)),
            etag: etag(Some(checkpoint)),
        })
    }

    async fn lag(&self, next: Offset) -> Result<Lag, Status> {
        let log = self.shared.log.clone();
        if let Some(lag) = consumers::lag_in_memory(&log, next) {
            return Ok(lag);
        }
        self.shared.disk("lag", move || consumers::lag(&log, next)).await?.map_err(status)
    }

    async fn list(&self, page: Page) -> Result<ListConsumersResponse, Status> {
        let found = consumers::list(&self.shared.log, page.after.as_deref(), page.entries_enough());
        let found = found.map_err(status)?;
        let mut entries = Vec::with_capacity(found.len());
        for (name, checkpoint) in found {
            entries.push((name.clone(), Some(self.consumer(name, checkpoint).await?)));
        }
        let (consumers, next_page_token) = page.fill(entries.into_iter().map(Ok))?;
        Ok(ListConsumersResponse { consumers, next_page_token })
    }

    async fn delete(&self, request: DeleteConsumerRequest, trace_context: Vec<u8>) -> Result<(), Status> {
        let name = &request.consumer;
        known(&self.shared.log, name, "consumer")?;
        let turn = self.turns.take(name).await;
        known(&self.shared.log, name, "consumer")?;
        let event = consumers::event(name, None, self.shared.clock.now(), trace_context);
        self.append(event, turn).await.map(drop)
    }
}

/// Changes with every commit, and never comes back: an offset is used once. Empty where there is no consumer.
fn etag(checkpoint: Option<Checkpoint>) -> String {
    checkpoint.map(|checkpoint| checkpoint.kept_at.to_string()).unwrap_or_default()
}

fn check_etag(request: &CommitCheckpointRequest, before: Option<Checkpoint>) -> Result<(), Refusal> {
    let found = etag(before);
    if request.etag.is_empty() || request.etag == found {
        return Ok(());
    }
    let message = match before {
        Some(_) => format!("the consumer {:?} has changed: its etag is {found:?}", request.consumer),
        None => format!("there is no consumer {:?}, so it has no etag", request.consumer),
    };
    let next_offset = before.map_or(0, |before| before.next_offset.get());
    Err(Refusal::new(ErrorReason::EtagMismatch, message).with("etag", found).with("next_offset", next_offset))
}

fn check_direction(request: &CommitCheckpointRequest, before: Option<Checkpoint>) -> Result<(), Refusal> {
    let Some(before) = before.filter(|before| before.next_offset.get() > request.next_offset) else {
        return Ok(());
    };
    if request.allow_rewind {
        return Ok(());
    }
    let (name, now, asked) = (&request.consumer, before.next_offset, request.next_offset);
    let message = format!("the consumer {name:?} is at {now}: {asked} would be a step back");
    Err(Refusal::new(ErrorReason::CheckpointRewind, message).with("next_offset", now))
}

#[tonic::async_trait]
impl ConsumerService for Consumers {
    async fn commit_checkpoint(
        &self,
        request: Request<CommitCheckpointRequest>,
    ) -> Result<Response<CommitCheckpointResponse>, Status> {
        let trace_context = trace_context(request.metadata(), request.extensions().get());
        let call = self.commit(request.into_inner(), trace_context);
        let consumer = Some(self.shared.in_time(call).await??);
        Ok(Response::new(CommitCheckpointResponse { consumer }))
    }

    async fn get_consumer(
        &self,
        request: Request<GetConsumerRequest>,
    ) -> Result<Response<GetConsumerResponse>, Status> {
        let name = request.into_inner().consumer;
        let checkpoint = known(&self.shared.log, &name, "consumer")?;
        let consumer = Some(self.shared.in_time(self.consumer(name, checkpoint)).await??);
        Ok(Response::new(GetConsumerResponse { consumer }))
    }

    async fn list_consumers(
        &self,
        request: Request<ListConsumersRequest>,
    ) -> Result<Response<ListConsumersResponse>, Status> {
        let request = request.into_inner();
        let page = Page::new(request.page_size, &request.page_token, &self.shared.config)?;
        self.shared.in_time(self.list(page)).await?.map(Response::new)
    }

    async fn delete_consumer(
        &self,
        request: Request<DeleteConsumerRequest>,
    ) -> Result<Response<DeleteConsumerResponse>, Status> {
        let trace_context = trace_context(request.metadata(), request.extensions().get());
        let call = self.delete(request.into_inner(), trace_context);
        self.shared.in_time(call).await??;
        Ok(Response::new(DeleteConsumerResponse {}))
    }
}
