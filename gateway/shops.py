"""Composition of what shops need besides gates: tokens, budgets, and what the owner of a shop runs.

For every polled shop this worker holds the newest token, one budget for all that is asked of its platform, and the
instances of its adapter, built with an `Access`. `Shops.duties` is what `gateway.app` runs beside everything else: one
task per shop, in which the worker that owns the shop polls it, renews its token and reads it again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from typing import Any, cast

import asyncpg
import msgspec

from gateway.core.clock import Reading
from gateway.core.event import ConnectionName, Event
from gateway.core.happening import ConnectionState, Observer
from gateway.core.order import Facts, Operation
from gateway.dispatch.budget import ConnectionBudget, Share, Urgency
from gateway.dispatch.lease import Lease
from gateway.ingest.authorisation import Authorisation, Authorisations, Renewal
from gateway.ingest.duty import Duty, OwnerLoop, OwnersBudget
from gateway.ingest.inbound import Inbound
from gateway.ingest.poller import DailyReread, PolledShop, Poller, WindowReader
from gateway.parts import built
from gateway.sdk.adapter import Setup, Target
from gateway.sdk.http import Http
from gateway.sdk.pull import Access, Budget, PullSource
from gateway.settings import Connection, Settings
from gateway.store.control import Controls
from gateway.store.sql import Names

_OWNERS_REQUESTS = 3
"""Connections beside those of the gates: the poller's, the re-read's, the renewal's."""

_GREET_S = 5.0

NamedLoop = tuple[str, OwnerLoop]


class ShopParts(msgspec.Struct, frozen=True, kw_only=True):
    """What a loop of a shop's owner is built from.

    `target` is the adapter's, as the gates have it. `budget` keeps the limit and the lease: a turn before every first
    request. `authorisation` None: the connection needs no token of ours. `waits`: paused, or to be authorised again.
    """

    connection: Connection
    connection_id: int
    target: Target | None
    budget: Budget
    authorisation: Authorisation | None
    waits: Callable[[], bool]


MoreLoops = Callable[[ShopParts], Sequence[NamedLoop]]
"""Other loops that the owner of a connection runs, none for a connection that needs none."""


