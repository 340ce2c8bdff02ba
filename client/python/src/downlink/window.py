"""What has been handed over and is not yet settled: an appender's state, without its input and output."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from downlink.batch import Batch
from downlink.errors import AcknowledgedLostError, DownlinkError, LogReplacedError, ProtocolError, from_problem
from downlink.v1 import ingest_service_pb2 as ingest
from downlink.v1 import types_pb2 as wire


@dataclass(frozen=True, slots=True)
class Totals:
    """What became of an appender's events so far."""

    batches: int = 0
    """Batches that are settled: on disk or refused."""
    durable_events: int = 0
    """Events that are on disk."""
    rejected_events: int = 0
    """Events that were refused."""
    last_offset: int = 0
    """The offset of the newest event on disk; 0: none."""
    reconnects: int = 0
    """How often the connection had to be made again."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A batch that the server refused, or a part of it."""

    sequence: int
    """Which batch."""
    events: tuple[wire.Event, ...]
    """The refused events, as they travelled."""
    errors: tuple[DownlinkError, ...]
    """Why: one for each event, or one for all of them."""


@dataclass(slots=True)
class _Pending:
    batch: Batch
    rejected_events: int = 0


@dataclass(slots=True)
class Window:
    """The batches in flight, oldest first, and what is known of those before them."""

    log_id: str = ""
    batches: int = 0
    durable_events: int = 0
    rejected_events: int = 0
    last_offset: int = 0
    _pending: deque[_Pending] = field(default_factory=deque)
    # How many of the pending have been sent over the present connection.
    _sent: int = 0
    # Every batch up to this sequence is on disk or refused.
    _settled_sequence: int = 0
    # How many batches at the very end of the settled ones were refused as a whole: the log need not remember
    # their sequences over a restart.
    _refused_tail: int = 0

    def __len__(self) -> int:
        return len(self._pending)

    def push(self, batch: Batch) -> None:
        """Takes a batch over. It gets the next sequence."""
        self._pending.append(_Pending(batch))

    def next_to_send(self) -> tuple[int, Batch] | None:
        """The next batch to send over the present connection, and its sequence."""
        if self._sent == len(self._pending):
            return None
        self._sent += 1
        return self._settled_sequence + self._sent, self._pending[self._sent - 1].batch

    def disconnected(self) -> None:
        """Forgets what has been sent: the connection is gone."""
        self._sent = 0

    def opened(self, opened: ingest.AppendStreamResponse.Opened) -> None:
        """Takes note of a fresh connection: the log says what it has, the rest is to be sent again."""
        durable = opened.last_durable_sequence
        self._sent = 0
        if not self.log_id:
            self.log_id, self._settled_sequence = opened.log_id, durable
        if self.log_id != opened.log_id:
            raise LogReplacedError(self.log_id, opened.log_id)
        if durable + self._refused_tail < self._settled_sequence:
            raise AcknowledgedLostError(durable + 1, self._settled_sequence - self._refused_tail)
        # Refused batches that the log has forgotten give their sequences free: the next batches get them.
        forgotten = max(0, self._settled_sequence - durable)
        self._settled_sequence -= forgotten
        self._refused_tail -= forgotten
        self._settle(durable, opened.last_offset)

    def acked(self, ack: ingest.AppendStreamResponse.Ack) -> None:
        """Takes note of an acknowledgement."""
        if ack.through_sequence > self._settled_sequence + self._sent:
            raise ProtocolError(f"an acknowledgement of batch {ack.through_sequence}, never sent")
        self._settle(ack.through_sequence, ack.last_offset)

    def rejected(self, reject: ingest.AppendStreamResponse.Reject) -> Rejected | None:
        """Takes note of a refusal, and gives it back unless it was known already. A later `Ack` settles the batch."""
        place = reject.sequence - self._settled_sequence - 1
        if not 0 <= place < len(self._pending):
            raise ProtocolError(f"a refusal of batch {reject.sequence}, not in flight")
        pending = self._pending[place]
        is_known = pending.rejected_events > 0
        events = pending.batch.rows()
        if reject.rejections:
            indexes = [one.index for one in reject.rejections]
            if len(indexes) > len(events) or max(indexes) >= len(events):
                raise ProtocolError(f"refusals of events that batch {reject.sequence} does not have")
            events = tuple(events[index] for index in indexes)
            errors = tuple(from_problem(one.problem) for one in reject.rejections)
        else:
            errors = (from_problem(reject.problem),)
        pending.rejected_events = len(events)
        return None if is_known else Rejected(reject.sequence, events, errors)

    def _settle(self, through: int, last_offset: int) -> None:
        count = max(0, through - self._settled_sequence)
        if count > len(self._pending):
            raise ProtocolError(f"batch {through} of this producer, which it has not sent; do two go by one name?")
        for _ in range(count):
            pending = self._pending.popleft()
            self.rejected_events += pending.rejected_events
            self.durable_events += len(pending.batch) - pending.rejected_events
            is_refused = pending.rejected_events == len(pending.batch)
            self._refused_tail = self._refused_tail + 1 if is_refused else 0
        self._settled_sequence += count
        self._sent = max(0, self._sent - count)
        self.batches += count
        self.last_offset = max(self.last_offset, last_offset)
