"""The appender: many events in, each in the log exactly once, whatever breaks meanwhile."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from typing_extensions import Self

from downlink import event as events
from downlink import trace
from downlink.batch import Batch
from downlink.connection import responses
from downlink.errors import DownlinkError, RejectedError, draining, from_problem
from downlink.event import Event
from downlink.retry import Patience
from downlink.v1 import ingest_service_pb2 as ingest
from downlink.v1 import types_pb2 as wire
from downlink.window import Rejected, Totals, Window

if TYPE_CHECKING:
    from downlink.client import Client
    from downlink.table import Table

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
# What is around an event in a batch, and around a batch in a message.
EVENT_FRAME_BYTES = 8
BATCH_FRAME_BYTES = 64
# How long a server may take to end a stream that this side has closed.
CLOSE_TIMEOUT_SECONDS = 5


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where a producer stood when its appender was opened."""

    durable_events: int
    """How many events of this producer and epoch are on disk: a source that is a file goes on behind them."""
    last_sequence: int
    """The newest sequence on disk; 0: none."""
    last_offset: int
    """The offset of the last event on disk; 0: none."""
    log_id: str
    """The identity of the log."""


@dataclass(slots=True)
class _Conversation:
    """One `AppendStream` call."""

    is_open: bool = False
    is_over: bool = False
    draining: DownlinkError | None = None


