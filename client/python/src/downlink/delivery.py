"""Deliveries: events one by one as they come from the server, with the gaps between them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from typing_extensions import Self

from downlink import event as events
from downlink.errors import GapError
from downlink.event import Event
from downlink.gap import Gap
from downlink.v1 import types_pb2 as wire


class Delivery(ABC):
    """Iterates over events. A gap raises `GapError`, behind which the iteration can go on, unless there is `on_gap`."""

    def __init__(self, on_gap: Callable[[Gap], None] | None) -> None:
        self._on_gap = on_gap

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        while (item := self._next()) is not None:
            if isinstance(item, wire.Event):
                return events.from_wire(item)
            if self._on_gap is None:
                raise GapError(item)
            self._on_gap(item)
        raise StopIteration

    def with_gaps(self) -> Iterator[Event | Gap]:
        """The same with each `Gap` handed out in its place between the events."""
        while (item := self._next()) is not None:
            yield events.from_wire(item) if isinstance(item, wire.Event) else item

    @abstractmethod
    def _next(self) -> wire.Event | Gap | None:
        """What comes next; None at the end."""
