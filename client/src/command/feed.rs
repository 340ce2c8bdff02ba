//! `downlink feed`: sources of telemetry.

mod iss;

use clap::Subcommand;

use super::Context;
use super::replay::{self, Replay};

/// Brings telemetry of the International Space Station in.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  downlink feed iss
  downlink feed replay 2018-10-12_full_day.csv.zst --speed max --prefix iss/")]
pub(super) enum Feed {
    Iss(iss::Iss),
    Replay(Replay),
}

impl Feed {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Iss(iss) => iss.run(context).await,
            Self::Replay(replay) => replay::run(replay, context).await,
        }
    }
}
