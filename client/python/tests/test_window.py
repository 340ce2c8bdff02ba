"""An appender's window: every batch gets into the log once and in order, wherever the connection is cut."""

import random
from collections import deque
from typing import TypeAlias

import pytest

from downlink import AcknowledgedLostError, LogReplacedError, ProtocolError
from downlink.batch import Batch
from downlink.v1.ingest_service_pb2 import AppendStreamResponse, Rejection
from downlink.v1.types_pb2 import Event
from downlink.window import Window

Ack: TypeAlias = AppendStreamResponse.Ack
Opened: TypeAlias = AppendStreamResponse.Opened
Reject: TypeAlias = AppendStreamResponse.Reject


def opened(sequence: int, log_id: str = "one") -> Opened:
    return Opened(last_durable_sequence=sequence, log_id=log_id)


def batch(number: int) -> Batch:
    return Batch([Event(offset=number)] * 3)


def window_with(*numbers: int) -> Window:
    """A window with these batches sent."""
    window = Window()
    window.opened(opened(0))
    for number in numbers:
        window.push(batch(number))
        window.next_to_send()
    return window


@pytest.mark.parametrize("seed", range(50))
def test_no_batch_is_lost_or_doubled(seed: int) -> None:
    chance = random.Random(seed)
    window = window_with()
    log: list[int] = []
    wire: deque[tuple[int, Batch]] = deque()
    pushed = 0

    def take(batches: int) -> None:
        """The log takes some of what is under way in."""
        for _ in range(min(batches, len(wire))):
            sequence, batch = wire.popleft()
            assert sequence == len(log) + 1, "a gap or a double"
            log.append(batch.rows()[0].offset)

    def send() -> bool:
        sent = window.next_to_send()
        wire.extend([] if sent is None else [sent])
        return sent is not None

    for _ in range(300):
        match chance.choice(["push", "push", "push", "send", "send", "send", "take", "ack", "cut"]):
            case "push":
                pushed += 1
                window.push(batch(pushed))
            case "send":
                send()
            case "take":
                take(chance.randrange(5))
            case "ack":
                window.acked(Ack(through_sequence=chance.randint(0, len(log))))
            case "cut":
                wire.clear()
                window.disconnected()
                window.opened(opened(len(log)))
    while send():
        pass
    take(len(wire))
    window.acked(Ack(through_sequence=len(log)))
    assert log == list(range(1, pushed + 1))
    assert (len(window), window.batches, window.durable_events) == (0, pushed, 3 * pushed)


def test_a_producer_goes_on_behind_what_is_on_disk() -> None:
    window = Window()
    window.opened(opened(7))
    window.push(batch(1))
    assert window.next_to_send() == (8, batch(1))
    assert window.next_to_send() is None


def test_another_log_or_an_older_copy_is_noticed() -> None:
    window = window_with(1)
    window.acked(Ack(through_sequence=1))
    with pytest.raises(AcknowledgedLostError):
        window.opened(opened(0))
    with pytest.raises(LogReplacedError):
        window.opened(opened(1, "two"))


def test_what_was_never_sent_is_not_acknowledged() -> None:
    window = window_with()
    window.push(batch(1))
    with pytest.raises(ProtocolError):
        window.acked(Ack(through_sequence=1))
    with pytest.raises(ProtocolError):
        window.opened(opened(2))
    with pytest.raises(ProtocolError):
        window.rejected(Reject(sequence=2))


def test_the_sequence_of_a_forgotten_refusal_is_used_again() -> None:
    window = window_with(1)
    refused = window.rejected(Reject(sequence=1))
    assert refused is not None
    assert len(refused.events) == 3
    window.acked(Ack(through_sequence=1))
    # The server restarts and knows nothing of sequence 1.
    window.disconnected()
    window.push(batch(2))
    window.opened(opened(0))
    assert window.next_to_send() == (1, batch(2))
    window.acked(Ack(through_sequence=1))
    assert (window.durable_events, window.rejected_events) == (3, 3)


def test_a_refusal_is_told_of_once_over_many_connections() -> None:
    window = window_with(1)
    reject = Reject(sequence=1, rejections=[Rejection(index=2)])
    assert window.rejected(reject) is not None
    window.disconnected()
    window.opened(opened(0))
    window.next_to_send()
    assert window.rejected(reject) is None
    window.acked(Ack(through_sequence=1))
    assert (window.durable_events, window.rejected_events) == (2, 1)


def test_refusals_of_events_that_a_batch_does_not_have_break_the_protocol() -> None:
    with pytest.raises(ProtocolError):
        window_with(1).rejected(Reject(sequence=1, rejections=[Rejection(index=3)]))
