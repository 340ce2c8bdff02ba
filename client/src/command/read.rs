//! `downlink read`: replays a part of the log.

use clap::{Args, ValueEnum};
use downlink_client::v1::{Gap, OnDamage, ReadRequest, read_response::Frame};

use super::Context;
use super::output::Printer;
use super::position::{FilterArguments, Place};
use super::unmatched::warn_of_unmatched;

/// Prints a part of the log, oldest first, up to its present end.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink read --max-events 10
  downlink read --signal 'iss/NODE3*' --from 1000 --to 2000
  downlink read --output json | jq .value")]
pub(super) struct Read {
    #[command(flatten)]
    range: RangeArguments,
    /// Stop after so many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_events: Option<u64>,
}

/// Which part of the log, and what to do about damage in it.
#[derive(Clone, Debug, Args)]
pub(super) struct RangeArguments {
    /// Where to begin: an offset, oldest or head.
    #[arg(long, value_name = "PLACE", default_value = "oldest")]
    from: Place,
    /// Where to stop, exclusive: an offset, or the present head.
    #[arg(long, value_name = "PLACE", default_value = "head")]
    to: Place,
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
            start: Some(self.from.into()),
            end: (self.to != Place::Head).then(|| self.to.into()),
            filter: Some(self.filter.filter()),
            on_damage: on_damage.into(),
            ..ReadRequest::default()
        }
    }
}

impl Read {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let request = ReadRequest { max_events: self.max_events.unwrap_or_default(), ..self.range.request() };
        let client = context.connect().await?;
        let mut replay = client.read(request).await?;
        let (mut printer, mut is_empty) = (Printer::new(context.format), true);
        let mut missing = Missing::default();
        while let Some(frame) = replay.next().await? {
            match frame {
                Frame::Events(batch) => {
                    is_empty &= batch.events.is_empty();
                    for event in &batch.events {
                        printer.event(event)?;
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
        if is_empty {
            warn_of_unmatched(&client, self.range.signals()).await?;
        }
        Ok(missing.none()?)
    }
}
