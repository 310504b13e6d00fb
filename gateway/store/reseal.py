"""Sealing again with the active key: what is plain or sealed with another one, table by table, while everything runs.

In batches along the key, each row only if it is still what was read; a run that is cut short starts over and
finds little left to do. A row that cannot be opened stays as it is, is counted, and costs no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import msgspec

from gateway.core.errors import OrdergateError
from gateway.core.text import Text
from gateway.store.sql import COLLIDED, CannotOpen, Connection, private_or_plain
from gateway.store.vault import MAGIC, PREFIX_BYTES, KeyInUse, Vault, enter_keys, is_sealed, keys_in_use

BATCH_ROWS = 500
_ALIVE = "renewed_at + make_interval(secs => lease_s) > now()"
_SCAN_WITHIN_S = 3600
"""Behind the last row to be sealed stand all the others, millions perhaps, and each is looked at."""


class Column(msgspec.Struct, frozen=True):
    """A column that holds buyer data, and the key of its table with the types of its parts.

    `named`: SQL of what a person knows the row `t` by. `was`: the text column it has taken over from, which is emptied
    (migration 0009).
    """

    table: str
    column: str
    key: tuple[tuple[str, str], ...]
    named: str
    was: str = ""

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column}"

    @property
    def stored(self) -> str:
        """SQL of its bytes, sealed or plain, of the row `t`."""
        return private_or_plain(f"t.{self.was}") if self.was else f"t.{self.column}"

    @property
    def left(self) -> str:
        """SQL of whether a row is still to be sealed with the key whose mark is $1."""
        sealed_otherwise = f"substring({self.column} for {PREFIX_BYTES}) <> $1"
        return f"({sealed_otherwise} OR {self.was} <> '')" if self.was else sealed_otherwise


_ORDER = "(SELECT o.number FROM orders o WHERE o.order_id = t.order_id)"
_SHOP = "(SELECT c.name FROM connection c WHERE c.connection_id = t.connection_id)"
_LETTER = "concat_ws(' ', '#' || t.dead_letter_id, nullif(t.number, ''))"

SEALED = (
    Column("orders", "state", (("order_id", "bigint"),), "t.number"),
    Column("event", "body", (("order_id", "bigint"), ("digest", "bytea")), _ORDER),
    Column(
        "inbox",
        "body",
        (("inbox_id", "bigint"),),
        "concat_ws(' ', '#' || t.inbox_id, t.source, nullif(t.order_key, ''))",
    ),
    Column("dead_letter", "body", (("dead_letter_id", "bigint"),), _LETTER),
    Column("delivery_edit", "body", (("edit_id", "bigint"),), _ORDER),
    Column("credential", "token", (("connection_id", "smallint"),), _SHOP),
    Column("credential", "private_refused", (("connection_id", "smallint"),), _SHOP),
    # It has no key of its own; a place in the table is one as long as the row is what was read there.
    Column("attempt", "private_detail", (("order_id", "bigint"), ("ctid", "tid")), _ORDER, was="detail"),
    Column("dead_letter", "private_message", (("dead_letter_id", "bigint"),), _LETTER, was="message"),
    Column("dead_letter", "private_message_zh", (("dead_letter_id", "bigint"),), _LETTER),
    Column("dead_letter", "private_advice", (("dead_letter_id", "bigint"),), _LETTER, was="advice"),
    Column("dead_letter", "private_advice_zh", (("dead_letter_id", "bigint"),), _LETTER),
    Column(
        "audit",
        "private_reason",
        (("audit_id", "bigint"),),
        "concat_ws(' ', '#' || t.audit_id, nullif(t.subject, ''))",
        was="reason",
    ),
    Column("conflict_handled", "private_reason", (("order_id", "bigint"),), _ORDER, was="reason"),
    Column("redrive", "private_reason", (("redrive_id", "bigint"),), "'#' || t.redrive_id", was="reason"),
)
"""Every column that holds buyer data or a secret of a shop."""

Told = Callable[[str, int], None]

_SHOWN = 20


class Unsealable(msgspec.Struct, frozen=True):
    """A row that cannot be opened. `row`: the order's number, or the id where it has none; `key_id` of its key."""

    column: str
    row: str
    key_id: str
    why: Text


class Resealed(msgspec.Struct, frozen=True):
    """Rows per column: brought to the active key, and left because they cannot be opened.

    `rows`: twenty of these at most. `needed`: keys besides the active one that have to stay in the configuration: rows
    are sealed with them, or a worker that has started meanwhile seals with them.
    """

    changed: dict[str, int]
    unopened: dict[str, int]
    rows: tuple[Unsealable, ...]
    needed: tuple[str, ...]


