"""Columns to rows: what the arrays in which events travel say of each of them."""

from collections.abc import Iterator

from downlink.v1 import types_pb2 as wire

KINDS = {field.name: field.number for field in wire.Value.DESCRIPTOR.fields}
_NAMES = {number: name for name, number in KINDS.items()}


def trace_contexts(columns: wire.EventColumns) -> list[bytes]:
    """The trace context of each event; empty for those without."""
    contexts = columns.trace_contexts or [b""]
    indexes = columns.trace_context_indexes or [0] * len(columns.signal_indexes)
    return [contexts[index] for index in indexes]


def rows(columns: wire.EventColumns) -> Iterator[wire.Event]:
    """The same events one by one, as they were to be appended."""
    count = len(columns.signal_indexes)
    sources, source_indexes = columns.sources or [""], columns.source_indexes or [0] * count
    nanos = columns.event_time_nanos or [0] * count
    kinds = columns.kinds or [KINDS["double_value"]] * count
    qualities = columns.qualities or [wire.QUALITY_GOOD] * count
    values = {name: iter(getattr(columns, f"{name}s")) for name in KINDS}
    attributes = {extras.index: extras.attributes for extras in columns.extras}
    traces = trace_contexts(columns)
    seconds = 0
    for index, signal in enumerate(columns.signal_indexes):
        name = _NAMES[kinds[index]]
        event = wire.Event(
            signal=columns.signals[signal],
            value=wire.Value(**{name: next(values[name])}),
            quality=qualities[index],
            source=sources[source_indexes[index]],
            attributes=attributes.get(index),
            trace_context=traces[index],
        )
        if columns.event_time_second_deltas:
            seconds += columns.event_time_second_deltas[index]
            event.event_time.seconds, event.event_time.nanos = seconds, nanos[index]
        yield event
