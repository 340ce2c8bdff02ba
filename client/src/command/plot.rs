//! `downlink plot`: signals over time as charts, in the terminal or as a picture.

mod chart;
mod picture;
mod terminal;

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::ensure;
use clap::Args;
use downlink_client::Client;
use downlink_client::time::rfc3339;
use downlink_client::v1::aggregate_request::{Function, Resolution};
use downlink_client::v1::{AggregateRequest, Bucket, ListSignalsRequest};
use serde_json::json;

use super::moment::Moment;
use super::output::Printer;
use super::{Context, Format, event_json, unmatched};
use chart::{Chart, Piece};

/// Characters of a terminal that does not say how wide and high it is.
const TERMINAL: (usize, usize) = (100, 24);
/// Charts below each other, at most.
const CHARTS_MAX: usize = 12;
/// Rows of a terminal for each of several charts, at least.
const ROWS_MIN: usize = 9;
/// Pixels of a picture without a --size: its width, the height of one chart, and of each of several.
const PIXELS: (u32, u32, u32) = (1200, 400, 260);

/// Draws signals over time: the mean as a line, from the least to the greatest value in each piece of time.
///
/// Each signal has a chart and a scale of its own, one below the other, over the same time. Holes are where no event
/// was: of a signal that comes rarely, fewer --points leave fewer. Numbers only; true counts as 1, false as 0.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink plot iss/NODE3000005
  downlink plot iss/NODE3000005 --from '2 hours ago'
  downlink plot iss/NODE3000005 --from 2018-10-12T06:00:00Z --out tank.png
  downlink plot 'iss/USLAB00003?' --out wheels.svg --size 1600x900")]
pub(super) struct Plot {
    /// Names or globs: `*` stands for any text without '/', `**` for any text.
    #[arg(value_name = "SIGNAL", required = true)]
    signals: Vec<String>,
    /// From this event time on, such as 2018-10-12T06:00:00Z or '2 hours ago'. The first event by default.
    #[arg(long, value_name = "TIME")]
    from: Option<Moment>,
    /// To this event time. The last event by default.
    #[arg(long, value_name = "TIME")]
    to: Option<Moment>,
    /// Into how many pieces of time, at most. As many as can be told apart by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=10_000))]
    points: Option<u32>,
    /// Write a picture to this file, .png or .svg, instead of drawing in the terminal.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The size of the picture in pixels. By default 1200x400, and higher for several signals.
    #[arg(long, value_name = "WIDTHxHEIGHT", requires = "out")]
    size: Option<Size>,
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
        let points = self.points.unwrap_or(match (&self.out, self.size) {
            (Some(_), size) => size.map_or(PIXELS.0, |size| size.0) / 2,
            (None, _) => columns as u32 * 2,
        });
        let buckets = self.buckets(&client, points).await?;
        if context.format == Format::Json && self.out.is_none() {
            return print_json(&buckets);
        }
        let charts = self.charts(&client, &buckets).await?;
        if let Some(path) = &self.out {
            let height = if charts.len() == 1 { PIXELS.1 } else { PIXELS.2 * charts.len() as u32 };
            let size = self.size.unwrap_or(Size(PIXELS.0, height));
            return picture::write(&charts, (size.0, size.1), path);
        }
        let rows = (rows / charts.len()).max(if charts.len() == 1 { 0 } else { ROWS_MIN });
        let mut printer = Printer::new(context.format);
        for chart in &charts {
            printer.text(&terminal::draw(chart, columns, rows))?;
        }
        Ok(printer.flush()?)
    }

    /// What the signals come to, by signal and time.
    async fn buckets(&self, client: &Client, points: u32) -> anyhow::Result<Vec<Bucket>> {
        let asked = unmatched::ask(client, &self.signals, async |signals| {
            let request = AggregateRequest {
                signals,
                start_time: self.from.map(|Moment(time)| time),
                end_time: self.to.map(|Moment(time)| time),
                resolution: Some(Resolution::MaxPoints(points)),
                functions: [Function::Min, Function::Max, Function::Mean].map(i32::from).to_vec(),
            };
            client.aggregate(request).await?.collect().await
        });
        let buckets = asked.await?.unwrap_or_default();
        unmatched::check(client, &self.signals).await?;
        Ok(buckets)
    }

    /// A chart for each signal that has numbers; what has none is said on standard error.
    async fn charts(&self, client: &Client, buckets: &[Bucket]) -> anyhow::Result<Vec<Chart>> {
        let signals: Vec<_> = buckets.chunk_by(|one, other| one.signal == other.signal).collect();
        ensure!(
            signals.len() <= CHARTS_MAX,
            "{} signals match, and at most {CHARTS_MAX} are drawn: name fewer, or use 'downlink aggregate'",
            signals.len()
        );
        let mut charts = Vec::new();
        for buckets in signals {
            let name = buckets.first().map(|bucket| bucket.signal.clone()).unwrap_or_default();
            let title = title(client, &name).await?;
            match Chart::of(title, buckets) {
                Some(chart) => charts.push(chart),
                None => eprintln!("downlink: {name} has no numbers in this time"),
            }
        }
        ensure!(!charts.is_empty(), "there is nothing to draw: none of the signals has numbers in this time");
        Ok(charts)
    }
}

/// A signal's name and unit.
async fn title(client: &Client, name: &str) -> anyhow::Result<String> {
    let request = ListSignalsRequest { filter: name.to_owned(), ..ListSignalsRequest::default() };
    let signals = client.signals(request).await?.signals;
    let unit = signals.into_iter().find(|signal| signal.name == name).map(|signal| signal.unit);
    Ok(match unit.filter(|unit| !unit.is_empty()) {
        Some(unit) => format!("{name} [{unit}]"),
        None => name.to_owned(),
    })
}

/// A line for each piece of time with numbers in it, at the time where it begins.
fn print_json(buckets: &[Bucket]) -> anyhow::Result<()> {
    let mut printer = Printer::new(Format::Json);
    for bucket in buckets {
        let Some(Piece { low, mean, high }) = Piece::of(bucket) else { continue };
        let number = event_json::number_json;
        printer.json(&json!({
            "signal": bucket.signal,
            "event_time": bucket.start_time.as_ref().map(rfc3339),
            "end_time": bucket.end_time.as_ref().map(rfc3339),
            "min": number(low),
            "mean": number(mean),
            "max": number(high),
        }))?;
    }
    Ok(printer.flush()?)
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
}
