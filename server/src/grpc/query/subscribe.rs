//! `Subscribe`: drives `follow` with pieces of the log, the head, the clock and the drain.

mod delivery;
mod frames;
mod memory;
mod options;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use downlink_proto::v1::{ErrorReason, SubscribeRequest, SubscribeResponse};
use downlink_storage::{Offset, Timestamp};
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::batches::Batches;
use super::encode::Encoding;
use super::pieces::{Pieces, piece_max};
use super::position::{Place, place, resolve};
use super::request::{choice, filter};
use crate::follow::{Follow, Missing, Notice, Step};
use crate::grpc::Shared;
use crate::grpc::outbox::{Outbox, Sender, outbox};
use crate::grpc::passage::Passage;
use crate::grpc::status::{Refusal, status};
use crate::metrics::{Standing, Subscriber};
use crate::query::filter::Filter;
use crate::query::newest::{Newest, NewestMax, Progress, Which};
use crate::query::{Found, Way};
use crate::report::{Clock, Nanos, Report, nanos};
use delivery::Delivery;
use memory::Share;

/// Why a subscription ends before the server does.
enum Ended {
    /// The subscriber has gone.
    Gone,
    /// With this as the last word.
    With(Status),
}

impl<E: Into<Status>> From<E> for Ended {
    fn from(status: E) -> Self {
        Self::With(status.into())
    }
}

/// One subscription.
struct Subscription {
    shared: Arc<Shared>,
    follow: Follow,
    filter: Filter,
    pieces: Pieces<Delivery>,
    /// For the newest events, while it goes on.
    search: Option<Box<Newest>>,
    /// What the metrics know of it.
    counted: Subscriber,
    /// What its report remembers.
    memory: Share,
    heartbeat: Duration,
    heartbeat_at: Instant,
    batch_delay: Duration,
    /// When what waits for company has waited long enough.
    flush_at: Option<Instant>,
    /// What time it was when history ended, by the clock that the report knows and by one that never jumps.
    live_since: (Nanos, Instant),
    ingest_time: Option<Timestamp>,
    head: watch::Receiver<Offset>,
    messages: Sender,
    /// For what has been picked last, if it is large.
    room: Option<OwnedSemaphorePermit>,
    /// Where to resume after all that has been picked.
    picked: Offset,
    /// Where to resume after what has been sent.
    told: Offset,
}

/// Begins a subscription.
pub(crate) async fn serve(shared: Arc<Shared>, request: SubscribeRequest) -> Result<Outbox, Status> {
    let (messages, outbox) = outbox(&shared.departures);
    let tasks = shared.tasks.clone();
    let subscription = plan(shared, request, messages).await?;
    tasks.spawn("subscription", subscription.run());
    Ok(outbox)
}

async fn plan(
    shared: Arc<Shared>,
    request: SubscribeRequest,
    messages: Sender,
) -> Result<Subscription, Status> {
    let encoding = Encoding::of(request.encoding)?;
    let asked = request.report.unwrap_or_default();
    let rule = options::rule(&asked)?;
    let when_slow = options::when_slow(request.on_slow)?;
    let batch_delay = options::batch_delay(request.max_batch_delay)?;
    let head = shared.head.clone();
    let now = *head.borrow();
    let oldest = shared.log.oldest();
    let filter = filter(request.filter, &shared.config)?;
    let start = place(request.start, "start", &shared.config)?.unwrap_or(Place::Head);
    let start = resolve(&shared, start, &filter, now).await?;
    let (on_truncated, on_damage) =
        (choice(request.on_truncated, "on_truncated")?, choice(request.on_damage, "on_damage")?);
    let report = rule.map(|rule| Report::new(rule, nanos(Timestamp::MIN)));
    let most = piece_max(&shared, request.max_batch_events);
    let delivery = Delivery::new(report, Batches::new(encoding, most, shared.tracer.links()));
    let pieces =
        Pieces::new(shared.clone(), (filter.clone(), Way::Forwards), delivery, (on_truncated, on_damage));
    let mut follow = Follow::new(start, shared.config.fell_behind_events, when_slow);
    if asked.initial_values {
        follow = follow.beginning_with_newest();
    }
    if start < oldest {
        pieces.truncated(start, oldest)?;
        follow.missing(start, oldest, Missing::Retention);
    }
    let heartbeat = options::heartbeat(request.heartbeat_interval, shared.config.heartbeat_interval_ms)?;
    let present = Instant::now();
    Ok(Subscription {
        counted: Subscriber::begin(&shared.metrics.subscribers),
        memory: Share::new(shared.report_bytes.clone()),
        shared,
        follow,
        filter,
        pieces,
        search: None,
        heartbeat,
        heartbeat_at: present + heartbeat,
        batch_delay,
        flush_at: None,
        live_since: (0, present),
        ingest_time: None,
        head,
        messages,
        room: None,
        picked: start,
        told: start,
    })
}

