"""One batch of intake: pure work first, then facts → decide → apply in one transaction.

    prepare   decode and clean every event                                   no transaction
    facts     lock the stored orders in key order, read what blocks them,    ┐
              and what stands for the SKUs of shops that map them            │
    fold      merge → items → review → route                    (pure)       │ one transaction,
    stock     lock the balances in key order, last                           │ one group commit
    settle    reserve → plan                                    (pure)       │
    apply     write everything in bulk                                       ┘

What cannot be decoded or decided is set aside whole with its reason; later events of *that* order wait behind it. Where
the letter in front holds nothing (`unread`: the platform gave no details), it closes by itself when its source tells of
the order after all; that event, and those that waited, then come back through the inbox in their sequence. A refund
alone tells nothing of the order and closes no letter, but one that stops the order does not wait behind it.

A batch the database refuses is halved until the event that is to blame stands alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import asyncpg
import msgspec
import zstandard

from gateway.core.code import code_of
from gateway.core.delivery import Delivery, Held, Outlet
from gateway.core.errors import BadInput, DatabaseBusy, OrdergateError
from gateway.core.event import MAX_BODY_BYTES, RECONSIDER, Arrival, ConnectionName, Event, Leg
from gateway.core.fault import raised
from gateway.core.happening import (
    BatchCommitted,
    DeadLettered,
    Happening,
    LetterSuperseded,
    Observer,
    OrderDecided,
    Trouble,
)
from gateway.core.order import (
    Command,
    Facts,
    Operation,
    Order,
    OrderNumber,
    Party,
    ProgressStep,
    RefundStatus,
    Sku,
    Stale,
    digest,
)
from gateway.core.sound import DEFECT, Decode, checked
from gateway.core.stock import Balance, Movement, Place
from gateway.core.text import Text, in_both
from gateway.pipeline.clean import clean
from gateway.pipeline.decide import NO_TABLES, Decision, Folded, Step, fold, given_back, settle
from gateway.pipeline.items import Tables
from gateway.pipeline.rules import Rules, UnknownSku
from gateway.sdk.cancelled import is_a_stop
from gateway.store import sql
from gateway.store.control import obstacles, settled_obstacles
from gateway.store.dead import (
    BEHIND,
    UNREAD,
    DeadLetter,
    Standing,
    set_aside,
    standing,
    supersede,
    without_overtaken,
)
from gateway.store.orders import (
    NOBODY,
    EventRow,
    OrderWrite,
    StockPlaces,
    Stored,
    another_digest,
    lock_orders,
    shops_of,
    wake_dispatch,
    write_orders,
    write_outbox,
)
from gateway.store.outbox import Lane, doubt
from gateway.store.skus import SkuTables
from gateway.store.sql import AWAY, CannotOpen, Connection, Names, OrderIds, Private, Unopened
from gateway.store.stock import WokenFurther, wake_further, wake_waiting_for, woken_further

COLLIDED = (*sql.COLLIDED, DatabaseBusy)
"""Two batches met: reading the facts again settles it."""

AHEAD_AT_MOST = timedelta(days=1)
"""An event from further in the future would win every register for as long: its sender's clock is wrong."""


def is_to_blame(error: Exception) -> bool:
    """Whether `error` comes from what a batch contains, not from the database's state or an order to stop.

    Then the batch is halved until the event that causes it stands alone and is set aside. That includes a defect in our
    own steps and a stored order that cannot be opened: they cost one order, not the worker. (asyncpg's refusal to
    encode a value is both a ValueError and one of its connection errors.)
    """
    if isinstance(error, asyncpg.PostgresError):
        # Data exceptions, integrity violations, program limits. All else is the database's own state, or ours.
        return error.sqlstate is not None and error.sqlstate[:2] in ("22", "23", "54")
    return isinstance(error, (ValueError, CannotOpen)) or not isinstance(error, (*AWAY, *COLLIDED, OrdergateError))


class Prepared(Step, frozen=True, gc=False):
    """An event that could be read: a step of the order `number`. `row` None: nothing is known beyond what is stored."""

    arrival: Arrival
    number: OrderNumber
    row: EventRow | None


Numbered = TypeVar("Numbered", Prepared, DeadLetter)


class Batch(msgspec.Struct, frozen=True):
    """What `prepare` made of a list of arrivals, in their sequence."""

    sound: tuple[Prepared, ...]
    unsound: tuple[DeadLetter, ...]


