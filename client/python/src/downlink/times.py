"""Times: whole nanoseconds since the Unix epoch, exact over the years 1 to 9999, and what Python makes of them."""

from datetime import datetime, timedelta, timezone

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

SECOND_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


def to_ns(time: datetime) -> int:
    """The nanoseconds since the epoch of a time that names its zone."""
    if time.tzinfo is None:
        raise ValueError(f"{time} names no time zone: use datetime(..., tzinfo=timezone.utc)")
    return (time - _EPOCH) // _MICROSECOND * 1000


def to_datetime(time_ns: int) -> datetime:
    """The time in UTC, cut to microseconds, which is as fine as `datetime` gets."""
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


def to_timestamp(time: datetime | int) -> Timestamp:
    """A time, or nanoseconds since the epoch, as it travels."""
    seconds, nanos = divmod(to_ns(time) if isinstance(time, datetime) else time, SECOND_NS)
    return Timestamp(seconds=seconds, nanos=nanos)


def from_timestamp(timestamp: Timestamp) -> int:
    """The nanoseconds since the epoch."""
    return timestamp.seconds * SECOND_NS + timestamp.nanos


def to_duration(span: timedelta) -> Duration:
    """A span of time as it travels."""
    duration = Duration()
    duration.FromTimedelta(span)
    return duration


def from_duration(duration: Duration) -> timedelta:
    """A span of time, cut to microseconds."""
    return timedelta(seconds=duration.seconds, microseconds=duration.nanos // 1000)
