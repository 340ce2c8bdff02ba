//! Opens what a process left behind, however it ended: which segments count, where the head is, what the log knew.

use std::sync::Arc;

use uuid::Uuid;

use crate::api::Options;
use crate::copy::Beginning;
use crate::engine::{Engine, Profile};
use crate::error::Error;
use crate::event::{Clock, Offset};
use crate::facts::FactBook;
use crate::keys::{self, Form};
use crate::segment::{Found, Header, Segment};
use crate::segments::{Entry, Segments};
use crate::snapshot::{Derived, Snapshots};

/// The log as it was left.
pub(crate) struct Recovered {
    pub(crate) log_id: Uuid,
    pub(crate) segments: Segments,
    pub(crate) head: Offset,
    pub(crate) derived: Derived,
    pub(crate) snapshots: Snapshots,
    /// Why nothing can be appended, if so.
    pub(crate) read_only: Option<String>,
    /// Events folded again because no snapshot held them.
    pub(crate) replayed_events: u64,
}

/// Opens the log, or makes a new one where there is nothing; with `wanted`, that one.
pub(crate) fn recover(
    engine: Arc<dyn Engine>,
    clock: &dyn Clock,
    options: &Options,
    wanted: Option<Beginning>,
) -> Result<Recovered, Error> {
    let mut row = sweep(engine.as_ref())?;
    let mut snapshots = Snapshots::open(engine.as_ref())?;
    let snapshot = snapshots.load();
    let known = snapshot.as_ref().map(|(log_id, derived)| (*log_id, derived.valid_for));
    let made = wanted.unwrap_or_else(|| Beginning { log_id: Uuid::new_v4(), first: Offset::FIRST });
    let newest = open_newest(engine.as_ref(), clock, &mut row, known, made)?;
    let (beginning, newest, lost) = match newest {
        Ok(newest) => (newest.header.beginning(), Some(newest), None),
        Err(lost) => (any_beginning(engine.as_ref(), &row, known)?, None, Some(lost)),
    };
    let log_id = beginning.log_id;
    if let Some(wanted) = wanted.map(|wanted| wanted.log_id).filter(|wanted| *wanted != log_id) {
        return Err(Error::AnotherLog { found: log_id, wanted });
    }
    let mut derived = match snapshot {
        Some((owner, derived)) if owner == log_id => derived,
        Some(_) | None => Derived::empty(),
    };
    derived.projection.limit(options.newest_bytes_max);
    let mut head = derived.valid_for;
    if let Some(entry) = row.last() {
        head = head.max(entry.first);
    }
    if let Some(lost) = &lost {
        head = head.max(lost.end);
    }
    if let Some(end) = newest.as_ref().and_then(|newest| newest.index().end()) {
        head = head.max(end);
    }
    let facts = FactBook::load(log_id, snapshots.store());
    let newest = newest.map(Arc::new);
    let segments = Segments::new(engine, beginning, row, newest, options.open_segments_max, facts);
    let replayed_events = replay(&segments, &mut derived, head, options)?;
    let read_only = lost.map(|lost| lost.reason);
    Ok(Recovered { log_id, segments, head, derived, snapshots, read_only, replayed_events })
}

/// The segments that count, oldest first. What a crash left half done is removed.
fn sweep(engine: &dyn Engine) -> Result<Vec<Entry>, Error> {
    let mut row: Vec<Entry> = Vec::new();
    for name in engine.list()? {
        match keys::parse_segment(&name) {
            Some((_, Form::Sealing)) => engine.remove(&name)?,
            Some((first, form)) => row.push(Entry { first, form }),
            None if name == keys::DERIVED || name == keys::ROLLUPS => {}
            None => tracing::warn!(name, "not a part of the log: left alone"),
        }
    }
    row.sort_by_key(|entry| (entry.first, entry.form == Form::Raw));
    // A sealed segment is whole before it gets its name: the raw one beside it is no longer needed.
    let mut kept: Vec<Entry> = Vec::new();
    for entry in row {
        match kept.last() {
            Some(before) if before.first == entry.first => {
                engine.remove(&keys::segment(entry.first, entry.form))?
            }
            Some(_) | None => kept.push(entry),
        }
    }
    Ok(kept)
}

/// Why the newest segment cannot be written to, and up to where the log is known without it.
struct Lost {
    reason: String,
    end: Offset,
}

