"""Batches: events that travel together, as rows or as columns. What they mean is the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from downlink import columns
from downlink.v1 import ingest_service_pb2 as ingest
from downlink.v1 import types_pb2 as wire

Events: TypeAlias = Sequence[wire.Event] | wire.EventColumns


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that travel together."""

    events: Events

    def __len__(self) -> int:
        if isinstance(self.events, wire.EventColumns):
            return len(self.events.signal_indexes)
        return len(self.events)

    def rows(self) -> tuple[wire.Event, ...]:
        """The events one by one."""
        return tuple(columns.rows(self.events) if isinstance(self.events, wire.EventColumns) else self.events)

    def to_wire(self, sequence: int) -> ingest.AppendStreamRequest:
        """The message that takes it to the log."""
        batch = ingest.AppendStreamRequest.Batch
        if isinstance(self.events, wire.EventColumns):
            return ingest.AppendStreamRequest(batch=batch(sequence=sequence, columns=self.events))
        return ingest.AppendStreamRequest(batch=batch(sequence=sequence, events=self.events))
