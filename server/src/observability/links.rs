//! Which traces the events belong to that somebody is sent: those that are kept, a bounded number of them.

use super::place::Place;

/// The most of them that are told of.
const LINKS_MAX: usize = 32;

/// The places that events came with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    /// What the last event came with: those of one append follow each other.
    last: Vec<u8>,
    places: Vec<Place>,
}

impl Links {
    /// Takes note of what an event came with.
    #[inline]
    pub(crate) fn see(&mut self, trace_context: &[u8]) {
        if !trace_context.is_empty() && trace_context != self.last {
            self.note(trace_context);
        }
    }

    #[cold]
    fn note(&mut self, trace_context: &[u8]) {
        trace_context.clone_into(&mut self.last);
        let place = Place::of_bytes(trace_context).filter(Place::is_sampled);
        self.places.extend(place);
        self.shorten();
    }

    /// Those of later events too.
    pub(crate) fn join(&mut self, later: Self) {
        self.places.extend(later.places);
        self.shorten();
    }

    fn shorten(&mut self) {
        if self.places.len() > 1 {
            let mut seen = Vec::with_capacity(LINKS_MAX);
            self.places.retain(|place| {
                let is_new = seen.len() < LINKS_MAX && !seen.contains(place);
                if is_new {
                    seen.push(place.clone());
                }
                is_new
            });
        }
    }

    /// Whether no event was of a trace that is kept.
    pub(crate) const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The places, each once.
    pub(crate) fn into_places(self) -> Vec<Place> {
        self.places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(number: u8, flags: u8) -> Vec<u8> {
        let mut context = vec![number; 24];
        context.push(flags);
        context
    }

    #[test]
    fn what_is_kept_is_told_of_once_and_not_for_ever() {
        let mut links = Links::default();
        for number in [1, 1, 2, 1] {
            links.see(&context(number, 1));
        }
        links.see(&[]);
        links.see(&context(3, 0));
        links.see(b"nonsense");
        assert_eq!(links.places.len(), 2);
        for number in 10..100 {
            links.see(&context(number, 1));
        }
        let mut earlier = Links::default();
        earlier.see(&context(200, 1));
        earlier.join(links);
        let places = earlier.into_places();
        assert_eq!(places.len(), LINKS_MAX);
        assert_eq!(places[0], Place::of_bytes(&context(200, 1)).unwrap());
    }
}
