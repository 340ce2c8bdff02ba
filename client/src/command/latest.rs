//! `downlink latest`: the newest event of each signal.

use clap::Args;
use downlink_client::Client;
use downlink_client::time::rfc3339;
use downlink_client::v1::{GetLatestRequest, LatestValue, Quality};

use super::length::brief_length;
use super::moment::Moment;
use super::output::{Printer, event_value};
use super::pages::Pages;
use super::position::Place;
use super::table::{Cell, Column};
use super::value::quality_word;
use super::{Context, Format, event_json, style, unmatched};

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
                let Moment(then) = Moment::ago(length).map_err(anyhow::Error::msg)?;
                request.as_of_time = Some(then);
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
        let request = self.request(&client).await?;
        let known = unmatched::ask(&client, &self.signals, async |signals| {
            let mut pages = Pages::of(GetLatestRequest { signals, ..request.clone() });
            Ok((pages.next(&client).await?, pages))
        });
        let Some((first, mut pages)) = known.await? else { return Ok(()) };
        let (mut page, mut rows, mut is_empty) = (first, vec![], true);
        while let Some(values) = page {
            is_empty &= values.is_empty();
            for latest in &values {
                match context.format {
                    Format::Human => rows.push(row(latest)),
                    Format::Json => printer.json(&json(latest))?,
                }
            }
            page = pages.next(&client).await?;
        }
        if context.format == Format::Human && !rows.is_empty() {
            printer.table(&COLUMNS, &rows)?;
        }
        printer.flush()?;
        let why_empty = match self.as_of {
            None => "no signal has had an event",
            Some(_) => "no signal had an event by then",
        };
        unmatched::account_for(&client, &self.signals, is_empty.then_some(why_empty)).await
    }
}

const COLUMNS: [Column<'_>; 6] = [
    Column::Whole("SIGNAL"),
    Column::Time("EVENT TIME"),
    Column::Whole("AGE"),
    Column::Whole("OFFSET"),
    Column::Whole("QUALITY"),
    Column::Text("VALUE"),
];

fn row(latest: &LatestValue) -> [Cell; 6] {
    let event = latest.event.clone().unwrap_or_default();
    let quality = match (event.quality(), latest.stale) {
        (quality, true) if quality != Quality::Stale => {
            Cell::new(format!("{}, old", quality_word(quality)), style::DOUBTFUL)
        }
        (quality, _) => Cell::new(quality_word(quality), style::of_quality(quality)),
    };
    let value = match (&*latest.state, &*latest.unit) {
        ("", "") => event_value(&event).into(),
        ("", unit) => format!("{} {unit}", event_value(&event)).into(),
        (state, _) => Cell::new(format!("{} ({state})", event_value(&event)), style::STATE),
    };
    let age = latest.age.as_ref().map(|age| brief_length(age.seconds)).unwrap_or_default();
    let time = event.event_time.as_ref().map(rfc3339).unwrap_or_default();
    [event.signal.into(), time.into(), age.into(), event.offset.to_string().into(), quality, value]
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
