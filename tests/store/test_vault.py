"""Sealed columns: what is written cannot be read without the key, and keys can be replaced while rows are in use."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

import asyncpg
import pytest

from gateway.core.access import Token
from gateway.core.delivery import Result
from gateway.core.errors import SettingsError
from gateway.core.event import Arrival, ConnectionName, Event, EventId, Leg, Position
from gateway.core.order import Content, Line, Order, OrderNumber, Receiver, Register, Sku
from gateway.core.text import Text
from gateway.plugins import discover
from gateway.settings import parse
from gateway.store.credentials import plant, read_credentials, refuse
from gateway.store.dead import DeadLetter, set_aside
from gateway.store.inbox import put, take
from gateway.store.orders import encode_state, lock_orders
from gateway.store.outbox import AttemptRow, retire_worker, start_worker, write_outcomes
from gateway.store.queries import AttemptEnded, ByHand, list_dead_letters, read_order
from gateway.store.redrive import Pace, list_redrives, start
from gateway.store.reseal import SEALED, KeyNotInUse, _strike_off, keys_with_rows, left, reseal
from gateway.store.sql import CannotOpen, Private, as_private, as_text, open_pool, private_or_plain
from gateway.store.vault import MAGIC, OVERHEAD_BYTES, Vault, enter_keys, keys_in_use
from gateway.store.wanted import Wanted
from gateway.store.work import conflicts_handled
from tests.architecture.test_imports import ROOT

NOW = datetime(2026, 5, 1, 8, tzinfo=UTC)
OLD, NEW = b"o" * 32, b"n" * 32
NAME = "欧阳测试甲"
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


def test_sealed_bytes_come_back_and_never_look_alike() -> None:
    vault = Vault([OLD])
    first, second = vault.seal(b"buyer"), vault.seal(b"buyer")
    assert first != second
    assert b"buyer" not in first
    assert len(first) == len(b"buyer") + OVERHEAD_BYTES
    assert vault.open(first) == vault.open(second) == b"buyer"
    assert vault.open(vault.seal(b"")) == b""


def test_any_configured_key_opens_and_the_first_seals() -> None:
    sealed = Vault([OLD]).seal(b"buyer")
    both = Vault([NEW, OLD])
    assert both.open(sealed) == b"buyer"
    assert Vault([NEW]).open(both.seal(b"buyer")) == b"buyer"


def test_a_missing_key_and_a_changed_byte_are_told_apart() -> None:
    sealed = Vault([OLD]).seal(b"buyer")
    with pytest.raises(CannotOpen, match="not configured"):
        Vault([NEW]).open(sealed)
    with pytest.raises(CannotOpen, match="changed"):
        Vault([OLD]).open(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(CannotOpen, match="changed"):
        Vault([OLD]).open(sealed[:20])


def test_what_was_never_sealed_is_read_as_it_is() -> None:
    assert Vault([OLD]).open(b'{"order_no":"1"}') == b'{"order_no":"1"}'


def settings_problems(keys: str) -> list[str]:
    try:
        parse(f"encryption: {{keys: {keys}}}", {}, discover(), name="x.yaml", folder=Path("/"))
    except SettingsError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_a_key_that_is_none_is_a_problem_that_does_not_quote_it() -> None:
    good = "bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm4="
    assert settings_problems(f"[{good}]") == []
    (short,) = settings_problems("[c2hvcnQ=]")
    assert "encryption.keys" in short and "32 bytes in base64" in short and "c2hvcnQ" not in short
    (twice,) = settings_problems(f"[{good}, {good}]")
    assert "is there twice" in twice


@asynccontextmanager
async def pool_with(url: str, *keys: bytes) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(url, size=2, vault=Vault(keys) if keys else None)
    try:
        yield pool
    finally:
        await pool.close()


def order(n: int) -> Order:
    content = Content(NOW, (Line("1", Sku("X"), 1, 100),), Receiver(NAME, "13900001111"), 100)
    return Order(number=OrderNumber(f"A{n}"), content=Register(1, 0, content))


async def insert(pool: asyncpg.Pool, *numbers: int) -> None:
    await pool.copy_records_to_table(
        "orders",
        columns="order_id number stage state".split(),
        records=[(n, f"A{n}", "received", encode_state(order(n))) for n in numbers],
    )


def event(n: int, body: bytes) -> Event:
    return Event(id=EventId(f"e{n}"), source=ConnectionName("shop"), type="t", order_key=str(n), time=NOW, body=body)


async def test_statements_write_sealed_and_read_plain(migrated_url: str) -> None:
    async with pool_with(migrated_url) as plain, pool_with(migrated_url, OLD) as sealed:
        await insert(sealed, 1)
        # Through unnest too, as updates and dead letters go.
        await sealed.execute(
            "UPDATE orders o SET state = n.state FROM unnest($1::bigint[], $2::bytea[]) AS n(id, state)"
            " WHERE o.order_id = n.id",
            [1],
            [encode_state(order(1))],
        )
        stored = await plain.fetchval("SELECT state FROM orders")
        assert stored.startswith(MAGIC)
        assert NAME.encode() not in stored
        async with sealed.acquire() as connection, connection.transaction():
            found = await lock_orders(connection, [OrderNumber("A1")])
        assert found[OrderNumber("A1")].order == order(1)
        # Other bytes are none of its business.
        assert await sealed.fetchval("SELECT $1::bytea", b"digest") == b"digest"
        assert await plain.fetchval("SELECT $1::bytea", Private(b"no key")) == b"no key"


async def test_bytes_that_look_sealed_come_back_unchanged(migrated_url: str) -> None:
    async with pool_with(migrated_url, OLD) as sealed:
        assert await sealed.fetchval("SELECT $1::bytea", MAGIC + b"not ours") == MAGIC + b"not ours"


async def test_an_event_in_the_inbox_is_sealed(migrated_url: str) -> None:
    async with pool_with(migrated_url) as plain, pool_with(migrated_url, OLD) as sealed:
        await put(sealed, [event(1, NAME.encode()), event(2, MAGIC + b"odd")])
        assert all(row[0].startswith(MAGIC) for row in await plain.fetch("SELECT body FROM inbox"))
        async with sealed.acquire() as connection, connection.transaction():
            arrivals = await take(connection, 10)
        assert [arrival.event.body for arrival in arrivals] == [NAME.encode(), MAGIC + b"odd"]


async def test_keys_are_replaced_while_rows_of_the_old_one_are_there(migrated_url: str) -> None:
    heard: list[tuple[str, int]] = []
    async with pool_with(migrated_url) as raw:
        await insert(raw, 1, 2)  # before anything was sealed
        async with pool_with(migrated_url, OLD) as old:
            await enter_keys(old, Vault([OLD]))
            await insert(old, *range(3, 1203))
            await put(old, [event(1, b"{}")])
        vault = Vault([NEW, OLD])
        await enter_keys(raw, vault)
        assert [(key.active, key.configured) for key in await keys_in_use(raw, vault)] == [(False, True), (True, True)]
        assert (await left(raw, vault))["orders.state"] == 1202
        done = await reseal(raw, vault, told=lambda column, rows: heard.append((column, rows)))
        assert (done.unopened, done.rows, done.needed) == ({}, (), ())
        assert done.changed == {
            column.name: {"orders.state": 1202, "inbox.body": 1}.get(column.name, 0) for column in SEALED
        }
        assert ("orders.state", 1202) in heard and len(heard) >= 4
        assert set((await left(raw, vault)).values()) == {0}
        assert [key.active for key in await keys_in_use(raw, vault)] == [True]
        await enter_keys(raw, Vault([NEW]))  # the old key may go
        async with pool_with(migrated_url, NEW) as new, new.acquire() as connection, connection.transaction():
            found = await lock_orders(connection, [OrderNumber("A1"), OrderNumber("A700")])
            assert {number: stored.order for number, stored in found.items()} == {
                OrderNumber("A1"): order(1), OrderNumber("A700"): order(700),
            }  # fmt: skip
        again = await reseal(raw, Vault([NEW]), told=lambda *_: None)
        assert again.changed == {column.name: 0 for column in SEALED}


DAMAGE = "set_byte({0}, octet_length({0}) - 1, get_byte({0}, octet_length({0}) - 1) # 1)"
"""SQL of a sealed column with its last bit turned."""
LOST = b"l" * 32


async def test_what_cannot_be_opened_stays_and_is_named_and_the_rest_is_resealed(migrated_url: str) -> None:
    """Of order A1 a bit has turned; A2's key was struck off although it is still needed: it is not even remembered."""
    vault, old, lost = Vault([NEW, OLD]), Vault([OLD]).active_id.hex(), Vault([LOST]).active_id.hex()
    async with pool_with(migrated_url) as raw, pool_with(migrated_url, OLD) as sealed:
        await enter_keys(raw, Vault([OLD]))
        await insert(sealed, 1, *range(3, 1203))
        await leave_words(sealed)
        async with pool_with(migrated_url, LOST) as before:
            await insert(before, 2)
        for table, column in (("orders", "state"), ("attempt", "private_detail"), ("dead_letter", "body")):
            where = " WHERE order_id = 1" if table != "dead_letter" else ""
            await raw.execute(f"UPDATE {table} SET {column} = {DAMAGE.format(column)}{where}")
        stored = await raw.fetchval("SELECT state FROM orders WHERE order_id = 2")
        for changed in (1200, 0):
            done = await reseal(raw, vault, told=lambda *_: None)
            assert (done.changed["orders.state"], done.unopened) == (
                changed, {"orders.state": 2, "dead_letter.body": 1, "attempt.private_detail": 1}
            )  # fmt: skip
            assert [(one.column, one.row, one.key_id) for one in done.rows] == [
                ("orders.state", "A1", old), ("orders.state", "A2", lost),
                ("dead_letter.body", "#1 A1", old), ("attempt.private_detail", "A1", old),
            ]  # fmt: skip
            assert ["damaged" in one.why.en or "changed" in one.why.en for one in done.rows] == [
                True,
                False,
                True,
                True,
            ]
            assert done.needed == (old,), "the damaged ones still have it"
        assert await raw.fetchval("SELECT state FROM orders WHERE order_id = 2") == stored
        keys = await keys_with_rows(raw, vault)
        assert {key.key_id: (key.configured, key.rows) for key in keys if not key.active} == {
            old: (True, 3), lost: (False, 1),
        }  # fmt: skip

        done = await reseal(raw, Vault([NEW, OLD, LOST]), told=lambda *_: None)  # its key is back
        assert (done.changed["orders.state"], done.unopened["orders.state"]) == (1, 1)
        await raw.execute("DELETE FROM orders WHERE order_id = 1")
        await raw.execute("DELETE FROM dead_letter")
        await raw.execute("DELETE FROM attempt")
        done = await reseal(raw, vault, told=lambda *_: None)
        assert (done.unopened, done.needed) == ({}, ())


