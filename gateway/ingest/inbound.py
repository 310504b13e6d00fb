"""Makes events durable: on Kafka where it is configured and answers in time, otherwise in the inbox.

The sender is told "taken" only behind one of the two. An event may end up on both legs (Kafka acknowledges late,
after the inbox has taken over, or is tried again with it): intake does not care.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RecordTooLargeError,
    RequestTimedOutError,
)

from gateway.core.errors import Unavailable
from gateway.core.event import Event, Leg
from gateway.core.happening import Accepted, Observer, Trouble
from gateway.core.text import NOTHING, Text
from gateway.store.inbox import put
from gateway.store.sql import kind_of

_ASK_AGAIN_S = 5.0
"""After a time-out the other leg carries everything for so long; then one event, or the last one, tries Kafka again."""

_REFUSALS = 3
"""So many refusals in a row that are not time-outs, and the producer is replaced."""

_REPLACE_AFTER_S = 1.0
_STOP_WITHIN_S = 2.0

_INBOX_GROUP = 500


class KafkaLeg:
    """Produces with `acks=all` and idempotence. Starts, and starts again, in the background."""

    def __init__(
        self,
        *,
        topic: str,
        options: Mapping[str, Any],
        acknowledge_within_s: float,
        clock: Callable[[], float],
        observe: Observer,
        start_within_s: float = 15.0,
        ask_again_s: float = _ASK_AGAIN_S,
    ) -> None:
        self._topic = topic
        self._options = dict(options)
        self._within_s = acknowledge_within_s
        self._start_within_s = start_within_s
        self._ask_again_s = ask_again_s
        self._clock = clock
        self._observe = observe
        self._producer: AIOKafkaProducer | None = None
        self._broken: asyncio.Future[None] | None = None
        self._unacknowledged: Event | None = None
        self._down_until = 0.0
        self._refusals = 0
        self._refused_at = 0.0

    async def run(self) -> None:
        """Keep a producer until cancelled; without a broker the gateway runs all the same.

        A producer reconnects by itself, but one whose sending task has ended, or that refuses again and again, never
        recovers: it is replaced. While the last event is not acknowledged it is tried again now and then: in a quiet
        night no other may come. Nothing less tells that Kafka takes events: a broker that answers, and even one that
        leads the partition, still refuses them while too few replicas are in sync.
        """
        while True:
            producer = AIOKafkaProducer(
                acks="all",
                enable_idempotence=True,
                linger_ms=2,
                max_request_size=2 * 1024 * 1024,
                **self._options,
            )
            pause_s = _REPLACE_AFTER_S
            try:
                if await self._started(producer):
                    broken = self._broken = asyncio.get_running_loop().create_future()
                    _sending(producer).add_done_callback(partial(_settle, broken))
                    self._refusals = 0
                    self._producer = producer
                    while not broken.done():
                        await asyncio.wait([broken], timeout=self._ask_again_s)
                        if self._unacknowledged is not None and not broken.done():
                            await self.put(self._unacknowledged)
                    self._observe([Trouble("kafka", "the producer is dead, another one takes its place")])
                else:
                    pause_s = self._ask_again_s
            finally:
                self._producer = None
                await self._discard(producer)
            await asyncio.sleep(pause_s)

    @property
    def up(self) -> bool:
        """Whether there is a producer, and the last event it was given was acknowledged (or none was given yet)."""
        return self._producer is not None and self._unacknowledged is None

    async def put(self, event: Event) -> bool:
        """Whether the brokers have acknowledged `event` in time. False is not a promise that they never will."""
        producer = self._producer
        now = self._clock()
        if producer is None or now < self._down_until:
            return False
        try:
            record = self._record(event)
        except UnicodeError:
            self._observe([Trouble("kafka", "an event cannot be encoded, the inbox is asked to take it")])
            return False
        # Until this one is through, the others need not find out the same.
        was_failing = self._unacknowledged is not None
        if was_failing:
            self._down_until = now + self._ask_again_s
        acknowledged: asyncio.Future[Any] | None = None
        try:
            async with asyncio.timeout(self._within_s):
                acknowledged = await producer.send(self._topic, **record)
                # Shielded: the batch is shared with other events, and may well be acknowledged later.
                await asyncio.shield(acknowledged)
        except (MessageSizeTooLargeError, RecordListTooLargeError, RecordTooLargeError):
            # Says nothing about the brokers: the topic takes less than we do. The inbox carries this one event.
            self._down_until = 0.0
            if event is self._unacknowledged:
                self._unacknowledged = None  # it would be refused for ever
            self._observe([Trouble("kafka", "an event is larger than the topic allows, the inbox takes it")])
            if acknowledged is not None and producer is self._producer:
                # The brokers did not count it and the producer did (aiokafka 0.14): whatever else it sends to that
                # partition would be refused as out of order.
                self._replace()
            return False
        except Exception as error:  # what ended a producer's sending task comes out here, of whatever type
            if producer is self._producer:  # one that has been replaced meanwhile says nothing about its successor
                self._fail(event, error, began_at=now, was_failing=was_failing)
            return False
        self._unacknowledged = None
        self._down_until = 0.0
        self._refusals = 0
        return True

    def _replace(self) -> None:
        """Have `run` start another producer, and give nothing more to this one meanwhile."""
        self._producer = None
        if self._broken is not None:
            _settle(self._broken)

    def _record(self, event: Event) -> dict[str, Any]:
        return {
            "value": event.body,
            "key": event.key.encode(),
            "headers": [
                ("ce_specversion", b"1.0"),
                ("ce_id", event.id.encode()),
                ("ce_source", event.source.encode()),
                ("ce_type", event.type.encode()),
                ("ce_time", event.time.isoformat().encode()),
                ("content-type", b"application/octet-stream"),
                *([("traceparent", event.traceparent.encode())] if event.traceparent else []),
            ],
        }

    def _fail(self, event: Event, error: Exception, *, began_at: float, was_failing: bool) -> None:
        now = self._clock()
        if not isinstance(error, TimeoutError | KafkaTimeoutError | RequestTimedOutError):
            # Those that were under way together count as one.
            if self._refusals == 0 or began_at > self._refused_at:
                self._refusals += 1
                self._refused_at = now
            if self._refusals >= _REFUSALS and self._broken is not None:
                _settle(self._broken)
        else:
            self._refusals = 0
        self._unacknowledged = event
        self._down_until = now + self._ask_again_s
        if not was_failing:
            self._observe([Trouble("kafka", f"not acknowledged: {type(error).__name__}, the inbox takes over")])

    async def _started(self, producer: AIOKafkaProducer) -> bool:
        try:
            # Left alone it never ends where brokers answer, but name addresses for themselves that cannot be reached.
            async with asyncio.timeout(self._start_within_s):
                await producer.start()
        except Exception as error:  # of whatever type: what a parser makes of an answer, or a codec of a host name
            what = f"producer not started: {type(error).__name__}, the inbox takes over (`ordergate check` says why)"
            self._observe([Trouble("kafka", what)])
            return False
        return True

    async def _discard(self, producer: AIOKafkaProducer) -> None:
        """Stop `producer` and let go of its connections, within bounds."""
        try:
            async with asyncio.timeout(_STOP_WITHIN_S):
                await producer.stop()
        except Exception as error:  # a dead producer fails in ways of its own
            self._observe([Trouble("kafka", f"producer not stopped: {type(error).__name__}")])
            # It still waits for batches that nobody takes. What they hold is in the inbox.
            if producer._sender.sender_task is not None:
                _sending(producer).cancel()
            try:
                async with asyncio.timeout(_STOP_WITHIN_S):
                    await producer.client.close()
            except (TimeoutError, KafkaError, OSError):
                pass  # told above


def _settle(future: asyncio.Future[None], _: object = None) -> None:
    if not future.done():
        future.set_result(None)


def _sending(producer: AIOKafkaProducer) -> asyncio.Task[None]:
    """The task that sends a started producer's batches; without it every event is refused (aiokafka 0.14)."""
    task: asyncio.Task[None] = producer._sender.sender_task
    return task


