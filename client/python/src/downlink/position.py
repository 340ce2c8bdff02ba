"""Positions: places in the log, named in the ways the API knows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, TypeAlias

from downlink.times import to_duration, to_timestamp
from downlink.v1 import types_pb2 as wire


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the log. Wherever one is asked for, a plain `int` is an offset."""

    message: wire.Position
    """The same as it travels."""

    OLDEST: ClassVar[Position]
    """The oldest event that is still kept."""
    HEAD: ClassVar[Position]
    """Behind the newest event: what comes next."""

    @classmethod
    def offset(cls, offset: int) -> Position:
        """This very offset."""
        return cls(wire.Position(offset=offset))

    @classmethod
    def event_time(cls, time: datetime | int) -> Position:
        """The first event that happened at or after this time, or these nanoseconds since the epoch."""
        return cls(wire.Position(event_time=to_timestamp(time)))

    @classmethod
    def ingest_time(cls, time: datetime | int) -> Position:
        """The first event that the log took in at or after this time, or these nanoseconds since the epoch."""
        return cls(wire.Position(ingest_time=to_timestamp(time)))

    @classmethod
    def last(cls, events: int) -> Position:
        """The last so many matching events."""
        return cls(wire.Position(last_events=events))

    @classmethod
    def ago(cls, span: timedelta) -> Position:
        """This long before the server's present, by event time."""
        return cls(wire.Position(ago=to_duration(span)))

    @classmethod
    def consumer(cls, name: str) -> Position:
        """Where this consumer has got to."""
        return cls(wire.Position(consumer=name))


Position.OLDEST = Position(wire.Position(edge=wire.EDGE_OLDEST))
Position.HEAD = Position(wire.Position(edge=wire.EDGE_HEAD))

Place: TypeAlias = Position | int


def to_wire(place: Place | None) -> wire.Position | None:
    """A place as it travels; None stays the default that the method documents."""
    match place:
        case None:
            return None
        case Position():
            return place.message
        case _:
            return wire.Position(offset=place)
