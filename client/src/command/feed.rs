//! `downlink feed`: sources of telemetry.

mod demo;
mod iss;
mod running;

use clap::Subcommand;

use super::Context;
use super::replay::{self, Replay};

/// Brings telemetry of the International Space Station in: live, recorded or simulated.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  downlink feed iss
  downlink feed demo
  downlink feed replay 2018-10-12_full_day.csv.zst --speed max --prefix iss/")]
pub(super) enum Feed {
    Iss(iss::Iss),
    Demo(demo::Demo),
    Replay(Replay),
}

impl Feed {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Iss(iss) => iss.run(context).await,
            Self::Demo(demo) => {
                demo.run(context).await;
                Ok(())
            }
            Self::Replay(replay) => replay::run(replay, context).await,
        }
    }
}
