//! `Read`, and what it shares with `Subscribe`: pieces of the log as messages.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use downlink_proto::v1::read_response::{End, Frame};
use downlink_proto::v1::{self, ErrorReason, OnDamage, OnTruncated, ReadRequest, ReadResponse, gap};
use downlink_storage::{Error, EventRef, Offset, Timestamp};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;

use super::Shared;
use super::departure::SMALL_BYTES;
use super::encode::{Encoder, Encoding};
use super::outbox::{Outbox, Passage, Sender, outbox};
use super::position::{Place, place, resolve};
use super::request::{choice, encoding, filter, invalid, pace};
use super::status::{Refusal, status};
use crate::follow::Missing;
use crate::query::filter::Filter;
use crate::query::pace::{Pace, SLICE};
use crate::query::{Found, PieceMax, Reach, Scan, Way, value_bytes};

/// A reader who makes its next message wait for longer does not keep what it is made from.
const PAUSE: Duration = Duration::from_millis(100);
/// A piece of so many offsets is read where it stands if it is in memory and quick to filter.
const INLINE_OFFSETS_MAX: u64 = 1_000;
/// A replay at a pace that is later than this goes on from where it is, instead of catching up.
const LAG_MAX: Duration = Duration::from_secs(1);
/// What an event makes on the wire beside its names and its value, about.
const EVENT_BYTES: usize = 64;

/// A piece of the log.
pub(crate) struct Piece {
    /// What it is.
    pub(crate) found: Found,
    /// When the log took the last of its events in.
    pub(crate) ingest_time: Option<Timestamp>,
    /// Room for its message, if it is large.
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

/// Where the events of a piece go.
pub(crate) trait Collector: Send + 'static {
    /// Takes the next event, and says about how many bytes it makes; `None` if it does not belong to this piece any
    /// more, which it may not say of the first.
    fn take(&mut self, event: &EventRef<'_>) -> Option<usize>;
}

/// Those of a replay, as they go out.
struct Outgoing {
    pace: Option<Pace>,
    encoder: Encoder,
    /// When the first of them is due, since the beginning of a replay at a pace.
    due: Option<Duration>,
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
        Some(bytes_of(event))
    }
}

/// Gets piece after piece, off the runtime where that may take time.
pub(crate) struct Pieces<C> {
    shared: Arc<Shared>,
    way: Way,
    /// Elsewhere while a piece is read.
    reading: Option<(Scan, C)>,
    on_truncated: OnTruncated,
    on_damage: OnDamage,
}

impl<C: Collector> Pieces<C> {
    /// Of what `filter` wants, for `collector`.
    pub(crate) fn new(
        shared: Arc<Shared>,
        (filter, way): (Filter, Way),
        collector: C,
        (on_truncated, on_damage): (OnTruncated, OnDamage),
    ) -> Self {
        let reading = Some((Scan::new(shared.log.clone(), filter, way), collector));
        Self { shared, way, reading, on_truncated, on_damage }
    }

    /// Where the events go.
    pub(crate) fn collector(&mut self) -> &mut C {
        &mut self.reading.as_mut().expect("given back after every piece").1
    }

    fn scan(&mut self) -> &mut Scan {
        &mut self.reading.as_mut().expect("given back after every piece").0
    }

    /// The next piece from `from`, not beyond `until`. One that is larger than a share is made when there is room.
    pub(crate) async fn next(
        &mut self,
        from: Offset,
        until: Offset,
        most: PieceMax,
    ) -> Result<Piece, Status> {
        let share = self.shared.reader_share_bytes();
        let most = PieceMax { bytes: most.bytes.min(share), alone: share.max(SMALL_BYTES), ..most };
        let piece = self.get(from, until, most).await?;
        let (Some(bytes), Found::Events { end, .. }) = (self.take_large(), piece.found) else {
            return Ok(piece);
        };
        let shared = self.shared.clone();
        let room = self.keeping_little(async {
            tokio::select! {
                room = shared.departures.room(bytes) => Ok(room),
                () = shared.tasks.draining() => Err(status(Error::Closed)),
            }
        });
        let room = room.await?;
        let piece = self.get(end, until, PieceMax { alone: usize::MAX, ..most }).await?;
        let room = matches!(piece.found, Found::Events { .. }).then_some(room);
        Ok(Piece { room, ..piece })
    }

