//! Readers beside a load: each replays the log from its start, over and over, on a connection of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail, ensure};
use downlink_client::Client;
use downlink_client::v1::{ReadRequest, read_response::Frame};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::replay::count;

/// Readers at work, on threads of their own: as other programs they do not take turns with the load.
pub(super) struct Readers {
    /// Present until they are stopped.
    runtime: Option<Runtime>,
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
    events: Arc<AtomicU64>,
}

impl Readers {
    /// So many of them, of the log at `url`. Returns when each has got its first events.
    pub(super) async fn start(url: &str, readers: u32) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().thread_name("readers").enable_all().build()?;
        let handle = runtime.handle().clone();
        let mut begun = Self { runtime: Some(runtime), tasks: vec![], events: Arc::default() };
        for _ in 0..readers {
            let url = url.to_owned();
            let client = handle.spawn(async move { Client::connect(&url).await }).await??;
            let (first, arrived) = oneshot::channel();
            let task = handle.spawn(replay(client, begun.events.clone(), first));
            if arrived.await.is_err() {
                task.await??;
                bail!("a reader got nothing");
            }
            begun.tasks.push(task);
        }
        Ok(begun)
    }

    /// Stops them. Says how many events they have got, all of them together.
    ///
    /// # Errors
    /// What made one of them give up.
    pub(super) async fn stop(mut self) -> anyhow::Result<u64> {
        for task in std::mem::take(&mut self.tasks) {
            if task.is_finished() {
                task.await?.context("a reader has given up")?;
            }
        }
        Ok(self.events.load(Ordering::Relaxed))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Until it is stopped; says when the `first` events are there.
async fn replay(client: Client, events: Arc<AtomicU64>, first: oneshot::Sender<()>) -> anyhow::Result<()> {
    let mut first = Some(first);
    loop {
        let mut replay = client.read_raw(ReadRequest::default()).await?;
        let mut replayed = 0;
        while let Some(frame) = replay.next().await? {
            match frame {
                Frame::Events(batch) => {
                    replayed += count(&batch);
                    events.fetch_add(count(&batch), Ordering::Relaxed);
                    // Nobody waits for it any more if the bench is over.
                    first.take().map(|first| first.send(()));
                }
                Frame::Gap(gap) => {
                    bail!("events {} to {} are missing", gap.first_offset, gap.last_offset)
                }
                Frame::End(_) => break,
            }
        }
        ensure!(replayed > 0, "there is nothing in the log to replay: append something first");
    }
}
