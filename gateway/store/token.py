"""The administrator's token: made at the first start, shown once, stored as a hash, replaceable."""

from __future__ import annotations

import hashlib
import secrets

import asyncpg


async def first_token(pool: asyncpg.Pool) -> str | None:
    """A fresh token where there has never been one, else None. Safe when several processes start at once."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE api_token IN EXCLUSIVE MODE")
        if await connection.fetchval("SELECT EXISTS (SELECT 1 FROM api_token)"):
            return None
        return await _issue(connection, "admin")


async def replace_token(pool: asyncpg.Pool) -> str:
    """Revoke every token and return a fresh one."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("UPDATE api_token SET revoked_at = now() WHERE revoked_at IS NULL")
        await connection.execute("INSERT INTO audit (actor, action, subject) VALUES ('cli', 'token.replace', 'admin')")
        return await _issue(connection, "admin")


async def token_name(pool: asyncpg.Pool, token: str) -> str | None:
    """Whose token this is; None for one that was never issued or is revoked."""
    name: str | None = await pool.fetchval(
        "SELECT name FROM api_token WHERE sha256 = $1 AND revoked_at IS NULL", _hash(token)
    )
    return name


async def _issue(connection: asyncpg.Connection, name: str) -> str:
    token = "og_" + secrets.token_urlsafe(32)
    await connection.execute("INSERT INTO api_token (name, sha256) VALUES ($1, $2)", name, _hash(token))
    return token


def _hash(token: str) -> bytes:
    # 256 random bits need no slow hash.
    return hashlib.sha256(token.encode()).digest()
