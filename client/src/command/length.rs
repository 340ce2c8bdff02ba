//! Lengths of time as people write them.

use std::time::Duration;

/// A length of time as people write it: `90s`, `2 hours`, `1h 30m`.
pub(super) fn parse_length(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("'{text}' is not a length of time: {error}"))
}

/// A length of time on the wire; the longest there is for one that is longer.
pub(super) fn wire_length(length: Duration) -> prost_types::Duration {
    const SECONDS_MAX: u64 = 315_576_000_000;
    prost_types::Duration {
        seconds: length.as_secs().min(SECONDS_MAX).cast_signed(),
        nanos: length.subsec_nanos().cast_signed(),
    }
}

/// A length of time in whole units.
pub(super) fn brief_length(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        172_800.. => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_no_message_can_hold_is_the_longest() {
        assert_eq!(wire_length(Duration::MAX).seconds, 315_576_000_000);
        assert_eq!(wire_length(Duration::from_millis(1_500)).nanos, 500_000_000);
    }

    #[test]
    fn lengths_are_shown_in_units_of_their_size() {
        let shown = [5, 150, 7_300, 200_000].map(brief_length);
        assert_eq!(shown, ["5 s", "2 min", "2 h", "2 d"]);
    }
}
