//! The [`Subscription`]: follows the log for as long as it is wanted, over as many connections as it takes.

mod options;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use downlink_proto::v1::position::At;
use downlink_proto::v1::{Position, SubscribeRequest, SubscribeResponse};
use futures::stream::{BoxStream, Stream, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tonic::Streaming;

pub use downlink_proto::v1::subscribe_response::Frame;
pub use options::SubscriptionOptions;

use crate::client::Unpack;
use crate::{Backoff, Client, Error, Result};

/// The server's own heartbeat interval.
const HEARTBEAT_INTERVAL_DEFAULT: Duration = Duration::from_secs(10);
/// So many heartbeats missed in a row mean that the connection is dead.
const HEARTBEATS_MISSED_MAX: u32 = 3;

/// A frame, and where to resume after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The first offset that is not dealt with yet. Store it to go on from here in another process.
    pub next_offset: u64,
    /// What the server sent: events, gaps, and what it says about itself.
    pub frame: Frame,
}

/// A stream of deliveries that does not end by itself. When the connection is lost it comes back at
/// `next_offset`: no event is delivered twice and none is left out, and another `Started` tells of it. With a report,
/// [`Report`](crate::v1::Report) says what comes again.
/// An error is final: tried again for [`retry_for`](crate::ClientOptions::retry_for), or beyond repair.
pub struct Subscription {
    deliveries: BoxStream<'static, Result<Delivery>>,
    disconnected: watch::Receiver<bool>,
}

impl Subscription {
    pub(crate) async fn open(client: Client, request: SubscribeRequest, unpack: Unpack) -> Result<Self> {
        let interval = request.heartbeat_interval.and_then(|interval| interval.try_into().ok());
        let (disconnected, receiver) = watch::channel(false);
        let mut follower = Follower {
            disconnected,
            silence_max: interval.unwrap_or(HEARTBEAT_INTERVAL_DEFAULT) * HEARTBEATS_MISSED_MAX,
            client,
            request,
            unpack,
            frames: None,
            log_id: String::new(),
            backoff: Backoff::default(),
            stalled_since: None,
        };
        follower.connect().await?;
        let deliveries = futures::stream::unfold(Some(follower), |follower| async {
            let mut follower = follower?;
            match follower.next().await {
                Ok(delivery) => Some((Ok(delivery), Some(follower))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Self { deliveries: deliveries.boxed(), disconnected: receiver })
    }

    /// Whether it is without a connection at present; can be watched from another task.
    pub fn disconnected(&self) -> watch::Receiver<bool> {
        self.disconnected.clone()
    }
}

impl Stream for Subscription {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.deliveries.poll_next_unpin(context)
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Subscription").finish_non_exhaustive()
    }
}

/// What a subscription remembers from one connection to the next.
struct Follower {
    client: Client,
    /// The request as first made, with the start moved on.
    request: SubscribeRequest,
    unpack: Unpack,
    frames: Option<Streaming<SubscribeResponse>>,
    log_id: String,
    silence_max: Duration,
    backoff: Backoff,
    stalled_since: Option<Instant>,
    disconnected: watch::Sender<bool>,
}

impl Follower {
    async fn next(&mut self) -> Result<Delivery> {
        loop {
            match self.receive().await {
                Ok(Some(delivery)) => return Ok(delivery),
                Ok(None) => {}
                Err(error) => self.wait_to_retry(error).await?,
            }
        }
    }

    async fn connect(&mut self) -> Result<&mut Streaming<SubscribeResponse>> {
        if self.frames.is_none() {
            let mut query = self.client.query();
            let answer = self.client.in_time(query.subscribe(self.request.clone())).await?;
            self.frames = Some(answer.map_err(|status| self.client.error(&status))?.into_inner());
        }
        Ok(self.frames.as_mut().expect("was set just now"))
    }

    async fn receive(&mut self) -> Result<Option<Delivery>> {
        let silence_max = self.silence_max;
        let url = self.client.url().to_owned();
        let Ok(message) = timeout(silence_max, self.connect().await?.message()).await else {
            return Err(Error::ConnectionLost { url, reason: "no sign of life".to_owned() });
        };
        let Some(response) = message.map_err(|status| self.client.error(&status))? else {
            return Err(Error::ConnectionLost { url, reason: "the server ended the stream".to_owned() });
        };
        let SubscribeResponse { next_offset, mut frame } = response;
        if let Some(Frame::Events(batch)) = &mut frame {
            self.unpack.apply(batch, &self.client)?;
        }
        if let Some(Frame::Started(started)) = &frame {
            if self.log_id.is_empty() {
                self.log_id.clone_from(&started.log_id);
            }
            if self.log_id != started.log_id {
                let (before, now) = (self.log_id.clone(), started.log_id.clone());
                return Err(Error::LogReplaced { url, before, now });
            }
        }
        self.request.start = Some(Position { at: Some(At::Offset(next_offset)) });
        self.backoff.reset();
        self.stalled_since = None;
        self.disconnected.send_if_modified(std::mem::take);
        // A frame of a kind that this version does not know only moves the position on.
        Ok(frame.map(|frame| Delivery { next_offset, frame }))
    }

    async fn wait_to_retry(&mut self, error: Error) -> Result<()> {
        self.frames = None;
        if !error.is_retryable() {
            return Err(error);
        }
        let stalled_for = self.stalled_since.get_or_insert_with(Instant::now).elapsed();
        let left = self.client.options().retry_for.saturating_sub(stalled_for);
        if left.is_zero() {
            return Err(error.given_up(stalled_for));
        }
        self.disconnected.send_replace(true);
        sleep(self.backoff.next_delay(error.retry_after()).min(left)).await;
        Ok(())
    }
}
