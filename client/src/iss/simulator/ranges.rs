//! What values the items had on recorded days, and how often: the facts that the simulator goes by.

use std::sync::{Arc, LazyLock};

/// A row for each item: its values, how many different ones there were, and the time from one to the next.
const RANGES: &str = include_str!("../ranges.csv");

static ALL: LazyLock<Vec<Range>> = LazyLock::new(|| {
    let mut rows = csv::Reader::from_reader(RANGES.as_bytes());
    rows.records().map(|row| Range::of(&row.expect("the ranges are a table"))).collect()
});

/// The range of every item that was seen.
pub(super) fn all() -> &'static [Range] {
    &ALL
}

/// What is known of an item's values.
#[derive(Clone, Debug)]
pub(super) struct Range {
    pub(super) name: Arc<str>,
    pub(super) min: f64,
    pub(super) p01: f64,
    pub(super) median: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
    /// How many different values.
    pub(super) distinct: u32,
    /// Whether all of them are whole numbers.
    pub(super) is_whole: bool,
    /// From one update to the next, and on average; none if it never changed.
    pub(super) seconds: Option<(f64, f64)>,
}

impl Range {
    fn of(row: &csv::StringRecord) -> Self {
        let number = |column: usize| row[column].parse::<f64>().ok();
        let value = |column| number(column).expect("the ranges are numbers");
        Self {
            name: row[0].into(),
            min: value(1),
            p01: value(2),
            median: value(3),
            p99: value(4),
            max: value(5),
            distinct: value(6) as u32,
            is_whole: (1..=5).all(|column| value(column).fract() == 0.),
            seconds: number(7).zip(number(8)),
        }
    }
}