class Decider:
    """Turns batches of events into committed decisions. One per worker; `decide` may not run twice at once."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        names: Names,
        rules: Rules,
        decoders: Mapping[ConnectionName, Decode],
        outlet: Outlet,
        worker_id: int,
        observe: Observer,
        now: Callable[[], datetime],
        reach: Callable[[str], None],
        doubt_before: datetime | None = None,
    ) -> None:
        """`doubt_before`: what an event from before this instant asks for may have been sent already; ask first."""
        self._doubt_before = doubt_before
        self._pool = pool
        self._names = names
        self._rules = rules
        self._decoders = {name: checked(decode) for name, decode in decoders.items()}
        self._outlet = outlet
        self._worker_id = worker_id
        self._observe = observe
        self._now = now
        self._reach = reach
        self._ids = OrderIds()
        self._places = StockPlaces()
        self._mapped = frozenset(name for name, shop in rules.shops.items() if shop.mapped)
        self._former = {name: shop.former for name, shop in rules.shops.items() if shop.former}
        self._skus = SkuTables()
        self._compress = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress

    def prepare(self, arrivals: Sequence[Arrival]) -> Batch:
        """Decode and clean; never raises for what an event contains."""
        sound: list[Prepared] = []
        unsound: list[DeadLetter] = []
        latest = self._now() + AHEAD_AT_MOST
        for arrival in arrivals:
            prepared = self._prepare(arrival, latest)
            if isinstance(prepared, Prepared):
                sound.append(prepared)
            else:
                unsound.append(prepared)
        return Batch(tuple(sound), tuple(unsound))

    def reads(self, arrival: Arrival) -> tuple[OrderNumber, Facts] | DeadLetter:
        """What a message says, and of which order, as `prepare` reads it; or why it would be set aside."""
        prepared = self._prepare(arrival, self._now() + AHEAD_AT_MOST)
        if isinstance(prepared, DeadLetter):
            return prepared
        assert prepared.facts is not None, "a wish to decide says nothing"
        return prepared.number, prepared.facts

    async def decide(self, batch: Batch, *, leg: Leg) -> None:
        """Commit one batch in a transaction of its own. Raises what says "the database is away" unchanged."""
        await self._decide_halving(batch, leg=leg)

    async def decide_in(
        self,
        transaction: Callable[[], AbstractAsyncContextManager[tuple[Connection, Sequence[Arrival]]]],
    ) -> int:
        """Commit a batch that is read inside its own transaction (the inbox); returns how many events it had."""
        started = time.monotonic()
        claims = _Claims(self._outlet)
        try:
            async with transaction() as (connection, arrivals):
                if not arrivals:
                    return 0
                result = await self._apply(connection, self.prepare(arrivals), claims)
        except BaseException as error:
            self._failed(claims, error)
            raise
        self._committed(result, claims, leg=Leg.INBOX, events=len(arrivals), took_s=time.monotonic() - started)
        return len(arrivals)

    async def _decide_halving(self, batch: Batch, *, leg: Leg) -> None:
        try:
            await self._decide_whole(batch, leg=leg)
        except Exception as error:
            if not is_to_blame(error) or not batch.sound:
                raise
            if len(batch.sound) == 1:
                letters = tuple(_undecided(p, error) for p in batch.sound)
                await self._decide_whole(Batch((), batch.unsound + letters), leg=leg)
                return
            self._observe([Trouble("intake", f"batch refused, halving it: {_refusal(error)}")])
            middle = len(batch.sound) // 2
            await self._decide_halving(Batch(batch.sound[:middle], batch.unsound), leg=leg)
            await self._decide_halving(Batch(batch.sound[middle:], ()), leg=leg)

    async def _decide_whole(self, batch: Batch, *, leg: Leg) -> None:
        events = len(batch.sound) + len(batch.unsound)
        for _ in range(_TRIES_ON_COLLISION):
            started = time.monotonic()
            claims = _Claims(self._outlet)
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    result = await self._apply(connection, batch, claims)
                    self._reach("intake.before_commit")
            except COLLIDED:
                claims.give_back()
                continue
            except BaseException as error:
                self._failed(claims, error)
                raise
            self._reach("intake.after_commit")
            self._committed(result, claims, leg=leg, events=events, took_s=time.monotonic() - started)
            return
        raise DatabaseBusy(f"a batch of {events} events collided {_TRIES_ON_COLLISION} times", retry_after_s=0.1)

    async def _apply(self, connection: Connection, batch: Batch, claims: _Claims) -> _Applied:
        """Facts → fold → stock → settle → write, inside the caller's transaction."""
        now = self._now()
        admitted = await self._admit(connection, batch)
        by_order, stored, kept, rules = admitted.by_order, admitted.stored, admitted.kept, admitted.rules
        self._reach("intake.facts_read")
        tables = await self._tables(connection, by_order, stored) if self._mapped else NO_TABLES
        singly = self._singly(by_order)
        folded = [
            self._fold(number, items, stored.get(number), rules, tables)
            for number, items in by_order.items()
            if number not in singly
        ]
        steps = [
            self._fold(number, items[: end + 1], stored.get(number), rules, tables)
            for number, items in singly.items()
            for end in range(len(items))
        ]
        places = set[Place]().union(*(item.places() for item in (*folded, *steps))) if by_order else set()
        wishes = [prepared.arrival.event for prepared in batch.sound if prepared.row is None]
        further = [found for event in wishes if (found := woken_further(event)) is not None]
        further += _past_letters(batch.unsound)
        places.update(place for one in further for place in one.places)
        held = self._rules.unknown_sku is UnknownSku.HOLD
        balances = await self._places.lock(connection, places, certain=held)
        decisions = settle(folded, balances, rules)
        for number, items in singly.items():
            decisions.append(_one_by_one(number, items, stored.get(number), rules, balances, tables))
        writes = await self._writes(connection, decisions, by_order, stored)
        await self._know_names(connection, writes)
        await write_orders(connection, writes, names=self._names)
        if freed := given_back(decisions, balances):
            # Orders that are short of what has just come free are decided again.
            await wake_waiting_for(connection, freed, now=now)
        for one in further:
            left = {place: b.available for place in one.places if (b := balances.get(place)) and b.available > 0}
            await wake_further(connection, one, left, now=now)
        self._reach("intake.orders_written")
        parked = claims.plan(writes, self._names)
        mine = await write_outbox(
            connection,
            writes,
            claimed=claims.lanes,
            worker_id=self._worker_id,
            names=self._names,
        )
        in_doubt: frozenset[Lane] = frozenset()
        if self._doubt_before is not None:
            in_doubt = _in_doubt(writes, by_order, self._names, before=self._doubt_before)
            await doubt(connection, sorted(in_doubt))
        if parked:
            await wake_dispatch(connection, parked)
        if admitted.behind:
            kept += await set_aside(connection, admitted.behind)
        written = {write.order.number for write in writes}
        return _Applied(now, [d for d in decisions if d.order.number in written], by_order, mine, kept, in_doubt)

    async def _admit(self, connection: Connection, batch: Batch) -> _Admitted:
        """What of `batch` is decided now, with the stored orders locked. The rest is set aside, or has to wait."""
        if self._former:
            batch = await self._under_known_numbers(connection, batch)
        kept: list[DeadLettered | LetterSuperseded] = []
        blocked: set[str] = set()
        rules, letters = self._rules, bool(batch.unsound)
        if batch.sound:
            found = await obstacles(connection)
            if found.paused:
                # Before a letter or an order is locked: whoever resumes the shop waits for us, and sees whom we have
                # wait; and nobody waits for us who waits for him.
                found = await settled_obstacles(connection)
                rules = msgspec.structs.replace(rules, paused=found.paused)
            letters |= found.letters
        if batch.unsound:
            # First, so that one that holds nothing can be closed by what comes after it in this batch.
            unsound = await without_overtaken(
                connection, batch.unsound, tells=self._tells_of_the_order, renamed=self._rules.renamed
            )
            kept += await set_aside(connection, unsound) if unsound else []
        superseded: set[str] = set()
        passable: set[str] = set()
        if batch.sound:
            # What has just been set aside is among them, unless it was already and has been closed since.
            front = await standing(connection, {p.number for p in batch.sound}) if letters else []
            blocked = {letter.number for letter in front}
            passable = _unread_only(front)
            if closing := _superseded(front, batch.sound, self._rules.renamed):
                superseded = {letter.number for letter in closing}
                by = [p.arrival.event for p in batch.sound if p.number in superseded]
                kept += await supersede(connection, closing, by=by)
        behind: list[DeadLetter] = []
        by_order: dict[OrderNumber, list[Prepared]] = {}
        for prepared in batch.sound:
            if prepared.number in superseded:
                continue  # in the inbox now, behind what waited before it
            if prepared.number in blocked and not (prepared.number in passable and _stops(prepared.facts)):
                # A wish to decide it again need not wait: whoever closes what stands in front has it decided.
                if prepared.row is not None:
                    behind.append(_behind(prepared))
            else:
                by_order.setdefault(prepared.number, []).append(prepared)
        stored = await lock_orders(connection, sorted(by_order)) if by_order else {}
        for number in sorted(passable & by_order.keys()):
            items, before = by_order[OrderNumber(number)], stored.get(OrderNumber(number))
            if waiting := _letting_go(items, None if before is None else before.order):
                behind += [_behind(item) for item in waiting]
                by_order[OrderNumber(number)] = [item for item in items if item not in waiting]
        strange: list[DeadLetter] = []
        for number, before in stored.items():
            # A shop that is not configured may be the one that tells now, under its name of before.
            owner = rules.shop_of(before.order)
            if owner is not None:
                others = [item for item in by_order[number] if _is_of_another(item, owner.name)]
                if others:
                    by_order[number] = [item for item in by_order[number] if item not in others]
                    strange += [_of_another(item, before.order) for item in others]
        if strange:
            kept += await set_aside(connection, strange)
        by_order = {number: items for number, items in by_order.items() if items}
        return _Admitted(by_order, stored, rules, kept, behind)

    async def _under_known_numbers(self, connection: Connection, batch: Batch) -> Batch:
        """`batch` with the number of before for every order that was known when its shop had another prefix.

        A cancel has to reach the warehouse that was sent the order under it.
        """
        told: list[Prepared | DeadLetter] = [*batch.sound, *batch.unsound]
        tried = {number for one in told for number, _ in self._former_numbers(one)}
        if not tried:
            return batch
        renamed = self._rules.renamed
        known = {(number, renamed.get(shop, shop)) for number, shop in await shops_of(connection, tried)}

        def renumbered(one: Numbered) -> Numbered:
            for found in self._former_numbers(one):
                if found in known:
                    return msgspec.structs.replace(one, number=found[0])
            return one

        return Batch(tuple(map(renumbered, batch.sound)), tuple(map(renumbered, batch.unsound)))

    def _former_numbers(self, told: Prepared | DeadLetter) -> list[tuple[str, ConnectionName]]:
        """What the order that a shop has `told` of was called under its former prefixes, each with the shop."""
        source = told.arrival.event.source
        shop = self._rules.renamed.get(source, source)
        of_a_shop = not isinstance(told, Prepared) or (told.facts is not None and told.facts.party is Party.SHOP)
        if shop not in self._former or not told.number or not of_a_shop:
            return []
        rest = told.number.removeprefix(self._rules.shops[shop].prefix)
        return [(former + rest, shop) for former in self._former[shop]]

    def _prepare(self, arrival: Arrival, latest: datetime) -> Prepared | DeadLetter:
        event = arrival.event
        source = self._rules.renamed.get(event.source, event.source)
        shop = self._rules.shops.get(source)
        prefix = shop.prefix if shop is not None else ""
        number = prefix + event.order_key if event.order_key else ""
        if event.type == RECONSIDER and arrival.position.leg is Leg.INBOX:
            return Prepared(source, None, arrival, OrderNumber(event.order_key), None)
        if isinstance(event.body, Unopened):
            return DeadLetter(arrival, number, "sealed", event.body.why, _KEY_BACK)
        decode = self._decoders.get(source)
        if decode is None:
            return DeadLetter(
                arrival, number, "unknown_source",
                Text(f"配置中没有连接 {source!r}", f"no connection {source!r} is configured"),
                Text("添加该连接，或更正 ce_source", "add the connection, or correct ce_source"),
            )  # fmt: skip
        if len(event.body) > MAX_BODY_BYTES:
            return DeadLetter(
                arrival, number, "too_large",
                Text(
                    f"报文有 {len(event.body)} 字节，上限是 {MAX_BODY_BYTES}",
                    f"the body has {len(event.body)} bytes, the limit is {MAX_BODY_BYTES}",
                ),
                Text("拆分订单", "split the order"),
            )  # fmt: skip
        if event.time > latest:
            return DeadLetter(
                arrival, number, "clock",
                Text(
                    f"消息时间 {event.time.isoformat()} 超前一天以上",
                    f"the event says {event.time.isoformat()}, more than a day ahead",
                ),
                Text(
                    "校准发送方时钟，再更正时间并放行",
                    "set the sender's clock right, then repair the time and release the event",
                ),
            )  # fmt: skip
        try:
            facts = clean(decode(event))
            told = ("" if facts.party is Party.WAREHOUSE else prefix) + facts.order_no
        except BadInput as error:
            message, where = in_both(error.message), error.where
            said = Text(f"{where}: {message.zh}", f"{where}: {message.en}")
            return DeadLetter(arrival, number, code_of(str(error.code)), said, in_both(error.advice))
        except BaseException as error:  # a broken adapter is contained here
            if is_a_stop(error):
                raise
            return DeadLetter(
                arrival, number, "adapter",
                Text(f"适配器出错：{raised(error)}", f"the adapter failed with {raised(error)}"),
                DEFECT,
            )  # fmt: skip
        if facts.party is Party.SHOP and shop is None:
            # Without a prefix of its own its numbers would be other shops' orders.
            return DeadLetter(
                arrival, number, "not_a_shop",
                Text(f"{source} 送来订单，但没有配置 prefix", f"{source} tells of orders, but has no prefix"),
                Text(
                    "为该连接配置 prefix、mode 和 route，或不再经它发送订单",
                    "give the connection a prefix, mode and route, or stop sending orders through it",
                ),
            )  # fmt: skip
        row = EventRow(
            hashlib.blake2b(f"{source}\x1f{event.id}".encode(), digest_size=12).digest(),
            event.id,
            self._names.id(source),
            event.type,
            event.time,
            arrival.taken_at,
            Private(self._compress(event.body)),
        )
        return Prepared(source, facts, arrival, OrderNumber(told), row)

    def _tells_of_the_order(self, event: Event) -> bool:
        """Whether an event that was decided once is about the order itself, and not only about refunds of it."""
        try:
            source = self._rules.renamed.get(event.source, event.source)
            return not self._decoders[source](event).refunds_only
        except BaseException as error:  # what it said is known to no adapter any more
            if is_a_stop(error):
                raise
            return True

    @staticmethod
    def _fold(
        number: OrderNumber, items: Sequence[Prepared], stored: Stored | None, rules: Rules, tables: Tables
    ) -> Folded:
        return fold(number, stored.order if stored is not None else None, items, rules, tables)

    async def _tables(
        self,
        connection: Connection,
        by_order: Mapping[OrderNumber, Sequence[Prepared]],
        stored: Mapping[OrderNumber, Stored],
    ) -> Tables:
        """What stands for the SKUs that this batch's orders of mapped shops name; no import changes it meanwhile."""
        named: dict[ConnectionName, set[Sku]] = {}
        for number, items in by_order.items():
            for item in items:
                if item.source in self._mapped and item.facts is not None and item.facts.content is not None:
                    named.setdefault(item.source, set()).update([line.sku for line in item.facts.content.lines])
            before = stored.get(number)
            shop = None if before is None else self._rules.shop_of(before.order)
            if before is not None and shop is not None and shop.mapped and before.order.content is not None:
                skus = [line.sku for line in before.order.content.value.lines]
                named.setdefault(shop.name, set()).update(skus)
        if not named:
            return NO_TABLES
        ids = {self._names.id(shop): shop for shop in named}
        found = await self._skus.lock(connection, {number: named[shop] for number, shop in ids.items()})
        return {ids[number]: table for number, table in found.items()}

    def _singly(self, by_order: Mapping[OrderNumber, Sequence[Prepared]]) -> dict[OrderNumber, Sequence[Prepared]]:
        """Orders whose events have to be decided one after the other: see `_one_by_one`. None without a restore."""
        before = self._doubt_before
        if before is None:
            return {}
        return {
            number: items
            for number, items in by_order.items()
            if len(items) > 1 and any(_is_before(item, before) for item in items)
        }

    async def _writes(
        self,
        connection: Connection,
        decisions: Sequence[Decision],
        by_order: Mapping[OrderNumber, Sequence[Prepared]],
        stored: Mapping[OrderNumber, Stored],
    ) -> list[OrderWrite]:
        # An order that only somebody's wish to decide it again tells of is not made.
        known = [
            (decision, items)
            for decision in decisions
            if (items := by_order[decision.order.number])
            and (decision.before is not None or items[0].facts is not None or any(i.facts is not None for i in items))
        ]
        ids = iter(await self._ids.take(connection, sum(d.before is None for d, _ in known)))
        writes = []
        for decision, items in known:
            if len(items) == 1 and not decision.stale:
                row = items[0].row
                events: tuple[EventRow, ...] = () if row is None else (row,)
            else:
                rows: dict[bytes, EventRow] = {}
                stale = dict(decision.stale)
                for place, item in enumerate(items):
                    row = item.row
                    if row is None:
                        continue
                    if place in stale:
                        row = msgspec.structs.replace(row, stale=stale[place])
                    elif row.digest in rows:
                        row = msgspec.structs.replace(row, digest=another_digest(row.digest, row.body))
                    rows.setdefault(row.digest, row)
                events = tuple(rows.values())
            if decision.before is not None and _by_itself(decision, items):
                events = (*events, self._verdict(items[0]))
            new, changed = decision.before is None, decision.changed
            writes.append(
                OrderWrite(
                    order_id=next(ids) if new else stored[decision.order.number].order_id,
                    new=new,
                    changed=changed,
                    disputed_anew=changed and _disputed_anew(decision),
                    order=decision.order,
                    events=events,
                    movements=decision.movements,
                    commands=decision.commands,
                )
            )
        return writes

    async def _know_names(self, connection: Connection, writes: Sequence[OrderWrite]) -> None:
        """A gateway with a later configuration may have decided on these orders before, of a shop or for a target that
        is not in ours."""
        named = {write.order.connection for write in writes if write.order.connection}
        named.update(command.target for write in writes for command in write.commands)
        if any(self._names.get(name) is None for name in named):
            await self._names.read_again(connection)

    def _verdict(self, item: Prepared) -> EventRow:
        """What stands in the timeline for a decision that no event brought about."""
        event = item.arrival.event
        return EventRow(os.urandom(12), event.id, NOBODY, RECONSIDER, event.time, None, Private(self._compress(b"")))

    def _failed(self, claims: _Claims, error: BaseException) -> None:
        claims.give_back()
        if isinstance(error, (*AWAY, asyncio.CancelledError)):
            # The commit itself may have gone through; reading the facts again will show the commands as planned.
            self._outlet.uncertain()

    def _committed(self, result: _Applied, claims: _Claims, *, leg: Leg, events: int, took_s: float) -> None:
        taken = {number: _first_taken(items) for number, items in result.by_order.items()}
        self._outlet.take(claims.deliveries(result.mine, taken, result.in_doubt))
        happened: list[Happening] = [BatchCommitted(leg, events, took_s)]
        for decision in result.decisions:
            order, items = decision.order, result.by_order[decision.order.number]
            happened.append(
                OrderDecided(
                    order.number,
                    order.connection,
                    decision.stage_before,
                    order.stage,
                    order.reasons,
                    order.conflicts,
                    len(items),
                    0 if decision.changed else len(items),
                    sum(why == "older" for _, why in decision.stale) if decision.stale else 0,
                    len(decision.commands),
                    (result.at - taken[order.number]).total_seconds(),
                )
            )
        happened += result.kept
        self._observe(happened)


