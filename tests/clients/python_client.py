"""Talks to a Downlink server as any Python program would, with nothing of ours but the published proto files.

    python_client.py URL [PROTO_DIR]

Makes the stubs in a temporary folder, calls every method that is served, and compares what comes back bit for bit.
Prints one line and ends with 0 only if everything held. The log may hold other events: each run uses names of its own.
"""

import struct
import sys
import tempfile
import uuid
from pathlib import Path

import grpc
import grpc_tools
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc

TIMEOUT_SECONDS = 20
SERVICES = ["IngestService", "QueryService", "ConsumerService", "LogService", "AdminService"]
OUTPUT_ONLY = ["offset", "signal_id", "ingest_time"]

passed = 0


def check(claim, held, *seen):
    """Ends the program unless `held`; `seen` is shown with the claim."""
    global passed
    if not held:
        sys.exit(f"python client: FAILED: {claim}" + "".join(f"\n  {value!r}" for value in seen))
    passed += 1


def generate(proto_dir, out):
    """Compiles all proto files and puts the result on the import path."""
    files = sorted(str(path) for path in proto_dir.rglob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    arguments = [f"-I{proto_dir}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    check("the proto files compile", files and protoc.main(["protoc", *arguments, *files]) == 0, proto_dir)
    sys.path.insert(0, out)


def main(url, proto_dir):
    with tempfile.TemporaryDirectory() as out, grpc.insecure_channel(url.removeprefix("http://")) as channel:
        generate(proto_dir, out)
        client = Client(channel)
        client.health_and_reflection()
        client.append_and_read()
        client.append_stream()
        client.subscribe()
        client.latest_and_signals()
        client.refusals()
        client.log_info()
    print(f"python client: {passed} checks passed")


class Client:
    """The stubs, a name of this run's own for its signals, and a method for each thing to show."""

    def __init__(self, channel):
        # Importable only now that they have been generated.
        from downlink.v1 import ingest_service_pb2 as ingest
        from downlink.v1 import ingest_service_pb2_grpc as ingest_grpc
        from downlink.v1 import log_service_pb2 as log
        from downlink.v1 import log_service_pb2_grpc as log_grpc
        from downlink.v1 import query_service_pb2 as query
        from downlink.v1 import query_service_pb2_grpc as query_grpc
        from downlink.v1 import types_pb2 as types

        self.types, self.ingest, self.query, self.log = types, ingest, query, log
        self.channel = channel
        self.ingest_stub = ingest_grpc.IngestServiceStub(channel)
        self.query_stub = query_grpc.QueryServiceStub(channel)
        self.log_stub = log_grpc.LogServiceStub(channel)
        self.prefix = f"python/{uuid.uuid4()}"

    def health_and_reflection(self):
        health = health_pb2_grpc.HealthStub(self.channel)
        for service in ["", "downlink.v1.IngestService", "downlink.v1.QueryService", "downlink.v1.LogService"]:
            request = health_pb2.HealthCheckRequest(service=service)
            answer = health.Check(request, timeout=TIMEOUT_SECONDS, wait_for_ready=True)
            check(f"'{service}' is SERVING", answer.status == health_pb2.HealthCheckResponse.SERVING, answer)
        listed = ProtoReflectionDescriptorDatabase(self.channel).get_services()
        for service in SERVICES:
            check(f"reflection lists {service}", f"downlink.v1.{service}" in listed, listed)

    def append_and_read(self):
        sent = self.difficult_events()
        first = self.append(sent, request_id=(request_id := str(uuid.uuid4())))
        check("a batch gets adjacent offsets", first.last_offset - first.first_offset + 1 == len(sent), first)
        check("the head is behind the batch", first.head_offset > first.last_offset, first)
        check("a first append is no duplicate", not first.duplicate, first)

        again = self.append(sent, request_id=request_id)
        same = (again.first_offset, again.last_offset) == (first.first_offset, first.last_offset)
        check("the same request again is answered as a duplicate", again.duplicate, again)
        check("and with the offsets of the first time", same, first, again)

        events, end = self.read(start=first.first_offset, signals=[f"{self.prefix}/values/*"])
        check("read ends behind the newest event", end.next_offset > first.last_offset, end)
        check("each event was stored once", len(events) == len(sent), len(events), len(sent))
        for number, (before, after) in enumerate(zip(sent, events)):
            check("offsets are dense", after.offset == first.first_offset + number, after)
            check("an event comes back bit for bit", self.content(after) == self.content(before), before, after)
        times = [event.ingest_time.ToNanoseconds() for event in events]
        check("ingest time is given and never runs backwards", times[0] > 0 and times == sorted(times), times)
        ids = {event.signal: event.signal_id for event in events}
        check("each signal has a number of its own", len(set(ids.values())) == len(ids), ids)

    def difficult_events(self):
        """One event for each value that a careless log would change."""

        def double(bits):
            return {"double_value": struct.unpack("<d", struct.pack("<Q", bits))[0]}

        values = [
            *[double(bits) for bits in (0x7FF8_DEAD_BEEF_0001, 0xFFF8_0000_0000_0001)],  # NaNs with a payload
            *[{"double_value": value} for value in (0.0, -0.0, float("inf"), float("-inf"), 5e-324, 0.1)],
            *[{"int_value": value} for value in (-(2**63), 2**63 - 1, -1, 0)],
            *[{"bool_value": value} for value in (False, True)],
            *[{"string_value": value} for value in ("", "line\nbreak, \0 and 🛰", "x" * 100_000)],
            *[{"bytes_value": value} for value in (b"", bytes(range(256)))],
        ]
        events = [
            self.event(f"values/{number}", 1_539_344_400 + number, **value, nanos=number)
            for number, value in enumerate(values)
        ]
        events[0].attributes.update({"": "", "crew": "café", "empty": ""})
        events[1].trace_context = bytes(range(25))
        events[2].quality = self.types.QUALITY_BAD
        events[3].source = "lightstreamer/ISSLIVE"
        events[4].event_time.FromJsonString("0001-01-01T00:00:00Z")
        events[5].event_time.FromJsonString("9999-12-31T23:59:59.999999999Z")
        return events

    def append_stream(self):
        name, start = "stream", self.head()
        batches = [[self.event(name, 10 * batch + row, int_value=row) for row in range(2)] for batch in range(3)]
        producer = self.ingest.AppendStreamRequest.Open(producer_id=f"{self.prefix}/producer", producer_epoch=1)

        answers = self.stream(producer, enumerate(batches, 1))
        opened, acks = answers[0].opened, answers[1:]
        check("a new producer begins at sequence 1", opened.last_durable_sequence == 0, opened)
        check("the limits of a batch are told", opened.max_batch_events > 0 and opened.max_batch_bytes > 0, opened)
        check("all else is acknowledgements", all(a.WhichOneof("message") == "ack" for a in acks), answers)
        check("up to the last batch", acks and acks[-1].ack.through_sequence == len(batches), answers)

        answers = self.stream(producer, [(3, batches[2])])
        opened, ack = answers[0].opened, answers[-1].ack
        check("a producer that returns learns where it was", opened.last_durable_sequence == 3, opened)
        check("and how many events it had appended", opened.durable_events == 6, opened)
        check("a batch sent again is acknowledged as a duplicate", ack.through_sequence == 3 and ack.duplicate, ack)

        events, _ = self.read(start=start, signals=[f"{self.prefix}/{name}"])
        sent = [event for batch in batches for event in batch]
        check("each event was stored once, in order", list(map(self.content, events)) == list(map(self.content, sent)))

    def stream(self, opening, batches):
        request = self.ingest.AppendStreamRequest
        requests = [request(open=opening)]
        requests += [request(batch=request.Batch(sequence=number, events=events)) for number, events in batches]
        answers = list(self.ingest_stub.AppendStream(iter(requests), timeout=TIMEOUT_SECONDS))
        check("the first answer is Opened", answers and answers[0].WhichOneof("message") == "opened", answers)
        return answers

    def subscribe(self):
        signal = f"{self.prefix}/live"
        history = [self.event("live", second, bool_value=True) for second in range(3)]
        live = self.event("live", 99, string_value="appended while subscribed")
        request = self.query.SubscribeRequest(
            start=self.types.Position(offset=self.append(history).first_offset),
            filter=self.types.Filter(signals=[signal]),
        )
        received, kinds = [], []
        call = self.query_stub.Subscribe(request, timeout=TIMEOUT_SECONDS)
        for frame in call:
            kind = frame.WhichOneof("frame")
            check("every frame says where to resume", frame.next_offset > 0, frame)
            if kind == "events":
                received += frame.events.events
            if kind == "caught_up" and kind not in kinds:
                check("history is complete when caught up", len(received) == len(history), received)
                live_offset = self.append([live]).first_offset
            kinds.append(kind)
            if len(received) > len(history):
                break
        call.cancel()
        check("the first frame is Started", kinds[0] == "started", kinds)
        check("CaughtUp comes between history and life", "caught_up" in kinds, kinds)
        check("what is appended meanwhile arrives", received[-1].offset == live_offset, received)
        both = list(map(self.content, [*history, live]))
        check("each event came once, in order", list(map(self.content, received)) == both, received)
        check("the resume token is behind the last event", frame.next_offset == live_offset + 1, frame)

    def latest_and_signals(self):
        older, newer = (self.event("latest", second, int_value=second) for second in (1, 2))
        offset = self.append([older, newer]).last_offset
        request = self.query.GetLatestRequest(signals=[newer.signal])
        latest = self.query_stub.GetLatest(request, timeout=TIMEOUT_SECONDS)
        check("one latest value for one signal", len(latest.values) == 1, latest)
        event = latest.values[0].event
        newest = event.offset == offset and self.content(event) == self.content(newer)
        check("the latest value is the newest event", newest, event)
        check("as of an offset behind it", latest.as_of_offset > offset, latest)

        request = self.query.ListSignalsRequest(filter=f"{self.prefix}/*")
        signals = self.query_stub.ListSignals(request, timeout=TIMEOUT_SECONDS).signals
        names = [signal.name.removeprefix(f"{self.prefix}/") for signal in signals]
        check("signals are listed by name; * stops at /", names == ["latest", "live", "stream"], names)
        counts = [signal.event_count for signal in signals]
        check("with how many events they had", counts == [2, 4, 6], counts)
        check("and their newest event", signals[0].latest.offset == offset, signals[0])

    def refusals(self):
        good, bad = self.event("refused", 1, bool_value=True), self.event("refused", 2, bool_value=True)
        bad.signal = ""
        self.refused([good, good, bad], "events[2].signal")
        bad = self.event("refused", 2)
        self.refused([good, bad], "events[1].value")
        bad = self.event("refused\nname", 2, bool_value=True)
        self.refused([bad, good], "events[0].signal")

        request = self.query.ListSignalsRequest(filter=f"{self.prefix}/refused*")
        signals = self.query_stub.ListSignals(request, timeout=TIMEOUT_SECONDS).signals
        check("nothing of a refused batch is kept", not signals, signals)

        request = self.query.GetLatestRequest(signals=[good.signal])
        details = self.fails(self.query_stub.GetLatest, request, grpc.StatusCode.NOT_FOUND)
        check("an unknown signal is named as the reason", details[0].reason == "SIGNAL_UNKNOWN", details)

    def refused(self, events, field):
        request = self.ingest.AppendRequest(events=events)
        info, bad_request = self.fails(self.ingest_stub.Append, request, grpc.StatusCode.INVALID_ARGUMENT)
        check("ErrorInfo gives the reason", info.reason == "INVALID_EVENT", info)
        violations = bad_request.field_violations
        check("BadRequest names index and field", [v.field for v in violations] == [field], violations, field)
        check("and what is wrong with it", violations[0].description, violations)

    def fails(self, method, request, code):
        """Makes a call that must fail with `code`; gives the ErrorInfo and BadRequest of its details."""
        try:
            answer = method(request, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            check(f"the call fails with {code.name}", error.code() == code, error)
            check("with a message", error.details(), error)
            metadata = {entry.key: entry.value for entry in error.trailing_metadata()}
        else:
            sys.exit(f"python client: FAILED: the call fails with {code.name}\n  {answer!r}")
        status = status_pb2.Status.FromString(metadata.get("grpc-status-details-bin", b""))
        check("the details repeat the code", status.code == code.value[0], status)
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        for detail in status.details:
            detail.Unpack(info)
            detail.Unpack(bad_request)
        check("ErrorInfo is ours", info.domain == "downlink", status)
        return info, bad_request

    def log_info(self):
        info = self.log_stub.GetLogInfo(self.log.GetLogInfoRequest(), timeout=TIMEOUT_SECONDS)
        totals = info.totals
        answered = totals.appended_events + totals.duplicate_events + totals.rejected_events
        check("received = appended + duplicates + rejected", totals.received_events == answered, totals)
        check("duplicates and rejections are counted", totals.duplicate_events and totals.rejected_events, totals)
        check("everything is on disk", info.durable_offset == info.head_offset, info)
        check("the log has an identity", uuid.UUID(info.log_id), info)
        check("the log is serving", info.state == self.log.GetLogInfoResponse.STATE_SERVING, info)

    def event(self, name, seconds, nanos=0, **value):
        """A GOOD event with a value such as `int_value=1`, or without one."""
        event = self.types.Event(signal=f"{self.prefix}/{name}", quality=self.types.QUALITY_GOOD)
        event.event_time.seconds, event.event_time.nanos = seconds, nanos
        if value:
            event.value.CopyFrom(self.types.Value(**value))
        return event

    def content(self, event):
        """What the writer said, as bytes: equal only if every bit is."""
        copy = self.types.Event()
        copy.CopyFrom(event)
        for field in OUTPUT_ONLY:
            copy.ClearField(field)
        return copy.SerializeToString(deterministic=True)

    def append(self, events, **more):
        return self.ingest_stub.Append(self.ingest.AppendRequest(events=events, **more), timeout=TIMEOUT_SECONDS)

    def head(self):
        return self.log_stub.GetLogInfo(self.log.GetLogInfoRequest(), timeout=TIMEOUT_SECONDS).head_offset

    def read(self, start, signals):
        """The events from `start` to the head, and the frame that ends them."""
        request = self.query.ReadRequest(
            start=self.types.Position(offset=start), filter=self.types.Filter(signals=signals)
        )
        frames = list(self.query_stub.Read(request, timeout=TIMEOUT_SECONDS))
        kinds = [frame.WhichOneof("frame") for frame in frames]
        check("read gives events, then one end", set(kinds[:-1]) == {"events"} and kinds[-1] == "end", kinds)
        return [event for frame in frames[:-1] for event in frame.events.events], frames[-1].end


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    default = Path(__file__).resolve().parents[2] / "proto"
    main(sys.argv[1], Path(sys.argv[2]).resolve() if len(sys.argv) == 3 else default)
