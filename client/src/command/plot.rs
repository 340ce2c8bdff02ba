//! `downlink plot`: a signal over time as a chart, in the terminal or as a picture.

mod chart;
mod picture;
mod terminal;

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use clap::Args;
use downlink_client::time::parse_rfc3339;
use downlink_client::v1::aggregate_request::{Function, Resolution};
use downlink_client::v1::{AggregateRequest, Bucket, ListSignalsRequest};
use downlink_client::{Client, Timestamp};
use serde_json::json;

use super::output::Printer;
use super::{Context, Format};
use chart::{Chart, Piece};

/// Characters of a terminal that does not say how wide and high it is.
const TERMINAL: (usize, usize) = (100, 24);

/// Draws a signal over time: its mean as a line, from its least to its greatest value in each piece of time.
///
/// Holes are where no event was: of a signal that comes rarely, fewer --points leave fewer. Numbers only;
/// true counts as 1, false as 0.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink plot iss/NODE3000005
  downlink plot iss/NODE3000005 --from 2018-10-12T06:00:00Z --to 2018-10-12T18:00:00Z --out tank.png
  downlink plot iss/NODE3000005 --out tank.svg --size 1600x500")]
pub(super) struct Plot {
    /// The signal's name; not a glob.
    signal: String,
    /// From this event time on, such as 2018-10-12T06:00:00Z. The first event by default.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| parse_rfc3339(text))]
    from: Option<Timestamp>,
    /// To this event time. The last event by default.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| parse_rfc3339(text))]
    to: Option<Timestamp>,
    /// Into how many pieces of time, at most. As many as can be told apart by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=10_000))]
    points: Option<u32>,
    /// Write a picture to this file, .png or .svg, instead of drawing in the terminal.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The size of the picture in pixels.
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "1200x400", requires = "out")]
    size: Size,
}

/// A picture's size in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size(u32, u32);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| text.parse().ok().filter(|side| (100..=10_000).contains(side));
        let sides = text.split_once('x').and_then(|(width, height)| Some(Self(side(width)?, side(height)?)));
        sides.ok_or_else(|| "write it like 1200x400, each side from 100 to 10000".to_owned())
    }
}

impl Plot {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let client = context.connect().await?;
        let (columns, rows) = terminal_size();
        let points = self.points.unwrap_or(match &self.out {
            Some(_) => self.size.0 / 2,
            None => columns as u32 * 2,
        });
        let request = AggregateRequest {
            signals: vec![self.signal.clone()],
            start_time: self.from,
            end_time: self.to,
            resolution: Some(Resolution::MaxPoints(points)),
            functions: [Function::Min, Function::Max, Function::Mean].map(i32::from).to_vec(),
        };
        let buckets = client.aggregate(request).await?.collect().await?;
        let chart = self.chart(&client, &buckets).await?;
        ensure!(chart.span().is_some(), "{} has no numbers in this time", self.signal);
        if let Some(path) = &self.out {
            return picture::write(&chart, (self.size.0, self.size.1), path);
        }
        let mut printer = Printer::new(context.format);
        match context.format {
            Format::Human => printer.text(&terminal::draw(&chart, columns, rows))?,
            Format::Json => {
                for (number, piece) in chart.pieces.iter().enumerate() {
                    let Some(Piece { low, mean, high }) = piece else { continue };
                    let time = chart.middle(number);
                    printer.json(&json!({"time_seconds": time, "min": low, "mean": mean, "max": high}))?;
                }
            }
        }
        Ok(printer.flush()?)
    }

    async fn chart(&self, client: &Client, buckets: &[Bucket]) -> anyhow::Result<Chart> {
        let edge = |bucket: Option<&Bucket>, is_start| {
            let bucket = bucket?;
            if is_start { bucket.start_time.as_ref() } else { bucket.end_time.as_ref() }.map(seconds)
        };
        let nothing = || format!("{} has no events in this time", self.signal);
        let from = edge(buckets.first(), true).with_context(nothing)?;
        let to = edge(buckets.last(), false).with_context(nothing)?;
        let request = ListSignalsRequest { filter: self.signal.clone(), ..ListSignalsRequest::default() };
        let unit = client.signals(request).await?.signals.into_iter().next().map(|signal| signal.unit);
        let title = match unit.filter(|unit| !unit.is_empty()) {
            Some(unit) => format!("{} [{unit}]", self.signal),
            None => self.signal.clone(),
        };
        Ok(Chart { title, time: (from, to), pieces: buckets.iter().map(piece).collect() })
    }
}

fn piece(bucket: &Bucket) -> Option<Piece> {
    Some(Piece { low: bucket.min?, mean: bucket.mean?, high: bucket.max? })
        .filter(|piece| [piece.low, piece.mean, piece.high].iter().all(|number| number.is_finite()))
}

fn seconds(time: &Timestamp) -> f64 {
    time.seconds as f64 + f64::from(time.nanos) / 1e9
}

/// Columns and rows of the terminal, as its shell says.
fn terminal_size() -> (usize, usize) {
    let said = |name: &str| std::env::var(name).ok()?.parse().ok().filter(|size| (20..=1000).contains(size));
    let (height, width) = console_size().unwrap_or((TERMINAL.1, TERMINAL.0));
    (said("COLUMNS").unwrap_or(width), said("LINES").unwrap_or(height).min(30))
}

/// Rows and columns of the terminal behind standard output, if it is one.
fn console_size() -> Option<(usize, usize)> {
    let (height, width) = console::Term::stdout().size_checked()?;
    Some((usize::from(height), usize::from(width)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_two_sides() {
        assert_eq!("1200x400".parse(), Ok(Size(1200, 400)));
        for text in ["", "1200", "0x400", "1200x99", "1x1x1", "20000x400"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_a_hole() {
        let bucket = |mean| Bucket { min: Some(0.0), mean, max: Some(2.0), ..Bucket::default() };
        assert_eq!(piece(&bucket(Some(1.0))), Some(Piece { low: 0.0, mean: 1.0, high: 2.0 }));
        assert_eq!((piece(&bucket(None)), piece(&bucket(Some(f64::INFINITY)))), (None, None));
    }
}
