"""The client: a method for each thing to ask of a server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from typing_extensions import Self

from downlink import aggregate as aggregates
from downlink import append as appends
from downlink import info as infos
from downlink import position as positions
from downlink import signals as descriptions
from downlink.aggregate import Bucket, Function
from downlink.append import Appended
from downlink.connection import Connection, responses
from downlink.consumers import Consumers
from downlink.event import Event, Quality
from downlink.gap import Gap
from downlink.info import LogInfo
from downlink.position import Place
from downlink.replay import Replay
from downlink.signals import Latest, Signal
from downlink.subscription import Subscription
from downlink.times import to_duration, to_timestamp
from downlink.v1 import ingest_service_pb2 as ingest
from downlink.v1 import log_service_pb2 as log
from downlink.v1 import query_service_pb2 as query
from downlink.v1 import types_pb2 as wire

URL_VARIABLE = "DOWNLINK_URL"
URL_DEFAULT = "http://127.0.0.1:50051"


class Client:
    """A connection to a server, which threads may share. It is made when it is first used.

    `url`: where the server listens; unless given, what `DOWNLINK_URL` says, or else http://127.0.0.1:50051.
    `timeout_seconds`: how long a call may take.
    `retry_for_seconds`: how long calls that a retry cannot harm are tried again.
    `message_bytes_max`: how many bytes a message from the server may have.

    Every method raises `DownlinkError` for what the server refuses, and when it cannot be reached.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout_seconds: float = 10.0,
        retry_for_seconds: float = 5.0,
        message_bytes_max: int = 64 << 20,
    ) -> None:
        url = url or os.environ.get(URL_VARIABLE) or URL_DEFAULT
        self.connection = Connection(url, timeout_seconds, retry_for_seconds, message_bytes_max)
        """The channel and the generated stubs, for what this class does not offer."""
        self.consumers = Consumers(self.connection)
        """Where readers have got to, kept in the log."""

    def close(self) -> None:
        """Ends the connection and all calls that are under way."""
        self.connection.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def append(
        self,
        events: Iterable[Event],
        *,
        request_id: str | uuid.UUID | None = None,
        expected_head: int | None = None,
        allow_partial: bool = False,
    ) -> Appended:
        """Appends one batch, atomically. When this returns it is on disk.

        `request_id`: a UUID; the same id again is answered with the offsets of the first time. One is made by default.
        `expected_head`: append only if the head is here, else reason EXPECTED_HEAD_MISMATCH.
        `allow_partial`: keep the good events of a batch that has bad ones.
        """
        return appends.append(self.connection, events, request_id, expected_head, allow_partial)

    def read(
        self,
        *signals: str,
        start: Place | None = None,
        end: Place | None = None,
        sources: Iterable[str] = (),
        min_quality: Quality | None = None,
        backwards: bool = False,
        max_events: int = 0,
        max_batch_events: int = 0,
        pacing: query.Pacing | None = None,
        skip_truncated: bool = False,
        on_gap: Callable[[Gap], None] | None = None,
    ) -> Replay:
        """A bounded part of the log, oldest first: iterate over its events, or take it `to_arrow()` or `to_pandas()`.

        `signals`: names, exact or as globs; none are all. `start` is inclusive, `end` exclusive; unless given, the
        oldest event and the head. `max_events`: stop after so many; 0 is no bound. `skip_truncated`: a start that
        retention has removed is a gap instead of an error. `on_gap`: what to call with a gap instead of raising
        `GapError`.
        """
        request = query.ReadRequest(
            start=positions.to_wire(start),
            end=positions.to_wire(end),
            filter=_filter(signals, sources, min_quality),
            backwards=backwards,
            max_events=max_events,
            max_batch_events=max_batch_events,
            pacing=pacing,
            on_truncated=query.ON_TRUNCATED_SKIP if skip_truncated else query.ON_TRUNCATED_FAIL,
        )
        return Replay(self.connection, request, on_gap)

    def subscribe(
        self,
        *signals: str,
        start: Place | None = None,
        sources: Iterable[str] = (),
        min_quality: Quality | None = None,
        report: query.Report | None = None,
        on_slow: query.OnSlow | None = None,
        heartbeat_interval: timedelta | None = None,
        max_batch_events: int = 0,
        max_batch_delay: timedelta | None = None,
        skip_truncated: bool = False,
        on_gap: Callable[[Gap], None] | None = None,
        on_frame: Callable[[query.SubscribeResponse], None] | None = None,
        retry_for_seconds: float = 60.0,
    ) -> Subscription:
        """What was from `start` on, then what comes, for ever. Without `start`, what comes.

        `signals`: names, exact or as globs; none are all. `on_gap`: what to call with a gap instead of raising
        `GapError`. `on_frame`: is called with each frame of the server as it comes, also with those that say that
        history ends or that nothing happens. `retry_for_seconds`: for how long to try to
        come back.
        """
        request = query.SubscribeRequest(
            start=positions.to_wire(start),
            filter=_filter(signals, sources, min_quality),
            report=report,
            on_slow=on_slow,
            heartbeat_interval=None if heartbeat_interval is None else to_duration(heartbeat_interval),
            max_batch_events=max_batch_events,
            max_batch_delay=None if max_batch_delay is None else to_duration(max_batch_delay),
            on_truncated=query.ON_TRUNCATED_SKIP if skip_truncated else query.ON_TRUNCATED_FAIL,
        )
        return Subscription(self.connection, request, on_gap, on_frame, retry_for_seconds)

    def latest(
        self, *signals: str, as_of_offset: int | None = None, as_of_time: datetime | int | None = None
    ) -> list[Latest]:
        """The newest event of each signal, by name of the signal; none are all.

        `as_of_offset`, `as_of_time`: as they were below this offset, or at this ingest time.
        """
        request = query.GetLatestRequest(
            signals=signals,
            as_of_offset=as_of_offset,
            as_of_time=None if as_of_time is None else to_timestamp(as_of_time),
        )
        pages = self.connection.pages(self.connection.query.GetLatest, request)
        return [descriptions.latest_from_wire(value) for page in pages for value in page.values]

    def signals(self, pattern: str = "") -> list[Signal]:
        """The signals whose names match the pattern, by name; without a pattern, all."""
        pages = self.connection.pages(self.connection.query.ListSignals, query.ListSignalsRequest(filter=pattern))
        return [descriptions.from_wire(signal) for page in pages for signal in page.signals]

    def define_signals(self, signals: Iterable[Signal]) -> tuple[int, int]:
        """Describes signals. Definitions are kept as events; gives the lowest and the highest of their offsets."""
        request = ingest.DefineSignalsRequest(signals=[descriptions.to_wire(signal) for signal in signals])
        answer: ingest.DefineSignalsResponse = self.connection.call(self.connection.ingest.DefineSignals, request)
        return answer.first_offset, answer.last_offset

    def aggregate(
        self,
        *signals: str,
        start: datetime | int | None = None,
        end: datetime | int | None = None,
        step: timedelta | None = None,
        max_points: int | None = None,
        functions: Iterable[Function] = (),
    ) -> Iterator[Bucket]:
        """Signals over steps of event time, by signal and then by time.

        `start` is inclusive, `end` exclusive. Give either `step`, or `max_points` for at most so many buckets a signal.
        `functions`: what to compute; none are MIN, MAX, MEAN, FIRST, LAST and COUNT.
        """
        request = query.AggregateRequest(
            signals=signals,
            start_time=None if start is None else to_timestamp(start),
            end_time=None if end is None else to_timestamp(end),
            step=None if step is None else to_duration(step),
            max_points=max_points,
            functions=[function.value for function in functions],
        )
        for response in responses(self.connection.query.Aggregate(request)):
            yield from map(aggregates.from_wire, response.buckets)

    def lookup_offset(self, position: Place) -> int:
        """The offset of a position."""
        request = query.LookupOffsetRequest(position=positions.to_wire(position))
        answer: query.LookupOffsetResponse = self.connection.call(self.connection.query.LookupOffset, request)
        return answer.offset

    def info(self) -> LogInfo:
        """Identity, ends, totals and size of the log."""
        answer: log.GetLogInfoResponse = self.connection.call(self.connection.log.GetLogInfo, log.GetLogInfoRequest())
        return infos.from_wire(answer)


def _filter(signals: Iterable[str], sources: Iterable[str], min_quality: Quality | None) -> wire.Filter:
    quality = None if min_quality is None else min_quality.value
    return wire.Filter(signals=signals, sources=sources, min_quality=quality)
