"""Single appends: one batch, atomically, retried without harm."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from downlink import event as events
from downlink.connection import Connection
from downlink.errors import DownlinkError, from_problem
from downlink.event import Event
from downlink.v1 import ingest_service_pb2 as ingest


@dataclass(frozen=True, slots=True)
class Rejection:
    """An event that was not kept."""

    index: int
    """Its index in the batch, from 0."""
    error: DownlinkError
    """Why."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a batch."""

    first_offset: int
    """The offset of its first event; 0 when no event was kept."""
    last_offset: int
    """The offset of its last event; 0 when no event was kept."""
    head_offset: int
    """The offset the next event will get, as of this answer."""
    is_duplicate: bool
    """The batch was in the log already, under these offsets."""
    rejections: tuple[Rejection, ...]
    """The events that were not kept; only with `allow_partial`."""


def append(
    connection: Connection,
    batch: Iterable[Event],
    request_id: str | uuid.UUID | None,
    expected_head: int | None,
    allow_partial: bool,
) -> Appended:
    """Appends one batch. The id makes it harmless to try again."""
    request = ingest.AppendRequest(
        events=[events.to_wire(event) for event in batch],
        request_id=str(request_id or uuid.uuid4()),
        expected_head=expected_head,
        allow_partial=allow_partial,
    )
    answer: ingest.AppendResponse = connection.call(connection.ingest.Append, request)
    return Appended(
        first_offset=answer.first_offset,
        last_offset=answer.last_offset,
        head_offset=answer.head_offset,
        is_duplicate=answer.duplicate,
        rejections=tuple(Rejection(one.index, from_problem(one.problem)) for one in answer.rejections),
    )
