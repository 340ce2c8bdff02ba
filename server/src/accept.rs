//! Connections that come to a listener: a bounded number, without Nagle's delay.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

/// What follows an error of the listener.
const PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from, and how many there may be at once.
pub(crate) struct Entrance {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    /// The setting that says how many.
    setting: &'static str,
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
        Self { listener, permits, setting }
    }

    /// The next connection. Those for which there is no permit are closed at once, so that their callers know.
    pub(crate) async fn next(&self) -> Accepted {
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
                tracing::warn!(%peer, "closed a connection: there are `{}` already", self.setting);
                continue;
            };
            // Without it answers are only later; a connection that has broken says so when it is used.
            let _ = stream.set_nodelay(true);
            return Accepted { stream, peer, permit };
        }
    }
}
