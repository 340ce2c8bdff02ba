"""Errors: every failure of a call, with the reason and the facts that the server gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from downlink.times import from_duration
from downlink.v1.errors_pb2 import ErrorReason, Problem

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration

    from downlink.gap import Gap
    from downlink.window import Rejected

DOMAIN = "downlink"
_DETAILS = "grpc-status-details-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_TRANSIENT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
_PASSING = {"DISK_FULL", "SLOW_CONSUMER"}


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field that breaks a rule."""

    field: str
    """Where, such as "events[3].signal"."""
    description: str
    """What is wrong with it; may be empty."""


class DownlinkError(Exception):
    """A call that failed."""

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        fields: tuple[FieldViolation, ...] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        """What was wrong and what to do, for people."""
        self.code = code
        """The gRPC code."""
        self.reason = reason
        """Why, as a name of `ErrorReason` without its prefix, such as "DISK_FULL". None: the server gave none."""
        self.metadata: Mapping[str, str] = dict(metadata or {})
        """Further facts, such as `expected`."""
        self.fields = fields
        """The fields in question."""
        self.retry_after = retry_after
        """When the server wants to be asked again."""

    @property
    def is_retryable(self) -> bool:
        """Whether the same again, a little later, can succeed."""
        return self.code in _TRANSIENT or self.reason in _PASSING

    def __str__(self) -> str:
        named = [violation for violation in self.fields if violation.field not in self.message]
        text = "; ".join([self.message, *(f"{violation.field}: {violation.description}" for violation in named)])
        return f"{text} [{self.reason or self.code.name}]"


class GapError(DownlinkError):
    """Offsets that cannot be delivered. The iteration can go on behind them: ask for the next event."""

    def __init__(self, gap: Gap) -> None:
        super().__init__(f"offsets {gap.first_offset} to {gap.last_offset} are missing", code=grpc.StatusCode.DATA_LOSS)
        self.gap = gap
        """What is missing and why."""

    def __str__(self) -> str:
        return f"{self.message} [{self.gap.reason.name}]"


class RejectedError(DownlinkError):
    """A batch of an appender was refused, with all its events."""

    def __init__(self, rejected: Rejected) -> None:
        first = rejected.errors[0]
        super().__init__(
            first.message, code=first.code, reason=first.reason, metadata=first.metadata, fields=first.fields
        )
        self.rejected = rejected
        """What was refused and why."""

    @property
    def is_retryable(self) -> bool:
        """The refusal is settled; the same again would be another batch."""
        return False


class LogReplacedError(DownlinkError):
    """The log behind the address is another one than before: drop your checkpoints."""

    def __init__(self, before: str, now: str) -> None:
        super().__init__(f"the log was {before} and is now {now}: it was made anew", code=grpc.StatusCode.DATA_LOSS)


class AcknowledgedLostError(DownlinkError):
    """The log has lost what it had acknowledged, as after a restore of an older backup."""

    def __init__(self, first: int, last: int) -> None:
        message = f"the log has lost batches {first} to {last}, which it had acknowledged"
        super().__init__(message, code=grpc.StatusCode.DATA_LOSS)


class ProtocolError(DownlinkError):
    """The server broke the rules of the API."""

    def __init__(self, what: str) -> None:
        message = f"the server answered with {what}; is it a Downlink server of this version?"
        super().__init__(message, code=grpc.StatusCode.INTERNAL)


def from_rpc_error(error: grpc.RpcError) -> DownlinkError:
    """What a failed call says, with the details that came with its status."""
    # grpc raises calls that have ended: an RpcError that knows what a Call knows.
    assert isinstance(error, grpc.Call)
    trailing = {key: value for key, value in error.trailing_metadata() or () if key == _DETAILS}
    try:
        status = Status.FromString(bytes(trailing.get(_DETAILS, b"")))
    except DecodeError:
        status = Status()
    info, bad_request, retry = ErrorInfo(), BadRequest(), RetryInfo()
    for detail in status.details:
        for message in (info, bad_request, retry):
            detail.Unpack(message)
    is_ours = info.domain == DOMAIN
    return DownlinkError(
        error.details() or error.code().name,
        code=error.code(),
        reason=info.reason if is_ours else None,
        metadata=info.metadata if is_ours else None,
        fields=tuple(FieldViolation(one.field, one.description) for one in bad_request.field_violations),
        retry_after=from_duration(retry.retry_delay) if retry.HasField("retry_delay") else None,
    )


def from_problem(problem: Problem) -> DownlinkError:
    """The same from an error about a part of a call."""
    reason = ErrorReason.Name(problem.reason).removeprefix("ERROR_REASON_") if problem.reason else None
    return DownlinkError(
        problem.message,
        code=_CODES.get(problem.code, grpc.StatusCode.UNKNOWN),
        reason=reason,
        metadata=problem.metadata,
        fields=(FieldViolation(problem.field, ""),) if problem.field else (),
    )


def draining(retry_after: Duration) -> DownlinkError:
    """A server that is about to stop."""
    return DownlinkError(
        "the server is about to stop",
        code=grpc.StatusCode.UNAVAILABLE,
        reason="DRAINING",
        retry_after=from_duration(retry_after),
    )
