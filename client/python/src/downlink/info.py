"""Facts about the log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from downlink.times import from_timestamp, to_datetime
from downlink.v1 import log_service_pb2 as wire


class State(IntEnum):
    """What the log can do."""

    UNSPECIFIED = wire.GetLogInfoResponse.STATE_UNSPECIFIED
    """Something that this version does not know."""
    SERVING = wire.GetLogInfoResponse.STATE_SERVING
    """Append and read."""
    DISK_FULL = wire.GetLogInfoResponse.STATE_DISK_FULL
    """Read only, until there is room on the disk again."""
    READ_ONLY = wire.GetLogInfoResponse.STATE_READ_ONLY
    """Read only, until the server is restarted."""
    FOLLOWING = wire.GetLogInfoResponse.STATE_FOLLOWING
    """A read replica: it reads, and takes events from its primary only."""

    @classmethod
    def _missing_(cls, value: object) -> State:  # noqa: ARG003
        return cls.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class IngestTotals:
    """The books: received = appended + duplicates + rejected."""

    received_events: int
    appended_events: int
    duplicate_events: int
    rejected_events: int


@dataclass(frozen=True, slots=True)
class LogInfo:
    """Facts about the log, as of the answer."""

    log_id: str
    """Its identity: a UUID, given when it was made."""
    oldest_offset: int
    """The oldest offset kept."""
    head_offset: int
    """The offset the next event will get: 1 in an empty log."""
    durable_offset: int
    """Every event below this is on disk."""
    head_hash: bytes
    """The hash of all events below `hash_offset`; empty while nothing is known of it."""
    hash_offset: int
    """What `head_hash` is the hash of: moments behind the head, or at the first damage."""
    oldest_time: datetime | None
    """Ingest time of the oldest event; None in an empty log."""
    newest_time: datetime | None
    """Ingest time of the newest event; None in an empty log."""
    signals: int
    """How many signals have had an event."""
    segments: int
    """How many segments the log consists of."""
    sealed_segments: int
    """How many of them are sealed."""
    bytes_on_disk: int
    """Bytes the log takes on disk, indexes and free space inside files included."""
    payload_bytes: int
    """Bytes of the stored blocks alone."""
    totals: IngestTotals
    """The books."""
    state: State
    """What the log can do at present."""
    state_reason: str
    """Why, where the state is not SERVING."""
    commits: int
    """How many group commits the server has made since it started."""
    server_version: str
    """The server's version."""


def from_wire(message: wire.GetLogInfoResponse) -> LogInfo:
    """Facts as the log gives them."""
    totals = message.totals
    oldest = to_datetime(from_timestamp(message.oldest_time)) if message.HasField("oldest_time") else None
    newest = to_datetime(from_timestamp(message.newest_time)) if message.HasField("newest_time") else None
    return LogInfo(
        log_id=message.log_id,
        oldest_offset=message.oldest_offset,
        head_offset=message.head_offset,
        durable_offset=message.durable_offset,
        head_hash=message.head_hash,
        hash_offset=message.hash_offset,
        oldest_time=oldest,
        newest_time=newest,
        signals=message.signals,
        segments=message.segments,
        sealed_segments=message.sealed_segments,
        bytes_on_disk=message.bytes_on_disk,
        payload_bytes=message.payload_bytes,
        totals=IngestTotals(
            totals.received_events, totals.appended_events, totals.duplicate_events, totals.rejected_events
        ),
        state=State(message.state),
        state_reason=message.state_reason,
        commits=message.commits,
        server_version=message.server_version,
    )
