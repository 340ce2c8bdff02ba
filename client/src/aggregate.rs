//! Aggregates: buckets as they come.

use downlink_proto::v1::{AggregateRequest, AggregateResponse, Bucket};
use tonic::Streaming;

use crate::{Client, Result};

impl Client {
    /// What the events of signals come to over steps of time. The buckets come by signal, then by time; those without
    /// events are among them, with a count of 0.
    ///
    /// ```no_run
    /// use downlink_client::Client;
    /// use downlink_client::v1::{AggregateRequest, aggregate_request::Resolution};
    ///
    /// # async fn example() -> Result<(), downlink_client::Error> {
    /// let client = Client::connect("http://127.0.0.1:50051").await?;
    /// let request = AggregateRequest {
    ///     signals: vec!["station/7/temperature".to_owned()],
    ///     resolution: Some(Resolution::MaxPoints(1_000)),
    ///     ..AggregateRequest::default()
    /// };
    /// let mut aggregate = client.aggregate(request).await?;
    /// while let Some(buckets) = aggregate.next().await? {
    ///     for bucket in buckets.iter().filter(|bucket| bucket.count > 0) {
    ///         println!("{:?}: {:?} to {:?}", bucket.start_time, bucket.min, bucket.max);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn aggregate(&self, request: AggregateRequest) -> Result<Aggregate> {
        let begun = self.in_time(self.query().aggregate(request)).await?;
        let messages = begun.map_err(|status| self.error(&status))?.into_inner();
        Ok(Aggregate { client: self.clone(), messages, as_of_offset: 0 })
    }
}

/// An aggregate under way.
#[derive(Debug)]
pub struct Aggregate {
    client: Client,
    messages: Streaming<AggregateResponse>,
    as_of_offset: u64,
}

impl Aggregate {
    /// The next buckets; `None` when there are no more.
    pub async fn next(&mut self) -> Result<Option<Vec<Bucket>>> {
        let message = self.messages.message().await.map_err(|status| self.client.error(&status))?;
        Ok(message.map(|message| {
            self.as_of_offset = message.as_of_offset;
            message.buckets
        }))
    }

    /// All of them.
    pub async fn collect(mut self) -> Result<Vec<Bucket>> {
        let mut all = Vec::new();
        while let Some(mut buckets) = self.next().await? {
            all.append(&mut buckets);
        }
        Ok(all)
    }

    /// Every event below this offset is accounted for; 0 before the first message.
    pub fn as_of_offset(&self) -> u64 {
        self.as_of_offset
    }
}
