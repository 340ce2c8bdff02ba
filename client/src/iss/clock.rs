//! The year that the feed's times lack: the host's clock, as long as the station agrees with it on the year.

use prost_types::Timestamp;

use super::time::{event_time, latest_time};
use super::update::Update;
use crate::time::days_to_year;

/// The item whose `TimeStamp` is the station's present, and whose `Status.Class` says whether there is a signal.
pub const TIME_ITEM: &str = "TIME_000001";
/// The item whose value is the year.
pub const YEAR_ITEM: &str = "TIME_000002";

const SECONDS_PER_DAY: i64 = 86_400;
/// How far the host's clock may be outside the station's year: that is sent once a year, and may come late.
const YEAR_MARGIN_DAYS: i64 = 31;
/// How far a time may be ahead of the present: clocks differ. What is older than a year but for this looks younger by one.
const AHEAD_DAYS: i64 = 31;
/// Hours fall by more than this at New Year only.
const NEW_YEAR_FALL_HOURS: f64 = 24.0 * 180.0;
/// Years that can be.
const YEARS: std::ops::RangeInclusive<i32> = 1998..=2200;

/// Finds the year of the feed's times: a time is in the latest year that does not bring it more than a month after the present.
///
/// The present is what the station says it is, by its clock and its year, and the host's before it has said so. In the first
/// days of a year the station's may be that of the year before still: then the host's clock decides, if it agrees with one of the
/// two. So neither a wrong clock of the host nor a recording's age changes anything.
#[derive(Clone, Debug, Default)]
pub struct StationClock {
    /// What the station has said last.
    year: Option<i32>,
    /// Its present, in hours of the year.
    hours: Option<String>,
}

impl StationClock {
    /// Takes note of what an update says of year and present.
    pub fn observe(&mut self, update: &Update) {
        match &*update.item {
            YEAR_ITEM => self.observe_year(update),
            TIME_ITEM => self.observe_present(update),
            _ => {}
        }
    }

    /// When an update happened: in UTC, with the year. None when its time is none of a year.
    pub fn time_of(&self, update: &Update, now: &Timestamp) -> Option<Timestamp> {
        let hours = update.time_stamp.as_deref()?;
        // The year changes once a year, so that the nearest time may be the one when it changes next.
        match said_year(update).filter(|_| &*update.item == YEAR_ITEM) {
            Some(year) => event_time(year, hours),
            None => self.event_time(hours, now),
        }
    }

    /// When it happened: in UTC, with the year. None when the text is no time of a year.
    pub fn event_time(&self, hours: &str, now: &Timestamp) -> Option<Timestamp> {
        let present = self.present(now);
        let not_after = Timestamp { seconds: present.seconds + AHEAD_DAYS * SECONDS_PER_DAY, ..present };
        latest_time(hours, &not_after)
    }

    /// Whether ages can be told by the host's clock.
    pub fn trusts(&self, now: &Timestamp) -> bool {
        self.year.is_none_or(|year| is_about(year, now))
    }

    /// What time it is, as well as that is known.
    fn present(&self, now: &Timestamp) -> Timestamp {
        let Some(year) = self.year else { return *now };
        let is_near =
            |time: &Timestamp| (time.seconds - now.seconds).abs() <= YEAR_MARGIN_DAYS * SECONDS_PER_DAY;
        let of = |year| self.hours.as_deref().and_then(|hours| event_time(year, hours));
        match of(year) {
            Some(present) => of(year + 1).filter(is_near).filter(|_| !is_near(&present)).unwrap_or(present),
            None if is_about(year, now) => *now,
            // Whatever comes is of that year.
            None => Timestamp {
                seconds: days_to_year(year + 1) * SECONDS_PER_DAY - 1 - AHEAD_DAYS * SECONDS_PER_DAY,
                nanos: 0,
            },
        }
    }

    fn observe_year(&mut self, update: &Update) {
        let Some(year) = said_year(update) else { return };
        self.year = Some(year);
    }

