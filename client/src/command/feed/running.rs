//! A feed as a process of its own: it says on standard error how it fares, and ends when it is told to.

use std::io::IsTerminal;
use std::time::Duration;

use downlink_client::iss::feed::{self, Figures, Options};
use downlink_client::iss::update::Source;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use super::super::Context;

/// How often it says how it fares.
const FIGURES_EVERY: Duration = Duration::from_secs(60);

/// Feeds the log until Ctrl-C or SIGTERM; each connection with it begins with a fresh source.
pub(super) async fn run<S: Source>(context: &Context, open: impl FnMut() -> S, options: &Options) {
    log_lines();
    let figures = Figures::default();
    let stop = stopped();
    tokio::select! {
        totals = feed::keep(&context.url, open, options, &figures, stop) => {
            let durable = totals.map_or(0, |totals| totals.durable_events);
            tracing::info!(durable, "stopped: {}", figures.snapshot());
        }
        () = tell(&figures) => {}
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
