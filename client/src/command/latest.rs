//! `downlink latest`: the newest event of each signal.

use std::time::SystemTime;

use anyhow::Context as _;
use clap::Args;
use downlink_client::Client;
use downlink_client::time::rfc3339;
use downlink_client::v1::{GetLatestRequest, LatestValue, Quality};

use super::output::{Printer, value_cell};
use super::position::Place;
use super::unmatched::warn_of_unmatched;
use super::value::quality_word;
use super::{Context, Format, event_json};

/// Prints the newest event of each signal, or of those named, with unit or state where they are defined.
///
/// A value is old when it is older than its signal's definition expects.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink latest
  downlink latest iss/NODE3000005
  downlink latest 'iss/*' --output json
  downlink latest --as-of '10 minutes ago'
  downlink latest tank/level --as-of 'last 1000'")]
pub(super) struct Latest {
    /// Names or globs: `*` stands for any text without '/', `**` for any text.
    #[arg(value_name = "SIGNAL")]
    signals: Vec<String>,
    /// As they were then: at a time (RFC 3339) or '2 hours ago', by when events came in, not by when they
    /// happened; or when an offset was the head, or any other place that 'downlink lookup' knows.
    #[arg(long, value_name = "PLACE")]
    as_of: Option<Place>,
}

impl Latest {
    async fn request(&self, client: &Client) -> anyhow::Result<GetLatestRequest> {
        let mut request = GetLatestRequest { signals: self.signals.clone(), ..GetLatestRequest::default() };
        match self.as_of.clone() {
            None => {}
            Some(Place::Offset(offset)) => request.as_of_offset = Some(offset),
            Some(Place::Time(time) | Place::IngestTime(time)) => request.as_of_time = Some(time),
            Some(Place::Ago(length)) => {
                let then = SystemTime::now().checked_sub(length).context("that is too long ago")?;
                request.as_of_time = Some(then.into());
            }
            Some(place @ (Place::Oldest | Place::Head | Place::Last(_) | Place::Consumer(_))) => {
                request.as_of_offset = Some(client.lookup(place.into()).await?.offset);
            }
        }
        Ok(request)
    }

    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let client = context.connect().await?;
        let mut printer = Printer::new(context.format);
        let mut request = self.request(&client).await?;
        let (mut rows, mut is_empty) = (vec![], true);
        loop {
            let page = client.latest(request.clone()).await?;
            is_empty &= page.values.is_empty();
            for latest in &page.values {
                match context.format {
                    Format::Human => rows.push(row(latest)),
                    Format::Json => printer.json(&json(latest))?,
                }
            }
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        if context.format == Format::Human && !rows.is_empty() {
            printer.table(["SIGNAL", "EVENT TIME", "AGE", "OFFSET", "QUALITY", "VALUE"], &rows)?;
        }
        printer.flush()?;
        if is_empty || self.signals.len() > 1 {
            warn_of_unmatched(&client, &self.signals).await?;
        }
        Ok(())
    }
}

fn row(latest: &LatestValue) -> [String; 6] {
    let event = latest.event.clone().unwrap_or_default();
    let quality = match (event.quality(), latest.stale) {
        (quality, true) if quality != Quality::Stale => format!("{}, old", quality_word(quality)),
        (quality, _) => quality_word(quality).to_owned(),
    };
    let value = match (&*latest.state, &*latest.unit) {
        ("", "") => value_cell(&event),
        ("", unit) => format!("{} {unit}", value_cell(&event)),
        (state, _) => format!("{} ({state})", value_cell(&event)),
    };
    let age = latest.age.as_ref().map(|age| age_text(age.seconds)).unwrap_or_default();
    let time = event.event_time.as_ref().map(rfc3339).unwrap_or_default();
    [event.signal.clone(), time, age, event.offset.to_string(), quality, value]
}

/// A length of time in whole units.
pub(super) fn age_text(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        172_800.. => format!("{} d", seconds / 86_400),
    }
}

fn json(latest: &LatestValue) -> serde_json::Value {
    let mut object = event_json::to_json(&latest.event.clone().unwrap_or_default());
    let age = latest.age.map(|age| age.seconds as f64 + f64::from(age.nanos) / 1e9);
    object.insert("age_seconds".to_owned(), age.into());
    object.insert("stale".to_owned(), latest.stale.into());
    object.insert("unit".to_owned(), latest.unit.as_str().into());
    object.insert("state".to_owned(), latest.state.as_str().into());
    object.insert("unchanged_since".to_owned(), latest.unchanged_since.as_ref().map(rfc3339).into());
    object.into()
}