/// The segment to write to, made if there is none; an inner error says why it cannot be opened.
fn open_newest(
    engine: &dyn Engine,
    clock: &dyn Clock,
    row: &mut Vec<Entry>,
    known: Option<(Uuid, Offset)>,
    made: Beginning,
) -> Result<Result<Segment, Lost>, Error> {
    let Some(last) = row.last().copied() else {
        return match known {
            None => begin(engine, clock, row, made, made.first).map(Ok),
            Some((_, end)) => Ok(Err(Lost { reason: "every segment of the log is missing".to_owned(), end })),
        };
    };
    let opened = Segment::open(engine, last.first, last.form, Profile::Newest);
    let error = match opened {
        Ok(segment) if segment.form == Form::Raw => {
            // What a killed process left to the system is not on disk before this, and must not be believed.
            segment.sync()?;
            return Ok(Ok(segment));
        }
        // Every older segment is followed by a raw one before it is sealed. How far that one went nobody knows, and
        // offsets must not be given twice.
        Ok(sealed) => {
            let end = sealed.index().end().unwrap_or(sealed.header.first);
            let reason = format!("the newest segment, from offset {end} on, is missing");
            return Ok(Err(Lost { reason, end }));
        }
        Err(Error::Damaged(error)) => error,
        Err(error) => return Err(error),
    };
    let name = keys::segment(last.first, last.form);
    if was_never_begun(engine, last, known) {
        engine.remove(&name)?;
        row.pop();
        let beginning = match known {
            None if row.is_empty() => made,
            None | Some(_) => any_beginning(engine, row, known)?,
        };
        return begin(engine, clock, row, beginning, last.first).map(Ok);
    }
    tracing::error!(name, error, "the newest segment cannot be opened");
    let reason = format!("the newest segment {name} cannot be opened: {error}");
    // At least the first event of the last block that was synced is known to be there.
    let synced = engine.last_synced(&name).and_then(|key| keys::block_offset(&key));
    Ok(Err(Lost { reason, end: synced.map_or(last.first, |block| block.plus(1)) }))
}

/// Whether a crash came between the making of a segment's store and the sync of its header.
fn was_never_begun(engine: &dyn Engine, entry: Entry, known: Option<(Uuid, Offset)>) -> bool {
    if entry.form != Form::Raw || known.is_some_and(|(_, valid_for)| valid_for > entry.first) {
        return false;
    }
    let store = engine.open(&keys::segment(entry.first, entry.form), Profile::Newest);
    store.is_ok_and(|store| matches!(store.at_or_after(&keys::block(Offset::FIRST)), Ok(None)))
}

fn begin(
    engine: &dyn Engine,
    clock: &dyn Clock,
    row: &mut Vec<Entry>,
    Beginning { log_id, first: log_first }: Beginning,
    first: Offset,
) -> Result<Segment, Error> {
    let header = Header { log_id, first, created: clock.now(), log_first };
    let segment = Segment::create(engine, header, Form::Raw)?;
    row.push(Entry { first, form: Form::Raw });
    Ok(segment)
}

/// Which log it is and where it begins, from any segment that can be opened, or which from the snapshot.
fn any_beginning(
    engine: &dyn Engine,
    row: &[Entry],
    known: Option<(Uuid, Offset)>,
) -> Result<Beginning, Error> {
    for entry in row.iter().rev() {
        if let Ok(segment) = Segment::open(engine, entry.first, entry.form, Profile::Sealed) {
            return Ok(segment.header.beginning());
        }
    }
    let beginning = known.map(|(log_id, _)| Beginning { log_id, first: Offset::FIRST });
    beginning.ok_or_else(|| Error::Damaged("no segment can be opened".to_owned()))
}

/// Folds the blocks that the snapshot does not know.
fn replay(segments: &Segments, derived: &mut Derived, head: Offset, options: &Options) -> Result<u64, Error> {
    let mut next = derived.valid_for.max(segments.oldest());
    let mut replayed = 0;
    while next < head {
        let Some((entry, end)) = segments.locate(next) else {
            let Some(first) = segments.next_after(next) else { break };
            next = first;
            continue;
        };
        let end = end.unwrap_or(head).min(head);
        let segment = match segments.open(entry) {
            Ok(segment) => segment,
            Err(Error::Damaged(_)) => {
                next = end;
                continue;
            }
            Err(error) => return Err(error),
        };
        while next < end {
            next = match segment.read(next, end)? {
                Found::Block(block) => {
                    // Sealing has merged it with blocks that the snapshot holds already.
                    let known = next.since(block.first_offset()) as usize;
                    let block = if known > 0 { Arc::new(block.slice(known..block.len())) } else { block };
                    replayed += block.len() as u64;
                    derived.apply(&block, options);
                    block.end_offset()
                }
                Found::Missing { end, .. } => end,
            };
        }
    }
    derived.valid_for = head;
    Ok(replayed)
}
