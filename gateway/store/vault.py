"""Buyer data at rest: sealed on its way into the database and opened on its way out.

AES-256-GCM (NIST SP 800-38D) with a random nonce per value; what is sealed says which key it was sealed with, so that
keys can be replaced while rows of the old one are still there. It keeps a stolen disk, dump or backup from being read,
not somebody who has the gateway's configuration. Sealing happens in the pool's connections: statements write `Private`
bytes and read plain ones, and know nothing of keys.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import datetime

import asyncpg
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.core.errors import OrdergateError
from gateway.core.text import Text
from gateway.store.sql import CannotOpen, Connection, Private, Unopened

MAGIC = b"\xc1OG1"
"""Begins what is sealed: no JSON, XML, MessagePack or zstd frame does."""

_ID_BYTES = 4
_NONCE_BYTES = 12
_TAG_BYTES = 16
PREFIX_BYTES = len(MAGIC) + _ID_BYTES
OVERHEAD_BYTES = PREFIX_BYTES + _NONCE_BYTES + _TAG_BYTES

_AS_IT_IS = bytes(_ID_BYTES)
"""The key id of plain bytes that happen to begin like sealed ones."""


def key_id(key: bytes) -> bytes:
    """Four bytes that tell keys apart and say nothing about them."""
    return hashlib.sha256(b"ordergate key id\x00" + key).digest()[:_ID_BYTES]


def is_sealed(stored: bytes) -> bool:
    """Whether a key has sealed it; plain bytes that only begin so are not."""
    return stored.startswith(MAGIC) and stored[len(MAGIC) : PREFIX_BYTES] != _AS_IT_IS


class Vault:
    """Seals with the first of `keys` and opens with any of them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {key_id(key): AESGCM(key) for key in keys}
        self.active_id = key_id(keys[0])
        self._prefix = MAGIC + self.active_id
        self._active = self._ciphers[self.active_id]

    @property
    def key_ids(self) -> frozenset[bytes]:
        return frozenset(self._ciphers)

    def seal(self, plain: bytes) -> bytes:
        """`plain` and 36 bytes more, different each time."""
        nonce = os.urandom(_NONCE_BYTES)
        return b"".join((self._prefix, nonce, self._active.encrypt(nonce, plain, None)))

    def open(self, stored: bytes) -> bytes:
        """What was sealed; bytes that never were, as they are. Raises CannotOpen."""
        if not stored.startswith(MAGIC):
            return stored
        identity, rest = stored[len(MAGIC) : PREFIX_BYTES], stored[PREFIX_BYTES:]
        if identity == _AS_IT_IS:
            return rest
        cipher = self._ciphers.get(identity)
        if cipher is None:
            raise CannotOpen(
                Text(
                    f"用密钥 {identity.hex()} 加密，但配置中没有该密钥：请加回 encryption.keys",
                    f"sealed with key {identity.hex()}, which is not configured: add it to encryption.keys",
                )
            )
        try:
            return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], None)
        except InvalidTag as error:
            raise CannotOpen(
                Text(
                    f"用密钥 {identity.hex()} 加密后内容被改动或损坏",
                    f"what was sealed with key {identity.hex()} has been changed since",
                )
            ) from error

    async def attend(self, connection: Connection) -> None:
        """Have `connection` seal `Private` bytes it writes, and open what it reads; `Unopened` is what it cannot."""
        await connection.set_type_codec(
            "bytea", schema="pg_catalog", encoder=self._write, decoder=self._read, format="binary"
        )

    def _read(self, stored: bytes) -> bytes:
        # Raised in here, it would end the whole fetch, and say of no row that it is to blame.
        try:
            return self.open(stored)
        except CannotOpen as error:
            return Unopened(stored, error.text)

    def _write(self, value: bytes) -> bytes:
        if isinstance(value, Unopened):
            return value
        if isinstance(value, Private):
            return self.seal(value)
        return MAGIC + _AS_IT_IS + value if value.startswith(MAGIC) else value


def vault_of(keys: Sequence[bytes]) -> Vault | None:
    """None where no key is configured: then nothing is sealed."""
    return Vault(keys) if keys else None


