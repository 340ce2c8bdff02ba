//! The feed in the server's process: a client of its API like any other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use downlink_client::iss::catalogue;
use downlink_client::iss::feed::{self, Figures, LATENCY_BOUNDS, Options, Snapshot};
use downlink_client::iss::live::Subject;
use downlink_client::iss::simulator::Demo;
use downlink_server::config::{self, Config};
use downlink_server::{FeedFigures, Server};
use futures::FutureExt as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The demonstration is always the same.
const DEMO_SEED: u64 = 1;

/// A feed that the settings ask for.
pub(super) struct Feed {
    name: &'static str,
    source: Source,
    options: Options,
}

/// Where it comes from.
enum Source {
    Live(Box<Subject>),
    Simulated,
}

/// One that runs.
pub(super) struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Feed {
    /// The feed of the settings, if they want one. Nothing is connected yet.
    pub(super) fn of(config: &Config) -> anyhow::Result<Option<Self>> {
        let (name, source, options) = match config.feed {
            config::Feed::None => return Ok(None),
            config::Feed::Iss => {
                let wanted = config.feed_items.0.clone();
                let items = if wanted.is_empty() { catalogue::items() } else { wanted };
                let subject = Subject::new(&config.feed_server_url, items)
                    .context("the feed cannot be what `feed_server_url` and `feed_items` say")?;
                ("iss", Source::Live(Box::new(subject)), Options::iss())
            }
            config::Feed::Demo => ("demo", Source::Simulated, Options::demo()),
        };
        let options = Options { buffer_events_max: config.feed_buffer_events_max, ..options };
        Ok(Some(Self { name, source, options }))
    }

    /// Begins to feed the server.
    pub(super) fn start(self, server: &Server) -> Running {
        let Self { name, source, options } = self;
        let figures = Arc::new(Figures::default());
        let shown = Arc::clone(&figures);
        server.tell_feed(name, move || told(&shown.snapshot()));
        let url = format!("http://{}", reachable(server.address()));
        let (stop, stopped) = oneshot::channel();
        let feeding = async move {
            let stopped = async {
                let _: Result<(), _> = stopped.await;
            };
            match source {
                Source::Live(subject) => {
                    feed::keep(&url, || subject.open(), &options, &figures, stopped).await
                }
                Source::Simulated => {
                    feed::keep(&url, || Demo::new(DEMO_SEED), &options, &figures, stopped).await
                }
            }
        };
        // The task "feed" ends when it is told to stop.
        let task = tokio::spawn(async move {
            if AssertUnwindSafe(feeding).catch_unwind().await.is_err() {
                tracing::error!(feed = name, "a defect has ended the feed: the server goes on without it");
            }
        });
        Running { stop, task }
    }
}

impl Running {
    /// Lets what is on its way get into the log, and ends. Takes some seconds at most.
    pub(super) async fn stop(self) {
        // If it has ended by itself, there is nothing to tell it.
        let _ = self.stop.send(());
        // What ended it has been told when it happened.
        let _ = self.task.await;
    }
}

/// Where a server that listens here is reached from its own process.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        anywhere if !anywhere.is_unspecified() => anywhere,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

fn told(snapshot: &Snapshot) -> FeedFigures {
    let newest = Some(snapshot.newest_seconds).filter(|seconds| *seconds > 0);
    let bounds = LATENCY_BOUNDS.into_iter().map(Some).chain([None]);
    FeedFigures {
        updates: snapshot.updates,
        known: snapshot.known,
        rejected: snapshot.rejected,
        refused: snapshot.refused,
        merged: snapshot.merged,
        late: snapshot.late,
        reconnects: snapshot.reconnects,
        buffered: snapshot.buffered,
        newest: newest.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
        latencies: bounds.zip(snapshot.latencies).collect(),
        latency_sum: snapshot.latency_sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use downlink_client::iss::live::PUBLIC_SERVER;

    #[test]
    fn the_settings_defaults_are_those_of_the_command() {
        let config = Config::standard();
        assert_eq!(config.feed_buffer_events_max, feed::BUFFER_EVENTS_MAX);
        assert_eq!(config.feed_server_url, PUBLIC_SERVER);
    }

    #[test]
    fn a_server_is_reached_where_it_listens() {
        for (listens, reached) in
            [("0.0.0.0:7", "127.0.0.1:7"), ("[::]:7", "[::1]:7"), ("10.0.0.1:7", "10.0.0.1:7")]
        {
            assert_eq!(reachable(listens.parse().unwrap()).to_string(), reached);
        }
    }
}
