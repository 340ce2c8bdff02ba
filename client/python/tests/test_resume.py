"""Subscriptions and appenders go on after the server was killed, as if nothing had happened."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import pytest

from conftest import PATIENCE_SECONDS, Server
from downlink import Appender, Client, DownlinkError, Event, Rejected, RejectedError
from downlink.v1.query_service_pb2 import SubscribeResponse


def numbered(signal: str, numbers: range) -> list[Event]:
    return [Event(signal, number, number) for number in numbers]


@contextmanager
def killed_now_and_then(server: Server, kills: int) -> Iterator[None]:
    """Kills the server and starts it again so many times meanwhile."""

    def kill() -> None:
        for _ in range(kills):
            time.sleep(0.2)
            server.kill()
            server.start()

    killer = threading.Thread(target=kill)
    killer.start()
    yield
    killer.join()


def test_a_subscription_goes_on_where_it_was_when_the_server_is_killed(server: Server, client: Client) -> None:
    client.append(numbered("a", range(100)))
    with client.subscribe(start=1) as subscription:
        assert [event.value for event in islice(subscription, 60)] == list(range(60))
        assert subscription.next_offset == 61
        log_id = subscription.log_id
        server.kill()
        server.start()
        client.append(numbered("a", range(100, 200)))
        assert [event.value for event in islice(subscription, 140)] == list(range(60, 200))
        assert subscription.next_offset == 201
        assert subscription.log_id == log_id


def test_a_subscription_goes_on_when_the_server_drains(server: Server, client: Client) -> None:
    kinds: Counter[str | None] = Counter()

    def restart() -> None:
        server.terminate()
        server.start()
        client.append(numbered("a", range(1, 2)))

    def on_frame(frame: SubscribeResponse) -> None:
        kinds[frame.WhichOneof("frame")] += 1

    with client.subscribe(on_frame=on_frame) as subscription:
        client.append(numbered("a", range(1)))
        assert next(subscription).value == 0
        restarting = threading.Thread(target=restart)
        restarting.start()
        assert next(subscription).value == 1
        restarting.join()
    assert kinds["draining"] == 1
    assert kinds["started"] == 2


def test_a_subscription_tells_when_history_ends_and_can_be_closed_from_elsewhere(client: Client) -> None:
    client.append(numbered("a", range(10)))

    def on_frame(frame: SubscribeResponse) -> None:
        if frame.HasField("caught_up"):
            threading.Thread(target=subscription.close).start()

    subscription = client.subscribe("a", start=1, on_frame=on_frame)
    assert not subscription.is_caught_up
    assert [event.value for event in subscription] == list(range(10))
    assert subscription.is_caught_up
    assert subscription.next_offset == 11


def test_a_server_that_stays_away_is_told_of_with_the_last_error(server: Server) -> None:
    with Client(server.url, retry_for_seconds=0.1) as client:
        subscription = client.subscribe(retry_for_seconds=0.3)
        appender = Appender(client, retry_for_seconds=0.3)
        server.kill()
        appender.append(Event("a", 1))
        for wait in (lambda: next(subscription), appender.close, client.info):
            with pytest.raises(DownlinkError) as caught:
                wait()
            assert caught.value.code.name == "UNAVAILABLE"
            assert caught.value.is_retryable


def test_an_appender_of_a_server_that_is_not_there_is_not_made(server: Server) -> None:
    server.kill()
    with Client(server.url, retry_for_seconds=0.1) as client, pytest.raises(DownlinkError) as caught:
        Appender(client)
    assert caught.value.is_retryable


def test_an_appender_loses_and_doubles_nothing_when_the_server_is_killed(server: Server, client: Client) -> None:
    count = 60_000
    with (
        killed_now_and_then(server, 4),
        Appender(client, producer_id="pump", batch_events_max=50, window_batches=8) as appender,
    ):
        for number in range(count):
            appender.append(Event(f"a/{number % 7}", number, number))
            # Slow enough to be there for the last kill.
            if number % 600 == 0:
                time.sleep(0.01)
        totals = appender.flush()
    assert totals.durable_events == count
    assert totals.last_offset == count
    assert totals.reconnects > 0
    assert [event.value for event in client.read()] == list(range(count))


def test_a_producer_that_comes_back_learns_where_it_was(client: Client) -> None:
    events = numbered("a", range(2_500))
    with Appender(client, producer_id="file") as appender:
        assert appender.resume_point.durable_events == 0
        appender.extend(events[:1_234])
    with Appender(client, producer_id="file") as appender:
        resume_point = appender.resume_point
        assert (resume_point.durable_events, resume_point.last_offset) == (1_234, 1_234)
        assert resume_point.last_sequence > 1
        appender.extend(events[resume_point.durable_events :])
    assert [event.value for event in client.read()] == list(range(2_500))


def test_batches_keep_the_limits_and_a_large_event_travels_alone(client: Client) -> None:
    large = "x" * 700_000
    with Appender(client, batch_events_max=3, batch_bytes_max=10_000, batch_delay_seconds=10) as appender:
        appender.extend(numbered("a", range(7)))
        appender.append(Event("b", large))
        appender.extend(numbered("c", range(1)))
        totals = appender.flush()
        assert (totals.batches, totals.durable_events) == (5, 9)
    assert [event.value for event in client.read()][7] == large


def test_an_event_does_not_wait_for_company_for_long(client: Client) -> None:
    with client.subscribe() as subscription, Appender(client, batch_delay_seconds=0.01) as appender:
        appender.append(Event("a", 1))
        assert next(subscription).value == 1


def test_append_waits_while_the_window_is_full(server: Server, client: Client) -> None:
    handed_over: list[int] = []
    appender = Appender(client, batch_events_max=1, window_batches=4)
    server.kill()

    def append() -> None:
        for event in numbered("a", range(50)):
            appender.append(event)
            handed_over.append(event.offset)

    thread = threading.Thread(target=append)
    thread.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(handed_over) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    # Four batches in flight and one in the making are all that there is room for.
    thread.join(0.2)
    assert len(handed_over) == 5
    assert thread.is_alive()
    server.start()
    thread.join(PATIENCE_SECONDS)
    assert appender.close().durable_events == 50
    assert client.info().head_offset == 51


def test_refused_events_are_handed_back_and_the_others_kept(client: Client) -> None:
    rejected: list[Rejected] = []
    with Appender(client, on_reject=rejected.append) as appender:
        appender.extend([Event("a", 1), Event("", 2), Event("a", 3)])
        totals = appender.flush()
    assert (totals.durable_events, totals.rejected_events) == (2, 1)
    assert [event.value.int_value for one in rejected for event in one.events] == [2]
    assert [error.reason for one in rejected for error in one.errors] == ["INVALID_EVENT"]


def test_a_refused_batch_ends_an_appender_that_was_not_told_what_to_do(client: Client) -> None:
    appender = Appender(client)
    appender.append(Event("", 1))
    with pytest.raises(RejectedError) as caught:
        appender.flush()
    assert caught.value.reason == "INVALID_EVENT"
    assert not caught.value.is_retryable
    with pytest.raises(RejectedError):
        appender.append(Event("a", 1))
    assert client.info().head_offset == 1


def test_a_newer_epoch_takes_over(client: Client) -> None:
    old = Appender(client, producer_id="pump", producer_epoch=1)
    with Appender(client, producer_id="pump", producer_epoch=2) as new:
        new.append(Event("a", 2))
    old.append(Event("a", 1))
    with pytest.raises(DownlinkError) as caught:
        old.close()
    assert caught.value.reason == "PRODUCER_FENCED"
    assert not caught.value.is_retryable


def test_an_appender_that_is_closed_takes_nothing_more(client: Client) -> None:
    appender = Appender(client)
    appender.close()
    appender.close()
    with pytest.raises(ValueError, match="closed"):
        appender.append(Event("a", 1))
