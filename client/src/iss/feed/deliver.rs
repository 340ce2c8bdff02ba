//! From the buffer into the log.

use std::time::{Duration, SystemTime};

use downlink_proto::v1::Event;
use prost_types::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Options;
use super::buffer::{Buffer, Merged, Waiting};
use super::figures::Figures;
use crate::append::{Progress, Totals};
use crate::time::rfc3339;
use crate::{Appender, Result, event};

/// How much time lies between two events that say how much was merged.
const MERGED_EVERY: Duration = Duration::from_secs(10);
/// After so many events it is looked what the log has refused.
const REFUSALS_EVERY: u64 = 256;

/// Hands events over to the appender.
pub(super) struct Deliver<'a> {
    appender: Appender,
    buffer: &'a Buffer,
    figures: &'a Figures,
    merged_signal: String,
    merged: Option<Merged>,
    merged_told: Option<Instant>,
    source: String,
    handed_over: u64,
}

impl<'a> Deliver<'a> {
    pub(super) fn new(
        options: &Options,
        appender: Appender,
        buffer: &'a Buffer,
        figures: &'a Figures,
    ) -> Self {
        Self {
            appender,
            buffer,
            figures,
            merged_signal: format!("{}/merged", options.state_signal()),
            merged: None,
            merged_told: None,
            source: options.source.clone(),
            handed_over: 0,
        }
    }

    /// Delivers until the buffer is closed and empty, and everything is on disk.
    pub(super) async fn run(mut self) -> Result<Totals> {
        while let Some(Waiting { event, since }) = self.buffer.pop().await {
            self.figures.buffered(self.buffer.len());
            self.tell_merged().await?;
            self.hand_over(&event, since).await?;
            if self.handed_over.is_multiple_of(REFUSALS_EVERY) {
                self.tell_refusals();
            }
        }
        self.merged_told = None;
        self.tell_merged().await?;
        self.appender.flush().await?;
        self.tell_refusals();
        self.appender.finish().await
    }

    async fn hand_over(&mut self, event: &Event, since: Instant) -> Result<()> {
        self.handed_over += 1;
        self.figures.handed_over(self.handed_over, since);
        self.appender.append(event).await
    }

    /// Says in the log how many events are not in it because newer ones had come, now and then.
    async fn tell_merged(&mut self) -> Result<()> {
        if let Some(merged) = self.buffer.take_merged() {
            self.figures.merged(merged.count);
            self.merged = Some(self.merged.map_or(merged, |earlier| earlier.and(merged)));
        }
        let is_due = self.merged_told.is_none_or(|told| told.elapsed() >= MERGED_EVERY);
        let Some(merged) = self.merged.take_if(|_| is_due) else { return Ok(()) };
        self.merged_told = Some(Instant::now());
        tracing::warn!(
            events = merged.count,
            "the log was out of reach for too long: only the newest were kept"
        );
        let attributes = [("first", merged.first), ("last", merged.last)];
        let event = Event {
            event_time: Some(Timestamp::from(SystemTime::now())),
            source: self.source.clone(),
            attributes: attributes.map(|(key, time)| (key.to_owned(), rfc3339(&time))).into(),
            ..event(self.merged_signal.as_str(), i64::try_from(merged.count).unwrap_or(i64::MAX))
        };
        self.hand_over(&event, Instant::now()).await
    }

    fn tell_refusals(&mut self) {
        for refused in self.appender.take_rejections() {
            self.figures.refused(u64::from(refused.events));
            tracing::warn!(%refused, "the log has refused events of the feed");
        }
    }
}

/// Follows the appender: what is on disk, and whether the log can be reached. Ends with the appender.
pub(super) async fn watch(mut progress: watch::Receiver<Progress>, figures: &Figures) {
    let mut is_away = false;
    while progress.changed().await.is_ok() {
        let Progress { totals, disconnected, .. } = progress.borrow_and_update().clone();
        figures.settled(totals.durable_events + totals.rejected_events, Instant::now());
        match (disconnected, is_away) {
            (Some(reason), false) => {
                tracing::warn!(reason, "the feed cannot reach the log; it keeps what comes")
            }
            (None, true) => tracing::info!("the feed reaches the log again"),
            (Some(_), true) | (None, false) => continue,
        }
        is_away = !is_away;
    }
}
