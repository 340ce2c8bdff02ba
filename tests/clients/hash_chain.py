"""Computes the hash of a log as README.md describes it, with nothing of ours but the published proto files.

    hash_chain.py URL [TOPIC_LINES]

Reads the whole log, or, with TOPIC_LINES, what mirror_consumer.py has printed of its topic, and prints one line of JSON:
the hash of all events below the server's `hash_offset`, that offset, and the server's own hash.
"""

import json
import struct
import sys
import tempfile
from pathlib import Path

import grpc
import grpc_tools
from blake3 import blake3
from grpc_tools import protoc

TIMEOUT_SECONDS = 120
LINK_EVENTS = 65_536
KINDS = ["double_value", "int_value", "bool_value", "string_value", "bytes_value"]


def generate(proto_dir, out):
    """Compiles all proto files and puts the result on the import path."""
    files = sorted(str(path) for path in proto_dir.rglob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    arguments = [f"-I{proto_dir}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    if not files or protoc.main(["protoc", *arguments, *files]) != 0:
        sys.exit(f"hash chain: the proto files in {proto_dir} do not compile")
    sys.path.insert(0, out)


def sized(data):
    """Bytes behind their length."""
    return struct.pack("<I", len(data)) + data


def value_bytes(kind, value):
    """A value of a kind."""
    match kind:
        case "double_value":
            return struct.pack("<d", value)
        case "int_value":
            return struct.pack("<q", value)
        case "bool_value":
            return struct.pack("<B", value)
        case "string_value":
            return sized(value.encode())
        case _:
            return sized(value)


def canonical(event):
    """An event as it is hashed."""
    kind = event.value.WhichOneof("kind")
    taken, happened = event.ingest_time, event.event_time
    parts = [
        struct.pack("<QI", event.offset, event.signal_id),
        struct.pack("<qIqI", taken.seconds, taken.nanos, happened.seconds, happened.nanos),
        struct.pack("<BB", event.quality, KINDS.index(kind) + 1),
        value_bytes(kind, getattr(event.value, kind)),
        sized(event.signal.encode()),
        sized(event.source.encode()),
        sized(event.trace_context),
        struct.pack("<I", len(event.attributes)),
    ]
    pairs = sorted((name.encode(), value.encode()) for name, value in event.attributes.items())
    return b"".join(parts + [sized(name) + sized(value) for name, value in pairs])


def hash_of(events, end):
    """The hash of all events below an offset."""
    digest = blake3(b"downlink chain 1").digest()
    link, next_offset = blake3(digest), 1
    for event in events:
        if event.offset >= end:
            break
        if event.offset != next_offset:
            sys.exit(f"hash chain: offset {event.offset} where {next_offset} should be")
        link.update(canonical(event))
        if next_offset % LINK_EVENTS == 0:
            digest = link.digest()
            link = blake3(digest)
        next_offset += 1
    if next_offset != end:
        sys.exit(f"hash chain: the events end at {next_offset}, the hash at {end}")
    return (digest if (end - 1) % LINK_EVENTS == 0 else link.digest()).hex()


def read(channel):
    """Every event of the log."""
    from downlink.v1 import query_service_pb2, query_service_pb2_grpc, types_pb2

    every = types_pb2.Filter(signals=["**", "_**"])
    request = query_service_pb2.ReadRequest(filter=every)
    for response in query_service_pb2_grpc.QueryServiceStub(channel).Read(request, timeout=TIMEOUT_SECONDS):
        if response.WhichOneof("frame") == "gap":
            sys.exit(f"hash chain: the log is damaged: {response.gap}")
        yield from response.events.events


def mirrored(lines):
    """Every event of a topic, in the order of the log."""
    from downlink.v1 import types_pb2

    messages = (json.loads(line) for line in lines.splitlines())
    values = (bytes.fromhex(message["value"]) for message in messages if "value" in message)
    return sorted(map(types_pb2.Event.FromString, values), key=lambda event: event.offset)


def main(url, topic_lines):
    with tempfile.TemporaryDirectory() as out, grpc.insecure_channel(url.removeprefix("http://")) as channel:
        generate(Path(__file__).resolve().parents[2] / "proto", out)
        from downlink.v1 import log_service_pb2, log_service_pb2_grpc

        stub = log_service_pb2_grpc.LogServiceStub(channel)
        info = stub.GetLogInfo(log_service_pb2.GetLogInfoRequest(), timeout=TIMEOUT_SECONDS)
        events = read(channel) if topic_lines is None else mirrored(Path(topic_lines).read_text())
        found = hash_of(events, info.hash_offset)
    print(json.dumps({"computed": found, "hash_offset": info.hash_offset, "head_hash": info.head_hash.hex()}))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else None)
