"""Rows to columns: packs events into the arrays in which they travel as columns."""

from collections.abc import Sequence

from downlink.v1 import types_pb2 as wire

KINDS = {name: wire.Value.DESCRIPTOR.fields_by_name[name].number for name in wire.Value.DESCRIPTOR.fields_by_name}


def pack(events: Sequence[wire.Event]) -> wire.EventColumns:
    """The same events, which are in the order of their offsets, as columns; but for their trace contexts."""
    columns = wire.EventColumns(first_offset=events[0].offset if events else 0)
    signals: dict[str, int] = {}
    sources: dict[str, int] = {}
    expected = columns.first_offset
    event_seconds = ingest_seconds = 0
    for index, event in enumerate(events):
        if event.signal not in signals:
            columns.signal_ids.append(event.signal_id)
        columns.offset_skips.append(event.offset - expected)
        expected = event.offset + 1
        columns.signal_indexes.append(signals.setdefault(event.signal, len(signals)))
        columns.source_indexes.append(sources.setdefault(event.source, len(sources)))
        columns.event_time_second_deltas.append(event.event_time.seconds - event_seconds)
        event_seconds = event.event_time.seconds
        columns.event_time_nanos.append(event.event_time.nanos)
        columns.ingest_time_second_deltas.append(event.ingest_time.seconds - ingest_seconds)
        ingest_seconds = event.ingest_time.seconds
        columns.ingest_time_nanos.append(event.ingest_time.nanos)
        columns.qualities.append(event.quality)
        kind = event.value.WhichOneof("kind")
        if kind is None:
            raise ValueError(f"the event at offset {event.offset} has a value of an unknown kind")
        columns.kinds.append(KINDS[kind])
        getattr(columns, f"{kind}s").append(getattr(event.value, kind))
        if event.attributes:
            columns.extras.add(index=index, attributes=event.attributes)
    columns.signals.extend(signals)
    columns.sources.extend(sources)
    return columns


def trace_contexts(columns: wire.EventColumns) -> list[bytes]:
    """The trace context of each event; empty for those without. Not every version of the API has them in columns."""
    contexts: Sequence[bytes] = getattr(columns, "trace_contexts", None) or [b""]
    indexes: Sequence[int] = getattr(columns, "trace_context_indexes", None) or [0] * len(columns.signal_indexes)
    return [contexts[index] for index in indexes]