class KeyNotInUse(OrdergateError):
    """Workers run that seal with another key: what they go on writing needs it, and they may lack the active one."""


async def reseal(pool: asyncpg.Pool, vault: Vault, *, told: Told) -> Resealed:
    """Bring every sealed column to the active key as far as it can be opened; keys nobody needs are struck off.

    `pool` is one whose connections do not open what they read. `told` hears the column and the rows changed so far.
    Raises KeyNotInUse, before anything is changed, while workers run that seal with another key.
    """
    await _enter_active(pool, vault)
    await pool.execute(_REFUSED_AS_BEFORE)
    walk = _Walk(pool, vault, told)
    for column in SEALED:
        await walk.go(column)
    await _strike_off(pool, vault)
    needed = tuple(row[0] for row in await pool.fetch(_NEEDED, vault.active_id.hex()))
    return Resealed(
        walk.changed, {name: count for name, count in walk.unopened.items() if count}, tuple(walk.rows), needed
    )


# A gateway of the release before migration 0009 went on writing a platform's words where now its code stands.
_REFUSED_AS_BEFORE = """
UPDATE credential
   SET private_refused = convert_to(refused, 'UTF8'),
       refused = coalesce(substring(refused from '^[A-Za-z0-9._-]{1,64}'), 'other')
 WHERE refused !~ '^[A-Za-z0-9._:-]{1,64}$'
"""


async def left(pool: asyncpg.Pool, vault: Vault) -> dict[str, int]:
    """Rows per column that are not sealed with the active key. Reads every row."""
    return {
        column.name: await pool.fetchval(
            f"SELECT count(*) FROM {column.table} WHERE {column.left}", MAGIC + vault.active_id, timeout=_SCAN_WITHIN_S
        )
        for column in SEALED
    }


async def keys_with_rows(pool: asyncpg.Pool, vault: Vault) -> list[KeyInUse]:
    """The keys in use with their rows, whether these can be opened or not; also keys that were struck off too early.

    Reads every row.
    """
    used = await keys_in_use(pool, vault)
    counts = await _rows_of_keys(pool)
    strays = sorted(counts.keys() - {key.key_id for key in used})
    used += [KeyInUse(one, None, False, bytes.fromhex(one) in vault.key_ids) for one in strays]
    return [msgspec.structs.replace(key, rows=counts.get(key.key_id, 0)) for key in used]


async def _rows_of_keys(pool: asyncpg.Pool) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for column in SEALED:
        rows = await pool.fetch(
            f"SELECT substring({column.column} from {len(MAGIC) + 1} for {PREFIX_BYTES - len(MAGIC)}), count(*)"
            f"  FROM {column.table} WHERE substring({column.column} for {len(MAGIC)}) = $1 GROUP BY 1",
            MAGIC,
            timeout=_SCAN_WITHIN_S,
        )
        counts.update({row[0].hex(): row[1] for row in rows if is_sealed(MAGIC + row[0])})
    return dict(counts)


async def _enter_active(pool: asyncpg.Pool, vault: Vault) -> None:
    identity = vault.active_id.hex()
    others = await pool.fetchval(
        f"SELECT string_agg(name, ', ' ORDER BY name) FROM worker WHERE {_ALIVE} AND key_id IS DISTINCT FROM $1",
        identity,
    )
    if others:
        raise KeyNotInUse(
            Text(
                f"工作进程 {others} 不用密钥 {identity} 加密：请先用此配置重启其网关"
                "（被强行终止的，租约到期前仍算在内）",
                f"workers {others} do not seal with key {identity}: restart their gateways with this configuration"
                " first (one that was killed counts until its lease ends)",
            )
        )
    await enter_keys(pool, vault)


