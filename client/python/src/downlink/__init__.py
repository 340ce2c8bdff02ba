"""Downlink, a telemetry log: append events, follow them, read them into Arrow and pandas.

>>> from downlink import Client, Event
>>> with Client() as client:
...     client.append([Event("demo/t", 21.5)])
...     [latest] = client.latest("demo/t")
"""

from downlink.aggregate import Bucket, Function, StateRange
from downlink.append import Appended, Rejection
from downlink.appender import Appender, ResumePoint
from downlink.client import Client
from downlink.consumers import Consumer, Consumers
from downlink.errors import (
    AcknowledgedLostError,
    DownlinkError,
    FieldViolation,
    GapError,
    LogReplacedError,
    ProtocolError,
    RejectedError,
)
from downlink.event import Event, Quality, Value
from downlink.gap import Gap, GapReason
from downlink.info import IngestTotals, LogInfo, State
from downlink.position import Place, Position
from downlink.replay import End, Replay
from downlink.signals import Latest, Limit, Severity, Signal, ValueType
from downlink.subscription import Subscription
from downlink.times import to_datetime, to_ns
from downlink.trace import traceparent
from downlink.window import Rejected, Totals

__all__ = [
    "AcknowledgedLostError",
    "Appended",
    "Appender",
    "Bucket",
    "Client",
    "Consumer",
    "Consumers",
    "DownlinkError",
    "End",
    "Event",
    "FieldViolation",
    "Function",
    "Gap",
    "GapError",
    "GapReason",
    "IngestTotals",
    "Latest",
    "Limit",
    "LogInfo",
    "LogReplacedError",
    "Place",
    "Position",
    "ProtocolError",
    "Quality",
    "Rejected",
    "RejectedError",
    "Rejection",
    "Replay",
    "ResumePoint",
    "Severity",
    "Signal",
    "State",
    "StateRange",
    "Subscription",
    "Totals",
    "Value",
    "ValueType",
    "to_datetime",
    "to_ns",
    "traceparent",
]