class _Admitted(msgspec.Struct, frozen=True):
    """The part of a batch that is decided, and by which rules. `kept`: what has been set aside or closed; `behind`:
    what waits for an earlier letter of its order, and is set aside with what is decided."""

    by_order: dict[OrderNumber, list[Prepared]]
    stored: Mapping[OrderNumber, Stored]
    rules: Rules
    kept: list[DeadLettered | LetterSuperseded]
    behind: Sequence[DeadLetter]


class _Applied(msgspec.Struct, frozen=True):
    at: datetime
    decisions: Sequence[Decision]
    by_order: Mapping[OrderNumber, Sequence[Prepared]]
    mine: set[tuple[int, int]]
    kept: Sequence[DeadLettered | LetterSuperseded]
    in_doubt: frozenset[Lane]


class _Claims:
    """Places taken in gates' memories for lanes about to be born; given back unless the batch commits."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._births: dict[tuple[int, int], Delivery] = {}

    @property
    def lanes(self) -> set[tuple[int, int]]:
        return set(self._births)

    def plan(self, writes: Sequence[OrderWrite], names: Names) -> set[int]:
        """Take a place for each lane's first new command, where there is one; returns the targets with parked lanes."""
        parked = set()
        for write in writes:
            for command in write.commands:
                lane = (write.order_id, names.id(command.target))
                if lane in self._births:
                    continue
                if self._outlet.room(command.target, command.operation):
                    self._births[lane] = Delivery(order_id=write.order_id, order=write.order, command=command)
                else:
                    parked.add(lane[1])
        return parked

    def deliveries(
        self, mine: set[Lane], taken: Mapping[OrderNumber, datetime], in_doubt: frozenset[Lane]
    ) -> list[Held]:
        """What is ours after the commit. A lane that existed already is somebody else's: its place goes back."""
        held = []
        for lane, delivery in self._births.items():
            if lane in mine:
                held.append(Held(delivery=delivery, in_doubt=lane in in_doubt, taken_at=taken[delivery.order.number]))
            else:
                self._outlet.give_back(delivery.target, delivery.operation)
        self._births = {}
        return held

    def give_back(self) -> None:
        for delivery in self._births.values():
            self._outlet.give_back(delivery.target, delivery.operation)
        self._births = {}


