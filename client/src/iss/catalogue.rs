//! The items of the public feed: what they mean, in which unit, and what their values are.

use std::collections::HashMap;
use std::sync::LazyLock;

use downlink_proto::v1::value::Kind;
use downlink_proto::v1::{Signal, ValueType};

use crate::definition::from_csv;

/// Every item that the feed is known to have.
const CATALOGUE: &[u8] = include_bytes!("catalogue.csv");

static DEFINITIONS: LazyLock<Vec<Signal>> =
    LazyLock::new(|| from_csv(CATALOGUE).expect("the catalogue is a table of definitions"));

static NATURES: LazyLock<HashMap<&'static str, Nature>> = LazyLock::new(|| {
    let nature = |signal: &Signal| match signal.value_type() {
        ValueType::Int => Nature::Enumerated,
        ValueType::Double
        | ValueType::Bool
        | ValueType::String
        | ValueType::Bytes
        | ValueType::Unspecified => Nature::Analog,
    };
    DEFINITIONS.iter().map(|signal| (&*signal.name, nature(signal))).collect()
});

/// The definition of every item, on signals whose names begin with `prefix`.
pub fn definitions(prefix: &str) -> Vec<Signal> {
    let named = |signal: &Signal| Signal { name: format!("{prefix}{}", signal.name), ..signal.clone() };
    DEFINITIONS.iter().map(named).collect()
}

/// The name of every item.
pub fn items() -> Vec<String> {
    DEFINITIONS.iter().map(|signal| signal.name.clone()).collect()
}

/// Whether there is such an item, as far as is known.
pub fn is_known(item: &str) -> bool {
    NATURES.contains_key(item)
}

/// What the values of an item are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Measured: a double, even where the feed leaves the point out.
    Analog,
    /// The code of a state: an integer.
    Enumerated,
    /// Not in the catalogue: whatever each text looks like.
    Unknown,
}

impl Nature {
    /// The nature of an item.
    pub fn of(pui: &str) -> Self {
        NATURES.get(pui).copied().unwrap_or(Self::Unknown)
    }

    /// The value that the feed's text means, if it is one of this nature.
    ///
    /// For an unknown item: an integer if it is one that fits 64 bits and prints back the same, else a double if
    /// it is a finite number, else text. Nothing is no value.
    pub fn value(self, text: &str) -> Option<Kind> {
        let double = || text.parse().ok().filter(|double: &f64| double.is_finite()).map(Kind::DoubleValue);
        match self {
            Self::Analog => double(),
            Self::Enumerated => text.parse().ok().map(Kind::IntValue),
            Self::Unknown if text.is_empty() => None,
            Self::Unknown => {
                let int = text.parse().ok().filter(|int: &i64| int.to_string() == text).map(Kind::IntValue);
                int.or_else(double).or_else(|| Some(Kind::StringValue(text.to_owned())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_whole() {
        assert_eq!(NATURES.len(), 337);
        let enumerated = NATURES.values().filter(|nature| **nature == Nature::Enumerated).count();
        assert_eq!(enumerated, 161);
        for signal in &*DEFINITIONS {
            assert!(!signal.display_name.is_empty() && !signal.description.is_empty(), "{signal:?}");
            assert_eq!(signal.states.is_empty(), signal.value_type() == ValueType::Double, "{signal:?}");
        }
    }

    #[test]
    fn the_definitions_know_units_states_periods_and_limits() {
        let definitions = definitions("iss/");
        let of = |name: &str| definitions.iter().find(|signal| signal.name == name).unwrap();
        let pressure = of("iss/USLAB000058");
        assert_eq!(
            (&*pressure.unit, pressure.limits.len(), pressure.limits[0].low),
            ("mm[Hg]", 3, Some(739.0))
        );
        assert_eq!(of("iss/NODE3000004").states[&16], "Normal");
        assert_eq!(of("iss/USLAB000032").expected_period.unwrap().seconds, 10);
        let units: std::collections::BTreeSet<_> = definitions.iter().map(|signal| &*signal.unit).collect();
        assert!(units.is_superset(&["Cel", "kPa", "N.m", "deg/s", "{rev}/min"].into()), "{units:?}");
    }

    #[test]
    fn a_value_is_what_its_item_measures() {
        let tank = Nature::of("NODE3000005");
        assert_eq!(tank.value("12"), Some(Kind::DoubleValue(12.0)));
        assert_eq!(tank.value("n/a"), None);
        let state = Nature::of("NODE3000004");
        assert_eq!(state.value("16"), Some(Kind::IntValue(16)));
        assert_eq!(state.value("16.5"), None);
    }

    #[test]
    fn an_unknown_item_goes_by_its_text() {
        let value = |text| Nature::of("NEW000001").value(text);
        assert_eq!(value("-12"), Some(Kind::IntValue(-12)));
        assert_eq!(value("012"), Some(Kind::DoubleValue(12.0)));
        assert_eq!(value("9223372036854775808"), Some(Kind::DoubleValue(9_223_372_036_854_775_808.0)));
        assert_eq!(value("1.50"), Some(Kind::DoubleValue(1.5)));
        assert_eq!(value("inf"), Some(Kind::StringValue("inf".to_owned())));
        assert_eq!(value("DOCKED"), Some(Kind::StringValue("DOCKED".to_owned())));
        assert_eq!(value(""), None);
    }
}
