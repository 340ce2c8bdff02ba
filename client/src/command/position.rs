//! Places in the log as people write them.

use std::str::FromStr;

use downlink_client::v1::{Edge, Filter, Position, position::At};

/// Where to begin or stop: an offset, `oldest` or `head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Offset(u64),
    Oldest,
    Head,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "oldest" => Ok(Self::Oldest),
            "head" => Ok(Self::Head),
            _ => text.parse().map(Self::Offset).map_err(|_| "give an offset, 'oldest' or 'head'".to_owned()),
        }
    }
}

impl From<Place> for Position {
    fn from(place: Place) -> Self {
        let at = match place {
            Place::Offset(offset) => At::Offset(offset),
            Place::Oldest => At::Edge(Edge::Oldest.into()),
            Place::Head => At::Edge(Edge::Head.into()),
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
        assert_eq!("17".parse(), Ok(Place::Offset(17)));
        assert_eq!("oldest".parse(), Ok(Place::Oldest));
        assert_eq!("head".parse(), Ok(Place::Head));
        assert!("-1".parse::<Place>().is_err() && "yesterday".parse::<Place>().is_err());
    }
}
