"""The composition root: builds one worker from the settings, runs it in one TaskGroup, and stops it in order.

Stop order: no new requests, no more polling → batches under way finish and their offsets are committed → sends in
flight end or are left in doubt → outcomes are written → the worker retires. Each step has its part of `stop_within_s`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime, timedelta
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import asyncpg
import msgspec
from aiohttp import web

from gateway.api.health import Health
from gateway.api.server import PREFIX, Api
from gateway.brokers import kafka_options, topic_id
from gateway.core.clock import DATABASE, Reading
from gateway.core.errors import Fenced, OrdergateError
from gateway.core.event import ConnectionName
from gateway.core.happening import GateChanged, Happening, Observer, Trouble
from gateway.core.order import Operation
from gateway.core.sound import Decode
from gateway.dispatch.breaker import Breaker, BreakerChanged
from gateway.dispatch.concurrency import AdaptiveLimit
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.gate import Gate
from gateway.dispatch.lease import Lease, clock_s
from gateway.dispatch.levels import LevelPublisher
from gateway.dispatch.limiter import RateLimiter, RetryBudget
from gateway.ingest.duty import Duty
from gateway.ingest.inbound import Inbound, InboxLeg, KafkaLeg
from gateway.ingest.webhook import Hooks
from gateway.intake.batch import Decider
from gateway.intake.inbox import InboxReader
from gateway.intake.kafka import KafkaReader
from gateway.listener import Listener
from gateway.loose import tells_loose
from gateway.parts import (
    KEEPER_CONNECTIONS,
    NIGHT_CONNECTIONS,
    TELLING_CONNECTIONS,
    Clock,
    ages_of,
    breaker_policy_of,
    desk_of,
    gate_policy_of,
    level_policy_of,
    notifier_of,
    now,
    retry_policy_of,
    rules_of,
    setup_of,
    sources_of,
    telling_of,
)
from gateway.pipeline.rules import Rules
from gateway.sdk.adapter import Source
from gateway.sdk.cancelled import insist
from gateway.sdk.http import Http
from gateway.sdk.pull import LevelTarget
from gateway.settings import Connection, Mode, Settings
from gateway.shops import NamedLoop, ShopParts, Shops
from gateway.shown import (
    GAUGES_EVERY_S,
    backlog_shown,
    begin_series,
    gate_view,
    show_connections,
    show_gates,
    show_worker,
    sighted,
)
from gateway.stall import LoopWatch
from gateway.store.configured import kept_start_at
from gateway.store.credentials import CHANNEL
from gateway.store.levels import forget_told
from gateway.store.outbox import adopt, doubt_before, start_worker
from gateway.store.prefixes import changed_prefixes, former_prefixes, refused_prefixes, renamed_shops
from gateway.store.queries import lanes_without_gate, orders_at_none, orders_of_none, watched_since
from gateway.store.reparse import Reads
from gateway.store.sql import (
    AWAY,
    Names,
    listen,
    open_pool,
    pending_migrations,
    register_connections,
    replaced,
    told_in_one_line,
)
from gateway.store.vault import vault_of
from gateway.telemetry.health import Part, State
from gateway.telemetry.logs import Logs, Writer
from gateway.telemetry.mapped import map_with_room
from gateway.telemetry.metrics import Gauges, Metrics
from gateway.telemetry.observe import MetricsObserver
from gateway.watch.away import Answers, AwayWatch
from gateway.watch.backlog import BacklogWatch
from gateway.watch.clock import ClockWatch
from gateway.watch.ledger import LedgerWatch
from gateway.watch.notices import NoticeWatch, Sightings, Telling
from gateway.watch.purge import Hours, PurgeWatch
from gateway.watch.redrive import RedriveLoop

KAFKA_SESSION_TIMEOUT_MS = 10_000
EXIT_FENCED = 75
KILLED_LATER_S = 5.0
"""So long after its deadline a worker is killed that has not ended; as `supervise` gives it five seconds less."""
BEAT_EVERY_S = 1.0
CANCEL_AGAIN_S = 3.0
"""More than any task takes to clean up after itself."""

Reader = InboxReader | KafkaReader

Loop = tuple[str, Callable[[], Coroutine[Any, Any, None]]]
"""A task's name, and what it does until it is cancelled."""


