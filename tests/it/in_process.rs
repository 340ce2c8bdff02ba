//! The server's own library in the process of the test, on a log whose disk fails on command.

use downlink_server::config::Config;
use downlink_storage::Log;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::harness::soon;

/// A server that is real but for its disk.
pub(crate) struct InProcess {
    url: String,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl InProcess {
    /// Serves a log on a free port.
    pub(crate) async fn serve(log: Log) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move { stopped.await.unwrap_or_default() };
        let running = tokio::spawn(async move {
            let ended = downlink_server::run_with_log(Config::standard(), log, listener, shutdown).await;
            ended.expect("a clean end");
        });
        Self { url, stop, running }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A connection for any of the generated clients.
    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(self.url.clone()).expect("a URL").connect().await.expect("a connection")
    }

    /// Stops it; no connection may be left.
    pub(crate) async fn stop(self) {
        self.stop.send(()).expect("a running server");
        soon("the end", self.running).await.expect("a clean end");
    }
}
