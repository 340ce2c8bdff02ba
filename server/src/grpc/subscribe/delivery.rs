//! What a subscription has picked and not sent yet.

use downlink_storage::{EventRef, Offset};

use crate::grpc::batches::Batches;
use crate::grpc::encode::{EncodedBatch, Encoding};
use crate::grpc::pieces::{Collector, bytes_of};
use crate::query::PieceMax;
use crate::query::kept::Kept;
use crate::report::{Clock, Nanos, Report};

/// Events on their way through the report, if there is one, into messages.
#[derive(Debug)]
pub(crate) struct Delivery {
    report: Option<Report>,
    clock: Clock,
    batches: Batches,
    sent_events: u64,
    /// Some of what waits to be sent stands for other events as well.
    is_conflating: bool,
}

impl Delivery {
    /// By `report`, in messages of at most `most`.
    pub(crate) fn new(report: Option<Report>, encoding: Encoding, most: PieceMax) -> Self {
        Self {
            report,
            clock: Clock::History,
            batches: Batches::new(encoding, most),
            sent_events: 0,
            is_conflating: false,
        }
    }

    /// From here on it is this time.
    pub(crate) fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
        if let (Clock::Live(now), Some(report)) = (clock, &mut self.report) {
            report.advance(now, &mut |event| {
                self.batches.push(event);
            });
        }
    }

    /// The newest events of all signals, which go first; it is `now`.
    pub(crate) fn begin_with(&mut self, newest: &[Kept], now: Nanos) {
        if let Some(report) = &mut self.report {
            report.advance(now, &mut |_| {});
            newest.iter().for_each(|event| report.begin_with(&event.event()));
        }
        for event in newest {
            self.batches.push(&event.event());
        }
    }

    /// The newest events of all signals instead of so many others.
    pub(crate) fn conflate(&mut self, newest: &[Kept], conflated_events: u64) {
        for event in newest {
            self.take(&event.event());
        }
        self.batches.note_conflated(conflated_events);
        self.is_conflating = true;
    }

    /// How many of the events taken have been sent, or are about to be, each counted once.
    pub(crate) fn sent_events(&self) -> u64 {
        self.report.as_ref().map_or(self.sent_events, Report::sent_events)
    }

    /// Where to resume if everything below `next` has been taken and all messages are sent.
    pub(crate) fn settled(&self, next: Offset) -> Offset {
        self.report.as_ref().map_or(next, |report| report.settled(next))
    }

    /// The report, if there is one.
    pub(crate) const fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    /// When something will have waited long enough.
    pub(crate) fn next_due(&self) -> Option<Nanos> {
        self.report.as_ref()?.next_due()
    }

    /// What the next piece may add.
    pub(crate) fn room(&self) -> PieceMax {
        self.batches.room()
    }

    /// About how many bytes the messages have that wait to be sent.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.batches.full_bytes()
    }

    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether waiting for company is over.
    pub(crate) fn is_ready(&self) -> bool {
        self.batches.is_ready()
    }

    /// The next message, and where to resume after it, if that lies further on because of it.
    pub(crate) fn next(&mut self) -> Option<(EncodedBatch, Option<Offset>)> {
        let (batch, last_offset) = self.batches.next()?;
        // What a report picks is not in order, and what is conflated is settled by all of it together.
        let is_in_order = self.report.is_none() && !self.is_conflating;
        self.is_conflating &= !self.batches.is_empty();
        Some((batch, last_offset.map(|last| last.plus(1)).filter(|_| is_in_order)))
    }
}

impl Collector for Delivery {
    fn take(&mut self, event: &EventRef<'_>) -> Option<usize> {
        Some(match &mut self.report {
            Some(report) => {
                report.take(event, self.clock, &mut |event| {
                    self.batches.push(event);
                });
                // Also what is kept back takes memory.
                bytes_of(event)
            }
            None => {
                self.sent_events += 1;
                self.batches.push(event)
            }
        })
    }
}