def _one_by_one(
    number: OrderNumber,
    items: Sequence[Prepared],
    stored: Stored | None,
    rules: Rules,
    balances: Mapping[Place, Balance],
    tables: Tables,
) -> Decision:
    """What deciding event by event comes to, as one decision.

    After a restore an order and its cancel are read again in one batch. Folded, the order would never have been
    sent, and a warehouse that was sent it before would not be told of the cancel.
    """
    first = stored.order if stored is not None else None
    order: Order | None = first
    movements: list[Movement] = []
    commands: list[Command] = []
    stale: list[tuple[int, Stale]] = []
    for place, item in enumerate(items):
        [decision] = settle([fold(number, order, [item], rules, tables)], balances, rules)
        order = decision.order
        movements += decision.movements
        commands += decision.commands
        stale += [(place, why) for _, why in decision.stale]
    assert order is not None
    return Decision(first, order, tuple(movements), tuple(commands), tuple(stale))


def _superseded(
    front: Sequence[Standing], sound: Sequence[Prepared], renamed: Mapping[ConnectionName, ConnectionName]
) -> list[Standing]:
    """The letters that close because their source, by its name of now, tells of their orders after all, of then or of
    later.

    All in front of an order, or none: with one among them that holds something, a person has to look anyway.
    """
    in_front: dict[str, list[Standing]] = {}
    for letter in front:
        if letter.code != BEHIND:
            in_front.setdefault(letter.number, []).append(letter)
    newest: dict[tuple[str, ConnectionName], datetime] = {}
    for prepared in sound:
        if prepared.facts is not None and not prepared.facts.refunds_only and prepared.number in in_front:
            key, at = (prepared.number, prepared.source), prepared.arrival.event.time
            newest[key] = max(newest.get(key, at), at)

    def closes(letter: Standing) -> bool:
        source = ConnectionName(letter.source)
        told_at = newest.get((letter.number, renamed.get(source, source)), _NEVER)
        return letter.code == UNREAD and letter.happened_at <= told_at

    return [letter for letters in in_front.values() if all(map(closes, letters)) for letter in letters]


