"""Whether a consumer still reads, or has stopped without a word.

aiokafka joins and fetches in tasks of its own. One that ends, or waits for what never comes, is silent: polls come
back empty as if the topic were. A consumer is given up when that lasts although Kafka answers; while Kafka is away it
is left alone, since it finds its way back by itself and a new one would fare no better.
"""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

LOOK_EVERY_S = 1.0

_SILENT_LOOKS = 30
"""Fetches are answered about every 50 ms, with or without events."""

_JOINING_LOOKS = 45
"""A group waits for its slowest member for 30 s (aiokafka's `rebalance_timeout_ms`), for a dead one for its session."""

_ANSWER_WITHIN_S = 5.0


class Pulse:
    """Of one consumer, looked at every LOOK_EVERY_S. Counts looks, not time: a process that was stopped saw nothing."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self._joining = 0
        self._heard: dict[TopicPartition, int | None] = {}
        self._silent: dict[TopicPartition, int] = {}

    async def look(self, *, joining: bool, hungry: bool) -> str:
        """Why the consumer has to be replaced, or "".

        `joining`: it waits for its partitions. `hungry`: all that it had was taken from it since the last look; what it
        holds back for us would be no reason to fetch.
        """
        if ended := self._ended():
            return ended
        if joining:
            self._silent.clear()
            return await self._never_joins()
        self._joining = 0
        return await self._never_fetches(hungry=hungry)

    def _ended(self) -> str:
        """aiokafka 0.14 keeps these to itself; without them nothing goes on, and a cancelled one is not even logged."""
        coordinator, fetcher = self._consumer._coordinator, self._consumer._fetcher
        if coordinator is not None and coordinator._coordination_task.done():
            return "its part in the group has ended"
        if fetcher is not None and fetcher._fetch_task.done():
            return "its fetching has ended"
        return ""

    async def _never_joins(self) -> str:
        self._joining += 1
        if self._joining < _JOINING_LOOKS:
            return ""
        self._joining = 0
        partitions = self._consumer.partitions_for_topic(self._topic) or ()
        if not await self._ends({TopicPartition(self._topic, partition) for partition in partitions}):
            return ""
        return f"no partitions for {_JOINING_LOOKS * LOOK_EVERY_S:g} s though Kafka answers"

    async def _never_fetches(self, *, hungry: bool) -> str:
        heard = {one: self._consumer.last_poll_timestamp(one) for one in self._consumer.assignment()}
        self._silent = {
            one: self._silent.get(one, 0) + hungry if one in self._heard and at == self._heard[one] else 0
            for one, at in heard.items()
        }
        self._heard = heard
        silent = {one for one, looks in self._silent.items() if looks >= _SILENT_LOOKS}
        if not silent:
            return ""
        self._silent.clear()
        for partition, end in (await self._ends(silent)).items():
            if partition in self._consumer.assignment() and end > await self._position(partition):
                return f"nothing read for {_SILENT_LOOKS * LOOK_EVERY_S:g} s though Kafka answers and has events"
        return ""

    async def _ends(self, partitions: set[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the log of each ends; nothing when Kafka does not say so in time."""
        if not partitions:
            return {}
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                ends: dict[TopicPartition, int] = await self._consumer.end_offsets(list(partitions))
        except Exception:  # of whatever type: what a parser makes of an answer; the watch must not end with it
            return {}
        return ends

    async def _position(self, partition: TopicPartition) -> int:
        """Of the next event; -1 when that is not known after so long."""
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                return int(await self._consumer.position(partition))
        except (KafkaError, TimeoutError):
            return -1
