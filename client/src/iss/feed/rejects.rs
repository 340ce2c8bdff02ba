//! What made no sense, into the server's own log lines: enough to see what it is, never a flood.

use std::time::Duration;

use tokio::time::Instant;

use super::normalise::Reject;
use crate::iss::update::Update;

/// So many are shown of each stretch of time.
const SHOWN_MAX: u32 = 5;
const STRETCH: Duration = Duration::from_secs(60);
const CHARS_MAX: usize = 100;

/// Decides what is shown.
#[derive(Debug, Default)]
pub(super) struct Rejects {
    stretch: Option<(Instant, u32)>,
}

impl Rejects {
    /// Shows an update that was rejected, with its raw text, unless many were shown lately.
    pub(super) fn show(&mut self, update: &Update, reject: Reject) {
        if !self.is_shown(Instant::now()) {
            return;
        }
        let cut = |text: &str| text.chars().take(CHARS_MAX).collect::<String>();
        let raw = |text: &Option<String>| text.as_deref().map(cut);
        tracing::warn!(
            item = ?cut(&update.item),
            time_stamp = ?raw(&update.time_stamp),
            value = ?raw(&update.value),
            status_class = ?raw(&update.status_class),
            reason = %reject,
            "an update of the feed was rejected"
        );
    }

    fn is_shown(&mut self, now: Instant) -> bool {
        let (begin, shown) = self.stretch.get_or_insert((now, 0));
        if now.duration_since(*begin) >= STRETCH {
            (*begin, *shown) = (now, 0);
        }
        *shown += 1;
        *shown <= SHOWN_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_shown_of_each_minute() {
        let (mut rejects, begin) = (Rejects::default(), Instant::now());
        for minute in 0..3 {
            let shown = (0..1000).filter(|_| rejects.is_shown(begin + STRETCH * minute)).count();
            assert_eq!(shown, SHOWN_MAX as usize);
        }
    }
}
