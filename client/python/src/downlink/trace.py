"""Traces: calls say which span they belong to, by the W3C's Trace Context, and appended events keep it.

The span is the one of `traceparent`, or else the current one of OpenTelemetry, if `opentelemetry-api` is installed.
Calls become spans of their own by OpenTelemetry's instrumentation of gRPC, as those of any other program.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeVar

import grpc

try:
    from opentelemetry import trace as opentelemetry
except ImportError:  # without it there is no current span
    opentelemetry = None  # type: ignore[assignment]

EXAMPLE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FORM = re.compile("00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
SAMPLED = 1

Answer = TypeVar("Answer")


class Place(NamedTuple):
    """A span, as calls tell of it."""

    traceparent: str
    tracestate: str = ""


_explicit: ContextVar[Place | None] = ContextVar("downlink_traceparent", default=None)


@contextmanager
def traceparent(header: str) -> Iterator[None]:
    """Within it, calls and appended events belong to the span of this header, whatever OpenTelemetry says."""
    if not FORM.fullmatch(header):
        raise ValueError(
            f"{header!r} is no traceparent, such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        )
    token = _explicit.set(Place(header))
    try:
        yield
    finally:
        _explicit.reset(token)


def current() -> Place | None:
    """Where the caller is, if that is known."""
    explicit = _explicit.get()
    if explicit is not None or opentelemetry is None:
        return explicit
    span = opentelemetry.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    header = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
    return Place(header, span.trace_state.to_header())


def kept() -> bytes:
    """The same as events keep it: nothing unless the trace is to be kept."""
    place = current()
    parts = FORM.fullmatch(place.traceparent) if place else None
    if not parts or not int(parts[3], 16) & SAMPLED:
        return b""
    return bytes.fromhex("".join(parts.groups()))


class Traced(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor):
    """Tells the server with each call where it belongs."""

    def intercept_unary_unary(
        self, continuation: Callable[..., Answer], client_call_details: grpc.ClientCallDetails, request: object
    ) -> Answer:
        """A call."""
        return continuation(_told(client_call_details), request)

    def intercept_unary_stream(
        self, continuation: Callable[..., Answer], client_call_details: grpc.ClientCallDetails, request: object
    ) -> Answer:
        """A stream of the server's."""
        return continuation(_told(client_call_details), request)

    def intercept_stream_stream(
        self, continuation: Callable[..., Answer], client_call_details: grpc.ClientCallDetails, request_iterator: object
    ) -> Answer:
        """A stream of appends."""
        return continuation(_told(client_call_details), request_iterator)


class _Details(grpc.ClientCallDetails):
    """The details of a call with more metadata."""

    def __init__(self, details: grpc.ClientCallDetails, more: list[tuple[str, str]]) -> None:
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = (*(details.metadata or ()), *more)
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready
        self.compression = details.compression


def _told(details: grpc.ClientCallDetails) -> grpc.ClientCallDetails:
    place = current()
    if place is None:
        return details
    return _Details(details, [(name, value) for name, value in place._asdict().items() if value])
