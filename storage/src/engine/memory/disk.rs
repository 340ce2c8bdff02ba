//! What the pretended disk holds, and the dice it rolls.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::Error;

pub(super) type Map = BTreeMap<Vec<u8>, Arc<Vec<u8>>>;

/// What one store holds.
#[derive(Default)]
pub(super) struct Contents {
    /// What a power cut cannot take.
    pub(super) synced: Map,
    /// The writes since, in order.
    pub(super) unsynced: Vec<(Vec<u8>, Arc<Vec<u8>>)>,
    /// What readers see: all of it.
    pub(super) current: Map,
    pub(super) damaged: bool,
    /// The boot in which it was opened and has not been closed since.
    pub(super) opened_in_boot: Option<u64>,
}

impl Contents {
    pub(super) fn bytes(&self) -> u64 {
        self.current.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}

#[derive(Default)]
pub(super) struct Disk {
    pub(super) stores: BTreeMap<String, Contents>,
    pub(super) boots: u64,
    pub(super) steps: u64,
    pub(super) syncs: u64,
    pub(super) opens: u64,
    pub(super) crash_at_step: Option<u64>,
    pub(super) fail_next_sync: bool,
    pub(super) full: bool,
    pub(super) used_bytes: u64,
    pub(super) capacity_bytes: Option<u64>,
}

impl Disk {
    /// Counts a mutating call, and fails it if the power is gone or goes now.
    pub(super) fn step(&mut self) -> Result<(), Error> {
        self.steps += 1;
        self.check_power()
    }

    pub(super) fn check_power(&self) -> Result<(), Error> {
        match self.crash_at_step {
            Some(step) if self.steps >= step => Err(Error::Io("the power is gone".to_owned())),
            _ => Ok(()),
        }
    }

    pub(super) fn check_space(&self, bytes: u64) -> Result<(), Error> {
        let enough = !self.full && bytes <= self.free_bytes();
        if enough { Ok(()) } else { Err(Error::NoSpace("on command".to_owned())) }
    }

    pub(super) fn free_bytes(&self) -> u64 {
        let capacity_bytes = if self.full { 0 } else { self.capacity_bytes.unwrap_or(u64::MAX) };
        capacity_bytes.saturating_sub(self.used_bytes)
    }

    /// The store, if there is one; an error if it is open.
    pub(super) fn closed(&mut self, name: &str) -> Result<Option<&mut Contents>, Error> {
        let contents = self.stores.get_mut(name);
        if contents.as_ref().is_some_and(|contents| contents.opened_in_boot == Some(self.boots)) {
            return Err(Error::Io(format!("still open: {name}")));
        }
        Ok(contents)
    }
}

pub(super) fn gone(name: &str) -> Error {
    Error::Io(format!("no such store: {name}"))
}

/// A small generator of well mixed numbers (Steele, Lea and Flood 2014), the same for ever.
pub(super) struct SplitMix64(pub(super) u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        usize::try_from(self.next() % bound).expect("below a usize")
    }

    /// What is found of an unsynced value after a power cut.
    pub(super) fn fate(&mut self, mut value: Arc<Vec<u8>>, is_last: bool) -> Option<Arc<Vec<u8>>> {
        match self.below(if is_last { 4 } else { 2 }) {
            0 => return None,
            1 => {}
            2 => {
                let kept = self.below(value.len().max(1));
                Arc::make_mut(&mut value).truncate(kept);
            }
            _ => {
                for _ in 0..=self.below(4) {
                    let at = self.below(value.len().max(1));
                    if let Some(byte) = Arc::make_mut(&mut value).get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
            }
        }
        Some(value)
    }
}
