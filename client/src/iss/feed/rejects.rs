//! What made no sense, into log lines: a few with their texts to see what it is, the others counted, never a flood.

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
        let Verdict { is_shown, unshown } = self.judge(Instant::now());
        tell(unshown);
        if !is_shown {
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

    fn judge(&mut self, now: Instant) -> Verdict {
        let is_over = |(begin, _): &mut (Instant, u32)| now.duration_since(*begin) >= STRETCH;
        let unshown = unshown(self.stretch.take_if(is_over));
        let (_, count) = self.stretch.get_or_insert((now, 0));
        *count += 1;
        Verdict { is_shown: *count <= SHOWN_MAX, unshown }
    }
}

impl Drop for Rejects {
    fn drop(&mut self) {
        tell(unshown(self.stretch));
    }
}

/// What becomes of one that was rejected.
struct Verdict {
    is_shown: bool,
    /// How many of the stretch that is over were not.
    unshown: u32,
}

fn unshown(stretch: Option<(Instant, u32)>) -> u32 {
    stretch.map_or(0, |(_, count)| count.saturating_sub(SHOWN_MAX))
}

fn tell(unshown: u32) {
    if unshown > 0 {
        tracing::warn!(updates = unshown, "further updates of the feed were rejected");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_shown_of_each_minute() {
        let (mut rejects, begin) = (Rejects::default(), Instant::now());
        for minute in 0..3 {
            let verdicts: Vec<_> = (0..1000).map(|_| rejects.judge(begin + STRETCH * minute)).collect();
            assert_eq!(verdicts.iter().filter(|verdict| verdict.is_shown).count(), SHOWN_MAX as usize);
            let told: u32 = verdicts.iter().map(|verdict| verdict.unshown).sum();
            assert_eq!(told, if minute == 0 { 0 } else { 1000 - SHOWN_MAX }, "of the minute before");
        }
    }
}
