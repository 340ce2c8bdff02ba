//! What `/metrics` has said, as numbers.

use std::collections::BTreeMap;

use crate::harness::Server;
use crate::http;

/// One look at `/metrics`.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) text: String,
    /// By name and labels, as they stand there.
    samples: BTreeMap<String, f64>,
}

impl Page {
    /// What `server` says at present.
    pub(crate) fn of(server: &Server) -> Self {
        Self::at(server.http())
    }

    /// What is said at an address.
    pub(crate) fn at(address: &str) -> Self {
        let answer = http::get(address, "/metrics");
        assert!(answer.code == 200 && answer.head.contains("text/plain; version=0.0.4"), "{answer:?}");
        let samples = answer.body.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line:?}")))
        });
        let samples = samples.collect();
        Self { text: answer.body, samples }
    }

    /// The value of a sample, which may have to be there yet.
    pub(crate) fn find(&self, name: &str) -> Option<f64> {
        self.samples.get(name).copied()
    }

    /// The value of a sample.
    pub(crate) fn value(&self, name: &str) -> f64 {
        self.find(name).unwrap_or_else(|| panic!("no {name} in {}", self.text))
    }

    /// All samples of a metric.
    pub(crate) fn samples_of(&self, metric: &str) -> BTreeMap<&str, f64> {
        let is_of = |name: &str| {
            let rest = name.strip_prefix(metric);
            let bare = rest.map(|rest| rest.split('{').next().unwrap_or_default());
            matches!(bare, Some("" | "_bucket" | "_sum" | "_count"))
        };
        self.samples
            .iter()
            .filter(|(name, _)| is_of(name))
            .map(|(name, value)| (name.as_str(), *value))
            .collect()
    }

    /// The names of all metrics that it has.
    pub(crate) fn metrics(&self) -> Vec<&str> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.map(|line| line.split(' ').next().unwrap_or_default()).collect()
    }
}
