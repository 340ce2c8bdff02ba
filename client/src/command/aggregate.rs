//! `downlink aggregate`: minimum, maximum, mean and so on over steps of time.

use std::time::Duration;

use anstyle::Style;
use clap::{Args, ValueEnum};
use downlink_client::Timestamp;
use downlink_client::time::rfc3339;
use downlink_client::v1::aggregate_request::{Function, Resolution};
use downlink_client::v1::{AggregateRequest, Bucket, StateRange, Value};
use serde_json::{Map, Value as Json, json};

use super::length::{parse_length, wire_length};
use super::moment::Moment;
use super::output::{Printer, value_text};
use super::table::{Cell, Column};
use super::{Context, Format, event_json, style, unmatched};

/// Prints what the events of signals come to, in buckets of time.
///
/// Without --step and --points that is one bucket for each signal; without --from and --to, over all there is. For
/// people only buckets with something in them are printed; a count of 0 means that there were no events.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink aggregate
  downlink aggregate iss/NODE3000005 --points 20
  downlink aggregate 'iss/*' --from 2018-10-12T06:00:00Z --to 2018-10-12T18:00:00Z --step 1h
  downlink aggregate iss/Z1000013 --functions states --output json")]
pub(super) struct Aggregate {
    /// Names or globs: `*` stands for any text without '/', `**` for any text.
    #[arg(value_name = "SIGNAL")]
    signals: Vec<String>,
    /// From this event time on, such as 2018-10-12T06:00:00Z or '2 hours ago'.
    #[arg(long, value_name = "TIME")]
    from: Option<Moment>,
    /// To this event time, exclusive.
    #[arg(long, value_name = "TIME")]
    to: Option<Moment>,
    /// A bucket every so often, such as 10min or 1h.
    #[arg(long, value_name = "LENGTH", value_parser = parse_length)]
    step: Option<Duration>,
    /// At most so many buckets a signal.
    #[arg(long, value_name = "N", conflicts_with = "step", value_parser = clap::value_parser!(u32).range(1..))]
    points: Option<u32>,
    /// What to compute, separated by commas.
    #[arg(long, value_name = "NAMES", value_enum, value_delimiter = ',',
        default_values = ["count", "min", "max", "mean", "first", "last"])]
    functions: Vec<FunctionWord>,
}

/// What to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FunctionWord {
    /// How many events.
    Count,
    /// The least number.
    Min,
    /// The greatest number.
    Max,
    /// The mean of the numbers.
    Mean,
    /// The first value.
    First,
    /// The last value.
    Last,
    /// The mean of the numbers, each weighted by how long it held.
    TimeWeightedMean,
    /// Runs of equal values.
    States,
}

impl FunctionWord {
    const fn function(self) -> Function {
        match self {
            Self::Count => Function::Count,
            Self::Min => Function::Min,
            Self::Max => Function::Max,
            Self::Mean => Function::Mean,
            Self::First => Function::First,
            Self::Last => Function::Last,
            Self::TimeWeightedMean => Function::TimeWeightedMean,
            Self::States => Function::StateRanges,
        }
    }

    const fn header(self) -> &'static str {
        match self {
            Self::Count => "COUNT",
            Self::Min => "MIN",
            Self::Max => "MAX",
            Self::Mean => "MEAN",
            Self::First => "FIRST",
            Self::Last => "LAST",
            Self::TimeWeightedMean => "TIME-WEIGHTED MEAN",
            Self::States => "STATES",
        }
    }

    fn cell(self, bucket: &Bucket) -> String {
        let number = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
        match self {
            Self::Count => bucket.count.to_string(),
            Self::Min => number(bucket.min),
            Self::Max => number(bucket.max),
            Self::Mean => number(bucket.mean),
            Self::First => value(bucket.first.as_ref()),
            Self::Last => value(bucket.last.as_ref()),
            Self::TimeWeightedMean => number(bucket.time_weighted_mean),
            Self::States => {
                let more = if bucket.state_ranges_left_out { ", …" } else { "" };
                let states: Vec<String> = bucket.state_ranges.iter().map(state).collect();
                format!("{}{more}", states.join(", "))
            }
        }
    }
}

