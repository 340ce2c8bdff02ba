"""What is asked of the log besides its events."""

import uuid
from datetime import datetime, timedelta, timezone

import pytest

from downlink import Client, DownlinkError, Event, Function, Limit, Position, Severity, Signal, State, ValueType, to_ns

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
NOON_NS = to_ns(NOON)
MINUTE_NS = 60 * 1_000_000_000


def minutes(signal: str, count: int) -> list[Event]:
    """An event a minute from noon on, whose value is the minute."""
    return [Event(signal, float(minute), NOON_NS + minute * MINUTE_NS) for minute in range(count)]


def test_the_newest_events_are_given_by_name(client: Client) -> None:
    client.append([*minutes("tank/b", 3), *minutes("tank/a", 2), Event("pump", True)])
    assert [(one.event.signal, one.event.value) for one in client.latest("tank/*")] == [
        ("tank/a", 1.0),
        ("tank/b", 2.0),
    ]
    [pump] = client.latest("pump")
    assert pump.event.value is True
    assert timedelta() <= pump.age < timedelta(minutes=5)
    assert not pump.is_stale
    assert len(client.latest()) == 3


def test_lists_of_many_pages_are_whole(client: Client) -> None:
    names = [f"many/{number:04}" for number in range(2_500)]
    for begin in range(0, len(names), 500):
        client.append([Event(name, 1) for name in names[begin : begin + 500]])
    assert [signal.name for signal in client.signals("many/*")] == names
    assert [one.event.signal for one in client.latest()] == names


def test_signals_are_listed_with_what_is_known_of_them(client: Client) -> None:
    client.append([*minutes("tank/level", 3), Event("pump", 7)])
    pump, tank = client.signals()
    assert (pump.name, pump.event_count, pump.value_type) == ("pump", 1, ValueType.INT)
    assert (tank.name, tank.event_count, tank.value_type) == ("tank/level", 3, ValueType.DOUBLE)
    assert tank.latest is not None
    assert tank.latest.event_time == NOON + timedelta(minutes=2)


def test_the_log_tells_about_itself(client: Client) -> None:
    empty = client.info()
    assert (empty.head_offset, empty.oldest_time, empty.newest_time) == (1, None, None)
    uuid.UUID(empty.log_id)
    client.append(minutes("tank", 3))
    info = client.info()
    assert (info.log_id, info.head_offset, info.signals, info.state) == (empty.log_id, 4, 1, State.SERVING)
    assert info.totals.appended_events == info.totals.received_events == 3
    assert info.newest_time is not None
    assert info.bytes_on_disk > 0


def test_definitions_are_kept_and_listed(client: Client) -> None:
    definition = Signal(
        "tank/level",
        display_name="Tank",
        description="Level of the tank",
        unit="%",
        value_type=ValueType.INT,
        states={-1: "unknown", 0: "empty"},
        expected_period=timedelta(seconds=1.5),
        limits=(Limit(Severity.WARNING, high=80.0), Limit(Severity.CRITICAL, low=0.0, high=95.0)),
    )
    assert client.define_signals([definition, Signal("pump")]) == (1, 2)
    client.append([Event("tank/level", 50)])
    [signal] = client.signals("tank/level")
    assert signal.latest is not None
    [latest] = client.latest("tank/level")
    assert (latest.unit, latest.state) == ("%", "")
    client.append([Event("tank/level", 0)])
    assert client.latest("tank/level")[0].state == "empty"
    known = (signal.name, signal.display_name, signal.description, signal.unit, signal.value_type)
    assert known == ("tank/level", "Tank", "Level of the tank", "%", ValueType.INT)
    assert (signal.states, signal.expected_period, signal.limits) == (
        definition.states,
        definition.expected_period,
        definition.limits,
    )


