//! A hash chain over what the log holds: logs with the same events have the same hash, however they came to lie on disk.
//!
//! Events are hashed in links of [`LINK_EVENTS`] offsets: each link's hash is that of the hash before it and of its events.
//! So the hash of all events below any offset needs only the hash after the last link before it, and those 32 bytes are kept
//! for every link. What they say can be found out again from the events: they may be thrown away.
//!
//! How it is made is part of the API, which says it in full: `GetLogInfoResponse.head_hash`.

pub(crate) mod event;
pub(crate) mod follower;
pub(crate) mod links;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::block::Block;
use crate::event::Offset;

/// Events in a link.
pub const LINK_EVENTS: u64 = 65_536;

/// What the hash of an empty log is the hash of. Another way to write events would be another chain.
const BEGINNING: &[u8] = b"downlink chain 1";

/// Bytes of events that are hashed at once: enough for all lanes of the processor.
const HASHED_AT_ONCE: usize = 32 << 10;

/// A hash of the chain. Written as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; Self::BYTES]);

/// The hash of all events below an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// The offset after the last of them.
    pub end: Offset,
    /// Their hash.
    pub digest: Digest,
}

/// The chain in the making: takes events in, in the order of their offsets, and none left out.
#[derive(Debug)]
pub(crate) struct Chain {
    before: Digest,
    hasher: blake3::Hasher,
    /// Events that are not hashed yet.
    written: Vec<u8>,
    first: Offset,
    next: Offset,
}

impl Digest {
    /// How many bytes it has.
    pub const BYTES: usize = blake3::OUT_LEN;

    /// From its bytes; `None` if they are not as many.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Chain {
    /// Before the first event, at `first`.
    pub(crate) fn new(first: Offset) -> Self {
        Self::at(first, Digest(blake3::hash(BEGINNING).into()))
    }

    /// After so many links.
    pub(crate) fn after(links: u64, hash: Digest) -> Self {
        Self::at(end_of(links), hash)
    }

    fn at(first: Offset, before: Digest) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(before.as_bytes());
        Self { before, hasher, written: Vec::new(), first, next: first }
    }

    /// The offset of the event that comes next.
    pub(crate) const fn next(&self) -> Offset {
        self.next
    }

    /// Takes those events of a block in that come next, up to `until`; tells of each link that is complete with them: its
    /// number, and the hash after it.
    pub(crate) fn take(&mut self, block: &Block, until: Offset, mut complete: impl FnMut(u64, Digest)) {
        let until = until.min(block.end_offset());
        assert!(self.next >= block.first_offset(), "no event is left out at {}", self.next);
        while self.next < until {
            let (link, end) = (link_of(self.next), end_of(link_of(self.next)).min(until));
            let row = |offset: Offset| offset.since(block.first_offset()) as usize;
            for event in block.events_in(row(self.next)..row(end)) {
                event::encode(&mut self.written, &event);
                if self.written.len() >= HASHED_AT_ONCE {
                    self.hash_written();
                }
            }
            self.next = end;
            if end == end_of(link) {
                let digest = self.digest();
                complete(link, digest);
                *self = Self { written: std::mem::take(&mut self.written), ..Self::after(link, digest) };
            }
        }
    }

    /// The hash of all events so far.
    pub(crate) fn hashed(&mut self) -> Hashed {
        Hashed { end: self.next, digest: self.digest() }
    }

    fn digest(&mut self) -> Digest {
        if self.next == self.first {
            return self.before;
        }
        self.hash_written();
        Digest(self.hasher.finalize().into())
    }

    fn hash_written(&mut self) {
        self.hasher.update(&self.written);
        self.written.clear();
    }
}

/// The number of the link that an offset is in.
pub(crate) const fn link_of(offset: Offset) -> u64 {
    (offset.get() - 1) / LINK_EVENTS + 1
}

/// The offset after the last of a link; for 0 the first of all.
pub(crate) const fn end_of(link: u64) -> Offset {
    Offset::FIRST.plus(link.saturating_mul(LINK_EVENTS))
}
