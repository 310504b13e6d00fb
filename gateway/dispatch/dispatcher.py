"""The dispatcher of one worker: its gates, its lease, the claims of parked lanes, the adoption of dead workers' lanes.

Depends on PostgreSQL only. Implements `core.delivery.Outlet`, through which intake hands deliveries over.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import asyncpg

from gateway.core.delivery import AfterUnknown, Delivery, Held, Result
from gateway.core.errors import Fenced, Unavailable
from gateway.core.event import ConnectionName
from gateway.core.happening import AttemptEnded, Observer, Trouble
from gateway.core.order import Operation
from gateway.dispatch.gate import Gate
from gateway.dispatch.lease import Lease
from gateway.dispatch.outcomes import OutcomeWriter
from gateway.store.control import Controls, read_controls
from gateway.store.outbox import (
    Lane,
    adopt,
    claim,
    free_lanes,
    load_held,
    overtaken,
    own_lanes,
    renew_lease,
    retire_worker,
    withdraw,
    write_outcomes,
)
from gateway.store.sql import AWAY, COLLIDED, COMMAND_TIMEOUT_S, Names

_T = TypeVar("_T")

_POLL_S = 1.0
_CLAIM_GROUP = 500
_RETRY_S = 0.5
_SET_FORWARD_S = 1.0
"""By so much more than ours the database's clock goes on only where somebody has set it, or this machine has slept."""
_ASTRAY_AFTER_S = 2 * COMMAND_TIMEOUT_S
"""Longer than a call to the database may take, from commit to answer."""


