//! Printing: events and tables for people, JSON lines for programs.

use std::io::{self, BufWriter, Write};

use downlink_client::time::push_rfc3339;
use downlink_client::trace;
use downlink_client::v1::{Event, Gap, Quality, Value};
use serde_json::Value as Json;

use super::standard_output::StandardOutput;
use super::table::{self, Cell, Column, Surface};
use super::{Format, event_json, style, value};

/// How much of a long value people are shown; programs get all of it.
const CHARACTERS_SHOWN: usize = 60;
/// The same for bytes: as many characters in base64.
const BYTES_SHOWN: usize = 45;

/// Standard output, buffered. Gaps go there as JSON, and to standard error for people.
pub(super) struct Printer {
    format: Format,
    out: BufWriter<StandardOutput>,
    line: String,
    is_coloured: bool,
    shows_traces: bool,
}

impl Printer {
    pub(super) fn new(format: Format) -> Self {
        let out = BufWriter::with_capacity(64 << 10, StandardOutput::new());
        Self { format, out, line: String::new(), is_coloured: style::is_wanted(), shows_traces: false }
    }

    /// With the trace that each event was appended in, where it is known.
    pub(super) fn with_traces_if(self, shows_traces: bool) -> Self {
        Self { shows_traces, ..self }
    }

    pub(super) fn event(&mut self, event: &Event) -> io::Result<()> {
        let trace = Some(event).filter(|_| self.shows_traces).and_then(trace::context_of);
        match self.format {
            Format::Human => {
                self.line.clear();
                push_event(&mut self.line, event, self.is_coloured);
                if let Some(trace) = trace {
                    self.line.push_str(&format!("  trace {}", trace.trace_id()));
                }
                writeln!(self.out, "{}", self.line)
            }
            Format::Json => {
                let mut object = event_json::to_json(event);
                if let Some(trace) = trace {
                    object.insert("trace_id".to_owned(), trace.trace_id().to_string().into());
                }
                self.json(&object.into())
            }
        }
    }

    pub(super) fn gap(&mut self, gap: &Gap) -> io::Result<()> {
        match self.format {
            Format::Human => {
                self.out.flush()?;
                warn_of_gap(gap);
                Ok(())
            }
            Format::Json => self.json(&event_json::gap_json(gap)),
        }
    }

    pub(super) fn json(&mut self, json: &Json) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, json)?;
        self.out.write_all(b"\n")
    }

    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }

    /// Rows in aligned columns, as wide as the terminal allows.
    pub(super) fn table<R: AsRef<[Cell]>>(&mut self, columns: &[Column<'_>], rows: &[R]) -> io::Result<()> {
        let lines = table::lines(columns, rows, Surface::stdout());
        self.text(&lines)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Says on standard error that events are missing.
pub(super) fn warn_of_gap(gap: &Gap) {
    let reason = event_json::gap_reason(gap);
    eprintln!("downlink: events {} to {} are missing: {reason}", gap.first_offset, gap.last_offset);
}

/// `offset  event time  signal  value`, and what is unusual about it.
fn push_event(line: &mut String, event: &Event, is_coloured: bool) {
    line.push_str(&format!("{:>8}  ", event.offset));
    let start = line.len();
    if let Some(time) = &event.event_time {
        push_rfc3339(line, time);
    }
    let padding = (30 + start).saturating_sub(line.len());
    line.extend(std::iter::repeat_n(' ', padding + 2));
    line.push_str(&format!("{:24}  ", event.signal));
    push_value_on_one_line(line, event.value.as_ref());
    if !matches!(event.quality(), Quality::Good | Quality::Unspecified) {
        let quality = format!("({})", value::quality_word(event.quality()));
        line.push_str("  ");
        match is_coloured {
            true => style::push(line, &quality, style::of_quality(event.quality())),
            false => line.push_str(&quality),
        }
    }
    for (key, text) in &event.attributes {
        line.push_str(&format!("  {key}="));
        push_quoted(line, text);
    }
}

fn push_value_on_one_line(line: &mut String, value: Option<&Value>) {
    use downlink_client::v1::value::Kind;
    match value.and_then(|value| value.kind.as_ref()) {
        // Text is quoted, so that it cannot pass for a number or break the line.
        Some(Kind::StringValue(text)) => push_quoted(line, text),
        Some(Kind::BytesValue(bytes)) => {
            let shown = bytes.get(..BYTES_SHOWN).unwrap_or(bytes);
            line.push_str(&format!("base64:{}", value::base64(shown)));
            push_size_if_elided(line, shown.len(), bytes.len());
        }
        Some(Kind::DoubleValue(_) | Kind::IntValue(_) | Kind::BoolValue(_)) | None => {
            value::push_value(line, value);
        }
    }
}

/// Text in quotes: its beginning and its size, where it is long.
fn push_quoted(line: &mut String, text: &str) {
    let end = text.char_indices().nth(CHARACTERS_SHOWN).map_or(text.len(), |(at, _)| at);
    line.push_str(&format!("{:?}", &text[..end]));
    push_size_if_elided(line, end, text.len());
}

fn push_size_if_elided(line: &mut String, shown: usize, bytes: usize) {
    if shown < bytes {
        line.push_str(&format!("… {} bytes", grouped(bytes as u64)));
    }
}

/// The value of an event, as [`value_text`].
pub(super) fn event_value(event: &Event) -> String {
    event.value.as_ref().map(value_text).unwrap_or_default()
}

/// A value in a line of its own: quoted if it is text, cut if it is long.
pub(super) fn value_text(value: &Value) -> String {
    let mut text = String::new();
    push_value_on_one_line(&mut text, Some(value));
    text
}

/// A number with its thousands set apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use downlink_client::v1::value::Kind;
    use downlink_client::{Timestamp, event};

    #[test]
    fn an_event_is_one_line() {
        let mut event = event("a", "two\nlines");
        event.offset = 7;
        event.event_time = Some(Timestamp { seconds: 0, nanos: 500_000_000 });
        event.quality = Quality::Bad.into();
        let mut line = String::new();
        push_event(&mut line, &event, false);
        let expected =
            "       7  1970-01-01T00:00:00.5Z          a                         \"two\\nlines\"  (bad)";
        assert_eq!(line, expected);
        line.clear();
        push_event(&mut line, &event, true);
        assert!(line.ends_with("\x1b[31m(bad)\x1b[0m"), "{line:?}");
    }

    #[test]
    fn a_long_value_is_elided_for_people() {
        let cell = event_value(&event("a", "ä".repeat(1 << 19)));
        assert_eq!(cell, format!("\"{}\"… 1,048,576 bytes", "ä".repeat(60)));
        let cell = event_value(&event("a", Kind::BytesValue(vec![0; 1 << 20])));
        assert_eq!(cell, format!("base64:{}… 1,048,576 bytes", "A".repeat(60)));
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 2_706_427].map(grouped), ["0", "999", "1,000", "2,706,427"]);
    }
}
