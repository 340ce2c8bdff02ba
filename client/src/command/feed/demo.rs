//! The simulated station as a feed, for use without a network.

use std::time::SystemTime;

use clap::Args;
use downlink_client::iss::feed::Options;
use downlink_client::iss::simulator::Demo as Station;

use super::super::Context;
use super::super::moment::Moment;
use super::super::speed::Speed;
use super::running;

/// Brings telemetry of a simulated station in, until it is stopped: nothing of it is real.
///
/// The items are 254 of those of the International Space Station, with values as they were recorded, a urine tank that is filled and
/// emptied, and losses of signal. Their signals begin with demo/, the source of their events is demo, and how the feed is,
/// _feed/demo says. Run one of a log only: or `feed = "demo"` in the server's settings.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink feed demo
  downlink feed demo --seed 7 --from '1 day ago' --speed max")]
pub(in crate::command) struct Demo {
    /// The same seed from the same time on brings the same telemetry.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// When it begins; by default now.
    #[arg(long, value_name = "TIME")]
    from: Option<Moment>,
    /// How fast until it has caught up with the present: a factor on the station's pace, or max for as fast as possible.
    #[arg(long, value_name = "max|N", default_value = "1")]
    speed: Speed,
    /// What the signals' names begin with.
    #[arg(long, default_value = "demo/")]
    prefix: String,
}

impl Demo {
    pub(in crate::command) async fn run(&self, context: &Context) {
        let options = Options { prefix: self.prefix.clone(), ..Options::demo() };
        let times = self.speed.times().unwrap_or(f64::INFINITY);
        let mut from = self.from;
        let open = || {
            // Only the first begins in the past: another goes on now, and repeats nothing.
            let from = from.take().map_or_else(|| SystemTime::now().into(), |Moment(time)| time);
            Station::since(self.seed, from, times)
        };
        running::run(context, open, &options).await;
    }
}
