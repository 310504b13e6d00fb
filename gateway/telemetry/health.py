"""Readiness: may this worker be sent requests? A pure function of the states of its parts.

Ready means that an event can be made durable on one leg. A target that is away, or a database that is away while Kafka
takes the events, does not make a worker unready: taking it out of the load balancer would only lose orders.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from gateway.core.text import NOTHING, Text


class Part(enum.StrEnum):
    WORKER = "worker"
    """The process itself: starting, up, or stopping; down when another worker has replaced it."""
    DATABASE = "database"
    KAFKA = "kafka"
    INTAKE = "intake"
    """Of what is on Kafka; the inbox needs nothing but the database."""
    DISPATCH = "dispatch"


class State(enum.StrEnum):
    UP = "up"
    STARTING = "starting"
    STOPPING = "stopping"
    DOWN = "down"
    OUTDATED = "outdated"
    """The database lacks migrations of this release."""
    READ_ONLY = "read_only"
    """The database answers and takes nothing: a standby, after a failover."""
    ABSENT = "absent"
    """Not configured, or not run by this worker: no reason for anything."""


class Reason(msgspec.Struct, frozen=True):
    """Something that is not as it should be. `fatal` when it makes the worker unready."""

    part: Part
    state: State
    fatal: bool
    zh: str
    en: str


class Readiness(msgspec.Struct, frozen=True):
    ready: bool
    reasons: tuple[Reason, ...] = ()

    def texts(self, language: str) -> list[str]:
        """The reasons in `zh` or `en`."""
        return [reason.zh if language == "zh" else reason.en for reason in self.reasons]


def readiness(states: Mapping[Part, State], why: Mapping[Part, Text] = MappingProxyType({})) -> Readiness:
    """Whether the worker can take requests, and everything that is not up, the fatal first.

    A part that is not in `states` is absent; a worker that says nothing of itself is starting. `why`: what is known
    about a part that is down.
    """
    worker = states.get(Part.WORKER, State.STARTING)
    legs = [states.get(Part.KAFKA, State.ABSENT), states.get(Part.DATABASE, State.ABSENT)]
    durable = State.UP in legs
    reasons = []
    for part in Part:
        state = worker if part is Part.WORKER else states.get(part, State.ABSENT)
        if state in (State.UP, State.ABSENT):
            continue
        fatal = part is Part.WORKER or (part in (Part.DATABASE, Part.KAFKA) and not durable)
        reasons.append(_reason(part, state, fatal=fatal, why=why.get(part, NOTHING)))
    if not durable and all(state is State.ABSENT for state in legs):
        reasons.append(_reason(Part.DATABASE, State.ABSENT, fatal=True))
    reasons.sort(key=lambda reason: not reason.fatal)
    return Readiness(not any(reason.fatal for reason in reasons), tuple(reasons))


_PARTS = {
    Part.WORKER: ("工作进程", "the worker"),
    Part.DATABASE: ("数据库", "the database"),
    Part.KAFKA: ("Kafka", "Kafka"),
    Part.INTAKE: ("Kafka 事件的读取", "reading from Kafka"),
    Part.DISPATCH: ("下发", "dispatch"),
}
_STATES = {
    State.STARTING: ("正在启动", "is starting"),
    State.STOPPING: ("正在停止", "is stopping"),
    State.DOWN: ("不可用", "is down"),
    State.OUTDATED: ("结构未升级（请运行 ordergate migrate）", "is not migrated (run `ordergate migrate`)"),
    State.READ_ONLY: ("只读（备库，或被设为只读）", "is read-only (a standby, or set to be so)"),
    State.ABSENT: ("未连接", "is not connected"),
}
_CONSEQUENCES = {
    Part.DATABASE: ("事件暂存在 Kafka，订单处理暂停", "events are kept in Kafka, decisions wait"),
    Part.KAFKA: ("事件写入数据库收件箱", "events go to the inbox in the database"),
    Part.INTAKE: ("Kafka 中的事件已保存，等待处理", "events there are kept and wait"),
    Part.DISPATCH: ("订单已保存，等待下发", "deliveries are kept and wait"),
}


def _reason(part: Part, state: State, *, fatal: bool, why: Text = NOTHING) -> Reason:
    (part_zh, part_en), (state_zh, state_en) = _PARTS[part], _STATES[state]
    zh, en = f"{part_zh}{state_zh}", f"{part_en} {state_en}"
    if why:
        zh, en = f"{zh}（{why.zh}）", f"{en} ({why.en})"
    if fatal:
        return Reason(part, state, fatal, f"{zh}：不能接收事件", f"{en}: events cannot be taken")
    consequence_zh, consequence_en = _CONSEQUENCES[part]
    return Reason(part, state, fatal, f"{zh}：{consequence_zh}", f"{en}: {consequence_en}")
