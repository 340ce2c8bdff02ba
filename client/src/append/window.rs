//! What has been handed over and is not yet settled: the appender's state, without its input and output.

use std::collections::VecDeque;

use downlink_proto::v1::append_stream_response::{Ack, Opened, Reject};

use super::{EncodedBatch, RejectedBatch, Totals};
use crate::{Error, Refusal};

/// The batches in flight, oldest first, and what is known of those before them.
#[derive(Debug, Default)]
pub(crate) struct Window {
    url: String,
    /// The log's identity; empty before the first `Opened`.
    log_id: String,
    pending: VecDeque<Pending>,
    /// How many of the pending have been sent over the present connection.
    sent: usize,
    /// Every batch up to this sequence is on disk or refused.
    settled_sequence: u64,
    /// How many batches at the very end of the settled ones were refused as a whole: the log need not
    /// remember their sequences over a restart.
    refused_tail: u64,
    totals: Totals,
}

#[derive(Debug)]
struct Pending {
    batch: EncodedBatch,
    rejected_events: u32,
}

impl Window {
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), ..Self::default() }
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes a batch over. It gets the next sequence.
    pub(crate) fn push(&mut self, batch: EncodedBatch) {
        self.pending.push_back(Pending { batch, rejected_events: 0 });
    }

    /// The next batch to send over the present connection, and its sequence.
    pub(crate) fn next_to_send(&mut self) -> Option<(u64, EncodedBatch)> {
        let batch = self.pending.get(self.sent)?.batch.clone();
        self.sent += 1;
        Some((self.settled_sequence + self.sent as u64, batch))
    }

    /// Takes note of a fresh connection: the log says what it has, the rest is to be sent again.
    /// Gives the number of handed-over batches that turned out to be settled.
    pub(crate) fn opened(&mut self, opened: &Opened) -> Result<usize, Error> {
        let durable = opened.last_durable_sequence;
        self.sent = 0;
        if self.log_id.is_empty() {
            self.log_id.clone_from(&opened.log_id);
            self.settled_sequence = durable;
        }
        if self.log_id != opened.log_id {
            let (before, now) = (self.log_id.clone(), opened.log_id.clone());
            return Err(Error::LogReplaced { url: self.url.clone(), before, now });
        }
        if durable + self.refused_tail < self.settled_sequence {
            let (first, last) = (durable + 1, self.settled_sequence - self.refused_tail);
            return Err(Error::AcknowledgedLost { url: self.url.clone(), first, last });
        }
        // Refused batches that the log has forgotten give their sequences free: the next batches get them.
        let forgotten = self.settled_sequence.saturating_sub(durable);
        self.settled_sequence -= forgotten;
        self.refused_tail -= forgotten;
        let settled = self.settle(durable)?;
        self.totals.last_offset = self.totals.last_offset.max(opened.last_offset);
        Ok(settled)
    }

    /// Takes note of an acknowledgement. Gives the number of handed-over batches that it settles.
    pub(crate) fn acked(&mut self, ack: &Ack) -> Result<usize, Error> {
        if ack.through_sequence > self.settled_sequence + self.sent as u64 {
            return Err(self.protocol(format!("an acknowledgement of {}, never sent", ack.through_sequence)));
        }
        let settled = self.settle(ack.through_sequence)?;
        self.totals.last_offset = self.totals.last_offset.max(ack.last_offset);
        Ok(settled)
    }

    /// Takes note of a refusal. What it refuses is given back, unless the batch was refused before, over an earlier
    /// connection. The batch is settled by a later `Ack`.
    pub(crate) fn rejected(&mut self, reject: &Reject) -> Result<Option<RejectedBatch>, Error> {
        let place = reject.sequence.checked_sub(self.settled_sequence + 1).map(|place| place as usize);
        let Some(pending) = place.and_then(|place| self.pending.get_mut(place)) else {
            return Err(self.protocol(format!("a refusal of {}, not in flight", reject.sequence)));
        };
        let rejected = RejectedBatch::new(reject, pending.batch.events);
        if rejected.events > pending.batch.events {
            let (sequence, events) = (reject.sequence, pending.batch.events);
            let reason =
                format!("{} refusals in batch {sequence}, which has {events} events", rejected.events);
            return Err(self.protocol(reason));
        }
        let is_known = pending.rejected_events > 0;
        pending.rejected_events = rejected.events;
        Ok((!is_known).then_some(rejected))
    }

    /// Forgets what has been sent: the connection is gone.
    pub(crate) fn disconnected(&mut self) {
        self.sent = 0;
    }

    fn settle(&mut self, through: u64) -> Result<usize, Error> {
        let count = through.saturating_sub(self.settled_sequence) as usize;
        if count > self.pending.len() {
            // Another process goes by the same name.
            return Err(self.protocol(format!("batch {through} of this producer, which it has not sent")));
        }
        for Pending { batch, rejected_events } in self.pending.drain(..count) {
            self.totals.rejected_events += u64::from(rejected_events);
            self.totals.durable_events += u64::from(batch.events - rejected_events);
            let refused = rejected_events == batch.events;
            self.refused_tail = if refused { self.refused_tail + 1 } else { 0 };
        }
        self.settled_sequence += count as u64;
        self.sent = self.sent.saturating_sub(count);
        self.totals.batches += count as u64;
        Ok(count)
    }

    fn protocol(&self, reason: String) -> Error {
        Error::Protocol { url: self.url.clone(), reason }
    }
}