def _unread_only(front: Sequence[Standing]) -> set[str]:
    """The orders in front of which stands nothing but letters that hold nothing, and what waits behind them."""
    codes: dict[str, set[str]] = {}
    for letter in front:
        codes.setdefault(letter.number, set()).add(letter.code)
    return {number for number, found in codes.items() if found <= {UNREAD, BEHIND}}


def _stops(facts: Facts | None) -> bool:
    """Whether `facts` tell of refunds alone, and all of these keep the order from being sent, or end it.

    Such an event must not wait until somebody reads the order; one that may let the order go on must (`_letting_go`).
    """
    return (
        facts is not None
        and facts.refunds_only
        and all(refund.status is not RefundStatus.REJECTED for refund in facts.refunds)
    )


def _letting_go(items: Sequence[Prepared], order: Order | None) -> list[Prepared]:
    """Those of `items`, which tell of refunds alone, that end an open refund. What is left of the order then, only a
    reading of it tells: they have to wait for that."""
    told = [(item, refund) for item in items if item.facts is not None for refund in item.facts.refunds]
    known = {} if order is None else order.refunds
    waits = {name for name, register in known.items() if register.value.status is RefundStatus.OPEN}
    waits |= {refund.refund_id for _, refund in told if refund.status is RefundStatus.OPEN}
    return [item for item, refund in told if refund.status is RefundStatus.DONE and refund.refund_id in waits]