    fn observe_present(&mut self, update: &Update) {
        let Some(hours) = &update.time_stamp else { return };
        // Every year has hours up to a leap year's end, or nearly.
        if event_time(2024, hours).is_none() {
            return;
        }
        let number = |hours: &str| hours.parse().unwrap_or(0.0_f64);
        let fall = self.hours.as_deref().map_or(0.0, number) - number(hours);
        // The year follows when it is sent, which is later than this by a moment.
        if let (true, Some(year)) = (fall > NEW_YEAR_FALL_HOURS, &mut self.year)
            && !update.is_snapshot
            && *year < *YEARS.end()
        {
            *year += 1;
        }
        self.hours = Some(hours.clone());
    }
}

/// Whether the host's clock shows this year, give or take a month.
fn is_about(year: i32, now: &Timestamp) -> bool {
    let begin = (days_to_year(year) - YEAR_MARGIN_DAYS) * SECONDS_PER_DAY;
    let end = (days_to_year(year + 1) + YEAR_MARGIN_DAYS) * SECONDS_PER_DAY;
    (begin..end).contains(&now.seconds)
}

/// The year that an update's value is, if it can be one.
fn said_year(update: &Update) -> Option<i32> {
    let year = update.value.as_deref()?.trim().parse().ok()?;
    YEARS.contains(&year).then_some(year)
}

