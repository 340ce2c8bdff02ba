//! Which events of each signal a subscriber is sent, and when: a state machine without I/O and without a clock.
//!
//! Time is the server's clock: in history as it was, which is the ingest time of the events; once live as it is. It
//! never runs backwards. In history an interval of a signal also ends when the signal's own event times say so, so
//! that events which were recorded at another pace than they happened are reported as if they had come in time.
//! What is sent from history follows from the log alone, not from when or how fast it is read.

mod change;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

pub(crate) use change::Deadband;
use downlink_storage::{EventRef, Offset, Quality, SignalId, Timestamp, Value};

use crate::query::kept::Kept;

/// Nanoseconds since the Unix epoch.
pub(crate) type Nanos = i128;

/// Which events are worth sending.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Which {
    /// All.
    All,
    /// Those that say something else than the one sent last.
    Changes(Deadband),
}

/// How far apart the events of a signal are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Spacing {
    /// As they come.
    None,
    /// At least so far. The newest of those that come earlier waits.
    AtLeast(Duration),
    /// The newest, at the end of each period of this length; periods begin at multiples of it since the epoch.
    Sampled(Duration),
}

/// What a subscriber wants to be sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    /// Which events.
    pub(crate) which: Which,
    /// How far apart.
    pub(crate) spacing: Spacing,
    /// After how long the newest event is sent again, or at all.
    pub(crate) resend: Option<Duration>,
}

/// What time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// That of the event.
    History,
    /// The present.
    Live(Nanos),
}

/// The state of one subscriber.
#[derive(Debug)]
pub(crate) struct Report {
    rule: Rule,
    now: Nanos,
    signals: HashMap<SignalId, Signal>,
    /// When something is to be done about which signal.
    due: BTreeSet<(Nanos, SignalId)>,
    /// Offsets of the events that wait.
    waiting: BTreeSet<Offset>,
    sent_events: u64,
    bytes: usize,
}

/// What is remembered of a signal.
#[derive(Debug, Default)]
struct Signal {
    sent: Option<Sent>,
    /// Kept while it waits, or to be sent again.
    newest: Option<Newest>,
    /// Until when the newest waits.
    wait: Option<Wait>,
    due: Option<Nanos>,
}

/// What was sent last.
#[derive(Debug)]
struct Sent {
    /// Only where changes matter.
    said: Option<(Value, Quality)>,
    at: Nanos,
    /// The same by the signal's event times.
    event_time: Nanos,
}

#[derive(Debug)]
struct Newest {
    event: Kept,
    was_sent: bool,
}

/// The end of an interval, by both clocks.
#[derive(Clone, Copy, Debug)]
struct Wait {
    at: Nanos,
    event_time: Nanos,
}

impl Wait {
    fn is_over(self, now: Nanos, event_now: Option<Nanos>) -> bool {
        now >= self.at || event_now.is_some_and(|time| time >= self.event_time)
    }
}

impl Rule {
    /// Until when an event of a signal has to wait, if it has to.
    fn wait(&self, sent: Option<&Sent>, now: Nanos, event_time: Nanos) -> Option<Wait> {
        match self.spacing {
            Spacing::None => None,
            Spacing::AtLeast(interval) => sent.map(|sent| Wait {
                at: sent.at + length(interval),
                event_time: sent.event_time + length(interval),
            }),
            Spacing::Sampled(period) => {
                let end = |time: Nanos| (time.div_euclid(length(period)) + 1) * length(period);
                Some(Wait { at: end(now), event_time: end(event_time) })
            }
        }
    }

    /// How far the next event of a signal is from one that was sent.
    fn interval(&self) -> Nanos {
        match self.spacing {
            Spacing::None | Spacing::Sampled(_) => 0,
            Spacing::AtLeast(interval) => length(interval),
        }
    }
}