class InboxLeg:
    """Writes events into the inbox, all that came meanwhile in one transaction."""

    def __init__(self, pool: asyncpg.Pool, *, observe: Observer) -> None:
        self._pool = pool
        self._observe = observe
        self._waiting: list[tuple[Event, asyncio.Future[None]]] = []
        self._writing: list[tuple[Event, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._refused: tuple[Event, Text] | None = None

    @property
    def refused(self) -> Text:
        """Why the database did not take the last event; nothing when it did."""
        return NOTHING if self._refused is None else self._refused[1]

    async def put(self, event: Event) -> None:
        """Returns when `event` is durable. Raises Unavailable."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, future))
        self._wake.set()
        await future

    async def run(self) -> None:
        """Until cancelled; whoever still waits then is told to send again: what was being written may be there.

        An event that was refused is tried again now and then, as on the other leg: whoever takes a worker that is not
        ready out of a load balancer sends it no other.
        """
        try:
            while True:
                if not await self._woken_within(None if self._refused is None else _ASK_AGAIN_S):
                    await self._ask_again()
                    continue
                self._wake.clear()
                while self._waiting:
                    self._writing, self._waiting = self._waiting[:_INBOX_GROUP], self._waiting[_INBOX_GROUP:]
                    await self._write(self._writing)
        finally:
            for _, future in (*self._writing, *self._waiting):
                if not future.done():
                    future.set_exception(Unavailable("the gateway is stopping"))

    async def _woken_within(self, pause_s: float | None) -> bool:
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    async def _ask_again(self) -> None:
        """Whether the database takes the event that it refused: its sender was told to send it again either way."""
        assert self._refused is not None
        event = self._refused[0]
        try:
            await put(self._pool, [event])
            self._refused = None
        except Unavailable as away:
            self._refused = None if _is_of_a_value(away) else (event, _why(away))
        except Exception as error:
            self._refused = None
            # Of this event, not of the database, which answers. Who sends it again is told; here nobody listens.
            self._observe([Trouble("inbox", f"an event that was refused cannot be stored: {type(error).__name__}")])

    async def _write(self, group: list[tuple[Event, asyncio.Future[None]]]) -> None:
        error: Unavailable | None = None
        try:
            await put(self._pool, [event for event, _ in group])
            self._refused = None
        except Unavailable as away:
            error = away
            if not _is_of_a_value(away):
                self._refused = (group[-1][0], _why(away))
        except Exception as refused:
            # One event the database refuses, or that cannot even be encoded, must take neither the others nor the leg
            # with it: a leg that ends ends the worker.
            if len(group) > 1:
                for one in group:
                    await self._write([one])
                return
            error = Unavailable(f"the inbox refuses the event: {type(refused).__name__}", retry_after_s=60.0)
        for _, future in group:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(Unavailable(str(error), retry_after_s=error.retry_after_s))


def _is_of_a_value(away: Unavailable) -> bool:
    """Whether asyncpg could not encode one: that says nothing about the database."""
    return isinstance(away.__cause__, ValueError)


def _why(away: Unavailable) -> Text:
    return kind_of(away.__cause__ or away)


class Inbound:
    """The inbound stream with its two legs."""

    def __init__(self, *, kafka: KafkaLeg | None, inbox: InboxLeg, observe: Observer) -> None:
        self._kafka = kafka
        self._inbox = inbox
        self._observe = observe

    async def put(self, event: Event) -> Leg:
        """The leg `event` is durable on. Raises Unavailable when neither can take it."""
        leg = Leg.KAFKA
        if self._kafka is None or not await self._kafka.put(event):
            await self._inbox.put(event)
            leg = Leg.INBOX
        self._observe([Accepted(event.source, leg)])
        return leg
