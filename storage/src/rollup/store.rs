//! Rollups on disk: a store of their own, beside the segments, which may be removed at any time.

use std::sync::Arc;

use uuid::Uuid;

use crate::bytes::{Fault, Reader, Writer};
use crate::codec::series;
use crate::engine::{Engine, Error, Profile, Store};
use crate::event::{Offset, SignalId};
use crate::keys;
use crate::rollup::units::{Fold, Holes, Unit};
use crate::rollup::{BASE_SECONDS, Series};

/// The version of what is written here. Any other is made anew.
const VERSION: u8 = 3;

/// The open store.
pub(crate) struct UnitStore {
    store: Arc<dyn Store>,
    log_id: Uuid,
}

/// What is there cannot be believed.
#[derive(Debug)]
pub(crate) struct Damaged;

impl UnitStore {
    /// Opens the store if there is one.
    pub(crate) fn find(engine: &dyn Engine, log_id: Uuid) -> Result<Option<Self>, Error> {
        let exists = engine.list()?.iter().any(|name| name == keys::ROLLUPS);
        if exists { Self::open(engine, log_id).map(Some) } else { Ok(None) }
    }

    /// Opens the store, or makes it; makes it anew if it is damaged.
    pub(crate) fn open(engine: &dyn Engine, log_id: Uuid) -> Result<Self, Error> {
        let store = engine.open(keys::ROLLUPS, Profile::Derived).or_else(|error| {
            tracing::warn!(%error, "the rollups cannot be opened: making them anew");
            engine.remove(keys::ROLLUPS)?;
            engine.open(keys::ROLLUPS, Profile::Derived)
        })?;
        Ok(Self { store, log_id })
    }

    /// The units from the oldest on that follow each other without a gap, as far as they are below `head`.
    pub(crate) fn load(&self, head: Offset) -> Vec<Unit> {
        let mut units: Vec<Unit> = Vec::new();
        let mut from = Offset::FIRST;
        while let Ok(Some((key, value))) = self.store.at_or_after(&keys::unit(from)) {
            let Some(first) = keys::unit_offset(&key) else { break };
            from = first.plus(1);
            if units.last().is_some_and(|last| first < last.end) {
                // A unit that was given up once, and made again with other bounds.
                continue;
            }
            match self.decode(&value) {
                Ok(unit) if unit.first == first && unit.end <= head => match units.last() {
                    Some(last) if last.end != first => break,
                    Some(_) | None => units.push(unit),
                },
                Ok(_) | Err(_) => break,
            }
        }
        units
    }

    /// Keeps a unit: what it consists of first.
    pub(crate) fn save(&self, unit: &Unit, fold: &Fold) -> Result<(), Error> {
        for (signal, series) in &fold.series {
            if !series.is_empty() {
                let mut writer = Writer::new(VERSION);
                writer.bytes(&series::encode(series));
                self.store.insert(&keys::unit_series((unit.first, unit.end), *signal), &writer.finish())?;
            }
        }
        self.store.sync()?;
        self.store.insert(&keys::unit(unit.first), &self.encode(unit))?;
        self.store.sync()
    }

    /// The rollups of a signal in a unit; empty if it has no event there.
    pub(crate) fn series(&self, unit: &Unit, signal: SignalId) -> Result<Series, Damaged> {
        let key = keys::unit_series((unit.first, unit.end), signal);
        let found = self.store.get(&key).map_err(|_| Damaged)?;
        let Some(bytes) = found else { return Ok(Series::new()) };
        let mut reader = Reader::new(&bytes, VERSION).map_err(|_| Damaged)?;
        series::decode(reader.bytes().map_err(|_| Damaged)?).map_err(|_| Damaged)
    }

    /// The log, and the version: units of an older one are made anew.
    fn maker(&self) -> [u8; 17] {
        let mut maker = [VERSION; 17];
        maker[..16].copy_from_slice(self.log_id.as_bytes());
        maker
    }

    fn encode(&self, unit: &Unit) -> Vec<u8> {
        let mut writer = Writer::new(VERSION);
        writer.bytes(&self.maker()).i64(BASE_SECONDS);
        writer.u64(unit.first.get()).u64(unit.end.get());
        let holes: Vec<_> = unit.holes.iter().collect();
        writer.u64(u64::from(unit.times.is_some()));
        if let Some((from, to)) = unit.times {
            writer.time(from).time(to);
        }
        writer.u64(holes.len() as u64);
        for (from, to) in holes {
            writer.time(from).time(to);
        }
        writer.finish()
    }

    fn decode(&self, bytes: &[u8]) -> Result<Unit, Fault> {
        let mut reader = Reader::new(bytes, VERSION)?;
        if reader.bytes()? != self.maker() || reader.i64()? != BASE_SECONDS {
            return Err(Fault::Malformed);
        }
        let (first, end) = (reader.offset()?, reader.offset()?);
        let times = if reader.u64()? == 0 { None } else { Some((reader.time()?, reader.time()?)) };
        let mut holes = Vec::new();
        for _ in 0..reader.count()? {
            holes.push((reader.time()?, reader.time()?));
        }
        Ok(Unit { first, end, times, holes: Holes::known(holes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::memory::MemoryEngine;
    use crate::event::Timestamp;
    use crate::rollup::{Rollup, Sample};

    const SIGNAL: SignalId = SignalId(7);

    /// So many events from the first on, rolled up.
    fn unit(events: u64) -> (Unit, Fold) {
        let mut unit = Unit::new(Offset::FIRST);
        let mut fold = Fold::of(&[SIGNAL]);
        for _ in 0..events {
            fold.join(0, 0, Rollup::of(Timestamp::EPOCH, Sample::Int(1)));
            unit.end = unit.end.plus(1);
        }
        unit.times = Some((Timestamp::EPOCH, Timestamp::EPOCH));
        (unit, fold)
    }

    #[test]
    fn a_unit_made_again_with_another_end_does_not_pass_for_the_one_before() {
        let store = UnitStore::open(&MemoryEngine::new(), Uuid::from_u128(1)).unwrap();
        let count = |unit: &Unit| store.series(unit, SIGNAL).unwrap().iter().map(|(_, all)| all.count).sum();
        // Whoever has looked a unit up holds it while it is made again, longer and shorter.
        let mut held = Vec::new();
        for events in [5, 9, 3] {
            let (unit, fold) = unit(events);
            store.save(&unit, &fold).unwrap();
            assert_eq!(store.load(unit.end), std::slice::from_ref(&unit));
            held.push((unit, events));
            for (unit, events) in &held {
                let found: u64 = count(unit);
                assert_eq!(found, *events, "to {}", unit.end);
            }
        }
    }
}
