//! When a value is another one.

use downlink_storage::{EventRef, Quality, Value, ValueRef};

/// Changes of a number that are smaller than this are none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Deadband(f64);

impl Deadband {
    /// A deadband of so much, absolute; 0: every change of the bits counts. `None` unless it is finite and not
    /// negative.
    #[must_use]
    pub(crate) fn new(width: f64) -> Option<Self> {
        (width.is_finite() && width >= 0.0).then_some(Self(width))
    }

    /// Whether `event` says something else than `value` and `quality`.
    #[must_use]
    pub(crate) fn is_left(self, value: &Value, quality: Quality, event: &EventRef<'_>) -> bool {
        quality != event.quality || self.is_change(value.as_ref(), event.value)
    }

    fn is_change(self, from: ValueRef<'_>, to: ValueRef<'_>) -> bool {
        if from == to {
            return false;
        }
        match (from, to) {
            // The distance from or to what is no number is none either: that is a change.
            (ValueRef::Double(from), ValueRef::Double(to)) => {
                let distance = (to - from).abs();
                distance.is_nan() || distance >= self.0
            }
            #[expect(clippy::cast_precision_loss, reason = "a deadband is no more precise than that")]
            (ValueRef::Int(from), ValueRef::Int(to)) => to.abs_diff(from) as f64 >= self.0,
            (
                ValueRef::Double(_)
                | ValueRef::Int(_)
                | ValueRef::Bool(_)
                | ValueRef::String(_)
                | ValueRef::Bytes(_),
                _,
            ) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_change(width: f64, from: Value, to: Value) -> bool {
        Deadband::new(width).unwrap().is_change(from.as_ref(), to.as_ref())
    }

    #[test]
    fn numbers_change_by_the_deadband_or_more() {
        use Value::{Bool, Double, Int, String};
        assert!(!is_change(0.5, Double(1.0), Double(1.25)) && is_change(0.5, Double(1.0), Double(1.5)));
        assert!(!is_change(0.5, Double(1.0), Double(0.75)) && is_change(0.5, Double(1.0), Double(0.5)));
        assert!(!is_change(2.0, Int(i64::MAX), Int(i64::MAX - 1)));
        assert!(is_change(2.0, Int(i64::MIN), Int(i64::MAX)));
        assert!(!is_change(0.0, Int(3), Int(3)) && is_change(0.0, Int(3), Int(4)));
        assert!(is_change(9.0, Int(3), Double(3.0)), "another kind is another value");
        assert!(is_change(9.0, Bool(true), Bool(false)) && !is_change(0.0, Bool(true), Bool(true)));
        assert!(is_change(9.0, String("a".to_owned()), String("b".to_owned())));
    }

    #[test]
    fn what_is_no_number_is_compared_bit_for_bit() {
        use Value::Double;
        let (quiet, other) = (f64::NAN, f64::from_bits(f64::NAN.to_bits() | 1));
        assert!(
            !is_change(0.0, Double(quiet), Double(quiet)) && !is_change(9.0, Double(quiet), Double(quiet))
        );
        assert!(is_change(9.0, Double(quiet), Double(other)));
        assert!(is_change(9.0, Double(quiet), Double(1.0)) && is_change(9.0, Double(1.0), Double(quiet)));
        let infinite = f64::INFINITY;
        assert!(!is_change(0.0, Double(infinite), Double(infinite)));
        assert!(
            is_change(9.0, Double(infinite), Double(-infinite))
                && is_change(9.0, Double(1.0), Double(infinite))
        );
        assert!(is_change(0.0, Double(0.0), Double(-0.0)) && !is_change(0.1, Double(0.0), Double(-0.0)));
    }

    #[test]
    fn a_deadband_is_a_finite_number() {
        assert!([f64::NAN, -0.1, f64::INFINITY].into_iter().all(|width| Deadband::new(width).is_none()));
    }
}
