//! What a subscription has picked and not sent yet.

use downlink_storage::{EventRef, Offset};

use crate::grpc::query::batches::Batches;
use crate::grpc::query::encode::EncodedBatch;
use crate::grpc::query::pieces::{Collector, bytes_of};
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
    /// By `report`, into these messages.
    pub(crate) fn new(report: Option<Report>, batches: Batches) -> Self {
        Self { report, clock: Clock::History, batches, sent_events: 0, is_conflating: false }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use downlink_storage::{Quality, SignalId, Timestamp, ValueRef};

    use super::*;
    use crate::grpc::query::encode::Encoding;
    use crate::report::{Rule, Spacing, Which};

    /// Two events make a message.
    const MOST: PieceMax = PieceMax { events: 2, bytes: 1 << 20, alone: usize::MAX };

    fn events(offsets: &[u64]) -> Vec<Kept> {
        let name = Arc::from("a");
        let event = |offset: &u64| EventRef {
            offset: Offset::new(*offset).unwrap(),
            signal_id: SignalId(0),
            signal: &name,
            event_time: Timestamp::EPOCH,
            ingest_time: Timestamp::EPOCH,
            value: ValueRef::Int(0),
            quality: Quality::Good,
            source: &name,
            attributes: None,
            trace_context: &[],
        };
        offsets.iter().map(|offset| Kept::from(&event(offset))).collect()
    }

    fn take(delivery: &mut Delivery, offsets: &[u64]) {
        for event in events(offsets) {
            delivery.take(&event.event());
        }
    }

    /// After each message that waits, where to resume.
    fn places(delivery: &mut Delivery) -> Vec<Option<u64>> {
        let places = std::iter::from_fn(|| delivery.next().map(|(_, place)| place));
        places.map(|place| place.map(Offset::get)).collect()
    }

    #[test]
    fn behind_each_message_one_resumes_right_after_its_last_event() {
        let mut delivery = Delivery::new(None, Batches::new(Encoding::Rows, MOST, None));
        take(&mut delivery, &[3, 5, 6, 9, 12]);
        assert_eq!(places(&mut delivery), [Some(6), Some(10), Some(13)]);
    }

    #[test]
    fn what_is_conflated_or_reported_settles_nothing_by_itself() {
        let mut delivery = Delivery::new(None, Batches::new(Encoding::Rows, MOST, None));
        delivery.conflate(&events(&[3, 5, 6]), 1);
        assert_eq!(places(&mut delivery), [None, None]);
        // All of it has been sent: what comes next is in order again.
        take(&mut delivery, &[7]);
        assert_eq!(places(&mut delivery), [Some(8)]);

        let rule = Rule { which: Which::All, spacing: Spacing::None, resend: None };
        let mut delivery =
            Delivery::new(Some(Report::new(rule, 0)), Batches::new(Encoding::Rows, MOST, None));
        take(&mut delivery, &[3, 5, 6]);
        assert_eq!(places(&mut delivery), [None, None]);
    }
}
