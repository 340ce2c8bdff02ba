"""Traces: an event keeps the span it was appended in."""

import pytest
from opentelemetry import trace as opentelemetry
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from downlink import Appender, Client, Event, traceparent

TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
HEADER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"


def trace_ids(client: Client) -> list[str | None]:
    return [event.trace_id for event in client.read("a")]


def test_an_event_keeps_the_span_that_is_named(client: Client) -> None:
    with traceparent(f"{HEADER}-01"):
        client.append([Event("a", 1)])
        with Appender(client) as appender:
            appender.append(Event("a", 2))
    with traceparent(f"{HEADER}-00"), Appender(client) as appender:  # which nobody keeps
        appender.append(Event("a", 3))
    client.append([Event("a", 4)])
    kept = "0af7651916cd43dd8448eb211c80319c"
    assert trace_ids(client) == [kept, kept, None, None]


def test_an_event_keeps_the_current_span_of_opentelemetry(client: Client) -> None:
    context = SpanContext(TRACE, 0x00F067AA0BA902B7, is_remote=False, trace_flags=TraceFlags(1))
    with opentelemetry.use_span(NonRecordingSpan(context)):
        client.append([Event("a", 1)])
        with Appender(client) as appender:
            appender.append(Event("a", 2))
            appender.append(Event("a", 3, trace_context=b"\1" * 25))
            with traceparent(f"{HEADER}-01"):
                appender.append(Event("a", 4))
    named = "0af7651916cd43dd8448eb211c80319c"
    assert trace_ids(client) == [f"{TRACE:032x}", f"{TRACE:032x}", "01" * 16, named]


@pytest.mark.parametrize("header", ["", "x", f"{HEADER}-1", f"{HEADER}-0G", f"00-{'0' * 32}-b7ad6b7169203331-01"])
def test_what_is_no_traceparent_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match="traceparent"), traceparent(header):
        pass
