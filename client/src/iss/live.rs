//! The live feed: a Lightstreamer session that recovers, is opened again, and never gives up.
#![allow(clippy::wildcard_enum_match_arm, reason = "enums of lightstreamer-rs may grow, and say so")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use lightstreamer::{
    AdapterSet, BufferSize, Client, ClientConfig, ClosedReason, ConnectionOptions, Continuity,
    DisconnectReason, FieldSchema, ItemGroup, ItemUpdate, MaxFrequency, RetryPolicy, ServerAddress,
    SessionEvents, Snapshot, Subscription, SubscriptionEvent, SubscriptionMode, Updates,
};
use lightstreamer_rs as lightstreamer;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::breaker::Breaker;
use super::catalogue;
use super::clock::{TIME_ITEM, YEAR_ITEM};
use super::update::{SessionEvent, Source, Update};

/// The public server.
pub const PUBLIC_SERVER: &str = "https://push.lightstreamer.com";
/// The set of adapters there that has the station's telemetry.
const ADAPTER_SET: &str = "ISSLIVE";
const FIELDS: [&str; 6] =
    ["TimeStamp", "Value", "Status.Class", "Status.Indicator", "Status.Color", "CalibratedData"];

/// Events between the session and its reader; a full channel holds the session up, and the server merges.
const EVENTS_AHEAD: usize = 1024;
/// How often a session is recovered or replaced in a row before it is opened from the beginning.
const RECOVERIES_MAX: NonZeroU32 = NonZeroU32::new(4).expect("four is not zero");
const RECOVERY_DELAY_MAX: Duration = Duration::from_secs(5);
/// The longest that opening a session may take, with its tries.
const OPENING_MAX: Duration = Duration::from_secs(60);
/// How long the server may be silent: it is asked to send a sign of life so often.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Texts from the server that are shown to people are cut here.
const SHOWN_CHARS_MAX: usize = 200;

/// What is wrong with a configuration of the live feed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misconfigured(String);

/// A live session as a source of the feed.
#[derive(Debug)]
pub struct Live {
    events: mpsc::Receiver<SessionEvent>,
    session: JoinHandle<()>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.session.abort();
    }
}

impl Source for Live {
    async fn next(&mut self) -> SessionEvent {
        if let Some(event) = self.events.recv().await {
            return event;
        }
        // It never ends by itself: whoever takes that for an end would not know of the defect.
        match (&mut self.session).await {
            Err(defect) if defect.is_panic() => std::panic::resume_unwind(defect.into_panic()),
            Ok(()) | Err(_) => SessionEvent::Ended,
        }
    }
}

/// Where the live feed is, and which items are wanted of it.
#[derive(Clone, Debug)]
pub struct Subject {
    server: String,
    config: ClientConfig,
    items: Vec<Arc<str>>,
    subscription: Subscription,
}

impl Subject {
    /// These items of a server's, and the station's clock in any case: without it there is no telling whether there is a
    /// signal.
    ///
    /// # Errors
    /// If the server's address or the name of an item cannot be one.
    pub fn new(server: &str, items: impl IntoIterator<Item = String>) -> Result<Self, Misconfigured> {
        // The clock comes first in snapshots: then it is known of the other values of which year they are, and whether they are live.
        let clock = [YEAR_ITEM, TIME_ITEM].map(Arc::<str>::from);
        let others = items.into_iter().map(Arc::<str>::from).filter(|item| !clock.contains(item));
        let mut items: Vec<_> = clock.iter().cloned().chain(others).collect();
        let mut seen = std::collections::HashSet::new();
        items.retain(|item| seen.insert(Arc::clone(item)));
        let wrong = |error: &dyn std::fmt::Display| Misconfigured(format!("{server}: {error}"));
        let retry = RetryPolicy::default()
            .with_initial_delay(Duration::from_millis(200))
            .with_max_delay(RECOVERY_DELAY_MAX)
            .with_max_attempts(Some(RECOVERIES_MAX));
        let options = ConnectionOptions::default()
            .with_retry(retry)
            .with_keepalive_hint(Some(KEEPALIVE))
            .with_send_sync(false);
        let address = ServerAddress::try_new(server).map_err(|error| wrong(&error))?;
        let config = ClientConfig::builder(address)
            .with_adapter_set(AdapterSet::try_new(ADAPTER_SET).map_err(|error| wrong(&error))?)
            .with_options(options)
            .build()
            .map_err(|error| wrong(&error))?;
        let group = ItemGroup::from_items(items.iter().map(|item| &**item)).map_err(|error| wrong(&error))?;
        let schema = FieldSchema::from_fields(FIELDS).map_err(|error| wrong(&error))?;
        let subscription = Subscription::new(SubscriptionMode::Merge, group, schema)
            .with_snapshot(Snapshot::On)
            .with_buffer_size(BufferSize::Unlimited)
            .with_max_frequency(MaxFrequency::Unlimited);
        subscription.validate().map_err(|error| wrong(&error))?;
        Ok(Self { server: server.to_owned(), config, items, subscription })
    }

