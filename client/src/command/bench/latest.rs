//! `downlink bench latest`: how long the newest value of every signal takes.

use std::time::{Duration, Instant};

use clap::Args;
use downlink_client::Client;
use downlink_client::v1::GetLatestRequest;
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::task::JoinSet;

use super::pace::Turns;
use super::surroundings::Surroundings;
use super::{conditions, report};
use crate::command::Context;
use crate::command::output::Printer;

/// Asks for the newest event of signals, one page of them, at a pace, and prints how long the answers took.
///
/// Measured from when a request was due, so what waits behind a slow one counts as slow too.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink bench latest
  downlink bench latest 'iss/*' --rate 500 --clients 8")]
pub(in crate::command) struct Latest {
    /// Names or globs. Unset: all signals.
    #[arg(value_name = "SIGNAL")]
    signals: Vec<String>,
    /// Clients, each with a connection of its own.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Requests a second over all clients.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// How long to measure.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    #[command(flatten)]
    surroundings: Surroundings,
}

impl Latest {
    pub(in crate::command) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let client = context.connect().await?;
        let request = GetLatestRequest { signals: self.signals.clone(), ..GetLatestRequest::default() };
        let values = client.latest(request.clone()).await?.values.len();
        let disk = self.surroundings.disk()?;
        let (usage, start) = (self.surroundings.usage()?, Instant::now());
        let lasting = Duration::from_secs(u64::from(self.seconds));
        let mut running = JoinSet::new();
        for turns in Turns::deal(self.clients as usize, Some(f64::from(self.rate)), lasting) {
            running.spawn(ask(context.connect().await?, request.clone(), turns));
        }
        let mut times = conditions::times()?;
        while let Some(asked) = running.join_next().await {
            times.add(asked??)?;
        }
        let report = json!({
            "bench": "latest",
            "answer_ms": conditions::percentiles(&times),
            "answers": times.len(),
            "signals_in_an_answer": values,
            "fdatasync_4k_ms": disk,
            "server": self.surroundings.used_since(usage, start.elapsed().as_secs_f64())?,
            "conditions": {
                "machine": conditions::machine(),
                "clients": self.clients,
                "rate_per_second": self.rate,
                "measured_from": "when the request was due",
                "seconds": self.seconds,
                "server_version": client.info().await?.server_version,
                "server_url": client.url(),
            },
        });
        report::print(&mut Printer::new(context.format), context.format, &report)
    }
}

async fn ask(client: Client, request: GetLatestRequest, mut turns: Turns) -> anyhow::Result<Histogram<u64>> {
    let mut times = conditions::times()?;
    while let Some(due) = turns.next().await {
        client.latest(request.clone()).await?;
        times.saturating_record(due.elapsed().as_micros() as u64);
    }
    Ok(times)
}
