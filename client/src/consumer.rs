//! Consumers: names under which the log remembers how far somebody has got.

use std::sync::Arc;

use downlink_proto::v1::consumer_service_client::ConsumerServiceClient;
use downlink_proto::v1::position::At;
use downlink_proto::v1::{
    self, CommitCheckpointRequest, DeleteConsumerRequest, ErrorReason, GetConsumerRequest,
    ListConsumersRequest, ListConsumersResponse, Position, SubscribeRequest,
};

use crate::retry::retry;
use crate::trace::Traced;
use crate::{Client, Error, Result, Subscription};

/// A consumer by its name: whoever uses the same name later, in this process or another, goes on where it was left.
/// Made by [`Client::consumer`]. Clones are cheap.
///
/// ```no_run
/// use downlink_client::{Client, Frame, v1};
/// use futures::StreamExt;
///
/// # async fn example() -> Result<(), downlink_client::Error> {
/// let client = Client::connect("http://127.0.0.1:50051").await?;
/// let archive = client.consumer("archive");
/// // Where it was left; the first time, where the request says.
/// let mut subscription = archive.subscribe(v1::SubscribeRequest::default()).await?;
/// while let Some(delivery) = subscription.next().await {
///     let delivery = delivery?;
///     if let Frame::Events(batch) = delivery.frame {
///         println!("{} events", batch.events.len());
///         // Dealt with: not delivered again, whatever happens now.
///         archive.commit(delivery.next_offset).await?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Consumer {
    client: Client,
    name: Arc<str>,
}

impl Client {
    /// The consumer of this name, whether the log knows it yet or not.
    pub fn consumer(&self, name: impl Into<Arc<str>>) -> Consumer {
        Consumer { client: self.clone(), name: name.into() }
    }

    /// The consumers that the log knows, by name, a page at a time.
    pub async fn consumers(&self, request: ListConsumersRequest) -> Result<ListConsumersResponse> {
        self.answer(self.consumer_service().list_consumers(self.timed(request)).await)
    }

    fn consumer_service(&self) -> ConsumerServiceClient<Traced> {
        ConsumerServiceClient::new(self.channel()).max_decoding_message_size(self.options().message_bytes_max)
    }
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Follows the log from where the consumer has got to, or from the request's own start if the log does not
    /// know the consumer yet. What is delivered moves the consumer on only when it is committed.
    pub async fn subscribe(&self, mut request: SubscribeRequest) -> Result<Subscription> {
        if let Some(known) = self.get().await? {
            request.start = Some(Position { at: Some(At::Offset(known.next_offset)) });
        }
        self.client.subscribe(request).await
    }

    /// Stores that everything below `next_offset` is dealt with; it is on disk when this returns. Never moves the
    /// consumer back. Tried again where a retry can help: the same once more changes nothing.
    pub async fn commit(&self, next_offset: u64) -> Result<v1::Consumer> {
        let request = CommitCheckpointRequest { next_offset, ..CommitCheckpointRequest::default() };
        retry(self.client.options().retry_for, || self.commit_with(request.clone())).await
    }

    /// Stores a checkpoint under conditions: only if the consumer still has this etag, or also backwards. The name
    /// in the request is not looked at. Not tried again: an etag that was used up is another one's next time.
    pub async fn commit_with(&self, request: CommitCheckpointRequest) -> Result<v1::Consumer> {
        let request = CommitCheckpointRequest { consumer: self.name.to_string(), ..request };
        let mut service = self.client.consumer_service();
        let answer = self.client.answer(service.commit_checkpoint(self.client.timed(request)).await)?;
        self.found(answer.consumer)
    }

    /// Where the consumer has got to, and how far it is behind; `None` if the log does not know it.
    pub async fn get(&self) -> Result<Option<v1::Consumer>> {
        let request = GetConsumerRequest { consumer: self.name.to_string() };
        let mut service = self.client.consumer_service();
        match self.client.answer(service.get_consumer(self.client.timed(request)).await) {
            Ok(answer) => self.found(answer.consumer).map(Some),
            Err(error) if error.reason() == Some(ErrorReason::ConsumerUnknown) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the log forget the consumer; it is an error if it does not know it.
    pub async fn delete(&self) -> Result<()> {
        let request = DeleteConsumerRequest { consumer: self.name.to_string() };
        let mut service = self.client.consumer_service();
        self.client.answer(service.delete_consumer(self.client.timed(request)).await).map(drop)
    }

    fn found(&self, consumer: Option<v1::Consumer>) -> Result<v1::Consumer> {
        consumer.ok_or_else(|| {
            let reason = "no consumer where one must be".to_owned();
            Error::Protocol { url: self.client.url().to_owned(), reason }
        })
    }
}