class Dispatcher:
    """`keeper` is a pool of its own for lease, adoption and controls: a busy `pool` must not cost the lease.

    Runs until `stop`; raises Fenced when another worker has taken over."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        keeper: asyncpg.Pool,
        names: Names,
        worker_id: int,
        lease: Lease,
        heartbeat_s: float,
        observe: Observer,
        outcome_wait_s: float,
        reach: Callable[[str], None],
    ) -> None:
        self._pool = pool
        self._keeper = keeper
        self._astray_after_s = _ASTRAY_AFTER_S
        self._names = names
        self.worker_id = worker_id
        self.lease = lease
        self._heartbeat_s = heartbeat_s
        self._observe = observe
        self._gates: dict[tuple[ConnectionName, Operation], Gate] = {}
        self._advanced: asyncio.Queue[dict[Lane, int]] = asyncio.Queue()
        self._advancing: dict[Lane, int] = {}
        self._looked_at: set[Lane] = set()
        self._stopping = asyncio.Event()
        self._look_until = 0.0
        self._astray_since: dict[Lane, float] = {}
        self.on_controls: list[Callable[[Controls], None]] = []
        """Called with what people have switched, at every heartbeat and before anything is sent."""
        self.outcomes = OutcomeWriter(
            pool=pool,
            worker_id=worker_id,
            group_wait_s=outcome_wait_s,
            advance=self._advance,
            uncertain=self.uncertain,
            observe=observe,
            reach=reach,
        )

    def add(self, gate: Gate) -> None:
        self._gates[(gate.target, gate.operation)] = gate

    def sends_waiting(self) -> int:
        """How many deliveries wait for nothing but their turn, at the gate where most do."""
        return max((gate.only_queued() for gate in self._gates.values()), default=0)

    def hold(self, target: ConnectionName, *, held: bool) -> None:
        """Have the gates of `target` wait for a new authorisation, or go on."""
        for gate in self._gates.values():
            if gate.target == target:
                gate.hold() if held else gate.release()

    @property
    def gates(self) -> Mapping[tuple[ConnectionName, Operation], Gate]:
        return self._gates

    # --- Outlet

    def room(self, target: ConnectionName, operation: Operation) -> bool:
        gate = self._gates.get((target, operation))
        # No gate: the target is not configured (any more); the lane waits, parked, until it is.
        return gate is not None and gate.room()

    def give_back(self, target: ConnectionName, operation: Operation) -> None:
        self._gates[(target, operation)].give_back()

    def uncertain(self) -> None:
        self._look_until = time.monotonic() + 2 * _ASTRAY_AFTER_S

    def wake(self, payload: str) -> None:
        """Lanes of these targets (their numbers with spaces between; none: of any) are free to be claimed."""
        targets = payload.split()
        for gate in self._gates.values():
            if not targets or str(gate.target_id) in targets:
                gate.freed.set()

    def take(self, held: Sequence[Held]) -> None:
        for one in held:
            self._gates[(one.delivery.target, one.delivery.operation)].take(one)

    # --- life

    async def run(self, *, stop_within_s: float) -> None:
        """Until `stop`, then: finish what is in flight within `stop_within_s`, leave the rest in the outbox, retire."""
        await self.first_controls()
        async with asyncio.TaskGroup() as writing:
            writer = writing.create_task(self.outcomes.run(), name="outcomes")
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._keep_lease(), name="lease"),
                    group.create_task(self._go_on(), name="advance"),
                    *(
                        group.create_task(self._claim_parked(gate), name=f"claim {gate.target} {gate.operation}")
                        for gate in self._gates.values()
                    ),
                ]
                sending = [
                    group.create_task(gate.run(), name=f"gate {gate.target} {gate.operation}")
                    for gate in self._gates.values()
                ]
                await self._stopping.wait()
                for gate in self._gates.values():
                    gate.stop()
                if sending:
                    await asyncio.wait(sending, timeout=stop_within_s)
                for task in (*tasks, *sending):
                    task.cancel()
            self.outcomes.stop()
            await writer
        left = [outcome for gate in self._gates.values() for outcome in gate.leftovers()]
        try:
            if left:
                await write_outcomes(self._pool, worker_id=self.worker_id, attempts=(), outcomes=left)
            await retire_worker(self._pool, self.worker_id)
        except (*AWAY, Unavailable) as error:
            what = f"not given back, others wait until it has run out: {type(error).__name__}"
            self._observe([Trouble("lease", what)])

    def stop(self) -> None:
        self._stopping.set()

    async def _keep_lease(self) -> None:
        """Renew the lease, adopt the dead, read what people have paused or forced."""
        settle_s = {
            (self._names.id(gate.target), str(gate.operation)): gate.policy.settle_s
            for gate in self._gates.values()
            if gate.policy.after_unknown is AfterUnknown.FIND
        }
        set_back = set_forward = False
        renewed_at = -math.inf
        while True:
            asked_at, began = self.lease.now(), time.monotonic()
            try:
                renewed = await renew_lease(self._keeper, self.worker_id)
                if renewed.set_back:
                    set_back = True
                    self._observe([Trouble("clock", "the database's clock was set back: what waits is due at once")])
                if renewed.passed_s > time.monotonic() - renewed_at + _SET_FORWARD_S:
                    set_forward = True
                    self._observe([Trouble("clock", "the database's clock leapt ahead of ours: leases count from now")])
                renewed_at = began
                self.lease.renewed(asked_at)
                adopted = await adopt(self._keeper, settle_s=settle_s, set_back=set_back, set_forward=set_forward)
                set_back = set_forward = False
                for worker_id, lanes in adopted.items():
                    self._observe([Trouble("adopted", f"worker {worker_id} is gone, {lanes} lanes adopted")])
                await self._read_controls()
                await self._free_strays()
            except Fenced:
                raise
            except (*AWAY, *COLLIDED, Unavailable) as error:
                self._observe([Trouble("lease", f"not renewed: {type(error).__name__}")])
                self.uncertain()
                await asyncio.sleep(_RETRY_S)
                continue
            await asyncio.sleep(self._heartbeat_s)

    async def _free_strays(self) -> None:
        """Free lanes that are ours in the database and in nobody's hands: claimed by a commit whose answer was lost.

        Nothing of their heads has been sent, so they are in no doubt. A lane between two hands looks the same until
        the call that moves it returns, so only what is astray for longer than any call may take is freed.
        """
        if time.monotonic() > self._look_until:
            self._astray_since = {}
            return
        mine = await own_lanes(self._keeper, self.worker_id)
        held = {(order_id, gate.target_id) for gate in self._gates.values() for order_id in gate.lanes()}
        held.update(self.outcomes.lanes(), self._advancing, self._looked_at)
        now = time.monotonic()
        self._astray_since = {lane: self._astray_since.get(lane, now) for lane in mine - held}
        lost = [lane for lane, since in self._astray_since.items() if now - since >= self._astray_after_s]
        if lost:
            freed = await free_lanes(self._keeper, sorted(lost), worker_id=self.worker_id)
            self._observe([Trouble("strays", f"{freed} lanes freed that a lost commit had claimed")])

    async def first_controls(self) -> None:
        """Know what is paused or held open before anything is claimed, sent, polled or told."""
        while True:
            try:
                await self._read_controls()
                return
            except AWAY as error:
                self._observe([Trouble("lease", f"controls not read: {type(error).__name__}")])
                await asyncio.sleep(_RETRY_S)

    async def _read_controls(self) -> None:
        controls = await read_controls(self._keeper)
        for gate in self._gates.values():
            target_id = self._names.id(gate.target)
            if (target_id in controls.paused) != gate.state.paused:
                gate.pause() if target_id in controls.paused else gate.resume()
            gate.follow(controls.forced.get((target_id, str(gate.operation))), at=controls.at)
            gate.share(controls.workers)
        for follow in self.on_controls:
            follow(controls)

    async def _claim_parked(self, gate: Gate) -> None:
        """Take free lanes of one gate into memory whenever there is room and something can be sent.

        Woken when lanes were parked or freed and when places came free; polls for waits that have run out.
        """
        looked_at, to_send = -math.inf, set[int]()
        while True:
            gate.freed.clear()
            try:
                if gate.operation is Operation.CREATE and time.monotonic() - looked_at >= _POLL_S:
                    looked_at = time.monotonic()
                    await self._withdraw_queued(gate, to_send)
                more = await self._claim_group(gate)
            except (*AWAY, Unavailable) as error:
                self._observe([Trouble("claim", f"PostgreSQL is away: {type(error).__name__}")])
                self.uncertain()
                await asyncio.sleep(_RETRY_S)
                continue
            if not more:
                try:
                    async with asyncio.timeout(_POLL_S):
                        await gate.freed.wait()
                except TimeoutError:
                    continue

    async def _claim_group(self, gate: Gate) -> bool:
        """Claim one group; whether there may be more at once."""
        room = min(gate.spare(), _CLAIM_GROUP)
        certain, doubtful = gate.spare_for_orders(), gate.spare_for_questions()
        if not room or not (certain or doubtful):
            return False
        # Refill in strides: a claim per freed place would cost a transaction each.
        if certain and room < _CLAIM_GROUP // 2 and room < gate.places // 2 and gate.sends_waiting():
            return False
        held = await claim(
            self._pool,
            worker_id=self.worker_id,
            target=gate.target,
            operation=gate.operation,
            limit=room,
            certain=certain,
            doubtful=doubtful,
            names=self._names,
        )
        full = len(held) == room
        if gate.operation is Operation.CREATE and held:
            with self._in_hand(gate, held):
                known = await overtaken(self._pool, worker_id=self.worker_id, target=gate.target, names=self._names)
                doomed = [one for one in held if one.delivery.order_id in known and not one.in_doubt]
                gone = await self._withdrawn(gate, doomed)
            held = [one for one in held if one.delivery.order_id not in gone]
        if certain:
            gate.parked = full  # before: what goes straight back into the outbox is parked, too
        if doubtful:
            gate.more_in_doubt = doubtful == sum(one.in_doubt for one in held)
        gate.adopt(held)
        return full

    async def _withdraw_queued(self, gate: Gate, to_send: set[int]) -> None:
        """End what waits in memory and whose cancel has come meanwhile: a target that was down would be sent both.

        `to_send` are orders that have to be sent all the same, kept from look to look.
        """
        if not gate.sends_waiting():
            return
        known = await overtaken(self._pool, worker_id=self.worker_id, target=gate.target, names=self._names)
        to_send &= known
        unwritten = {order_id for order_id, target_id in self.outcomes.attempted() if target_id == gate.target_id}
        doomed = gate.take_out(known - to_send - unwritten)
        with self._in_hand(gate, doomed):
            gone = await self._withdrawn(gate, doomed)
        for _ in gone:
            gate.give_back()
        kept = [one for one in doomed if one.delivery.order_id not in gone]
        to_send.update(one.delivery.order_id for one in kept)
        gate.put_back(kept)

    @contextmanager
    def _in_hand(self, gate: Gate, held: Sequence[Held]) -> Iterator[None]:
        """Those lanes are no strays though no gate holds them, however long the database is away."""
        lanes = {(one.delivery.order_id, gate.target_id) for one in held}
        self._looked_at |= lanes
        try:
            yield
        finally:
            self._looked_at -= lanes

    async def _withdrawn(self, gate: Gate, doomed: Sequence[Held]) -> set[int]:
        """Those orders of `doomed` that need not be sent, after all; whether a call was answered or not."""
        if not doomed:
            return set()
        asked = {one.delivery.order_id: one.delivery.command.seq for one in doomed}
        kept = await self._through(
            partial(
                withdraw, self._pool, worker_id=self.worker_id, target=gate.target, creates=asked, names=self._names
            )
        )
        gone = asked.keys() - kept
        self._observe(
            [
                AttemptEnded(
                    one.delivery.order.number, gate.target, operation, seq, Result.WITHDRAWN, "cancelled", 0.0, None
                )
                for one in doomed
                if one.delivery.order_id in gone
                for operation, seq in (
                    (Operation.CREATE, one.delivery.command.seq),
                    (Operation.CANCEL, one.delivery.command.seq + 1),
                )
            ]
        )
        return gone

    def _advance(self, lanes: dict[Lane, int]) -> None:
        self._advancing.update(lanes)
        self._advanced.put_nowait(lanes)

    async def _go_on(self) -> None:
        """Load the next command of lanes whose head is done, and queue it at its gate.

        What its gate has no place for waits in the outbox, free, like what a target does not take (any more).
        """
        while True:
            lanes = await self._advanced.get()
            held = await self._through(partial(load_held, self._pool, lanes, names=self._names))
            over: list[Lane] = []
            lost: list[Delivery] = []
            for one in held:
                delivery = one.delivery
                gate = self._gates.get((delivery.target, delivery.operation))
                if gate is not None and gate.spare():
                    gate.adopt([one])
                    continue
                over.append((delivery.order_id, self._names.id(delivery.target)))
                if gate is None:
                    lost.append(delivery)
                else:
                    gate.parked = True
            if over:
                await self._through(partial(free_lanes, self._keeper, sorted(over), worker_id=self.worker_id))
            if lost:
                self._observe([Trouble("advance", f"{one.target} has no gate {one.operation}") for one in lost])
            for lane in lanes:
                self._advancing.pop(lane, None)

    async def _through(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """What `call` gives, however long the database is away; it is safe to repeat."""
        while True:
            try:
                return await call()
            except (*AWAY, *COLLIDED, Unavailable) as error:
                self._observe([Trouble("advance", f"PostgreSQL is away: {type(error).__name__}")])
                await asyncio.sleep(_RETRY_S)
