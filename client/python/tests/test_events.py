"""What goes into the log comes out of it, bit for bit."""

import struct
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from downlink import Client, Event, Position, Quality, Value, to_datetime, to_ns

YEAR_1_NS = to_ns(datetime(1, 1, 1, tzinfo=timezone.utc))
YEAR_9999_END_NS = to_ns(datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)) + 999_999_999


def double(bits: int) -> float:
    number: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return number


VALUES: list[Value] = [
    *map(double, (0x7FF8_DEAD_BEEF_0001, 0xFFF8_0000_0000_0001, 0x7FF0_0000_0000_0000, 1)),
    *(0.0, -0.0, 0.1, -1e308, 1.0),
    *(-(2**63), 2**63 - 1, -1, 0, 1),
    *(False, True),
    *("", "line\nbreak, \0 and 🛰", "x" * 100_000),
    *(b"", bytes(range(256))),
]


def bits(value: Value) -> tuple[type, bytes]:
    """The kind and every bit of a value."""
    match value:
        case float():
            return float, struct.pack("<d", value)
        case int():  # And bool, whose type tells.
            return type(value), struct.pack("<q", value)
        case str():
            return str, value.encode()
        case _:
            return bytes, value


def difficult_events() -> list[Event]:
    """An event for each value, each with something else that a careless client would change."""
    start_ns = to_ns(datetime(2018, 10, 12, 11, 40, tzinfo=timezone.utc))
    events = [Event(f"values/{number}", value, start_ns + number) for number, value in enumerate(VALUES)]
    events[0] = Event("a", VALUES[0], YEAR_1_NS, attributes={"": "", "crew": "café", "empty": ""})
    events[1] = Event("b", VALUES[1], YEAR_9999_END_NS, trace_context=bytes(range(25)))
    events[2] = Event("c", VALUES[2], -1, quality=Quality.BAD, source="lightstreamer/ISSLIVE")
    events[3] = Event("c", VALUES[3], start_ns, quality=Quality.STALE, source="lightstreamer/ISSLIVE")
    return events


def content(event: Event) -> tuple[Any, ...]:
    """What the writer said."""
    return (
        event.signal,
        bits(event.value),
        event.event_time_ns,
        event.quality,
        event.source,
        dict(event.attributes),
        event.trace_context,
    )


def test_every_value_comes_back_bit_for_bit(client: Client) -> None:
    sent = difficult_events()
    appended = client.append(sent)
    assert (appended.first_offset, appended.last_offset, appended.head_offset) == (1, len(sent), len(sent) + 1)
    replay = client.read()
    received = list(replay)
    assert list(map(content, received)) == list(map(content, sent))
    assert [event.offset for event in received] == list(range(1, len(sent) + 1))
    assert replay.end is not None
    assert (replay.end.next_offset, replay.end.scanned_events) == (len(sent) + 1, len(sent))
    ingested = [event.ingest_time_ns or 0 for event in received]
    assert ingested == sorted(ingested)
    assert ingested[0] > 0


def test_an_event_without_a_time_gets_that_of_the_server(client: Client) -> None:
    before = datetime.now(timezone.utc)
    client.append([Event("a", 1)])
    [event] = client.read()
    assert event.event_time is not None
    # The server runs on the same machine.
    assert before <= event.event_time <= datetime.now(timezone.utc)


def test_the_same_request_again_is_not_kept_again(client: Client) -> None:
    request_id = uuid.uuid4()
    first = client.append([Event("a", 1)], request_id=request_id)
    again = client.append([Event("a", 1)], request_id=str(request_id))
    assert again.is_duplicate
    assert not first.is_duplicate
    assert again.first_offset == first.first_offset
    assert client.info().head_offset == 2


def test_the_good_events_of_a_batch_are_kept_if_asked_for(client: Client) -> None:
    appended = client.append([Event("a", 1), Event("", 2), Event("a", 3)], allow_partial=True)
    [rejection] = appended.rejections
    assert (rejection.index, rejection.error.reason) == (1, "INVALID_EVENT")
    assert [event.value for event in client.read()] == [1, 3]


def test_a_replay_is_bounded_and_filtered(client: Client) -> None:
    client.append([Event(f"tank/{number % 2}", number, number, source=f"s{number % 3}") for number in range(12)])

    def values(*signals: str, **options: Any) -> list[Value]:  # noqa: ANN401
        return [event.value for event in client.read(*signals, **options)]

    assert values("tank/1") == [1, 3, 5, 7, 9, 11]
    assert values("tank/*", sources=["s0"]) == [0, 3, 6, 9]
    assert values("tank/0", start=4, end=9) == [4, 6]
    assert values(start=Position.offset(10), max_events=2) == [9, 10]
    assert values(start=Position.HEAD) == []
    assert values("nothing") == []


@pytest.mark.parametrize("value", [None, 1j, [1.0], object()])
def test_what_is_no_value_is_refused_rather_than_guessed(value: Any) -> None:  # noqa: ANN401
    with pytest.raises(TypeError, match="a value is a float, int, bool, str or bytes"):
        Client("127.0.0.1:1").append([Event("a", value)])


def test_times_are_exact_to_the_nanosecond_in_every_year() -> None:
    assert to_datetime(YEAR_1_NS) == datetime(1, 1, 1, tzinfo=timezone.utc)
    assert to_datetime(YEAR_9999_END_NS) == datetime.max.replace(tzinfo=timezone.utc)
    assert to_datetime(-1) == datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone.utc)
    time = datetime(2018, 10, 12, 13, 40, 0, 123_456, tzinfo=timezone(timedelta(hours=2)))
    assert to_ns(time) == 1_539_344_400_123_456_000
    assert Event("a", 1, 1_539_344_400_123_456_789).event_time == time
    with pytest.raises(ValueError, match="names no time zone"):
        to_ns(datetime(2018, 10, 12))
