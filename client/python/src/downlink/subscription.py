"""Subscriptions: what was, then what comes, for ever, over lost connections and restarts of the server."""

import time
from collections import deque
from collections.abc import Callable, Iterator

import grpc
from typing_extensions import Self

from downlink import gap as gaps
from downlink.connection import Connection, responses
from downlink.delivery import Delivery
from downlink.errors import DownlinkError, LogReplacedError, draining
from downlink.gap import Gap
from downlink.retry import Patience
from downlink.v1 import query_service_pb2 as query
from downlink.v1 import types_pb2 as wire


class Subscription(Delivery):
    """Iterates over events until it is closed. Stands when it is made: whatever is appended from then on is delivered.

    When the connection is lost it comes back at `next_offset`: no event is delivered twice and none is left out. It
    gives up, with the last error, only after it has tried for as long as it may or when another try cannot help.
    """

    def __init__(
        self,
        connection: Connection,
        request: query.SubscribeRequest,
        on_gap: Callable[[Gap], None] | None,
        on_frame: Callable[[query.SubscribeResponse], None] | None,
        retry_for_seconds: float,
    ) -> None:
        super().__init__(on_gap)
        self._connection = connection
        self._request = request
        self._on_frame = on_frame
        self._pending: deque[wire.Event | Gap] = deque()
        self._closed = False
        self._call: grpc.Call | None = None
        self._frames: Iterator[query.SubscribeResponse] = iter(())
        self._resume_offset = 0
        self.next_offset = 0
        """Where to resume once the event handed out last is dealt with. Store it to go on from here another day."""
        self.is_caught_up = False
        """Whether what comes is live rather than history."""
        self.log_id = ""
        """The identity of the log."""
        # A server that is not there at all is told of sooner than one that goes away for a while.
        self._patience = Patience(min(retry_for_seconds, connection.retry_for_seconds))
        while not self.log_id:
            self._receive()
        self._patience = Patience(retry_for_seconds)

    def close(self) -> None:
        """Ends the iteration, also from another thread."""
        self._closed = True
        call = self._call
        if call is not None:
            call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _next(self) -> wire.Event | Gap | None:
        while not self._pending and not self._closed:
            self._receive()
        if self._closed:
            return None
        item = self._pending.popleft()
        if not self._pending:
            self.next_offset = self._resume_offset
        else:
            self.next_offset = (item.last_offset if isinstance(item, Gap) else item.offset) + 1
        return item

    def _receive(self) -> None:
        """Waits for one frame, or for a chance to ask again."""
        try:
            if self._call is None:
                call = self._connection.query.Subscribe(self._request)
                self._call, self._frames = call, responses(call)
            frame = next(self._frames, None)
            if frame is None:
                raise DownlinkError("the server has ended the stream", code=grpc.StatusCode.UNAVAILABLE)
            self._take(frame)
            self._patience.succeeded()
        except DownlinkError as error:
            if self._closed:
                return
            delay_seconds = self._patience.delay_seconds(error)
            self._call = None
            time.sleep(delay_seconds)

    def _take(self, frame: query.SubscribeResponse) -> None:
        match frame.WhichOneof("frame"):
            case "started":
                if self.log_id not in ("", frame.started.log_id):
                    raise LogReplacedError(self.log_id, frame.started.log_id)
                self.log_id = frame.started.log_id
                self.is_caught_up = False
            case "events":
                self._pending.extend(frame.events.events)
            case "gap":
                self._pending.append(gaps.from_wire(frame.gap))
            case "caught_up":
                self.is_caught_up = True
            case "fell_behind":
                self.is_caught_up = False
        self._resume_offset = frame.next_offset
        self._request.start.CopyFrom(wire.Position(offset=frame.next_offset))
        if not self._pending:
            self.next_offset = frame.next_offset
        if self._on_frame is not None:
            self._on_frame(frame)
        if frame.HasField("draining"):
            raise draining(frame.draining.retry_after)
