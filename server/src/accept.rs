//! Connections that come to a listener: a bounded number, without Nagle's delay.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

/// What follows an error of the listener.
const PAUSE: Duration = Duration::from_millis(100);
/// How often is said that there are too many.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Where connections come from, and how many there may be at once.
pub(crate) struct Entrance {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    /// The setting that says how many.
    setting: &'static str,
    refused: Refused,
}

/// Connections that were closed at once since that was last said.
#[derive(Default)]
struct Refused {
    connections: u64,
    told: Option<Instant>,
}

/// A connection that counts as long as its permit is held.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) permit: OwnedSemaphorePermit,
}

impl Entrance {
    /// As many connections as there are permits, which is what `setting` says.
    pub(crate) fn new(listener: TcpListener, permits: Arc<Semaphore>, setting: &'static str) -> Self {
        Self { listener, permits, setting, refused: Refused::default() }
    }

    /// The next connection. Those for which there is no permit are closed at once, so that their callers know.
    pub(crate) async fn next(&mut self) -> Accepted {
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: what is open goes on, and may end soon.
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = self.permits.clone().try_acquire_owned() else {
                self.refused.another(peer, self.setting);
                continue;
            };
            // Without it answers are only later; a connection that has broken says so when it is used.
            let _ = stream.set_nodelay(true);
            return Accepted { stream, peer, permit };
        }
    }
}

impl Refused {
    /// One more. Whoever makes many makes few log lines.
    fn another(&mut self, peer: SocketAddr, setting: &str) {
        self.connections += 1;
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            let connections = std::mem::take(&mut self.connections);
            tracing::warn!(%peer, connections, "closed connections: there are `{setting}` already");
            self.told = Some(Instant::now());
        }
    }
}