class _Walk:
    """Through every sealed column, and what has come of it so far."""

    def __init__(self, pool: asyncpg.Pool, vault: Vault, told: Told) -> None:
        self._pool = pool
        self._vault = vault
        self._told = told
        self.changed: dict[str, int] = {}
        self.unopened: dict[str, int] = {}
        self.rows: list[Unsealable] = []

    async def go(self, column: Column) -> None:
        names = ", ".join(name for name, _ in column.key)
        place = ", ".join(f"${n}::{kind}" for n, (_, kind) in enumerate(column.key, 2))
        first = (
            f"SELECT {names}, {column.stored} FROM {column.table} t WHERE {column.left}"
            f" ORDER BY {names} LIMIT {BATCH_ROWS}"
        )
        further = first.replace(" ORDER BY", f" AND ({names}) > ({place}) ORDER BY")
        active = MAGIC + self._vault.active_id
        self.changed[column.name] = self.unopened[column.name] = 0
        after = tuple[Any, ...]()
        while True:
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    rows = await connection.fetch(further if after else first, active, *after, timeout=_SCAN_WITHIN_S)
                    if not rows:
                        return
                    plain, shut = self._opened([tuple(row) for row in rows])
                    changed = await _reseal_rows(connection, self._vault, column, plain)
                    shown = await self._named(connection, column, shut)
            except COLLIDED:
                continue  # with a batch of intake, which locks its orders in another sequence
            self.changed[column.name] += changed
            self.unopened[column.name] += len(shut)
            self.rows += shown
            after = tuple(rows[-1])[: len(column.key)]
            self._told(column.name, self.changed[column.name])

    def _opened(
        self, rows: Sequence[tuple[Any, ...]]
    ) -> tuple[list[tuple[tuple[Any, ...], bytes]], list[tuple[tuple[Any, ...], CannotOpen]]]:
        """Rows with what they hold, and rows with why they cannot be opened."""
        plain, shut = [], []
        for row in rows:
            try:
                plain.append((row, self._vault.open(row[-1])))
            except CannotOpen as error:
                shut.append((row, error))
        return plain, shut

    async def _named(
        self, connection: Connection, column: Column, shut: Sequence[tuple[tuple[Any, ...], CannotOpen]]
    ) -> list[Unsealable]:
        same = " AND ".join(f"t.{name} = ${n}::{kind}" for n, (name, kind) in enumerate(column.key, 1))
        return [
            Unsealable(
                column.name,
                await connection.fetchval(f"SELECT {column.named} FROM {column.table} t WHERE {same}", *row[:-1]) or "",
                row[-1][len(MAGIC) : PREFIX_BYTES].hex(),
                error.text,
            )
            for row, error in shut[: _SHOWN - len(self.rows)]
        ]


async def _reseal_rows(
    connection: Connection, vault: Vault, column: Column, rows: Sequence[tuple[tuple[Any, ...], bytes]]
) -> int:
    """Seal those of `rows` (key and what is stored, then what that holds) that are still as they were read; how many
    those are."""
    kinds = ", ".join(f"${n}::{kind}[]" for n, (_, kind) in enumerate(column.key, 3))
    names = ", ".join(f"key_{n}" for n in range(len(column.key)))
    same = " AND ".join(f"t.{name} = n.key_{n}" for n, (name, _) in enumerate(column.key))
    emptied = f", {column.was} = DEFAULT" if column.was else ""
    status = await connection.execute(
        f"UPDATE {column.table} t SET {column.column} = n.sealed{emptied}"
        f"  FROM unnest($1::bytea[], $2::bytea[], {kinds}) AS n(sealed, stored, {names})"
        f" WHERE {same} AND {column.stored} = n.stored",
        [vault.seal(plain) for _, plain in rows],
        [row[-1] for row, _ in rows],
        *([row[n] for row, _ in rows] for n in range(len(column.key))),
    )
    return int(status.rsplit(" ", 1)[1])


async def _strike_off(pool: asyncpg.Pool, vault: Vault) -> None:
    """Forget the keys that no row is sealed with and no worker seals with: they may leave the configuration."""
    for identity, entered in await pool.fetch(_OTHER_KEYS, vault.active_id.hex()):
        if await pool.fetchval(f"SELECT EXISTS (SELECT 1 FROM worker WHERE {_ALIVE} AND key_id = $1)", identity):
            continue
        if not await _is_in_any_row(pool, MAGIC + bytes.fromhex(identity)):
            # A worker that has started with it meanwhile has entered it again: then it is another version of the row.
            await pool.execute("DELETE FROM sealing_key WHERE key_id = $1 AND xmin::text = $2", identity, entered)


_NEEDED = "SELECT key_id FROM sealing_key WHERE key_id <> $1 AND lost_at IS NULL ORDER BY key_id"
_OTHER_KEYS = "SELECT key_id, xmin::text FROM sealing_key WHERE key_id <> $1 ORDER BY key_id"


async def _is_in_any_row(pool: asyncpg.Pool, prefix: bytes) -> bool:
    for column in SEALED:
        if await pool.fetchval(
            f"SELECT EXISTS (SELECT 1 FROM {column.table} WHERE substring({column.column} for {PREFIX_BYTES}) = $1)",
            prefix,
            timeout=_SCAN_WITHIN_S,
        ):
            return True
    return False
