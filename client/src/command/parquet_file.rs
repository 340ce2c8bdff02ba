//! Events in Parquet files: the columns that such a file has.

pub(super) mod read;
pub(super) mod write;

/// A column of a file. A value is in the column of its kind, and null in the others.
///
/// Parquet's times of nanoseconds end in 2262; those of microseconds hold the years 1 to 9999. What they leave out is
/// in the columns of nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Offset,
    Signal,
    EventTime,
    EventTimeNanos,
    IngestTime,
    IngestTimeNanos,
    Kind,
    Double,
    Int,
    Bool,
    String,
    Bytes,
    Quality,
    Source,
    Attributes,
    TraceContext,
}

impl Field {
    /// All of them.
    pub(super) const ALL: [Self; 16] = [
        Self::Offset,
        Self::Signal,
        Self::EventTime,
        Self::EventTimeNanos,
        Self::IngestTime,
        Self::IngestTimeNanos,
        Self::Kind,
        Self::Double,
        Self::Int,
        Self::Bool,
        Self::String,
        Self::Bytes,
        Self::Quality,
        Self::Source,
        Self::Attributes,
        Self::TraceContext,
    ];

    /// Its name in the file.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Offset => "offset",
            Self::Signal => "signal",
            Self::EventTime => "event_time",
            Self::EventTimeNanos => "event_time_nanos",
            Self::IngestTime => "ingest_time",
            Self::IngestTimeNanos => "ingest_time_nanos",
            Self::Kind => "kind",
            Self::Double => "double_value",
            Self::Int => "int_value",
            Self::Bool => "bool_value",
            Self::String => "string_value",
            Self::Bytes => "bytes_value",
            Self::Quality => "quality",
            Self::Source => "source",
            Self::Attributes => "attributes",
            Self::TraceContext => "trace_context",
        }
    }
}