class Appender:
    """A stream of appends. Any thread may append. `close`, or the end of a `with`, waits until everything is on disk.

    `producer_id`: the producer's name for itself, stable across its restarts: what it has on disk is never kept twice.
    Empty: a name that nobody else has, so that at least retries are harmless.
    `producer_epoch`: a new epoch starts afresh and fences every lower one.
    `batch_events_max`, `batch_bytes_max`: how much a batch may hold; the server's own limits hold as well. A larger
    event travels alone.
    `batch_delay_seconds`: how long an event may wait for company.
    `window_batches`: batches handed over and not yet acknowledged, at most; then `append` waits, which is the
    back-pressure. Memory is bounded by `window_batches` times `batch_bytes_max`, and an event.
    `retry_for_seconds`: for how long to try again while nothing gets through.
    `on_reject`: is called, in the appender's thread, with refused events; the good ones of their batch are kept. None:
    a batch with a bad event is refused as a whole, and `RejectedError` ends the appender.

    An error is final, and may concern an earlier event.
    """

    def __init__(
        self,
        client: Client,
        *,
        producer_id: str = "",
        producer_epoch: int = 0,
        batch_events_max: int = 1000,
        batch_bytes_max: int = 512 << 10,
        batch_delay_seconds: float = 0.005,
        window_batches: int = 16,
        retry_for_seconds: float = 60.0,
        on_reject: Callable[[Rejected], None] | None = None,
    ) -> None:
        connection = client.connection
        self._connection = connection
        self._open = ingest.AppendStreamRequest.Open(
            producer_id=producer_id or f"python/{uuid.uuid4()}",
            producer_epoch=producer_epoch,
            allow_partial=on_reject is not None,
        )
        self._batch_delay_seconds = batch_delay_seconds
        self._window_batches = max(1, window_batches)
        self._retry_for_seconds = retry_for_seconds
        self._on_reject = on_reject
        # Guards all that follows; told of every change.
        self._changed = threading.Condition()
        self._window = Window()
        self._batch: list[wire.Event] = []
        self._batch_bytes = 0
        self._due = 0.0
        self._sealed_batches = 0
        self._events_max, self._bytes_max = batch_events_max, batch_bytes_max
        self._resume_point: ResumePoint | None = None
        self._reconnects = 0
        self._closing = False
        self._failure: BaseException | None = None
        self._call: grpc.Call | None = None
        # A server that is not there at all is told of sooner than one that goes away for a while.
        self._patience = Patience(min(retry_for_seconds, connection.retry_for_seconds))
        self._thread = threading.Thread(target=self._run, name="downlink-appender", daemon=True)
        self._thread.start()
        with self._changed:
            self._wait_until(lambda: self._resume_point is not None)

    @property
    def resume_point(self) -> ResumePoint:
        """Where the producer stood when this appender was opened."""
        assert self._resume_point is not None, "the constructor waits for it"
        return self._resume_point

    @property
    def totals(self) -> Totals:
        """What became of the events so far."""
        with self._changed:
            window = self._window
            return Totals(
                window.batches, window.durable_events, window.rejected_events, window.last_offset, self._reconnects
            )

    def append(self, event: Event) -> None:
        """Hands an event over. Waits while the window is full."""
        message = events.to_wire(event)
        if not message.trace_context:
            message.trace_context = trace.kept()
        size = message.ByteSize() + EVENT_FRAME_BYTES
        with self._changed:
            while self._batch and (len(self._batch) >= self._events_max or self._batch_bytes + size > self._bytes_max):
                self._wait_until(self._can_seal)
                self._seal()
            self._check()
            if not self._batch:
                self._due = time.monotonic() + self._batch_delay_seconds
                self._changed.notify_all()
            self._batch.append(message)
            self._batch_bytes += size

    def extend(self, events: Iterable[Event]) -> None:
        """Hands events over, one after the other."""
        for event in events:
            self.append(event)

    def append_table(self, table: Table) -> None:
        """Hands the rows of a table over as columns, which costs a fraction of appending them one by one.

        A table of Arrow, a frame of pandas, or a mapping of names to arrays, with the columns that `to_arrow()` and
        `to_pandas()` give (see the README). Waits while the window is full. Needs `downlink[arrow]`.
        """
        from downlink.table import batches  # noqa: PLC0415 Its packages are optional.

        for batch in batches(table, self._events_max, self._bytes_max):
            with self._changed:
                # What was appended before comes first.
                while self._batch:
                    self._wait_until(self._can_seal)
                    self._seal()
                self._wait_until(self._can_seal)
                self._check()
                self._push(batch)

    def flush(self) -> Totals:
        """Waits until everything handed over is on disk."""
        with self._changed:
            self._check()
            if self._batch:
                self._wait_until(self._can_seal)
                self._seal()
            batches = self._sealed_batches
            self._wait_until(lambda: self._window.batches >= batches)
        return self.totals

    def close(self) -> Totals:
        """Waits until everything handed over is on disk, and closes the stream."""
        try:
            if not self._closing:
                self.flush()
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            self._thread.join(CLOSE_TIMEOUT_SECONDS)
            if self._call is not None:
                self._call.cancel()
        return self.totals

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    # The caller's side; with the lock held.

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closing:
            raise ValueError("the appender is closed")

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._failure is not None or condition())
        if self._failure is not None:
            raise self._failure

    def _can_seal(self) -> bool:
        return len(self._window) < self._window_batches

    def _seal(self) -> None:
        """Makes the batch ready to go. Another thread may have done so meanwhile."""
        if self._batch:
            batch = Batch(self._batch)
            self._batch, self._batch_bytes = [], 0
            self._push(batch)

    def _push(self, batch: Batch) -> None:
        self._window.push(batch)
        self._sealed_batches += 1
        self._changed.notify_all()

    # The appender's own thread.

    def _run(self) -> None:
        try:
            while not self._is_finished():
                try:
                    self._converse()
                except DownlinkError as error:
                    self._wait_to_retry(error)
        except BaseException as failure:
            with self._changed:
                self._failure = failure
                self._changed.notify_all()

    def _is_finished(self) -> bool:
        return self._closing and not self._window

    def _converse(self) -> None:
        """Sends and settles until the connection ends, which is an error unless everything is finished."""
        conversation = _Conversation()
        with self._changed:
            self._window.disconnected()
        call = self._connection.ingest.AppendStream(self._requests(conversation))
        self._call = call
        try:
            for response in responses(call):
                self._answered(response, conversation)
        finally:
            with self._changed:
                conversation.is_over = True
                self._changed.notify_all()
            call.cancel()
        raise conversation.draining or DownlinkError("the server has ended the stream", code=UNAVAILABLE)

    def _requests(self, conversation: _Conversation) -> Iterator[ingest.AppendStreamRequest]:
        """What goes up; runs in a thread of grpc, which takes the next when it has sent the last."""
        yield ingest.AppendStreamRequest(open=self._open)
        while True:
            with self._changed:
                batch = self._next_to_send(conversation)
            if batch is None:
                return
            sequence, events = batch
            yield events.to_wire(sequence)

    def _next_to_send(self, conversation: _Conversation) -> tuple[int, Batch] | None:
        """Waits for a batch to send; None when there is nothing more to say in this conversation."""
        while not (conversation.is_over or conversation.draining or self._is_finished()):
            is_due = bool(self._batch) and time.monotonic() >= self._due
            if is_due and self._can_seal():
                self._seal()
            # Before the answer to `Open` it is not known what is on disk already.
            batch = self._window.next_to_send() if conversation.is_open else None
            if batch is not None:
                return batch
            is_waiting = bool(self._batch) and not is_due
            self._changed.wait(max(0, self._due - time.monotonic()) if is_waiting else None)
        return None

    def _answered(self, response: ingest.AppendStreamResponse, conversation: _Conversation) -> None:
        rejected = None
        with self._changed:
            match response.WhichOneof("message"):
                case "opened":
                    self._opened(response.opened)
                    conversation.is_open = True
                case "ack":
                    self._window.acked(response.ack)
                    self._patience.succeeded()
                case "reject" if response.reject.fatal:
                    raise from_problem(response.reject.problem)
                case "reject":
                    rejected = self._window.rejected(response.reject)
                case "draining":
                    conversation.draining = draining(response.draining.retry_after)
            self._changed.notify_all()
        if rejected is not None and self._on_reject is None:
            raise RejectedError(rejected)
        if rejected is not None and self._on_reject is not None:
            self._on_reject(rejected)

    def _opened(self, opened: ingest.AppendStreamResponse.Opened) -> None:
        settled_before = self._window.batches
        self._window.opened(opened)
        if self._resume_point is None:
            self._resume_point = ResumePoint(
                opened.durable_events, opened.last_durable_sequence, opened.last_offset, opened.log_id
            )
            self._events_max = min(self._events_max, opened.max_batch_events or self._events_max)
            bytes_max = opened.max_batch_bytes - BATCH_FRAME_BYTES
            self._bytes_max = min(self._bytes_max, bytes_max) if bytes_max > 0 else self._bytes_max
            self._patience = Patience(self._retry_for_seconds)
        else:
            self._reconnects += 1
        if self._window.batches > settled_before or not self._window:
            self._patience.succeeded()

    def _wait_to_retry(self, error: DownlinkError) -> None:
        """Waits before the next try, or gives up."""
        with self._changed:
            if self._is_finished():
                return
            # A gap in the sequence closes when the stream is opened anew: that tells what is missing.
            delay_seconds = self._patience.delay_seconds(error, is_mended=error.reason == "SEQUENCE_GAP")
            self._changed.wait_for(self._is_finished, delay_seconds)
