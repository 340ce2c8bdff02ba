"""Replays: a bounded part of the log, which ends by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from downlink import gap as gaps
from downlink.connection import Connection, responses
from downlink.delivery import Delivery
from downlink.errors import ProtocolError
from downlink.gap import Gap
from downlink.v1 import query_service_pb2 as query
from downlink.v1 import types_pb2 as wire

if TYPE_CHECKING:
    import pandas
    import pyarrow


@dataclass(frozen=True, slots=True)
class End:
    """The end of a replay."""

    next_offset: int
    """Where to go on."""
    head_offset: int
    """The head as of the call."""
    scanned_events: int
    """Events looked at, matching or not."""


class Replay(Delivery):
    """A part of the log: iterate over its events, or take it whole as a table. It is read when that begins."""

    def __init__(
        self, connection: Connection, request: query.ReadRequest, on_gap: Callable[[Gap], None] | None
    ) -> None:
        super().__init__(on_gap)
        self._connection = connection
        self._request = request
        self._frames: Iterator[query.ReadResponse] | None = None
        self._pending: deque[wire.Event | Gap] = deque()
        self.end: End | None = None
        """Where the iteration has ended; None before that."""

    def to_arrow(self, *, time_unit: Literal["ns", "us"] = "ns") -> pyarrow.Table:
        """The replay as a table, in its own order, with the same columns whatever is in it (see the README).

        Times are exact in nanoseconds, which reach from 1677 to 2262; for a time outside of that there is an
        `OverflowError`, and `time_unit="us"`, which reaches over all years from 1 to 9999. Needs `downlink[arrow]`.
        """
        from downlink import arrow  # noqa: PLC0415 Its packages are optional.

        return arrow.read(self._connection, self._request, self._on_gap, time_unit)

    def to_pandas(self, *, time_unit: Literal["ns", "us"] = "ns") -> pandas.DataFrame:
        """The same as a frame. `int_value` and `bool_value` are nullable, so that no integer becomes a float.

        Needs `downlink[pandas]`.
        """
        import pandas  # noqa: PLC0415 It is optional.
        import pyarrow  # noqa: PLC0415 It is optional.

        nullable = {pyarrow.int64(): pandas.Int64Dtype(), pyarrow.bool_(): pandas.BooleanDtype()}
        table = self.to_arrow(time_unit=time_unit)
        frame: pandas.DataFrame = table.to_pandas(types_mapper=nullable.get, maps_as_pydicts="strict")
        return frame

    def _next(self) -> wire.Event | Gap | None:
        while not self._pending and self.end is None:
            if self._frames is None:
                self._frames = frames(self._connection, self._request)
            frame = next(self._frames, None)
            if frame is None:
                raise ValueError("this replay has failed before its end")
            match frame.WhichOneof("frame"):
                case "events":
                    self._pending.extend(frame.events.events)
                case "gap":
                    self._pending.append(gaps.from_wire(frame.gap))
                case "end":
                    self.end = End(frame.end.next_offset, frame.end.head_offset, frame.end.scanned_events)
        return self._pending.popleft() if self._pending else None


def frames(connection: Connection, request: query.ReadRequest) -> Iterator[query.ReadResponse]:
    """The frames of a replay, the last of which is its end."""
    for frame in responses(connection.query.Read(request)):
        yield frame
        if frame.HasField("end"):
            return
    raise ProtocolError("a replay that ends in the middle")
