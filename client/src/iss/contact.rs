//! Whether there is contact with the station: a state machine without a clock of its own.

use std::time::Duration;

use prost_types::Timestamp;
use tokio::time::Instant;

/// How long nothing may come of the station's clock, which ticks every second, before its signal is taken for stale.
pub const STALE_AFTER: Duration = Duration::from_secs(15);

/// How it stands with the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is a session, and nothing is known of the signal yet.
    Connected,
    /// There is no session.
    Disconnected,
    /// Acquisition of signal: values are live.
    Acquired,
    /// Loss of signal: the feed says that its values are old.
    Lost,
    /// The feed says that there is a signal, but its clock stands still.
    Stale,
}

impl State {
    /// As it is written into the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Acquired => "AOS",
            Self::Lost => "LOS",
            Self::Stale => "stale",
        }
    }
}

/// Another state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// What is to be added, for people.
    pub reason: Option<String>,
}

/// What an update of the station's clock says.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// Whether its class is good.
    pub is_good: bool,
    /// When it happened.
    pub time: Timestamp,
    /// How old that is, if it repeats what was before the session and there is a clock to tell by.
    pub repeated_age: Option<Duration>,
}

/// Contact with the station.
#[derive(Debug, Default)]
pub struct Contact {
    /// What is so, and since when. None before anything is known: then "disconnected" is news.
    state: Option<(State, Timestamp)>,
    /// What was so before the session was interrupted.
    interrupted: Option<(State, Timestamp)>,
    /// What the station's clock has said last in this session.
    tick: Option<Timestamp>,
    /// When it was last heard that the clock moves, or that a session began.
    heard: Option<Instant>,
}

impl Contact {
    /// Whether values may be repetitions of old ones.
    pub fn repeats(&self) -> bool {
        matches!(self.state, Some((State::Lost | State::Stale, _)))
    }

    /// A session begins.
    pub fn connected(&mut self, source: String, now: Timestamp, heard: Instant) -> Change {
        let state = (State::Connected, now);
        *self = Self { state: Some(state), heard: Some(heard), ..Self::default() };
        Change { state: State::Connected, since: now, reason: Some(source) }
    }

    /// The session goes on after an interruption: so does what was so before.
    pub fn recovered(&mut self, source: String, now: Timestamp, heard: Instant) -> Vec<Change> {
        let before = self.interrupted.filter(|(state, _)| *state != State::Connected);
        let mut changes = vec![self.connected(source, now, heard)];
        if let Some((state, since)) = before {
            self.state = before;
            changes.push(Change { state, since, reason: None });
        }
        changes
    }

    /// It is over, or interrupted. None if it was before.
    pub fn disconnected(&mut self, reason: String, now: Timestamp) -> Option<Change> {
        let before = self.state;
        let mut change = self.enter(State::Disconnected, now)?;
        *self = Self { state: self.state, interrupted: before, ..Self::default() };
        change.reason = Some(reason);
        Some(change)
    }

    /// The station's clock was updated.
    pub fn ticked(&mut self, tick: Tick, heard: Instant) -> Option<Change> {
        if matches!(self.state, None | Some((State::Disconnected, _))) {
            return None;
        }
        let is_repeated = self.tick.replace(tick.time) == Some(tick.time);
        if tick.is_good && is_repeated {
            // A clock that stands still says nothing.
            return None;
        }
        self.heard = Some(heard);
        let is_old = tick.repeated_age.is_some_and(|age| age > STALE_AFTER);
        let state = match (tick.is_good, is_old) {
            (false, _) => State::Lost,
            (true, true) => State::Stale,
            (true, false) => State::Acquired,
        };
        self.enter(state, tick.time)
    }

    /// When silence turns into staleness, if nothing comes until then.
    pub fn deadline(&self) -> Option<Instant> {
        let (state, _) = self.state?;
        let is_live = matches!(state, State::Connected | State::Acquired);
        self.heard.filter(|_| is_live).map(|heard| heard + STALE_AFTER)
    }

    /// It has come to that.
    pub fn silent(&mut self) -> Option<Change> {
        let (_, since) = self.state?;
        self.enter(State::Stale, self.tick.unwrap_or(since))
    }

