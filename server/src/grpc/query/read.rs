//! `Read`: a replay that ends by itself.

use std::sync::Arc;
use std::time::Duration;

use downlink_proto::v1::read_response::{End, Frame};
use downlink_proto::v1::{ReadRequest, ReadResponse};
use downlink_storage::{EventRef, Offset};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::encode::{Encoder, Encoding, ReadEvents};
use super::pieces::{Collector, Pieces, bytes_of, piece_max, wire_gap};
use super::position::{Place, place, resolve};
use super::request::{choice, filter, invalid, pace};
use crate::grpc::Shared;
use crate::grpc::outbox::{Outbox, Sender, outbox};
use crate::grpc::passage::{Contents, Passage};
use crate::grpc::status::Refusal;
use crate::observability::Links;
use crate::query::pace::{Pace, SLICE};
use crate::query::{Found, PieceMax, Way};

/// A replay at a pace that is later than this goes on from where it is, instead of catching up.
const LAG_MAX: Duration = Duration::from_secs(1);

/// Those of a replay, as they go out.
struct Outgoing {
    pace: Option<Pace>,
    encoder: Encoder,
    /// Where they come from, if anybody traces.
    links: Option<Links>,
    /// When the first of them is due, since the beginning of a replay at a pace.
    due: Option<Duration>,
}

impl Outgoing {
    /// A message of those that were taken, and what is in it.
    fn take_all(&mut self) -> (ReadEvents, Contents) {
        let mut batch = self.encoder.take();
        let contents = Contents {
            links: self.links.as_mut().map(std::mem::take).unwrap_or_default(),
            ..std::mem::take(&mut batch.contents)
        };
        (batch.into_read(), contents)
    }
}

impl Collector for Outgoing {
    fn take(&mut self, event: &EventRef<'_>) -> Option<usize> {
        if let Some(pace) = &mut self.pace {
            let due = pace.due(event.event_time);
            if due >= *self.due.get_or_insert(due) + SLICE {
                return None;
            }
            pace.pass(event.event_time);
        }
        self.encoder.push(event);
        if let Some(links) = &mut self.links {
            links.see(event.trace_context);
        }
        Some(bytes_of(event))
    }
}

/// A replay, as asked for.
struct Replay {
    pieces: Pieces<Outgoing>,
    way: Way,
    start: Offset,
    end: Offset,
    head: Offset,
    events_max: u64,
    most: PieceMax,
}

/// Begins a replay.
pub(crate) async fn serve(shared: Arc<Shared>, request: ReadRequest) -> Result<Outbox, Status> {
    let replay = plan(&shared, request).await?;
    let (messages, outbox) = outbox(&shared.departures);
    let tasks = shared.tasks.clone();
    tasks.spawn("read", async move {
        if let Err(status) = replay.run(&shared, &messages).await {
            messages.end(status);
        }
    });
    Ok(outbox)
}

async fn plan(shared: &Arc<Shared>, request: ReadRequest) -> Result<Replay, Status> {
    let encoding = Encoding::of(request.encoding)?;
    let (way, from, until) = if request.backwards {
        (Way::Backwards, Place::Head, Place::Oldest)
    } else {
        (Way::Forwards, Place::Oldest, Place::Head)
    };
    let (oldest, head) = (shared.log.oldest(), shared.log.head());
    let filter = filter(request.filter, &shared.config)?;
    let pace = pace(request.pacing, way, &shared.config)?;
    let on_missing = (choice(request.on_truncated, "on_truncated")?, choice(request.on_damage, "on_damage")?);
    let start = place(request.start, "start", &shared.config)?.unwrap_or(from);
    let end = place(request.end, "end", &shared.config)?.unwrap_or(until);
    let start = resolve(shared, start, &filter, head).await?;
    let end = resolve(shared, end, &filter, head).await?;
    if way.first(start, end) != start {
        let side = if request.backwards { "above" } else { "before" };
        return Err(invalid("end", format!("{end} lies {side} the start, {start}")).into());
    }
    let outgoing =
        Outgoing { pace, encoder: Encoder::new(encoding), links: shared.tracer.links(), due: None };
    let pieces = Pieces::new(shared.clone(), (filter, way), outgoing, on_missing);
    let least = start.min(end);
    if least < oldest {
        pieces.truncated(least, oldest)?;
    }
    let events_max = if request.max_events == 0 { u64::MAX } else { request.max_events };
    let most = piece_max(shared, request.max_batch_events);
    Ok(Replay { pieces, way, start, end, head, events_max, most })
}

