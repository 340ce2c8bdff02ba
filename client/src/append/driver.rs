//! The appender's task: keeps a stream open, feeds it from the queue, and settles what is answered.

use std::sync::Arc;
use std::time::Duration;

use downlink_proto::v1::ErrorReason;
use downlink_proto::v1::append_stream_response::{Message, Opened, Reject};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::queue::Queue;
use super::window::Window;
use super::{AppendStream, AppenderOptions, OnReject, Progress, Totals};
use crate::{Backoff, Client, Error, Refusal, Result};

/// How long a server may take to end a stream that the client has closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Driver {
    client: Client,
    options: AppenderOptions,
    queue: Arc<Queue>,
    window: Window,
    reconnects: u64,
    progress: watch::Sender<Progress>,
    backoff: Backoff,
    /// Since when nothing has got through.
    stalled_since: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        client: Client,
        options: AppenderOptions,
        queue: Arc<Queue>,
        opened: &Opened,
    ) -> Result<(Self, watch::Receiver<Progress>)> {
        let mut window = Window::new(client.url());
        window.opened(opened)?;
        let (progress, receiver) =
            watch::channel(Progress { totals: window.totals(), ..Progress::default() });
        let backoff = Backoff::default();
        let driver =
            Self { client, options, queue, window, reconnects: 0, progress, backoff, stalled_since: None };
        Ok((driver, receiver))
    }

    pub(super) async fn run(mut self, stream: AppendStream) {
        let failure = self.run_until_finished(stream).await.err();
        self.progress.send_modify(|progress| {
            progress.failure = failure;
            progress.finished = true;
        });
        self.queue.fail();
    }

    async fn run_until_finished(&mut self, mut stream: AppendStream) -> Result<()> {
        while let Err(cause) = self.converse(stream).await {
            stream = self.reconnect(cause).await?;
        }
        Ok(())
    }

    /// Sends and settles until everything is on disk and the appender closed, or until the connection ends.
    async fn converse(&mut self, mut stream: AppendStream) -> Result<()> {
        let (mut draining, mut open) = (None, true);
        loop {
            let work = self.queue.take_work();
            for batch in work.sealed {
                self.window.push(batch);
            }
            while draining.is_none() && stream.has_room() {
                let Some((sequence, batch)) = self.window.next_to_send() else { break };
                stream.try_send(sequence, batch);
            }
            if open && work.closing && self.window.is_empty() {
                open = false;
                stream.close();
            }
            let answer = tokio::select! {
                answer = stream.next() => answer,
                () = self.queue.work(), if open => continue,
                () = sleep_until(work.due.unwrap_or_else(Instant::now)), if work.due.is_some() => continue,
                () = sleep(CLOSE_TIMEOUT), if !open => return Ok(()),
            };
            match answer {
                Ok(Some(Message::Draining(asked))) => {
                    stream.close();
                    draining = Some(asked);
                }
                Ok(Some(message)) => self.answered(message)?,
                // Everything is on disk: how the stream ends does not matter any more.
                Ok(None) | Err(_) if !open => return Ok(()),
                Ok(None) => return Err(draining.as_ref().map_or_else(|| stream.ended(), Error::draining)),
                Err(error) => return Err(error),
            }
        }
    }

    fn answered(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Ack(ack) => {
                let settled = self.window.acked(&ack)?;
                self.settled(settled);
            }
            Message::Reject(reject) => self.rejected(&reject)?,
            Message::Opened(_) => {
                let url = self.client.url().to_owned();
                return Err(Error::Protocol { url, reason: "a second Opened".to_owned() });
            }
            Message::Draining(_) => {}
        }
        Ok(())
    }

    fn rejected(&mut self, reject: &Reject) -> Result<()> {
        if reject.fatal {
            let problem = reject.problem.clone().unwrap_or_default();
            return Err(Error::Refused(Box::new(Refusal::from_problem(&problem))));
        }
        let Some(rejected) = self.window.rejected(reject)? else { return Ok(()) };
        match self.options.on_reject {
            OnReject::Fail => Err(Error::Rejected(Box::new(rejected))),
            OnReject::Collect => {
                self.queue.rejected(rejected);
                Ok(())
            }
        }
    }

    fn settled(&mut self, batches: usize) {
        self.queue.settled(batches);
        self.backoff.reset();
        self.stalled_since = None;
        self.report(None);
    }

    fn report(&self, disconnected: Option<String>) {
        let totals = Totals { reconnects: self.reconnects, ..self.window.totals() };
        self.progress.send_modify(|progress| {
            progress.totals = totals;
            progress.disconnected = disconnected;
        });
    }

    async fn reconnect(&mut self, mut cause: Error) -> Result<AppendStream> {
        self.window.disconnected();
        loop {
            self.wait_to_retry(cause).await?;
            let open = self.options.open();
            match AppendStream::open(&self.client, open, self.options.window_batches).await {
                Ok((stream, opened)) => {
                    self.reconnects += 1;
                    let settled = self.window.opened(&opened)?;
                    if settled > 0 || self.window.is_empty() {
                        self.settled(settled);
                    }
                    self.report(None);
                    return Ok(stream);
                }
                Err(error) => cause = error,
            }
        }
    }

    /// Waits before the next try, or gives up.
    async fn wait_to_retry(&mut self, cause: Error) -> Result<()> {
        // A gap in the sequence closes when the stream is opened anew: that tells what is missing.
        if !cause.is_retryable() && cause.reason() != Some(ErrorReason::SequenceGap) {
            return Err(cause);
        }
        let stalled_for = self.stalled_since.get_or_insert_with(Instant::now).elapsed();
        let left = self.options.retry_for.saturating_sub(stalled_for);
        if left.is_zero() {
            return Err(cause.given_up(stalled_for));
        }
        self.report(Some(cause.to_string()));
        sleep(self.backoff.next_delay(cause.retry_after()).min(left)).await;
        Ok(())
    }
}