    fn enter(&mut self, state: State, since: Timestamp) -> Option<Change> {
        if self.state.is_some_and(|(now, _)| now == state) {
            return None;
        }
        self.state = Some((state, since));
        Some(Change { state, since, reason: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    fn tick(is_good: bool, seconds: i64) -> Tick {
        Tick { is_good, time: at(seconds), repeated_age: None }
    }

    fn named(change: Option<Change>) -> Option<(&'static str, i64)> {
        change.map(|change| (change.state.name(), change.since.seconds))
    }

    #[test]
    fn each_state_has_its_own_begin() {
        let (mut contact, now) = (Contact::default(), Instant::now());
        assert_eq!(named(contact.disconnected("nobody".to_owned(), at(90))), Some(("disconnected", 90)));
        assert_eq!(named(Some(contact.connected("here".to_owned(), at(100), now))), Some(("connected", 100)));
        assert_eq!(named(contact.ticked(tick(true, 99), now)), Some(("AOS", 99)));
        assert_eq!(named(contact.ticked(tick(true, 101), now)), None);
        assert_eq!(contact.deadline(), Some(now + STALE_AFTER));
        assert_eq!(named(contact.silent()), Some(("stale", 101)));
        assert!(contact.repeats() && contact.deadline().is_none());
        assert_eq!(named(contact.ticked(tick(true, 130), now)), Some(("AOS", 130)));
        assert_eq!(named(contact.ticked(tick(false, 140), now)), Some(("LOS", 140)));
        assert!(contact.deadline().is_none(), "a lost signal does not become stale");
        assert_eq!(named(contact.disconnected("cut".to_owned(), at(150))), Some(("disconnected", 150)));
        assert_eq!(named(contact.disconnected("cut".to_owned(), at(151))), None);
        assert_eq!(named(contact.ticked(tick(true, 152), now)), None, "not without a session");
    }

    #[test]
    fn a_repeated_tick_is_as_good_as_it_is_young() {
        for (age, state) in [(3, "AOS"), (3600, "stale")] {
            let mut contact = Contact::default();
            contact.connected("here".to_owned(), at(5000), Instant::now());
            let tick = Tick { repeated_age: Some(Duration::from_secs(age)), ..tick(true, 1000) };
            assert_eq!(named(contact.ticked(tick, Instant::now())), Some((state, 1000)));
        }
    }

    #[test]
    fn a_recovered_session_goes_on_where_it_was() {
        let (mut contact, now) = (Contact::default(), Instant::now());
        contact.connected("here".to_owned(), at(10), now);
        contact.ticked(tick(false, 11), now);
        contact.disconnected("cut".to_owned(), at(12));
        assert!(!contact.repeats());
        let changes = contact.recovered("here".to_owned(), at(13), now);
        let changes: Vec<_> = changes.into_iter().map(|change| named(Some(change)).unwrap()).collect();
        assert_eq!(changes, [("connected", 13), ("LOS", 11)]);
        assert!(contact.repeats() && contact.deadline().is_none());
        contact.ticked(tick(true, 20), now);
        contact.disconnected("cut".to_owned(), at(21));
        contact.connected("here".to_owned(), at(22), now);
        assert_eq!(contact.deadline(), Some(now + STALE_AFTER), "another session is silent, too");
        assert_eq!(named(contact.silent()), Some(("stale", 22)));
    }

    #[test]
    fn a_clock_that_stands_still_becomes_stale_however_often_it_says_so() {
        let (mut contact, now) = (Contact::default(), Instant::now());
        contact.connected("here".to_owned(), at(10), now);
        assert_eq!(named(contact.ticked(tick(true, 11), now)), Some(("AOS", 11)));
        let later = now + Duration::from_secs(10);
        assert_eq!(named(contact.ticked(tick(true, 11), later)), None);
        assert_eq!(contact.deadline(), Some(now + STALE_AFTER));
        assert_eq!(named(contact.silent()), Some(("stale", 11)));
        assert_eq!(named(contact.ticked(tick(true, 11), later)), None, "it still stands");
        assert_eq!(named(contact.ticked(tick(true, 12), later)), Some(("AOS", 12)));
    }
}