class Shops:
    """The shops of one worker. Build it, build the gates with its targets, `start` it, then run what it gives."""

    def __init__(
        self,
        settings: Settings,
        *,
        pool: asyncpg.Pool,
        names: Names,
        worker_id: int,
        lease: Lease,
        setup: Callable[[Connection], Setup],
        hold: Callable[[ConnectionName, bool], None],
        now: Callable[[], datetime],
        observe: Observer,
        reach: Callable[[str], None],
    ) -> None:
        self._pool = pool
        self._names = names
        self._worker_id = worker_id
        self._lease = lease
        self._setup = setup
        self._hold = hold
        self._now = now
        self._observe = observe
        self._reach = reach
        self._settings = settings
        self._paused: frozenset[int] = frozenset()
        self._http: dict[ConnectionName, Http] = {}
        self._targets: dict[ConnectionName, Target] = {}
        self._budgets = {
            connection.name: self._budget(connection)
            for connection in settings.connections.values()
            if connection.rate is not None or connection.pull is not None
        }
        self._shops = {
            connection.name: self._authorisation(connection)
            for connection in settings.connections.values()
            if connection.pull is not None
        }
        self.authorisations = Authorisations(
            pool, {names.id(name): shop for name, shop in self._shops.items()}, observe=observe
        )

    def _budget(self, connection: Connection) -> ConnectionBudget:
        rate = connection.rate
        return ConnectionBudget(
            None if rate is None else rate.per_s,
            1 if rate is None else rate.burst,
            clock=time.monotonic,
            settle_s=2 * self._settings.dispatch.heartbeat_s,
        )

    def _authorisation(self, connection: Connection) -> Authorisation:
        name = connection.name
        return Authorisation(
            name,
            seed=connection.settings.token,
            renewable=connection.adapter.authoriser_type is not None,
            now=self._now,
            changed=lambda held: self._hold(name, held),
            wake=lambda: self.authorisations.wake(),  # noqa: PLW0108 (made below)
        )

    async def open(self, stack: AsyncExitStack) -> None:
        """Connections to the targets of all connections, and to the platforms of shops."""
        for connection in self._settings.connections.values():
            in_flight = sum(policy.in_flight for policy in connection.gates.values())
            most = in_flight + (_OWNERS_REQUESTS if connection.pull is not None else 0)
            if not most:
                continue
            http = self._http[connection.name] = await stack.enter_async_context(Http(connections=most))
            kind: Any = connection.adapter.target_type
            if kind is not None and connection.gates:
                polled = connection.pull is not None
                given = self._access(connection, Urgency.UNDER_WAY) if polled else http
                self._targets[connection.name] = built(connection, kind, self._setup(connection), given)

    async def start(self) -> None:
        """Know every shop's newest token, and which are to be authorised again, before anything is sent."""
        await self.authorisations.start()

    # --- for the gates

    @property
    def targets(self) -> Mapping[ConnectionName, Target]:
        return self._targets

    def turns(self, name: ConnectionName) -> Share | None:
        """The budget of a connection as its gates use it; None where nothing limits it."""
        budget = self._budgets.get(name)
        return None if budget is None else budget.at(Urgency.SEND)

    def authority(self, name: ConnectionName) -> Authorisation | None:
        return self._shops.get(name)

    def follow(self, controls: Controls) -> None:
        """What people have paused, and how many workers share the limits."""
        self._paused = controls.paused
        for budget in self._budgets.values():
            budget.share(controls.workers)

    def states(self) -> dict[ConnectionName, ConnectionState]:
        """How every connection stands, as this worker sees it."""
        return {
            name: ConnectionState.PAUSED
            if self._is_paused(name)
            else ConnectionState.RE_AUTHORISE
            if name in self._shops and self._shops[name].held
            else ConnectionState.READY
            for name in self._settings.connections
        }

    def _is_paused(self, name: ConnectionName) -> bool:
        return self._names.id(name) in self._paused

    # --- for the clock

    def readings(self) -> dict[str, Reading]:
        """The clocks of the platforms and targets that have said theirs."""
        return {name: http.reading for name, http in self._http.items() if http.reading is not None}

    def askable(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What has a target answer that may say nothing for hours: none that is polled or has its requests counted."""
        return {
            name: partial(self._greet, name, target)
            for name, target in self._targets.items()
            if name not in self._shops and name not in self._budgets
        }

    async def _greet(self, name: ConnectionName, target: Target) -> None:
        """Any answer will do; how it fares otherwise is the business of its gates."""
        if not self._is_paused(name):
            await target.check(deadline_s=_GREET_S)

    # --- for intake

    def decoders(self) -> dict[ConnectionName, Callable[[Event], Facts]]:
        """Every worker decodes what any of them has polled."""
        return {
            connection.name: self._source(connection, Urgency.PULL).decode
            for connection in self._settings.connections.values()
            if connection.pull is not None
        }

    # --- what the owner of a shop runs

    def duties(self, inbound: Inbound, more: Sequence[MoreLoops] = ()) -> list[Duty]:
        """One for each connection whose owner has something to do."""
        duties = []
        for connection in self._settings.connections.values():
            if connection.pull is None and Operation.STOCK not in connection.gates:
                continue
            parts = self._parts(connection)
            loops = self._reading(connection, inbound) if connection.pull is not None else []
            for make in more:
                loops += make(parts)
            if loops:
                duties.append(
                    Duty(
                        connection=connection.name,
                        connection_id=parts.connection_id,
                        worker_id=self._worker_id,
                        pool=self._pool,
                        loops=loops,
                        observe=self._observe,
                    )
                )
        return duties

    def _parts(self, connection: Connection) -> ShopParts:
        name, shop = connection.name, self._shops.get(connection.name)
        policy = connection.gates.get(Operation.STOCK)
        budget = self._budgets.get(name) or self._budget(connection)
        return ShopParts(
            connection=connection,
            connection_id=self._names.id(name),
            target=self._targets.get(name),
            budget=self._owners(budget.at(Urgency.SEND), deadline_s=5.0 if policy is None else policy.deadline_s),
            authorisation=shop,
            waits=lambda: self._is_paused(name) or (shop is not None and shop.held),
        )

    def _reading(self, connection: Connection, inbound: Inbound) -> list[NamedLoop]:
        policy = connection.pull
        assert policy is not None
        kind: Any = connection.adapter.authoriser_type
        renewal = Renewal(
            pool=self._pool,
            shop=self._shops[connection.name],
            all_shops=self.authorisations,
            authoriser=None
            if kind is None
            else built(connection, kind, self._setup(connection), self._access(connection, Urgency.UNDER_WAY)),
            budget=self._owned(connection, Urgency.UNDER_WAY),
            deadline_s=policy.deadline_s,
            now=self._now,
            rng=random.Random(),
            observe=self._observe,
            reach=self._reach,
        )
        loops: list[NamedLoop] = [("renewal", renewal)]
        if not connection.is_shop:
            return loops
        shop = PolledShop(connection.name, connection.prefix or "", connection.start_at, policy)
        poller = Poller(
            shop=shop,
            reader=self._reader(connection, inbound, Urgency.PULL),
            pool=self._pool,
            now=self._now,
            observe=self._observe,
            reach=self._reach,
        )
        loops.append(("poller", poller))
        if policy.reread_days:
            reader = self._reader(connection, inbound, Urgency.LATER)
            reread = DailyReread(shop=shop, reader=reader, pool=self._pool, now=self._now, observe=self._observe)
            loops.append(("reread", reread))
        return loops

    def _reader(self, connection: Connection, inbound: Inbound, urgency: Urgency) -> WindowReader:
        assert connection.pull is not None
        return WindowReader(
            name=connection.name,
            source=self._source(connection, urgency),
            budget=self._owned(connection, urgency),
            authorisation=self._shops[connection.name],
            inbound=inbound,
            deadline_s=connection.pull.deadline_s,
            waits=lambda: self._is_paused(connection.name),
            rng=random.Random(),
            observe=self._observe,
            reach=self._reach,
        )

    def _source(self, connection: Connection, urgency: Urgency) -> PullSource:
        kind: Any = connection.adapter.pull_type
        access = msgspec.structs.replace(self._access(connection, urgency), budget=self._owned(connection, urgency))
        return cast(PullSource, built(connection, kind, self._setup(connection), access))

    def _access(self, connection: Connection, urgency: Urgency) -> Access:
        return Access(
            http=self._http[connection.name],
            budget=self._budgets[connection.name].at(urgency),
            token=self._shops[connection.name].token,
        )

    def _owned(self, connection: Connection, urgency: Urgency) -> OwnersBudget:
        assert connection.pull is not None
        return self._owners(self._budgets[connection.name].at(urgency), deadline_s=connection.pull.deadline_s)

    def _owners(self, budget: Budget, *, deadline_s: float) -> OwnersBudget:
        return OwnersBudget(budget, lease=self._lease, deadline_s=deadline_s)
