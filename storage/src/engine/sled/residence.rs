//! Keeps sled's cache small: sled 0.34 by itself keeps hundreds of megabytes, whatever its cache may hold.
//!
//! It files its pages (8 to 16 values each) in 256 shards, looks for pages to drop only at every 64th
//! access to a shard, keeps the last page of each, and takes a page in a file of its own for tiny. So we
//! read, again and again, small pages made for the purpose: enough of them that every shard has one.
//! Each time one is read often enough, its shard drops all other pages.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What sled is told to hold, the least it accepts: a shard looked at drops all but its last page.
pub(super) const CACHE_BYTES: u64 = 256;

/// The tree of the small pages.
const TREE: &str = "residence";
/// A page is cut in two when it holds more entries than 16, so each keeps 8.
const ENTRIES_PER_PAGE: u64 = 8;
/// More than sled has shards: a few pages fall out of step with them.
const PAGES: u64 = 288;
/// One more than the accesses after which a shard is looked at.
const READS_PER_PAGE: u32 = 65;

/// Lets no more than about `budget_bytes` of values stay in memory.
pub(super) struct Residence {
    pages: OnceLock<sled::Tree>,
    /// Values that passed, in bytes; decides whose turn it is.
    passed_bytes: AtomicU64,
    budget_bytes: u64,
}

impl Residence {
    /// For a store that takes `disk_bytes` now.
    pub(super) fn new(db: &sled::Db, budget_bytes: u64, disk_bytes: u64) -> sled::Result<Self> {
        let pages = OnceLock::new();
        if db.tree_names().iter().any(|name| name == TREE.as_bytes()) {
            let _ = pages.set(db.open_tree(TREE)?);
        }
        Ok(Self { pages, passed_bytes: AtomicU64::new(disk_bytes), budget_bytes })
    }

    /// To be called by the writer: makes the small pages once the store has outgrown the budget, so that
    /// small stores do not have to carry them.
    pub(super) fn written(&self, db: &sled::Db, bytes: usize) -> sled::Result<()> {
        if self.pages.get().is_none() && self.passed_bytes.load(Ordering::Relaxed) > self.budget_bytes {
            let pages = db.open_tree(TREE)?;
            for entry in 0..PAGES * ENTRIES_PER_PAGE {
                pages.insert(entry.to_be_bytes(), &[])?;
            }
            let _ = self.pages.set(pages);
        }
        self.passed(bytes)
    }

    /// To be called with every value read.
    pub(super) fn passed(&self, bytes: usize) -> sled::Result<()> {
        let bytes_per_page = (self.budget_bytes / PAGES).max(1);
        let bytes = bytes as u64;
        let before = self.passed_bytes.fetch_add(bytes, Ordering::Relaxed);
        let Some(pages) = self.pages.get() else { return Ok(()) };
        let turns = before / bytes_per_page..(before + bytes) / bytes_per_page;
        for turn in turns.take(usize::try_from(PAGES).unwrap_or(usize::MAX)) {
            let entry = turn % PAGES * ENTRIES_PER_PAGE;
            for _ in 0..READS_PER_PAGE {
                pages.get(entry.to_be_bytes())?;
            }
        }
        Ok(())
    }
}
