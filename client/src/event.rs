//! Events, made easily.

use downlink_proto::v1::{Event, Value, value::Kind};

/// An event of now, of good quality and without source: what is left out, the server adds.
pub fn event(signal: impl Into<String>, value: impl IntoValue) -> Event {
    Event { signal: signal.into(), value: Some(Value { kind: Some(value.into_kind()) }), ..Event::default() }
}

/// What can be the value of an event.
pub trait IntoValue {
    /// The value as it travels.
    fn into_kind(self) -> Kind;
}

impl IntoValue for f64 {
    fn into_kind(self) -> Kind {
        Kind::DoubleValue(self)
    }
}

impl IntoValue for i64 {
    fn into_kind(self) -> Kind {
        Kind::IntValue(self)
    }
}

impl IntoValue for bool {
    fn into_kind(self) -> Kind {
        Kind::BoolValue(self)
    }
}

impl IntoValue for &str {
    fn into_kind(self) -> Kind {
        Kind::StringValue(self.to_owned())
    }
}

impl IntoValue for String {
    fn into_kind(self) -> Kind {
        Kind::StringValue(self)
    }
}

impl IntoValue for Vec<u8> {
    fn into_kind(self) -> Kind {
        Kind::BytesValue(self)
    }
}

impl IntoValue for Kind {
    fn into_kind(self) -> Kind {
        self
    }
}
