"""What the settings come to for the parts of a worker: their numbers, their rules, and what adapters are built from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from gateway.api.desk import Desk, asking_of
from gateway.core.errors import OrdergateError
from gateway.core.event import ConnectionName
from gateway.core.fault import raised
from gateway.core.order import Operation, Route
from gateway.core.owner import OwnerRule
from gateway.core.text import Text
from gateway.dispatch.breaker import BreakerPolicy
from gateway.dispatch.gate import GatePolicy
from gateway.dispatch.levels import LevelPolicy
from gateway.dispatch.retry import RetryPolicy
from gateway.pipeline.rules import Rules, Shop, UnknownSku
from gateway.sdk.adapter import Setup, Source
from gateway.sdk.cancelled import is_a_stop
from gateway.sdk.carriers import load_carriers
from gateway.sdk.http import Http
from gateway.sdk.notify import Notifier, Person
from gateway.settings import Connection, Settings
from gateway.settings import GatePolicy as GateSettings
from gateway.store.levels import LevelRule
from gateway.store.purge import Ages
from gateway.watch.conditions import Policy
from gateway.watch.notices import Telling

Clock = Callable[[], datetime]

KEEPER_CONNECTIONS = 2
NIGHT_CONNECTIONS = 2
TELLING_CONNECTIONS = 2
LISTEN_CONNECTIONS = 1
"""To the database, beside its pool: of the lease, the purge and the ledger, the notices and what wakes."""


def now() -> datetime:
    return datetime.now(UTC)


def rules_of(
    settings: Settings,
    renamed: Mapping[ConnectionName, ConnectionName] | None = None,
    former: Mapping[ConnectionName, tuple[str, ...]] | None = None,
    starts: Mapping[ConnectionName, datetime] | None = None,
) -> Rules:
    """The part of the settings the pure steps decide by. `renamed`, `starts` and `former`: see Rules and Shop."""
    shops, former = {}, former or {}
    for connection in settings.connections.values():
        if not connection.is_shop:
            continue
        shops[connection.name] = Shop(
            name=connection.name,
            prefix=connection.prefix or "",
            former=former.get(connection.name, ()),
            mode=connection.mode,
            start_at=connection.start_at,
            routes=tuple(Route(ConnectionName(to.target), to.warehouse) for to in connection.route),
            takes_shipments=Operation.SHIP in connection.gates,
            mapped=connection.skus == "mapped",
        )
    return Rules(
        shops=shops,
        targets=frozenset(settings.connections),
        mandatory=tuple(settings.review.mandatory),
        max_total_minor=settings.review.max_total_minor,
        unknown_sku=UnknownSku(settings.stock.unknown_sku),
        renamed=dict(renamed or {}),
        starts={name: at for name, at in (starts or {}).items() if name in (renamed or {})},
    )


def database_connections(settings: Settings) -> int:
    """The most connections to the database that one worker holds at a time."""
    beside = KEEPER_CONNECTIONS + NIGHT_CONNECTIONS + LISTEN_CONNECTIONS
    return settings.database.pool_size + beside + (TELLING_CONNECTIONS if settings.notices.channels else 0)


def ages_of(settings: Settings, now: datetime) -> Ages:
    """What is too old to be kept at `now`."""
    retention = settings.retention
    return Ages(now - timedelta(days=retention.timeline_days), now - timedelta(days=retention.tombstone_days))


def setup_of(connection: Connection, settings: Settings, *, now: Clock = now) -> Setup:
    """What the adapter of `connection` is built from."""
    return Setup(
        connection=connection.name,
        settings=connection.settings,
        now=now,
        carriers=load_carriers().extended(settings.carriers),
        adapters={one.name: one.adapter.manifest.name for one in settings.connections.values()},
    )


def built(connection: Connection, kind: Any, *given: Any) -> Any:
    """An adapter's object, made of what it is given. Raises OrdergateError where it cannot be: a setting that only the
    constructor looks into, or other parameters than the SDK's. What it says may hold a secret, and is left out."""
    try:
        return kind(*given)
    except BaseException as error:
        if is_a_stop(error):
            raise
        name, adapter, how = connection.name, connection.adapter.manifest.name, raised(error)
        trace = error.__traceback__
        if isinstance(error, TypeError) and trace is not None and trace.tb_next is None:
            how = str(error)  # Python's own words of the call, with no value in them
        raise OrdergateError(
            Text(
                f"适配器 {adapter} 的 {kind.__name__} 用 {name} 的设置建不起来：{how}；检查它的 settings，或修复适配器",
                f"{kind.__name__} of the adapter {adapter} cannot be made of the settings of {name}: {how}; "
                "check its `settings`, or mend the adapter",
            )
        ) from error


def sources_of(settings: Settings, *, now: Clock = now) -> dict[ConnectionName, Source]:
    return {
        connection.name: built(connection, connection.adapter.source_type, setup_of(connection, settings, now=now))
        for connection in settings.connections.values()
        if connection.adapter.source_type is not None
    }


