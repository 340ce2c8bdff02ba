//! Which events a reader wants.

use std::collections::HashSet;

use downlink_storage::{Block, EventRef, Quality, SYSTEM_PREFIX, SignalId};

/// A name or a glob: `*` stands for any run of characters without "/", `**` for any run, `?` for one character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// What comes before the first of those, as it is: all of a name.
    literal: String,
    rest: Vec<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Character(char),
    One,
    Run,
    RunWithoutSlash,
}

impl Pattern {
    /// The pattern that `text` describes; `None` if it is empty.
    #[must_use]
    pub(crate) fn new(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let (literal, glob) = text.split_at(text.find(['*', '?']).unwrap_or(text.len()));
        let mut rest = Vec::with_capacity(glob.len());
        for character in glob.chars() {
            match (character, rest.last()) {
                ('*', Some(Token::RunWithoutSlash)) => {
                    rest.pop();
                    rest.push(Token::Run);
                }
                // More stars mean no more than two.
                ('*', Some(Token::Run)) => {}
                ('*', _) => rest.push(Token::RunWithoutSlash),
                ('?', _) => rest.push(Token::One),
                (other, _) => rest.push(Token::Character(other)),
            }
        }
        Some(Self { literal: literal.to_owned(), rest })
    }

    /// What every name that matches begins with.
    #[must_use]
    pub(crate) fn literal_prefix(&self) -> &str {
        &self.literal
    }

    /// Whether `name` matches. Names that begin with "_" match only patterns that begin with "_".
    #[must_use]
    pub(crate) fn matches(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix(&*self.literal) else { return false };
        match self.rest.as_slice() {
            [] => rest.is_empty(),
            _ if name.starts_with('_') && self.literal.is_empty() => false,
            [Token::Run] => true,
            [Token::RunWithoutSlash] => !rest.contains('/'),
            tokens => matches_glob(tokens, rest),
        }
    }
}

/// In time linear in pattern times name: the set of pattern positions that the text so far can have reached.
fn matches_glob(tokens: &[Token], name: &str) -> bool {
    let mut reached = vec![false; tokens.len() + 1];
    let mut next = reached.clone();
    reached[0] = true;
    skip_empty_runs(tokens, &mut reached);
    for character in name.chars() {
        next.fill(false);
        for (position, token) in tokens.iter().enumerate().filter(|&(position, _)| reached[position]) {
            match token {
                Token::Character(expected) => next[position + 1] |= *expected == character,
                Token::One => next[position + 1] = true,
                Token::Run => next[position] = true,
                Token::RunWithoutSlash => next[position] |= character != '/',
            }
        }
        skip_empty_runs(tokens, &mut next);
        std::mem::swap(&mut reached, &mut next);
    }
    reached[tokens.len()]
}

fn skip_empty_runs(tokens: &[Token], reached: &mut [bool]) {
    for (position, token) in tokens.iter().enumerate() {
        if reached[position] && matches!(token, Token::Run | Token::RunWithoutSlash) {
            reached[position + 1] = true;
        }
    }
}

/// Names wanted: any of some patterns, or, without patterns, all that are not the system's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    exact: HashSet<String>,
    globs: Vec<Pattern>,
}

impl Names {
    /// Any of `patterns`.
    #[must_use]
    pub(crate) fn new(patterns: Vec<Pattern>) -> Self {
        let (exact, globs): (Vec<_>, Vec<_>) =
            patterns.into_iter().partition(|pattern| pattern.rest.is_empty());
        Self { exact: exact.into_iter().map(|pattern| pattern.literal).collect(), globs }
    }

    /// Whether every name that is not the system's own is wanted.
    #[must_use]
    #[inline]
    pub(crate) fn is_everything(&self) -> bool {
        self.exact.is_empty() && self.globs.is_empty()
    }

    /// The names, if no globs are among them.
    #[must_use]
    pub(crate) fn only_exact(&self) -> Option<&HashSet<String>> {
        (self.globs.is_empty() && !self.exact.is_empty()).then_some(&self.exact)
    }

    /// Whether a name is judged in a step or two, whoever chose the patterns.
    #[must_use]
    pub(crate) fn is_quick(&self) -> bool {
        self.globs.is_empty()
    }

    /// The exact names among the patterns.
    #[must_use]
    pub(crate) const fn exact(&self) -> &HashSet<String> {
        &self.exact
    }

    /// Whether `name` is wanted.
    #[must_use]
    #[inline]
    pub(crate) fn wants(&self, name: &str) -> bool {
        if self.is_everything() {
            return !name.starts_with(SYSTEM_PREFIX);
        }
        self.exact.contains(name) || self.globs.iter().any(|pattern| pattern.matches(name))
    }
}

/// Which events a reader wants: AND between the fields, OR inside a field.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    /// On which signals.
    pub(crate) names: Names,
    /// From which sources; empty: from any.
    pub(crate) sources: HashSet<String>,
    /// The worst quality wanted.
    pub(crate) quality_worst: Quality,
    /// What is known already about signals, by number: a name is compared once.
    known: Vec<Option<bool>>,
}

impl Filter {
    /// Of signals with these names, from these sources, of this quality or better.
    #[must_use]
    pub(crate) const fn new(names: Names, sources: HashSet<String>, quality_worst: Quality) -> Self {
        Self { names, sources, quality_worst, known: Vec::new() }
    }

    /// Whether every event is wanted that is not the system's own.
    pub(crate) fn is_everything(&self) -> bool {
        self.names.is_everything() && self.sources.is_empty() && self.quality_worst == Quality::Bad
    }

