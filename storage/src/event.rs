//! The vocabulary of the log: events, values, qualities, offsets, times.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The place of an event in the log: dense, from 1, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of every log.
    pub const FIRST: Self = Self(1);

    /// Beyond every event.
    pub const MAX: Self = Self(u64::MAX);

    /// The offset with this number; `None` for 0, which no event ever has.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset `events` further on.
    #[must_use]
    pub const fn plus(self, events: u64) -> Self {
        Self(self.0.saturating_add(events))
    }

    /// The offset `events` before it, but not before the first.
    #[must_use]
    pub const fn minus(self, events: u64) -> Self {
        let number = self.0.saturating_sub(events);
        if number == 0 { Self::FIRST } else { Self(number) }
    }

    /// How many events lie from `earlier` (inclusive) to `self` (exclusive); 0 if `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The names of signals that are the system's own begin with this.
pub const SYSTEM_PREFIX: char = '_';

/// A signal's number in this log: given at its first event, valid as long as the log exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalId(pub u32);

/// A moment in UTC with nanoseconds, from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

impl Timestamp {
    /// 0001-01-01T00:00:00Z, the earliest moment the protobuf `Timestamp` knows.
    pub const MIN: Self = Self { seconds: -62_135_596_800, nanos: 0 };
    /// 9999-12-31T23:59:59.999999999Z, the latest moment the protobuf `Timestamp` knows.
    pub const MAX: Self = Self { seconds: 253_402_300_799, nanos: 999_999_999 };
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self { seconds: 0, nanos: 0 };

    /// The moment `seconds` and `nanos` after the Unix epoch; `None` outside the years 1 to 9999 or with
    /// `nanos` of a second or more.
    #[must_use]
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        let time = Self { seconds, nanos };
        (nanos < 1_000_000_000 && (Self::MIN..=Self::MAX).contains(&time)).then_some(time)
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after [`Self::seconds`], below a second.
    #[must_use]
    pub const fn nanos(self) -> u32 {
        self.nanos
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_nanos(self) -> i128 {
        self.seconds as i128 * 1_000_000_000 + self.nanos as i128
    }

    /// The moment this many nanoseconds after the Unix epoch; `None` outside the years 1 to 9999.
    #[must_use]
    pub fn from_unix_nanos(nanos: i128) -> Option<Self> {
        let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
        Self::new(seconds, u32::try_from(nanos.rem_euclid(1_000_000_000)).ok()?)
    }
}

/// What an event says.
#[derive(Clone, Debug)]
pub enum Value {
    /// A 64-bit float, kept bit for bit (NaN payloads and -0.0 included).
    Double(f64),
    /// A signed integer; also the code of an enumerated state.
    Int(i64),
    /// True or false.
    Bool(bool),
    /// Text.
    String(String),
    /// Anything else.
    Bytes(Vec<u8>),
}

/// Equal means the same kind and the same bits: NaN equals itself, 0.0 and -0.0 differ.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Value {
    /// The value, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Double(value) => ValueRef::Double(*value),
            Self::Int(value) => ValueRef::Int(*value),
            Self::Bool(value) => ValueRef::Bool(*value),
            Self::String(value) => ValueRef::String(value),
            Self::Bytes(value) => ValueRef::Bytes(value),
        }
    }
}

/// A [`Value`] borrowed from a block.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// See [`Value::Double`].
    Double(f64),
    /// See [`Value::Int`].
    Int(i64),
    /// See [`Value::Bool`].
    Bool(bool),
    /// See [`Value::String`].
    String(&'a str),
    /// See [`Value::Bytes`].
    Bytes(&'a [u8]),
}

/// As [`Value`]'s: the same kind and the same bits.
impl PartialEq for ValueRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Double(a), Self::Double(b)) => a.to_bits() == b.to_bits(),
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            _ => false,
        }
    }
}

impl ValueRef<'_> {
    /// The value, owned.
    #[must_use]
    pub fn to_value(self) -> Value {
        match self {
            Self::Double(value) => Value::Double(value),
            Self::Int(value) => Value::Int(value),
            Self::Bool(value) => Value::Bool(value),
            Self::String(value) => Value::String(value.to_owned()),
            Self::Bytes(value) => Value::Bytes(value.to_owned()),
        }
    }
}

/// How far a value can be trusted. Ordered from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quality {
    /// The source vouches for it.
    Good,
    /// The source is up but the value was not refreshed (loss of signal).
    Stale,
    /// The source doubts it.
    Uncertain,
    /// Not to be used.
    Bad,
}

/// One fact, as it is appended. Offset and ingest time are given by the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The name of the signal.
    pub signal: String,
    /// When the source says it happened.
    pub event_time: Timestamp,
    /// What it says.
    pub value: Value,
    /// How far it can be trusted.
    pub quality: Quality,
    /// Where it comes from; may be empty.
    pub source: String,
    /// Sparse extras, never indexed.
    pub attributes: BTreeMap<String, String>,
    /// The trace context of the append, as bytes; may be empty.
    pub trace_context: Vec<u8>,
}

/// One fact, as it is read: borrowed from its block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EventRef<'a> {
    /// Its place in the log.
    pub offset: Offset,
    /// The number of its signal.
    pub signal_id: SignalId,
    /// The name of its signal.
    pub signal: &'a Arc<str>,
    /// When the source says it happened.
    pub event_time: Timestamp,
    /// When the log took it in; never earlier than at a lower offset.
    pub ingest_time: Timestamp,
    /// What it says.
    pub value: ValueRef<'a>,
    /// How far it can be trusted.
    pub quality: Quality,
    /// Where it comes from; may be empty.
    pub source: &'a Arc<str>,
    /// Sparse extras; `None` when it has none.
    pub attributes: Option<&'a BTreeMap<String, String>>,
    /// The trace context of its append; may be empty.
    pub trace_context: &'a [u8],
}

impl EventRef<'_> {
    /// The event as it was appended.
    #[must_use]
    pub fn to_event(&self) -> Event {
        Event {
            signal: self.signal.to_string(),
            event_time: self.event_time,
            value: self.value.to_value(),
            quality: self.quality,
            source: self.source.to_string(),
            attributes: self.attributes.cloned().unwrap_or_default(),
            trace_context: self.trace_context.to_owned(),
        }
    }
}

/// Tells the time. A component handed to the log, so that tests can drive it.
pub trait Clock: Send + Sync + 'static {
    /// The present moment. May run backwards; the log does not.
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let nanos = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
            Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
        };
        Timestamp::from_unix_nanos(nanos).unwrap_or(Timestamp::EPOCH)
    }
}
