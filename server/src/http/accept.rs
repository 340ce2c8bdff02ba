//! HTTP connections: each for a bounded time, and none that takes for ever to say what it wants.

use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::log_filter::Peer;
use crate::accept::{Accepted, Entrance};

/// The request line and headers of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long a connection may last. Whoever comes regularly connects anew now and then.
const CONNECTION_MAX: Duration = Duration::from_secs(300);

/// Serves what comes to `listener`, for ever.
pub(super) async fn serve(listener: TcpListener, routes: Router, connections_max: usize, patience: Duration) {
    let entrance = Entrance::new(listener, Arc::new(Semaphore::new(connections_max)), "http_connections_max");
    loop {
        let Accepted { stream, peer, permit } = entrance.next().await;
        let routes = routes.clone().layer(Extension(Peer(peer.ip())));
        tokio::spawn(connection(stream, routes, patience, permit));
    }
}

async fn connection(stream: TcpStream, routes: Router, patience: Duration, _permit: OwnedSemaphorePermit) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
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