/// Turns the due times of a replay at a pace into moments.
struct Schedule {
    beginning: Instant,
}

impl Schedule {
    /// Of a replay that begins now.
    const fn begin(now: Instant) -> Self {
        Self { beginning: now }
    }

    /// The moment at which is to go out what is due so long after the beginning. What a slow reader has lost is not
    /// made up for.
    fn moment(&mut self, due: Duration, now: Instant) -> Instant {
        let moment = self.beginning + due;
        if now > moment + LAG_MAX {
            self.beginning += now - moment;
            return now;
        }
        moment
    }
}

impl Replay {
    async fn run(mut self, shared: &Shared, messages: &Sender) -> Result<(), Status> {
        let (mut next, mut delivered, mut schedule) = (self.start, 0, Schedule::begin(Instant::now()));
        while next != self.end && delivered < self.events_max {
            if shared.tasks.is_draining() {
                return Err(Refusal::draining().with("next_offset", next).into());
            }
            let left = usize::try_from(self.events_max - delivered).unwrap_or(usize::MAX);
            let most = PieceMax { events: self.most.events.min(left), ..self.most };
            let from = next;
            let piece = self.pieces.next(from, self.end, most).await?;
            if let Some(due) = self.pieces.collector().due.take() {
                let moment = schedule.moment(due, Instant::now());
                tokio::select! {
                    () = self.pieces.keeping_little(sleep_until(moment)) => {}
                    // It is told above, and where to go on: this piece is not delivered.
                    () = shared.tasks.draining() => continue,
                    () = messages.closed() => return Ok(()),
                }
            }
            let sent = match piece.found {
                Found::Events { matched: 0, end } => {
                    next = end;
                    Ok(())
                }
                Found::Events { matched, end } => {
                    delivered += matched;
                    next = end;
                    let (events, contents) = self.pieces.collector().take_all();
                    let lag_events = self.way.distance(next, self.end);
                    let passage = Passage::new(from, next, piece.room).with(contents, lag_events);
                    let sending = messages.send_events(events, passage);
                    let sent = self.pieces.keeping_little(sending).await;
                    if sent.is_ok() {
                        shared.metrics.read(matched);
                    }
                    sent
                }
                Found::Gap { first, end, reason } => {
                    (_, next) = self.way.ends(first, end);
                    let gap = frame(Frame::Gap(wire_gap(first, end, reason)));
                    let sending = messages.send_events(gap, Passage::new(from, next, None));
                    self.pieces.keeping_little(sending).await
                }
            };
            if sent.is_err() || messages.is_closed() {
                return Ok(());
            }
        }
        let end = End {
            next_offset: next.get(),
            head_offset: self.head.get(),
            scanned_events: self.way.distance(self.start, next),
        };
        let _ = messages.send(frame(Frame::End(end))).await;
        Ok(())
    }
}

const fn frame(frame: Frame) -> ReadResponse {
    ReadResponse { frame: Some(frame) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_delay_is_caught_up_with_and_what_a_slow_reader_has_lost_is_not() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut schedule = Schedule::begin(begun);
        let mut moment = |due, now| schedule.moment(Duration::from_secs(due), now);
        assert_eq!(moment(2, begun), after(2));
        assert_eq!(moment(4, after(4) + LAG_MAX), after(4));
        // Ten seconds late: it is due at once, and what follows as long after it as ever.
        assert_eq!(moment(5, after(15)), after(15));
        assert_eq!(moment(8, after(15)), after(18));
        assert_eq!(moment(9, after(18)), after(19));
    }
}
