"""Gaps: offsets that cannot be delivered are announced between the events, never passed over in silence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from downlink.v1 import types_pb2 as wire


class GapReason(IntEnum):
    """Why offsets are missing."""

    UNSPECIFIED = wire.Gap.REASON_UNSPECIFIED
    """For a reason that this version does not know."""
    RETENTION = wire.Gap.REASON_RETENTION
    """Retention has removed them."""
    CORRUPTION = wire.Gap.REASON_CORRUPTION
    """They are damaged on disk. The events around them are whole."""

    @classmethod
    def _missing_(cls, value: object) -> GapReason:  # noqa: ARG003
        return cls.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets that are not delivered because they cannot be."""

    first_offset: int
    """The first missing offset."""
    last_offset: int
    """The last missing offset."""
    reason: GapReason
    """Why."""


def from_wire(message: wire.Gap) -> Gap:
    """A gap as the log announced it."""
    return Gap(message.first_offset, message.last_offset, GapReason(message.reason))