impl Aggregate {
    fn request(&self, signals: Vec<String>) -> AggregateRequest {
        let step = self.step.map(|step| Resolution::Step(wire_length(step)));
        AggregateRequest {
            signals,
            start_time: self.from.map(|Moment(time)| time),
            end_time: self.to.map(|Moment(time)| time),
            resolution: step.or(self.points.map(Resolution::MaxPoints)),
            functions: self.functions.iter().map(|word| word.function().into()).collect(),
        }
    }

    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let client = context.connect().await?;
        let known = unmatched::ask(&client, &self.signals, async |signals| {
            client.aggregate(self.request(signals)).await
        });
        let Some(mut aggregate) = known.await? else { return Ok(()) };
        let mut printer = Printer::new(context.format);
        let (mut rows, mut is_empty) = (Vec::new(), true);
        while let Some(buckets) = aggregate.next().await? {
            for bucket in &buckets {
                is_empty &= is_blank(bucket);
                match context.format {
                    Format::Human if is_blank(bucket) => {}
                    Format::Human => rows.push(self.row(bucket)),
                    Format::Json => printer.json(&bucket_json(bucket))?,
                }
            }
        }
        if !rows.is_empty() {
            let mut columns = vec![Column::Whole("SIGNAL"), Column::Time("FROM"), Column::Time("TO")];
            columns.extend(self.functions.iter().map(|word| Column::Text(word.header())));
            printer.table(&columns, &rows)?;
        }
        printer.flush()?;
        let why_empty = is_empty.then_some("there are no events in this time");
        unmatched::account_for(&client, &self.signals, why_empty).await
    }

    fn row(&self, bucket: &Bucket) -> Vec<Cell> {
        let time = |time: Option<&Timestamp>| Cell::from(time.map(rfc3339).unwrap_or_default());
        let mut row = vec![
            bucket.signal.as_str().into(),
            time(bucket.start_time.as_ref()),
            time(bucket.end_time.as_ref()),
        ];
        let incomplete = if bucket.incomplete { "  (incomplete)" } else { "" };
        let style = if bucket.incomplete { style::DOUBTFUL } else { Style::new() };
        let last = self.functions.len().saturating_sub(1);
        row.extend(self.functions.iter().enumerate().map(|(place, word)| {
            let more = if place == last { incomplete } else { "" };
            Cell::new(format!("{}{more}", word.cell(bucket)), style)
        }));
        row
    }
}

/// Whether there is nothing to say of a bucket.
fn is_blank(bucket: &Bucket) -> bool {
    let holds = bucket.time_weighted_mean.is_some() || !bucket.state_ranges.is_empty();
    bucket.count == 0 && !holds && !bucket.incomplete
}

fn value(value: Option<&Value>) -> String {
    value.map(value_text).unwrap_or_default()
}

/// A value and how long it held.
fn state(range: &StateRange) -> String {
    let nanos = |time: Option<Timestamp>| {
        time.map_or(0, |time| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos))
    };
    let held = u64::try_from(nanos(range.end_time) - nanos(range.start_time)).unwrap_or_default();
    let held = humantime::format_duration(Duration::from_nanos(held));
    format!("{} for {held}", value(range.value.as_ref()))
}

fn bucket_json(bucket: &Bucket) -> Json {
    let mut object = Map::new();
    let mut put = |key: &str, value: Option<Json>| {
        if let Some(value) = value {
            object.insert(key.to_owned(), value);
        }
    };
    let time = |time: Option<&Timestamp>| time.map(|time| json!(rfc3339(time)));
    let number = |number: Option<f64>| number.map(event_json::number_json);
    let value =
        |value: Option<&Value>| value.and_then(|value| value.kind.as_ref()).map(event_json::value_json);
    put("signal", Some(json!(bucket.signal)));
    put("start_time", time(bucket.start_time.as_ref()));
    put("end_time", time(bucket.end_time.as_ref()));
    put("count", Some(json!(bucket.count)));
    put("min", number(bucket.min));
    put("min_time", time(bucket.min_time.as_ref()));
    put("max", number(bucket.max));
    put("max_time", time(bucket.max_time.as_ref()));
    put("mean", number(bucket.mean));
    put("first", value(bucket.first.as_ref()));
    put("first_time", time(bucket.first_time.as_ref()));
    put("last", value(bucket.last.as_ref()));
    put("last_time", time(bucket.last_time.as_ref()));
    put("time_weighted_mean", number(bucket.time_weighted_mean));
    let states = bucket.state_ranges.iter().map(|range| {
        json!({
            "value": value(range.value.as_ref()),
            "start_time": time(range.start_time.as_ref()),
            "end_time": time(range.end_time.as_ref()),
        })
    });
    let states: Vec<Json> = states.collect();
    put("states", (!states.is_empty()).then_some(Json::Array(states)));
    put("states_left_out", bucket.state_ranges_left_out.then_some(json!(true)));
    put("incomplete", bucket.incomplete.then_some(json!(true)));
    Json::Object(object)
}
