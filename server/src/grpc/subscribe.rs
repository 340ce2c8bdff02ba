//! `Subscribe`: drives `follow` with pieces of the log, the head, the clock and the drain.

use std::sync::Arc;
use std::time::Duration;

use downlink_proto::v1::subscribe_response::{CaughtUp, Draining, FellBehind, Frame, Heartbeat, Started};
use downlink_proto::v1::{EventBatch, OnSlow, Report, SubscribeRequest, SubscribeResponse, report};
use downlink_storage::{Error, Offset, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use uuid::Uuid;

use super::Shared;
use super::convert::{wire_duration, wire_time};
use super::outbox::{Outbox, Passage, Sender, outbox};
use super::read::{Pieces, piece_max, wire_gap};
use super::request::{Place, choice, filter, only_rows, place};
use super::status::{Refusal, status};
use crate::follow::{Follow, Missing, Notice, Step};
use crate::query::{Found, PieceMax};
use crate::shutdown::RETRY_AFTER;

const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
const HEARTBEAT_MAX: Duration = Duration::from_secs(3600);

/// The subscriber has gone.
struct Gone;

/// One subscription.
struct Subscription {
    shared: Arc<Shared>,
    follow: Follow,
    pieces: Pieces,
    most: PieceMax,
    heartbeat: Duration,
    heartbeat_at: Instant,
    ingest_time: Option<Timestamp>,
    head: watch::Receiver<Offset>,
    messages: Sender<SubscribeResponse>,
}

/// Begins a subscription. `permit` is given back when it ends.
pub(crate) fn serve(
    shared: Arc<Shared>,
    request: SubscribeRequest,
    permit: OwnedSemaphorePermit,
) -> Result<Outbox<SubscribeResponse>, Status> {
    let (messages, outbox) = outbox(&shared.departures);
    let tasks = shared.tasks.clone();
    let subscription = plan(shared, request, messages)?;
    tasks.spawn("subscription", async move {
        subscription.run().await;
        drop(permit);
    });
    Ok(outbox)
}

fn plan(
    shared: Arc<Shared>,
    request: SubscribeRequest,
    messages: Sender<SubscribeResponse>,
) -> Result<Subscription, Status> {
    check_served(&request)?;
    let head = shared.head.clone();
    let now = *head.borrow();
    let oldest = shared.log.oldest();
    let start = match place(request.start, "start")?.unwrap_or(Place::Head) {
        Place::Offset(offset) if offset > now => return Err(status(Error::BeyondHead { offset, head: now })),
        Place::Offset(offset) => offset,
        Place::Oldest => oldest,
        Place::Head => now,
    };
    let filter = filter(request.filter, &shared.config)?;
    let (on_truncated, on_damage) =
        (choice(request.on_truncated, "on_truncated")?, choice(request.on_damage, "on_damage")?);
    let pieces = Pieces::new(shared.clone(), filter, on_truncated, on_damage);
    let mut follow = Follow::new(start, shared.config.fell_behind_events);
    if start < oldest {
        pieces.truncated(start, oldest)?;
        follow.missing(start, oldest, Missing::Retention);
    }
    let heartbeat = match request.heartbeat_interval {
        None => Duration::from_millis(shared.config.heartbeat_interval_ms),
        Some(asked) => Duration::try_from(asked).unwrap_or_default().clamp(HEARTBEAT_MIN, HEARTBEAT_MAX),
    };
    let most = piece_max(&shared, request.max_batch_events);
    let heartbeat_at = Instant::now() + heartbeat;
    Ok(Subscription {
        shared,
        follow,
        pieces,
        most,
        heartbeat,
        heartbeat_at,
        ingest_time: None,
        head,
        messages,
    })
}

/// Refuses what is described but not served.
fn check_served(request: &SubscribeRequest) -> Result<(), Refusal> {
    only_rows(request.encoding)?;
    match choice::<OnSlow>(request.on_slow, "on_slow")? {
        OnSlow::Unspecified | OnSlow::CatchUp => {}
        OnSlow::Conflate => return Err(Refusal::not_served_yet("`on_slow` CONFLATE")),
        OnSlow::Disconnect => return Err(Refusal::not_served_yet("`on_slow` DISCONNECT")),
    }
    if request.max_batch_delay.is_some_and(|delay| delay != prost_types::Duration::default()) {
        return Err(Refusal::not_served_yet("`max_batch_delay`"));
    }
    let everything = Report { mode: report::Mode::All.into(), ..Report::default() };
    match request.report {
        Some(asked) if asked != Report::default() && asked != everything => {
            Err(Refusal::not_served_yet("`report`"))
        }
        Some(_) | None => Ok(()),
    }
}

impl Subscription {
    async fn run(mut self) {
        let result = self.follow_on().await;
        if let Ok(Err(status)) = result {
            let _ = self.messages.send(Err(status)).await;
        }
    }

    /// Until the subscriber goes, the server drains, or reading fails.
    async fn follow_on(&mut self) -> Result<Result<(), Status>, Gone> {
        loop {
            if self.shared.tasks.is_draining() {
                self.follow.drain();
            }
            if Instant::now() >= self.heartbeat_at {
                self.follow.heartbeat();
            }
            let head = *self.head.borrow_and_update();
            match self.follow.step(head) {
                Step::Tell(notice) => {
                    let frame = self.frame(notice, head);
                    self.send(frame).await?;
                }
                Step::Read => {
                    if let Err(status) = self.read_on(head).await? {
                        return Ok(Err(status));
                    }
                }
                Step::Wait => self.wait().await?,
                Step::End => return Ok(Ok(())),
            }
        }
    }

    async fn wait(&mut self) -> Result<(), Gone> {
        // What comes next is in the cache that all readers share.
        self.pieces.forget();
        tokio::select! {
            // An error means that the log has closed, and then the server drains.
            changed = self.head.changed() => if changed.is_err() { self.shared.tasks.draining().await },
            () = sleep_until(self.heartbeat_at) => {}
            () = self.shared.tasks.draining() => {}
            () = self.messages.closed() => return Err(Gone),
        }
        Ok(())
    }

    async fn read_on(&mut self, head: Offset) -> Result<Result<(), Status>, Gone> {
        let piece = match self.pieces.next(self.follow.next_offset(), head, self.most).await {
            Ok(piece) => piece,
            Err(status) => return Ok(Err(status)),
        };
        match piece.found {
            Found::Gap { first, end, reason } => self.follow.missing(first, end, reason),
            Found::Events { matched, end } => {
                self.follow.delivered(matched, end);
                self.ingest_time = piece.ingest_time.or(self.ingest_time);
                if matched > 0 {
                    let batch = EventBatch { events: piece.events, ..EventBatch::default() };
                    self.send_events(batch, piece.passage).await?;
                }
            }
        }
        // A long search that finds nothing must end when nobody waits for it.
        if self.messages.is_closed() { Err(Gone) } else { Ok(Ok(())) }
    }

    fn frame(&self, notice: Notice, head: Offset) -> Frame {
        let time = Some(wire_time(self.shared.clock.now()));
        match notice {
            Notice::Started => Frame::Started(Started {
                subscription_id: Uuid::new_v4().to_string(),
                log_id: self.shared.log.id().to_string(),
                oldest_offset: self.shared.log.oldest().get(),
                head_offset: head.get(),
            }),
            Notice::CaughtUp => Frame::CaughtUp(CaughtUp { time }),
            Notice::FellBehind { events } => Frame::FellBehind(FellBehind {
                events_behind: events,
                time_behind: self.ingest_time.map(|then| wire_duration(since(self.shared.clock.now(), then))),
            }),
            Notice::Heartbeat { suppressed_events } => {
                Frame::Heartbeat(Heartbeat { time, head_offset: head.get(), suppressed_events })
            }
            Notice::Gap { first, end, reason } => Frame::Gap(wire_gap(first, end, reason)),
            Notice::Draining => Frame::Draining(Draining { retry_after: Some(wire_duration(RETRY_AFTER)) }),
        }
    }

    fn message(&self, frame: Frame) -> SubscribeResponse {
        SubscribeResponse { next_offset: self.follow.next_offset().get(), frame: Some(frame) }
    }

    async fn send_events(&mut self, batch: EventBatch, passage: Passage) -> Result<(), Gone> {
        let message = self.message(Frame::Events(batch));
        let sending = self.messages.send_events(message, passage);
        self.pieces.keeping_little(sending).await.map_err(|_| Gone)?;
        self.heartbeat_at = Instant::now() + self.heartbeat;
        Ok(())
    }

    async fn send(&mut self, frame: Frame) -> Result<(), Gone> {
        let message = self.message(frame);
        self.pieces.keeping_little(self.messages.send(Ok(message))).await.map_err(|_| Gone)?;
        self.heartbeat_at = Instant::now() + self.heartbeat;
        Ok(())
    }
}

/// How long after `earlier`; zero if it is not.
pub(crate) fn since(later: Timestamp, earlier: Timestamp) -> Duration {
    let nanos = u128::try_from(later.unix_nanos() - earlier.unix_nanos()).unwrap_or_default();
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
    Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).unwrap_or_default())
}