async def test_a_thousand_that_cannot_be_opened_are_counted_and_twenty_are_named(migrated_url: str) -> None:
    async with pool_with(migrated_url) as raw, pool_with(migrated_url, LOST) as lost:
        await insert(lost, *range(1, 1102))
        await insert(raw, 1102)
        done = await reseal(raw, Vault([NEW]), told=lambda *_: None)
        assert (done.changed["orders.state"], done.unopened) == (1, {"orders.state": 1101})
        assert [one.row for one in done.rows] == [f"A{n}" for n in range(1, 21)]


# --- the words of others


SAID = f"收件人 {NAME} 13900001111 无法送达"
IN_BOTH = Text(f"平台说：{SAID}", SAID)
_ATTEMPTS_BEFORE = """
INSERT INTO attempt (order_id, target_id, seq, worker_id, ended_at, took_ms, result, code, detail)
SELECT 1, 1, 1, 1, now(), 0, 4, 'business', CASE WHEN n % 3 > 0 THEN $1 END FROM generate_series(1, 1500) n
"""
_AUDIT_BEFORE = "INSERT INTO audit (actor, action, subject, reason) VALUES ('wang', 'order.reconsider', 'A1', $1)"


async def leave_words(pool: asyncpg.Pool) -> None:
    """Every kind of them, as the gateway writes it, about order A1 and a dead letter."""
    target = await pool.fetchval("INSERT INTO connection (name) VALUES ('wms') RETURNING connection_id")
    row = AttemptRow(1, target, 1, 0, NOW, 5, Result.REJECTED, "business", as_private(SAID))
    silent = row._replace(code=None, detail=as_private(""))
    await write_outcomes(pool, worker_id=0, attempts=[row, silent], outcomes=[])
    async with pool.acquire() as connection:
        letter = DeadLetter(Arrival(event(1, b"{}"), Position(Leg.INBOX, -1, 1), NOW), "A1", "field", IN_BOTH, IN_BOTH)
        await set_aside(connection, [letter])
    await pool.execute("UPDATE orders SET conflicts = 'over_shipped' WHERE order_id = 1")
    assert await conflicts_handled(pool, "A1", reason=SAID, actor="wang") == ("over_shipped",)
    wanted = Wanted(code="field")
    pace = Pace(per_s=1.0, start_in_s=600)
    assert await start(pool, wanted, policies={}, cap=1, pace=pace, forced=False, reason=SAID, actor="wang")
    await plant(pool, target, Token("t"))
    assert await refuse(pool, target, version=1, code="27", words=f"27 {SAID}")