def _by_itself(decision: Decision, items: Sequence[Prepared]) -> bool:
    """Whether the order stands elsewhere now, or waits for something else, and nothing that came in tells why."""
    before, order = decision.before, decision.order
    if before is None or (before.stage is order.stage and before.reasons == order.reasons):
        return False
    return len(decision.stale) == sum(item.facts is not None for item in items)


def _disputed_anew(decision: Decision) -> bool:
    """Whether the order's conflicts are others than before, or what one of them is about is."""
    before, order = decision.before, decision.order
    if before is None or not (before.conflicts or order.conflicts):
        return False
    if before.conflicts != order.conflicts:
        return True
    return any(_matter(conflict, before) != _matter(conflict, order) for conflict in order.conflicts)


def _matter(conflict: str, order: Order) -> object:
    """What a person has to know of to deal with `conflict`. A newer version that says the same is the same."""
    match conflict:
        case "changed_after_sent":
            return None if order.content is None else digest(order.content.value)
        case "held_after_sent":
            return None if order.hold is None else order.hold.value
        case "warehouse_exception":
            return [report for report in order.reported if report.step is ProgressStep.EXCEPTION]
    # All others are about what has left.
    return order.confirmations


def _in_doubt(
    writes: Sequence[OrderWrite],
    by_order: Mapping[OrderNumber, Sequence[Prepared]],
    names: Names,
    *,
    before: datetime,
) -> frozenset[Lane]:
    """The lanes of new commands that an event from before `before` asks for, and of orders placed before that are sent.

    A shop tells of its whole order whenever that changes: an event from today may be the first that this database sees
    of an order that was sent before the restore.
    """
    doubtful: set[Lane] = set()
    for write in writes:
        if not write.commands:
            continue
        content = write.order.content
        placed = content is not None and content.value.placed_at < before
        told = any(_is_before(item, before) for item in by_order[write.order.number])
        doubtful.update(
            (write.order_id, names.id(command.target))
            for command in write.commands
            if told or (placed and command.operation is Operation.CREATE)
        )
    return frozenset(doubtful)


