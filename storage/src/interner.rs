//! The numbers of the signals, as the writer gives them out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::Error;
use crate::event::{Event, SignalId};

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

    /// The number of a signal, a new one if need be.
    pub(crate) fn intern(&mut self, name: &str) -> (SignalId, &Arc<str>) {
        let id = self.by_name.get(name).copied().unwrap_or_else(|| {
            // From 1: 0 is how the wire says that there is none.
            let id = SignalId(self.names.len().max(1) as u32);
            self.learn(id, Arc::from(name));
            id
        });
        (id, self.names[id.0 as usize].as_ref().expect("just learnt or looked up"))
    }

    /// Whether the events' signals still fit into the bound.
    pub(crate) fn check(&self, events: &[Event], signals_max: usize) -> Result<(), Error> {
        if self.by_name.len() + events.len() <= signals_max {
            return Ok(());
        }
        let new: HashSet<&str> = events
            .iter()
            .map(|event| event.signal.as_str())
            .filter(|signal| !self.by_name.contains_key(*signal))
            .collect();
        if self.by_name.len() + new.len() <= signals_max {
            return Ok(());
        }
        Err(Error::Quota { what: "signals", bound: signals_max as u64 })
    }
}
