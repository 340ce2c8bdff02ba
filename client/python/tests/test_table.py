"""What is appended as a table means what the same events mean one by one."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from downlink import Appender, Client, Event, Quality, Rejected, RejectedError
from downlink.table import Table
from test_events import content, difficult_events

NOON_NS = 1_539_345_600 * 10**9


def appended(client: Client, table: Table, **options: Any) -> list[Event]:  # noqa: ANN401
    """What the log has of a table."""
    start = client.info().head_offset
    with Appender(client, **options) as appender:
        appender.append_table(table)
    return list(client.read(start=start))


@pytest.fixture
def sent(client: Client) -> list[Event]:
    """Every value of every kind, in times that fit into nanoseconds, in the log one by one."""
    sent = difficult_events()
    sent[0] = Event("a", sent[0].value, -1, attributes={"": "", "crew": "café"})
    sent[1] = Event("b", sent[1].value, 2**62, quality=Quality.BAD, trace_context=bytes(range(25)))
    client.append(sent)
    return list(client.read())


@pytest.mark.parametrize("batch_events_max", [1000, 7, 1])
def test_a_table_that_was_read_comes_back_bit_for_bit(client: Client, sent: list[Event], batch_events_max: int) -> None:
    table = client.read().to_arrow()
    again = appended(client, table, batch_events_max=batch_events_max)
    assert list(map(content, again)) == list(map(content, sent))
    [record] = table.combine_chunks().to_batches()
    assert list(map(content, appended(client, record))) == list(map(content, sent))


def test_a_frame_that_was_read_comes_back_bit_for_bit(client: Client, sent: list[Event]) -> None:
    frame = client.read().to_pandas()
    assert list(map(content, appended(client, frame))) == list(map(content, sent))
    indexed = frame.set_index("event_time")
    assert list(map(content, appended(client, indexed))) == list(map(content, sent))


def test_arrays_go_in_with_single_values_for_all_of_them(client: Client) -> None:
    times = NOON_NS + np.arange(2_500) * 1_500_000_000
    table = {"signal": "tank", "event_time": times, "value": np.arange(2_500) / 3, "source": "pump"}
    events = appended(client, table)
    assert [event.event_time_ns for event in events] == times.tolist()
    assert [event.value for event in events] == [number / 3 for number in range(2_500)]
    assert {(event.signal, event.source, event.quality) for event in events} == {("tank", "pump", Quality.GOOD)}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([1, 2], np.uint8), [1, 2]),
        (pd.array([2**63 - 1, -(2**63)], "Int64"), [2**63 - 1, -(2**63)]),
        ([True, False], [True, False]),
        (np.array([0.5, 0.25], np.float32), [0.5, 0.25]),
        (pd.Series(["on", "off"], dtype="category"), ["on", "off"]),
        (pa.array([b"\0", b""], pa.large_binary()), [b"\0", b""]),
    ],
)
def test_the_type_of_a_column_decides_the_kind(client: Client, values: Any, expected: list[Any]) -> None:  # noqa: ANN401
    values = [event.value for event in appended(client, {"signal": ["a", "b"], "value": values})]
    assert values == expected
    assert list(map(type, values)) == list(map(type, expected))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_every_unit_are_exact(client: Client, unit: str) -> None:
    times = pa.array([-1, 0, 1_500_001], pa.timestamp(unit, "Europe/Berlin"))
    events = appended(client, {"signal": "a", "event_time": times, "value": [1, 2, 3]})
    tick = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    assert [event.event_time_ns for event in events] == [-tick, 0, 1_500_001 * tick]


def test_events_without_a_time_get_that_of_the_server(client: Client) -> None:
    times = pa.array([1, None, 3], pa.timestamp("ns", "UTC"))
    first, second, third = appended(client, {"signal": "a", "event_time": times, "value": [1, 2, 3]})
    assert (first.event_time_ns, third.event_time_ns) == (1, 3)
    # The server's clock, a little before the log takes it in.
    assert 0 <= (second.ingest_time_ns or 0) - (second.event_time_ns or 0) < 60 * 10**9
    nowhere = {"signal": "a", "event_time": times.slice(1, 1), "value": [4]}
    [event] = appended(client, nowhere)
    assert 0 <= (event.ingest_time_ns or 0) - (event.event_time_ns or 0) < 60 * 10**9


def test_order_is_kept_between_events_and_tables(client: Client) -> None:
    with Appender(client, batch_events_max=3, window_batches=2) as appender:
        for begin in range(0, 100, 10):
            appender.append(Event("a", begin))
            appender.append_table({"signal": "a", "value": list(range(begin + 1, begin + 10))})
    assert [event.value for event in client.read()] == list(range(100))


def test_batches_of_large_values_are_cut_to_the_limits(client: Client) -> None:
    values = ["x" * 100_000, *("y" * 400_000 for _ in range(5)), "z" * 900_000]
    events = appended(client, {"signal": "a", "value": values}, batch_bytes_max=450_000)
    assert [event.value for event in events] == values


def test_refused_events_of_a_table_are_handed_back_as_events(client: Client) -> None:
    rejected: list[Rejected] = []
    table = {"signal": ["a", "", "b", ""], "value": [1.5, 2.5, 3.5, 4.5], "event_time": [10, 11, 12, 13]}
    events = appended(client, table, on_reject=rejected.append)
    assert [event.value for event in events] == [1.5, 3.5]
    refused = [event for one in rejected for event in one.events]
    assert [(event.value.double_value, event.event_time.nanos) for event in refused] == [(2.5, 11), (4.5, 13)]
    with pytest.raises(RejectedError) as caught:
        appended(client, table)
    assert caught.value.reason == "INVALID_EVENT"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"value": [1]}, "needs a column 'signal'"),
        ({"signal": "a"}, "needs a column 'value'"),
        ({"signal": "a", "value": [1], "valeu": [2]}, "no column is called valeu"),
        ({"signal": "a", "value": 1}, "one of them is no single value"),
        ({"signal": ["a"], "value": [1, 2]}, "have the same length"),
        ({"signal": "a", "value": [1, None]}, "row 1 has nothing in the column 'value'"),
        ({"signal": "a", "value": [1], "quality": "FINE"}, "no quality is called 'FINE'"),
        ({"signal": "a", "value": [1], "quality": [7]}, "7 is not a valid Quality"),
        ({"signal": "a", "kind": "int", "double_value": [1.0]}, "needs a column 'int_value'"),
        ({"signal": "a", "kind": "complex", "double_value": [1.0]}, "no kind is called 'complex'"),
        ({"signal": "a", "value": [1], "event_time": np.array([0], "datetime64[ns]")}, "names no time zone"),
    ],
)
def test_what_is_no_table_of_events_is_refused(client: Client, table: dict[str, Any], said: str) -> None:
    with Appender(client) as appender, pytest.raises(ValueError, match=said):
        appender.append_table(table)
    assert client.info().head_offset == 1
