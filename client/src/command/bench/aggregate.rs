//! `downlink bench aggregate`: how long a chart of a signal takes.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use downlink_client::v1::aggregate_request::Resolution;
use downlink_client::v1::{AggregateRequest, Bucket};
use downlink_client::{Client, Timestamp};
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::task::JoinSet;

use super::pace::Turns;
use super::surroundings::Surroundings;
use super::{conditions, report};
use crate::command::Context;
use crate::command::length::parse_length;
use crate::command::output::Printer;

/// Asks for minimum, maximum, mean, first, last and count of a signal in so many points, at a pace, and prints how long
/// the answers took, to the last bucket.
///
/// Measured from when a request was due, so what waits behind a slow one counts as slow too.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink bench aggregate iss/NODE3000005
  downlink bench aggregate iss/NODE3000005 --last 30d --rate 50 --seconds 30")]
pub(in crate::command) struct Aggregate {
    /// The signal, or a glob.
    #[arg(value_name = "SIGNAL")]
    signal: String,
    /// Buckets of a signal, at most.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    points: u32,
    /// Over so long, up to the last event of the signal. Unset: over all there is, which the server looks for each time.
    #[arg(long, value_name = "LENGTH", value_parser = parse_length)]
    last: Option<Duration>,
    /// Clients, each with a connection of its own.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Requests a second over all clients.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// How long to measure.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    #[command(flatten)]
    surroundings: Surroundings,
}

impl Aggregate {
    pub(in crate::command) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let client = context.connect().await?;
        let request = self.request(&client).await?;
        let buckets = client.aggregate(request.clone()).await?.collect().await?;
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
            "bench": "aggregate",
            "answer_ms": conditions::percentiles(&times),
            "answers": times.len(),
            "buckets_in_an_answer": buckets.len(),
            "events_in_an_answer": buckets.iter().map(|bucket| bucket.count).sum::<u64>(),
            "fdatasync_4k_ms": disk,
            "server": self.surroundings.used_since(usage, start.elapsed().as_secs_f64())?,
            "conditions": {
                "machine": conditions::machine(),
                "signal": self.signal,
                "points": self.points,
                "last": self.last.map(|last| humantime::format_duration(last).to_string()),
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

    async fn request(&self, client: &Client) -> anyhow::Result<AggregateRequest> {
        let signals = vec![self.signal.clone()];
        let resolution = Some(Resolution::MaxPoints(self.points));
        let request = AggregateRequest { signals, resolution, ..AggregateRequest::default() };
        let Some(last) = self.last else { return Ok(request) };
        let whole = AggregateRequest { resolution: None, ..request.clone() };
        let whole = client.aggregate(whole).await?.collect().await?;
        let [Bucket { end_time: Some(end), .. }, ..] = whole[..] else {
            anyhow::bail!("there is no event of {} to look back from", self.signal);
        };
        let start = before(end, last).context("--last reaches back too far")?;
        Ok(AggregateRequest { start_time: Some(start), end_time: Some(end), ..request })
    }
}

/// The moment so long before another.
fn before(end: Timestamp, length: Duration) -> Option<Timestamp> {
    let borrow = i32::from(end.nanos.cast_unsigned() < length.subsec_nanos());
    let seconds = end.seconds.checked_sub_unsigned(length.as_secs())?.checked_sub(borrow.into())?;
    Some(Timestamp {
        seconds,
        nanos: end.nanos - length.subsec_nanos().cast_signed() + borrow * 1_000_000_000,
    })
}

async fn ask(client: Client, request: AggregateRequest, mut turns: Turns) -> anyhow::Result<Histogram<u64>> {
    let mut times = conditions::times()?;
    while let Some(due) = turns.next().await {
        client.aggregate(request.clone()).await?.collect().await?;
        times.saturating_record(due.elapsed().as_micros() as u64);
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_back_borrows_from_the_seconds() {
        let at = |seconds, nanos| Timestamp { seconds, nanos };
        assert_eq!(before(at(5, 0), Duration::from_millis(1)), Some(at(4, 999_000_000)));
        assert_eq!(before(at(5, 7), Duration::from_secs(6)), Some(at(-1, 7)));
        assert_eq!(before(at(i64::MIN, 0), Duration::from_nanos(1)), None);
    }
}
