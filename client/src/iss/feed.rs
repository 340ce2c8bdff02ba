//! The feed: whatever its source is, its updates get into the log once, in order, and with what is known of them.

mod buffer;
mod deliver;
mod figures;
mod intake;
mod known;
mod normalise;
mod rejects;
#[cfg(test)]
mod tests;

use std::time::Duration;

use downlink_proto::v1::position::At;
use downlink_proto::v1::read_response::Frame;
use downlink_proto::v1::{ErrorReason, Filter, GetLatestRequest, Position, ReadRequest};
use futures::FutureExt as _;
use futures::future::FusedFuture as _;
use tokio::sync::oneshot;

use super::breaker::Breaker;
use super::catalogue::definitions;
use super::update::Source;
use crate::append::{OnReject, Totals};
use crate::{AppenderOptions, Client, Result};
use buffer::Buffer;
use deliver::Deliver;
pub use figures::{Figures, LATENCY_BOUNDS, Snapshot};
use intake::{Ending, Intake};
use known::Known;

/// Longer than anybody waits: the log is tried again as long as the feed runs.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long the last events may take to get into the log once the feed is told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// The log's last events that are looked through for what a source may repeat.
const LOOKED_BACK_EVENTS: u64 = 10_000;

/// How much a feed holds, unless it is told otherwise: half an hour of the station's telemetry.
pub const BUFFER_EVENTS_MAX: usize = 1 << 16;

/// What a feed is called, and what it may hold.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name: its state is on the signal `_feed/<name>`, and its producer is `feed/<name>`.
    pub name: String,
    /// What the signals' names begin with.
    pub prefix: String,
    /// Where its events say that they come from.
    pub source: String,
    /// Events between the session and the log, at most.
    pub buffer_events_max: usize,
    /// How long the source is held up while the buffer is full and the log takes nothing, before older events give way.
    pub patience: Duration,
}

impl Options {
    /// The feed of the station.
    pub fn iss() -> Self {
        Self::new("iss", "iss/", "lightstreamer/ISSLIVE")
    }

    /// The feed of a simulated station: items of the same names, on signals that nobody takes for the station's.
    pub fn demo() -> Self {
        Self::new("demo", "demo/", "demo")
    }

    fn new(name: &str, prefix: &str, source: &str) -> Self {
        Self {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
            source: source.to_owned(),
            buffer_events_max: BUFFER_EVENTS_MAX,
            patience: Duration::from_secs(5),
        }
    }

    /// The signal that says how the feed is.
    fn state_signal(&self) -> String {
        format!("_feed/{}", self.name)
    }
}

/// Feeds until the source ends or until it is told to stop. None if what was under way then did not get into the log in time.
///
/// An event that the log has already, by signal, time and value, is not appended again, also after a restart.
///
/// # Errors
/// What another try over the same connection cannot mend. Updates that are under way are lost to the log then, unless the
/// source repeats them.
pub async fn run(
    client: &Client,
    source: impl Source,
    options: &Options,
    figures: &Figures,
    stop: impl Future<Output = ()>,
) -> Result<Option<Totals>> {
    client.define_signals(definitions(&options.prefix)).await?;
    let appender = AppenderOptions {
        retry_for: FOREVER,
        on_reject: OnReject::Collect,
        ..AppenderOptions::new(format!("feed/{}", options.name))
    };
    let appender = client.appender(appender).await?;
    figures.begin();
    // Not earlier: what a former life of this feed had under way is in the log by now, or never will be.
    let known = known(client, &options.prefix).await?;
    let buffer = Buffer::new(options.buffer_events_max, options.patience, &options.state_signal());
    let progress = appender.progress();
    let (stopped, stopping) = oneshot::channel();
    let intake = async {
        let ending = Intake::new(options, known, &buffer, figures).run(source, stop).await;
        buffer.close();
        if ending == Ending::Stopped {
            // Nobody waits for it once everything is delivered.
            let _ = stopped.send(());
        }
        Ok(())
    };
    let drained = async {
        match stopping.await {
            Ok(()) => tokio::time::sleep(DRAIN_MAX).await,
            Err(_ended) => std::future::pending().await,
        }
    };
    let watching = async {
        deliver::watch(progress, figures).await;
        Ok(())
    };
    let delivery = Deliver::new(options, appender, &buffer, figures).run();
    tokio::select! {
        all = async { tokio::try_join!(delivery, intake, watching) } => all.map(|(totals, ..)| Some(totals)),
        () = drained => {
            tracing::warn!(events = buffer.len(), "the log did not take the feed's last events in time");
            Ok(None)
        }
    }
}

/// Runs the feed again and again, each time with a fresh connection and a fresh source, until it is told to stop or the
/// source ends.
pub async fn keep<S: Source>(
    url: &str,
    mut open: impl FnMut() -> S,
    options: &Options,
    figures: &Figures,
    stop: impl Future<Output = ()>,
) -> Option<Totals> {
    let mut stop = std::pin::pin!(stop.fuse());
    let mut breaker = Breaker::default();
    loop {
        let start = tokio::time::Instant::now();
        let result = tokio::select! {
            biased;
            () = &mut stop => return None,
            connected = Client::connect(url) => match connected {
                Ok(client) => run(&client, open(), options, figures, &mut stop).await,
                Err(error) => Err(error),
            },
        };
        let error = match result {
            Ok(totals) => return totals,
            Err(error) => error,
        };
        // It may have been told while it ran.
        if stop.is_terminated() {
            return None;
        }
        let delay = breaker.failed(start.elapsed());
        let feed = &options.name;
        if error.reason() == Some(ErrorReason::ProducerFenced) {
            tracing::warn!(
                feed,
                "another feed of this name has begun on this log: stop one of them; trying again in {delay:.1?}"
            );
        } else {
            tracing::warn!(%error, feed, "the feed cannot append; trying again in {delay:.1?}");
        }
        tokio::select! {
            () = &mut stop => return None,
            () = tokio::time::sleep(delay) => {}
        }
    }
}

/// What the log has of the feed's signals: the newest of each, and the last of all.
async fn known(client: &Client, prefix: &str) -> Result<Known> {
    let signals = vec![format!("{prefix}**")];
    let mut known = Known::default();
    let mut page_token = String::new();
    loop {
        let request =
            GetLatestRequest { signals: signals.clone(), page_token, ..GetLatestRequest::default() };
        let page = client.latest(request).await?;
        page.values.into_iter().filter_map(|value| value.event).for_each(|event| known.learn(event));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let start = Some(Position { at: Some(At::LastEvents(LOOKED_BACK_EVENTS)) });
    let filter = Some(Filter { signals, ..Filter::default() });
    let mut replay = client.read(ReadRequest { start, filter, ..ReadRequest::default() }).await?;
    while let Some(frame) = replay.next().await? {
        if let Frame::Events(batch) = frame {
            batch.events.into_iter().for_each(|event| known.learn(event));
        }
    }
    Ok(known)
}
