//! Writes the settings in force as TOML, each under its sentence.

use std::fmt::Write as _;

use figment::value::Value;

use super::{Config, SETTINGS};

/// The settings in force as a TOML file that, read again, gives the same settings. One that is not set is
/// written as a comment.
#[must_use]
pub fn print(config: &Config) -> String {
    let values = Value::serialize(config).ok().and_then(Value::into_dict).unwrap_or_default();
    let mut text = String::new();
    for setting in SETTINGS {
        for line in setting.doc {
            let _ = writeln!(text, "#{line}");
        }
        let _ = match values.get(setting.key) {
            Some(Value::String(_, word)) => writeln!(text, "{} = {}", setting.key, quote(word)),
            Some(Value::Num(_, number)) => {
                writeln!(text, "{} = {}", setting.key, number.to_u128().unwrap_or_default())
            }
            Some(Value::Array(_, words)) => {
                let words: Vec<_> = words.iter().filter_map(Value::as_str).map(quote).collect();
                writeln!(text, "{} = [{}]", setting.key, words.join(", "))
            }
            Some(Value::Char(..) | Value::Bool(..) | Value::Empty(..) | Value::Dict(..)) | None => {
                writeln!(text, "# {} =", setting.key)
            }
        };
        text.push('\n');
    }
    text
}

/// A TOML basic string.
fn quote(word: &str) -> String {
    let mut quoted = String::from('"');
    for character in word.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