    /// Waits for `what`, and if that takes long gives back what the next piece could be made from at once.
    pub(crate) async fn keeping_little<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        match timeout(PAUSE, &mut what).await {
            Ok(done) => done,
            Err(_) => {
                self.forget();
                what.await
            }
        }
    }

    /// Gives back what the next piece could be made from at once.
    pub(crate) fn forget(&mut self) {
        self.scan().forget();
    }

    fn take_large(&mut self) -> Option<usize> {
        self.scan().take_large()
    }

    async fn get(&mut self, from: Offset, until: Offset, most: PieceMax) -> Result<Piece, Status> {
        let (mut scan, mut collector) = self.reading.take().expect("given back after every piece");
        let is_short = self.way.distance(from, until) <= INLINE_OFFSETS_MAX;
        let result = if is_short && scan.is_quick() && scan.is_cached(from) {
            let result = piece(&mut scan, (from, until), most, Reach::Memory, &mut collector);
            self.reading = Some((scan, collector));
            result
        } else {
            let reading = move || {
                (piece(&mut scan, (from, until), most, Reach::Disk, &mut collector), (scan, collector))
            };
            let (result, reading) = self.shared.disk("read", reading).await?;
            self.reading = Some(reading);
            result
        };
        match result {
            Ok(piece) => self.judge(piece),
            Err(Error::Truncated { offset, oldest }) => match self.way {
                Way::Forwards if oldest > from => self.truncated(from, oldest.min(until)),
                // Nothing is left from here down.
                Way::Backwards if oldest >= from => self.truncated(until, from),
                Way::Forwards | Way::Backwards => Err(status(Error::Truncated { offset, oldest })),
            },
            Err(error) => Err(status(error)),
        }
    }

    /// A gap that the reader does not want is an error.
    fn judge(&self, piece: Piece) -> Result<Piece, Status> {
        let Found::Gap { first, end, reason } = piece.found else { return Ok(piece) };
        match reason {
            Missing::Retention => self.truncated(first, end),
            Missing::Damage if self.on_damage == OnDamage::Fail => {
                let last = end.get() - 1;
                let message = format!("events {first} to {last} are damaged on disk");
                Err(Refusal::new(ErrorReason::BlockCorrupt, message)
                    .with("first_offset", first)
                    .with("last_offset", last)
                    .into())
            }
            Missing::Damage => Ok(piece),
        }
    }

    /// What to do about offsets that retention has removed.
    pub(crate) fn truncated(&self, first: Offset, end: Offset) -> Result<Piece, Status> {
        match self.on_truncated {
            OnTruncated::Skip => {
                let found = Found::Gap { first, end, reason: Missing::Retention };
                Ok(Piece { found, ingest_time: None, room: None })
            }
            OnTruncated::Unspecified | OnTruncated::Fail => {
                Err(status(Error::Truncated { offset: first, oldest: self.shared.log.oldest() }))
            }
        }
    }
}

fn piece(
    scan: &mut Scan,
    range: (Offset, Offset),
    most: PieceMax,
    reach: Reach,
    collector: &mut impl Collector,
) -> Result<Piece, Error> {
    let mut ingest_time = None;
    let found = scan.read(range, most, reach, &mut |event| {
        ingest_time = Some(event.ingest_time);
        collector.take(event)
    })?;
    Ok(Piece { found, ingest_time, room: None })
}

/// How many bytes an event makes on the wire, about.
pub(crate) fn bytes_of(event: &EventRef<'_>) -> usize {
    let attributes =
        event.attributes.map_or(0, |all| all.iter().map(|(key, value)| key.len() + value.len() + 8).sum());
    EVENT_BYTES
        + event.signal.len()
        + event.source.len()
        + value_bytes(event.value)
        + attributes
        + event.trace_context.len()
}

