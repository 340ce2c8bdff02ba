//! A session: its subscriptions, what it has to send, and what it keeps for recovery. No I/O.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use downlink_client::iss::update::Update;

use super::Trouble;
use super::encode::{Field, Values, values};

/// A session with more than this to send holds up the play.
const QUEUE_MAX: usize = 8_192;
/// So many notifications are kept for recovery.
const KEPT_MAX: usize = 200_000;
/// A recovery begins so much earlier than it was asked to, as it may.
const OVERLAP: usize = 3;
/// So many go into a message.
const LINES_AT_ONCE: usize = 256;
/// The tags that count for recovery.
const DATA: [&str; 10] = ["U", "SUBOK", "SUBCMD", "UNSUB", "EOS", "CS", "OV", "CONF", "MSGDONE", "MSGFAIL"];

/// What is subscribed to at once.
#[derive(Debug)]
pub(super) struct Subscription {
    items: HashMap<Arc<str>, usize>,
    fields: Vec<Field>,
    /// What the client knows of each item.
    before: Vec<Option<Values>>,
    wants_snapshot: bool,
    updates: u64,
}

impl Subscription {
    /// Of items and fields in the client's order.
    pub(super) fn new(items: &str, fields: Vec<Field>, wants_snapshot: bool) -> Self {
        let items: HashMap<Arc<str>, usize> =
            items.split_whitespace().enumerate().map(|(place, item)| (item.into(), place)).collect();
        let before = vec![None; items.len()];
        Self { items, fields, before, wants_snapshot, updates: 0 }
    }

    fn line(&mut self, number: u32, update: &Update) -> Option<String> {
        let place = *self.items.get(&update.item)?;
        let now: Values = self.fields.iter().map(|field| field.value(update)).collect();
        let values = values(self.before[place].as_ref(), &now, self.updates);
        self.updates += 1;
        self.before[place] = Some(now);
        Some(format!("U,{number},{},{values}", place + 1))
    }
}

/// What is to be done next.
#[derive(Debug)]
enum Next {
    Say(String),
    Make(Trouble),
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    /// The connection that it is bound to.
    pub(super) connection: Option<u64>,
    subscriptions: BTreeMap<u32, Subscription>,
    queue: VecDeque<Next>,
    kept: VecDeque<String>,
    /// How many notifications of data were sent.
    sent: u64,
    is_recoverable: bool,
    /// Whether its end waits in the queue.
    is_ending: bool,
}

impl Session {
    /// A session without subscriptions.
    pub(super) fn new(connection: u64) -> Self {
        Self {
            connection: Some(connection),
            subscriptions: BTreeMap::new(),
            queue: VecDeque::new(),
            kept: VecDeque::new(),
            sent: 0,
            is_recoverable: true,
            is_ending: false,
        }
    }

    /// Whether it will go on.
    pub(super) fn is_live(&self) -> bool {
        self.is_recoverable
    }

    /// How many items are subscribed to.
    pub(super) fn items(&self) -> usize {
        self.subscriptions.values().map(|subscription| subscription.items.len()).sum()
    }

    /// Whether there is nothing to send.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether more may be played: not too much to send, and no end in sight behind which it would be lost.
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < QUEUE_MAX && !self.is_ending
    }

    /// Says it, as a notification of data.
    pub(super) fn say(&mut self, line: String) {
        self.queue.push_back(Next::Say(line));
    }

    /// Adds a subscription, and says what is known.
    pub(super) fn subscribe(
        &mut self,
        number: u32,
        subscription: Subscription,
        newest: &HashMap<Arc<str>, Update>,
    ) {
        self.say(format!("SUBOK,{number},{},{}", subscription.items.len(), subscription.fields.len()));
        self.say(format!("CONF,{number},unlimited,filtered"));
        let wants_snapshot = subscription.wants_snapshot;
        self.subscriptions.insert(number, subscription);
        if wants_snapshot {
            self.repeat(number, newest);
        }
    }

    /// Ends a subscription, if there is one.
    pub(super) fn unsubscribe(&mut self, number: u32) -> Option<()> {
        self.subscriptions.remove(&number)?;
        self.say(format!("UNSUB,{number}"));
        Some(())
    }

    fn repeat(&mut self, number: u32, newest: &HashMap<Arc<str>, Update>) {
        let Some(subscription) = self.subscriptions.get_mut(&number) else { return };
        let mut items: Vec<_> =
            subscription.items.iter().map(|(item, place)| (*place, item.clone())).collect();
        items.sort_unstable();
        for (_, item) in items {
            let line = newest.get(&item).and_then(|update| subscription.line(number, update));
            self.queue.extend(line.map(Next::Say));
        }
    }

    /// The next update of an item.
    pub(super) fn publish(&mut self, update: &Update) {
        for (number, subscription) in &mut self.subscriptions {
            self.queue.extend(subscription.line(*number, update).map(Next::Say));
        }
    }

    /// Makes trouble behind what there is to send.
    pub(super) fn make(&mut self, trouble: Trouble, newest: &HashMap<Arc<str>, Update>) {
        match trouble {
            Trouble::Repeat => {
                for number in self.subscriptions.keys().copied().collect::<Vec<_>>() {
                    self.repeat(number, newest);
                }
            }
            Trouble::Line(line) => self.say(line),
            Trouble::End(_) | Trouble::Forget => {
                self.is_ending = true;
                self.queue.push_back(Next::Make(trouble));
            }
            Trouble::Drop | Trouble::Loop | Trouble::Mute | Trouble::Refuse(_) | Trouble::Bytes(_) => {
                self.queue.push_back(Next::Make(trouble));
            }
        }
    }

    /// What to send now, and the trouble to make after it.
    pub(super) fn take(&mut self) -> (Vec<String>, Option<Trouble>) {
        let mut lines = Vec::new();
        while lines.len() < LINES_AT_ONCE
            && let Some(next) = self.queue.pop_front()
        {
            match next {
                Next::Make(trouble) => {
                    self.is_recoverable &= trouble != Trouble::Forget;
                    return (lines, Some(trouble));
                }
                Next::Say(line) => {
                    if DATA.contains(&line.split(',').next().unwrap_or_default()) {
                        self.keep(line.clone());
                    }
                    lines.push(line);
                }
            }
        }
        (lines, None)
    }

    fn keep(&mut self, line: String) {
        self.sent += 1;
        self.kept.push_back(line);
        if self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
        }
    }

    /// Goes on behind so many notifications of data, or a few earlier, if they are still there. Gives back where.
    pub(super) fn recover(&mut self, from: u64) -> Option<u64> {
        let again = usize::try_from(self.sent.checked_sub(from)?).ok()?;
        if again > self.kept.len() || !self.is_recoverable {
            return None;
        }
        let first = self.kept.len() - again;
        for line in self.kept.drain(first.saturating_sub(OVERLAP)..).rev() {
            self.queue.push_front(Next::Say(line));
            self.sent -= 1;
        }
        Some(self.sent)
    }
}
