//! `downlink-server`: arguments, exit codes.

#[path = "main/feed.rs"]
mod feed;

use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use downlink_server::config::{self, Config, HttpListen, LogFormat, LogOutput, Overrides};
use downlink_server::replica::{self, Restored};
use downlink_server::{Listeners, Server, observability, shutdown};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;

/// A setting cannot be used.
const USAGE: u8 = 2;
/// Files that the server may have open beside its connections: the log's, the runtime's.
const FILES_BESIDE_CONNECTIONS: u64 = 256;

/// Takes telemetry in over gRPC, keeps it in the log, hands it out.
///
/// Settings come from, later ones first: flags, DOWNLINK_* variables, the file, the defaults.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The directory of the log [default: data] [env: DOWNLINK_DATA_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Where gRPC is served; port 0: any [default: 127.0.0.1:50051] [env: DOWNLINK_LISTEN]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where HTTP is served; port 0: any; off: nowhere [default: 127.0.0.1:9464] [env: DOWNLINK_HTTP_LISTEN]
    #[arg(long, value_name = "ADDR")]
    http_listen: Option<String>,
    /// A TOML file of settings
    #[arg(long, global = true, value_name = "FILE", env = "DOWNLINK_CONFIG")]
    config: Option<PathBuf>,
    /// How log lines look [default: auto] [env: DOWNLINK_LOG_FORMAT]
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// What to feed the log with, in the server's own process [default: none] [env: DOWNLINK_FEED]
    #[arg(long, value_name = "FEED")]
    feed: Option<config::Feed>,
    /// Feed the log with the telemetry of a simulated station: short for --feed demo
    #[arg(long, conflicts_with = "feed")]
    demo: bool,
    /// Any other setting; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print every setting in force, with its meaning, as a TOML file, and leave
    #[arg(long)]
    print_config: bool,
}

/// What else than to serve.
#[derive(Subcommand)]
enum Command {
    /// Rebuilds a log from the topic of its mirror, and leaves
    ///
    /// The log is the one that was mirrored: the same identity, offsets, events and ingest times. The data directory must be
    /// empty, or have what an interrupted restore has left, which goes on then.
    Restore(Restore),
}

#[derive(Args)]
struct Restore {
    /// Where from
    #[arg(long)]
    from: Origin,
    /// The brokers [env: DOWNLINK_FOLLOW_BOOTSTRAP_SERVERS]
    #[arg(long, value_name = "HOST:PORT,...")]
    bootstrap_servers: Option<String>,
    /// The topic [default: downlink.events.v1] [env: DOWNLINK_FOLLOW_TOPIC]
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Begin the log here, because the topic does not have what came before any more
    #[arg(long, value_name = "OFFSET")]
    first_offset: Option<String>,
}

/// What can be restored from.
#[derive(Clone, Copy, ValueEnum)]
enum Origin {
    /// A topic of Kafka or Redpanda.
    Kafka,
}