impl RejectedBatch {
    fn new(reject: &Reject, batch_events: u32) -> Self {
        let refusal = |problem: &Option<_>| Refusal::from_problem(&problem.clone().unwrap_or_default());
        let rejections: Vec<_> =
            reject.rejections.iter().map(|one| (one.index, refusal(&one.problem))).collect();
        let first = rejections.first().map(|(_, refusal)| refusal.clone());
        Self {
            sequence: reject.sequence,
            events: if rejections.is_empty() { batch_events } else { rejections.len() as u32 },
            refusal: match (&reject.problem, first) {
                (None, Some(first)) => first,
                (Some(_), _) | (None, None) => refusal(&reject.problem),
            },
            rejections,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(events: u32) -> EncodedBatch {
        EncodedBatch { body: vec![0; 3].into(), events }
    }

    fn opened(sequence: u64) -> Opened {
        Opened { last_durable_sequence: sequence, log_id: "one".to_owned(), ..Opened::default() }
    }

    fn ack(sequence: u64) -> Ack {
        Ack { through_sequence: sequence, ..Ack::default() }
    }

    #[test]
    fn a_producer_goes_on_behind_what_is_on_disk() {
        let mut window = Window::new("http://log");
        window.opened(&opened(7)).unwrap();
        window.push(batch(10));
        assert_eq!(window.next_to_send(), Some((8, batch(10))));
        assert_eq!(window.next_to_send(), None);
        assert_eq!(window.acked(&ack(8)).unwrap(), 1);
        assert_eq!((window.totals().durable_events, window.is_empty()), (10, true));
    }

    #[test]
    fn another_log_or_an_older_copy_is_noticed() {
        let mut window = Window::new("http://log");
        window.opened(&opened(0)).unwrap();
        window.push(batch(1));
        window.next_to_send();
        window.acked(&ack(1)).unwrap();
        assert!(matches!(window.opened(&opened(0)), Err(Error::AcknowledgedLost { first: 1, last: 1, .. })));
        let other = Opened { log_id: "two".to_owned(), ..opened(1) };
        assert!(matches!(window.opened(&other), Err(Error::LogReplaced { .. })));
    }

    #[test]
    fn the_sequence_of_a_forgotten_refusal_is_used_again() {
        let mut window = Window::new("http://log");
        window.opened(&opened(0)).unwrap();
        window.push(batch(5));
        window.next_to_send();
        let refused = window.rejected(&Reject { sequence: 1, ..Reject::default() }).unwrap();
        assert_eq!(refused.unwrap().events, 5);
        window.acked(&ack(1)).unwrap();
        // The server restarts and knows nothing of sequence 1.
        window.disconnected();
        window.push(batch(3));
        window.opened(&opened(0)).unwrap();
        assert_eq!(window.next_to_send(), Some((1, batch(3))));
        window.acked(&ack(1)).unwrap();
        assert_eq!((window.totals().durable_events, window.totals().rejected_events), (3, 5));
    }

    #[test]
    fn what_was_never_sent_is_not_acknowledged() {
        let mut window = Window::new("http://log");
        window.opened(&opened(0)).unwrap();
        window.push(batch(1));
        assert!(matches!(window.acked(&ack(1)), Err(Error::Protocol { .. })));
        assert!(matches!(window.opened(&opened(2)), Err(Error::Protocol { .. })));
    }

    #[test]
    fn more_refusals_than_events_break_the_protocol() {
        let mut window = Window::new("http://log");
        window.opened(&opened(0)).unwrap();
        window.push(batch(1));
        window.next_to_send();
        let reject = Reject { sequence: 1, rejections: vec![Default::default(); 2], ..Reject::default() };
        assert!(matches!(window.rejected(&reject), Err(Error::Protocol { .. })));
        window.acked(&ack(1)).unwrap();
        assert_eq!(window.totals().durable_events, 1);
    }

    #[test]
    fn a_refusal_counts_once_over_many_connections() {
        let mut window = Window::new("http://log");
        window.opened(&opened(0)).unwrap();
        window.push(batch(5));
        window.next_to_send();
        let reject = Reject { sequence: 1, rejections: vec![Default::default()], ..Reject::default() };
        assert_eq!(window.rejected(&reject).unwrap().unwrap().events, 1);
        window.disconnected();
        window.opened(&opened(0)).unwrap();
        window.next_to_send();
        assert!(window.rejected(&reject).unwrap().is_none());
        window.disconnected();
        // The batch was on disk, only its acknowledgement was lost.
        assert_eq!(window.opened(&opened(1)).unwrap(), 1);
        assert_eq!((window.totals().durable_events, window.totals().rejected_events), (4, 1));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Send,
        /// The log takes some of what is under way in, and acknowledges some of that.
        Take(usize, usize),
        Cut,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Push),
            4 => Just(Step::Send),
            3 => (0..5_usize, 0..5_usize).prop_map(|(taken, acked)| Step::Take(taken, acked)),
            1 => Just(Step::Cut),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        /// Every batch gets into the log once and in order, wherever the connection is cut.
        #[test]
        fn no_batch_is_lost_or_doubled(steps in steps()) {
            let (mut window, mut log, mut wire) = (Window::new("http://log"), Vec::new(), VecDeque::new());
            window.opened(&opened(0)).unwrap();
            let mut pushed = 0;
            for step in steps.into_iter().chain([Step::Cut]) {
                match step {
                    Step::Push => {
                        pushed += 1;
                        window.push(batch(pushed));
                    }
                    Step::Send => wire.extend(window.next_to_send()),
                    Step::Take(taken, acked) => {
                        for (sequence, batch) in wire.drain(..taken.min(wire.len())) {
                            prop_assert_eq!(sequence, log.len() as u64 + 1, "a gap or a double");
                            log.push(batch.events);
                        }
                        window.acked(&ack(acked.min(log.len()) as u64)).unwrap();
                    }
                    Step::Cut => {
                        wire.clear();
                        window.disconnected();
                        window.opened(&opened(log.len() as u64)).unwrap();
                    }
                }
            }
            while let Some((sequence, batch)) = window.next_to_send() {
                prop_assert_eq!(sequence, log.len() as u64 + 1);
                log.push(batch.events);
            }
            window.acked(&ack(log.len() as u64)).unwrap();
            prop_assert!(window.is_empty());
            prop_assert_eq!(log, (1..=pushed).collect::<Vec<_>>());
            prop_assert_eq!(window.totals().durable_events, (1..=u64::from(pushed)).sum::<u64>());
        }
    }
}