async def words_read(pool: asyncpg.Pool) -> list[str]:
    detail = await read_order(pool, "A1")
    assert detail is not None
    [letter] = await list_dead_letters(pool, open_only=True, source=None, code=None, before=None, limit=9)
    [redrive] = await list_redrives(pool, running=False, before=None, limit=9)
    [credential] = (await read_credentials(pool, [1])).values()
    handled = await pool.fetchval(f"SELECT {private_or_plain('reason')} FROM conflict_handled")
    said = [one.detail for one in detail.timeline if isinstance(one, AttemptEnded) and one.code]
    reasons = [one.reason for one in detail.timeline if isinstance(one, ByHand)]
    told = [letter.message.en, letter.advice.en, letter.message.zh, letter.advice.zh]
    return [*said, *reasons, as_text(handled), redrive.reason, str(credential.refused), *told]


async def stored_anywhere(pool: asyncpg.Pool, text: str) -> set[str]:
    """The tables that have `text` in plain."""
    tables = [row[0] for row in await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    found = "SELECT EXISTS (SELECT 1 FROM {} t WHERE t::text LIKE $1 OR t::text LIKE $2)"
    patterns = f"%{text}%", f"%{text.encode().hex()}%"
    return {table for table in tables if await pool.fetchval(found.format(table), *patterns)}


WORDS = [SAID] * 4 + [f"27 {SAID}", SAID, SAID, IN_BOTH.zh, IN_BOTH.zh]
HAVE_WORDS = {"attempt", "dead_letter", "audit", "conflict_handled", "redrive", "credential"}


async def test_the_words_of_others_are_sealed_and_read_plain(migrated_url: str) -> None:
    async with pool_with(migrated_url) as raw, pool_with(migrated_url, OLD) as sealed:
        await insert(sealed, 1)
        await leave_words(sealed)
        assert await words_read(sealed) == WORDS
        assert await stored_anywhere(raw, NAME) == set()
        nothing = "SELECT count(*) FROM attempt WHERE private_detail IS NULL AND detail IS NULL"
        assert await raw.fetchval(nothing) == 1, "what has no words has nothing to be sealed"


async def test_words_are_sealed_later_and_with_another_key(migrated_url: str) -> None:
    async with pool_with(migrated_url) as raw:
        await insert(raw, 1)
        await leave_words(raw)
        assert await words_read(raw) == WORDS
        assert await stored_anywhere(raw, NAME) == {*HAVE_WORDS, "orders"}
        for keys in ([OLD], [NEW, OLD]):
            await reseal(raw, Vault(keys), told=lambda *_: None)
            assert await stored_anywhere(raw, NAME) == set()
            assert set((await left(raw, Vault(keys))).values()) == {0}
            async with pool_with(migrated_url, *keys) as pool:
                assert await words_read(pool) == WORDS
        assert [key.key_id for key in await keys_in_use(raw, Vault([NEW]))] == [Vault([NEW]).active_id.hex()]
        async with pool_with(migrated_url, NEW) as pool:
            assert await words_read(pool) == WORDS, "the old key may go"


async def test_every_column_of_the_schema_has_been_decided_about(migrated_url: str) -> None:
    """The table of docs/decisions/0008 names all that hold text or bytes, and as sealed those that are."""
    text = (ROOT / "docs/decisions/0008-sealed-columns.md").read_text(encoding="utf-8")
    rows = [row.split("|") for row in text.splitlines() if row.startswith("| `")]
    patterns = [
        (pattern, row[3].strip()) for row in rows for pattern in re.findall(r"`([a-z_*]+\.[a-z_0-9*]+)`", row[1])
    ]
    async with pool_with(migrated_url) as pool:
        columns = {
            f"{table}.{column}"
            for table, column in await pool.fetch(
                "SELECT c.table_name, c.column_name FROM information_schema.columns c"
                " JOIN information_schema.tables t USING (table_schema, table_name)"
                " WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'"
                " AND c.data_type IN ('text', 'bytea', 'ARRAY', 'jsonb', 'json', 'character varying')"
            )
        }
    decided = {
        column: next((at_rest for pattern, at_rest in patterns if fnmatchcase(column, pattern)), None)
        for column in columns
    }
    assert [column for column, at_rest in decided.items() if at_rest is None] == []
    assert {column for column, at_rest in decided.items() if at_rest == "sealed"} == {one.name for one in SEALED}
    stale = [pattern for pattern, _ in patterns if not any(fnmatchcase(column, pattern) for column in columns)]
    assert stale == []


async def timeline_words(pool: asyncpg.Pool) -> Counter[str]:
    detail = await read_order(pool, "A1")
    assert detail is not None
    return Counter(
        one.detail if isinstance(one, AttemptEnded) else one.reason
        for one in detail.timeline
        if isinstance(one, AttemptEnded | ByHand)
    )


async def test_words_of_the_release_before_are_sealed_and_their_columns_emptied(migrated_url: str) -> None:
    """Attempts have no key of their own, and there are more of one order than a batch takes."""
    async with pool_with(migrated_url) as raw, pool_with(migrated_url, NEW) as sealed:
        await insert(sealed, 1)
        await raw.execute("INSERT INTO connection (name) VALUES ('wms')")
        await raw.execute(_ATTEMPTS_BEFORE, SAID)
        await raw.execute(_AUDIT_BEFORE, SAID)
        words = Counter({SAID: 1001, "": 500})
        assert await timeline_words(sealed) == words
        assert (await left(raw, Vault([NEW])))["attempt.private_detail"] == 1000
        changed = (await reseal(raw, Vault([NEW]), told=lambda *_: None)).changed
        assert (changed["attempt.private_detail"], changed["audit.private_reason"]) == (1000, 1)
        assert await stored_anywhere(raw, NAME) == set()
        assert await timeline_words(sealed) == words
        again = await reseal(raw, Vault([NEW]), told=lambda *_: None)
        assert again.changed == {column.name: 0 for column in SEALED}


async def test_what_a_gateway_of_before_writes_of_a_refusal_is_sealed_too(migrated_url: str) -> None:
    async with pool_with(migrated_url) as raw, pool_with(migrated_url, NEW) as sealed:
        await raw.execute("INSERT INTO connection (name) VALUES ('shop')")
        await plant(sealed, 1, Token("t-1"))
        await raw.execute("UPDATE credential SET refused = '27: 会话已失效 ' || $1", NAME)
        await reseal(raw, Vault([NEW]), told=lambda *_: None)
        assert await stored_anywhere(raw, NAME) == set()
        assert (await read_credentials(sealed, [1]))[1].refused == f"27: 会话已失效 {NAME}"


async def test_a_row_that_changes_meanwhile_keeps_its_change(migrated_url: str) -> None:
    """The writer is between the read and the write of `reseal`: it holds the row's lock, and its value stays."""
    async with pool_with(migrated_url) as raw, pool_with(migrated_url, NEW) as new:
        await insert(raw, 1)
        changed = Order(number=OrderNumber("A1"))
        async with new.acquire() as writer:
            change = writer.transaction()
            await change.start()
            await writer.execute("UPDATE orders SET state = $1 WHERE order_id = 1", encode_state(changed))
            resealing = asyncio.ensure_future(reseal(raw, Vault([NEW]), told=lambda *_: None))
            while not await new.fetchval(_WAITING):  # noqa: ASYNC110 (no event of ours tells)
                await asyncio.sleep(0.01)
            await change.commit()
        assert (await resealing).changed["orders.state"] == 0
        async with new.acquire() as connection, connection.transaction():
            assert (await lock_orders(connection, [OrderNumber("A1")]))[OrderNumber("A1")].order == changed


async def test_a_key_that_rows_need_may_not_be_missing(migrated_url: str) -> None:
    async with pool_with(migrated_url) as pool:
        await enter_keys(pool, Vault([OLD]))
        for vault in (None, Vault([NEW])):
            with pytest.raises(CannotOpen, match=r"which encryption\.keys lacks"):
                await enter_keys(pool, vault)
        await enter_keys(pool, Vault([NEW, OLD]))


async def test_the_first_key_waits_until_no_worker_runs_without_one(migrated_url: str) -> None:
    async with pool_with(migrated_url) as pool:
        worker_id = await start_worker(pool, name="run/0", lease_s=60)
        with pytest.raises(CannotOpen, match="stop them all"):
            await enter_keys(pool, Vault([OLD]))
        await retire_worker(pool, worker_id)
        await enter_keys(pool, Vault([OLD]))


async def test_of_two_gateways_that_start_at_once_with_a_key_each_one_is_refused(migrated_url: str) -> None:
    """Both let in, each would set aside what the other has sealed."""
    async with pool_with(migrated_url) as pool:
        for _ in range(5):
            await pool.execute("DELETE FROM sealing_key")
            both = (enter_keys(pool, Vault([OLD])), enter_keys(pool, Vault([NEW])))
            told = await asyncio.gather(*both, return_exceptions=True)
            assert sorted(type(one).__name__ for one in told) == ["CannotOpen", "NoneType"]


async def test_a_worker_that_lacks_a_key_entered_since_its_parent_looked_does_not_start(migrated_url: str) -> None:
    old, new = Vault([OLD]), Vault([NEW, OLD])
    ids = [one.active_id.hex() for one in (old, new)]
    async with pool_with(migrated_url) as pool:
        await enter_keys(pool, old)
        await enter_keys(pool, new)  # no worker of the first runs yet
        with pytest.raises(CannotOpen, match=f"{ids[1]}.*which encryption"):
            await start_worker(pool, name="run-1/0", lease_s=60, key_id=ids[0], opens=ids[:1])
        assert await pool.fetchval("SELECT count(*) FROM worker") == 0
        await start_worker(pool, name="run-2/0", lease_s=60, key_id=ids[1], opens=ids)


async def test_nobody_seals_with_a_key_that_a_running_worker_lacks(migrated_url: str) -> None:
    """Of several gateways each gets the new key last first; one of the release before does not tell what it has."""
    old, new = Vault([OLD]), Vault([NEW, OLD])
    ids = [one.active_id.hex() for one in (old, new)]
    async with pool_with(migrated_url) as pool:
        await enter_keys(pool, old)
        await start_worker(pool, name="run-0/0", lease_s=60, key_id=ids[0])
        worker_id = await start_worker(pool, name="run-1/0", lease_s=60, key_id=ids[0], opens=ids[:1])
        with pytest.raises(CannotOpen, match=f"run-1/0 没有密钥 {ids[1]}.*workers run-1/0 lack key {ids[1]}"):
            await enter_keys(pool, new)
        assert [key.key_id for key in await keys_in_use(pool, new)] == ids[:1]
        await enter_keys(pool, Vault([OLD, NEW]))
        await retire_worker(pool, worker_id)
        await start_worker(pool, name="run-1/0", lease_s=60, key_id=ids[0], opens=ids)
        await enter_keys(pool, new)


async def test_resealing_waits_for_every_worker_to_seal_with_the_key(migrated_url: str) -> None:
    """Gateways are restarted one after the other; the last one would write on what only the old key opens."""
    vault = Vault([NEW, OLD])
    old, new = Vault([OLD]).active_id.hex(), vault.active_id.hex()
    async with pool_with(migrated_url) as pool:
        await enter_keys(pool, Vault([OLD]))
        await insert(pool, 1)
        workers = [await start_worker(pool, name=f"run-{n}/0", lease_s=60, key_id=old) for n in (1, 2)]
        for n, worker_id in enumerate(workers, 1):
            with pytest.raises(
                KeyNotInUse, match=f"workers run-{n}/0.* restart their gateways with this configuration"
            ):
                await reseal(pool, vault, told=lambda *_: None)
            assert (await left(pool, vault))["orders.state"] == 1
            await retire_worker(pool, worker_id)
            await enter_keys(pool, vault)  # as a gateway does that starts
            await start_worker(pool, name=f"run-{n}/0", lease_s=60, key_id=new)
        assert (await reseal(pool, vault, told=lambda *_: None)).changed["orders.state"] == 1
        assert [key.key_id for key in await keys_in_use(pool, vault)] == [new]


async def test_a_worker_restarted_by_a_gateway_with_the_configuration_of_before_counts_too(migrated_url: str) -> None:
    """It started after the new key came, with the old one in front; so does one that goes back to the old key."""
    vault = Vault([NEW, OLD])
    async with pool_with(migrated_url) as pool:
        await enter_keys(pool, Vault([OLD]))
        await enter_keys(pool, vault)
        worker_id = await start_worker(pool, name="run-2/0", lease_s=60, key_id=Vault([OLD]).active_id.hex())
        with pytest.raises(KeyNotInUse, match="run-2/0"):
            await reseal(pool, vault, told=lambda *_: None)
        await reseal(pool, Vault([OLD, NEW]), told=lambda *_: None)
        await retire_worker(pool, worker_id)
        await start_worker(pool, name="run-1/0", lease_s=60)
        with pytest.raises(KeyNotInUse, match="run-1/0"):
            await reseal(pool, vault, told=lambda *_: None)


async def test_a_key_that_a_worker_starts_with_during_the_reseal_stays(migrated_url: str) -> None:
    vault, old = Vault([NEW, OLD]), Vault([OLD]).active_id.hex()
    async with pool_with(migrated_url) as pool, pool_with(migrated_url) as other:
        await enter_keys(pool, Vault([OLD]))
        async with other.acquire() as connection:
            scan = connection.transaction()
            await scan.start()
            await connection.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
            resealing = asyncio.ensure_future(reseal(pool, vault, told=lambda *_: None))
            while not await other.fetchval(_WAITING):  # noqa: ASYNC110 (no event of ours tells)
                await asyncio.sleep(0.01)
            worker_id = await start_worker(other, name="run-2/0", lease_s=60, key_id=old)
            await scan.rollback()
        await resealing
        assert old in [key.key_id for key in await keys_in_use(pool, vault)]
        await retire_worker(pool, worker_id)
        await reseal(pool, vault, told=lambda *_: None)
        assert [key.key_id for key in await keys_in_use(pool, vault)] == [vault.active_id.hex()]

        # Between the look at the workers and the end of the scan: the worker is gone again, what it wrote is not.
        await enter_keys(pool, Vault([OLD, NEW]))
        async with other.acquire() as connection:
            scan = connection.transaction()
            await scan.start()
            await connection.execute("LOCK TABLE redrive IN ACCESS EXCLUSIVE MODE")
            striking = asyncio.ensure_future(_strike_off(pool, vault))
            while not await other.fetchval(_WAITING):  # noqa: ASYNC110 (no event of ours tells)
                await asyncio.sleep(0.01)
            await retire_worker(other, await start_worker(other, name="run-2/0", lease_s=60, key_id=old))
            await scan.rollback()
        await striking
        assert old in [key.key_id for key in await keys_in_use(pool, vault)]


async def test_a_token_that_cannot_be_opened_holds_its_shop_alone(migrated_url: str) -> None:
    async with pool_with(migrated_url, OLD) as old, pool_with(migrated_url, NEW) as new:
        await old.execute("INSERT INTO connection (name) VALUES ('one'), ('two')")
        await plant(old, 1, Token("t-1"))
        await plant(new, 2, Token("t-2"))
        found = await read_credentials(new, [1, 2])
        assert [(one.token.access, one.refused) for one in found.values()] == [("", "no_token"), ("t-2", None)]
        async with pool_with(migrated_url, NEW, OLD) as both:
            found = await read_credentials(both, [1])
        assert (found[1].token.access, found[1].refused) == ("t-1", None), "its key is back"
    async with pool_with(migrated_url) as plain:
        await plain.execute("UPDATE credential SET token = substring(token for 9) WHERE connection_id = 2")
        await plain.execute('UPDATE credential SET token = \'{"access":"\\377\'::bytea WHERE connection_id = 1')
        found = await read_credentials(plain, [1, 2])
        assert [(one.token.access, one.refused) for one in found.values()] == [("", "no_token")] * 2, "damaged"


async def test_the_key_of_a_reseal_without_a_gateway_may_not_go_missing(migrated_url: str) -> None:
    async with pool_with(migrated_url) as pool:
        await insert(pool, 1)
        await reseal(pool, Vault([NEW]), told=lambda *_: None)
        with pytest.raises(CannotOpen, match=r"which encryption\.keys lacks"):
            await enter_keys(pool, None)
