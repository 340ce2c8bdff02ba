//! Everything of which there is only so much: what is taken of it is asked for when somebody looks.

use std::sync::{Arc, Mutex, Weak};

use tokio::sync::Semaphore;

use super::page::Page;
use super::{PERMITS, PERMITS_TAKEN};
use crate::sync::lock;

/// The bounds that are watched.
#[derive(Default)]
pub(crate) struct Permits {
    watched: Mutex<Vec<Watched>>,
}

struct Watched {
    name: &'static str,
    permits: Weak<Semaphore>,
    most: usize,
}

impl Permits {
    /// Watches `permits`, of which there are `most`, for as long as they are there.
    pub(crate) fn watch(&self, name: &'static str, permits: &Arc<Semaphore>, most: usize) {
        let watched = Watched { name, permits: Arc::downgrade(permits), most };
        lock(&self.watched).push(watched);
    }

    pub(super) fn tell(&self, page: &mut Page) {
        for Watched { name, permits, most } in &*lock(&self.watched) {
            if let Some(permits) = permits.upgrade() {
                let taken = most.saturating_sub(permits.available_permits());
                page.number(&PERMITS_TAKEN, &[name], taken as u64);
                page.number(&PERMITS, &[name], *most as u64);
            }
        }
    }
}
