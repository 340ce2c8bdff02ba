//! The threads of the log, and how those behind the scenes give way to those that somebody waits for.

use std::thread::{Builder, JoinHandle};

use crate::Error;

/// Starts a thread that somebody waits for.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    Builder::new().name(name.to_owned()).spawn(work).map_err(|error| Error::Engine(error.to_string()))
}

/// Starts a thread whose work can wait where the CPU is scarce.
pub(crate) fn spawn_in_background(
    name: &str,
    niceness: u8,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    spawn(name, move || {
        give_way(niceness);
        work();
    })
}

/// Makes the thread that this runs on nicer by so much. It gets what others leave it, and never nothing.
///
/// The engine's threads are as nice as whoever starts them. It starts those that stay when it is first used, so a log must
/// be open before any thread that gives way; the few more that it starts when it has much to do end soon.
pub fn give_way(niceness: u8) {
    // On other systems that would be the whole process.
    if cfg!(target_os = "linux") {
        // Where it is refused, all are as eager as each other.
        let _ = rustix::process::nice(i32::from(niceness));
    }
}