def _is_before(item: Prepared, instant: datetime) -> bool:
    return min(item.arrival.taken_at, item.arrival.event.time) < instant


def _first_taken(items: Sequence[Prepared]) -> datetime:
    return items[0].arrival.taken_at if len(items) == 1 else min(item.arrival.taken_at for item in items)


def _behind(prepared: Prepared) -> DeadLetter:
    return DeadLetter(prepared.arrival, prepared.number, BEHIND, _WAITS)


def _is_of_another(prepared: Prepared, owner: ConnectionName) -> bool:
    """Whether a shop tells of an order of its own, and the one that has its number is of `owner`, another shop."""
    of_a_shop = prepared.facts is not None and prepared.facts.party is Party.SHOP
    return of_a_shop and prepared.source != owner


def _of_another(prepared: Prepared, order: Order) -> DeadLetter:
    """It has no number of its own, so it holds back nothing of the order that has it."""
    return DeadLetter(
        prepared.arrival,
        "",
        "another_shop",
        Text(
            f"{prepared.source} 的订单与 {order.connection} 的订单号相同（{prepared.number}）：前缀改过",
            f"this order of {prepared.source} has the number of one of {order.connection} ({prepared.number}): prefixes"
            " were changed",
        ),
        Text(
            f"这一单由人录入仓库，再 discard；还会有的，给 {prepared.source} 换一个没用过的前缀，已上线的按切换重来"
            "（docs/operations.md，改动连接）",
            "enter this order in the warehouse by hand, and discard this; where more may follow, give"
            f" {prepared.source} a prefix that none has had, by another cut-over where it is live (docs/operations.md,"
            " Changing connections)",
        ),
    )


