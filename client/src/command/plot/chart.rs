//! What a chart shows: a signal over time, piece by piece, with holes where there is nothing.

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

impl Chart {
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
}
