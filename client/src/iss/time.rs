//! The feed's times: hours of the year as decimal text, with 1 January as day 1, so that the year begins at 24.

use prost_types::Timestamp;

use crate::time::days_to_year;

const NANOS_PER_HOUR: i128 = 3_600_000_000_000;
const NANOS_PER_SECOND: i128 = 1_000_000_000;
/// The hours at which a year begins, and at which a leap year ends.
const HOURS: std::ops::Range<u64> = 24..24 * 367;
/// More digits than these overflow; the feed sends 11.
const FRACTION_DIGITS_MAX: usize = 25;

/// The time that hours of a year mean: exact decimal arithmetic, rounded to the nearest nanosecond. None when the
/// text is not a number of hours within a year; 0 is what the feed says of an item that has never reported.
pub fn event_time(year: i32, hours: &str) -> Option<Timestamp> {
    let (whole, fraction) = hours.split_once('.').unwrap_or((hours, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > FRACTION_DIGITS_MAX {
        return None;
    }
    let whole = whole.parse().ok().filter(|whole| HOURS.contains(whole))?;
    let fraction_nanos = {
        let scale = 10_i128.pow(fraction.len() as u32);
        (fraction.parse::<i128>().ok()? * NANOS_PER_HOUR + scale / 2) / scale
    };
    let nanos = i128::from(whole - HOURS.start) * NANOS_PER_HOUR + fraction_nanos;
    Some(Timestamp {
        seconds: days_to_year(year) * 86_400 + (nanos / NANOS_PER_SECOND) as i64,
        nanos: (nanos % NANOS_PER_SECOND) as i32,
    })
}

/// The year that a recording's name begins with, such as `2018-10-12_full_day.csv.zst`.
pub fn year_of_file_name(name: &str) -> Option<i32> {
    let (year, rest) = name.split_at_checked(4)?;
    let is_year = year.bytes().all(|digit| digit.is_ascii_digit());
    (is_year && !rest.starts_with(|next: char| next.is_ascii_digit())).then(|| year.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::rfc3339;
    use proptest::prelude::*;

    fn time_2018(hours: &str) -> Option<String> {
        event_time(2018, hours).as_ref().map(rfc3339)
    }

    #[test]
    fn known_times_are_met() {
        // Proved by the GPS clock in the same recording.
        assert_eq!(time_2018("6844.9875").unwrap(), "2018-10-12T04:59:15Z");
        assert_eq!(time_2018("24").unwrap(), "2018-01-01T00:00:00Z");
        assert_eq!(time_2018("6846.85802749998").unwrap(), "2018-10-12T06:51:28.898999928Z");
        assert_eq!(time_2018("24.0000000000001").unwrap(), "2018-01-01T00:00:00Z");
        assert_eq!(time_2018("24.0000000000002").unwrap(), "2018-01-01T00:00:00.000000001Z");
        assert_eq!(time_2018("24.9999999999999999").unwrap(), "2018-01-01T01:00:00Z");
        assert_eq!(event_time(2024, "8807.5").as_ref().map(rfc3339).unwrap(), "2024-12-31T23:30:00Z");
    }

    #[test]
    fn what_is_no_time_of_the_year_is_none() {
        for hours in ["0", "23.9", "8808", "", ".", "24.", "+25", "-25", "2e3", "25,5", "nan", " 25"] {
            assert_eq!(time_2018(hours), None, "{hours}");
        }
    }

    #[test]
    fn the_year_leads_the_file_name() {
        assert_eq!(year_of_file_name("2018-10-12_full_day.csv.zst"), Some(2018));
        assert_eq!(year_of_file_name("urine_tank_2018-10-12.csv"), None);
        assert_eq!(year_of_file_name("20181012.csv"), None);
        assert_eq!(year_of_file_name("201"), None);
    }

    /// The hours that a time means, with 11 decimals: the inverse.
    fn hours_text(year: i32, time: &Timestamp) -> String {
        let seconds = i128::from(time.seconds - days_to_year(year) * 86_400);
        let nanos = seconds * NANOS_PER_SECOND + i128::from(time.nanos) + 24 * NANOS_PER_HOUR;
        assert_eq!(nanos % 36, 0, "a time with 11 decimals of an hour is a multiple of 36 ns");
        let units = nanos / 36;
        format!("{}.{:011}", units / 100_000_000_000, units % 100_000_000_000)
    }

    proptest! {
        #[test]
        fn hours_come_back_digit_by_digit(
            year in 1970..2100_i32,
            whole in HOURS,
            fraction in 0..100_000_000_000_u64,
            digits in 1..=11_usize,
        ) {
            let fraction = &format!("{fraction:011}")[..digits];
            let time = event_time(year, &format!("{whole}.{fraction}")).unwrap();
            prop_assert_eq!(hours_text(year, &time), format!("{whole}.{fraction:0<11}"));
        }
    }
}