    /// Opens sessions, one after the other, until the source is dropped. Within a runtime.
    pub fn open(&self) -> Live {
        for item in self.items.iter().filter(|item| !catalogue::is_known(item)) {
            tracing::warn!(%item, "the station is not known to have this item: is it spelt right?");
        }
        let (sender, events) = mpsc::channel(EVENTS_AHEAD);
        // The task "live session" ends with its reader.
        let session = tokio::spawn(self.clone().keep(sender));
        Live { events, session }
    }

    async fn keep(self, events: mpsc::Sender<SessionEvent>) {
        let mut breaker = Breaker::default();
        loop {
            let start = Instant::now();
            let why = self.session(&events).await;
            let delay = breaker.failed(start.elapsed());
            let pause = humantime::format_duration(Duration::from_secs(delay.as_secs().max(1)));
            let reason = if breaker.is_open() {
                let failures = breaker.failures();
                format!("{}: {why}, for the {failures}th time in a row; one try in {pause}", self.server)
            } else {
                format!("{}: {why}; trying again in {pause}", self.server)
            };
            if events.send(SessionEvent::Disconnected { reason }).await.is_err() {
                return;
            }
            tokio::time::sleep(delay).await;
        }
    }

    /// A session from its begin to its end; why it has ended.
    async fn session(&self, events: &mpsc::Sender<SessionEvent>) -> String {
        let opening = async {
            let (client, session) = Client::connect(self.config.clone()).await?;
            let updates = client.subscribe(self.subscription.clone()).await?;
            Ok::<_, lightstreamer::Error>((client, session, updates))
        };
        match tokio::time::timeout(OPENING_MAX, opening).await {
            // The client is held: dropping it ends the session.
            Ok(Ok((_client, session, updates))) => self.follow(session, updates, events).await,
            Ok(Err(error)) => shown(&opening_failure(&error)),
            Err(_late) => format!("no session within {} s", OPENING_MAX.as_secs()),
        }
    }

    async fn follow(
        &self,
        mut session: SessionEvents,
        mut updates: Updates,
        events: &mpsc::Sender<SessionEvent>,
    ) -> String {
        let connected = || SessionEvent::Connected { source: self.server.clone() };
        let recovered = || SessionEvent::Recovered { source: self.server.clone() };
        // The event of the first connection may have been told before anybody listened.
        let mut is_connected = true;
        if events.send(connected()).await.is_err() {
            return "nobody listens".to_owned();
        }
        loop {
            let said = tokio::select! {
                biased;
                event = session.next() => match event {
                    None => return "the session has ended".to_owned(),
                    Some(event) => {
                        // What came before it comes first.
                        self.drain(&mut updates, events).await;
                        if let lightstreamer::SessionEvent::Closed(reason) = event {
                            return shown(&closed(&reason));
                        }
                        said(event, &mut is_connected, connected, recovered)
                    }
                },
                event = updates.next() => match event {
                    None => return "the subscription has ended".to_owned(),
                    Some(SubscriptionEvent::Update(update)) => self.update(&update).map(SessionEvent::Update),
                    Some(SubscriptionEvent::Rejected(error)) => {
                        return shown(&format!("the subscription was refused, {error}"));
                    }
                    // Nothing that comes could be trusted to be of the item that it seems to be of.
                    Some(SubscriptionEvent::Activated { item_count, field_count, .. })
                        if (item_count, field_count) != (self.items.len(), FIELDS.len()) =>
                    {
                        return format!("the server has subscribed {item_count} items with {field_count} fields");
                    }
                    Some(SubscriptionEvent::Unsubscribed) => return "the server has unsubscribed".to_owned(),
                    Some(other) => {
                        tracing::debug!(event = shown(&format!("{other:?}")), "the subscription says");
                        None
                    }
                },
            };
            if let Some(said) = said
                && events.send(said).await.is_err()
            {
                return "nobody listens".to_owned();
            }
        }
    }

