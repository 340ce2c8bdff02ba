//! The table of metrics: its rules, its documentation, and both formats.

use std::fmt::Write as _;
use std::path::Path;

use super::histogram::Histogram;
use super::page::Page;
use super::*;

/// METRICS.md, as the table has it.
fn document() -> String {
    let mut text = String::from(
        "# Metrics\n\nWhat `/metrics` tells (`http_listen`, by default `http://127.0.0.1:9464/metrics`), in Prometheus' text format, or as \
         OpenMetrics to those who accept it.\nMade from `server/src/metrics.rs`; a test compares them, and `UPDATE_DOCS=1 cargo test --workspace \
         --lib metrics` writes this file anew.\n\n| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n",
    );
    for metric in ALL {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let (name, kind, unit) = (metric.name, metric.kind.name(), metric.unit);
        let _ = writeln!(text, "| `{name}` | {kind} | {unit} | {labels} | {} |", metric.help());
    }
    text
}

#[test]
fn the_documentation_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../METRICS.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, document()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == document(), "METRICS.md is not up to date: UPDATE_DOCS=1 writes it anew");
}

#[test]
fn names_say_what_they_are() {
    for (index, metric) in ALL.iter().enumerate() {
        let name = metric.name;
        assert!(name.starts_with("downlink_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
        let bare = name.strip_suffix("_total").unwrap_or(name);
        assert!(metric.unit.is_empty() || bare.ends_with(&format!("_{}", metric.unit)), "{name}");
        assert!(metric.help().ends_with('.'), "{name}");
        assert!(ALL[..index].iter().all(|other| other.name != name), "{name} comes twice");
    }
}

#[test]
fn both_formats_say_the_same() {
    let page = |format| {
        let mut page = Page::new(format);
        let histogram = Histogram::of_sizes();
        for value in [1, 2, 5_000_000] {
            histogram.count(value);
        }
        page.histogram(&COMMIT_EVENTS, &[], &histogram);
        page.number(&EVENTS, &["appended"], 7);
        page.value(&SIGNAL_VALUE, &["a\"\\\n"], f64::INFINITY);
        page.finish()
    };
    let (prometheus, open) = (page(Format::Prometheus), page(Format::OpenMetrics));
    assert!(prometheus.contains("# TYPE downlink_events_total counter\n"), "{prometheus}");
    assert!(open.contains("# TYPE downlink_events counter\n") && open.ends_with("# EOF\n"), "{open}");
    let samples = |page: &str| {
        page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(samples(&prometheus), samples(&open));
    for sample in [
        "downlink_commit_events_bucket{le=\"1\"} 1",
        "downlink_commit_events_bucket{le=\"4\"} 2",
        "downlink_commit_events_bucket{le=\"4194304\"} 2",
        "downlink_commit_events_bucket{le=\"+Inf\"} 3",
        "downlink_commit_events_sum 5000003",
        "downlink_commit_events_count 3",
        "downlink_events_total{outcome=\"appended\"} 7",
        "downlink_signal_value{signal=\"a\\\"\\\\\\n\"} +Inf",
    ] {
        assert!(samples(&prometheus).iter().any(|line| line == sample), "{sample} in {prometheus}");
    }
}
