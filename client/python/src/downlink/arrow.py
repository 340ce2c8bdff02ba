"""Columns to Arrow: a replay as one table, every value and time exact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from downlink import gap as gaps
from downlink.columns import KINDS, trace_contexts
from downlink.connection import Connection
from downlink.errors import GapError
from downlink.event import Quality
from downlink.gap import Gap
from downlink.replay import frames
from downlink.v1 import query_service_pb2 as query
from downlink.v1 import types_pb2 as wire

TimeUnit: TypeAlias = Literal["ns", "us"]

# The whole seconds that fit into 64 bits of nanoseconds: 1677-09-21 to 2262-04-11.
_SECOND_MIN, _SECOND_MAX = -(2**63) // 10**9 + 1, 2**63 // 10**9 - 1
VALUES = {
    "double": pa.float64(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "bytes": pa.binary(),
}
_QUALITIES = [quality.name for quality in sorted(Quality)]
_NAME = pa.dictionary(pa.int32(), pa.string())
ATTRIBUTES = pa.map_(pa.string(), pa.string())


def schema(time_unit: TimeUnit) -> pa.Schema:
    """The columns of a table, whatever is in it."""
    return pa.schema(
        [
            pa.field("offset", pa.uint64(), nullable=False),
            pa.field("signal", _NAME, nullable=False),
            pa.field("event_time", pa.timestamp(time_unit, "UTC"), nullable=False),
            pa.field("ingest_time", pa.timestamp(time_unit, "UTC"), nullable=False),
            pa.field("kind", _NAME, nullable=False),
            *(pa.field(f"{kind}_value", of) for kind, of in VALUES.items()),
            pa.field("quality", _NAME, nullable=False),
            pa.field("source", _NAME, nullable=False),
            pa.field("signal_id", pa.uint32(), nullable=False),
            pa.field("attributes", ATTRIBUTES),
            pa.field("trace_context", pa.binary()),
        ]
    )


def read(
    connection: Connection, request: query.ReadRequest, on_gap: Callable[[Gap], None] | None, time_unit: TimeUnit
) -> pa.Table:
    """Replays into a table."""
    in_columns = query.ReadRequest()
    in_columns.CopyFrom(request)
    in_columns.encoding = wire.ENCODING_COLUMNS
    batches = [batch(columns, time_unit) for columns in _columns(frames(connection, in_columns), on_gap)]
    return pa.Table.from_batches(batches, schema(time_unit)).unify_dictionaries().combine_chunks()


def _columns(replay: Iterable[query.ReadResponse], on_gap: Callable[[Gap], None] | None) -> Iterator[wire.EventColumns]:
    for frame in replay:
        match frame.WhichOneof("frame"):
            case "events":
                yield frame.events.columns
            case "gap":
                gap = gaps.from_wire(frame.gap)
                if on_gap is None:
                    raise GapError(gap)
                on_gap(gap)


def batch(columns: wire.EventColumns, time_unit: TimeUnit) -> pa.RecordBatch:
    """Columns as they travel, as columns of Arrow."""
    count = len(columns.signal_indexes)
    skips = _integers(columns.offset_skips, np.uint64, count)
    distances = np.cumsum(skips, dtype=np.uint64) + np.arange(count, dtype=np.uint64)
    first = np.uint64(columns.first_offset)
    offsets = first - distances if columns.descending else first + distances
    signals = _integers(columns.signal_indexes, np.int32, count)
    kinds = _integers(columns.kinds, np.int32, count, missing=wire.Value.DOUBLE_VALUE_FIELD_NUMBER)
    qualities = _integers(columns.qualities, np.int32, count, missing=Quality.GOOD)
    sources = _integers(columns.source_indexes, np.int32, count)
    values = {
        f"{kind}_value": _spread(getattr(columns, f"{kind}_values"), of, kinds == KINDS[f"{kind}_value"])
        for kind, of in VALUES.items()
    }
    attributes: list[Any] = [None] * count
    for extras in columns.extras:
        attributes[extras.index] = list(extras.attributes.items()) or None
    arrays = {
        "offset": pa.array(offsets),
        "signal": _names(signals, columns.signals),
        "event_time": _times(columns.event_time_second_deltas, columns.event_time_nanos, time_unit, offsets),
        "ingest_time": _times(columns.ingest_time_second_deltas, columns.ingest_time_nanos, time_unit, offsets),
        # Fields and qualities are numbered from 1.
        "kind": _names(kinds - 1, list(VALUES)),
        **values,
        "quality": _names(qualities - 1, _QUALITIES),
        "source": _names(sources, columns.sources or [""]),
        "signal_id": pa.array(_integers(columns.signal_ids, np.uint32, len(columns.signals))[signals]),
        "attributes": pa.array(attributes, ATTRIBUTES),
        "trace_context": pa.array([trace or None for trace in trace_contexts(columns)], pa.binary()),
    }
    fields = schema(time_unit)
    return pa.record_batch([arrays[name] for name in fields.names], schema=fields)


def _integers(packed: Any, dtype: Any, count: int, missing: int = 0) -> np.ndarray[Any, Any]:  # noqa: ANN401
    """Numbers as an array; an empty list stands for the same number everywhere."""
    return np.fromiter(packed, dtype, len(packed)) if packed else np.full(count, missing, dtype)


def _names(indexes: np.ndarray[Any, Any], names: Iterable[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(indexes), pa.array(list(names), pa.string()))


def _spread(packed: Any, of: pa.DataType, here: np.ndarray[Any, Any]) -> pa.Array:  # noqa: ANN401
    """The values of one kind, each at its event; nulls at the others."""
    places = pa.array(np.cumsum(here) - 1, mask=~here)
    return pa.array(list(packed), of).take(places)


def _times(deltas: Any, nanos: Any, time_unit: TimeUnit, offsets: np.ndarray[Any, Any]) -> pa.Array:  # noqa: ANN401
    seconds = np.cumsum(np.fromiter(deltas, np.int64, len(deltas)))
    fractions = _integers(nanos, np.int64, len(seconds))
    if time_unit == "us":
        ticks = seconds * 10**6 + fractions // 1000
    else:
        outside = (seconds < _SECOND_MIN) | (seconds > _SECOND_MAX)
        if outside.any():
            offset = offsets[outside.argmax()]
            raise OverflowError(
                f"the time of offset {offset} does not fit into 64 bits of nanoseconds, which end in 1677 and 2262: "
                "ask for time_unit='us'"
            )
        ticks = seconds * 10**9 + fractions
    return pa.array(ticks).view(pa.timestamp(time_unit, "UTC"))