/// A gap on the wire.
pub(crate) fn wire_gap(first: Offset, end: Offset, reason: Missing) -> v1::Gap {
    let reason = match reason {
        Missing::Retention => gap::Reason::Retention,
        Missing::Damage => gap::Reason::Corruption,
    };
    v1::Gap { first_offset: first.get(), last_offset: end.get() - 1, reason: reason.into() }
}

/// How many events a message may have, if the reader asks for `asked`.
pub(crate) fn piece_max(shared: &Shared, asked: u32) -> PieceMax {
    let config = &shared.config;
    let asked = usize::try_from(asked).unwrap_or(usize::MAX);
    let events = if asked == 0 { config.read_batch_events } else { asked.min(config.read_batch_events_max) };
    PieceMax { events, bytes: config.read_batch_bytes_max, alone: usize::MAX }
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
pub(crate) async fn serve(shared: Arc<Shared>, request: ReadRequest) -> Result<Outbox<ReadResponse>, Status> {
    let replay = plan(&shared, request).await?;
    let (messages, outbox) = outbox(&shared.departures);
    let tasks = shared.tasks.clone();
    tasks.spawn("read", async move {
        if let Err(status) = replay.run(&shared, &messages).await {
            let _ = messages.send(Err(status)).await;
        }
    });
    Ok(outbox)
}

async fn plan(shared: &Arc<Shared>, request: ReadRequest) -> Result<Replay, Status> {
    let encoding = encoding(request.encoding)?;
    if request.backwards && encoding == Encoding::Columns {
        return Err(invalid("encoding", "columns are in the order of offsets: read backwards as rows").into());
    }
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
    let outgoing = Outgoing { pace, encoder: Encoder::new(encoding), due: None };
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
    fn begin() -> Self {
        Self { beginning: Instant::now() }
    }

    /// Waits until `due` after the beginning. What a slow reader has lost is not made up for.
    async fn reach(&mut self, due: Duration) {
        let (moment, now) = (self.beginning + due, Instant::now());
        if now > moment + LAG_MAX {
            self.beginning += now - moment;
        } else {
            sleep_until(moment).await;
        }
    }
}

impl Replay {
    async fn run(mut self, shared: &Shared, messages: &Sender<ReadResponse>) -> Result<(), Status> {
        let (mut next, mut delivered, mut schedule) = (self.start, 0, Schedule::begin());
        while next != self.end && delivered < self.events_max {
            if shared.tasks.is_draining() {
                let refusal = Refusal::new(ErrorReason::Draining, "the server is about to stop");
                return Err(refusal.with("next_offset", next).into());
            }
            let left = usize::try_from(self.events_max - delivered).unwrap_or(usize::MAX);
            let most = PieceMax { events: self.most.events.min(left), ..self.most };
            let from = next;
            let piece = self.pieces.next(from, self.end, most).await?;
            if let Some(due) = self.pieces.collector().due.take() {
                tokio::select! {
                    () = self.pieces.keeping_little(schedule.reach(due)) => {}
                    // It is told above, and where to go on: this piece is not delivered.
                    () = shared.tasks.draining() => continue,
                    () = messages.closed() => return Ok(()),
                }
            }
            let frame = match piece.found {
                Found::Events { matched, end } => {
                    delivered += matched;
                    next = end;
                    (matched > 0).then(|| Frame::Events(self.pieces.collector().encoder.take()))
                }
                Found::Gap { first, end, reason } => {
                    (_, next) = self.way.ends(first, end);
                    Some(Frame::Gap(wire_gap(first, end, reason)))
                }
            };
            if frame.is_some() {
                let passage = Passage::new(from, next, piece.room);
                let sending = messages.send_events(ReadResponse { frame }, passage);
                if self.pieces.keeping_little(sending).await.is_err() {
                    return Ok(());
                }
            }
            if messages.is_closed() {
                return Ok(());
            }
        }
        let end = End {
            next_offset: next.get(),
            head_offset: self.head.get(),
            scanned_events: self.way.distance(self.start, next),
        };
        let _ = messages.send(Ok(ReadResponse { frame: Some(Frame::End(end)) })).await;
        Ok(())
    }
}
