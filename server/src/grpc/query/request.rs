//! What requests have in common: filters, choices, pages.

use std::time::Duration;

use downlink_proto::v1::{self, ErrorReason};
use prost::Message;

use crate::config::Config;
use crate::grpc::convert::{duration, hex, quality_worst};
use crate::grpc::status::Refusal;
use crate::query::Way;
use crate::query::filter::{Filter, Names, Pattern};
use crate::query::pace::Pace;

/// The longest pattern of a filter: as long as the longest name.
const PATTERN_BYTES_MAX: usize = 255;
/// All patterns of a filter together: each byte of them may cost a step for each letter of every name.
const PATTERNS_BYTES_MAX: usize = 16 << 10;

/// The value of an enumeration, if there is one of that number.
pub(crate) fn choice<E: TryFrom<i32>>(number: i32, field: &str) -> Result<E, Refusal> {
    E::try_from(number).map_err(|_| invalid(field, format!("{number} is not one of its values")))
}

/// A field that makes no sense.
pub(crate) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Refusal {
    Refusal::field(ErrorReason::InvalidRequest, field, problem)
}

/// The filter of a stream.
pub(crate) fn filter(filter: Option<v1::Filter>, config: &Config) -> Result<Filter, Refusal> {
    let filter = filter.unwrap_or_default();
    let most = config.filter_patterns_max;
    if filter.sources.len() > most {
        let problem = format!("has {} entries, the most is {most}", filter.sources.len());
        return Err(Refusal::field(ErrorReason::InvalidFilter, "filter.sources", problem));
    }
    let quality = quality_worst(filter.min_quality).ok_or_else(|| {
        let problem = format!("{} is no quality", filter.min_quality);
        Refusal::field(ErrorReason::InvalidFilter, "filter.min_quality", problem)
    })?;
    let names = names(&filter.signals, "filter.signals", most)?;
    Ok(Filter::new(names, filter.sources.into_iter().collect(), quality))
}

/// The names that `patterns` describe.
pub(crate) fn names(patterns: &[String], field: &str, most: usize) -> Result<Names, Refusal> {
    let refused = |field: String, problem: String| Refusal::field(ErrorReason::InvalidFilter, field, problem);
    if patterns.len() > most {
        return Err(refused(field.to_owned(), format!("has {} entries, the most is {most}", patterns.len())));
    }
    let bytes: usize = patterns.iter().map(String::len).sum();
    if bytes > PATTERNS_BYTES_MAX {
        let problem = format!("has {bytes} bytes, the most is {PATTERNS_BYTES_MAX}");
        return Err(refused(field.to_owned(), problem));
    }
    let compile = |(index, text): (usize, &String)| {
        let field = format!("{field}[{index}]");
        if text.len() > PATTERN_BYTES_MAX {
            return Err(refused(field, format!("has {} bytes, the most is {PATTERN_BYTES_MAX}", text.len())));
        }
        Pattern::new(text).ok_or_else(|| refused(field, "must not be empty".to_owned()))
    };
    Ok(Names::new(patterns.iter().enumerate().map(compile).collect::<Result<_, _>>()?))
}

/// The longest silence of a replay that a reader may ask for.
const GAP_MAX: Duration = Duration::from_secs(3600);

/// The pace of a replay; `None` where it is as fast as possible.
pub(crate) fn pace(pacing: Option<v1::Pacing>, way: Way, config: &Config) -> Result<Option<Pace>, Refusal> {
    let Some(v1::Pacing { speed, max_gap }) = pacing else { return Ok(None) };
    if !speed.is_finite() || speed < 0.0 {
        return Err(invalid("pacing.speed", format!("must be finite and not below 0, not {speed}")));
    }
    let gap_max = match max_gap {
        None => Duration::from_millis(config.replay_gap_ms),
        Some(asked) => duration(asked, "pacing.max_gap")?.min(GAP_MAX),
    };
    Ok((speed > 0.0).then(|| Pace::new(speed, gap_max, way)))
}

/// Which part of a list is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Only names after this one.
    pub(crate) after: Option<String>,
    entries_max: usize,
    bytes_max: usize,
}

impl Page {
    /// The page that a request asks for.
    pub(crate) fn new(page_size: i32, page_token: &str, config: &Config) -> Result<Self, Refusal> {
        let size = usize::try_from(page_size).map_err(|_| invalid("page_size", "must not be negative"))?;
        let size = if size == 0 { config.page_entries } else { size };
        let after = match page_token {
            "" => None,
            token => {
                let name = hex(token).and_then(|bytes| String::from_utf8(bytes).ok());
                Some(name.ok_or_else(|| invalid("page_token", "must come from an answer of this method"))?)
            }
        };
        Ok(Self { after, entries_max: size.min(config.page_entries_max), bytes_max: config.page_bytes_max })
    }

