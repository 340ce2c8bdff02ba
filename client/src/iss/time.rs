//! The feed's times: hours of the year as decimal text, with 1 January as day 1, so that the year begins at 24.

use prost_types::Timestamp;

use crate::time::{days_to_year, year_of};

const NANOS_PER_HOUR: i128 = 3_600_000_000_000;
const NANOS_PER_SECOND: i128 = 1_000_000_000;
/// The hour at which a year begins.
const FIRST_HOUR: u64 = 24;
/// More digits than these overflow; the feed sends 11.
const FRACTION_DIGITS_MAX: usize = 25;
/// Digits of a number of hours.
const DIGITS: u32 = 15;

/// The time that hours of a year mean: exact decimal arithmetic, rounded to the nearest nanosecond. None when the
/// text is not a number of hours within a year; 0 is what the feed says of an item that has never reported.
pub fn event_time(year: i32, hours: &str) -> Option<Timestamp> {
    let (whole, fraction) = hours.split_once('.').unwrap_or((hours, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > FRACTION_DIGITS_MAX {
        return None;
    }
    let whole = whole.parse().ok().filter(|whole| hours_of(year).contains(whole))?;
    let fraction_nanos = {
        let scale = 10_i128.pow(fraction.len() as u32);
        (fraction.parse::<i128>().ok()? * NANOS_PER_HOUR + scale / 2) / scale
    };
    let nanos = i128::from(whole - FIRST_HOUR) * NANOS_PER_HOUR + fraction_nanos;
    Some(Timestamp {
        seconds: days_to_year(year) * 86_400 + (nanos / NANOS_PER_SECOND) as i64,
        nanos: (nanos % NANOS_PER_SECOND) as i32,
    })
}

/// The time that hours of a year mean in the latest year that does not bring it after another time. None where
/// [`event_time`] is.
pub fn latest_time(hours: &str, not_after: &Timestamp) -> Option<Timestamp> {
    let year = year_of(not_after);
    let is_past = |time: &Timestamp| nanos(time) <= nanos(not_after);
    // Hours of a leap year's last day mean nothing in the years around it.
    (year - 8..=year).rev().filter_map(|year| event_time(year, hours)).find(is_past)
}

/// The whole hours that a year has.
fn hours_of(year: i32) -> std::ops::Range<u64> {
    let days = (days_to_year(year + 1) - days_to_year(year)).unsigned_abs();
    FIRST_HOUR..FIRST_HOUR + 24 * days
}

/// The hours of its year that a time means, as the feed words them: 15 digits, without zeros at the end. None before the
/// year 1.
pub fn hours_text(time: &Timestamp) -> Option<String> {
    let year_begin = i128::from(days_to_year(year_of(time))) * 86_400 * NANOS_PER_SECOND;
    let nanos = nanos(time) - year_begin + i128::from(FIRST_HOUR) * NANOS_PER_HOUR;
    let whole = nanos / NANOS_PER_HOUR;
    let whole_digits = whole.checked_ilog10()? + 1;
    let places = DIGITS.checked_sub(whole_digits)?;
    let scaled = (nanos * 10_i128.pow(places) + NANOS_PER_HOUR / 2) / NANOS_PER_HOUR;
    let (whole, fraction) = (scaled / 10_i128.pow(places), scaled % 10_i128.pow(places));
    let text = format!("{whole}.{fraction:0places$}", places = places as usize);
    Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

fn nanos(time: &Timestamp) -> i128 {
    i128::from(time.seconds) * NANOS_PER_SECOND + i128::from(time.nanos)
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
    fn eleven_decimals(year: i32, time: &Timestamp) -> String {
        let seconds = i128::from(time.seconds - days_to_year(year) * 86_400);
        let nanos = seconds * NANOS_PER_SECOND + i128::from(time.nanos) + 24 * NANOS_PER_HOUR;
        assert_eq!(nanos % 36, 0, "a time with 11 decimals of an hour is a multiple of 36 ns");
        let units = nanos / 36;
        format!("{}.{:011}", units / 100_000_000_000, units % 100_000_000_000)
    }

    #[test]
    fn the_latest_year_is_taken_that_is_not_too_late() {
        let latest = |hours, not_after| {
            let not_after = crate::time::parse_rfc3339(not_after).unwrap();
            latest_time(hours, &not_after).as_ref().map(rfc3339).unwrap()
        };
        assert_eq!(latest("8783.9", "2019-01-01T00:00:10Z"), "2018-12-31T23:54:00Z");
        assert_eq!(latest("24", "2018-12-31T23:59:50Z"), "2018-01-01T00:00:00Z");
        assert_eq!(latest("24", "2019-01-01T00:00:00Z"), "2019-01-01T00:00:00Z");
        assert_eq!(latest("1440", "2024-02-29T12:00:00Z"), "2024-02-29T00:00:00Z");
        assert_eq!(latest("1440", "2023-03-01T12:00:00Z"), "2023-03-01T00:00:00Z");
        // Only a leap year has such a day.
        assert_eq!(latest("8807.5", "2025-01-01T00:00:00Z"), "2024-12-31T23:30:00Z");
        assert_eq!(latest("8807.5", "2027-12-31T23:59:59Z"), "2024-12-31T23:30:00Z");
        assert_eq!(event_time(2023, "8784"), None);
    }

    #[test]
    fn recorded_texts_are_rebuilt() {
        for hours in ["6844.9875", "24", "6846.85802749998", "1205.06108277778", "100.5", "8783.99999999999"]
        {
            let time = event_time(2018, hours).unwrap();
            assert_eq!(hours_text(&time).as_deref(), Some(hours));
        }
        let finer = event_time(2018, "6846.8580274999778").unwrap();
        assert_ne!(
            hours_text(&finer).as_deref(),
            Some("6846.8580274999778"),
            "17 digits are more than nanoseconds"
        );
    }

    proptest! {
        /// What the feed has sent until 2022, with 15 digits, is rebuilt from the time, but for the first days of a year.
        #[test]
        fn hours_are_rebuilt(year in 1970..2100_i32, whole in 100..8784_u64, fraction in 0..100_000_000_000_u64) {
            let text = format!("{whole}.{fraction:011}");
            let text = text.trim_end_matches('0').trim_end_matches('.');
            prop_assert_eq!(hours_text(&event_time(year, text).unwrap()).unwrap(), text);
        }

        /// A time less than a year ago is found whatever year it is in.
        #[test]
        fn a_time_within_a_year_is_found(
            to in 0..4_102_444_800_i64, ago in 1..365 * 86_400_i64, nanos in 0..1_000_000_000,
        ) {
            let time = Timestamp { seconds: to - ago, nanos };
            let found = latest_time(&hours_text(&time).unwrap(), &Timestamp { seconds: to, nanos: 0 }).unwrap();
            let difference = (super::nanos(&found) - super::nanos(&time)).abs();
            // Half of the last of 15 digits.
            prop_assert!(difference <= 18, "{difference} ns");
        }

        #[test]
        fn hours_come_back_digit_by_digit(
            year in 1970..2100_i32,
            whole in FIRST_HOUR..FIRST_HOUR + 24 * 365,
            fraction in 0..100_000_000_000_u64,
            digits in 1..=11_usize,
        ) {
            let fraction = &format!("{fraction:011}")[..digits];
            let time = event_time(year, &format!("{whole}.{fraction}")).unwrap();
            prop_assert_eq!(eleven_decimals(year, &time), format!("{whole}.{fraction:0<11}"));
        }
    }
}