def test_aggregates_are_computed_by_step(client: Client) -> None:
    client.append(minutes("tank", 60))
    buckets = list(client.aggregate("tank", start=NOON, end=NOON + timedelta(hours=1), step=timedelta(minutes=20)))
    assert [bucket.start_time for bucket in buckets] == [NOON + timedelta(minutes=20 * step) for step in range(3)]
    middle = buckets[1]
    assert (middle.signal, middle.count, middle.min, middle.max, middle.mean) == ("tank", 20, 20.0, 39.0, 29.5)
    assert (middle.first, middle.last) == (20.0, 39.0)
    assert middle.min_time_ns == middle.first_time_ns == NOON_NS + 20 * MINUTE_NS
    assert middle.max_time_ns == middle.last_time_ns == NOON_NS + 39 * MINUTE_NS
    assert not middle.is_incomplete
    assert not middle.state_ranges_left_out
    assert middle.time_weighted_mean is None


def test_aggregates_compute_what_was_asked_for(client: Client) -> None:
    events = [Event("mode", code, NOON_NS + minute * MINUTE_NS) for minute, code in enumerate([1, 1, 2, 2, 2, 1])]
    client.append(events)
    [bucket] = client.aggregate(
        "mode",
        start=NOON_NS,
        end=NOON_NS + 6 * MINUTE_NS,
        max_points=1,
        functions=[Function.STATE_RANGES, Function.TIME_WEIGHTED_MEAN],
    )
    ranges = [(one.value, (one.start_time_ns - NOON_NS) // MINUTE_NS) for one in bucket.state_ranges]
    assert ranges == [(1, 0), (2, 2), (1, 5)]
    assert bucket.time_weighted_mean == pytest.approx(1.5)


def test_consumers_remember_where_they_are(client: Client) -> None:
    client.append(minutes("tank", 10))
    consumers = client.consumers
    first = consumers.commit("bot", 4)
    assert (first.name, first.next_offset, first.events_behind) == ("bot", 4, 7)
    assert consumers.get("bot") == first
    second = consumers.commit("bot", 6, etag=first.etag)
    with pytest.raises(DownlinkError, match="ETAG_MISMATCH"):
        consumers.commit("bot", 7, etag=first.etag)
    with pytest.raises(DownlinkError, match="CHECKPOINT_REWIND"):
        consumers.commit("bot", 5)
    assert consumers.commit("bot", 1, allow_rewind=True).etag != second.etag
    consumers.commit("other", 1)
    assert [consumer.name for consumer in consumers.list()] == ["bot", "other"]
    consumers.delete("bot")
    with pytest.raises(DownlinkError, match="CONSUMER_UNKNOWN"):
        consumers.get("bot")


def test_a_subscription_goes_on_where_a_consumer_has_got_to(client: Client) -> None:
    client.append(minutes("tank", 10))
    with client.subscribe(start=Position.OLDEST) as subscription:
        for _ in range(3):
            next(subscription)
        client.consumers.commit("bot", subscription.next_offset)
    assert [event.offset for event in client.read(start=Position.consumer("bot"), max_events=2)] == [4, 5]
    with client.subscribe(start=Position.consumer("bot")) as subscription:
        assert next(subscription).offset == 4


def test_positions_name_places_in_the_log(client: Client) -> None:
    client.append(minutes("tank", 10))
    assert client.lookup_offset(Position.event_time(NOON + timedelta(minutes=3))) == 4
    assert client.lookup_offset(Position.event_time(NOON_NS + 3 * MINUTE_NS + 1)) == 5
    assert [event.offset for event in client.read(start=Position.last(2))] == [9, 10]
    assert client.lookup_offset(Position.ingest_time(NOON - timedelta(days=36_500))) == 1
    client.append([Event("now", 1)])
    assert [event.offset for event in client.read(start=Position.ago(timedelta(minutes=5)))] == [11]


def test_a_replay_can_go_backwards(client: Client) -> None:
    client.append(minutes("tank", 10))
    assert [event.offset for event in client.read(backwards=True, max_events=3)] == [10, 9, 8]
    table = client.read(backwards=True, max_events=3).to_arrow()
    assert table["offset"].to_pylist() == [10, 9, 8]


def test_newest_events_can_be_those_of_another_time(client: Client) -> None:
    client.append(minutes("tank", 10))
    [then] = client.latest("tank", as_of_offset=4)
    assert then.event.offset == 3
