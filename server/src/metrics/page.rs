//! The two text formats: OpenMetrics for those who ask for it, and Prometheus' own for everybody else.

use std::fmt::Write as _;

use super::histogram::{Bucket, Histogram};
use super::{ALL, Kind, Metric};

/// How the page looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' own, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// What somebody who accepts this is given.
    pub(crate) fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The type of the content.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A page in the making: samples in any order, told by metric.
pub(super) struct Page {
    format: Format,
    samples: Vec<String>,
}

impl Page {
    /// Nothing yet.
    pub(super) fn new(format: Format) -> Self {
        Self { format, samples: vec![String::new(); ALL.len()] }
    }

    /// The value of a counter or a gauge.
    pub(super) fn value(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        debug_assert_ne!(metric.kind, Kind::Histogram);
        self.sample(metric, metric.name, (labels, None), value);
    }

    /// As [`Self::value`], of a whole number.
    pub(super) fn number(&mut self, metric: &Metric, labels: &[&str], number: u64) {
        self.value(metric, labels, number as f64);
    }

    /// All of a histogram.
    pub(super) fn histogram(&mut self, metric: &Metric, labels: &[&str], histogram: &Histogram) {
        let (buckets, sum) = histogram.read();
        self.buckets(metric, labels, &buckets, sum);
    }

    /// All of a histogram that is kept elsewhere.
    pub(super) fn buckets(&mut self, metric: &Metric, labels: &[&str], buckets: &[Bucket], sum: f64) {
        debug_assert_eq!(metric.kind, Kind::Histogram);
        let count = buckets.last().map_or(0, |all| all.count) as f64;
        let name = |suffix: &str| format!("{}_{suffix}", metric.name);
        for bucket in buckets {
            let bound = bucket.bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
            self.sample(metric, &name("bucket"), (labels, Some(&bound)), bucket.count as f64);
        }
        self.sample(metric, &name("sum"), (labels, None), sum);
        self.sample(metric, &name("count"), (labels, None), count);
    }

    fn sample(&mut self, metric: &Metric, name: &str, (labels, bound): (&[&str], Option<&str>), value: f64) {
        debug_assert_eq!(labels.len(), metric.labels.len(), "{name}");
        let index = ALL.iter().position(|known| known.name == metric.name).expect("the table has all");
        let text = &mut self.samples[index];
        text.push_str(name);
        let labels = metric.labels.iter().copied().zip(labels.iter().copied());
        let mut before = '{';
        for (label, value) in labels.chain(bound.map(|bound| ("le", bound))) {
            text.push(before);
            text.push_str(label);
            text.push_str("=\"");
            escape(text, value);
            text.push('"');
            before = ',';
        }
        text.push_str(if before == '{' { " " } else { "} " });
        // A string takes everything.
        let _ = match value {
            value if value == f64::INFINITY => writeln!(text, "+Inf"),
            value if value == f64::NEG_INFINITY => writeln!(text, "-Inf"),
            value => writeln!(text, "{value}"),
        };
    }

    /// The page. Metrics without a sample are left out.
    pub(super) fn finish(self) -> String {
        let mut page =
            String::with_capacity(self.samples.iter().map(String::len).sum::<usize>() + (16 << 10));
        for (metric, samples) in ALL.iter().zip(&self.samples).filter(|(_, samples)| !samples.is_empty()) {
            let family = match self.format {
                Format::Prometheus => metric.name,
                Format::OpenMetrics => metric.name.strip_suffix("_total").unwrap_or(metric.name),
            };
            let _ = writeln!(page, "# HELP {family} {}", metric.help().replace('\\', "\\\\"));
            let _ = writeln!(page, "# TYPE {family} {}", metric.kind.name());
            if self.format == Format::OpenMetrics && !metric.unit.is_empty() {
                let _ = writeln!(page, "# UNIT {family} {}", metric.unit);
            }
            page.push_str(samples);
        }
        if self.format == Format::OpenMetrics {
            page.push_str("# EOF\n");
        }
        page
    }
}

fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}
