"""Every failure says why; what is missing from the log is told of."""

import shutil
import uuid

import grpc
import pytest

from conftest import Server
from downlink import Client, DownlinkError, Event, FieldViolation, Gap, GapError, GapReason, Position
from downlink.v1.admin_service_pb2 import RollSegmentRequest


def test_a_refused_event_is_named_with_its_field(client: Client) -> None:
    with pytest.raises(DownlinkError) as caught:
        client.append([Event("a", 1), Event("a\nb", 2)])
    error = caught.value
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_EVENT")
    [violation] = error.fields
    assert isinstance(violation, FieldViolation)
    assert violation.field == "events[1].signal"
    assert violation.description
    assert not error.is_retryable
    assert "INVALID_EVENT" in str(error)


def test_facts_come_as_metadata(client: Client) -> None:
    with pytest.raises(DownlinkError) as caught:
        list(client.read(start=7))
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.OUT_OF_RANGE, "OFFSET_BEYOND_HEAD")
    assert caught.value.metadata["head"] == "1"
    with pytest.raises(DownlinkError) as caught:
        client.append([Event("a", 1)], expected_head=7)
    assert caught.value.reason == "EXPECTED_HEAD_MISMATCH"


def test_reasons_are_the_names_of_the_api(client: Client) -> None:
    with pytest.raises(DownlinkError, match="SIGNAL_UNKNOWN"):
        client.latest("never/seen")
    with pytest.raises(DownlinkError, match="INVALID_REQUEST"):
        client.append([])
    with pytest.raises(DownlinkError, match="INVALID_REQUEST") as caught:
        client.append([Event("a", 1)], request_id="no UUID")
    assert caught.value.fields[0].field == "request_id"
    with pytest.raises(DownlinkError, match="BATCH_TOO_LARGE"):
        client.append([Event("a", number) for number in range(1_001)])
    with pytest.raises(DownlinkError, match="INVALID_FILTER"):
        client.subscribe("")
    with pytest.raises(DownlinkError, match="OFFSET_BEYOND_HEAD"):
        client.subscribe(start=7)


def test_a_call_is_tried_again_until_the_server_is_there(server: Server) -> None:
    server.kill()
    with Client(server.url, retry_for_seconds=0) as client, pytest.raises(DownlinkError) as caught:
        client.info()
    assert caught.value.is_retryable
    assert caught.value.reason is None
    with Client(server.url, retry_for_seconds=60) as client:
        server.start()
        assert client.append([Event("a", 1)], request_id=uuid.uuid4()).first_offset == 1


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "ftp://127.0.0.1:1", "http://", "://x"])
def test_a_url_of_another_kind_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"TLS is not supported yet|is not the URL of a server"):
        Client(url)


def test_the_url_comes_from_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOWNLINK_URL", server.address)
    with Client() as client:
        assert client.info().head_offset == 1


@pytest.fixture
def gap(server: Server, client: Client) -> Gap:
    """What is missing from a log of 12 events, of which 5 to 8 were in a segment that is gone."""
    for _ in range(3):
        client.append([Event("a", number) for number in range(4)])
        client.connection.admin.RollSegment(RollSegmentRequest(wait_until_sealed=True))
    server.terminate()
    [segment] = (server.directory / "segments").glob(f"{5:020}*")
    shutil.rmtree(segment)
    server.start()
    return Gap(5, 8, GapReason.CORRUPTION)


def test_a_gap_is_an_error_behind_which_it_can_go_on(client: Client, gap: Gap) -> None:
    replay = client.read()
    for offset in range(1, 5):
        assert next(replay).offset == offset
    with pytest.raises(GapError) as caught:
        next(replay)
    assert caught.value.gap == gap
    assert [event.offset for event in replay] == [9, 10, 11, 12]
    with pytest.raises(GapError):
        client.read().to_arrow()


def test_a_replay_that_has_failed_does_not_look_as_if_it_had_ended(client: Client) -> None:
    replay = client.read(start=7)
    with pytest.raises(DownlinkError):
        next(replay)
    with pytest.raises(ValueError, match="has failed"):
        next(replay)


def test_a_gap_is_given_to_whoever_asks_for_it(client: Client, gap: Gap) -> None:
    gaps: list[Gap] = []
    assert [event.offset for event in client.read(on_gap=gaps.append)] == [1, 2, 3, 4, 9, 10, 11, 12]
    assert gaps == [gap]
    assert client.read(on_gap=gaps.append).to_arrow()["offset"].to_pylist() == [1, 2, 3, 4, 9, 10, 11, 12]
    assert gaps == [gap, gap]


def test_a_gap_comes_between_the_events_if_asked_for(client: Client, gap: Gap) -> None:
    items = list(client.read(start=4, end=10).with_gaps())
    assert [item if isinstance(item, Gap) else item.offset for item in items] == [4, gap, 9]


def test_a_subscription_tells_of_gaps_too(client: Client, gap: Gap) -> None:
    with client.subscribe(start=Position.OLDEST) as subscription:
        for _ in range(4):
            next(subscription)
        with pytest.raises(GapError) as caught:
            next(subscription)
        assert caught.value.gap == gap
        assert subscription.next_offset == 9
        assert next(subscription).offset == 9
    with client.subscribe(start=4) as subscription:
        items = subscription.with_gaps()
        assert [next(items) for _ in range(3)][1] == gap
