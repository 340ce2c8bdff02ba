//! The numbers of the signals, as the writer gives them out.

use std::collections::HashMap;
use std::sync::Arc;

use crate::batch::Batch;
use crate::block::BlockSignal;
use crate::error::Error;
use crate::event::SignalId;

/// The numbers of the signals' names.
#[derive(Default)]
pub(crate) struct Interner {
    by_name: HashMap<Arc<str>, SignalId>,
    /// By number; `None` where a number belongs to a signal whose only blocks are lost.
    names: Vec<Option<Arc<str>>>,
}

impl Interner {
    /// Takes note of a signal that the log knows already.
    pub(crate) fn learn(&mut self, id: SignalId, name: Arc<str>) {
        let position = id.0 as usize;
        if position >= self.names.len() {
            self.names.resize(position + 1, None);
        }
        self.names[position] = Some(name.clone());
        self.by_name.insert(name, id);
    }

    /// The signal of a name, with a new number if need be.
    pub(crate) fn intern(&mut self, name: &Arc<str>) -> BlockSignal {
        let id = self.by_name.get(name).copied().unwrap_or_else(|| {
            // From 1: 0 is how the wire says that there is none.
            let id = SignalId(self.names.len().max(1) as u32);
            self.learn(id, name.clone());
            id
        });
        // The name that the log has, so that its copies are one.
        let name = self.names[id.0 as usize].as_ref().expect("just learnt or looked up").clone();
        BlockSignal { id, name }
    }

    /// Whether copies have the numbers that their signals have in this log, where it knows them.
    fn check_copied(&self, batch: &Batch, signals_max: usize) -> Result<(), Error> {
        let mut names = HashMap::new();
        for (name, id) in batch.numbered_signals() {
            if let Some(other) = names.insert(id, name) {
                return Err(Error::NotACopy(format!("signals {other:?} and {name:?} have number {}", id.0)));
            }
            if id.0 as usize > signals_max {
                return Err(Error::Quota { what: "signals", bound: signals_max as u64 });
            }
            let named = self.names.get(id.0 as usize).and_then(Option::as_ref);
            let numbered = self.by_name.get(name);
            if id.0 == 0
                || named.is_some_and(|known| known != name)
                || numbered.is_some_and(|known| *known != id)
            {
                let known = (numbered.map_or(0, |id| id.0), named.map_or("nobody", |name| &**name));
                return Err(Error::NotACopy(format!(
                    "signal {name:?} has number {}, but here it is {}, and that one is {:?}",
                    id.0, known.0, known.1
                )));
            }
        }
        Ok(())
    }

    /// Takes note of the numbers that copies have.
    pub(crate) fn learn_copied(&mut self, batch: &Batch) {
        for (name, id) in batch.numbered_signals() {
            if !self.by_name.contains_key(name) {
                self.learn(id, name.clone());
            }
        }
    }

    /// Whether the signals of a batch still fit into the bound, and those of copies to what the log knows.
    pub(crate) fn check(&self, batch: &Batch, signals_max: usize) -> Result<(), Error> {
        self.check_copied(batch, signals_max)?;
        if self.by_name.len() + batch.signals().len() <= signals_max {
            return Ok(());
        }
        let new = batch.used_signals().filter(|signal| !self.by_name.contains_key(*signal)).count();
        if self.by_name.len() + new <= signals_max {
            return Ok(());
        }
        Err(Error::Quota { what: "signals", bound: signals_max as u64 })
    }
}
