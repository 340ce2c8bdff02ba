//! What the feed is made of: updates of items as their source words them, and how the session with it fares.

use std::sync::Arc;

/// The `Status.Class` of a value that is live.
pub const LIVE_CLASS: &str = "24";

/// Where the feed comes from: a live session, or a simulator. Whoever takes updates knows no difference.
///
/// A recording is none: each of its rows goes into the log, also those that the station's server has repeated, and by its place in
/// the file a row is known again from its first to its last. A source has no places.
pub trait Source: Send {
    /// The next thing that happens; waits for it. After [`SessionEvent::Ended`] it is not asked again. Nothing is lost if
    /// the caller stops waiting.
    fn next(&mut self) -> impl Future<Output = SessionEvent> + Send;
}

/// What happens in the session with a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// Updates come from now on. A source may repeat the newest update of every item now.
    Connected {
        /// With what, for people.
        source: String,
    },
    /// Updates come again, in the same session: nothing is repeated, and what was so before the interruption still is.
    Recovered {
        /// With what, for people.
        source: String,
    },
    /// An item was updated.
    Update(Update),
    /// No updates come until it is connected again, which the source sees to by itself.
    Disconnected {
        /// Why, for people.
        reason: String,
    },
    /// There is no more: a recording is over.
    Ended,
}

/// One update of one item. Each field may be null; what it means is for the reader to find out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// The item's name, its PUI.
    pub item: Arc<str>,
    /// `TimeStamp`: hours of the year when the value last changed at its origin, without the year.
    pub time_stamp: Option<String>,
    /// `Value`: a number as text.
    pub value: Option<String>,
    /// `Status.Class`: 24 is good. That of `TIME_000001` says whether there is a signal.
    pub status_class: Option<String>,
    /// `Status.Indicator`.
    pub status_indicator: Option<String>,
    /// `Status.Color`.
    pub status_color: Option<String>,
    /// `CalibratedData`: empty as far as anybody knows.
    pub calibrated_data: Option<String>,
    /// Whether it repeats what was so before the session began.
    pub is_snapshot: bool,
}

impl Update {
    /// An update of a value that is live, without what says nothing.
    pub fn live(item: impl Into<Arc<str>>, time_stamp: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            item: item.into(),
            time_stamp: Some(time_stamp.into()),
            value: Some(value.into()),
            status_class: Some(LIVE_CLASS.to_owned()),
            ..Self::default()
        }
    }
}