/// What is to be done.
#[derive(Clone, Copy)]
enum Task {
    Serve,
    PrintConfig,
    Restore,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let task = match &arguments.command {
        Some(Command::Restore(_)) => Task::Restore,
        None if arguments.print_config => Task::PrintConfig,
        None => Task::Serve,
    };
    let (config, strangers) = match settings(arguments) {
        Ok(loaded) => loaded,
        Err(message) => {
            eprintln!("downlink-server: {message}");
            return ExitCode::from(USAGE);
        }
    };
    let result = match task {
        Task::PrintConfig => print(&config),
        Task::Serve => run(config, &strangers),
        Task::Restore => restore(&config),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("downlink-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn settings(arguments: Arguments) -> Result<(Config, Vec<String>), String> {
    let mut flags = Vec::new();
    for pair in arguments.set {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("--set {pair}: write KEY=VALUE"))?;
        flags.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    let feed = if arguments.demo { Some(config::Feed::Demo) } else { arguments.feed };
    let named = [
        ("feed", feed.and_then(word)),
        ("data_dir", arguments.data_dir),
        ("listen", arguments.listen),
        ("http_listen", arguments.http_listen),
        ("log_format", arguments.log_format.and_then(word)),
    ];
    flags.extend(named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    if let Some(Command::Restore(Restore { from: Origin::Kafka, bootstrap_servers, topic, first_offset })) =
        arguments.command
    {
        let named = [
            ("follow_bootstrap_servers", bootstrap_servers),
            ("follow_topic", topic),
            ("follow_first_offset", first_offset),
        ];
        flags.extend(named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    }
    let environment = std::env::vars_os().collect();
    config::load(Overrides { file: arguments.config, environment, flags }).map_err(|error| error.to_string())
}

/// The word for a value, as it stands in flags, variables and files.
fn word(value: impl ValueEnum) -> Option<String> {
    Some(value.to_possible_value()?.get_name().to_owned())
}

fn print(config: &Config) -> anyhow::Result<()> {
    match std::io::stdout().write_all(config::print(config).as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot print the configuration"),
    }
}

fn restore(config: &Config) -> anyhow::Result<()> {
    // Standard output is for what has been restored.
    observability::start(&Config { log_output: LogOutput::Stderr, ..config.clone() });
    if config.follow_bootstrap_servers.is_empty() {
        anyhow::bail!("which brokers? name them with --bootstrap-servers");
    }
    let restored = replica::restore(config)?;
    let Restored { log_id, oldest_offset, head_offset, duplicates } = restored;
    let events = head_offset - oldest_offset;
    let twice =
        if duplicates == 0 { String::new() } else { format!("; {duplicates} were in the topic twice") };
    let said = format!(
        "restored log {log_id}: {events} events, offsets {oldest_offset} to {}{twice}",
        head_offset - 1
    );
    match writeln!(std::io::stdout(), "{said}") {
        // Whoever started it has gone; the log is there.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        said => said.context("cannot say what has been restored"),
    }
}

fn run(config: Config, strangers: &[String]) -> anyhow::Result<()> {
    observability::start(&config);
    if !strangers.is_empty() {
        tracing::info!(variables = strangers.join(" "), "not settings of the server, and ignored");
    }
    check_files(raise_files(), config.connections_max)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("downlink")
        .max_blocking_threads(config.reader_threads_max)
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(serve(config));
    // A thread that still waits for the disk must not keep the process.
    runtime.shutdown_background();
    result
}

/// Raises the limit of open files as far as it goes, and says what it is then; `None`: there is none.
fn raise_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    // Where that is refused the limit stays, and may be enough.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current
}

/// Whether so many open files are enough for so many connections.
fn check_files(files_max: Option<u64>, connections_max: usize) -> anyhow::Result<()> {
    let needed = (connections_max as u64).saturating_add(FILES_BESIDE_CONNECTIONS);
    match files_max {
        Some(files_max) if files_max < needed => anyhow::bail!(
            "{connections_max} connections need {needed} open files, but the limit is {files_max}: raise it \
             (`ulimit -n {needed}`, or LimitNOFILE= of systemd), or lower `connections_max`"
        ),
        Some(_) | None => Ok(()),
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut stop = pin!(shutdown::signals().context("cannot listen for signals")?);
    let feed = feed::Feed::of(&config)?;
    let grpc = bind(config.listen, "--listen").await?;
    let http = match config.http_listen {
        HttpListen::At(address) => Some(bind(address, "--http-listen").await?),
        HttpListen::Off => None,
    };
    let server = tokio::select! {
        opened = Server::open(config, Listeners { grpc, http }) => opened?,
        // The log bears to be left at any moment, also while it recovers.
        () = &mut stop => return Ok(()),
    };
    if !server.address().ip().is_loopback() {
        let address = server.address();
        tracing::warn!(%address, "whoever reaches this address can read and append: there is no TLS or authentication yet");
    }
    announce(&server);
    let feed = feed.map(|feed| feed.start(&server));
    let stop = async {
        stop.await;
        // While the server still takes what the feed has.
        if let Some(feed) = feed {
            feed.stop().await;
        }
    };
    server.serve(stop).await
}

/// Scripts wait for these very lines.
fn announce(server: &Server) {
    let mut out = std::io::stdout();
    // Whoever started it may have closed that end; it serves all the same.
    let _ = writeln!(out, "downlink-server listening on {}", server.address());
    if let Some(address) = server.http_address() {
        let _ = writeln!(out, "downlink-server serves HTTP on {address}");
    }
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        if error.kind() == ErrorKind::AddrInUse {
            anyhow::anyhow!("cannot listen on {address}: another process uses it; stop that, or use {flag}")
        } else {
            anyhow::anyhow!("cannot listen on {address}: {error}; choose another address with {flag}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_open_files_are_told_with_what_to_do() {
        assert!(check_files(Some(1_280), 1_024).is_ok() && check_files(None, 100_000).is_ok());
        let message = check_files(Some(1_279), 1_024).unwrap_err().to_string();
        assert!(message.contains("ulimit -n 1280") && message.contains("`connections_max`"), "{message}");
    }
}
