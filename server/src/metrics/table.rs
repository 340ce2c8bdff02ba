//! What a line of the table of metrics says, and the macro that makes constants and the table of it.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// As the formats call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug)]
pub(super) struct Metric {
    /// Its name, with the unit, and `_total` if it is a counter.
    pub(super) name: &'static str,
    /// How it behaves.
    pub(super) kind: Kind,
    /// In what it is measured; empty for a number of things.
    pub(super) unit: &'static str,
    /// Its labels.
    pub(super) labels: &'static [&'static str],
    /// What it means, in lines.
    pub(super) help: &'static [&'static str],
}

impl Metric {
    /// What it means, in one line.
    pub(super) fn help(&self) -> String {
        self.help.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $id:ident: $kind:ident $name:literal $unit:literal [$($label:literal),*];)+) => {
        $($(#[doc = $help])+ const $id: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            unit: $unit,
            labels: &[$($label),*],
            help: &[$($help),+],
        };)+

        /// All of them, in the order in which they are told.
        const ALL: &[Metric] = &[$($id),+];
    };
}

pub(super) use metrics;
