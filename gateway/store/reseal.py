"""Sealing again with the active key: what is plain or sealed with another one, table by table, while everything runs.

In batches along the key, each row only if it is still what was read; a run that is cut short starts over and
finds little left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import msgspec

from gateway.core.errors import OrdergateError
from gateway.core.text import Text
from gateway.store.sql import COLLIDED, Connection, private_or_plain
from gateway.store.vault import MAGIC, PREFIX_BYTES, Vault, enter_keys

BATCH_ROWS = 500
_ALIVE = "renewed_at + make_interval(secs => lease_s) > now()"
_SCAN_WITHIN_S = 3600
"""Behind the last row to be sealed stand all the others, millions perhaps, and each is looked at."""


class Column(msgspec.Struct, frozen=True):
    """A column that holds buyer data, and the key of its table with the types of its parts.

    `was`: the text column it has taken over from, which is emptied (migration 0009).
    """

    table: str
    column: str
    key: tuple[tuple[str, str], ...]
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


SEALED = (
    Column("orders", "state", (("order_id", "bigint"),)),
    Column("event", "body", (("order_id", "bigint"), ("digest", "bytea"))),
    Column("inbox", "body", (("inbox_id", "bigint"),)),
    Column("dead_letter", "body", (("dead_letter_id", "bigint"),)),
    Column("delivery_edit", "body", (("edit_id", "bigint"),)),
    Column("credential", "token", (("connection_id", "smallint"),)),
    Column("credential", "private_refused", (("connection_id", "smallint"),)),
    # It has no key of its own; a place in the table is one as long as the row is what was read there.
    Column("attempt", "private_detail", (("order_id", "bigint"), ("ctid", "tid")), was="detail"),
    Column("dead_letter", "private_message", (("dead_letter_id", "bigint"),), was="message"),
    Column("dead_letter", "private_message_zh", (("dead_letter_id", "bigint"),)),
    Column("dead_letter", "private_advice", (("dead_letter_id", "bigint"),), was="advice"),
    Column("dead_letter", "private_advice_zh", (("dead_letter_id", "bigint"),)),
    Column("audit", "private_reason", (("audit_id", "bigint"),), was="reason"),
    Column("conflict_handled", "private_reason", (("order_id", "bigint"),), was="reason"),
    Column("redrive", "private_reason", (("redrive_id", "bigint"),), was="reason"),
)
"""Every column that holds buyer data or a secret of a shop."""

Told = Callable[[str, int], None]


class KeyNotInUse(OrdergateError):
    """Workers run that seal with another key: what they go on writing needs it, and they may lack the active one."""


async def reseal(pool: asyncpg.Pool, vault: Vault, *, told: Told) -> dict[str, int]:
    """Bring every sealed column to the active key: rows changed per column; keys nobody needs any more are struck off.

    `pool` is one whose connections do not open what they read. `told` hears the column and the rows changed so far.
    Raises KeyNotInUse, before anything is changed, while workers run that seal with another key.
    """
    await _enter_active(pool, vault)
    await pool.execute(_REFUSED_AS_BEFORE)
    changed = {}
    for column in SEALED:
        changed[column.name] = await _reseal_column(pool, vault, column, told)
    await _strike_off(pool, vault)
    return changed


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


async def _reseal_column(pool: asyncpg.Pool, vault: Vault, column: Column, told: Told) -> int:
    names = ", ".join(name for name, _ in column.key)
    place = ", ".join(f"${n}::{kind}" for n, (_, kind) in enumerate(column.key, 2))
    first = (
        f"SELECT {names}, {column.stored} FROM {column.table} t WHERE {column.left} ORDER BY {names} LIMIT {BATCH_ROWS}"
    )
    further = first.replace(" ORDER BY", f" AND ({names}) > ({place}) ORDER BY")
    active = MAGIC + vault.active_id
    done, after = 0, tuple[Any, ...]()
    while True:
        try:
            async with pool.acquire() as connection, connection.transaction():
                rows = await connection.fetch(further if after else first, active, *after, timeout=_SCAN_WITHIN_S)
                if not rows:
                    return done
                changed = await _reseal_rows(connection, vault, column, [tuple(row) for row in rows])
        except COLLIDED:
            continue  # with a batch of intake, which locks its orders in another sequence
        done += changed
        after = tuple(rows[-1])[: len(column.key)]
        told(column.name, done)


async def _reseal_rows(connection: Connection, vault: Vault, column: Column, rows: Sequence[tuple[Any, ...]]) -> int:
    """Seal those of `rows` (key, then what is stored) that are still as they were read; how many those are."""
    kinds = ", ".join(f"${n}::{kind}[]" for n, (_, kind) in enumerate(column.key, 3))
    names = ", ".join(f"key_{n}" for n in range(len(column.key)))
    same = " AND ".join(f"t.{name} = n.key_{n}" for n, (name, _) in enumerate(column.key))
    emptied = f", {column.was} = DEFAULT" if column.was else ""
    status = await connection.execute(
        f"UPDATE {column.table} t SET {column.column} = n.sealed{emptied}"
        f"  FROM unnest($1::bytea[], $2::bytea[], {kinds}) AS n(sealed, stored, {names})"
        f" WHERE {same} AND {column.stored} = n.stored",
        [vault.seal(vault.open(row[-1])) for row in rows],
        [row[-1] for row in rows],
        *([row[n] for row in rows] for n in range(len(column.key))),
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
