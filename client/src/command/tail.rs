//! `downlink tail`: follows the log.

use std::time::Duration;

use clap::Args;
use downlink_client::v1::Position;
use downlink_client::{Frame, SubscriptionOptions};
use futures::StreamExt;
use tokio::sync::watch;

use super::output::Printer;
use super::position::{FilterArguments, Place};
use super::report::ReportArguments;
use super::{Context, unmatched};

/// Prints events as they come, until Ctrl-C. Comes back by itself when the server is restarted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink tail
  downlink tail --signal 'iss/*' --from oldest
  downlink tail --signal 'iss/*' --initial --on-change --deadband 0.5
  downlink tail --sample 10s
  downlink tail --last 10
  downlink tail --from '10 minutes ago'
  downlink tail --output json --from 2706428 | jq .value")]
pub(super) struct Tail {
    /// Where to begin: an offset, oldest, head, 'last 100', '2 hours ago', a time (RFC 3339), ingest:TIME,
    /// consumer:NAME.
    #[arg(long, value_name = "PLACE", default_value = "head")]
    from: Place,
    /// Begin with the last so many events that match.
    #[arg(long, value_name = "N", conflicts_with = "from")]
    last: Option<u64>,
    #[command(flatten)]
    filter: FilterArguments,
    #[command(flatten)]
    report: ReportArguments,
    /// For how long to try again when the server is gone. For ever by default.
    #[arg(long, value_name = "SECONDS")]
    retry_seconds: Option<u64>,
    /// Say in which trace each event was appended, if it was kept in one: Jaeger finds it by that.
    #[arg(long)]
    trace: bool,
}

impl Tail {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let client = tokio::select! {
            client = context.connect_to_retry_for(self.retry_for()) => client?,
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
        };
        let place = Position::from(self.last.map_or_else(|| self.from.clone(), Place::Last));
        let options = SubscriptionOptions::default().filter(self.filter.filter());
        let options = place.at.into_iter().fold(options, SubscriptionOptions::start);
        let options = self.report.apply(options);
        let mut subscription = client.subscribe(options).await?;
        announce_outages(subscription.disconnected());
        unmatched::warn(&client, self.filter.signals()).await?;
        let (mut printer, mut has_started) = (Printer::new(context.format).with_traces_if(self.trace), false);
        loop {
            let delivery = tokio::select! {
                delivery = subscription.next() => delivery,
                interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
            };
            let Some(delivery) = delivery.transpose()? else { return Ok(()) };
            match delivery.frame {
                Frame::Events(batch) => {
                    if batch.conflated_events > 0 {
                        eprintln!("downlink: {} events passed over to keep up", batch.conflated_events);
                    }
                    for event in &batch.events {
                        printer.event(event)?;
                    }
                    printer.flush()?;
                }
                Frame::Gap(gap) => {
                    printer.gap(&gap)?;
                    printer.flush()?;
                }
                Frame::Started(_) if has_started => {
                    eprintln!("downlink: back at offset {}", delivery.next_offset);
                }
                Frame::Started(_) => has_started = true,
                Frame::CaughtUp(_) | Frame::FellBehind(_) | Frame::Heartbeat(_) | Frame::Draining(_) => {}
            }
        }
    }

    fn retry_for(&self) -> Duration {
        self.retry_seconds.map_or(Duration::MAX, Duration::from_secs)
    }
}

/// Says once when the connection is lost. The task ends with the subscription.
fn announce_outages(mut disconnected: watch::Receiver<bool>) {
    tokio::spawn(async move {
        while disconnected.wait_for(|lost| *lost).await.is_ok() {
            eprintln!("downlink: connection lost; trying again");
            if disconnected.wait_for(|lost| !lost).await.is_err() {
                return;
            }
        }
    });
}
