"""The connection: a channel, the stubs of every service, and how their calls are made."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import grpc

from downlink.errors import DownlinkError, from_rpc_error
from downlink.retry import FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS, Patience
from downlink.trace import Traced
from downlink.v1.admin_service_pb2_grpc import AdminServiceStub
from downlink.v1.consumer_service_pb2_grpc import ConsumerServiceStub
from downlink.v1.ingest_service_pb2_grpc import IngestServiceStub
from downlink.v1.log_service_pb2_grpc import LogServiceStub
from downlink.v1.query_service_pb2_grpc import QueryServiceStub

CONNECT_TIMEOUT_SECONDS = 5
KEEP_ALIVE_SECONDS = 20

Response = TypeVar("Response")


class Connection:
    """A connection to a server; it is made when it is first used, and made again when it breaks."""

    def __init__(self, url: str, timeout_seconds: float, retry_for_seconds: float, message_bytes_max: int) -> None:
        self.url = url
        self.timeout_seconds = timeout_seconds
        self.retry_for_seconds = retry_for_seconds
        options = list(_options(message_bytes_max).items())
        self.channel = grpc.intercept_channel(grpc.insecure_channel(target(url), options=options), Traced())
        self.admin = AdminServiceStub(self.channel)
        self.consumer = ConsumerServiceStub(self.channel)
        self.ingest = IngestServiceStub(self.channel)
        self.log = LogServiceStub(self.channel)
        self.query = QueryServiceStub(self.channel)

    def call_once(self, method: grpc.UnaryUnaryMultiCallable[Any, Response], request: object) -> Response:
        """Makes a call that must not be made twice."""
        try:
            return method(request, timeout=self.timeout_seconds)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def call(self, method: grpc.UnaryUnaryMultiCallable[Any, Response], request: object) -> Response:
        """Makes a call, and makes it again where that can help."""
        patience = Patience(self.retry_for_seconds)
        while True:
            try:
                return self.call_once(method, request)
            except DownlinkError as error:
                time.sleep(patience.delay_seconds(error))

    def pages(self, method: grpc.UnaryUnaryMultiCallable[Any, Any], request: Any) -> Iterator[Any]:  # noqa: ANN401
        """Makes a call for each page of a list."""
        while True:
            page = self.call(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def responses(call: Iterable[Response]) -> Iterator[Response]:
    """What a stream of the server brings, with errors of this package."""
    try:
        yield from call
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error


def target(url: str) -> str:
    """The address in a URL; its scheme may be left out."""
    scheme, separator, address = url.rpartition("://")
    if separator and scheme == "https":
        raise ValueError(f"{url}: TLS is not supported yet")
    if (separator and scheme != "http") or not address.strip("/"):
        raise ValueError(f"{url!r} is not the URL of a server, such as http://127.0.0.1:50051")
    return address.rstrip("/")


def _options(message_bytes_max: int) -> dict[str, int]:
    """A lost connection is noticed and made again soon; grpc's own defaults wait for up to two minutes."""
    return {
        "grpc.initial_reconnect_backoff_ms": int(FIRST_DELAY_SECONDS * 1000),
        "grpc.max_reconnect_backoff_ms": int(LAST_DELAY_SECONDS * 1000),
        "grpc.min_reconnect_backoff_ms": CONNECT_TIMEOUT_SECONDS * 1000,
        "grpc.keepalive_time_ms": KEEP_ALIVE_SECONDS * 1000,
        "grpc.keepalive_timeout_ms": KEEP_ALIVE_SECONDS * 1000,
        "grpc.http2.max_pings_without_data": 0,
        "grpc.max_receive_message_length": message_bytes_max,
        # Clients do not wait for each other's reconnects.
        "grpc.use_local_subchannel_pool": 1,
        # A retry is decided here, where it is known whether it does harm.
        "grpc.enable_retries": 0,
    }