def owners_in(
    settings: Settings, renamed: Mapping[ConnectionName, ConnectionName] | None = None
) -> tuple[OwnerRule, ...]:
    """The rules of whose work is whose; what is of a shop also for what it was called before, by `renamed`."""
    return tuple(
        OwnerRule(people=rule.people, connection=connection, kind=rule.kind, code=rule.code or "")
        for rule in settings.owners
        for connection in (
            rule.connection or "",
            *(old for old, new in (renamed or {}).items() if new == rule.connection),
        )
    )


def desk_of(settings: Settings, rules: Rules) -> Desk:
    """What the API's desk is told of the settings."""
    gates = [
        (connection, operation, policy)
        for connection in settings.connections.values()
        for operation, policy in connection.gates.items()
    ]
    return Desk(
        owners=owners_in(settings),
        language=settings.language,
        watched=bool(settings.notices.channels),
        ship_by_lead=timedelta(seconds=settings.notices.ship_by_lead_s),
        prefixes=settings.shop_prefixes,
        former=frozenset(prefix for shop in rules.shops.values() for prefix in shop.former),
        renamed=rules.renamed,
        asking={(c.name, str(op)): asking_of(policy, settle_s=c.settle_s) for c, op, policy in gates},
        rates={(c.name, str(op)): policy.rate_per_s for c, op, policy in gates},
    )


def breaker_policy_of(settings: Settings, gate: GateSettings) -> BreakerPolicy:
    return BreakerPolicy(
        window_s=settings.breaker.window_s,
        min_calls=settings.breaker.min_calls,
        failure_share=settings.breaker.failure_share,
        slow_s=gate.slow_s,
        consecutive_timeouts=settings.breaker.consecutive_timeouts,
        open_s=settings.breaker.open_s,
        open_max_s=settings.breaker.open_max_s,
        ramp_s=settings.breaker.ramp_s,
        # A probe that may take longer than its place is kept would never be heard, and the breaker never close.
        probe_lease_s=max(60.0, 2 * gate.deadline_s),
    )


def gate_policy_of(settings: Settings, connection: Connection, operation: Operation) -> GatePolicy:
    policy = connection.gate(operation)
    return GatePolicy(
        in_flight=policy.in_flight,
        deadline_s=policy.deadline_s,
        after_unknown=policy.after_unknown,
        findable=policy.findable,
        settle_s=connection.settle_s,
        places=settings.dispatch.held_per_gate,
        rate_per_s=policy.rate_per_s,
        burst=policy.burst,
        connection_per_s=None if connection.rate is None else connection.rate.per_s,
        joins_s=2 * settings.dispatch.heartbeat_s,
    )


def level_policy_of(connection: Connection) -> LevelPolicy:
    """How a shop is told its stock levels: of the warehouse that its orders go to, the one of its first route."""
    gate, stock = connection.gate(Operation.STOCK), connection.stock
    return LevelPolicy(
        rule=LevelRule(warehouses=(connection.route[0].warehouse,), keep_back=stock.keep_back, share=stock.share),
        deadline_s=gate.deadline_s,
        in_flight=gate.in_flight,
        every_s=stock.every_s,
    )


def retry_policy_of(settings: Settings) -> RetryPolicy:
    return RetryPolicy(
        burst_retries=settings.retry.burst_retries,
        base_s=settings.retry.base_s,
        max_s=settings.retry.max_s,
        durable_base_s=settings.retry.durable_base_s,
        durable_max_s=settings.retry.durable_max_s,
    )


def notifier_of(settings: Settings, name: str, http: Http, *, now: Clock = now) -> Notifier:
    """The notifier of the connection `name`, which has one."""
    connection = settings.connections[ConnectionName(name)]
    assert connection.adapter.notifier_type is not None
    setup = setup_of(connection, settings, now=now)
    return cast(Notifier, built(connection, connection.adapter.notifier_type, setup, http))


def telling_of(settings: Settings, renamed: Mapping[ConnectionName, ConnectionName] | None = None) -> Telling:
    """Who is told what, and when. `renamed`: see Rules."""
    notices = settings.notices
    return Telling(
        policy=Policy(
            backlog_age_s=notices.backlog_age_s,
            ship_by_lead_s=notices.ship_by_lead_s,
            settle_s=notices.settle_s,
            mute=frozenset(notices.mute),
            polled=frozenset(c.name for c in settings.connections.values() if c.pull is not None),
        ),
        language=settings.language,
        people={
            name: Person(name=name, userid=entry.userid or "", mobile=entry.mobile or "", email=entry.email or "")
            for name, entry in notices.people.items()
        },
        owners=owners_in(settings, renamed),
        runbooks=notices.runbook_url if notices.runbook_url.endswith("/") else f"{notices.runbook_url}/",
        hand_over_s=notices.hand_over_s,
    )