def _undecided(prepared: Prepared, error: Exception) -> DeadLetter:
    if isinstance(error, CannotOpen):
        return DeadLetter(prepared.arrival, prepared.number, "sealed", error.text, _KEY_BACK)
    return DeadLetter(prepared.arrival, prepared.number, "undecidable", in_both(_refusal(error)), _REPAIR)


def _past_letters(letters: Sequence[DeadLetter]) -> list[WokenFurther]:
    """Who is behind orders that were woken for stock and cannot be decided: they take none."""
    ours = [letter.arrival for letter in letters if letter.arrival.position.leg is Leg.INBOX]
    wishes = [arrival.event for arrival in ours if arrival.event.type == RECONSIDER]
    return [found for event in wishes if (found := woken_further(event)) is not None]


def _refusal(error: BaseException) -> str:
    """What the database objects to, without the values it quotes."""
    constraint = getattr(error, "constraint_name", None)
    return f"{type(error).__name__}{f' ({constraint})' if constraint else ''}"


_REPAIR = Text("修复报文，或报告缺陷", "repair the event, or report a defect")
_KEY_BACK = Text(
    "把该密钥加回 encryption.keys，重启网关后放行",
    "put that key back into encryption.keys, restart the gateway, then release the event",
)
_WAITS = Text("等待同一订单更早的消息", "waits for an earlier event")
_NEVER = datetime.min.replace(tzinfo=UTC)
_TRIES_ON_COLLISION = 20
ZSTD_LEVEL = -1
"""2.7 µs for an order of 830 bytes, 1.55 times smaller; level 1 takes 6.6 µs for 1.67 times."""