# --- keys in use


class KeyInUse(msgspec.Struct, frozen=True):
    """A key that has sealed something. `active`: new rows are sealed with it. `rows`: how many are, where counted.

    `first_used_at` is None of one that has been struck off although rows were sealed with it; `lost_at`: since when it
    is given up for lost (`lose_key`).
    """

    key_id: str
    first_used_at: datetime | None
    active: bool
    configured: bool
    rows: int | None = None
    lost_at: datetime | None = None


async def missing_keys(connection: Connection, vault: Vault | None) -> list[str]:
    """Keys that have sealed something, are not configured, and are not given up for lost."""
    known: frozenset[bytes] = frozenset() if vault is None else vault.key_ids
    used = await connection.fetch("SELECT key_id FROM sealing_key WHERE lost_at IS NULL ORDER BY key_id")
    return [row[0] for row in used if bytes.fromhex(row[0]) not in known]


async def enter_keys(pool: asyncpg.Pool, vault: Vault | None) -> None:
    """Note the key that seals from now on, before anything is written.

    Raises CannotOpen where a key that has sealed something is not configured, and where workers run that have no key
    or not this one: they would set aside every event of an order that is sealed with it.
    """
    async with pool.acquire() as connection, connection.transaction():
        await one_at_a_time(connection)
        missing = await missing_keys(connection, vault)
        if missing:
            raise CannotOpen(lacking(missing))
        if vault is not None:
            if await connection.fetchval(_FIRST_AMONG_WORKERS):
                raise CannotOpen(
                    Text(
                        "有网关在没有密钥的情况下运行，将读不出此后加密的内容：请先全部停下再启动"
                        f"（被强行终止的，租约到期前仍算在内）；密钥为 {vault.active_id.hex()}",
                        "gateways run without a key, and could not read what is sealed from now on: stop them all, then"
                        f" start (one that was killed counts until its lease ends); the key is {vault.active_id.hex()}",
                    )
                )
            if blind := await blind_workers(connection, vault):
                raise CannotOpen(cannot_follow(blind, vault))
            await connection.execute(ENTER_KEY, vault.active_id.hex())
            await connection.execute(_FOUND_AGAIN, [identity.hex() for identity in vault.key_ids])


class NotLost(OrdergateError):
    """A key that is not to be given up: it is there, or it has sealed nothing."""


async def lose_key(pool: asyncpg.Pool, vault: Vault, identity: str, *, reason: str | None) -> None:
    """Give the key `identity` up for lost: gateways start without it from now on.

    What it has sealed stays as it is, and costs its own rows only. `pool` is one whose connections seal nothing:
    `reason` is sealed here; without one nothing is changed, only looked at. Raises NotLost where `vault` or a running
    worker has the key, or none of the name was ever used; CannotOpen where a running worker lacks the active one.
    """
    async with pool.acquire() as connection, connection.transaction():
        await one_at_a_time(connection)
        if identity in {known.hex() for known in vault.key_ids}:
            raise NotLost(
                Text(
                    f"密钥 {identity} 就在 encryption.keys 里，没有丢",
                    f"key {identity} is in encryption.keys, not lost",
                )
            )
        if workers := await connection.fetchval(_WORKERS_WITH, identity):
            raise NotLost(
                Text(
                    f"密钥 {identity} 没有丢：工作进程 {workers} 有它，从其网关的配置里取"
                    "（被强行终止的，租约到期前仍算在内）",
                    f"key {identity} is not lost: workers {workers} have it, take it from the configuration of their"
                    " gateway (one that was killed counts until its lease ends)",
                )
            )
        used = [row[0] for row in await connection.fetch("SELECT key_id FROM sealing_key ORDER BY key_id")]
        if identity not in used:
            raise NotLost(
                Text(
                    f"数据库里没有用过密钥 {identity}，用过的是：{'、'.join(used) or '无'}",
                    f"no key {identity} was ever used here; there are: {', '.join(used) or 'none'}",
                )
            )
        if reason is None:
            return
        if blind := await blind_workers(connection, vault):
            raise CannotOpen(cannot_follow(blind, vault))
        await connection.execute(ENTER_KEY, vault.active_id.hex())  # `reason` is sealed with it
        await connection.execute(_LOSE, identity)
        await connection.execute(
            "INSERT INTO audit (actor, action, subject, private_reason) VALUES ('cli', 'key.lost', $1, $2)",
            identity,
            vault.seal(reason.encode()),
        )


