//! `downlink bench`: how fast the server and its disk are, said with the conditions.

mod conditions;
mod ingest;
mod load;
mod replay;

use clap::Subcommand;

use super::Context;

/// Measures a running server.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  downlink bench ingest
  downlink bench replay")]
pub(super) enum Bench {
    Ingest(ingest::Ingest),
    Replay(replay::Replay),
}

impl Bench {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Ingest(ingest) => ingest.run(context).await,
            Self::Replay(replay) => replay.run(context).await,
        }
    }
}

/// The middle of the figures; of an even number, the lower of the two in the middle.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(super::median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(super::median(vec![2.0, 1.0]), 1.0);
        assert_eq!(super::median(vec![]), 0.0);
    }
}
