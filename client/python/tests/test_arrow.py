"""Tables hold what rows hold, whether the server sends rows or columns."""

import struct
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from downlink import Client, Event, Position, arrow
from downlink.v1 import types_pb2 as wire
from test_events import YEAR_1_NS, bits, difficult_events

SECOND_NS = 1_000_000_000
# The first and the last nanosecond that 64 bits hold; whole seconds are what is asked for.
FIRST_NS = -(2**63) // SECOND_NS * SECOND_NS + SECOND_NS
LAST_NS = 2**63 // SECOND_NS * SECOND_NS - 1


@pytest.fixture
def log(client: Client) -> list[Event]:
    """What is in the log: every value of every kind, in times that fit, and a few more events on the same signals."""
    sent = difficult_events()
    sent[0] = Event("a", sent[0].value, FIRST_NS, attributes={"": "", "crew": "café"})
    sent[1] = Event("b", sent[1].value, LAST_NS, trace_context=bytes(range(25)))
    client.append(sent)
    client.append([Event("tank", number / 3, number) for number in range(500)])
    return list(client.read())


def row(row: dict[str, Any]) -> tuple[Any, ...]:
    """A row of a table, in the form that `content` has."""
    values = {kind: row[f"{kind}_value"] for kind in ("double", "int", "bool", "string", "bytes")}
    [value] = [value for value in values.values() if value is not None]
    assert values[row["kind"]] is value
    return (
        row["offset"],
        row["signal_id"],
        row["signal"],
        bits(value),
        row["event_time"],
        row["ingest_time"],
        row["quality"],
        row["source"],
        dict(row["attributes"] or {}),
        row["trace_context"] or b"",
    )


def content(event: Event) -> tuple[Any, ...]:
    return (
        event.offset,
        event.signal_id,
        event.signal,
        bits(event.value),
        event.event_time_ns,
        event.ingest_time_ns,
        event.quality.name,
        event.source,
        dict(event.attributes),
        event.trace_context,
    )


def rows(table: pa.Table) -> list[tuple[Any, ...]]:
    for name in ("event_time", "ingest_time"):
        assert table.schema.field(name).type == pa.timestamp("ns", "UTC")
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(pa.int64()))
    return list(map(row, table.to_pylist()))


def test_a_table_holds_what_rows_hold(client: Client, log: list[Event]) -> None:
    table = client.read().to_arrow()
    assert table.schema == arrow.schema("ns")
    table.validate(full=True)
    assert rows(table) == list(map(content, log))


def test_a_table_of_a_part_of_the_log_holds_that_part(client: Client, log: list[Event]) -> None:
    table = client.read("tank", "values/*", start=5, end=200).to_arrow()
    wanted = [event for event in log if event.signal.startswith(("tank", "values/")) and 5 <= event.offset < 200]
    assert len(wanted) > 100
    assert rows(table) == list(map(content, wanted))
    assert table["signal"].combine_chunks().dictionary.to_pylist() == list(dict.fromkeys(e.signal for e in wanted))


def test_an_empty_table_has_the_same_columns(client: Client) -> None:
    table = client.read(start=Position.HEAD).to_arrow()
    assert (table.num_rows, table.schema) == (0, arrow.schema("ns"))


def test_a_time_that_does_not_fit_is_refused_in_nanoseconds_and_kept_in_microseconds(client: Client) -> None:
    client.append([Event("a", 1, 0), Event("a", 2, YEAR_1_NS + 1_999)])
    with pytest.raises(OverflowError, match="offset 2 does not fit"):
        client.read().to_arrow()
    table = client.read().to_arrow(time_unit="us")
    assert table["event_time"].cast(pa.int64()).to_pylist() == [0, YEAR_1_NS // 1000 + 1]


def test_columns_may_leave_out_what_is_the_same_everywhere() -> None:
    columns = wire.EventColumns(
        first_offset=7,
        signals=["b", "a"],
        signal_ids=[2, 1],
        signal_indexes=[1, 0, 1],
        event_time_second_deltas=[5, 1, -2],
        event_time_nanos=[0, 1, 2],
        ingest_time_second_deltas=[9, 0, 0],
        double_values=[0.5, 1.5, 2.5],
    )
    batch = arrow.batch(columns, "ns")
    assert batch["offset"].to_pylist() == [7, 8, 9]
    assert batch["signal"].to_pylist() == ["a", "b", "a"]
    assert batch["signal_id"].to_pylist() == [1, 2, 1]
    assert batch["event_time"].cast(pa.int64()).to_pylist() == [5 * SECOND_NS, 6 * SECOND_NS + 1, 4 * SECOND_NS + 2]
    assert batch["ingest_time"].cast(pa.int64()).to_pylist() == [9 * SECOND_NS] * 3
    assert batch["trace_context"].to_pylist() == [None] * 3
    assert batch["double_value"].to_pylist() == [0.5, 1.5, 2.5]
    assert batch["source"].to_pylist() == [""] * 3
    assert batch["quality"].to_pylist() == ["GOOD"] * 3
    assert batch["kind"].to_pylist() == ["double"] * 3


def test_a_frame_holds_what_rows_hold(client: Client, log: list[Event]) -> None:
    frame = client.read().to_pandas()
    assert len(frame) == len(log)
    assert str(frame["event_time"].dtype) == "datetime64[ns, UTC]"
    assert frame["int_value"].dtype == pd.Int64Dtype()
    assert frame["bool_value"].dtype == pd.BooleanDtype()
    assert isinstance(frame["signal"].dtype, pd.CategoricalDtype)
    for event, (_, at) in zip(log, frame.iterrows(), strict=True):
        assert (at["offset"], at["signal"], at["source"]) == (event.offset, event.signal, event.source)
        assert at["event_time"].value == event.event_time_ns
        value = at[f"{at['kind']}_value"]
        assert bits(value.item() if hasattr(value, "item") else value) == bits(event.value)
        assert (at["attributes"] or {}) == event.attributes


def test_a_frame_is_ready_for_analysis(client: Client, log: list[Event]) -> None:
    tank = client.read("tank").to_pandas().set_index("event_time")["double_value"]
    assert tank.dtype == "float64"
    assert struct.pack("<d", tank.max()) == struct.pack("<d", 499 / 3)
    assert len(log) > 500
