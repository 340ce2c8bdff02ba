"""Does to a topic what an operator might: one action, done when the program ends.

    kafka_topic.py BROKERS wait                            until the brokers answer
    kafka_topic.py BROKERS create TOPIC PARTITIONS [name=value ...]
    kafka_topic.py BROKERS delete TOPIC
    kafka_topic.py BROKERS grow TOPIC PARTITIONS           to so many partitions
    kafka_topic.py BROKERS set TOPIC name=value            a setting of the topic
    kafka_topic.py BROKERS ends TOPIC                      prints where each partition begins and ends
    kafka_topic.py BROKERS produce TOPIC [header=value ...]    one message, on partition 0, with these headers
    kafka_topic.py BROKERS repeat TOPIC PARTITION POSITION [header=value ...]    that message again, but for these headers;
                                                           "value=" and hexadecimal digits: with this value
    kafka_topic.py BROKERS truncate TOPIC PARTITION POSITION   removes what is before that message
    kafka_topic.py BROKERS fill TOPIC FILE                 a message for each line: JSON with partition, key, headers, value (hexadecimal)
"""

import json
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    KafkaException,
    NewPartitions,
    NewTopic,
)

TIMEOUT_SECONDS = 60


def done(futures):
    for future in futures.values():
        future.result(TIMEOUT_SECONDS)


def until(what, holds):
    """Waits for what the brokers tell each other only after they have answered."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"kafka topic: {what}: not within {TIMEOUT_SECONDS} s")
        time.sleep(0.05)


def partitions(admin, topic):
    found = admin.list_topics(timeout=TIMEOUT_SECONDS).topics.get(topic)
    return 0 if found is None or found.error is not None else len(found.partitions)


def answers(admin):
    try:
        return admin.list_topics(timeout=1).brokers
    except KafkaException:
        return False


def pairs(arguments):
    return dict(argument.split("=", 1) for argument in arguments)


def message_at(brokers, place):
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "repeat"})
    consumer.assign([place])
    message = consumer.poll(TIMEOUT_SECONDS)
    if message is None or message.error() is not None:
        sys.exit(f"kafka topic: there is no message at {place}")
    consumer.close()
    return message


def main(brokers, action, topic=None, *rest):
    # Without its log lines: brokers that do not answer yet are what is waited for.
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
    until("the brokers answer", lambda: answers(admin))
    if action == "create":
        count = int(rest[0])
        done(admin.create_topics([NewTopic(topic, count, 1, config=pairs(rest[1:]))]))
        until("the topic is there", lambda: partitions(admin, topic) == count)
    elif action == "delete":
        done(admin.delete_topics([topic]))
        until("the topic is gone", lambda: partitions(admin, topic) == 0)
    elif action == "grow":
        count = int(rest[0])
        done(admin.create_partitions([NewPartitions(topic, count)]))
        until("the partitions are there", lambda: partitions(admin, topic) == count)
    elif action == "set":
        ((name, value),) = pairs(rest).items()
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        done(admin.incremental_alter_configs([resource]))
    elif action == "ends":
        consumer = Consumer({"bootstrap.servers": brokers, "group.id": "ends"})
        places = [TopicPartition(topic, number) for number in range(partitions(admin, topic))]
        print(json.dumps([consumer.get_watermark_offsets(place, TIMEOUT_SECONDS) for place in places]))
        consumer.close()
    elif action == "produce":
        producer = Producer({"bootstrap.servers": brokers})
        producer.produce(topic, key=b"", value=b"", partition=0, headers=pairs(rest))
        if producer.flush(TIMEOUT_SECONDS) > 0:
            sys.exit("kafka topic: the message was not taken")
    elif action == "repeat":
        message = message_at(brokers, TopicPartition(topic, int(rest[0]), int(rest[1])))
        changes = pairs(rest[2:])
        value = bytes.fromhex(changes.pop("value")) if "value" in changes else message.value()
        headers = {**dict(message.headers()), **changes}
        producer = Producer({"bootstrap.servers": brokers})
        place = {"partition": message.partition(), "timestamp": message.timestamp()[1]}
        producer.produce(topic, key=message.key(), value=value, headers=headers, **place)
        if producer.flush(TIMEOUT_SECONDS) > 0:
            sys.exit("kafka topic: the message was not taken")
    elif action == "truncate":
        done(admin.delete_records([TopicPartition(topic, int(rest[0]), int(rest[1]))]))
    elif action == "fill":
        producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True, "message.max.bytes": 16 << 20})
        for line in Path(rest[0]).read_text().splitlines():
            message = json.loads(line)
            message["value"] = bytes.fromhex(message["value"])
            producer.produce(topic, **message)
            producer.poll(0)
        if producer.flush(TIMEOUT_SECONDS) > 0:
            sys.exit("kafka topic: some messages were not taken")
    elif action != "wait":
        sys.exit(__doc__)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
