//! What is in the way at present, as others may know it.

use std::sync::Mutex;
use std::time::Instant;

use crate::sync::lock;

/// Something that is in the way, or nothing.
#[derive(Debug, Default)]
pub(crate) struct Problem(Mutex<Option<(String, Instant)>>);

impl Problem {
    /// Notes what is in the way, or that nothing is; whether that is news.
    pub(crate) fn note(&self, problem: Option<String>) -> bool {
        let mut noted = lock(&self.0);
        if noted.as_ref().map(|(problem, _)| problem) == problem.as_ref() {
            return false;
        }
        *noted = problem.map(|problem| (problem, Instant::now()));
        true
    }

    /// What is in the way, and for how long it has been.
    pub(crate) fn text(&self) -> Option<String> {
        let noted = lock(&self.0);
        noted.as_ref().map(|(problem, since)| format!("{problem} (for {} s)", since.elapsed().as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_that_stays_is_as_old_as_it_was_and_told_once() {
        let problem = Problem::default();
        let because = |text: &str| problem.note(Some(text.to_owned()));
        assert!(!problem.note(None) && because("a"));
        let since = || lock(&problem.0).as_ref().map(|(_, since)| *since);
        let first = since();
        assert!(!because("a") && since() == first && first.is_some());
        assert_eq!(problem.text().as_deref(), Some("a (for 0 s)"));
        assert!(because("b") && because("a") && since() > first);
        assert!(problem.note(None) && problem.text().is_none());
    }
}
