//! `downlink feed`: sources of telemetry.

use clap::Subcommand;

use super::Context;
use super::replay::{self, Replay};

/// Brings telemetry of the International Space Station in.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:
  downlink feed replay 2018-10-12_full_day.csv.zst --speed max --prefix iss/")]
pub(super) enum Feed {
    Replay(Replay),
}

impl Feed {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Replay(replay) => replay::run(replay, context).await,
        }
    }
}
