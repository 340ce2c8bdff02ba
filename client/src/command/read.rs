//! `downlink read`: replays a part of the log.

use std::time::Duration;

use clap::{Args, ValueEnum};
use downlink_client::v1::{Gap, OnDamage, Pacing, Position, ReadRequest, read_response::Frame};

use super::length::{parse_length, wire_length};
use super::output::Printer;
use super::position::{FilterArguments, Place};
use super::speed::Speed;
use super::{Context, unmatched};

/// Prints a part of the log up to its present end, in the order it came in, or --backwards.
///
/// A time as --from or --to stands for the first event in the log that happened then or later.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink read --last 10
  downlink read --signal 'iss/NODE3*' --from 1000 --to 2000
  downlink read --from '2 hours ago' --signal tank/level
  downlink read --backwards --max-events 10
  downlink read --from 2018-10-12T11:41:00Z --speed 10 --max-gap 2s
  downlink read --output json | jq .value")]
pub(super) struct Read {
    #[command(flatten)]
    range: RangeArguments,
    /// Newest first: from the head, or --from, back to the oldest event, or --to.
    #[arg(long)]
    backwards: bool,
    /// How fast: a factor on the original pace, or max for as fast as possible.
    #[arg(long, value_name = "max|N", default_value = "max")]
    speed: Speed,
    /// With a --speed: cut longer silences to this, such as 2s.
    #[arg(long, value_name = "LENGTH", value_parser = parse_length, requires = "speed")]
    max_gap: Option<Duration>,
    /// Stop after so many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_events: Option<u64>,
    /// Say in which trace each event was appended, if it was kept in one: Jaeger finds it by that.
    #[arg(long)]
    trace: bool,
}

/// Which part of the log, and what to do about damage in it.
#[derive(Clone, Debug, Args)]
pub(super) struct RangeArguments {
    /// Where to begin: an offset, oldest, head, 'last 100', '2 hours ago', a time (RFC 3339), ingest:TIME,
    /// consumer:NAME.
    #[arg(long, value_name = "PLACE")]
    from: Option<Place>,
    /// Where to stop, exclusive: the same kinds of places.
    #[arg(long, value_name = "PLACE")]
    to: Option<Place>,
    /// The last so many events that match.
    #[arg(long, value_name = "N", conflicts_with_all = ["from", "to"])]
    last: Option<u64>,
    #[command(flatten)]
    filter: FilterArguments,
    /// What to do about events that are damaged on the server's disk.
    #[arg(long, value_enum, default_value_t = DamageWord::Skip)]
    on_damage: DamageWord,
}

/// What to do about damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DamageWord {
    /// End there, with exit code 1.
    Fail,
    /// Say so on standard error, go on behind them, and end with exit code 3.
    Skip,
}

/// Events that are missing in what was read.
#[derive(Debug, Default)]
pub(super) struct Missing {
    events: u64,
}

/// All was read that there is, but events are missing.
#[derive(Debug, thiserror::Error)]
#[error("{events} events are missing, see above; with --on-damage fail nothing behind them is read")]
pub(crate) struct Incomplete {
    events: u64,
}

impl Missing {
    /// Takes note of a gap.
    pub(super) fn note(&mut self, gap: &Gap) {
        self.events += (gap.last_offset + 1).saturating_sub(gap.first_offset);
    }

    /// An error if there was any.
    pub(super) fn none(self) -> Result<(), Incomplete> {
        let events = self.events;
        if events == 0 { Ok(()) } else { Err(Incomplete { events }) }
    }
}

impl RangeArguments {
    pub(super) fn signals(&self) -> &[String] {
        self.filter.signals()
    }

    pub(super) fn request(&self) -> ReadRequest {
        let on_damage = match self.on_damage {
            DamageWord::Fail => OnDamage::Fail,
            DamageWord::Skip => OnDamage::Skip,
        };
        ReadRequest {
            start: self.last.map(Place::Last).or_else(|| self.from.clone()).map(Position::from),
            end: self.to.clone().map(Position::from),
            filter: Some(self.filter.filter()),
            on_damage: on_damage.into(),
            ..ReadRequest::default()
        }
    }
}

impl Read {
    fn request(&self) -> ReadRequest {
        let max_gap = self.max_gap.map(wire_length);
        let mut request = ReadRequest {
            backwards: self.backwards,
            max_events: self.max_events.unwrap_or_default(),
            pacing: self.speed.times().map(|speed| Pacing { speed, max_gap }),
            ..self.range.request()
        };
        if self.backwards && self.range.last.is_some() {
            // They end where they begin for who reads forwards.
            std::mem::swap(&mut request.start, &mut request.end);
        }
        request
    }

    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let request = self.request();
        let client = context.connect().await?;
        let mut replay = client.read(request).await?;
        let (mut printer, mut is_empty) = (Printer::new(context.format).with_traces_if(self.trace), true);
        let mut missing = Missing::default();
        while let Some(frame) = replay.next().await? {
            match frame {
                Frame::Events(batch) => {
                    is_empty &= batch.events.is_empty();
                    for event in &batch.events {
                        printer.event(event)?;
                    }
                    if self.speed != Speed::Max {
                        printer.flush()?;
                    }
                }
                Frame::Gap(gap) => {
                    missing.note(&gap);
                    printer.gap(&gap)?;
                }
                Frame::End(_) => break,
            }
        }
        printer.flush()?;
        missing.none()?;
        unmatched::account_for(&client, self.range.signals(), is_empty.then_some("no event matches")).await
    }
}