async def one_at_a_time(connection: Connection) -> None:
    """Until the transaction ends, nobody else enters a key or registers a worker: each sees what the other has done."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _KEYS_LOCK)


def lacking(missing: Sequence[str]) -> Text:
    """What is wrong where keys that have sealed something are not configured, and what to do."""
    listed = ", ".join(missing)
    return Text(
        f"数据库里有用密钥 {listed} 加密的行，但 encryption.keys 中没有它：请加回。"
        "`ordergate keys status` 不再列出的密钥才可删除。密钥和它的副本确实都没有了，见 `ordergate keys lost --help`",
        f"rows of this database are sealed with key {listed}, which encryption.keys lacks: put it"
        " back; a key may be left out once `ordergate keys status` no longer lists it. If it and every copy of it is"
        " gone for good: `ordergate keys lost --help`",
    )


async def blind_workers(connection: Connection, vault: Vault) -> str:
    """Names of the workers that run and could not open what `vault` seals; of the release before nothing is known."""
    return await connection.fetchval(_BLIND, vault.active_id.hex()) or ""


def cannot_follow(workers: str, vault: Vault) -> Text:
    """What is wrong with sealing by the first key of `vault` now, and what to do."""
    identity = vault.active_id.hex()
    return Text(
        f"工作进程 {workers} 没有密钥 {identity}，读不出用它加密的内容：请先把它放在各网关 encryption.keys 的最后"
        "并逐个重启，再移到最前（被强行终止的，租约到期前仍算在内）",
        f"workers {workers} lack key {identity} and could not read what it seals: put it last in encryption.keys of"
        " every gateway and restart them, then put it first (one that was killed counts until its lease ends)",
    )


_KEYS_LOCK = 7_262_020

_BLIND = """
SELECT string_agg(name, ', ' ORDER BY name) FROM worker
 WHERE renewed_at + make_interval(secs => lease_s) > now() AND NOT $1 = ANY (opens)
"""

_WORKERS_WITH = """
SELECT string_agg(name, ', ' ORDER BY name) FROM worker
 WHERE renewed_at + make_interval(secs => lease_s) > now() AND ($1 = ANY (opens) OR key_id = $1)
"""
_LOSE = "UPDATE sealing_key SET lost_at = coalesce(lost_at, now()) WHERE key_id = $1"
_FOUND_AGAIN = "UPDATE sealing_key SET lost_at = NULL WHERE key_id = ANY ($1::text[]) AND lost_at IS NOT NULL"

# Where it is there already, its row becomes another version: whoever is about to strike it off sees that.
ENTER_KEY = """
INSERT INTO sealing_key (key_id) VALUES ($1)
    ON CONFLICT (key_id) DO UPDATE SET key_id = excluded.key_id, lost_at = NULL
"""
_FIRST_AMONG_WORKERS = """
SELECT NOT EXISTS (SELECT 1 FROM sealing_key)
   AND EXISTS (SELECT 1 FROM worker WHERE renewed_at + make_interval(secs => lease_s) > now())
"""


async def keys_in_use(pool: asyncpg.Pool, vault: Vault | None) -> list[KeyInUse]:
    """The keys that have sealed something, oldest first."""
    known: frozenset[bytes] = frozenset() if vault is None else vault.key_ids
    active = None if vault is None else vault.active_id.hex()
    return [
        KeyInUse(row[0], row[1], row[0] == active, bytes.fromhex(row[0]) in known, lost_at=row[2])
        for row in await pool.fetch(
            "SELECT key_id, first_used_at, lost_at FROM sealing_key ORDER BY first_used_at, key_id"
        )
    ]
