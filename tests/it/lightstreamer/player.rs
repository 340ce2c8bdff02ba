//! Plays updates to the sessions: as fast as all of them take it, or at a pace.

use std::sync::Arc;
use std::time::Duration;

use downlink_client::iss::update::Update;
use tokio::time::{Instant, sleep_until};

use super::state::Shared;
use super::{Plan, Trouble};

/// How many updates are played at once where no pace is kept.
const AT_ONCE: usize = 256;

/// Plays the plan to its end.
pub(super) async fn play(shared: Arc<Shared>, plan: Plan) {
    let Plan { mut updates, times, items_awaited, troubles } = plan;
    let mut pace = times.map(Pace::new);
    let mut troubles = troubles.into_iter().peekable();
    let mut played = 0;
    loop {
        shared.until(|state| state.may_play(items_awaited).then_some(())).await;
        let due_count = troubles.peek().map_or(AT_ONCE, |(after, _)| (after - played) as usize);
        let count = if pace.is_some() { 1 } else { AT_ONCE };
        let next: Vec<_> = updates.by_ref().take(count.min(due_count)).collect();
        if let (Some(pace), Some(update)) = (&mut pace, next.first()) {
            pace.wait(update).await;
        }
        let due = |played| move |(after, _): &(u64, Trouble)| *after <= played;
        played += next.len() as u64;
        let trouble = troubles.next_if(due(played));
        let is_over = next.is_empty() && trouble.is_none();
        shared.change(|state| {
            next.into_iter().for_each(|update| state.publish(update));
            if let Some((_, trouble)) = trouble {
                state.make(trouble);
            }
            if is_over {
                state.end();
            }
        });
        if is_over {
            return;
        }
    }
}

/// The pace of the time stamps, times a factor.
struct Pace {
    times: f64,
    began: Option<(f64, Instant)>,
}

impl Pace {
    fn new(times: f64) -> Self {
        Self { times, began: None }
    }

    async fn wait(&mut self, update: &Update) {
        let Some(hours) = update.time_stamp.as_ref().and_then(|text| text.parse::<f64>().ok()) else {
            return;
        };
        let (first, began) = *self.began.get_or_insert_with(|| (hours, Instant::now()));
        let after = Duration::try_from_secs_f64((hours - first) * 3600. / self.times).unwrap_or_default();
        sleep_until(began + after).await;
    }
}
