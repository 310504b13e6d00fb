"""Sealing again with the active key: what is plain or sealed with another one, table by table, while everything runs.

In batches along the primary key, each row only if it is still what was read; a run that is cut short starts over and
finds little left to do.
"""

from __future__ import annotations

from collections.abc import Callable

import asyncpg
import msgspec

from gateway.core.errors import OrdergateError
from gateway.store.sql import Connection
from gateway.store.vault import MAGIC, Vault, enter_keys

BATCH_ROWS = 500


class Column(msgspec.Struct, frozen=True):
    """A column that holds buyer data, and the key of its table with the types of its parts."""

    table: str
    column: str
    key: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column}"


SEALED = (
    Column("orders", "state", (("order_id", "bigint"),)),
    Column("event", "body", (("order_id", "bigint"), ("digest", "bytea"))),
    Column("inbox", "body", (("inbox_id", "bigint"),)),
    Column("dead_letter", "body", (("dead_letter_id", "bigint"),)),
    Column("delivery_edit", "body", (("edit_id", "bigint"),)),
    Column("credential", "token", (("connection_id", "smallint"),)),
)
"""Every column that holds buyer data or a secret of a shop."""

Told = Callable[[str, int], None]


class KeyNotInUse(OrdergateError):
    """Workers run that were started before the active key was configured: they could not read what it seals."""


async def reseal(pool: asyncpg.Pool, vault: Vault, *, told: Told) -> dict[str, int]:
    """Bring every sealed column to the active key: rows changed per column; keys no row has any more are struck off.

    `pool` is one whose connections do not open what they read. `told` hears the column and the rows changed so far.
    Raises KeyNotInUse, before anything is changed, while workers run that may not have the active key.
    """
    await _enter_active(pool, vault)
    changed = {}
    for column in SEALED:
        changed[column.name] = await _reseal_column(pool, vault, column, told)
    await _strike_off(pool, vault)
    return changed


async def left(pool: asyncpg.Pool, vault: Vault) -> dict[str, int]:
    """Rows per column that are not sealed with the active key. Reads every row."""
    return {
        column.name: await pool.fetchval(
            f"SELECT count(*) FROM {column.table} WHERE substring({column.column} for 8) IS DISTINCT FROM $1",
            MAGIC + vault.active_id,
            timeout=3600,
        )
        for column in SEALED
    }


async def _enter_active(pool: asyncpg.Pool, vault: Vault) -> None:
    identity = vault.active_id.hex()
    entered = await pool.fetchval("SELECT EXISTS (SELECT 1 FROM sealing_key WHERE key_id = $1)", identity)
    if not entered and await pool.fetchval(
        "SELECT EXISTS (SELECT 1 FROM worker WHERE renewed_at + make_interval(secs => lease_s) > now())"
    ):
        raise KeyNotInUse(
            f"网关运行中，但启动时还没有密钥 {identity}：请先用此配置重启网关"
            f" / the gateway runs and was started without key {identity}: restart it with this configuration first"
        )
    await enter_keys(pool, vault)


async def _reseal_column(pool: asyncpg.Pool, vault: Vault, column: Column, told: Told) -> int:
    names = ", ".join(name for name, _ in column.key)
    place = ", ".join(f"${n}::{kind}" for n, (_, kind) in enumerate(column.key, 2))
    first = (
        f"SELECT {names}, {column.column} FROM {column.table}"
        f" WHERE substring({column.column} for 8) IS DISTINCT FROM $1 ORDER BY {names} LIMIT {BATCH_ROWS}"
    )
    further = first.replace(" ORDER BY", f" AND ({names}) > ({place}) ORDER BY")
    done, after = 0, None
    while True:
        async with pool.acquire() as connection, connection.transaction():
            active = MAGIC + vault.active_id
            rows = await (
                connection.fetch(first, active) if after is None else connection.fetch(further, active, *after)
            )
            for row in rows:
                done += await _reseal_row(connection, vault, column, tuple(row))
        if not rows:
            return done
        after = tuple(rows[-1])[: len(column.key)]
        told(column.name, done)


async def _reseal_row(connection: Connection, vault: Vault, column: Column, row: tuple[object, ...]) -> int:
    key, stored = row[:-1], row[-1]
    assert isinstance(stored, bytes)
    same = " AND ".join(f"{name} = ${n}" for n, (name, _) in enumerate(column.key, 3))
    status = await connection.execute(
        f"UPDATE {column.table} SET {column.column} = $1 WHERE {column.column} = $2 AND {same}",
        vault.seal(vault.open(stored)),
        stored,
        *key,
    )
    return int(status.rsplit(" ", 1)[1])


async def _strike_off(pool: asyncpg.Pool, vault: Vault) -> None:
    """Forget the keys that no row is sealed with: they may leave the configuration."""
    async with pool.acquire() as connection, connection.transaction():
        for row in await connection.fetch("SELECT key_id FROM sealing_key WHERE key_id <> $1", vault.active_id.hex()):
            prefix = MAGIC + bytes.fromhex(row[0])
            in_use = [
                await connection.fetchval(
                    f"SELECT EXISTS (SELECT 1 FROM {column.table} WHERE substring({column.column} for 8) = $1)", prefix
                )
                for column in SEALED
            ]
            if not any(in_use):
                await connection.execute("DELETE FROM sealing_key WHERE key_id = $1", row[0])
