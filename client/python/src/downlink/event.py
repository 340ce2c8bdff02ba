"""Events: what goes into the log and comes out of it, every value bit for bit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import TypeAlias, cast

from downlink.times import from_timestamp, to_datetime, to_timestamp
from downlink.v1 import types_pb2 as wire

Value: TypeAlias = float | int | bool | str | bytes
"""A value of one of five kinds. Kinds are kept apart: `1`, `1.0` and `True` are three different values."""


class Quality(IntEnum):
    """How far a value can be trusted, from best to worst."""

    GOOD = wire.QUALITY_GOOD
    """The source vouches for it."""
    STALE = wire.QUALITY_STALE
    """The source is up, but the value was not refreshed."""
    UNCERTAIN = wire.QUALITY_UNCERTAIN
    """The source doubts it."""
    BAD = wire.QUALITY_BAD
    """Not to be used."""


TRACE_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Event:
    """One fact in the log. To append one, `signal` and `value` are enough."""

    signal: str
    """The name of the signal, such as "iss/NODE3000005"."""
    value: Value
    """What it says."""
    event_time_ns: int | None = None
    """When the source says it happened, in nanoseconds since the Unix epoch. None on append: the server's clock."""
    quality: Quality = Quality.GOOD
    """How far the value can be trusted."""
    source: str = ""
    """Where it comes from; may be empty."""
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Sparse extras."""
    trace_context: bytes = b""
    """The trace context of its append, as bytes: trace id, span id, flags; may be empty."""
    offset: int = 0
    """Its place in the log: dense, from 1. 0 before it is in the log; ignored on append."""
    signal_id: int = 0
    """The signal's number in this log. 0 before it is in the log; ignored on append."""
    ingest_time_ns: int | None = None
    """When the log took it in, in nanoseconds since the epoch. None before that; ignored on append."""

    @property
    def trace_id(self) -> str | None:
        """The trace it was appended in, in hex, if it was in one."""
        return self.trace_context[:TRACE_ID_BYTES].hex() or None

    @property
    def event_time(self) -> datetime | None:
        """`event_time_ns` in UTC, cut to microseconds."""
        return None if self.event_time_ns is None else to_datetime(self.event_time_ns)

    @property
    def ingest_time(self) -> datetime | None:
        """`ingest_time_ns` in UTC, cut to microseconds."""
        return None if self.ingest_time_ns is None else to_datetime(self.ingest_time_ns)


def to_wire(event: Event) -> wire.Event:
    """An event as it travels to the log."""
    message = wire.Event(
        signal=event.signal,
        value=value_to_wire(event.value),
        quality=event.quality.value,
        source=event.source,
        attributes=event.attributes,
        trace_context=event.trace_context,
    )
    if event.event_time_ns is not None:
        message.event_time.CopyFrom(to_timestamp(event.event_time_ns))
    return message


def from_wire(message: wire.Event) -> Event:
    """An event as the log sent it."""
    return Event(
        signal=message.signal,
        value=value_from_wire(message.value),
        event_time_ns=from_timestamp(message.event_time) if message.HasField("event_time") else None,
        quality=Quality(message.quality or Quality.GOOD),
        source=message.source,
        attributes=dict(message.attributes) if message.attributes else {},
        trace_context=message.trace_context,
        offset=message.offset,
        signal_id=message.signal_id,
        ingest_time_ns=from_timestamp(message.ingest_time) if message.HasField("ingest_time") else None,
    )


def value_to_wire(value: Value) -> wire.Value:
    """A value as it travels. What is none of the five kinds is refused rather than turned into one of them."""
    match value:
        case bool():  # Before int, of which it is a subclass.
            return wire.Value(bool_value=value)
        case float():
            return wire.Value(double_value=value)
        case int():
            return wire.Value(int_value=value)
        case str():
            return wire.Value(string_value=value)
        case bytes():
            return wire.Value(bytes_value=value)
    kind = type(value)
    raise TypeError(f"a value is a float, int, bool, str or bytes, not {kind.__module__}.{kind.__qualname__}")


def value_from_wire(message: wire.Value) -> Value:
    """The value in a message."""
    kind = message.WhichOneof("kind")
    if kind is None:
        raise ValueError("a value of a kind that this version does not know")
    return cast(Value, getattr(message, kind))
