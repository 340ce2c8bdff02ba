"""Tables to batches: what callers have in columns travels in columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from downlink.arrow import ATTRIBUTES, VALUES
from downlink.batch import Batch
from downlink.columns import KINDS, rows
from downlink.event import Quality
from downlink.times import SECOND_NS
from downlink.v1 import types_pb2 as wire

if TYPE_CHECKING:
    import pandas

Table: TypeAlias = "pa.Table | pa.RecordBatch | pandas.DataFrame | Mapping[str, Any]"
"""Events in columns."""

# What a table may have besides: the log gives it.
_OUTPUT_ONLY = {"offset", "signal_id", "ingest_time"}
_VALUE_COLUMNS = {f"{kind}_value" for kind in VALUES}
_INPUT = {"signal", "event_time", "value", "kind", "quality", "source", "attributes", "trace_context"} | _VALUE_COLUMNS
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": SECOND_NS}


def batches(table: Table, events_max: int, bytes_max: int) -> Iterator[Batch]:
    """The events of a table, in batches within these limits; an event that is larger travels alone."""
    whole = _arrow(table)
    for begin in range(0, whole.num_rows, events_max):
        yield from _batches(whole.slice(begin, events_max), begin, bytes_max)


def _batches(part: pa.Table, begin: int, bytes_max: int) -> Iterator[Batch]:
    columns = _columns(part, begin)
    if part.num_rows > 1 and columns.ByteSize() > bytes_max:
        half = part.num_rows // 2
        yield from _batches(part.slice(0, half), begin, bytes_max)
        yield from _batches(part.slice(half), begin + half, bytes_max)
        return
    times = part["event_time"] if "event_time" in part.column_names else None
    if times is None or times.null_count in (0, part.num_rows):
        yield Batch(columns)
        return
    # Where only some events have a time of their own, columns cannot say so.
    messages = list(rows(columns))
    for message, is_missing in zip(messages, times.is_null().to_pylist(), strict=True):
        if is_missing:
            message.ClearField("event_time")
    yield Batch(messages)


def _arrow(table: Table) -> pa.Table:
    """The table as one of Arrow's with known columns; a column that is one value stands for as many of it."""
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    if isinstance(table, pa.Table):
        given = dict(zip(table.column_names, table.columns, strict=True))
    elif isinstance(table, Mapping):
        given = dict(table)
    else:
        given = _frame(table)
    unknown = sorted(str(name) for name in given.keys() - _INPUT - _OUTPUT_ONLY)
    if unknown:
        raise ValueError(f"no column is called {', '.join(unknown)}: there are {', '.join(sorted(_INPUT))}")
    if "signal" not in given:
        raise ValueError("a table needs a column 'signal'")
    if ("value" in given) == ("kind" in given):
        raise ValueError("a table needs a column 'value', or 'kind' with those of the values, such as 'double_value'")
    lengths = {len(column) for column in given.values() if not _is_scalar(column)}
    if len(lengths) != 1:
        raise ValueError("the columns of a table have the same length, and one of them is no single value")
    [length] = lengths
    columns = {name: _column(name, column, length) for name, column in given.items() if name not in _OUTPUT_ONLY}
    return pa.table(columns)


def _frame(frame: pandas.DataFrame) -> dict[str, Any]:
    """The columns of a frame. An index that has a name is one of them, and so is one of times."""
    index = frame.index
    if any(name is not None for name in index.names) or index.dtype.kind == "M":
        frame = frame.reset_index()
    return {str(name): column for name, column in frame.items()}


def _is_scalar(column: Any) -> bool:  # noqa: ANN401
    return isinstance(column, str | bytes) or not hasattr(column, "__len__")


def _column(name: str, column: Any, length: int) -> pa.Array | pa.ChunkedArray:  # noqa: ANN401
    if _is_scalar(column):
        column = pa.repeat(pa.scalar(column), length)
    elif name == "attributes":
        # Arrow gives the pairs of a map, pandas dictionaries; nothing is None, or NaN.
        items = column.to_pylist() if hasattr(column, "to_pylist") else list(column)
        pairs = [None if item is None or isinstance(item, float) else list(dict(item).items()) for item in items]
        column = pa.array(pairs, ATTRIBUTES)
    elif not isinstance(column, pa.Array | pa.ChunkedArray):
        # NaN is a value, and not one that is missing.
        column = pa.array(column, from_pandas=False)
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _columns(part: pa.Table, begin: int) -> wire.EventColumns:
    """Rows of a table, the first of which is number `begin` of the whole, as columns as they travel."""
    columns = wire.EventColumns()
    _fill_names(columns.signals, columns.signal_indexes, _whole(part, "signal", begin).cast(pa.string()))
    names = set(part.column_names)
    if "event_time" in names and part["event_time"].null_count < part.num_rows:
        _fill_times(columns, part["event_time"])
    if "source" in names:
        _fill_names(columns.sources, columns.source_indexes, pc.fill_null(part["source"].cast(pa.string()), ""))
        _clear_if_usual(columns.sources, columns.source_indexes, "")
    if "trace_context" in names:
        contexts = pc.fill_null(part["trace_context"].cast(pa.binary()), b"")
        _fill_names(columns.trace_contexts, columns.trace_context_indexes, contexts)
        _clear_if_usual(columns.trace_contexts, columns.trace_context_indexes, b"")
    if "quality" in names:
        qualities = [_quality(given) for given in _whole(part, "quality", begin).to_pylist()]
        if any(quality is not Quality.GOOD for quality in qualities):
            columns.qualities.extend(quality.value for quality in qualities)
    if "attributes" in names:
        for index, attributes in enumerate(part["attributes"].to_pylist()):
            if attributes:
                columns.extras.append(wire.EventColumns.Extras(index=index, attributes=dict(attributes)))
    _fill_values(columns, part, begin)
    return columns


