//! What the reports of all subscriptions remember, counted together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One subscription's part of it, given back when it ends.
#[derive(Debug)]
pub(super) struct Share {
    total: Arc<AtomicUsize>,
    bytes: usize,
}

/// All together would be more than there may be.
#[derive(Debug)]
pub(super) struct TooMuch;

impl Share {
    /// Nothing of `total` yet.
    pub(super) const fn new(total: Arc<AtomicUsize>) -> Self {
        Self { total, bytes: 0 }
    }

    /// From now on it is `bytes`; all together may be `bytes_max`.
    pub(super) fn set(&mut self, bytes: usize, bytes_max: usize) -> Result<(), TooMuch> {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes <= before {
            self.total.fetch_sub(before - bytes, Ordering::Relaxed);
            return Ok(());
        }
        let total = self.total.fetch_add(bytes - before, Ordering::Relaxed) + bytes - before;
        if total > bytes_max { Err(TooMuch) } else { Ok(()) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_are_bounded() {
        let total = Arc::new(AtomicUsize::new(0));
        let (mut one, mut two) = (Share::new(total.clone()), Share::new(total.clone()));
        assert!(one.set(60, 100).is_ok() && two.set(50, 100).is_err());
        assert!(one.set(10, 100).is_ok() && two.set(60, 100).is_ok());
        drop(two);
        assert_eq!(total.load(Ordering::Relaxed), 10);
    }
}
