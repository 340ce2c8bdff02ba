//! The live feed as a process of its own.

use clap::Args;
use downlink_client::iss::catalogue;
use downlink_client::iss::feed::{BUFFER_EVENTS_MAX, Options};
use downlink_client::iss::live::{PUBLIC_SERVER, Subject};

use super::super::Context;
use super::running;

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
    /// An item that is wanted; may be repeated, or several with commas between them. By default all that are known.
    #[arg(long, value_name = "PUI", value_delimiter = ',')]
    item: Vec<String>,
    /// What the signals' names begin with.
    #[arg(long, default_value = "iss/")]
    prefix: String,
    /// Events between the session and the log. While the log cannot be reached for longer, older events give way to newer ones of their
    /// signals.
    #[arg(long, value_name = "N", default_value_t = BUFFER_EVENTS_MAX as u32, value_parser = clap::value_parser!(u32).range(1024..=10_000_000))]
    buffer_events: u32,
}

impl Iss {
    pub(in crate::command) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let items = if self.item.is_empty() { catalogue::items() } else { self.item.clone() };
        let subject = Subject::new(&self.server, items)?;
        let options = Options {
            prefix: self.prefix.clone(),
            buffer_events_max: self.buffer_events as usize,
            ..Options::iss()
        };
        running::run(context, || subject.open(), &options).await;
        Ok(())
    }
}