impl Report {
    /// By `rule`, from `now` on.
    #[must_use]
    pub(crate) fn new(rule: Rule, now: Nanos) -> Self {
        Self {
            rule,
            now,
            signals: HashMap::new(),
            due: BTreeSet::new(),
            waiting: BTreeSet::new(),
            sent_events: 0,
            bytes: 0,
        }
    }

    /// What time it is by all that has happened so far.
    #[must_use]
    pub(crate) const fn now(&self) -> Nanos {
        self.now
    }

    /// How many of the events taken have been sent, each counted once.
    #[must_use]
    pub(crate) const fn sent_events(&self) -> u64 {
        self.sent_events
    }

    /// How many signals are remembered.
    #[must_use]
    pub(crate) fn signals(&self) -> usize {
        self.signals.len()
    }

    /// About how much memory that takes.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When [`Self::advance`] will have something to send.
    #[must_use]
    pub(crate) fn next_due(&self) -> Option<Nanos> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Where to resume if everything below `next` has been taken: not beyond an event that waits.
    #[must_use]
    pub(crate) fn settled(&self, next: Offset) -> Offset {
        self.waiting.first().copied().unwrap_or(next).min(next)
    }

    /// A signal's newest event, which the subscriber is sent in any case.
    pub(crate) fn begin_with(&mut self, event: &EventRef<'_>) {
        let (rule, now) = (self.rule, self.now);
        self.change(event.signal_id, |signal| {
            signal.note_sent(&rule, event, now, 0);
            signal.newest = rule.resend.map(|_| Newest { event: Kept::from(event), was_sent: true });
            0
        });
    }

    /// The next event. What is to be sent by now goes to `send`: of each signal in the order of the log.
    pub(crate) fn take(&mut self, event: &EventRef<'_>, clock: Clock, send: &mut dyn FnMut(&EventRef<'_>)) {
        let (now, event_now) = match clock {
            Clock::History => (nanos(event.ingest_time), Some(nanos(event.event_time))),
            Clock::Live(now) => (now, None),
        };
        self.advance(now, send);
        let (rule, now) = (self.rule, self.now);
        self.change(event.signal_id, |signal| {
            let released = match signal.wait {
                Some(wait) if wait.is_over(now, event_now) => {
                    signal.send_newest(&rule, now, rule.interval(), send)
                }
                Some(_) | None => 0,
            };
            released + signal.take(&rule, event, (now, event_now), send)
        });
    }

    /// It is `now`: what has waited for that goes to `send`, in the order of the log.
    pub(crate) fn advance(&mut self, now: Nanos, send: &mut dyn FnMut(&EventRef<'_>)) {
        self.now = self.now.max(now);
        let (rule, now) = (self.rule, self.now);
        let due = self.due.range(..=(now, SignalId(u32::MAX))).map(|&(_, id)| id);
        let mut due: Vec<_> = due.map(|id| (self.signals[&id].newest_offset(), id)).collect();
        due.sort_unstable();
        for (_, id) in due {
            self.change(id, |signal| {
                let interval = match (signal.wait, rule.resend) {
                    (None, Some(resend)) => length(resend),
                    (Some(_), _) | (None, None) => rule.interval(),
                };
                signal.send_newest(&rule, now, interval, send)
            });
        }
    }

    /// Changes what is remembered of a signal by `change`, which says how many events it has sent for the first
    /// time.
    fn change(&mut self, id: SignalId, change: impl FnOnce(&mut Signal) -> u64) {
        let known = self.signals.len();
        let signal = self.signals.entry(id).or_default();
        let (bytes, waiting, due) = (signal.bytes(), signal.waiting(), signal.due);
        self.sent_events += change(signal);
        signal.due = signal.next_due(&self.rule);
        if signal.due != due {
            due.map(|due| self.due.remove(&(due, id)));
            signal.due.map(|due| self.due.insert((due, id)));
        }
        if signal.waiting() != waiting {
            waiting.map(|offset| self.waiting.remove(&offset));
            signal.waiting().map(|offset| self.waiting.insert(offset));
        }
        self.bytes = self.bytes + signal.bytes() - bytes;
        if self.signals.len() > known {
            self.bytes += SIGNAL_BYTES;
        }
    }
}

