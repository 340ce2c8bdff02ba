//! HTTP connections: each for a bounded time, and none that takes for ever to say what it wants.

use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::log_filter::Peer;
use crate::accept::{Accepted, Entrance};

/// The request line and headers of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long a connection may last. Whoever comes regularly connects anew now and then.
const CONNECTION_MAX: Duration = Duration::from_secs(300);

/// Serves what comes to `listener`, for ever.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Router,
    permits: Arc<Semaphore>,
    patience: Duration,
) {
    let plenty = permits.available_permits() / 2;
    let mut entrance = Entrance::new(listener, permits.clone(), "http_connections_max");
    // They end with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Accepted { stream, peer, permit } = entrance.next() => {
                let routes = routes.clone().layer(Extension(Peer(peer.ip())));
                // Where connections get scarce each is for one request.
                let keeps_alive = permits.available_permits() >= plenty;
                connections.spawn(connection((stream, keeps_alive), routes, patience, permit));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(
    (stream, keeps_alive): (TcpStream, bool),
    routes: Router,
    patience: Duration,
    _permit: OwnedSemaphorePermit,
) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .keep_alive(keeps_alive)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        // Whatever ended it, the caller knows better.
        _ = &mut serving => return,
        () = sleep(CONNECTION_MAX) => serving.as_mut().graceful_shutdown(),
    }
    let _ = timeout(patience, serving).await;
}