    /// Passes on the updates that have come already.
    async fn drain(&self, updates: &mut Updates, events: &mpsc::Sender<SessionEvent>) {
        while let Some(Some(event)) = updates.next().now_or_never() {
            if let SubscriptionEvent::Update(update) = event
                && let Some(update) = self.update(&update)
                && events.send(SessionEvent::Update(update)).await.is_err()
            {
                return;
            }
        }
    }

    /// The update of an item that was asked for.
    fn update(&self, update: &ItemUpdate) -> Option<Update> {
        let item = self.items.get(update.item_index().checked_sub(1)?)?;
        let field = |name| update.field_by_name(name)?.text().map(str::to_owned);
        let [time_stamp, value, status_class, status_indicator, status_color, calibrated_data] =
            FIELDS.map(field);
        Some(Update {
            item: Arc::clone(item),
            time_stamp,
            value,
            status_class,
            status_indicator,
            status_color,
            calibrated_data,
            is_snapshot: update.is_snapshot(),
        })
    }
}

/// What the reader is told of an event of the session's.
fn said(
    event: lightstreamer::SessionEvent,
    is_connected: &mut bool,
    connected: impl Fn() -> SessionEvent,
    recovered: impl Fn() -> SessionEvent,
) -> Option<SessionEvent> {
    match event {
        lightstreamer::SessionEvent::Connected(connection) if !*is_connected => {
            *is_connected = true;
            // Only a session in the place of the old one begins with what is newest.
            let is_same =
                matches!(connection.continuity, Continuity::Preserved | Continuity::Recovered { .. });
            Some(if is_same { recovered() } else { connected() })
        }
        // The session moves to another connection: that is not an interruption.
        lightstreamer::SessionEvent::Disconnected { reason: DisconnectReason::Handover, .. } => None,
        lightstreamer::SessionEvent::Disconnected { reason, .. } => {
            *is_connected = false;
            let reason = shown(&disconnected(&reason));
            Some(SessionEvent::Disconnected { reason: format!("{reason}; recovering the session") })
        }
        other => {
            tracing::debug!(event = shown(&format!("{other:?}")), "the session says");
            None
        }
    }
}

fn opening_failure(error: &lightstreamer::Error) -> String {
    match error {
        lightstreamer::Error::ReconnectExhausted { last: Some(last), .. } => disconnected(last),
        other => other.to_string(),
    }
}

fn disconnected(reason: &DisconnectReason) -> String {
    match reason {
        DisconnectReason::ConnectionFailed { detail } => detail.clone(),
        DisconnectReason::Stalled { budget } => format!("silence for {} s", budget.as_secs()),
        DisconnectReason::Refused(error) | DisconnectReason::Refreshing(error) => error.to_string(),
        other => format!("{other:?}"),
    }
}

fn closed(reason: &ClosedReason) -> String {
    match reason {
        ClosedReason::ByServer(error) => format!("the server has closed the session, {error}"),
        ClosedReason::ReconnectExhausted { last: Some(last), .. } => disconnected(last),
        other => format!("{other:?}"),
    }
}

/// Texts of the server's, made fit for a line of a log.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_always_asked_for_and_first() {
        let items = ["NODE3000005", "TIME_000001", "NODE3000005"].map(str::to_owned);
        let subject = Subject::new(PUBLIC_SERVER, items).unwrap();
        assert_eq!(subject.items, [YEAR_ITEM, TIME_ITEM, "NODE3000005"].map(Arc::<str>::from));
        assert!(Subject::new("ftp://x", []).is_err());
        assert!(Subject::new(PUBLIC_SERVER, ["two words".to_owned()]).is_err());
    }

    #[tokio::test]
    async fn who_cannot_be_reached_is_named() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        let mut live = Subject::new(&server, []).unwrap().open();
        let SessionEvent::Disconnected { reason } = live.next().await else { panic!("connected to nobody") };
        assert!(reason.starts_with(&server) && reason.contains("trying again in"), "{reason}");
    }
}
