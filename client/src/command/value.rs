//! Values as text: what people type, and what a table cell says.

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::ValueEnum;
use downlink_client::v1::{Quality, Value, value::Kind};

/// The five kinds of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ValueKind {
    /// A 64-bit float.
    Double,
    /// A 64-bit integer with sign.
    Int,
    /// true or false.
    Bool,
    /// Text.
    String,
    /// Base64, or hex digits behind "hex:".
    Bytes,
}

impl ValueKind {
    pub(super) fn of(kind: &Kind) -> Self {
        match kind {
            Kind::DoubleValue(_) => Self::Double,
            Kind::IntValue(_) => Self::Int,
            Kind::BoolValue(_) => Self::Bool,
            Kind::StringValue(_) => Self::String,
            Kind::BytesValue(_) => Self::Bytes,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Double => "double",
            Self::Int => "int",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Bytes => "bytes",
        }
    }

    pub(super) fn parse(self, text: &str) -> anyhow::Result<Kind> {
        let wrong = || format!("'{text}' is not of kind {}", self.name());
        Ok(match self {
            Self::Double => Kind::DoubleValue(parse_double(text).with_context(wrong)?),
            Self::Int => Kind::IntValue(text.parse().with_context(wrong)?),
            Self::Bool => Kind::BoolValue(text.parse().with_context(wrong)?),
            Self::String => Kind::StringValue(text.to_owned()),
            Self::Bytes => Kind::BytesValue(parse_bytes(text).with_context(wrong)?),
        })
    }
}

/// The value that a text most likely means: an integer, else a float, else true or false, else text.
pub(super) fn guess(text: &str) -> Kind {
    let guesses = [ValueKind::Int, ValueKind::Double, ValueKind::Bool];
    let guessed = guesses.iter().find_map(|kind| kind.parse(text).ok());
    guessed.unwrap_or_else(|| Kind::StringValue(text.to_owned()))
}

/// Adds a value as text from which its kind's `parse` makes the same bits again. A double is the
/// shortest decimal, or one of `NaN`, `Infinity`, `-Infinity`, `NaN(0x…)`; bytes are base64.
pub(super) fn push_value(out: &mut String, value: Option<&Value>) {
    use std::fmt::Write as _;
    let written = match value.and_then(|value| value.kind.as_ref()) {
        Some(Kind::DoubleValue(double)) => {
            push_double(out, *double);
            Ok(())
        }
        Some(Kind::IntValue(int)) => write!(out, "{int}"),
        Some(Kind::BoolValue(bool)) => write!(out, "{bool}"),
        Some(Kind::StringValue(text)) => out.write_str(text),
        Some(Kind::BytesValue(bytes)) => {
            BASE64.encode_string(bytes, out);
            Ok(())
        }
        None => Ok(()),
    };
    written.expect("a string takes any text");
}

/// Adds the shortest text from which [`parse_double`] makes the same bits again.
pub(super) fn push_double(out: &mut String, double: f64) {
    use std::fmt::Write as _;
    let written = if double.to_bits() == f64::NAN.to_bits() {
        out.write_str("NaN")
    } else if double.is_nan() {
        write!(out, "NaN({:#018x})", double.to_bits())
    } else if double.is_infinite() {
        out.write_str(if double > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        // Sources print a whole number without a point; so do we, as long as it is short.
        let shortest = format!("{double:?}");
        out.write_str(shortest.strip_suffix(".0").unwrap_or(&shortest))
    };
    written.expect("a string takes any text");
}

pub(super) fn parse_double(text: &str) -> anyhow::Result<f64> {
    match text.strip_prefix("NaN(0x").and_then(|rest| rest.strip_suffix(')')) {
        Some(bits) => {
            let double = f64::from_bits(u64::from_str_radix(bits, 16)?);
            if !double.is_nan() {
                bail!("these bits are no NaN");
            }
            Ok(double)
        }
        None => Ok(text.parse()?),
    }
}

pub(super) fn parse_bytes(text: &str) -> anyhow::Result<Vec<u8>> {
    match text.strip_prefix("hex:") {
        Some(digits) => parse_hex(digits),
        None => Ok(BASE64.decode(text)?),
    }
}

pub(super) fn parse_hex(digits: &str) -> anyhow::Result<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        bail!("hex digits come in pairs of 0-9, a-f");
    }
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|at| Ok(u8::from_str_radix(&digits[at..at + 2], 16)?)).collect()
}

pub(super) fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How far a value can be trusted, as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum QualityWord {
    Good,
    Stale,
    Uncertain,
    Bad,
}

impl From<QualityWord> for Quality {
    fn from(word: QualityWord) -> Self {
        match word {
            QualityWord::Good => Self::Good,
            QualityWord::Stale => Self::Stale,
            QualityWord::Uncertain => Self::Uncertain,
            QualityWord::Bad => Self::Bad,
        }
    }
}

pub(super) fn quality_word(quality: Quality) -> &'static str {
    match quality {
        Quality::Unspecified | Quality::Good => "good",
        Quality::Stale => "stale",
        Quality::Uncertain => "uncertain",
        Quality::Bad => "bad",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text_of(kind: Kind) -> String {
        let mut text = String::new();
        push_value(&mut text, Some(&Value { kind: Some(kind) }));
        text
    }

    #[test]
    fn a_double_is_as_short_as_its_bits_allow() {
        for (double, text) in
            [(12.0, "12"), (-0.0, "-0"), (1e16, "1e16"), (0.1, "0.1"), (f64::INFINITY, "Infinity")]
        {
            assert_eq!(text_of(Kind::DoubleValue(double)), text);
        }
        assert_eq!(text_of(Kind::IntValue(i64::MIN)), "-9223372036854775808");
    }

    #[test]
    fn typed_values_are_guessed_as_documented() {
        assert_eq!(guess("12"), Kind::IntValue(12));
        assert_eq!(guess("-12.5"), Kind::DoubleValue(-12.5));
        assert_eq!(guess("9223372036854775808"), Kind::DoubleValue(9_223_372_036_854_775_808.0));
        assert_eq!(guess("true"), Kind::BoolValue(true));
        assert_eq!(guess("12 V"), Kind::StringValue("12 V".to_owned()));
    }

    #[test]
    fn bytes_are_base64_or_hex() {
        assert_eq!(ValueKind::Bytes.parse("hex:00fF").unwrap(), Kind::BytesValue(vec![0, 255]));
        assert_eq!(ValueKind::Bytes.parse("AP8=").unwrap(), Kind::BytesValue(vec![0, 255]));
        assert!(ValueKind::Bytes.parse("hex:0").is_err() && ValueKind::Bytes.parse("!").is_err());
    }

    proptest! {
        #[test]
        fn every_double_comes_back_with_its_bits(bits: u64) {
            let double = f64::from_bits(bits);
            let mut text = String::new();
            push_double(&mut text, double);
            prop_assert_eq!(parse_double(&text).unwrap().to_bits(), bits, "{}", text);
        }

        #[test]
        fn every_other_value_comes_back(int: i64, bytes: Vec<u8>) {
            prop_assert_eq!(ValueKind::Int.parse(&text_of(Kind::IntValue(int))).unwrap(), Kind::IntValue(int));
            let kind = Kind::BytesValue(bytes);
            prop_assert_eq!(ValueKind::Bytes.parse(&text_of(kind.clone())).unwrap(), kind);
        }
    }
}
