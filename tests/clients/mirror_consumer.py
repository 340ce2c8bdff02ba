"""Reads a topic of the mirror as any Kafka consumer would, with nothing of ours but the published proto files.

    mirror_consumer.py BROKERS TOPIC [PROTO_DIR]

Reads every partition from its first message to the end that it has at the start, and prints a line of JSON for each message:
where it is, its key, headers and timestamp, its bytes (hexadecimal) and the event they decode to (proto3 JSON). The last line
says where the partitions begin and end. A message that cannot be decoded ends the program.
"""

import json
import sys
import tempfile
from pathlib import Path

import grpc_tools
from confluent_kafka import TIMESTAMP_CREATE_TIME, Consumer, KafkaException, TopicPartition
from google.protobuf.json_format import MessageToDict
from grpc_tools import protoc

TIMEOUT_SECONDS = 30
MESSAGES_AT_ONCE = 10_000


def event_type(proto_dir, out):
    """Compiles the proto files, and gives the message that a value is."""
    files = sorted(str(path) for path in proto_dir.rglob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    arguments = [f"-I{proto_dir}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    if not files or protoc.main(["protoc", *arguments, *files]) != 0:
        sys.exit(f"mirror consumer: the proto files in {proto_dir} do not compile")
    sys.path.insert(0, out)
    from downlink.v1 import types_pb2

    return types_pb2.Event


def ends(consumer, topic):
    """Where each partition begins and ends."""
    metadata = consumer.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic]
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    partitions = sorted(metadata.partitions)
    return {
        partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_SECONDS)
        for partition in partitions
    }


def messages(consumer, topic, ends):
    """Every message between the ends."""
    missing = {partition: end for partition, (first, end) in ends.items() if first < end}
    consumer.assign([TopicPartition(topic, partition, ends[partition][0]) for partition in missing])
    while missing:
        received = consumer.consume(MESSAGES_AT_ONCE, timeout=TIMEOUT_SECONDS)
        if not received:
            sys.exit(f"mirror consumer: nothing came for {TIMEOUT_SECONDS} s, but {missing} is not reached")
        for message in received:
            if message.error() is not None:
                raise KafkaException(message.error())
            # What has come since the start is left for another run.
            if message.offset() < ends[message.partition()][1]:
                yield message
            if message.offset() + 1 >= ends[message.partition()][1]:
                missing.pop(message.partition(), None)


def line(message, Event):
    """What is to be known of a message."""
    event = Event.FromString(message.value())
    kind, timestamp_ms = message.timestamp()
    return {
        "partition": message.partition(),
        "position": message.offset(),
        "key": message.key().decode(),
        "headers": [[key, value.decode()] for key, value in message.headers() or []],
        "timestamp_ms": timestamp_ms if kind == TIMESTAMP_CREATE_TIME else None,
        "value": message.value().hex(),
        "event": MessageToDict(event),
    }


def main(brokers, topic, proto_dir):
    with tempfile.TemporaryDirectory() as out:
        Event = event_type(proto_dir, out)
        settings = {"bootstrap.servers": brokers, "group.id": "mirror-consumer", "enable.auto.commit": False}
        consumer = Consumer(settings | {"auto.offset.reset": "error", "isolation.level": "read_uncommitted"})
        found = ends(consumer, topic)
        for message in messages(consumer, topic, found):
            print(json.dumps(line(message, Event)))
        print(json.dumps({"ends": list(found.values())}))
        consumer.close()


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    default = Path(__file__).resolve().parents[2] / "proto"
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]).resolve() if len(sys.argv) == 4 else default)
