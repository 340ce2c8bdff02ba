//! Pieces of the log for a reader's messages: got off the runtime where that may take time, in bounded memory.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use downlink_proto::v1::{self, ErrorReason, OnDamage, OnTruncated, gap};
use downlink_storage::{Error, EventRef, Offset, Timestamp};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tonic::Status;

use crate::follow::Missing;
use crate::grpc::Shared;
use crate::grpc::outbox::departure::SMALL_BYTES;
use crate::grpc::status::{Refusal, status};
use crate::metrics::Invariant;
use crate::query::filter::Filter;
use crate::query::{Effort, Found, PieceMax, Reach, Scan, Way, value_bytes};

/// A reader who makes its next message wait for longer does not keep what it is made from.
const PAUSE: Duration = Duration::from_millis(100);
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
        let effort = scan.effort(from, until, most.events);
        let reading = move || {
            let piece = piece(&mut scan, (from, until), most, effort.reach(), &mut collector);
            (piece, (scan, collector))
        };
        let (result, reading) = match effort {
            Effort::Quick => reading(),
            Effort::Recent => self.shared.blocking("read", reading).await?,
            Effort::History(Reach::Memory) => self.shared.history("read", reading).await?,
            Effort::History(Reach::Disk) => self.shared.disk("read", reading).await?,
        };
        self.reading = Some(reading);
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
        if reason == Missing::Damage {
            self.shared.metrics.violated(Invariant::BlockReadable);
        }
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