class WorkerPlace(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told by whoever started it.

    `name` is `<run>/<slot>`: a process that starts under a name knows that the one before is dead.
    """

    name: str
    sock: socket.socket
    lifeline_fd: int | None = None
    """Reads as ended when the parent is gone; then this worker stops too."""
    pulse_fd: int | None = None
    """Given a byte each second; without one for long the parent takes this worker for hung, and kills it."""
    stop_within_s: float = 20.0


def crash_points(environ: Mapping[str, str]) -> Callable[[str], None]:
    """``ORDERGATE_CRASH_AT=gate.after_send:3`` ends this process, as `kill -9` would, at the third time there.

    For the crash tests; without the variable reaching a point costs one call.
    """
    place, _, nth = environ.get("ORDERGATE_CRASH_AT", "").partition(":")
    if not place:
        return lambda _: None
    left = int(nth or 1)

    def reach(name: str) -> None:
        nonlocal left
        if name == place:
            left -= 1
            if left == 0:
                os._exit(137)

    return reach


class Worker:
    """One worker process. `run` returns after an orderly stop and raises Fenced when it has been replaced.

    `now` is the clock by which platforms are asked and signatures hold; deadlines, leases and pauses have their own.
    """

    def __init__(
        self,
        settings: Settings,
        place: WorkerPlace,
        *,
        url: str,
        observe: Observer,
        gauges: Gauges | None = None,
        now: Clock = now,
    ) -> None:
        self._settings = settings
        self._place = place
        self._url = url
        self._observe = observe
        self._gauges = gauges
        self._now = now
        self._reach = crash_points(os.environ)
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    def _end_without_parent(self, lifeline_fd: int, loop: asyncio.AbstractEventLoop) -> None:
        """Stop once the parent is gone; past the deadline, at which it would have killed us, whatever is left.

        In a thread: a loop that an adapter blocks would do neither, and keep the address of the next gateway for ever.
        """
        gone = select.poll()
        gone.register(lifeline_fd, select.POLLIN)
        gone.poll()
        with suppress(RuntimeError):  # the loop is closed: it ends already
            loop.call_soon_threadsafe(self.stop)
        time.sleep(self._place.stop_within_s + KILLED_LATER_S)
        os._exit(os.EX_TEMPFAIL)

    def _beat(self, pulse_fd: int, watch: LoopWatch) -> None:
        # Whether the parent reads or not: the pipe may be full, or closed.
        with suppress(OSError):
            os.write(pulse_fd, b".")
        watch.beat()
        asyncio.get_running_loop().call_later(BEAT_EVERY_S, self._beat, pulse_fd, watch)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(tells_loose(self._observe))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        if self._place.lifeline_fd is not None:
            waits = (self._place.lifeline_fd, loop)
            threading.Thread(target=self._end_without_parent, args=waits, name="lifeline", daemon=True).start()
        async with AsyncExitStack() as stack:
            if self._place.pulse_fd is not None:
                os.set_blocking(self._place.pulse_fd, False)
                self._beat(self._place.pulse_fd, stack.enter_context(LoopWatch(self._observe)))
            vault = vault_of(self._settings.encryption.decoded)
            # What fails at the start. What a part of a living worker fails with comes in a group, and is shown whole.
            await stack.enter_async_context(told_in_one_line())
            pool = await open_pool(self._url, size=self._settings.database.pool_size, vault=vault)
            stack.push_async_callback(_close, pool)
            # The parent has brought it up, unless it is of the release before and the program was replaced under it.
            if pending := await pending_migrations(pool):
                raise OrdergateError(replaced(pending))
            names = await register_connections(pool, self._settings.connections)
            # The parent has looked as well, but another gateway may have been started since, with another prefix.
            live = self._settings.prefixes(Mode.LIVE)
            if changed := await changed_prefixes(pool, live, self._settings.switched_over):
                raise OrdergateError(refused_prefixes(changed))
            renamed = await renamed_shops(pool, self._settings.shop_prefixes, self._settings.adapters)
            self._settings = self._settings.with_starts(await kept_start_at(pool, renamed))
            await self._run(pool, names, renamed, stack)

    async def _run(
        self,
        pool: asyncpg.Pool,
        names: Names,
        renamed: Mapping[ConnectionName, ConnectionName],
        stack: AsyncExitStack,
    ) -> None:
        """The parts, from the way out to the way in, each built of those before it; then their life."""
        dispatcher, shops = await self._dispatcher(pool, names, stack)
        sources = sources_of(self._settings, now=self._now)
        doubtful = await doubt_before(pool)
        decoders = {name: source.decode for name, source in sources.items()} | shops.decoders()
        former = await former_prefixes(pool, self._settings.shop_prefixes, renamed)
        rules = rules_of(self._settings, renamed, former, await kept_start_at(pool, {}))
        decider = self._decider(pool, names, rules, decoders=decoders, dispatcher=dispatcher, doubtful=doubtful)
        inbox_wake = asyncio.Event()
        readers = self._readers(pool, decider, inbox_wake, dispatcher)
        of_kafka = [reader for reader in readers if isinstance(reader, KafkaReader)]
        inbox_leg, kafka_leg = InboxLeg(pool, observe=self._observe), self._kafka_leg()
        inbound = Inbound(kafka=kafka_leg, inbox=inbox_leg, observe=self._observe)
        hooks = self._hooks(sources, inbound)
        await self._tell_stranded(pool, dispatcher, told=[*self._settings.connections, *renamed])
        gates = {(names.id(target), str(operation)) for target, operation in dispatcher.gates}
        redrive = RedriveLoop(pool, gates=gates, observe=self._observe, reach=self._reach)
        woken = {
            "ordergate_inbox": lambda _: inbox_wake.set(),
            "ordergate_lane": dispatcher.wake,
            CHANNEL: shops.authorisations.wake,
            "ordergate_redrive": lambda _: redrive.wake.set(),
        }
        background: list[Loop] = [
            ("listen", partial(_listen, self._url, woken)),
            ("inbox leg", inbox_leg.run),
            ("authorisations", shops.authorisations.run),
            ("redrive", redrive.run),
        ]
        if kafka_leg is not None:
            background.append(("kafka leg", kafka_leg.run))
        background += await self._purging(dispatcher.worker_id, stack)
        background += self._watching(
            pool, names, dispatcher, shops, readers=of_kafka, kafka_leg=kafka_leg, inbox_leg=inbox_leg
        )
        tellers: dict[str, Http] = {}
        clocks = self._clocks(pool, shops, tellers)
        background.append(("clock", clocks.run))
        telling = telling_of(self._settings, renamed)
        background += await self._telling(pool, telling, dispatcher, kafka_leg, of_kafka, clocks, tellers, stack)
        silent = [c for c in self._settings.connections.values() if not c.publishes_levels]
        await forget_told(pool, [names.id(connection.name) for connection in silent])
        duties = shops.duties(inbound, [partial(self._publishing, pool, dispatcher)])
        await dispatcher.first_controls()
        # Last: whoever is answered finds everything in place.
        health = self._health(pool, dispatcher, of_kafka, inbox_leg, kafka_leg)
        server = await self._serve(
            hooks, self._api(pool, names, rules, dispatcher=dispatcher, decoders=decoders, reads=decider.reads), health
        )
        stack.push_async_callback(server.cleanup)
        await self._live(server=server, readers=readers, dispatcher=dispatcher, duties=duties, background=background)

    async def _live(
        self,
        *,
        server: Listener,
        readers: Sequence[Reader],
        dispatcher: Dispatcher,
        duties: Sequence[Duty],
        background: Sequence[Loop],
    ) -> None:
        """Run everything until `stop`; then stop it in the order this module opens with."""
        within_s = self._place.stop_within_s
        async with asyncio.TaskGroup() as group:
            looping = [group.create_task(loop(), name=name) for name, loop in background]
            sending = group.create_task(dispatcher.run(stop_within_s=within_s / 2), name="dispatcher")
            reading = [group.create_task(reader.run(), name=type(reader).__name__) for reader in readers]
            owning = [group.create_task(duty.run(), name=f"duty {duty.connection}") for duty in duties]
            try:
                await self._stop.wait()
                for duty in duties:
                    duty.stop()
                await server.cleanup()
                if owning:
                    await asyncio.wait(owning, timeout=within_s / 4)
                for reader in readers:
                    reader.stop()
                await asyncio.wait(reading, timeout=within_s / 3)
                # The dispatcher retires this worker and frees its shops with it: nothing may be asked of them after.
                for task in owning:
                    task.cancel()
                if owning:
                    # Not for good: behind an adapter that cannot be cut off all that this worker holds would be left in
                    # doubt, once its parent has lost patience.
                    await asyncio.wait(owning, timeout=within_s / 8)
                dispatcher.stop()
                await asyncio.wait([sending])
                for task in (*looping, *reading):
                    task.cancel()
            finally:
                insist((sending, *looping, *reading, *owning), every_s=CANCEL_AGAIN_S)

    # --- the way out

    async def _dispatcher(self, pool: asyncpg.Pool, names: Names, stack: AsyncExitStack) -> tuple[Dispatcher, Shops]:
        """The way out, and the shops whose targets, budgets and tokens its gates use."""
        settings = self._settings
        lease_s = settings.dispatch.lease_s
        await self._bury_predecessor(pool, names)
        asked_at = clock_s()
        vault = vault_of(settings.encryption.decoded)
        key_id = None if vault is None else vault.active_id.hex()
        opens = () if vault is None else [one.hex() for one in vault.key_ids]
        worker_id = await start_worker(pool, name=self._place.name, lease_s=lease_s, key_id=key_id, opens=opens)
        lease = Lease(lease_s, clock=clock_s, granted_at=asked_at)
        keeper = await open_pool(self._url, size=KEEPER_CONNECTIONS)
        stack.push_async_callback(_close, keeper)
        dispatcher = Dispatcher(
            pool=pool,
            keeper=keeper,
            names=names,
            worker_id=worker_id,
            lease=lease,
            heartbeat_s=settings.dispatch.heartbeat_s,
            observe=self._observe,
            outcome_wait_s=settings.dispatch.outcome_wait_ms / 1000,
            reach=self._reach,
        )
        shops = Shops(
            settings,
            pool=pool,
            names=names,
            worker_id=worker_id,
            lease=lease,
            setup=lambda connection: setup_of(connection, settings, now=self._now),
            hold=lambda name, held: dispatcher.hold(name, held=held),
            now=self._now,
            observe=self._observe,
            reach=self._reach,
        )
        await shops.open(stack)
        dispatcher.on_controls.append(shops.follow)
        for name in shops.targets:
            connection = settings.connections[name]
            for operation in connection.order_operations:
                dispatcher.add(self._gate(connection, operation, names=names, shops=shops, dispatcher=dispatcher))
        await shops.start()
        return dispatcher, shops

    async def _bury_predecessor(self, pool: asyncpg.Pool, names: Names) -> None:
        """A process of this very name ran before and is dead: adopt its lanes now instead of waiting for its lease."""
        dead = await pool.fetch("SELECT worker_id FROM worker WHERE name = $1", self._place.name)
        if dead:
            settle_s = {
                (names.id(connection.name), str(operation)): connection.settle_s
                for connection in self._settings.connections.values()
                for operation, policy in connection.gates.items()
                if policy.findable and not policy.idempotent
            }
            await adopt(pool, settle_s=settle_s, dead=[row[0] for row in dead])

    def _gate(
        self, connection: Connection, operation: Operation, *, names: Names, shops: Shops, dispatcher: Dispatcher
    ) -> Gate:
        settings, policy, rng = self._settings, connection.gate(operation), random.Random()
        gate_policy, changed = gate_policy_of(settings, connection, operation), partial(self._gate_opens, dispatcher)
        return Gate(
            target=connection.name,
            target_id=names.id(connection.name),
            operation=operation,
            sender=shops.targets[connection.name],
            policy=gate_policy,
            retry=retry_policy_of(settings),
            breaker=self._breaker(connection, operation, changed=changed),
            questions=self._breaker(connection, operation, changed=changed, questions=True)
            if gate_policy.asks
            else None,
            limiter=RateLimiter(policy.rate_per_s, policy.burst, clock=time.monotonic),
            budget=RetryBudget(settings.retry.budget_share, clock=time.monotonic),
            lease=dispatcher.lease,
            worker_id=dispatcher.worker_id,
            record=dispatcher.outcomes.add,
            observe=self._observe,
            clock=time.monotonic,
            rng=rng,
            reach=self._reach,
            adaptive=AdaptiveLimit(policy.in_flight) if policy.adaptive else None,
            turns=shops.turns(connection.name),
            authority=shops.authority(connection.name),
        )

    def _breaker(
        self,
        connection: Connection,
        operation: Operation,
        *,
        changed: Callable[[ConnectionName, Operation], None] | None = None,
        questions: bool = False,
    ) -> Breaker:
        """A breaker before one operation, or its questions; its changes are told, and `changed` is called after."""

        def on_change(change: BreakerChanged) -> None:
            self._observe([GateChanged(connection.name, operation, change.label, change.cause.value, questions)])
            if changed is not None:
                changed(connection.name, operation)

        return Breaker(
            f"{connection.name}.{operation}{'.find' if questions else ''}",
            breaker_policy_of(self._settings, connection.gate(operation)),
            clock=time.monotonic,
            rng=random.Random(),
            on_change=on_change,
            dry_run=self._settings.breaker.dry_run,
        )

    def _gate_opens(self, dispatcher: Dispatcher, target: ConnectionName, operation: Operation) -> None:
        dispatcher.gates[target, operation].breaker_changed()

    # --- intake

    def _decider(
        self,
        pool: asyncpg.Pool,
        names: Names,
        rules: Rules,
        *,
        decoders: Mapping[ConnectionName, Decode],
        dispatcher: Dispatcher,
        doubtful: datetime | None,
    ) -> Decider:
        return Decider(
            pool=pool,
            names=names,
            rules=rules,
            decoders=decoders,
            outlet=dispatcher,
            worker_id=dispatcher.worker_id,
            observe=self._observe,
            now=self._now,
            reach=self._reach,
            doubt_before=doubtful,
        )

    def _readers(
        self, pool: asyncpg.Pool, decider: Decider, inbox_wake: asyncio.Event, dispatcher: Dispatcher
    ) -> list[Reader]:
        """One for each leg; they take turns at the decider."""
        settings, decide_lock = self._settings, asyncio.Lock()
        readers: list[Reader] = [
            InboxReader(
                pool=pool,
                decider=decider,
                decide_lock=decide_lock,
                batch_events=settings.intake.batch_events,
                wake=inbox_wake,
                observe=self._observe,
                reach=self._reach,
                sends_waiting=dispatcher.sends_waiting,
            )
        ]
        if settings.kafka is not None:
            readers.append(
                KafkaReader(
                    topic=settings.kafka.topic,
                    options={
                        **kafka_options(settings.kafka),
                        "group_id": settings.kafka.group,
                        # Static membership: a restart within the session time-out moves no partition of a peer.
                        "group_instance_id": self._place.name.replace("/", "-"),
                        "session_timeout_ms": KAFKA_SESSION_TIMEOUT_MS,
                    },
                    decider=decider,
                    decide_lock=decide_lock,
                    batch_events=settings.intake.batch_events,
                    batch_wait_ms=settings.intake.batch_wait_ms,
                    observe=self._observe,
                    reach=self._reach,
                    identify=partial(topic_id, topic=settings.kafka.topic),
                    sends_waiting=dispatcher.sends_waiting,
                )
            )
        return readers

    # --- the way in

    def _kafka_leg(self) -> KafkaLeg | None:
        kafka = self._settings.kafka
        if kafka is None:
            return None
        return KafkaLeg(
            topic=kafka.topic,
            options=kafka_options(kafka),
            acknowledge_within_s=kafka.acknowledge_within_s,
            clock=time.monotonic,
            observe=self._observe,
        )

    def _hooks(self, sources: Mapping[ConnectionName, Source], inbound: Inbound) -> Hooks:
        return Hooks(
            sources=sources,
            inbound=inbound,
            body_limit_bytes=self._settings.http.body_limit_bytes,
            now=self._now,
            observe=self._observe,
        )

    def _api(
        self,
        pool: asyncpg.Pool,
        names: Names,
        rules: Rules,
        *,
        dispatcher: Dispatcher,
        decoders: Mapping[ConnectionName, Decode],
        reads: Reads,
    ) -> Api:
        return Api(
            pool,
            names=names,
            targets={c.name: c.held_operations for c in self._settings.connections.values()},
            connections=self._settings.connections,
            decoders=decoders,
            reads=reads,
            desk=desk_of(self._settings, rules),
            own_gates=lambda: [gate_view(gate) for gate in dispatcher.gates.values()],
            observe=self._observe,
            now=self._now,
            clock=time.monotonic,
            version=metadata.version("ordergate"),
        )

    def _health(
        self,
        pool: asyncpg.Pool,
        dispatcher: Dispatcher,
        readers: Sequence[KafkaReader],
        inbox: InboxLeg,
        kafka: KafkaLeg | None,
    ) -> Health:
        def states() -> dict[Part, State]:
            reading = [reader.sound for reader in readers]
            return {
                Part.WORKER: State.STOPPING if self._stop.is_set() else State.UP,
                Part.KAFKA: State.ABSENT if kafka is None else State.UP if kafka.up else State.DOWN,
                Part.INTAKE: State.ABSENT if not reading else State.UP if all(reading) else State.DOWN,
                Part.DISPATCH: State.UP if dispatcher.lease.left_s() > 0 else State.DOWN,
            }

        return Health(pool, states=states, refused=lambda: inbox.refused)

    async def _serve(self, hooks: Hooks, api: Api, health: Health) -> Listener:
        application = web.Application(client_max_size=self._settings.http.body_limit_bytes)
        application.add_routes([*hooks.routes(), *health.routes()])
        application.add_subapp(PREFIX, api.application())
        listener = Listener(application, observe=self._observe, stop_within_s=self._place.stop_within_s / 4)
        await listener.setup()
        await web.SockSite(listener, self._place.sock).start()
        return listener

    def _publishing(self, pool: asyncpg.Pool, dispatcher: Dispatcher, parts: ShopParts) -> Sequence[NamedLoop]:
        """What tells a shop its stock levels; nothing for a shop that is not told any."""
        connection = parts.connection
        if not connection.publishes_levels or parts.target is None:
            return []
        publisher = LevelPublisher(
            pool=pool,
            connection=connection.name,
            connection_id=parts.connection_id,
            target=cast(LevelTarget, parts.target),  # its manifest declares `stock`
            policy=level_policy_of(connection),
            retry=retry_policy_of(self._settings),
            breaker=self._breaker(connection, Operation.STOCK),
            budget=parts.budget,
            waits=parts.waits,
            authority=parts.authorisation,
            observe=self._observe,
            clock=time.monotonic,
            rng=random.Random(),
            reach=self._reach,
        )
        stock = (parts.connection_id, str(Operation.STOCK))
        dispatcher.on_controls.append(lambda controls: publisher.follow(controls.forced.get(stock), at=controls.at))
        return [("levels", publisher)]

    # --- what is watched

    async def _tell_stranded(
        self, pool: asyncpg.Pool, dispatcher: Dispatcher, *, told: Collection[ConnectionName]
    ) -> None:
        """Say at the start what nobody will send. `told`: the shops that can be told of shipments, and more."""
        for target, count in (await lanes_without_gate(pool, dispatcher.gates)).items():
            what = f"{target} is not configured: nobody sends its {count} open deliveries (`ordergate check`)"
            self._observe([Trouble("dispatch", what)])
        for shop, count in (await orders_of_none(pool, told)).items():
            what = f"{shop} is not configured: nobody will tell it that its {count} orders in a warehouse are shipped"
            self._observe([Trouble("dispatch", f"{what} (`ordergate check`)")])
        for target, count in (await orders_at_none(pool, self._settings.connections)).items():
            what = f"{target} is not configured: nobody takes its word that its {count} orders are shipped"
            self._observe([Trouble("dispatch", f"{what} (`ordergate check`)")])
        since = self._settings.live_since
        for shop, count in (await watched_since(pool, since)).items():
            placed = " placed since start_at" if since[shop] else ""
            what = f"{shop}: {count} orders{placed} came in while it observed, or had a later start_at"
            self._observe([Trouble("cut_over", f"{what}: not delivered (`ordergate check`)")])

    async def _purging(self, worker_id: int, stack: AsyncExitStack) -> list[Loop]:
        """What keeps a connection for long: the purge at night, for hours, and the check of the ledger, for seconds."""
        # Of its own: `pool` may have two.
        night = await open_pool(self._url, size=NIGHT_CONNECTIONS, vault=vault_of(self._settings.encryption.decoded))
        stack.push_async_callback(_close, night)
        purge = PurgeWatch(
            night,
            ages=partial(ages_of, self._settings),
            hours=Hours(*self._settings.retention.minutes),
            observe=self._observe,
            now=self._now,
        )
        ledger = LedgerWatch(night, worker_id=worker_id, observe=self._observe)
        return [("purge", purge.run), ("ledger", ledger.run)]

    def _watching(
        self,
        pool: asyncpg.Pool,
        names: Names,
        dispatcher: Dispatcher,
        shops: Shops,
        *,
        readers: Sequence[KafkaReader],
        kafka_leg: KafkaLeg | None,
        inbox_leg: InboxLeg,
    ) -> list[Loop]:
        """Nothing where nobody draws gauges."""
        if self._gauges is None:
            return []
        targets = [str(connection.name) for connection in self._settings.connections.values() if connection.gates]
        sources = [str(c.name) for c in self._settings.connections.values() if c.adapter.notifier_type is None]
        show = backlog_shown(self._gauges, names, targets=targets, sources=sources)
        backlog = BacklogWatch(
            pool,
            worker_id=dispatcher.worker_id,
            show=show,
            unknown=self._gauges.backlog_unknown,
            observe=self._observe,
            every_s=GAUGES_EVERY_S,
            ship_by_lead=timedelta(seconds=self._settings.notices.ship_by_lead_s),
        )
        return [
            ("backlog", backlog.run),
            ("gate gauges", partial(show_gates, self._gauges, dispatcher)),
            ("worker gauges", partial(show_worker, self._gauges, dispatcher.lease, readers, kafka_leg, inbox_leg)),
            ("connection gauges", partial(show_connections, self._gauges, shops)),
        ]

    def _clocks(self, pool: asyncpg.Pool, shops: Shops, tellers: Mapping[str, Http]) -> ClockWatch:
        """`tellers` are the connections of the channels, which come later."""

        def show(name: str, ahead_s: float) -> None:
            if self._gauges is not None and name == DATABASE:
                self._gauges.database_clock_skew(ahead_s)
            elif self._gauges is not None:
                self._gauges.clock_skew(name, ahead_s)

        def readings() -> dict[str, Reading]:
            told = {name: http.reading for name, http in tellers.items() if http.reading is not None}
            return {**shops.readings(), **told}

        return ClockWatch(
            pool,
            readings=readings,
            askable=shops.askable(),
            machine=socket.gethostname(),
            show=show,
            observe=self._observe,
            now=now,  # the machine's own, also where platforms are asked by another
        )

    async def _telling(
        self,
        pool: asyncpg.Pool,
        telling: Telling,
        dispatcher: Dispatcher,
        kafka: KafkaLeg | None,
        readers: Sequence[KafkaReader],
        clocks: ClockWatch,
        tellers: dict[str, Http],
        stack: AsyncExitStack,
    ) -> list[Loop]:
        """Nothing where nobody is to be told."""
        if not self._settings.notices.channels:
            return []
        # Of its own: the one who watches keeps a connection for good, and `pool` may have two.
        watch_pool = await open_pool(self._url, size=TELLING_CONNECTIONS)
        stack.push_async_callback(_close, watch_pool)
        channels = {}
        for name in self._settings.notices.channels:
            http = tellers[name] = await stack.enter_async_context(Http(connections=2))
            channels[name] = notifier_of(self._settings, name, http, now=self._now)
        sightings = Sightings(
            watch_pool,
            worker_id=dispatcher.worker_id,
            look=lambda: sighted(dispatcher, kafka, readers) | clocks.sightings(),
            observe=self._observe,
        )
        watch = NoticeWatch(
            watch_pool,
            worker_id=dispatcher.worker_id,
            channels=channels,
            telling=telling,
            now=self._now,
            observe=self._observe,
            reach=self._reach,
        )
        answers, lease_s = Answers(pool, clock_s=clock_s), self._settings.dispatch.lease_s
        away = AwayWatch(
            unserved_s=lambda: max(lease_s - dispatcher.lease.left_s(), answers.unanswered_s()),
            heartbeat_s=self._settings.dispatch.heartbeat_s,
            channels=channels,
            telling=telling,
            folder=Path(self._settings.data_dir),
            machine=socket.gethostname(),
            now=self._now,
            clock_s=time.monotonic,
            observe=self._observe,
        )
        return [("sightings", sightings.run), ("notices", watch.run), ("answers", answers.run), ("away", away.run)]


async def _listen(url: str, channels: Mapping[str, Callable[[str], None]]) -> None:
    """Keep a LISTEN connection, and open it again when it is lost; polling covers the gap."""
    while True:
        try:
            connection = await listen(url, channels)
        except (*AWAY, asyncpg.PostgresError):
            await asyncio.sleep(1.0)
            continue
        try:
            lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            connection.add_termination_listener(lambda _, lost=lost: lost.done() or lost.set_result(None))
            await lost
        finally:
            if not connection.is_closed():
                connection.terminate()


async def _close(pool: asyncpg.Pool) -> None:
    """Close the pool, bounded: a server that is away must not hold up the stop."""
    try:
        async with asyncio.timeout(3.0):
            await pool.close()
    except TimeoutError:
        pool.terminate()


def run_worker(settings: Settings, place: WorkerPlace, *, url: str, now: Clock = now) -> int:
    """Run one worker on uvloop until it is told to stop; the exit code (EXIT_FENCED: replaced, start me again)."""
    import uvloop

    # Orders are trees of frozen structs without cycles: reference counts free them, and the collector, at its default
    # of every 700 allocations, only walks the thousands that are held. Measured on intake: 8 of 75 µs per order.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    code = 0
    try:
        map_with_room()
        metrics = Metrics(settings.connections)
        gauges = Gauges(metrics)
        begin_series(settings, metrics, gauges)
        observe = _observer(settings, metrics)
        uvloop.run(Worker(settings, place, url=url, observe=observe, gauges=gauges, now=now).run())
    except* Fenced:
        code = EXIT_FENCED
    return code


def _observer(settings: Settings, metrics: Metrics) -> Observer:
    """Happenings to metrics and to the log."""
    logs = Logs(Writer(), level=settings.log.level, form=settings.log.format)
    logs.configure()
    count = MetricsObserver(metrics)

    def observe(happenings: Sequence[Happening]) -> None:
        count(happenings)
        logs(happenings)

    return observe
