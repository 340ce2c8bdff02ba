//! Times as text, RFC 3339, for every year from 1 to 9999, and the calendar behind it.

use prost_types::Timestamp;

const SECONDS_PER_DAY: i64 = 86_400;

/// A text that is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotATime {
    /// It makes no sense.
    #[error("'{0}' is not a time; write it like 2018-10-12T11:42:08.123Z")]
    Malformed(String),
    /// It can be any of 24 hours.
    #[error("'{0}' has no zone: write …Z or …+02:00")]
    NoZone(String),
}

/// The time as RFC 3339 in UTC, with as many digits of a second's fraction as it needs.
pub fn rfc3339(time: &Timestamp) -> String {
    let mut text = String::with_capacity(30);
    push_rfc3339(&mut text, time);
    text
}

/// The same, added to a text.
pub fn push_rfc3339(text: &mut String, time: &Timestamp) {
    let (year, month, day) = civil(time.seconds.div_euclid(SECONDS_PER_DAY));
    let second_of_day = time.seconds.rem_euclid(SECONDS_PER_DAY) as u32;
    push_digits(text, year as u32, 4);
    for (mark, number) in [('-', month), ('-', day), ('T', second_of_day / 3600)] {
        text.push(mark);
        push_digits(text, number, 2);
    }
    for number in [second_of_day / 60 % 60, second_of_day % 60] {
        text.push(':');
        push_digits(text, number, 2);
    }
    if time.nanos != 0 {
        let (mut fraction, mut digits) = (time.nanos as u32, 9);
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            digits -= 1;
        }
        text.push('.');
        push_digits(text, fraction, digits);
    }
    text.push('Z');
}

/// The time that an RFC 3339 text names.
pub fn parse_rfc3339(text: &str) -> Result<Timestamp, NotATime> {
    let trimmed = text.trim();
    let malformed = || NotATime::Malformed(text.to_owned());
    let time = trimmed.parse().map_err(|_| malformed())?;
    let behind_date = trimmed.get("2018-10-12".len()..).filter(|rest| !rest.is_empty());
    let of_day = behind_date.ok_or_else(malformed)?;
    let has_zone = of_day.ends_with(['Z', 'z']) || of_day.contains(['+', '-']);
    if has_zone { Ok(time) } else { Err(NotATime::NoZone(text.to_owned())) }
}

/// The days from 1970-01-01 to 1 January of a year.
pub fn days_to_year(year: i32) -> i64 {
    let before = i64::from(year) - 1;
    before * 365 + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) - 719_162
}

/// The year that a time is in, in UTC.
pub fn year_of(time: &Timestamp) -> i32 {
    civil(time.seconds.div_euclid(SECONDS_PER_DAY)).0 as i32
}

/// Year, month and day of the date that is so many days after 1970-01-01.
fn civil(days: i64) -> (i64, u32, u32) {
    // The well-known algorithm that counts from 1 March of year 0, so that leap days come last.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn push_digits(text: &mut String, number: u32, digits: u32) {
    for place in (0..digits).rev() {
        text.push(char::from(b'0' + (number / 10_u32.pow(place) % 10) as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time(seconds: i64, nanos: i32) -> Timestamp {
        Timestamp { seconds, nanos }
    }

    #[test]
    fn known_times_print_as_expected() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
            (1_539_320_355, 500_000_000, "2018-10-12T04:59:15.5Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
            (253_402_300_799, 999_999_999, "9999-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(rfc3339(&time(seconds, nanos)), text);
            assert_eq!(parse_rfc3339(text), Ok(time(seconds, nanos)));
        }
    }

    #[test]
    fn other_zones_are_understood_and_nonsense_is_not() {
        assert_eq!(parse_rfc3339("1970-01-01T01:00:00+01:00"), Ok(time(0, 0)));
        for text in ["", "yesterday", "2018-13-01T00:00:00Z", "2018-02-30T00:00:00Z", "2018-02-03T25:00:00Z"]
        {
            assert!(parse_rfc3339(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_without_a_zone_is_refused() {
        for text in ["2018-10-12T11:42:08", "2018-10-12 11:42:08.5"] {
            let error = parse_rfc3339(text).unwrap_err().to_string();
            assert_eq!(error, format!("'{text}' has no zone: write …Z or …+02:00"));
        }
        assert!(parse_rfc3339("2018-10-12").is_err());
    }

    #[test]
    fn years_begin_where_the_calendar_says() {
        for (year, text) in [(1, "0001"), (1970, "1970"), (2000, "2000"), (2018, "2018"), (9999, "9999")] {
            let begin = time(days_to_year(year) * SECONDS_PER_DAY, 0);
            assert_eq!(rfc3339(&begin), format!("{text}-01-01T00:00:00Z"));
        }
    }

    proptest! {
        #[test]
        fn every_time_comes_back(seconds in -62_135_596_800_i64..=253_402_300_799, nanos in 0..1_000_000_000) {
            prop_assert_eq!(parse_rfc3339(&rfc3339(&time(seconds, nanos))), Ok(time(seconds, nanos)));
        }
    }
}
