//! `downlink bench`: how fast the server and its disk are, said with the conditions.

mod aggregate;
mod conditions;
mod ingest;
mod latest;
mod load;
mod mirror;
mod pace;
mod readers;
mod replay;
mod report;
mod surroundings;
mod tail;
mod unary;

use clap::Subcommand;

use super::Context;

/// Measures a running server.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  downlink bench ingest
  downlink bench unary --clients 64 --rate 10000
  downlink bench tail --subscribers 100
  downlink bench aggregate iss/NODE3000005 --last 30d")]
pub(super) enum Bench {
    Ingest(ingest::Ingest),
    Unary(unary::Unary),
    Replay(replay::Replay),
    Tail(tail::Tail),
    Latest(latest::Latest),
    Aggregate(aggregate::Aggregate),
}

impl Bench {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Ingest(ingest) => ingest.run(context).await,
            Self::Unary(unary) => unary.run(context).await,
            Self::Replay(replay) => replay.run(context).await,
            Self::Tail(tail) => tail.run(context).await,
            Self::Latest(latest) => latest.run(context).await,
            Self::Aggregate(aggregate) => aggregate.run(context).await,
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
