"""A Kafka broker for the demo: librdkafka's in-memory cluster in a process of its own, so that it can be stopped.

``python -m gateway.demo.broker`` prints its address and runs until it is ended. It holds 5 MiB a partition and serves
one consumer: enough for a demo, and for nothing else.
"""

from __future__ import annotations

import os
import sys
import threading


def main() -> None:
    from confluent_kafka import Producer

    cluster = Producer({"bootstrap.servers": "ignored", "test.mock.num.brokers": 1, "log_level": 0})
    broker = next(iter(cluster.list_topics(timeout=10).brokers.values()))
    sys.stdout.write(f"{broker.host}:{broker.port}\n")
    sys.stdout.flush()
    threading.Thread(target=_end_with_parent, daemon=True, name="parent").start()
    while True:
        cluster.poll(0.5)


def _end_with_parent() -> None:
    """The other end of our standard input is the demo's: at its end, however it came, so do we."""
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
