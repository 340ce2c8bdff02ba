//! A run-length column: values that seldom change from row to row.

/// One value per row, kept once per run of equal rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Runs<T> {
    starts: Vec<u32>,
    values: Vec<T>,
}

impl<T: Copy + PartialEq> Runs<T> {
    /// A column without rows.
    pub(crate) const fn new() -> Self {
        Self { starts: Vec::new(), values: Vec::new() }
    }

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

    /// The value of the last row.
    pub(crate) fn last(&self) -> Option<T> {
        self.values.last().copied()
    }

    /// The first row of each run, with its value.
    pub(crate) fn runs(&self) -> impl ExactSizeIterator<Item = (u32, T)> {
        self.starts.iter().copied().zip(self.values.iter().copied())
    }

    /// The value of each row in turn, without end: the last run has none.
    pub(crate) fn rows(&self) -> Rows<'_, T> {
        Rows { runs: self, run: 0, row: 0 }
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
