"""Rows to columns: packs events into the arrays in which they travel as columns."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from downlink.v1 import types_pb2 as wire

KINDS = {name: wire.Value.DESCRIPTOR.fields_by_name[name].number for name in wire.Value.DESCRIPTOR.fields_by_name}


def pack(events: Sequence[wire.Event]) -> wire.EventColumns:
    """The same events, which are in the order of their offsets, as columns; but for their trace contexts."""
    signals: dict[str, int] = {}
    sources: dict[str, int] = {}
    # Lists, of which messages are made at the end: to append to a message takes several times as long.
    columns: defaultdict[str, list[Any]] = defaultdict(list)
    offset = event_seconds = ingest_seconds = 0
    for index, event in enumerate(events):
        columns["offset_skips"].append(event.offset - offset - 1 if index else 0)
        offset = event.offset
        if event.signal not in signals:
            columns["signal_ids"].append(event.signal_id)
        columns["signal_indexes"].append(signals.setdefault(event.signal, len(signals)))
        columns["source_indexes"].append(sources.setdefault(event.source, len(sources)))
        event_time, ingest_time = event.event_time, event.ingest_time
        columns["event_time_second_deltas"].append(event_time.seconds - event_seconds)
        event_seconds = event_time.seconds
        columns["event_time_nanos"].append(event_time.nanos)
        columns["ingest_time_second_deltas"].append(ingest_time.seconds - ingest_seconds)
        ingest_seconds = ingest_time.seconds
        columns["ingest_time_nanos"].append(ingest_time.nanos)
        columns["qualities"].append(event.quality)
        value = event.value
        kind = value.WhichOneof("kind")
        if kind is None:
            raise ValueError(f"the event at offset {offset} has a value of an unknown kind")
        columns["kinds"].append(KINDS[kind])
        columns[f"{kind}s"].append(getattr(value, kind))
        if event.attributes:
            columns["extras"].append(wire.EventColumns.Extras(index=index, attributes=event.attributes))
    first_offset = events[0].offset if events else 0
    return wire.EventColumns(first_offset=first_offset, signals=signals, sources=sources, **columns)


def trace_contexts(columns: wire.EventColumns) -> list[bytes]:
    """The trace context of each event; empty for those without. Not every version of the API has them in columns."""
    contexts: Sequence[bytes] = getattr(columns, "trace_contexts", None) or [b""]
    indexes: Sequence[int] = getattr(columns, "trace_context_indexes", None) or [0] * len(columns.signal_indexes)
    return [contexts[index] for index in indexes]