    /// Whether `event` is wanted.
    #[inline]
    pub(crate) fn wants(&mut self, event: &EventRef<'_>) -> bool {
        event.quality <= self.quality_worst
            && (self.sources.is_empty() || self.sources.contains(&**event.source))
            && self.wants_signal(event.signal_id, event.signal)
    }

    /// Which of the signals of `block` are wanted; `None`: all that are not the system's own.
    pub(crate) fn wanted_in(&mut self, block: &Block) -> Option<Vec<bool>> {
        if self.names.is_everything() {
            return None;
        }
        Some(block.signals().iter().map(|signal| self.wants_signal(signal.id, &signal.name)).collect())
    }

    #[inline]
    fn wants_signal(&mut self, id: SignalId, name: &str) -> bool {
        let index = id.0 as usize;
        if self.known.len() <= index {
            self.known.resize(index + 1, None);
        }
        *self.known[index].get_or_insert_with(|| self.names.wants(name))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use downlink_storage::{Offset, Timestamp, ValueRef};
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(name)
    }

    #[test]
    fn globs_mean_what_the_api_says() {
        let yes = [
            ("iss/*", "iss/a"),
            ("**", "iss/a"),
            ("i??/a", "iss/a"),
            ("a*b*c", "axxbc"),
            ("*", ""),
            ("a/**/z", "a/b/c/z"),
        ];
        let no = [
            ("iss/*", "iss/a/b"),
            ("*", "iss/a"),
            ("?", ""),
            ("iss/a", "iss/ab"),
            ("**", "_signal/x"),
            ("?signal", "_signal"),
        ];
        assert!(yes.iter().all(|(pattern, name)| matches(pattern, name)));
        assert!(no.iter().all(|(pattern, name)| !matches(pattern, name)));
        assert!(matches("_signal/*", "_signal/x") && matches("_**", "_signal/x") && matches("**é?", "aéö"));
        assert_eq!(Pattern::new(""), None);
    }

    #[test]
    fn a_hostile_glob_takes_no_time() {
        assert!(!matches(&"*a".repeat(120), &"a".repeat(119)));
        assert!(!matches(&format!("{}b", "**a".repeat(80)), &"a".repeat(255)));
    }

    /// Which of some events are wanted.
    fn wanted(patterns: &[&str], sources: &[&str], quality_worst: Quality) -> Vec<usize> {
        let events = [
            ("a", "x", Quality::Good),
            ("a", "y", Quality::Stale),
            ("b", "x", Quality::Uncertain),
            ("b", "", Quality::Bad),
            ("_a", "x", Quality::Good),
        ];
        let names = Names::new(patterns.iter().filter_map(|text| Pattern::new(text)).collect());
        let sources = sources.iter().map(|&source| source.to_owned()).collect();
        let mut filter = Filter::new(names, sources, quality_worst);
        let mut wants = |(signal, source, quality): (&str, &str, Quality)| {
            filter.wants(&EventRef {
                offset: Offset::FIRST,
                signal_id: SignalId(u32::from(signal.as_bytes()[0])),
                signal: &Arc::from(signal),
                event_time: Timestamp::EPOCH,
                ingest_time: Timestamp::EPOCH,
                value: ValueRef::Int(0),
                quality,
                source: &Arc::from(source),
                attributes: None,
                trace_context: &[],
            })
        };
        (0..events.len()).filter(|&index| wants(events[index])).collect()
    }

    #[test]
    fn an_event_is_wanted_if_its_signal_its_source_and_its_quality_are() {
        assert_eq!(wanted(&[], &[], Quality::Bad), [0, 1, 2, 3]);
        assert_eq!(wanted(&[], &[], Quality::Uncertain), [0, 1, 2]);
        assert_eq!(wanted(&[], &[], Quality::Stale), [0, 1]);
        assert_eq!(wanted(&[], &[], Quality::Good), [0]);
        assert_eq!(wanted(&[], &["x"], Quality::Bad), [0, 2]);
        assert_eq!(wanted(&[], &["y", ""], Quality::Bad), [1, 3]);
        assert_eq!(wanted(&["b"], &[], Quality::Bad), [2, 3]);
        assert_eq!(wanted(&["?", "_*"], &["x"], Quality::Bad), [0, 2, 4]);
        assert_eq!(wanted(&["b"], &["x"], Quality::Uncertain), [2]);
        assert_eq!(wanted(&["b"], &["x"], Quality::Stale), [0; 0]);
    }

    /// The definition, spelled out.
    fn naive(pattern: &[char], name: &[char]) -> bool {
        match pattern {
            [] => name.is_empty(),
            ['*', '*', rest @ ..] => {
                let rest: Vec<char> = rest.iter().copied().skip_while(|&star| star == '*').collect();
                (0..=name.len()).any(|taken| naive(&rest, &name[taken..]))
            }
            ['*', rest @ ..] => (0..=name.len())
                .take_while(|&taken| !name[..taken].contains(&'/'))
                .any(|taken| naive(rest, &name[taken..])),
            ['?', rest @ ..] => !name.is_empty() && naive(rest, &name[1..]),
            [first, rest @ ..] => name.first() == Some(first) && naive(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn globs_agree_with_their_definition(pattern in "[ab/*?]{1,8}", name in "[ab/]{0,8}") {
            let (letters, name_letters): (Vec<_>, Vec<_>) = (pattern.chars().collect(), name.chars().collect());
            prop_assert_eq!(matches(&pattern, &name), naive(&letters, &name_letters));
        }
    }
}