/// The year's first moment and the next one's, for those who draw times at random.
#[cfg(test)]
fn span(year: i32) -> std::ops::Range<i64> {
    days_to_year(year) * SECONDS_PER_DAY..days_to_year(year + 1) * SECONDS_PER_DAY
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iss::time::hours_text;
    use crate::time::{parse_rfc3339, rfc3339};
    use proptest::prelude::*;

    fn clock(year: &str, hours: &str) -> StationClock {
        let mut clock = StationClock::default();
        clock.observe(&Update::live(YEAR_ITEM, "1160.6", year));
        clock.observe(&Update::live(TIME_ITEM, hours, "0"));
        clock
    }

    fn time_at(clock: &StationClock, hours: &str, now: &str) -> String {
        rfc3339(&clock.event_time(hours, &parse_rfc3339(now).unwrap()).unwrap())
    }

    #[test]
    fn a_recording_is_in_its_own_year() {
        let clock = clock("2018", "6844.9");
        assert_eq!(time_at(&clock, "6844.9875", "2026-11-23T00:00:00Z"), "2018-10-12T04:59:15Z");
        assert!(!clock.trusts(&parse_rfc3339("2026-11-23T00:00:00Z").unwrap()));
        // A value that has not changed since the year before.
        assert_eq!(time_at(&clock, "8783.5", "2026-11-23T00:00:00Z"), "2017-12-31T23:30:00Z");
    }

    #[test]
    fn a_host_that_woke_in_1970_asks_the_station() {
        let clock = clock("2026", "7900");
        assert_eq!(time_at(&clock, "7900", "1970-01-01T00:00:05Z"), "2026-11-25T04:00:00Z");
        assert_eq!(time_at(&clock, "7900", "2026-11-25T04:00:01Z"), "2026-11-25T04:00:00Z");
    }

    #[test]
    fn what_has_not_changed_for_most_of_a_year_is_of_the_past() {
        let clock = clock("2026", "7900");
        // The host's clock is right, or wrong within the station's year.
        for now in ["2026-11-25T04:00:00Z", "2026-01-10T00:00:00Z"] {
            assert_eq!(time_at(&clock, "1161.25", now), "2026-02-17T09:15:00Z");
            assert_eq!(time_at(&clock, "8760", now), "2025-12-31T00:00:00Z");
        }
        assert_eq!(
            time_at(&StationClock::default(), "1161.25", "2026-11-25T04:00:00Z"),
            "2026-02-17T09:15:00Z"
        );
    }

    #[test]
    fn the_last_day_of_a_leap_year_is_of_a_leap_year() {
        let now = "2025-02-10T00:00:00Z";
        assert_eq!(time_at(&clock("2025", "980"), "8790", now), "2024-12-31T06:00:00Z");
        assert_eq!(time_at(&clock("2024", "8790"), "8790", "2024-12-31T06:00:00Z"), "2024-12-31T06:00:00Z");
    }

    #[test]
    fn new_year_passes_on_either_clock() {
        let mut station = clock("2018", "8783.9999");
        for now in ["2019-01-01T00:00:03Z", "1970-01-01T00:10:00Z"] {
            assert_eq!(time_at(&station, "8783.9999", now), "2018-12-31T23:59:59.64Z");
            station.observe(&Update::live(TIME_ITEM, "24.0003", "0"));
            assert_eq!(time_at(&station, "24.0003", now), "2019-01-01T00:00:01.08Z");
            assert_eq!(time_at(&station, "8783.9999", now), "2018-12-31T23:59:59.64Z", "a late one");
            station.observe(&Update::live(YEAR_ITEM, "24.0003", "2019"));
            assert_eq!(time_at(&station, "24.0005", now), "2019-01-01T00:00:01.8Z");
            station = clock("2018", "8783.9999");
        }
    }

    #[test]
    fn the_year_began_when_it_says_so_however_long_ago() {
        let (clock, now) = (clock("2026", "8500"), parse_rfc3339("2026-12-20T00:00:00Z").unwrap());
        let time = clock.time_of(&Update::live(YEAR_ITEM, "24.0003", "2026"), &now).unwrap();
        assert_eq!(rfc3339(&time), "2026-01-01T00:00:01.08Z");
    }

    #[test]
    fn nonsense_changes_nothing() {
        let mut station = clock("2018", "6844.9");
        for nonsense in ["", "0", "20188", "n/a", "-1", "1e3"] {
            station.observe(&Update::live(YEAR_ITEM, "6844.9", nonsense));
            station.observe(&Update::live(TIME_ITEM, nonsense, "0"));
        }
        station.observe(&Update { item: TIME_ITEM.into(), ..Update::default() });
        station.observe(&Update { item: YEAR_ITEM.into(), ..Update::default() });
        assert_eq!(time_at(&station, "6844.9875", "2026-11-23T00:00:00Z"), "2018-10-12T04:59:15Z");
    }

    proptest! {
        /// Whatever day it is, whichever value is how late or how old, and wherever the host's clock stands: the time is the
        /// one that was meant, as long as it is less than eleven months old and not from the future.
        #[test]
        fn the_year_is_found(
            year in 2000..2100_i32,
            second in 0..86_400 * 366_i64,
            age in 0..86_400 * 330_i64,
            step in prop_oneof![-86_400 * 30..86_400 * 30_i64, Just(-1_500_000_000)],
        ) {
            let present = Timestamp { seconds: (span(year).start + second).min(span(year).end - 1), nanos: 0 };
            let now = Timestamp { seconds: present.seconds + step, nanos: 0 };
            let clock = clock(&year.to_string(), &hours_text(&present).unwrap());
            let meant = Timestamp { seconds: present.seconds - age, nanos: 0 };
            let found = clock.event_time(&hours_text(&meant).unwrap(), &now).unwrap();
            let off = (found.seconds - meant.seconds).abs();
            prop_assert!(off <= 1, "{} instead of {}", rfc3339(&found), rfc3339(&meant));
        }

        /// Times that go back and forth by hours, over New Year too, keep their order and their distance.
        #[test]
        fn going_back_is_kept(year in 2000..2100_i32, jumps in prop::collection::vec(-7200..7200_i64, 1..50)) {
            let mut clock = StationClock::default();
            let mut present = span(year).end - 3600;
            clock.observe(&Update::live(YEAR_ITEM, "8000", year.to_string()));
            for jump in jumps {
                present += jump;
                let time = Timestamp { seconds: present, nanos: 0 };
                let hours = hours_text(&time).unwrap();
                let found = clock.event_time(&hours, &time).unwrap();
                prop_assert!((found.seconds - present).abs() <= 1);
            }
        }
    }
}
