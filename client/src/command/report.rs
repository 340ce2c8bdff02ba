//! Which changes are wanted, as people write it.

use std::time::Duration;

use clap::{Args, ValueEnum};
use downlink_client::{SubscriptionOptions, v1};

use super::length::parse_length;

/// Which changes of a signal are wanted, and what the server does when they come too fast.
#[derive(Debug, Args)]
pub(super) struct ReportArguments {
    /// Only events that say something else than the one before of their signal.
    #[arg(long)]
    on_change: bool,
    /// Numbers that differ by less are the same.
    #[arg(long, value_name = "NUMBER", requires = "on_change", default_value_t = 0.0)]
    deadband: f64,
    /// Only the newest event of each signal in each period, such as '1s'.
    #[arg(long, value_name = "PERIOD", value_parser = parse_length, conflicts_with = "on_change")]
    sample: Option<Duration>,
    /// At most one event of a signal in this time, such as '500ms'.
    #[arg(long, value_name = "TIME", value_parser = parse_length, conflicts_with = "sample")]
    min_interval: Option<Duration>,
    /// The newest event of a signal again when there was nothing of it for this time, such as '1min'.
    #[arg(long, value_name = "TIME", value_parser = parse_length)]
    resend: Option<Duration>,
    /// Begin with the newest event of each signal.
    #[arg(long)]
    initial: bool,
    /// What the server does when this reader cannot keep up.
    #[arg(long, value_enum, default_value_t = Slow::CatchUp)]
    on_slow: Slow,
}

/// What becomes of a reader that cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Slow {
    /// It gets everything, late.
    CatchUp,
    /// It gets the newest event of each signal, and is told how many were passed over.
    Conflate,
    /// The server ends it.
    Disconnect,
}

impl ReportArguments {
    /// The options with what is asked for.
    pub(super) fn apply(&self, mut options: SubscriptionOptions) -> SubscriptionOptions {
        options = options.on_slow(match self.on_slow {
            Slow::CatchUp => v1::OnSlow::CatchUp,
            Slow::Conflate => v1::OnSlow::Conflate,
            Slow::Disconnect => v1::OnSlow::Disconnect,
        });
        if self.on_change {
            options = options.on_change(self.deadband);
        }
        if let Some(period) = self.sample {
            options = options.sample(period);
        }
        if let Some(interval) = self.min_interval {
            options = options.min_interval(interval);
        }
        if let Some(interval) = self.resend {
            options = options.resend_interval(interval);
        }
        if self.initial { options.with_initial_values() } else { options }
    }
}
