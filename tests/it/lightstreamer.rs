//! A stand-in for the Lightstreamer server of the public feed: TLCP 2.5.0 over WebSocket, on a free port of this machine;
//! over HTTP, as clients ask when they have lost a connection, it sends them on to WebSocket.
//!
//! It plays a row of updates to whoever subscribes, merges nothing, and makes the trouble that it is told to make. Nothing
//! of it is late or lost but by that trouble: it waits for its clients, so that a test may play a day as fast as they read.

mod connection;
mod encode;
mod http;
mod official;
mod player;
mod request;
mod session;
mod state;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use downlink_client::iss::update::Update;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::harness::soon;
use state::Shared;

/// Further connections are closed at once.
const CONNECTIONS_MAX: usize = 16;

/// What is played, and what goes wrong on the way.
pub(crate) struct Plan {
    updates: Box<dyn Iterator<Item = Update> + Send>,
    times: Option<f64>,
    items_awaited: usize,
    troubles: Vec<(u64, Trouble)>,
}

impl Plan {
    /// Updates in their order, as fast as the clients read, from when one has subscribed to anything.
    pub(crate) fn new(updates: impl Iterator<Item = Update> + Send + 'static) -> Self {
        Self { updates: Box::new(updates), times: None, items_awaited: 1, troubles: Vec::new() }
    }

    /// At most at a multiple of the pace in which their time stamps follow each other.
    pub(crate) fn at_times(self, times: f64) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Plays only while every session has subscribed to so many items, so that nothing passes one by.
    pub(crate) fn awaiting_items(self, items_awaited: usize) -> Self {
        Self { items_awaited, ..self }
    }

    /// Makes trouble right after so many updates; in this order.
    pub(crate) fn with_troubles(self, troubles: impl IntoIterator<Item = (u64, Trouble)>) -> Self {
        Self { troubles: troubles.into_iter().collect(), ..self }
    }
}

/// What goes wrong, for every session there is, behind all that has been played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The connection breaks, and what is on its way is lost. The session waits to be recovered.
    Drop,
    /// The connection is closed, and recovery will be refused.
    Forget,
    /// The stream ends, and is to be bound again.
    Loop,
    /// The session is ended, for a reason of this number.
    End(u16),
    /// Nothing is said any more on this connection, not even that there is nothing to say. The session waits to be recovered.
    Mute,
    /// The next request for a stream is refused with this number.
    Refuse(u16),
    /// The newest update of every item is sent again.
    Repeat,
    /// A line is sent that makes no sense. It counts as a notification of data if its tag says so.
    Line(String),
    /// A message is sent that is no text.
    Bytes(Vec<u8>),
}

/// A recording of the feed as updates of a good signal: in all fields but time and value the feed says always the same.
pub(crate) fn recording(file: &Path) -> impl Iterator<Item = Update> + Send + use<> {
    let file = File::open(file).expect("the recording");
    let rows = csv::Reader::from_reader(zstd::Decoder::new(file).expect("zstd"));
    rows.into_records().map(|row| {
        let row = row.expect("a row");
        update(&row[1], &row[0], &row[2])
    })
}

/// An update of a good signal.
pub(crate) fn update(item: &str, time_stamp: &str, value: &str) -> Update {
    Update {
        status_indicator: Some(String::new()),
        status_color: Some("#00ff00".to_owned()),
        ..Update::live(item, time_stamp, value)
    }
}

/// A stand-in that listens, until it is dropped.
pub(crate) struct StandIn {
    address: String,
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

impl StandIn {
    /// Listens on a free port, and plays once there is a subscription.
    pub(crate) async fn start(plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let shared = Arc::new(Shared::default());
        let tasks = [
            tokio::spawn(player::play(Arc::clone(&shared), plan)),
            tokio::spawn(accept(listener, Arc::clone(&shared))),
        ];
        Self { address, shared, tasks }
    }

    /// Where clients of Lightstreamer find it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes trouble now.
    pub(crate) fn make(&self, trouble: Trouble) {
        self.shared.change(|state| state.make(trouble));
    }

    /// Waits until everything has been played, and was sent to everybody who is there.
    pub(crate) async fn is_through(&self) {
        soon("the end of the play", self.shared.until(|state| state.is_through().then_some(()))).await;
    }

    /// How often each request was made, by its name; further ones for recoveries and for the operations of `control`.
    pub(crate) fn asked(&self, request: &str) -> u64 {
        self.shared.look(|state| state.asked(request))
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Serves each connection in a task of its own; all of them end with this one.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    for number in 1.. {
        let Ok((stream, _)) = listener.accept().await else { return };
        while connections.try_join_next().is_some() {}
        if connections.len() < CONNECTIONS_MAX {
            connections.spawn(connection::serve(stream, number, Arc::clone(&shared)));
        }
    }
}
