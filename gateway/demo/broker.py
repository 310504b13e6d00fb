"""A Kafka broker for the demo: librdkafka's in-memory cluster in a process of its own, so that it can be stopped.

``python -m gateway.demo.broker`` prints its address and runs until it is ended. It serves one consumer: enough for a
demo, and for nothing else.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from typing import Any

from gateway.core.errors import OrdergateError
from gateway.settings import Kafka

_PARTITIONS = 32
"""The cluster keeps 5 MiB of a partition and drops the oldest beyond that, read or not: with the four that it makes on
its own, an intake that is some seconds behind loses orders."""

_PRODUCER = 0  # RD_KAFKA_PRODUCER, the handle that the cluster lives in


def main() -> None:
    library = _library()
    said = ctypes.create_string_buffer(512)
    conf = library.rd_kafka_conf_new()
    for key, value in ((b"test.mock.num.brokers", b"1"), (b"log_level", b"0")):
        if library.rd_kafka_conf_set(conf, key, value, said, len(said)) != 0:
            raise OrdergateError(f"librdkafka: {said.value.decode()}")
    handle = library.rd_kafka_new(_PRODUCER, conf, said, len(said))
    if not handle:
        raise OrdergateError(f"librdkafka: {said.value.decode()}")
    cluster = library.rd_kafka_handle_mock_cluster(handle)
    address: bytes = library.rd_kafka_mock_cluster_bootstraps(cluster)
    topic = Kafka(bootstrap=address.decode()).topic
    if library.rd_kafka_mock_topic_create(cluster, topic.encode(), _PARTITIONS, 1) != 0:
        raise OrdergateError("librdkafka: the demo's topic cannot be made")
    sys.stdout.write(f"{address.decode()}\n")
    sys.stdout.flush()
    threading.Thread(target=_end_with_parent, daemon=True, name="parent").start()
    threading.Event().wait()


def _library() -> Any:
    """The librdkafka in confluent_kafka, which does not show these calls to Python."""
    from confluent_kafka import cimpl

    library = ctypes.CDLL(cimpl.__file__)
    text, pointer = ctypes.c_char_p, ctypes.c_void_p
    for name, gives, takes in (
        ("rd_kafka_conf_new", pointer, ()),
        ("rd_kafka_conf_set", ctypes.c_int, (pointer, text, text, text, ctypes.c_size_t)),
        ("rd_kafka_new", pointer, (ctypes.c_int, pointer, text, ctypes.c_size_t)),
        ("rd_kafka_handle_mock_cluster", pointer, (pointer,)),
        ("rd_kafka_mock_cluster_bootstraps", text, (pointer,)),
        ("rd_kafka_mock_topic_create", ctypes.c_int, (pointer, text, ctypes.c_int, ctypes.c_int)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = gives, takes
    return library


def _end_with_parent() -> None:
    """The other end of our standard input is the demo's: at its end, however it came, so do we."""
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
