//! What to follow, and how.

use std::time::Duration;

use downlink_proto::v1::position::At;
use downlink_proto::v1::report::Mode;
use downlink_proto::v1::{Filter, OnSlow, Position, Report, SubscribeRequest};

/// What to follow, and how, in the form of a request. The default is a live tail of everything.
///
/// ```
/// use std::time::Duration;
/// use downlink_client::{SubscriptionOptions, v1::{Edge, OnSlow, position::At}};
///
/// let options = SubscriptionOptions::default()
///     .start(At::Edge(Edge::Oldest.into()))
///     .signals(["tank/*"])
///     .on_change(0.5)
///     .min_interval(Duration::from_secs(1))
///     .with_initial_values()
///     .on_slow(OnSlow::Conflate);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubscriptionOptions {
    request: SubscribeRequest,
}

impl SubscriptionOptions {
    /// Begins there instead of with what comes next.
    #[must_use]
    pub fn start(mut self, at: At) -> Self {
        self.request.start = Some(Position { at: Some(at) });
        self
    }

    /// Only signals with one of these names or globs.
    #[must_use]
    pub fn signals(mut self, patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let filter = self.request.filter.get_or_insert_default();
        filter.signals = patterns.into_iter().map(Into::into).collect();
        self
    }

    /// Only events that this wants.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.request.filter = Some(filter);
        self
    }

    /// Only events that say something else than the one before: of numbers, by `deadband` or more.
    #[must_use]
    pub fn on_change(self, deadband: f64) -> Self {
        self.report(|report| {
            report.set_mode(Mode::OnChange);
            report.deadband = deadband;
        })
    }

    /// Only the newest event of each signal in each `period`.
    #[must_use]
    pub fn sample(self, period: Duration) -> Self {
        self.report(|report| report.set_mode(Mode::Sample)).min_interval(period)
    }

    /// At most one event of a signal in this time.
    #[must_use]
    pub fn min_interval(self, interval: Duration) -> Self {
        self.report(|report| report.min_interval = Some(wire(interval)))
    }

    /// The newest event of a signal again when there was nothing of it for this time.
    #[must_use]
    pub fn resend_interval(self, interval: Duration) -> Self {
        self.report(|report| report.resend_interval = Some(wire(interval)))
    }

    /// Begins with the newest event of each signal. It does so again after each reconnection.
    #[must_use]
    pub fn with_initial_values(self) -> Self {
        self.report(|report| report.initial_values = true)
    }

    /// What the server does when this reader cannot keep up.
    #[must_use]
    pub fn on_slow(mut self, on_slow: OnSlow) -> Self {
        self.request.set_on_slow(on_slow);
        self
    }

    /// Events may wait for so long, so that more of them come together.
    #[must_use]
    pub fn max_batch_delay(mut self, delay: Duration) -> Self {
        self.request.max_batch_delay = Some(wire(delay));
        self
    }

    /// A sign of life after so much silence. Three that fail to come mean that the connection is lost.
    #[must_use]
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.request.heartbeat_interval = Some(wire(interval));
        self
    }

    fn report(mut self, change: impl FnOnce(&mut Report)) -> Self {
        change(self.request.report.get_or_insert_default());
        self
    }
}

impl From<SubscriptionOptions> for SubscribeRequest {
    fn from(options: SubscriptionOptions) -> Self {
        options.request
    }
}

/// As long as a duration on the wire can be.
fn wire(duration: Duration) -> prost_types::Duration {
    const SECONDS_MAX: u64 = 315_576_000_000;
    duration.min(Duration::from_secs(SECONDS_MAX)).try_into().expect("it is within the bound")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_a_request() {
        assert_eq!(SubscribeRequest::from(SubscriptionOptions::default()), SubscribeRequest::default());
        let options = SubscriptionOptions::default()
            .signals(["a", "b/*"])
            .sample(Duration::from_millis(1_500))
            .resend_interval(Duration::MAX)
            .with_initial_values()
            .on_slow(OnSlow::Disconnect)
            .max_batch_delay(Duration::from_millis(5));
        let request = SubscribeRequest::from(options);
        let report = request.report.unwrap();
        assert_eq!((report.mode(), report.initial_values), (Mode::Sample, true));
        assert_eq!(report.min_interval, Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }));
        assert_eq!(report.resend_interval.unwrap().seconds, 315_576_000_000);
        assert_eq!(request.on_slow(), OnSlow::Disconnect);
        assert_eq!(request.filter.unwrap().signals, ["a", "b/*"]);
        assert_eq!(request.max_batch_delay.unwrap().nanos, 5_000_000);
    }
}
