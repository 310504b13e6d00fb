"""The authorisations of shops: the newest token of each, and the platform's word that a person must give another.

What the configuration says is the seed: it is stored where nothing is, and again when it has changed since. One that
was stored before and has been replaced does not come back while the present token works: a process that restarts with
the configuration of before would undo what all others use. Every change raises `version`; a worker's word on a token
counts only for the version it used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import datetime

import asyncpg
import msgspec

from gateway.core.access import Token
from gateway.core.errors import Fenced
from gateway.store.audit import audit
from gateway.store.sql import Private, Unopened, as_private, as_text

CHANNEL = "ordergate_credential"
NO_TOKEN = "no_token"
"""Refused before the platform was asked: nobody has given a token yet."""


class Credential(msgspec.Struct, frozen=True):
    """What is stored of one shop. `refused`: a code and the platform's words; None: all is well as far as is known.

    `renewal_refused`: the code with which the platform has refused to renew this token since `renewal_refused_at`.
    """

    connection_id: int
    version: int
    token: Token
    refused: str | None
    changed_at: datetime
    seed: bytes
    renewal_refused: str | None = None
    renewal_refused_at: datetime | None = None
    planted: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"Credential({self.connection_id}, version={self.version}, refused={self.refused!r})"


def seed_of(token: Token) -> bytes:
    """The digest that tells a configured token from another."""
    return hashlib.sha256(msgspec.json.encode([token.access, token.refresh])).digest()


def supersedes(seed: bytes, *, present: bytes, planted: Collection[bytes], works: bool) -> bool:
    """Whether the configured token of `seed` takes the place of what is stored.

    `present` is the seed that is stored, `planted` those before it; `works`: nobody has refused the stored token. One
    of `planted` comes from a process with the configuration of before, or from a person who goes back to it because
    the new one does not work.
    """
    return seed != present and not (works and seed in planted)


async def plant(pool: asyncpg.Pool, connection_id: int, token: Token) -> str | None:
    """Store the configured token unless a newer one stands for this very configuration.

    An empty one replaces nothing. Returns what `refused` has become where that has changed: a code, or "" for well.
    """
    seed, refused = seed_of(token), None if token.access else NO_TOKEN
    async with pool.acquire() as connection, connection.transaction():
        made = await connection.fetchval(
            "INSERT INTO credential (connection_id, seed, token, refused, refused_at)"
            " VALUES ($1, $2, $3, $4, CASE WHEN $4::text IS NULL THEN NULL ELSE now() END)"
            " ON CONFLICT DO NOTHING RETURNING 1",
            connection_id,
            seed,
            _encode(token),
            refused,
        )
        if made is not None:
            await _tell(connection)
            return refused
        before = await connection.fetchrow(
            "SELECT seed, refused, planted FROM credential WHERE connection_id = $1 FOR UPDATE", connection_id
        )
        replaces = supersedes(seed, present=before[0], planted=before[2], works=before[1] is None)
        if not replaces or not token.access:
            return None
        await connection.execute(
            "UPDATE credential SET seed = $2, planted = array_append(array_remove(planted, $2), seed), token = $3,"
            f" {_NEW} WHERE connection_id = $1",
            connection_id,
            seed,
            _encode(token),
        )
        await _tell(connection)
        return None if before[1] is None else ""


async def read_credentials(pool: asyncpg.Pool, connection_ids: Collection[int]) -> dict[int, Credential]:
    rows = await pool.fetch(
        "SELECT connection_id, version, token, refused, private_refused, changed_at, seed, renewal_refused,"
        " renewal_refused_at, planted FROM credential WHERE connection_id = ANY($1::smallint[])",
        list(connection_ids),
    )
    found = {}
    for row in rows:
        token, refused = read_token(row[2]), _refused(row[3], row[4])
        if token is _UNREAD and refused is None:
            refused = NO_TOKEN  # until its key is back, or somebody authorises anew
        found[row[0]] = Credential(row[0], row[1], token, refused, row[5], row[6], row[7], row[8], tuple(row[9]))
    return found


class Swapped(msgspec.Struct, frozen=True):
    """`was_refused`: the shop was held, and goes on now."""

    credential: Credential
    was_refused: bool


async def swap(pool: asyncpg.Pool, connection_id: int, token: Token, *, version: int, worker_id: int) -> Swapped | None:
    """Replace the token of `version` by the one its renewal gave; None when another has been put meanwhile.

    Raises Fenced when `worker_id` is not the shop's owner any more.
    """
    async with pool.acquire() as connection, connection.transaction():
        owner = await connection.fetchval(
            "SELECT worker_id FROM duty WHERE connection_id = $1 FOR KEY SHARE", connection_id
        )
        if owner != worker_id:
            raise Fenced(f"worker {worker_id} is not the owner of connection {connection_id} any more")
        was_refused = await connection.fetchval(
            "SELECT refused IS NOT NULL FROM credential WHERE connection_id = $1 AND version = $2 FOR UPDATE",
            connection_id,
            version,
        )
        if was_refused is None:
            return None
        row = await connection.fetchrow(
            f"UPDATE credential SET token = $2, {_NEW} WHERE connection_id = $1 RETURNING version, changed_at, seed",
            connection_id,
            _encode(token),
        )
        await _tell(connection)
    return Swapped(Credential(connection_id, row[0], token, None, row[1], row[2]), was_refused)


async def refuse(pool: asyncpg.Pool, connection_id: int, *, version: int, code: str, words: str) -> bool:
    """Hold the shop until it is authorised again; whether this call changed that.

    `words` are the platform's, the code in front. Nothing changes when the token of `version` has been replaced, or was
    refused before.
    """
    async with pool.acquire() as connection, connection.transaction():
        done = await connection.fetchval(
            "UPDATE credential SET refused = $3, private_refused = $4, refused_at = now()"
            " WHERE connection_id = $1 AND version = $2 AND refused IS NULL RETURNING 1",
            connection_id,
            version,
            code,
            as_private(words),
        )
        if done is not None:
            await _tell(connection)
    return done is not None


async def refuse_renewal(pool: asyncpg.Pool, connection_id: int, *, version: int, code: str) -> datetime | None:
    """Note that the platform gives no new token for that of `version`, and has not since the instant this returns.

    None, and nothing is noted, when that token has been replaced.
    """
    async with pool.acquire() as connection, connection.transaction():
        at: datetime | None = await connection.fetchval(
            "UPDATE credential SET renewal_refused = $3, renewal_refused_at = coalesce(renewal_refused_at, now())"
            " WHERE connection_id = $1 AND version = $2 RETURNING renewal_refused_at",
            connection_id,
            version,
            code,
        )
        if at is not None:
            await _tell(connection)
    return at


async def authorise(
    pool: asyncpg.Pool, connection_id: int, token: Token, *, name: str, reason: str, actor: str
) -> bool:
    """Put a new token by hand; whether the shop was held for the lack of one."""
    async with pool.acquire() as connection, connection.transaction():
        was_refused = await connection.fetchval(
            "SELECT refused IS NOT NULL FROM credential WHERE connection_id = $1 FOR UPDATE", connection_id
        )
        await connection.execute(
            # The seed stays that of the configuration: this token wins until that is changed.
            "INSERT INTO credential (connection_id, seed, token) VALUES ($1, $2, $3) ON CONFLICT (connection_id)"
            f" DO UPDATE SET token = $3, {_NEW}",
            connection_id,
            seed_of(Token("")),
            _encode(token),
        )
        await audit(connection, actor=actor, action="connection.authorise", subject=name, reason=reason)
        await _tell(connection)
    return bool(was_refused)


async def _tell(connection: asyncpg.Connection) -> None:
    await connection.execute(f"NOTIFY {CHANNEL}")


def _refused(code: str | None, stored: bytes | None) -> str | None:
    """The words are those of this code, unless a gateway of the release before has written it: they stayed."""
    words = as_text(stored)
    return words if code is not None and words.startswith(code) else code


_NEW = (
    "version = credential.version + 1, refused = NULL, private_refused = NULL, refused_at = NULL,"
    " renewal_refused = NULL, renewal_refused_at = NULL, changed_at = now()"
)
"""What comes with another token."""


def _encode(token: Token) -> Private:
    return Private(_encode_json(token))


_encode_json = msgspec.json.Encoder().encode
_decode_token = msgspec.json.Decoder(Token).decode


def read_token(stored: bytes) -> Token:
    """The token as it is stored, unsealed; an empty one where it cannot be opened, or is damaged."""
    try:
        return _UNREAD if isinstance(stored, Unopened) else _decode_token(stored)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _UNREAD


_UNREAD = Token("")
