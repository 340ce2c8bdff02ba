"""Consumers: the log remembers where a reader has got to."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from downlink.connection import Connection
from downlink.times import from_duration, from_timestamp, to_datetime
from downlink.v1 import consumer_service_pb2 as wire


@dataclass(frozen=True, slots=True)
class Consumer:
    """Somebody who reads, and where they have got to."""

    name: str
    """Its name."""
    next_offset: int
    """The first offset it has not dealt with."""
    events_behind: int
    """Its lag in events."""
    time_behind: timedelta
    """Its lag in time."""
    update_time: datetime
    """When it last committed."""
    etag: str
    """Changes with every commit."""


class Consumers:
    """The consumers of a log."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def commit(self, name: str, next_offset: int, *, etag: str = "", allow_rewind: bool = False) -> Consumer:
        """Stores where a consumer goes on; creates the consumer if there is none of that name.

        With an `etag` only if it is still the consumer's. Going back must be allowed.
        """
        request = wire.CommitCheckpointRequest(
            consumer=name, next_offset=next_offset, etag=etag, allow_rewind=allow_rewind
        )
        # Of a commit that got through and was not answered, the etag is another one already.
        call = self._connection.call_once if etag else self._connection.call
        answer: wire.CommitCheckpointResponse = call(self._connection.consumer.CommitCheckpoint, request)
        return _from_wire(answer.consumer)

    def get(self, name: str) -> Consumer:
        """One consumer; reason CONSUMER_UNKNOWN if there is none of that name."""
        request = wire.GetConsumerRequest(consumer=name)
        answer: wire.GetConsumerResponse = self._connection.call(self._connection.consumer.GetConsumer, request)
        return _from_wire(answer.consumer)

    def list(self) -> list[Consumer]:
        """All consumers, by name."""
        pages = self._connection.pages(self._connection.consumer.ListConsumers, wire.ListConsumersRequest())
        return [_from_wire(consumer) for page in pages for consumer in page.consumers]

    def delete(self, name: str) -> None:
        """Forgets a consumer."""
        request = wire.DeleteConsumerRequest(consumer=name)
        # Of a deletion that got through and was not answered, the consumer is unknown already.
        self._connection.call_once(self._connection.consumer.DeleteConsumer, request)


def _from_wire(message: wire.Consumer) -> Consumer:
    return Consumer(
        name=message.name,
        next_offset=message.next_offset,
        events_behind=message.events_behind,
        time_behind=from_duration(message.time_behind),
        update_time=to_datetime(from_timestamp(message.update_time)),
        etag=message.etag,
    )
