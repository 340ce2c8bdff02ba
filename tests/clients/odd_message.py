"""Puts a message into partition 0 of a topic that no client library lets one make: the name of a header is not UTF-8.

    odd_message.py HOST:PORT TOPIC
"""

import socket
import struct
import sys
import time

TIMEOUT_SECONDS = 60
PRODUCE = 0
PRODUCE_VERSION = 3
# The polynomial of CRC-32C, its bits in reverse.
CASTAGNOLI = 0x82F63B78


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (CASTAGNOLI if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def varint(number):
    """As records have their lengths."""
    left = (number << 1) ^ (number >> 63)
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def text(name):
    return struct.pack(">h", len(name)) + name


def batch(header_name):
    """One record, with one header."""
    header = varint(1) + varint(len(header_name)) + header_name + varint(1) + b"x"
    # Attributes, time and offset; no key; an empty value.
    record = b"\0" + varint(0) + varint(0) + varint(-1) + varint(0) + header
    now = int(time.time() * 1000)
    checked = struct.pack(">hiqqqhii", 0, 0, now, now, -1, -1, -1, 1) + varint(len(record)) + record
    after_length = struct.pack(">ibI", -1, 2, crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(after_length)) + after_length


def main(broker, topic):
    host, port = broker.rsplit(":", 1)
    records = batch(b"\xff\xfe")
    body = struct.pack(">hhi", -1, -1, 1000 * TIMEOUT_SECONDS)
    body += struct.pack(">i", 1) + text(topic.encode()) + struct.pack(">ii", 1, 0)
    body += struct.pack(">i", len(records)) + records
    request = struct.pack(">hhi", PRODUCE, PRODUCE_VERSION, 1) + text(b"odd") + body
    with socket.create_connection((host, int(port)), TIMEOUT_SECONDS) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.makefile("rb")
        (length,) = struct.unpack(">i", answer.read(4))
        response = answer.read(length)
    # The number of the request, one topic, its name, one partition, its number, then the error.
    at = 4 + 4 + 2 + len(topic.encode()) + 4 + 4
    (error,) = struct.unpack_from(">h", response, at)
    if error != 0:
        sys.exit(f"odd message: the broker answers with error {error}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
