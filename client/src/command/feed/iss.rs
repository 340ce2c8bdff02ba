//! The live feed as a process of its own.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use downlink_client::iss::catalogue;
use downlink_client::iss::feed::{self, Figures, Options};
use downlink_client::iss::live::{PUBLIC_SERVER, Subject};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use super::super::Context;

/// How often it says how it fares.
const FIGURES_EVERY: Duration = Duration::from_secs(60);

/// Brings the live telemetry of the International Space Station in, until it is stopped.
///
/// It connects again and again, to the station's server as well as to the log. What the log has already is not appended twice,
/// also after a restart. How the feed is, the signal _feed/iss says: connected, AOS, LOS, stale, disconnected. Run one of a log only:
/// or `feed = "iss"` in the server's settings.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink feed iss
  downlink feed iss --item NODE3000005 --item NODE3000004")]
pub(in crate::command) struct Iss {
    /// The Lightstreamer server with the telemetry.
    #[arg(long, value_name = "URL", default_value = PUBLIC_SERVER)]
    server: String,
    /// An item that is wanted; may be repeated. By default all that are known.
    #[arg(long, value_name = "PUI")]
    item: Vec<String>,
    /// What the signals' names begin with.
    #[arg(long, default_value = "iss/")]
    prefix: String,
    /// Events between the session and the log. While the log cannot be reached for longer, the newest of each signal are kept.
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1024..=10_000_000))]
    buffer_events: u32,
}

impl Iss {
    pub(in crate::command) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        log_lines();
        let items = if self.item.is_empty() { catalogue::items() } else { self.item.clone() };
        let subject = Subject::new(&self.server, items)?;
        let options = Options {
            prefix: self.prefix.clone(),
            buffer_events_max: self.buffer_events as usize,
            ..Options::new("iss", "lightstreamer/ISSLIVE")
        };
        let figures = Figures::default();
        let stop = stopped();
        tokio::select! {
            totals = feed::keep(&context.url, || subject.open(), &options, &figures, stop) => {
                let durable = totals.map_or(0, |totals| totals.durable_events);
                tracing::info!(durable, "stopped: {}", figures.snapshot());
            }
            () = tell(&figures) => {}
        }
        Ok(())
    }
}

/// The figures, now and then, for ever.
async fn tell(figures: &Figures) {
    loop {
        tokio::time::sleep(FIGURES_EVERY).await;
        tracing::info!("{}", figures.snapshot());
    }
}

/// Log lines on standard error: of the session's library only what went wrong, for the feed says the rest itself.
fn log_lines() {
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("lightstreamer_rs", LevelFilter::ERROR)
        .with_target("downlink", LevelFilter::INFO)
        .with_target("downlink_client", LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    tracing_subscriber::registry().with(lines).with(filter).init();
}

/// Completes at Ctrl-C or SIGTERM.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupted = tokio::signal::ctrl_c();
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
        }
        Err(_) => {
            // Then only Ctrl-C is listened for.
            let _ = interrupted.await;
        }
    }
}
