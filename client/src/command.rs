//! The arguments of the `downlink` command, and what each subcommand runs.

mod aggregate;
mod bench;
mod completions;
mod consumers;
mod define;
mod definition_json;
mod encoding;
mod event_json;
mod export;
mod feed;
mod file_transfer;
mod import;
mod info;
mod latest;
mod length;
mod lookup;
mod moment;
mod output;
mod pages;
mod parquet_file;
mod plot;
mod position;
mod put;
mod read;
mod replay;
mod report;
mod roll;
mod signals;
mod source_file;
mod speed;
mod standard_output;
mod style;
mod table;
mod tail;
mod top;
mod trace;
mod unmatched;
mod value;
mod verify;

use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use downlink_client::{Backoff, Client, ClientOptions, Error};
use tokio::time::{Instant, sleep};

/// Appends to a Downlink telemetry log, reads it, and follows it.
///
/// Ends with 0 when all went well, also when nothing matches in the time asked for; 1 when something failed, and when
/// the log has no signal of a name or glob that was given (one line on standard error says what); 2 when it was called
/// wrongly; 3 when `read` or `export` is complete but for events that are damaged on the server's disk, and when `verify` has
/// found something wrong.
#[derive(Debug, Parser)]
#[command(name = "downlink", version, max_term_width = 110)]
#[command(after_help = "Examples:
  downlink put tank/level 12.5
  downlink read --signal 'tank/*' --max-events 10
  downlink tail --output json
  downlink --url http://other:50051 info")]
pub(crate) struct Arguments {
    /// The server.
    #[arg(long, env = "DOWNLINK_URL", default_value = "http://127.0.0.1:50051", global = true)]
    #[arg(help_heading = "Connection and output")]
    url: String,
    /// For people, or one JSON object a line for programs.
    #[arg(long, value_enum, default_value_t = Format::Human, global = true)]
    #[arg(help_heading = "Connection and output")]
    output: Format,
    /// Whether to colour what is printed for people: by default on a terminal, unless NO_COLOR is set.
    #[arg(long, value_enum, default_value_t = clap::ColorChoice::Auto, global = true, value_name = "WHEN")]
    #[arg(help_heading = "Connection and output")]
    color: clap::ColorChoice,
    #[command(subcommand)]
    command: Command,
}

/// For whom to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text, in columns.
    Human,
    /// JSON lines.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Put(put::Put),
    Read(read::Read),
    Tail(tail::Tail),
    Latest(latest::Latest),
    Aggregate(aggregate::Aggregate),
    Signals(signals::Signals),
    Info(info::Info),
    #[command(subcommand)]
    Consumers(consumers::Consumers),
    Lookup(lookup::Lookup),
    Export(export::Export),
    Plot(plot::Plot),
    Import(import::Import),
    #[command(subcommand)]
    Feed(feed::Feed),
    Roll(roll::Roll),
    Top(top::Top),
    Verify(verify::Verify),
    #[command(subcommand)]
    Bench(bench::Bench),
    Completions(completions::Completions),
}

pub(crate) use read::Incomplete;
pub(crate) use verify::Unsound;

/// What every subcommand gets: where the log is and for whom to print.
#[derive(Debug)]
struct Context {
    url: String,
    format: Format,
}

impl Context {
    async fn connect(&self) -> downlink_client::Result<Client> {
        Client::connect(&self.url).await
    }

    /// Connects, trying again for so long while the server is down.
    async fn connect_to_retry_for(&self, retry_for: Duration) -> downlink_client::Result<Client> {
        let options = ClientOptions { retry_for, ..ClientOptions::default() };
        let (start, mut backoff, mut is_announced) = (Instant::now(), Backoff::default(), false);
        loop {
            let error = match Client::connect_with(&self.url, options.clone()).await {
                Ok(client) => return Ok(client),
                Err(error) if !error.is_retryable() || retry_for.is_zero() => return Err(error),
                Err(error) => error,
            };
            let left = retry_for.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(Error::GaveUp { last: Box::new(error), tried_for: start.elapsed() });
            }
            if !is_announced {
                eprintln!("downlink: cannot reach {}; trying again", self.url);
                is_announced = true;
            }
            sleep(backoff.next_delay(error.retry_after()).min(left)).await;
        }
    }
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    style::choose(arguments.color);
    let context = Context { url: arguments.url, format: arguments.output };
    match arguments.command {
        Command::Put(put) => put.run(&context).await,
        Command::Read(read) => read.run(&context).await,
        Command::Tail(tail) => tail.run(&context).await,
        Command::Latest(latest) => latest.run(&context).await,
        Command::Aggregate(aggregate) => aggregate.run(&context).await,
        Command::Signals(signals) => signals.run(&context).await,
        Command::Info(info) => info.run(&context).await,
        Command::Consumers(consumers) => consumers.run(&context).await,
        Command::Lookup(lookup) => lookup.run(&context).await,
        Command::Export(export) => export.run(&context).await,
        Command::Plot(plot) => plot.run(&context).await,
        Command::Import(import) => import.run(&context).await,
        Command::Feed(feed) => feed.run(&context).await,
        Command::Roll(roll) => roll.run(&context).await,
        Command::Top(top) => top.run(&context).await,
        Command::Verify(verify) => verify.run(&context).await,
        Command::Bench(bench) => bench.run(&context).await,
        Command::Completions(completions) => completions.run(),
    }
}