impl Subscription {
    async fn run(mut self) {
        if let Err(Ended::With(status)) = self.follow_on().await {
            self.messages.end(status);
        }
    }

    /// Until the subscriber goes, the server drains, or reading fails.
    async fn follow_on(&mut self) -> Result<(), Ended> {
        loop {
            if self.shared.tasks.is_draining() {
                self.follow.drain();
            }
            if Instant::now() >= self.heartbeat_at {
                self.follow.heartbeat();
            }
            self.set_clock();
            self.note_picked()?;
            self.flush_if_due().await?;
            let head = *self.head.borrow_and_update();
            match self.follow.step(head) {
                Step::Tell(notice) => self.tell(notice, head).await?,
                Step::Begin => self.begin(head).await?,
                Step::Read => self.read_on(head).await?,
                Step::Conflate => self.conflate(head).await?,
                Step::Disconnect => return Err(self.too_slow(head)),
                Step::Wait => self.wait().await?,
                Step::End => return Ok(()),
            }
            // A long search that finds nothing must end when nobody waits for it.
            if self.messages.is_closed() {
                return Err(Ended::Gone);
            }
        }
    }

    async fn wait(&mut self) -> Result<(), Ended> {
        // What comes next is in the cache that all readers share.
        self.pieces.forget();
        let due = self.pieces.collector().next_due().map(|due| self.instant(due));
        let until = [due, self.flush_at].into_iter().flatten().fold(self.heartbeat_at, Instant::min);
        tokio::select! {
            // An error means that the log has closed, and then the server drains.
            changed = self.head.changed() => if changed.is_err() { self.shared.tasks.draining().await },
            () = sleep_until(until) => {}
            () = self.shared.tasks.draining() => {}
            () = self.messages.closed() => return Err(Ended::Gone),
        }
        Ok(())
    }

    async fn read_on(&mut self, head: Offset) -> Result<(), Ended> {
        let room = self.pieces.collector().room();
        let piece = self.pieces.next(self.follow.next_offset(), head, room).await?;
        match piece.found {
            Found::Gap { first, end, reason } => self.follow.missing(first, end, reason),
            Found::Events { end, .. } => {
                self.ingest_time = piece.ingest_time.or(self.ingest_time);
                self.room = piece.room;
                self.follow.passed(self.pieces.collector().sent_events(), end);
            }
        }
        Ok(())
    }

    /// The newest event of each signal first.
    async fn begin(&mut self, head: Offset) -> Result<(), Ended> {
        let start = self.follow.next_offset();
        let Some(newest) = self.search(Which::Newest, (Offset::FIRST, start)).await? else { return Ok(()) };
        let now = if start == head {
            nanos(self.shared.clock.now())
        } else {
            newest.iter().map(|event| nanos(event.event().ingest_time)).max().unwrap_or_default()
        };
        self.pieces.collector().begin_with(&newest, now);
        self.follow.begun();
        Ok(())
    }

    /// Only the newest event of each signal, instead of all that the reader has not kept up with.
    async fn conflate(&mut self, head: Offset) -> Result<(), Ended> {
        // What was picked before goes out before.
        self.flush().await?;
        let from = self.follow.next_offset();
        let until = self.search.as_ref().map_or(head, |search| search.until());
        let Some(newest) = self.search(Which::Wanted, (from, until)).await? else { return Ok(()) };
        let conflated = until.since(from) - newest.len() as u64;
        self.pieces.collector().conflate(&newest, conflated);
        self.follow.conflated(self.pieces.collector().sent_events(), conflated, until);
        Ok(())
    }

    /// Looks on for the newest events; nothing as long as it is not through.
    async fn search(
        &mut self,
        which: Which,
        range: (Offset, Offset),
    ) -> Result<Option<Vec<crate::query::kept::Kept>>, Ended> {
        let config = &self.shared.config;
        let most = NewestMax { signals: config.report_signals_max, bytes: config.report_bytes_max };
        let fresh =
            || Box::new(Newest::new(self.shared.log.clone(), self.filter.clone(), which, range, most));
        let search = self.search.take().unwrap_or_else(fresh);
        let progress = self.shared.disk("newest", move || search.look()).await?;
        match progress.map_err(status)? {
            Progress::Searching(search) => {
                self.search = Some(search);
                Ok(None)
            }
            Progress::Found(newest) => Ok(Some(newest)),
            Progress::TooMany => Err(self.too_much()),
        }
    }

    /// Brings the report up to the present; in history time goes by with the events.
    fn set_clock(&mut self) {
        let clock = if self.follow.is_live() { Clock::Live(self.now()) } else { Clock::History };
        self.pieces.collector().set_clock(clock);
    }

