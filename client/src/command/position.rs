//! Places in the log as people write them.

use std::str::FromStr;
use std::time::Duration;

use downlink_client::Timestamp;
use downlink_client::time::{NotATime, parse_rfc3339};
use downlink_client::v1::{Edge, Filter, Position, position::At};

use super::length::{parse_length, wire_length};

/// What is said to who writes something else.
const HELP: &str = "give an offset, 'oldest', 'head', 'last 100', '2 hours ago', a time such as \
                    2018-10-12T11:42:08Z, 'ingest:' and a time, or 'consumer:' and a name";

/// A place in the log.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    Offset(u64),
    Oldest,
    Head,
    /// By event time.
    Time(Timestamp),
    IngestTime(Timestamp),
    Ago(Duration),
    Last(u64),
    Consumer(String),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text {
            "oldest" => return Ok(Self::Oldest),
            "head" => return Ok(Self::Head),
            _ => {}
        }
        if let Some(name) = text.strip_prefix("consumer:") {
            return Ok(Self::Consumer(name.to_owned()));
        }
        if let Some(events) = text.strip_prefix("last") {
            return events.trim().parse().map(Self::Last).map_err(|_| HELP.to_owned());
        }
        if let Some(length) = text.strip_suffix("ago") {
            return parse_length(length.trim()).map(Self::Ago);
        }
        if let Some(time) = text.strip_prefix("ingest:") {
            return parse_rfc3339(time).map(Self::IngestTime).map_err(|error| error.to_string());
        }
        if let Ok(offset) = text.parse() {
            return Ok(Self::Offset(offset));
        }
        parse_rfc3339(text).map(Self::Time).map_err(|error| match error {
            NotATime::NoZone(_) => error.to_string(),
            NotATime::Malformed(_) => HELP.to_owned(),
        })
    }
}

impl From<Place> for Position {
    fn from(place: Place) -> Self {
        let at = match place {
            Place::Offset(offset) => At::Offset(offset),
            Place::Oldest => At::Edge(Edge::Oldest.into()),
            Place::Head => At::Edge(Edge::Head.into()),
            Place::Time(time) => At::EventTime(time),
            Place::IngestTime(time) => At::IngestTime(time),
            Place::Ago(length) => At::Ago(wire_length(length)),
            Place::Last(events) => At::LastEvents(events),
            Place::Consumer(name) => At::Consumer(name),
        };
        Self { at: Some(at) }
    }
}

/// Which events are wanted.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct FilterArguments {
    /// Only this signal; `*` stands for any text without '/', `**` for any text. Can be given several times.
    #[arg(long = "signal", value_name = "GLOB")]
    signals: Vec<String>,
    /// Only events of this source. Can be given several times.
    #[arg(long = "source", value_name = "SOURCE")]
    sources: Vec<String>,
}

impl FilterArguments {
    pub(super) fn signals(&self) -> &[String] {
        &self.signals
    }

    pub(super) fn filter(&self) -> Filter {
        Filter { signals: self.signals.clone(), sources: self.sources.clone(), ..Filter::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_written() {
        let noon = Timestamp { seconds: 1_539_345_600, nanos: 0 };
        for (text, expected) in [
            ("17", Place::Offset(17)),
            ("oldest", Place::Oldest),
            ("head", Place::Head),
            ("last 100", Place::Last(100)),
            ("last100", Place::Last(100)),
            ("2 hours ago", Place::Ago(Duration::from_secs(7_200))),
            ("1h 30m ago", Place::Ago(Duration::from_secs(5_400))),
            ("90s ago", Place::Ago(Duration::from_secs(90))),
            ("2018-10-12T12:00:00Z", Place::Time(noon)),
            ("2018-10-12T14:00:00+02:00", Place::Time(noon)),
            ("ingest:2018-10-12T12:00:00Z", Place::IngestTime(noon)),
            ("consumer:pee-bot", Place::Consumer("pee-bot".to_owned())),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_place_is_answered_with_what_is() {
        for text in ["-1", "yesterday", "", "last", "last x", "2018-10-12", "18446744073709551616"] {
            assert_eq!(text.parse::<Place>(), Err(HELP.to_owned()), "{text}");
        }
        for (text, said) in [
            ("2018-10-12T12:00:00", "has no zone"),
            ("five hours ago", "is not a length of time"),
            ("ago", "is not a length of time"),
            ("ingest:now", "is not a time"),
        ] {
            assert!(text.parse::<Place>().is_err_and(|error| error.contains(said)), "{text}");
        }
    }
}
