"""Gates: how they stand, and holding a breaker by hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import asyncpg

from gateway.api.errors import not_found
from gateway.api.routing import Call, Route
from gateway.api.views import Done, ForceBody, ForcedView, GateList, GateView, WorkerGate
from gateway.core.event import ConnectionName
from gateway.core.text import Text
from gateway.store.control import UNTIL_ENDED, force_breaker, read_controls
from gateway.store.queries import GateLanes, gate_lanes
from gateway.store.sql import Names
from gateway.telemetry.logs import mask_text

_ERRORS = (400, 401, 404, 422, 503)
_NONE = GateLanes(0, 0, 0)


class Gates:
    """Handlers of ``/gates``. `own` tells how the gates of this worker stand."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        names: Names,
        targets: Mapping[ConnectionName, Collection[str]],
        own: Callable[[], Sequence[WorkerGate]],
    ) -> None:
        self._pool = pool
        self._names = names
        self._targets = targets
        self._own = own

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET", path="/gates", handler=self.list_gates, answer=GateList,
                zh="闸门状态", en="Gates: lanes in the database, breaker and memory of the worker that answers",
            ),
            Route(
                method="POST", path="/gates/{target}/{operation}/breaker", handler=self.force_breaker, body=ForceBody,
                answer=Done, errors=_ERRORS, zh="手动断开、闭合或恢复自动",
                en="Hold a breaker open or closed, or let it go",
            ),
        ]  # fmt: skip

    async def list_gates(self, call: Call) -> GateList:
        controls = await read_controls(self._pool)
        lanes = await gate_lanes(self._pool)
        own = {(gate.target, gate.operation): gate for gate in self._own()}
        keys = {
            (str(target), str(operation)) for target, operations in self._targets.items() for operation in operations
        }
        # A target that is not configured any more may still have open lanes.
        keys |= {(name, operation) for target_id, operation in lanes if (name := self._names.find(target_id))}
        gates = []
        for target, operation in sorted(keys):
            target_id = self._names.id(ConnectionName(target))
            count = lanes.get((target_id, operation), _NONE)
            forced = controls.forced.get((target_id, operation))
            gates.append(
                GateView(
                    target=target,
                    operation=operation,
                    paused=target_id in controls.paused,
                    forced=None
                    if forced is None
                    else ForcedView(
                        state="open" if forced.forced == "open" else "closed",
                        reason=mask_text(forced.reason),
                        author=forced.author,
                        until_at=None if forced.until_at == UNTIL_ENDED else forced.until_at,
                    ),
                    open=count.open,
                    parked=count.parked,
                    blocked=count.blocked,
                    worker=own.get((target, operation)),
                )
            )
        return GateList(gates=gates, workers=controls.workers)

    async def force_breaker(self, call: Call) -> Done:
        body: ForceBody = call.body
        target, operation = ConnectionName(call.path["target"]), call.path["operation"]
        if operation not in self._targets.get(target, ()):
            raise not_found(
                Text(f"没有闸门 {target}/{operation}", f"there is no gate {target}/{operation}"),
                "path",
                Text("GET /gates 列出全部闸门", "GET /gates lists them"),
            )
        until_at = await force_breaker(
            self._pool,
            target_id=self._names.id(target),
            operation=operation,
            forced=None if body.force == "auto" else body.force,
            reason=body.reason,
            actor=call.actor,
            for_s=body.for_s,
        )
        zh, en = "已恢复自动", "back to automatic"
        if body.force != "auto":
            zh = f"已{'手动断开' if body.force == 'open' else '手动闭合'}，持续 {body.for_s:g} 秒"
            en = f"held {body.force} until {until_at.isoformat()}"
        return Done(note=Text(f"{zh}；各进程在一次心跳内跟上", f"{en}; every worker follows within its heartbeat"))
