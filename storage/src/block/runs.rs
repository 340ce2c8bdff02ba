//! A run-length column: values that seldom change from row to row.

use std::ops::Range;

/// One value per row, kept once per run of equal rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Runs<T> {
    starts: Vec<u32>,
    values: Vec<T>,
}

/// A column without rows.
impl<T> Default for Runs<T> {
    fn default() -> Self {
        Self { starts: Vec::new(), values: Vec::new() }
    }
}

impl<T: Copy + PartialEq> Runs<T> {
    /// Sets the value from `row` on. Rows come in ascending order, the first is 0.
    pub(crate) fn push(&mut self, row: u32, value: T) {
        if self.values.last() != Some(&value) {
            self.starts.push(row);
            self.values.push(value);
        }
    }

    /// The value of `row`.
    pub(crate) fn get(&self, row: usize) -> T {
        self.values[self.starts.partition_point(|&start| start as usize <= row) - 1]
    }

    /// The first row of each run, with its value.
    pub(crate) fn runs(&self) -> impl ExactSizeIterator<Item = (u32, T)> {
        self.starts.iter().copied().zip(self.values.iter().copied())
    }

    /// The value of the last row.
    pub(crate) fn last(&self) -> Option<T> {
        self.values.last().copied()
    }

    /// The runs in `rows`: the first row of each, counted from the first of `rows`, with its value.
    pub(crate) fn runs_in(&self, rows: Range<usize>) -> impl Iterator<Item = (u32, T)> {
        let first = self.starts.partition_point(|&start| start as usize <= rows.start).saturating_sub(1);
        let end = self.starts.partition_point(|&start| (start as usize) < rows.end);
        let begin = move |start: u32| start.saturating_sub(rows.start as u32);
        (first..end).map(move |run| (begin(self.starts[run]), self.values[run]))
    }

    /// The values of these rows, which ascend.
    pub(crate) fn pick(&self, rows: &[u32]) -> Self {
        let mut picked = Self::default();
        let mut run = 0;
        for (place, row) in (0..).zip(rows) {
            while self.starts.get(run + 1).is_some_and(|start| start <= row) {
                run += 1;
            }
            picked.push(place, self.values[run]);
        }
        picked
    }

    /// The value of each row in turn, without end: the last run has none.
    pub(crate) fn rows(&self) -> Rows<'_, T> {
        self.rows_from(0)
    }

    /// The value of each row from `row` on, without end.
    pub(crate) fn rows_from(&self, row: usize) -> Rows<'_, T> {
        let run = self.starts.partition_point(|&start| start as usize <= row).saturating_sub(1);
        Rows { runs: self, run, row: row as u32 }
    }

    /// Bytes held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.starts.capacity() * size_of::<u32>() + self.values.capacity() * size_of::<T>()
    }
}

/// See [`Runs::rows`].
pub(crate) struct Rows<'a, T> {
    runs: &'a Runs<T>,
    run: usize,
    row: u32,
}

impl<T: Copy> Iterator for Rows<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.runs.starts.get(self.run + 1).is_some_and(|&start| start <= self.row) {
            self.run += 1;
        }
        self.row = self.row.wrapping_add(1);
        self.runs.values.get(self.run).copied()
    }
}
