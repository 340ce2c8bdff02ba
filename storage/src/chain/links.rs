//! The hash after each link, kept in the store of derived state so that a restart goes on where it was.

use std::sync::Arc;

use uuid::Uuid;

use super::{Chain, Digest, end_of};
use crate::bytes::{Fault, Reader, Writer};
use crate::engine::{Error, Store};
use crate::event::Offset;
use crate::keys::{self, FORMAT_VERSION};

/// The links of one log.
pub(crate) struct Links {
    log_id: Uuid,
    /// Synced whenever derived state is written down.
    store: Arc<dyn Store>,
}

impl Links {
    /// Those of this log in `store`.
    pub(crate) const fn new(log_id: Uuid, store: Arc<dyn Store>) -> Self {
        Self { log_id, store }
    }

    /// The chain of the log that begins at `first` after the last link that is kept and ends at or before `head`. Forgets
    /// those beyond: they are of events that are no longer there, and others may come in their place.
    pub(crate) fn resume(&self, first: Offset, head: Offset) -> Chain {
        let mut above = u64::MAX;
        while let Ok(Some((key, value))) = self.store.at_or_before(&keys::link(above)) {
            let Some(link) = keys::link_number(&key) else { break };
            if end_of(link) <= head
                && let Ok(Some(hash)) = self.decode(&value)
            {
                return Chain::after(link, hash);
            }
            if end_of(link) > head && !value.is_empty() {
                let _ = self.store.insert(&key, &[]);
            }
            let Some(below) = link.checked_sub(1) else { break };
            above = below;
        }
        Chain::new(first)
    }

    /// The hash after a link, if it is kept.
    pub(crate) fn get(&self, link: u64) -> Option<Digest> {
        self.decode(&self.store.get(&keys::link(link)).ok()??).ok()?
    }

    /// Keeps the hash after a link.
    pub(crate) fn put(&self, link: u64, hash: Digest) -> Result<(), Error> {
        let mut writer = Writer::new(FORMAT_VERSION);
        writer.bytes(self.log_id.as_bytes()).bytes(hash.as_bytes());
        self.store.insert(&keys::link(link), &writer.finish())
    }

    /// `None` for that of another log.
    fn decode(&self, bytes: &[u8]) -> Result<Option<Digest>, Fault> {
        let mut reader = Reader::new(bytes, FORMAT_VERSION)?;
        let is_ours = reader.bytes()? == self.log_id.as_bytes();
        let hash = Digest::from_slice(reader.bytes()?).ok_or(Fault::Malformed)?;
        Ok(is_ours.then_some(hash))
    }
}