    /// Takes note of what has been picked so far.
    fn note_picked(&mut self) -> Result<(), Ended> {
        let delivery = self.pieces.collector();
        let standing = if self.follow.is_live() { Standing::Live } else { Standing::History };
        self.counted.note(delivery.sent_events(), standing);
        self.follow.passed(delivery.sent_events(), self.follow.next_offset());
        self.picked = delivery.settled(self.follow.next_offset());
        if !delivery.is_empty() && self.flush_at.is_none() {
            self.flush_at = Some(Instant::now() + self.batch_delay);
        }
        let (signals, remembered) =
            delivery.report().map_or((0, 0), |report| (report.signals(), report.bytes()));
        // Newest events may be many messages at once.
        let searched = self.search.as_ref().map_or(0, |search| search.bytes());
        let (bytes, config) = (remembered + delivery.waiting_bytes() + searched, &self.shared.config);
        let is_too_much = self.memory.set(bytes, config.report_bytes_max).is_err();
        if is_too_much || signals > config.report_signals_max { Err(self.too_much()) } else { Ok(()) }
    }

    /// Sends what has waited for company, if that is over.
    async fn flush_if_due(&mut self) -> Result<(), Ended> {
        let is_over = self.flush_at.is_some_and(|at| at <= Instant::now());
        if is_over || self.room.is_some() || self.pieces.collector().is_ready() {
            self.flush().await
        } else {
            Ok(())
        }
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        while let Some((mut batch, passed)) = self.pieces.collector().next() {
            // As long as some of it is here, not all that was picked is settled. What is large is the last.
            let is_last = self.pieces.collector().is_empty();
            let next =
                if is_last { self.picked } else { passed.map_or(self.told, |passed| passed.max(self.told)) };
            let room = if is_last { self.room.take() } else { None };
            let (contents, lag_events) =
                (std::mem::take(&mut batch.contents), self.head.borrow().since(next));
            let passage = Passage::new(self.told, next, room).with(contents, lag_events);
            let may_be_slow = self.follow.disconnects();
            self.send(batch.into_subscribe(next), next, Some(passage), may_be_slow).await?;
        }
        self.room = None;
        self.flush_at = None;
        Ok(())
    }

    async fn tell(&mut self, notice: Notice, head: Offset) -> Result<(), Ended> {
        self.flush().await?;
        if notice == Notice::CaughtUp {
            let reported = self.pieces.collector().report().map_or(0, Report::now);
            self.live_since = (nanos(self.shared.clock.now()).max(reported), Instant::now());
        }
        self.picked = self.pieces.collector().settled(self.follow.next_offset());
        // Who has not been told that it is live is not slow.
        let may_be_slow = self.follow.disconnects() && notice != Notice::CaughtUp;
        let frame = frames::wire(&self.shared, notice, head, self.ingest_time);
        let message = SubscribeResponse { next_offset: self.picked.get(), frame: Some(frame) };
        self.send(message, self.picked, None, may_be_slow).await
    }

    /// Sends a message, after which the subscriber resumes at `next`; one that may be too slow by now is let go.
    async fn send(
        &mut self,
        message: impl Message,
        next: Offset,
        passage: Option<Passage>,
        may_be_slow: bool,
    ) -> Result<(), Ended> {
        let messages = &self.messages;
        let mut sending = pin!(async move {
            match passage {
                Some(passage) => messages.send_events(message, passage).await,
                None => messages.send(message).await,
            }
        });
        let (follow, head) = (&self.follow, &mut self.head);
        // Who is to be let go when it is too slow may never take anything again.
        let sent = self.pieces.keeping_little(async {
            loop {
                tokio::select! {
                    sent = &mut sending => return Some(sent),
                    Ok(()) = head.changed(), if may_be_slow => {
                        if follow.is_too_slow(*head.borrow()) {
                            return None;
                        }
                    }
                }
            }
        });
        match sent.await {
            Some(sent) => sent.map_err(|_| Ended::Gone)?,
            None => return Err(self.too_slow(*self.head.borrow())),
        }
        self.told = next;
        self.heartbeat_at = Instant::now() + self.heartbeat;
        Ok(())
    }

    fn too_slow(&self, head: Offset) -> Ended {
        let behind = head.since(self.told);
        let message = format!(
            "the reader is {behind} events behind: resume at `next_offset`, with a filter or a report"
        );
        self.refusal(ErrorReason::SlowConsumer, message).with("events_behind", behind).into()
    }

    fn too_much(&self) -> Ended {
        let message = "reports have to remember more than `report_signals_max` or `report_bytes_max`: narrow the filter";
        self.refusal(ErrorReason::Quota, message).into()
    }

    fn refusal(&self, reason: ErrorReason, message: impl Into<String>) -> Refusal {
        Refusal::new(reason, message).with("next_offset", self.told)
    }

    /// The present, as the report knows it: the server's clock when history ended, and the time since.
    fn now(&self) -> Nanos {
        let (then, since) = self.live_since;
        then + Nanos::try_from(since.elapsed().as_nanos()).unwrap_or_default()
    }

    /// When that will be.
    fn instant(&self, moment: Nanos) -> Instant {
        let (then, since) = self.live_since;
        since + Duration::from_nanos(u64::try_from((moment - then).max(0)).unwrap_or(u64::MAX))
    }
}
