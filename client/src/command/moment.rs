//! Moments as people write them, wherever a place in the log will not do.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use downlink_client::Timestamp;

use super::position::Place;

/// A moment: a time, or one that is so long ago by this machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(pub(super) Timestamp);

impl Moment {
    /// The moment so long ago.
    pub(super) fn ago(length: Duration) -> Result<Self, String> {
        let then = SystemTime::now().checked_sub(length).map(Timestamp::from);
        // No event is older than year 1.
        let then = then.filter(|then| then.seconds >= -62_135_596_800);
        then.map(Self).ok_or_else(|| "that is too long ago: times begin with year 1".to_owned())
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is not a time; give one such as 2018-10-12T11:42:08Z, or '2 hours ago'");
        match text.parse() {
            Ok(Place::Time(time)) => Ok(Self(time)),
            Ok(Place::Ago(length)) => Self::ago(length),
            Err(error) if text.contains("ago") || error.contains("zone") => Err(error),
            Ok(
                Place::Offset(_)
                | Place::Oldest
                | Place::Head
                | Place::IngestTime(_)
                | Place::Last(_)
                | Place::Consumer(_),
            )
            | Err(_) => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_so_long_ago() {
        assert_eq!("1970-01-01T01:00:00+01:00".parse(), Ok(Moment(Timestamp { seconds: 0, nanos: 0 })));
        let now = Timestamp::from(SystemTime::now()).seconds;
        let Moment(then) = "2 hours ago".parse().unwrap();
        assert!((now - 7_201..=now - 7_199).contains(&then.seconds));
    }

    #[test]
    fn what_is_no_moment_is_answered_with_what_is() {
        for (text, said) in [
            ("last 100", "or '2 hours ago'"),
            ("oldest", "or '2 hours ago'"),
            ("yesterday", "or '2 hours ago'"),
            ("five hours ago", "is not a length of time"),
            ("2018-10-12T12:00:00", "has no zone"),
            ("9999 years ago", "too long ago"),
        ] {
            assert!(text.parse::<Moment>().is_err_and(|error| error.contains(said)), "{text}");
        }
    }
}