    /// How many entries are enough to fill the page and to see that another one follows.
    pub(crate) const fn entries_enough(&self) -> usize {
        self.entries_max.saturating_add(1)
    }

    /// Whether `name` is on this page or a later one.
    pub(crate) fn reaches(&self, name: &str) -> bool {
        self.after.as_deref().is_none_or(|after| name > after)
    }

    /// As many of `entries`, which are in the order of their names, as fit, and the token of the next page. No more are
    /// asked for. Some names may have no entry: they take up their places and say nothing.
    ///
    /// # Errors
    /// The first of the entries.
    pub(crate) fn fill<M: Message>(
        &self,
        entries: impl Iterator<Item = Result<(String, Option<M>), Refusal>>,
    ) -> Result<(Vec<M>, String), Refusal> {
        let (mut page, mut bytes, mut last) = (Vec::new(), 0, String::new());
        for (number, entry) in entries.enumerate() {
            let (name, entry) = entry?;
            let size = entry.as_ref().map_or(0, Message::encoded_len);
            if number == self.entries_max || (!page.is_empty() && bytes + size > self.bytes_max) {
                return Ok((page, Self::token(&last)));
            }
            bytes += size;
            last = name;
            page.extend(entry);
        }
        Ok((page, String::new()))
    }

    /// The token of the page after the one that ends with `last`.
    pub(crate) fn token(last: &str) -> String {
        last.bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    /// About how many bytes it has at most.
    pub(crate) const fn bytes_max(&self) -> usize {
        self.bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_a_list_once() {
        let config = Config::standard();
        let list: Vec<(String, v1::Signal)> = (0..25)
            .map(|number| {
                (
                    format!("é{number:02}"),
                    v1::Signal { name: format!("é{number:02}"), ..v1::Signal::default() },
                )
            })
            .collect();
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = Page::new(10, &token, &config).unwrap();
            let rest = list.iter().filter(|(name, _)| page.reaches(name)).cloned();
            let (entries, next) = page.fill(rest.map(|(name, entry)| Ok((name, Some(entry))))).unwrap();
            assert!(entries.len() <= 10);
            seen.extend(entries);
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, list.into_iter().map(|(_, signal)| signal).collect::<Vec<_>>());
    }

    #[test]
    fn a_page_has_a_bound_in_bytes_but_always_an_entry() {
        let config = Config { page_bytes_max: 10, ..Config::standard() };
        let long = || v1::Signal { description: "x".repeat(99), ..v1::Signal::default() };
        let mut asked = 0;
        let entries = ["a", "b", "c"].map(|name| Ok((name.to_owned(), Some(long())))).into_iter();
        let page = Page::new(0, "", &config).unwrap();
        let (entries, token) = page.fill(entries.inspect(|_| asked += 1)).unwrap();
        assert_eq!((entries.len(), token.as_str(), asked), (1, "61", 2));
        let page = Page::new(2, "", &config).unwrap();
        let sparse = ["a", "b", "c"].map(|name| Ok((name.to_owned(), (name > "a").then(long))));
        let (entries, token) = page.fill(sparse.into_iter()).unwrap();
        assert_eq!((entries.len(), token.as_str()), (1, "62"));
    }

    #[test]
    fn patterns_are_bounded_each_and_together() {
        let long = |bytes: usize, count: usize| names(&vec!["*".repeat(bytes); count], "f", 1_000);
        assert!(long(255, 1).is_ok() && long(256, 1).is_err());
        assert!(long(128, 128).is_ok() && long(128, 129).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let config = Config::standard();
        assert!(Page::new(-1, "", &config).is_err());
        assert!(Page::new(0, "xyz", &config).is_err() && Page::new(0, "ff", &config).is_err());
        assert!(
            names(&[String::new()], "f", 9).is_err()
                && names(&["a".to_owned(), "b".to_owned()], "f", 1).is_err()
        );
        let paced = |speed, max_gap| pace(Some(v1::Pacing { speed, max_gap }), Way::Forwards, &config);
        let length = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        for speed in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(paced(speed, None).is_err(), "{speed}");
        }
        assert!(paced(1.0, length(-1)).is_err() && paced(0.0, length(-1)).is_err());
        assert!(paced(0.0, None).unwrap().is_none() && paced(-0.0, None).unwrap().is_none());
        assert!(paced(1.0, length(315_576_000_000)).unwrap().is_some());
        assert!(paced(1.0, length(i64::MAX)).is_err());
    }
}
