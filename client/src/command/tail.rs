//! `downlink tail`: follows the log.

use std::time::Duration;

use clap::Args;
use downlink_client::Frame;
use downlink_client::v1::SubscribeRequest;
use futures::StreamExt;

use super::Context;
use super::output::Printer;
use super::position::{FilterArguments, Place};

/// Prints events as they come, until Ctrl-C. Comes back by itself when the server is restarted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink tail
  downlink tail --signal 'iss/*' --from oldest
  downlink tail --output json --from 2706428 | jq .value")]
pub(super) struct Tail {
    /// Where to begin: an offset, oldest or head.
    #[arg(long, value_name = "PLACE", default_value = "head")]
    from: Place,
    #[command(flatten)]
    filter: FilterArguments,
    /// For how long to try again when the server is gone.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    retry_seconds: u64,
}

impl Tail {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let client = context.connect_to_retry_for(Duration::from_secs(self.retry_seconds)).await?;
        let request = SubscribeRequest {
            start: Some(self.from.into()),
            filter: Some(self.filter.filter()),
            ..SubscribeRequest::default()
        };
        let mut subscription = client.subscribe(request).await?;
        let mut printer = Printer::new(context.format);
        loop {
            let delivery = tokio::select! {
                delivery = subscription.next() => delivery,
                interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
            };
            match delivery.transpose()?.map(|delivery| delivery.frame) {
                Some(Frame::Events(batch)) => {
                    for event in &batch.events {
                        printer.event(event)?;
                    }
                    printer.flush()?;
                }
                Some(Frame::Gap(gap)) => {
                    printer.gap(&gap)?;
                    printer.flush()?;
                }
                Some(
                    Frame::Started(_)
                    | Frame::CaughtUp(_)
                    | Frame::FellBehind(_)
                    | Frame::Heartbeat(_)
                    | Frame::Draining(_),
                ) => {}
                None => return Ok(()),
            }
        }
    }
}