/// What a signal costs beside its events: its entries in a map and two sets.
const SIGNAL_BYTES: usize = size_of::<Signal>() + 128;

impl Signal {
    fn take(
        &mut self,
        rule: &Rule,
        event: &EventRef<'_>,
        (now, event_now): (Nanos, Option<Nanos>),
        send: &mut dyn FnMut(&EventRef<'_>),
    ) -> u64 {
        if !self.is_news(rule, event, event_now) {
            // What waited has been taken back.
            self.wait = None;
            self.newest = rule.resend.map(|_| Newest { event: Kept::from(event), was_sent: false });
            return 0;
        }
        let wait = self.wait.or_else(|| rule.wait(self.sent.as_ref(), now, nanos(event.event_time)));
        self.wait = wait.filter(|wait| !wait.is_over(now, event_now));
        if self.wait.is_some() {
            self.newest = Some(Newest { event: Kept::from(event), was_sent: false });
            return 0;
        }
        send(event);
        self.note_sent(rule, event, now, rule.interval());
        self.newest = rule.resend.map(|_| Newest { event: Kept::from(event), was_sent: true });
        1
    }

    /// Whether the subscriber is to get `event`, now or later.
    fn is_news(&self, rule: &Rule, event: &EventRef<'_>, event_now: Option<Nanos>) -> bool {
        let (Which::Changes(deadband), Some(sent)) = (rule.which, &self.sent) else { return true };
        let Some((value, quality)) = &sent.said else { return true };
        let is_resent =
            rule.resend.zip(event_now).is_some_and(|(resend, time)| time >= sent.event_time + length(resend));
        is_resent || deadband.is_left(value, *quality, event)
    }

    /// Sends the newest event, which has waited, or is sent again.
    fn send_newest(
        &mut self,
        rule: &Rule,
        now: Nanos,
        interval: Nanos,
        send: &mut dyn FnMut(&EventRef<'_>),
    ) -> u64 {
        let newest = self.newest.take().expect("what is due has an event");
        send(&newest.event.event());
        self.note_sent(rule, &newest.event.event(), now, interval);
        self.wait = None;
        self.newest = rule.resend.map(|_| Newest { was_sent: true, ..newest });
        u64::from(!newest.was_sent)
    }

    /// By the signal's event times the next interval begins where this one has ended, but never before the event.
    fn note_sent(&mut self, rule: &Rule, event: &EventRef<'_>, now: Nanos, interval: Nanos) {
        let time = nanos(event.event_time);
        let event_time = self.sent.as_ref().map_or(time, |before| time.max(before.event_time + interval));
        let said = match rule.which {
            Which::All => None,
            Which::Changes(_) => Some((event.value.to_value(), event.quality)),
        };
        self.sent = Some(Sent { said, at: now, event_time });
    }

    fn next_due(&self, rule: &Rule) -> Option<Nanos> {
        let resent = || Some(self.sent.as_ref()?.at + length(rule.resend?));
        self.newest.as_ref().and_then(|_| self.wait.map(|wait| wait.at).or_else(resent))
    }

    fn newest_offset(&self) -> Option<Offset> {
        self.newest.as_ref().map(|newest| newest.event.offset())
    }

    fn waiting(&self) -> Option<Offset> {
        self.wait.and(self.newest_offset())
    }

    fn bytes(&self) -> usize {
        let said = self.sent.as_ref().and_then(|sent| sent.said.as_ref());
        self.newest.as_ref().map_or(0, |newest| newest.event.bytes())
            + said.map_or(0, |(value, _)| crate::query::value_bytes(value.as_ref()))
    }
}

/// A moment as a number.
pub(crate) fn nanos(time: Timestamp) -> Nanos {
    time.unix_nanos()
}

fn length(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).expect("a duration is below 2^96 ns")
}

#[cfg(test)]
mod tests;