def _whole(part: pa.Table, name: str, begin: int) -> pa.ChunkedArray:
    """A column in which nothing is missing."""
    column = part[name]
    if column.null_count:
        row = begin + column.is_null().to_pylist().index(True)
        raise ValueError(f"row {row} has nothing in the column '{name}'")
    return column


def _fill_names(names: Any, indexes: Any, column: pa.ChunkedArray) -> None:  # noqa: ANN401
    encoded = column.combine_chunks().dictionary_encode()
    names.extend(encoded.dictionary.to_pylist())
    indexes.extend(encoded.indices.to_numpy().tolist())


def _clear_if_usual(names: Any, indexes: Any, usual: str | bytes) -> None:  # noqa: ANN401
    """An empty list of indexes is the first name everywhere; an empty one of names says that there are none."""
    if len(names) == 1:
        del indexes[:]
        if names[0] == usual:
            del names[:]


def _fill_times(columns: wire.EventColumns, times: pa.ChunkedArray) -> None:
    """Whole numbers are nanoseconds since the epoch; where there is no time, it is the epoch."""
    if pa.types.is_timestamp(times.type):
        if times.type.tz is None:
            raise ValueError("event_time names no time zone: localize it, as with tz_localize('UTC')")
        ticks = _TICKS[times.type.unit]
        numbers = times.cast(pa.int64())
    else:
        ticks, numbers = SECOND_NS, times.cast(pa.int64())
    seconds, fractions = np.divmod(pc.fill_null(numbers, 0).to_numpy(), ticks)
    columns.event_time_second_deltas.extend(np.diff(seconds, prepend=0).tolist())
    columns.event_time_nanos.extend((fractions * (SECOND_NS // ticks)).tolist())


def _quality(given: str | int) -> Quality:
    """A quality by its name or number."""
    if isinstance(given, str) and given not in Quality.__members__:
        raise ValueError(f"no quality is called '{given}': there are {', '.join(Quality.__members__)}")
    return Quality[given] if isinstance(given, str) else Quality(given)


def _fill_values(columns: wire.EventColumns, part: pa.Table, begin: int) -> None:
    if "value" in part.column_names:
        values = _whole(part, "value", begin)
        kind = _kind(values.type)
        if kind != "double":
            columns.kinds.extend([KINDS[f"{kind}_value"]] * part.num_rows)
        getattr(columns, f"{kind}_values").extend(values.cast(VALUES[kind]).to_pylist())
        return
    kinds = _whole(part, "kind", begin)
    given = kinds.to_pylist()
    unknown = set(given) - VALUES.keys()
    if unknown:
        raise ValueError(f"no kind is called {', '.join(map(repr, unknown))}: there are {', '.join(VALUES)}")
    if set(given) != {"double"}:
        columns.kinds.extend([KINDS[f"{kind}_value"] for kind in given])
    for kind in set(given):
        name = f"{kind}_value"
        if name not in part.column_names:
            raise ValueError(f"a table with events of kind {kind} needs a column '{name}'")
        values = part[name].filter(pc.equal(kinds, kind))
        if values.null_count:
            raise ValueError(f"an event of kind {kind} has nothing in the column '{name}'")
        getattr(columns, f"{kind}_values").extend(values.cast(VALUES[kind]).to_pylist())


def _kind(of: pa.DataType) -> str:
    """The kind of value that a column of this type holds."""
    if pa.types.is_floating(of):
        return "double"
    if pa.types.is_integer(of):
        return "int"
    if pa.types.is_boolean(of):
        return "bool"
    if pa.types.is_string(of) or pa.types.is_large_string(of) or pa.types.is_string_view(of):
        return "string"
    if pa.types.is_binary(of) or pa.types.is_large_binary(of):
        return "bytes"
    raise TypeError(f"a column of values holds floats, ints, bools, strings or bytes, not {of}")
