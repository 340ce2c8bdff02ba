"""Aggregates: signals over steps of time."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from google.protobuf.timestamp_pb2 import Timestamp

from downlink import event as events
from downlink.event import Value
from downlink.times import from_timestamp, to_datetime
from downlink.v1 import query_service_pb2 as query


class Function(IntEnum):
    """What to compute."""

    MIN = query.AggregateRequest.FUNCTION_MIN
    MAX = query.AggregateRequest.FUNCTION_MAX
    MEAN = query.AggregateRequest.FUNCTION_MEAN
    FIRST = query.AggregateRequest.FUNCTION_FIRST
    LAST = query.AggregateRequest.FUNCTION_LAST
    COUNT = query.AggregateRequest.FUNCTION_COUNT
    TIME_WEIGHTED_MEAN = query.AggregateRequest.FUNCTION_TIME_WEIGHTED_MEAN
    STATE_RANGES = query.AggregateRequest.FUNCTION_STATE_RANGES


@dataclass(frozen=True, slots=True)
class StateRange:
    """A value that held for a while."""

    value: Value
    """The value."""
    start_time_ns: int
    """From, inclusive, in nanoseconds since the epoch."""
    end_time_ns: int
    """To, exclusive, in nanoseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A signal over a step of time. What was not asked for, or has no answer, is None."""

    signal: str
    """The signal."""
    start_time_ns: int
    """From, inclusive, in nanoseconds since the epoch."""
    end_time_ns: int
    """To, exclusive, in nanoseconds since the epoch."""
    count: int
    """How many events. 0 is a gap, never an interpolated line."""
    min: float | None
    """The least value."""
    max: float | None
    """The greatest value."""
    mean: float | None
    """The mean of the values."""
    min_time_ns: int | None
    """When it first was least."""
    max_time_ns: int | None
    """When it first was greatest."""
    first: Value | None
    """The first value."""
    last: Value | None
    """The last value."""
    first_time_ns: int | None
    """When the first event was."""
    last_time_ns: int | None
    """When the last event was."""
    time_weighted_mean: float | None
    """The mean weighted by time."""
    state_ranges: tuple[StateRange, ...]
    """Runs of equal values, in order."""
    state_ranges_left_out: bool
    """There are more runs than the server gives for one bucket: the later ones are left out."""
    is_incomplete: bool
    """Events that might count here are damaged on disk: what is said is true of the others."""

    @property
    def start_time(self) -> datetime:
        """`start_time_ns` in UTC, cut to microseconds."""
        return to_datetime(self.start_time_ns)

    @property
    def end_time(self) -> datetime:
        """`end_time_ns` in UTC, cut to microseconds."""
        return to_datetime(self.end_time_ns)


def from_wire(message: query.Bucket) -> Bucket:
    """A bucket as the log computed it."""

    def time_ns(name: str, timestamp: Timestamp) -> int | None:
        return from_timestamp(timestamp) if message.HasField(name) else None

    return Bucket(
        signal=message.signal,
        start_time_ns=from_timestamp(message.start_time),
        end_time_ns=from_timestamp(message.end_time),
        count=message.count,
        min=message.min if message.HasField("min") else None,
        max=message.max if message.HasField("max") else None,
        mean=message.mean if message.HasField("mean") else None,
        min_time_ns=time_ns("min_time", message.min_time),
        max_time_ns=time_ns("max_time", message.max_time),
        first=events.value_from_wire(message.first) if message.HasField("first") else None,
        last=events.value_from_wire(message.last) if message.HasField("last") else None,
        first_time_ns=time_ns("first_time", message.first_time),
        last_time_ns=time_ns("last_time", message.last_time),
        time_weighted_mean=message.time_weighted_mean if message.HasField("time_weighted_mean") else None,
        state_ranges=tuple(
            StateRange(events.value_from_wire(one.value), from_timestamp(one.start_time), from_timestamp(one.end_time))
            for one in message.state_ranges
        ),
        state_ranges_left_out=message.state_ranges_left_out,
        is_incomplete=message.incomplete,
    )
