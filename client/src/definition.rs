//! Definitions of signals as tables: a CSV file with a signal in each row.
//!
//! The first row names the columns, in any order; only `name` is needed:
//!
//! | column | what it holds |
//! |---|---|
//! | `name` | the signal |
//! | `display_name` | a short title |
//! | `description` | what it means |
//! | `unit` | its unit in UCUM, such as `mm[Hg]` |
//! | `value_type` | `double`, `int`, `bool`, `string` or `bytes` |
//! | `states` | labels of codes, such as `0=Off\|1=On` |
//! | `expected_period_seconds` | how often a new value is expected |
//! | `limits` | where values begin to worry, such as `watch 739..\|critical 500..800` |
//!
//! ```
//! let table = "name,unit,states,limits\nlab/pressure,mm[Hg],,watch 739..\nlab/fan,,0=Off|1=On,\n";
//! let signals = downlink_client::definition::from_csv(table.as_bytes())?;
//! assert_eq!(signals[0].unit, "mm[Hg]");
//! assert_eq!(signals[1].states[&1], "On");
//! # Ok::<(), downlink_client::definition::NotADefinition>(())
//! ```

use std::io::Read;
use std::time::Duration;

use downlink_proto::v1::limit::Severity;
use downlink_proto::v1::{Limit, Signal, ValueType};

/// The words for value types, as columns and JSON have them.
pub const VALUE_TYPES: [(&str, ValueType); 5] = [
    ("double", ValueType::Double),
    ("int", ValueType::Int),
    ("bool", ValueType::Bool),
    ("string", ValueType::String),
    ("bytes", ValueType::Bytes),
];

/// The words for severities, as columns and JSON have them.
pub const SEVERITIES: [(&str, Severity); 5] = [
    ("watch", Severity::Watch),
    ("warning", Severity::Warning),
    ("distress", Severity::Distress),
    ("critical", Severity::Critical),
    ("severe", Severity::Severe),
];

/// What cannot be read as a definition.
#[derive(Debug, thiserror::Error)]
pub enum NotADefinition {
    /// The table as a whole.
    #[error(transparent)]
    Csv(#[from] csv::Error),
    /// A column of no known name.
    #[error("there is no column '{0}'; the columns are {known}", known = COLUMNS.join(", "))]
    Column(String),
    /// A cell of a row.
    #[error("row {row}: '{text}' is no {what}")]
    Cell {
        /// Its row; the one with the names of the columns is 1.
        row: usize,
        /// What it should be.
        what: &'static str,
        /// What it is.
        text: String,
    },
}

const COLUMNS: [&str; 8] = [
    "name",
    "display_name",
    "description",
    "unit",
    "value_type",
    "states",
    "expected_period_seconds",
    "limits",
];

/// The definitions in a table.
///
/// # Errors
/// If it is no CSV, or a column or a cell makes no sense.
pub fn from_csv(table: impl Read) -> Result<Vec<Signal>, NotADefinition> {
    let mut reader = csv::Reader::from_reader(table);
    let columns: Vec<String> = reader.headers()?.iter().map(|name| name.trim().to_owned()).collect();
    if let Some(unknown) = columns.iter().find(|name| !COLUMNS.contains(&name.as_str())) {
        return Err(NotADefinition::Column(unknown.clone()));
    }
    let mut signals = Vec::new();
    for (row, record) in (2..).zip(reader.records()) {
        let record = record?;
        let mut signal = Signal::default();
        for (column, text) in columns.iter().zip(&record).filter(|(_, text)| !text.is_empty()) {
            set(&mut signal, column, text).ok_or_else(|| NotADefinition::Cell {
                row,
                what: what(column),
                text: text.to_owned(),
            })?;
        }
        signals.push(signal);
    }
    Ok(signals)
}

/// Takes a cell into a definition; `None` if it makes no sense.
fn set(signal: &mut Signal, column: &str, text: &str) -> Option<()> {
    match column {
        "name" => text.clone_into(&mut signal.name),
        "display_name" => text.clone_into(&mut signal.display_name),
        "description" => text.clone_into(&mut signal.description),
        "unit" => text.clone_into(&mut signal.unit),
        "value_type" => signal.value_type = word(&VALUE_TYPES, text)?.into(),
        "states" => {
            for state in text.split('|') {
                let (code, label) = state.split_once('=')?;
                signal.states.insert(code.trim().parse().ok()?, label.trim().to_owned());
            }
        }
        "expected_period_seconds" => signal.expected_period = Some(period(text.parse().ok()?)?),
        _ => signal.limits = text.split('|').map(limit).collect::<Option<_>>()?,
    }
    Some(())
}

fn what(column: &str) -> &'static str {
    match column {
        "value_type" => "type of values, such as 'double'",
        "states" => "list of states, such as '0=Off|1=On'",
        "expected_period_seconds" => "number of seconds",
        _ => "list of limits, such as 'watch 739..|critical 500..800'",
    }
}

/// What a word stands for.
pub fn word<T: Copy>(words: &[(&str, T)], text: &str) -> Option<T> {
    words.iter().find(|(word, _)| *word == text.trim()).map(|(_, meaning)| *meaning)
}

/// So many seconds, if they can be a period.
pub fn period(seconds: f64) -> Option<prost_types::Duration> {
    Duration::try_from_secs_f64(seconds).ok()?.try_into().ok()
}

/// A limit as `SEVERITY LOW..HIGH`, where either end may be left out.
fn limit(text: &str) -> Option<Limit> {
    let (severity, range) = text.trim().split_once(' ')?;
    let (low, high) = range.trim().split_once("..")?;
    let end = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
    Some(Limit { severity: word(&SEVERITIES, severity)?.into(), low: end(low)?, high: end(high)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_read() {
        let table = "limits,name,display_name,description,unit,value_type,states,expected_period_seconds\n\
            watch ..80|severe -1.5..90.5,a,A,\"what, it is\",%,int,-1=Off = idle| 7=On,2.5\n\
            ,b,,,,,,\n";
        let signals = from_csv(table.as_bytes()).unwrap();
        let limits = vec![
            Limit { severity: Severity::Watch.into(), low: None, high: Some(80.0) },
            Limit { severity: Severity::Severe.into(), low: Some(-1.5), high: Some(90.5) },
        ];
        let first = Signal {
            name: "a".to_owned(),
            display_name: "A".to_owned(),
            description: "what, it is".to_owned(),
            unit: "%".to_owned(),
            value_type: ValueType::Int.into(),
            states: [(-1, "Off = idle".to_owned()), (7, "On".to_owned())].into(),
            expected_period: Some(prost_types::Duration { seconds: 2, nanos: 500_000_000 }),
            limits,
            ..Signal::default()
        };
        assert_eq!(signals, [first, Signal { name: "b".to_owned(), ..Signal::default() }]);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let refused = |table: &str| from_csv(table.as_bytes()).unwrap_err().to_string();
        assert!(
            refused("name,colour\na,red\n").starts_with("there is no column 'colour'; the columns are name,")
        );
        for (column, text) in [
            ("value_type", "float"),
            ("states", "0"),
            ("states", "x=Off"),
            ("expected_period_seconds", "-1"),
            ("expected_period_seconds", "NaN"),
            ("limits", "80"),
            ("limits", "watch 80"),
            ("limits", "bad 1..2"),
        ] {
            let message = refused(&format!("name,{column}\na,\nb,{text}\n"));
            assert!(message.starts_with(&format!("row 3: '{text}' is no ")), "{message}");
        }
        assert!(refused("name,unit\na\n").contains("record"));
    }
}
