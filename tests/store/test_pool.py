"""What a pool does with sessions that a server, or who administers it, has turned."""

from __future__ import annotations

from urllib.parse import urlsplit

import asyncpg
import pytest

from gateway.store.sql import open_pool


async def test_a_session_that_began_read_only_is_not_kept(postgres_url: str) -> None:
    """What is set for a database holds for the sessions that begin: theirs would stay, when it is long taken back."""
    name = urlsplit(postgres_url).path[1:]
    dba = await asyncpg.connect(postgres_url)
    try:
        await dba.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        pool = await open_pool(postgres_url, size=2)
        try:
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await pool.execute("CREATE TABLE first (number integer)")
            await dba.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            for _ in range(3):  # of the two that the pool has begun with each may be used once more
                try:
                    await pool.execute("CREATE TABLE IF NOT EXISTS first (number integer)")
                except asyncpg.ReadOnlySQLTransactionError:
                    continue
            sessions = {await pool.fetchval("SELECT pg_backend_pid()") for _ in range(5)}
            await pool.execute("INSERT INTO first VALUES (1)")
            assert len(sessions) == 1, "one that takes something is kept"
        finally:
            await pool.close()
    finally:
        await dba.close()


async def test_a_session_gives_its_locks_back_soon_when_its_process_stops(postgres_url: str) -> None:
    pool = await open_pool(postgres_url, size=1)
    try:
        shown = [
            await pool.fetchval(f"SHOW {name}")
            for name in ("application_name", "idle_in_transaction_session_timeout", "tcp_keepalives_idle")
        ]
        # A socket of this machine has no keepalives: it shows as 0.
        assert shown == ["ordergate", "10s", "0"]
    finally:
        await pool.close()


async def test_no_statement_is_compiled(postgres_url: str) -> None:
    """A scan that is the last resort counts as ten thousand million, and PostgreSQL compiles what costs much: looking
    for what is to be shipped soon took half a second for a hundred orders, every 15 s."""
    dba = await asyncpg.connect(postgres_url)
    try:
        await dba.execute(f"ALTER DATABASE {urlsplit(postgres_url).path[1:]} SET jit = on")
        pool = await open_pool(postgres_url, size=1)
        try:
            assert await pool.fetchval("SHOW jit") == "off"
        finally:
            await pool.close()
    finally:
        await dba.close()


async def test_a_server_tuned_for_speed_or_for_snapshots_changes_nothing_of_what_is_promised(postgres_url: str) -> None:
    """A commit that is told of before it is on the disk is an order lost; in a snapshot that is older than the lock two
    people put the same right twice; and where a backslash escapes, orders that wait for stock are not found."""
    name = urlsplit(postgres_url).path[1:]
    dba = await asyncpg.connect(postgres_url)
    shown: dict[str, tuple[str, str]] = {}
    try:
        await dba.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
        await dba.execute(f"ALTER DATABASE {name} SET standard_conforming_strings = off")
        for commit in ("off", "local", "remote_apply"):
            await dba.execute(f"ALTER DATABASE {name} SET synchronous_commit = {commit}")
            pool = await open_pool(postgres_url, size=1)
            async with pool.acquire() as connection, connection.transaction():
                assert await connection.fetchval("SHOW standard_conforming_strings") == "on"
                shown[commit] = (
                    await connection.fetchval("SHOW synchronous_commit"),
                    await connection.fetchval("SHOW transaction_isolation"),
                )
            await pool.close()
    finally:
        await dba.close()
    assert shown == {
        "off": ("on", "read committed"),
        "local": ("local", "read committed"),
        "remote_apply": ("remote_apply", "read committed"),
    }
