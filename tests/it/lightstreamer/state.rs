//! All sessions, what they play, and how whoever waits learns that something has changed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use downlink_client::iss::update::Update;
use tokio::sync::watch;

use super::Trouble;
use super::session::Session;

/// The state, shared by the connections and the player.
#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

impl Shared {
    /// Changes the state, and wakes whoever waits.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().expect("nothing panics"));
        self.changes.send_replace(());
        result
    }

    /// Looks at the state.
    pub(super) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().expect("nothing panics"))
    }

    /// Changes of the state from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Waits until the state has something.
    pub(super) async fn until<T>(&self, mut find: impl FnMut(&State) -> Option<T>) -> T {
        let mut changes = self.changes();
        loop {
            if let Some(found) = self.look(&mut find) {
                return found;
            }
            changes.changed().await.expect("the sender is here");
        }
    }
}

/// What the stand-in knows.
#[derive(Default)]
pub(super) struct State {
    pub(super) sessions: BTreeMap<String, Session>,
    newest: HashMap<Arc<str>, Update>,
    refusals: VecDeque<u16>,
    asked: BTreeMap<String, u64>,
    is_over: bool,
}

impl State {
    /// Whether somebody listens, to enough items, and nobody is behind.
    pub(super) fn may_play(&self, items_awaited: usize) -> bool {
        let mut live = self.sessions.values().filter(|session| session.is_live()).peekable();
        live.peek().is_some() && live.all(|session| session.items() >= items_awaited && session.has_room())
    }

    /// The next update of an item, for everybody.
    pub(super) fn publish(&mut self, update: Update) {
        self.sessions.values_mut().for_each(|session| session.publish(&update));
        self.newest.insert(Arc::clone(&update.item), update);
    }

    /// Makes trouble, for everybody.
    pub(super) fn make(&mut self, trouble: Trouble) {
        if let Trouble::Refuse(code) = trouble {
            self.refusals.push_back(code);
            return;
        }
        for session in self.sessions.values_mut() {
            session.make(trouble.clone(), &self.newest);
        }
    }

    /// There is nothing more to play.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// Whether all was played, and sent.
    pub(super) fn is_through(&self) -> bool {
        self.is_over && self.sessions.values().all(|session| !session.is_live() || session.is_idle())
    }

    /// Takes note of a request; see [`super::StandIn::asked`].
    pub(super) fn note(&mut self, request: &str) {
        *self.asked.entry(request.to_owned()).or_default() += 1;
    }

    /// How often a request was made.
    pub(super) fn asked(&self, request: &str) -> u64 {
        self.asked.get(request).copied().unwrap_or_default()
    }

    /// The number with which the next stream is to be refused, if it is.
    pub(super) fn refusal(&mut self) -> Option<u16> {
        self.refusals.pop_front()
    }

    /// A new session, bound to a connection. Those without one are given up: whoever had them has begun anew.
    pub(super) fn open(&mut self, connection: u64) -> String {
        self.sessions.retain(|_, session| session.connection.is_some());
        let id = format!("S{}", self.asked("create_session"));
        self.sessions.insert(id.clone(), Session::new(connection));
        id
    }

    /// Adds a subscription to a session, with what is known of its items.
    pub(super) fn subscribe(&mut self, id: &str, number: u32, subscription: super::session::Subscription) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.subscribe(number, subscription, &self.newest);
        }
    }
}
