//! `downlink feed`: sources of telemetry.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};

use super::{Context, replay};

/// Brings telemetry of the International Space Station in.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:
  downlink feed replay 2018-10-12_full_day.csv.zst --speed max --prefix iss/")]
pub(super) enum Feed {
    Replay(Replay),
}

/// Replays a recording of the public feed into the log.
///
/// The recording is CSV, plain or zstd, with the columns timestamp_hours, pui and value, wherever they stand. Run
/// again, it goes on where it stopped: no event gets into the log twice, whatever was killed meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  downlink feed replay 2018-10-12_full_day.csv.zst --speed max --prefix iss/
  downlink feed replay urine_tank_2018-10-12.csv --year 2018 --speed 60")]
pub(super) struct Replay {
    /// The recording.
    pub(super) file: PathBuf,
    /// How fast: a factor on the original pace, or max for as fast as possible.
    #[arg(long, value_name = "max|N", default_value = "1")]
    pub(super) speed: Speed,
    /// What the signals' names begin with.
    #[arg(long, default_value = "")]
    pub(super) prefix: String,
    /// The year of the recording. By default the one that the file's name begins with.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=9998))]
    pub(super) year: Option<i32>,
    /// A number from 1 replays the whole file again, as new events.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) epoch: u64,
    /// For how long to try again when the server is gone.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(super) retry_seconds: u64,
}

/// The pace of a replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Speed {
    /// As fast as possible.
    Max,
    /// So many times the original pace.
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let times = text.parse().ok().filter(|times: &f64| times.is_finite() && *times > 0.0);
        times.map(Self::Times).ok_or_else(|| "give 'max' or a number above 0".to_owned())
    }
}

impl Feed {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Replay(replay) => replay::run(replay, context).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_max_or_a_factor() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
        for text in ["0", "-1", "inf", "nan", "fast"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }
}
