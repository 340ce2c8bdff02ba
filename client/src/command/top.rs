//! `downlink top`: how a server fares, live.

mod figures;
mod page;
mod screen;
mod source;
mod terminal;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use tokio::time::{MissedTickBehavior, interval};

use super::length::parse_length;
use super::output::Printer;
use super::{Context, Format};
use source::Source;

/// Shows how a server fares: rates, queues, commits, readers, lag and disk, from what it tells at /metrics.
///
/// On a terminal until q or Ctrl-C; in a pipe, or with --output json, a JSON object for each interval.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink top
  downlink top --metrics-url http://other:9464 --every 5s
  downlink top --output json --count 1 | jq .appended_per_second")]
pub(super) struct Top {
    /// Where the server serves HTTP (its http_listen).
    #[arg(long, value_name = "URL", env = "DOWNLINK_METRICS_URL", default_value = "http://127.0.0.1:9464")]
    metrics_url: String,
    /// How often to ask: rates and latencies are of the time between.
    #[arg(long, value_name = "LENGTH", value_parser = parse_length, default_value = "1s")]
    every: Duration,
    /// Print so many JSON objects, then end.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// More often than this would measure the asking.
const EVERY_MIN: Duration = Duration::from_millis(100);

impl Top {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let every = self.every.max(EVERY_MIN);
        let mut source = Source::new(&self.metrics_url)?;
        // Who is not there at the beginning is more likely a mistake in the address than an outage.
        source.begin().await?;
        let is_screen = context.format == Format::Human && self.count.is_none() && io::stdout().is_terminal();
        if is_screen {
            return terminal::show(source, every).await;
        }
        tokio::select! {
            printed = self.print(source, every) => printed,
            interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        }
    }

    async fn print(&self, mut source: Source, every: Duration) -> anyhow::Result<()> {
        let (mut printer, mut is_away) = (Printer::new(Format::Json), false);
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut left = self.count;
        while left != Some(0) {
            ticks.tick().await;
            match source.next().await {
                Ok(figures) => {
                    printer.json(&figures.json())?;
                    printer.flush()?;
                    left = left.map(|left| left - 1);
                    is_away = false;
                }
                Err(error) if !is_away => {
                    eprintln!("downlink: {error:#}; trying again");
                    is_away = true;
                }
                Err(_) => {}
            }
        }
        Ok(())
    }
}
