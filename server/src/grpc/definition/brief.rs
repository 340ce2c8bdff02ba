//! What a value is to be seen with of its signal's definition: read from the definition as it is kept, without decoding
//! the rest, so that the newest values of all signals do not cost the decoding of all their definitions.

use std::time::Duration;

use downlink_storage::{Log, Value};
use prost::{DecodeError, Message as _};

use super::kept;
use crate::grpc::convert::duration;
use crate::grpc::fields::{Field, fields};
use crate::grpc::status::Refusal;

/// The fields of a `Signal` that it is made of, by number.
const UNIT: u32 = 5;
const STATES: u32 = 7;
const EXPECTED_PERIOD: u32 = 8;
/// The fields of an entry of `Signal.states`.
const CODE: u32 = 1;
const LABEL: u32 = 2;

/// A value that is older than so many periods is stale: one or two may be lost, three are a silence.
const STALE_AFTER_PERIODS: u32 = 3;

/// The part of a definition that concerns one value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Brief {
    /// The unit.
    pub(crate) unit: String,
    /// The label of the value; empty if it is no state that has one.
    pub(crate) state: String,
    expected_period: Option<prost_types::Duration>,
}

impl Brief {
    /// That of `value` as a value of a signal; an empty one if the signal has no definition.
    pub(crate) fn of(log: &Log, signal: &str, value: &Value) -> Result<Self, Refusal> {
        Ok(kept(log, signal, |_, definition| Self::read(definition, value).ok())?.unwrap_or_default())
    }

    fn read(definition: &[u8], value: &Value) -> Result<Self, DecodeError> {
        let mut brief = Self::default();
        fields(definition, |field, content| {
            let Field::Bytes(content) = content else { return Ok(()) };
            match field {
                UNIT => brief.unit = text(content),
                STATES => {
                    if let Some(label) = label(content, value)? {
                        brief.state = text(label);
                    }
                }
                EXPECTED_PERIOD => brief.expected_period = Some(prost_types::Duration::decode(content)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(brief)
    }

    /// Whether a value of this age is older than the definition expects.
    pub(crate) fn is_outlived(&self, age: Duration) -> bool {
        let period = self.expected_period.and_then(|period| duration(period, "expected_period").ok());
        period.is_some_and(|period| age > period.saturating_mul(STALE_AFTER_PERIODS))
    }
}

/// The label in an entry of the states, if that is of `value`.
fn label<'a>(entry: &'a [u8], value: &Value) -> Result<Option<&'a [u8]>, DecodeError> {
    let Value::Int(value) = value else { return Ok(None) };
    // Whatever is not there is the default of its type.
    let (mut code, mut label): (i64, &[u8]) = (0, &[]);
    fields(entry, |field, content| {
        match (field, content) {
            (CODE, Field::Number(number)) => code = from_zigzag(number),
            (LABEL, Field::Bytes(text)) => label = text,
            _ => {}
        }
        Ok(())
    })?;
    Ok((code == *value).then_some(label))
}

/// A `sint64`, of which the smallest magnitudes have the smallest numbers.
const fn from_zigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Text of a definition that was checked when it was taken in.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use downlink_proto::v1::Signal;
    use proptest::prelude::*;

    use super::*;

    fn any_signal() -> impl Strategy<Value = Signal> {
        let states = proptest::collection::btree_map(prop_oneof![-2..3_i64, any::<i64>()], ".{0,3}", 0..4);
        let period = proptest::option::of((0..9_i64, 0..1_000_000_000));
        (".{0,3}", ".{0,3}", states, period).prop_map(|(name, unit, states, period)| Signal {
            name: name.clone(),
            display_name: name.clone(),
            description: name,
            unit,
            states,
            expected_period: period.map(|(seconds, nanos)| prost_types::Duration { seconds, nanos }),
            ..Signal::default()
        })
    }

    proptest! {
        #[test]
        fn the_brief_is_a_part_of_the_definition(signal in any_signal(), other in any::<i64>()) {
            let encoded = signal.encode_to_vec();
            for code in signal.states.keys().copied().chain([other, 0, i64::MIN, i64::MAX]) {
                let brief = Brief::read(&encoded, &Value::Int(code)).unwrap();
                prop_assert_eq!(&brief.unit, &signal.unit);
                prop_assert_eq!(brief.expected_period, signal.expected_period);
                prop_assert_eq!(brief.state, signal.states.get(&code).cloned().unwrap_or_default());
            }
            prop_assert_eq!(Brief::read(&encoded, &Value::Double(0.0)).unwrap().state, "");
        }

        #[test]
        fn whatever_else_is_kept_is_no_trouble(bytes in any::<Vec<u8>>()) {
            let _ = Brief::read(&bytes, &Value::Int(0));
        }
    }

    #[test]
    fn a_value_is_outlived_after_three_periods() {
        let period = prost_types::Duration { seconds: 2, nanos: 500_000_000 };
        let brief = Brief { expected_period: Some(period), ..Brief::default() };
        assert!(!brief.is_outlived(Duration::from_millis(7_500)));
        assert!(brief.is_outlived(Duration::from_millis(7_501)));
        assert!(!Brief::default().is_outlived(Duration::MAX));
    }
}
