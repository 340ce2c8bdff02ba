//! What a bench found: figures with their conditions, for people and for programs.

use serde_json::Value as Json;

use crate::command::Format;
use crate::command::output::{Printer, grouped};

/// Prints a report: an object of numbers, of percentiles, and of conditions.
pub(super) fn print(printer: &mut Printer, format: Format, report: &Json) -> anyhow::Result<()> {
    match format {
        Format::Human => printer.text(&text(report))?,
        Format::Json => printer.json(report)?,
    }
    Ok(printer.flush()?)
}

/// A line for each figure, and one for each condition.
fn text(report: &Json) -> String {
    let Some(entries) = report.as_object() else { return String::new() };
    let (conditions, figures): (Vec<_>, Vec<_>) = entries.iter().partition(|(name, _)| *name == "conditions");
    let conditions = conditions.into_iter().filter_map(|(_, conditions)| conditions.as_object()).flatten();
    let lines: Vec<_> = figures.into_iter().chain(conditions).filter(|(_, value)| !value.is_null()).collect();
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    lines
        .iter()
        .map(|(name, value)| format!("{:width$}  {}\n", name.replace('_', " "), cell(value)))
        .collect()
}

fn cell(value: &Json) -> String {
    match value {
        Json::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => grouped(whole),
            (None, Some(float)) if float >= 1000.0 => grouped(float as u64),
            (None, Some(float)) => format!("{float:.2}"),
            (None, None) => number.to_string(),
        },
        Json::String(text) => text.clone(),
        Json::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(" · "),
        Json::Object(entries) => {
            let named = entries.iter().filter(|(_, value)| !value.is_null());
            named
                .map(|(name, value)| format!("{} {}", name.replace('_', " "), cell(value)))
                .collect::<Vec<_>>()
                .join(", ")
        }
        Json::Bool(_) | Json::Null => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn people_get_a_line_for_each_figure() {
        let report = json!({"bench": "x", "events_per_second": 1234567.0, "ms": {"p50": 0.5, "max": null}, "no": null,
            "conditions": {"clients": 4}});
        let expected = "bench              x\nevents per second  1,234,567\nms                 p50 0.50\n\
            clients            4\n";
        assert_eq!(super::text(&report), expected);
    }
}
