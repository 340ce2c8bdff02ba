//! What a chart shows: a signal over time, piece by piece, with holes where there is nothing.

use downlink_client::Timestamp;
use downlink_client::v1::Bucket;

/// A signal over a stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chart {
    /// Its name and unit.
    pub(super) title: String,
    /// From and to, in seconds since the Unix epoch.
    pub(super) time: (f64, f64),
    /// In the order of time, evenly spaced; `None` is a hole.
    pub(super) pieces: Vec<Option<Piece>>,
}

/// A piece of the time in which there were values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) low: f64,
    pub(super) mean: f64,
    pub(super) high: f64,
}

impl Piece {
    /// What a bucket comes to, where that is numbers.
    pub(super) fn of(bucket: &Bucket) -> Option<Self> {
        Some(Self { low: bucket.min?, mean: bucket.mean?, high: bucket.max? })
            .filter(|piece| [piece.low, piece.mean, piece.high].iter().all(|number| number.is_finite()))
    }
}

impl Chart {
    /// A signal's buckets; `None` without any number in them.
    pub(super) fn of(title: String, buckets: &[Bucket]) -> Option<Self> {
        let from = seconds(buckets.first()?.start_time.as_ref()?);
        let to = seconds(buckets.last()?.end_time.as_ref()?);
        let chart = Self { title, time: (from, to), pieces: buckets.iter().map(Piece::of).collect() };
        chart.pieces.iter().any(Option::is_some).then_some(chart)
    }

    /// The least and the greatest value, apart from each other also where all values are the same. `None` without any.
    pub(super) fn span(&self) -> Option<(f64, f64)> {
        let low = self.pieces.iter().flatten().map(|piece| piece.low).reduce(f64::min)?;
        let high = self.pieces.iter().flatten().map(|piece| piece.high).reduce(f64::max)?;
        if low < high {
            return Some((low, high));
        }
        let margin = if low == 0.0 { 1.0 } else { low.abs() * 0.01 };
        Some((low - margin, high + margin))
    }

    /// The middle of a piece, in seconds since the Unix epoch.
    pub(super) fn middle(&self, piece: usize) -> f64 {
        let (from, to) = self.time;
        from + (to - from) * (piece as f64 + 0.5) / self.pieces.len() as f64
    }

    /// The pieces with values, run by run.
    pub(super) fn runs(&self) -> Vec<Vec<usize>> {
        let mut runs: Vec<Vec<usize>> = vec![];
        for (number, _) in self.pieces.iter().enumerate().filter(|(_, piece)| piece.is_some()) {
            match runs.last_mut() {
                Some(run) if run.last() == Some(&number.wrapping_sub(1)) => run.push(number),
                Some(_) | None => runs.push(vec![number]),
            }
        }
        runs
    }
}

fn seconds(time: &Timestamp) -> f64 {
    time.seconds as f64 + f64::from(time.nanos) / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_a_hole() {
        let bucket = |mean| Bucket { min: Some(0.0), mean, max: Some(2.0), ..Bucket::default() };
        assert_eq!(Piece::of(&bucket(Some(1.0))), Some(Piece { low: 0.0, mean: 1.0, high: 2.0 }));
        assert_eq!((Piece::of(&bucket(None)), Piece::of(&bucket(Some(f64::INFINITY)))), (None, None));
        assert_eq!(Chart::of("t".to_owned(), &[bucket(None)]), None);
    }
}
