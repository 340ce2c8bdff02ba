"""Signals: what is known of them, and their newest events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum

from downlink import event as events
from downlink.event import Event
from downlink.times import from_duration, from_timestamp, to_datetime, to_duration
from downlink.v1 import ingest_service_pb2 as ingest
from downlink.v1 import query_service_pb2 as query


class ValueType(IntEnum):
    """The kind of a signal's values."""

    UNSPECIFIED = ingest.VALUE_TYPE_UNSPECIFIED
    DOUBLE = ingest.VALUE_TYPE_DOUBLE
    INT = ingest.VALUE_TYPE_INT
    BOOL = ingest.VALUE_TYPE_BOOL
    STRING = ingest.VALUE_TYPE_STRING
    BYTES = ingest.VALUE_TYPE_BYTES


class Severity(IntEnum):
    """Degrees of worry, as XTCE names them."""

    UNSPECIFIED = ingest.Limit.SEVERITY_UNSPECIFIED
    WATCH = ingest.Limit.SEVERITY_WATCH
    WARNING = ingest.Limit.SEVERITY_WARNING
    DISTRESS = ingest.Limit.SEVERITY_DISTRESS
    CRITICAL = ingest.Limit.SEVERITY_CRITICAL
    SEVERE = ingest.Limit.SEVERITY_SEVERE


@dataclass(frozen=True, slots=True)
class Limit:
    """Where values begin to worry."""

    severity: Severity
    """How much."""
    low: float | None = None
    """Values below this are out of limits."""
    high: float | None = None
    """Values above this are out of limits."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What is known of a signal. To define one, its name and whatever is known are enough."""

    name: str
    """Its name."""
    display_name: str = ""
    """A short title for people."""
    description: str = ""
    """What it means."""
    unit: str = ""
    """Its unit in UCUM."""
    value_type: ValueType = ValueType.UNSPECIFIED
    """The kind of its values."""
    states: Mapping[int, str] = field(default_factory=dict, hash=False)
    """For enumerated signals: code to label."""
    expected_period: timedelta | None = None
    """How often a new value is expected."""
    limits: tuple[Limit, ...] = ()
    """Where values begin to worry."""
    signal_id: int = 0
    """Its number in this log; ignored in a definition."""
    event_count: int = 0
    """How many events it has had; ignored in a definition."""
    latest: Event | None = None
    """Its newest event; ignored in a definition."""


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest event of a signal."""

    event: Event
    """The event."""
    age: timedelta
    """The server's clock less its event time."""
    is_stale: bool
    """Older than the signal's definition expects."""
    unchanged_since_ns: int | None
    """Event time of the first event since which the value has been the same, in nanoseconds since the epoch."""
    unit: str
    """The unit of the signal's definition; empty without one."""
    state: str
    """What the signal's definition calls the value, as the code of a state; empty without one."""

    @property
    def unchanged_since(self) -> datetime | None:
        """The same in UTC, cut to microseconds."""
        return None if self.unchanged_since_ns is None else to_datetime(self.unchanged_since_ns)


def to_wire(signal: Signal) -> ingest.Signal:
    """A definition as it travels."""
    message = ingest.Signal(
        name=signal.name,
        display_name=signal.display_name,
        description=signal.description,
        unit=signal.unit,
        value_type=signal.value_type.value,
        states=signal.states,
        limits=[ingest.Limit(severity=one.severity.value, low=one.low, high=one.high) for one in signal.limits],
    )
    if signal.expected_period is not None:
        message.expected_period.CopyFrom(to_duration(signal.expected_period))
    return message


def from_wire(message: ingest.Signal) -> Signal:
    """A signal as the log describes it."""
    return Signal(
        name=message.name,
        display_name=message.display_name,
        description=message.description,
        unit=message.unit,
        value_type=ValueType(message.value_type),
        states=dict(message.states),
        expected_period=from_duration(message.expected_period) if message.HasField("expected_period") else None,
        limits=tuple(
            Limit(
                Severity(one.severity),
                one.low if one.HasField("low") else None,
                one.high if one.HasField("high") else None,
            )
            for one in message.limits
        ),
        signal_id=message.signal_id,
        event_count=message.event_count,
        latest=events.from_wire(message.latest) if message.HasField("latest") else None,
    )


def latest_from_wire(message: query.LatestValue) -> Latest:
    """A newest event as the log gives it."""
    since = from_timestamp(message.unchanged_since) if message.HasField("unchanged_since") else None
    event, age = events.from_wire(message.event), from_duration(message.age)
    return Latest(event, age, message.stale, since, message.unit, message.state)
