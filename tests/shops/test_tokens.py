"""A shop's token: renewed once for all workers, and when it is refused everything is kept until a new one is put."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from gateway.core.access import Token
from gateway.core.errors import Fenced
from gateway.core.event import ConnectionName
from gateway.core.happening import AttemptEnded, ConnectionChanged, ConnectionState, Trouble, WindowRead
from gateway.ingest.authorisation import renew_ahead
from gateway.store.credentials import authorise, plant, read_credentials, refuse, swap
from gateway.store.outbox import start_worker
from gateway.store.pulls import claim_duty
from gateway.store.sql import register_connections
from tests.shops.conftest import Shop

READY, RE_AUTHORISE = ConnectionState.READY, ConnectionState.RE_AUTHORISE


def renewable(*, ends_in_s: float) -> str:
    ends_at = datetime.now(UTC) + timedelta(seconds=ends_in_s)
    return f', refresh_token: r1, expires_at: "{ends_at.isoformat()}"'


def changes(shop: Shop) -> list[ConnectionState]:
    return [one.state for one in shop.saw(ConnectionChanged)]


async def test_a_token_is_renewed_once_before_its_end_and_all_workers_use_the_new_one(shop: Shop) -> None:
    shop.platform.refreshes = {"r1": "t2"}
    settings = shop.settings(more=renewable(ends_in_s=300))
    await shop.start(settings)
    await shop.start(settings)
    await shop.until(lambda: shop.platform.of("/refresh"))
    await asyncio.sleep(1.0)  # a NOTIFY takes milliseconds; what is sent from now on shows what the workers know
    seen = len(shop.platform.asked)
    shop.platform.place(*(f"n{number}" for number in range(40)))
    await shop.until(lambda: len(shop.platform.created) == 40)
    later = shop.platform.asked[seen:]
    assert {one.token for one in later} == {"t2"}
    assert len(shop.platform.of("/refresh")) == 1
    assert changes(shop) == []
    assert await shop.pool.fetchval("SELECT version FROM credential") == 2


async def test_a_token_that_ran_out_while_nobody_looked_is_renewed_without_calling_anybody(shop: Shop) -> None:
    shop.platform.tokens = set()
    shop.platform.refreshes = {"r1": "t2"}
    shop.platform.place("n1", modified=time.time() + 2)
    await shop.start(shop.settings(more=renewable(ends_in_s=-3600)))
    await shop.until_known("Bn1")
    assert changes(shop) == []


@pytest.mark.feature("F6")
async def test_a_refused_token_holds_everything_and_keeps_the_queue(shop: Shop) -> None:
    first = await shop.start()
    await shop.start()
    await shop.until(lambda: shop.saw(WindowRead))
    shop.platform.page_size = 100  # one page: all are known before the first is sent
    shop.platform.answers["/create"] = [{"error": "token"}] * 1000
    shop.platform.place(*(f"n{number}" for number in range(60)))
    await shop.until(lambda: changes(shop))
    shop.platform.tokens = {"t9"}
    await shop.until_known(*(f"Bn{number}" for number in range(60)))
    await asyncio.sleep(0.5)
    asked = len(shop.platform.asked)
    await asyncio.sleep(1.5)
    assert len(shop.platform.asked) == asked, "nobody asks any more, neither poller nor gates"
    assert changes(shop) == [RE_AUTHORISE], "told once, by one of two workers"
    lanes = await shop.pool.fetch("SELECT bursts, blocked, in_doubt FROM lane")
    assert len(lanes) == 60 and {tuple(lane) for lane in lanes} == {(0, None, False)}
    assert {one.result.name for one in shop.saw(AttemptEnded)} == {"UNAUTHORISED"}
    shown = await shop.connection(first)
    assert shown["state"] == "re_authorise" and shown["reason"] == "token: session expired"

    shop.platform.answers.clear()
    status, answer = await shop.call(
        first, "POST", "/connections/shop/authorise", {"access_token": "t9", "reason": "renewed at the console"}
    )
    assert status == 200, answer
    await shop.until(lambda: len(shop.platform.created) == 60)
    assert set(shop.platform.created.values()) == {1}
    assert changes(shop) == [RE_AUTHORISE, READY]
    assert (await shop.connection(first))["state"] == "ready"
    audit = await shop.pool.fetch("SELECT action, subject, convert_from(private_reason, 'UTF8') FROM audit")
    assert [tuple(row) for row in audit] == [("connection.authorise", "shop", "renewed at the console")]
    shop.platform.place("more")
    await shop.until_known("Bmore")


async def test_another_configured_token_ends_the_wait_and_the_same_one_does_not(shop: Shop) -> None:
    shop.platform.tokens = {"t5"}
    worker = await shop.start()
    await shop.until(lambda: changes(shop) == [RE_AUTHORISE])
    await shop.stop(worker)
    worker = await shop.start()
    await shop.until(lambda: shop.connection(worker))
    assert (await shop.connection(worker))["state"] == "re_authorise"
    await shop.stop(worker)
    shop.platform.place("n1", modified=time.time() + 2)
    await shop.start(shop.settings(token="t5"))
    await shop.until_known("Bn1")
    assert changes(shop) == [RE_AUTHORISE, READY]


async def test_a_refresh_that_is_refused_stops_nothing_while_the_token_is_good(shop: Shop) -> None:
    worker = await shop.start(shop.settings(more=renewable(ends_in_s=300)))
    await shop.until(lambda: shop.platform.of("/refresh"))
    shop.platform.place("n1")
    await shop.until(lambda: shop.platform.created["Bn1"] or shop.platform.created["n1"])
    await asyncio.sleep(1.0)
    assert len(shop.platform.of("/refresh")) == 1 and changes(shop) == []
    shown = await shop.connection(worker)
    assert (shown["state"], shown["pull"]["renewal_refused"]) == ("ready", "token")


async def test_a_refresh_that_is_refused_when_the_token_has_ended_calls_a_person_once(shop: Shop) -> None:
    shop.platform.tokens = set()
    await shop.start(shop.settings(more=renewable(ends_in_s=-5)))
    await shop.until(lambda: changes(shop) == [RE_AUTHORISE])
    await asyncio.sleep(1.0)
    assert len(shop.platform.of("/refresh")) == 1
    assert changes(shop) == [RE_AUTHORISE]


async def test_without_any_token_the_shop_waits_for_one(shop: Shop) -> None:
    worker = await shop.start(shop.settings(token=""))
    await shop.until(lambda: changes(shop) == [RE_AUTHORISE])
    assert (await shop.connection(worker))["reason"] == "no_token"
    assert shop.platform.asked == []
    body = {"access_token": "t1", "reason": "first"}
    assert (await shop.call(worker, "POST", "/connections/shop/authorise", body))[0] == 200
    shop.platform.place("n1", modified=time.time() + 2)
    await shop.until_known("Bn1")


async def test_a_token_that_cannot_be_renewed_is_warned_of_before_it_ends(shop: Shop) -> None:
    ends_at = datetime.now(UTC) + timedelta(hours=5)
    await shop.start(shop.settings(more=f', expires_at: "{ends_at.isoformat()}"'))
    await shop.until(lambda: shop.saw(Trouble))
    (trouble,) = shop.saw(Trouble)
    assert trouble.where == "token" and ends_at.isoformat() in trouble.what


async def test_the_word_on_an_old_token_is_ignored(shop: Shop) -> None:
    names = await register_connections(shop.pool, [ConnectionName("shop")])
    number = names.id(ConnectionName("shop"))
    worker_id = await start_worker(shop.pool, name="test", lease_s=60)
    assert await claim_duty(shop.pool, number, worker_id=worker_id)
    assert await plant(shop.pool, number, Token("a")) is None
    assert await plant(shop.pool, number, Token("a")) is None, "the same configuration changes nothing"
    swapped = await swap(shop.pool, number, Token("b"), version=1, worker_id=worker_id)
    assert swapped is not None and swapped.credential.version == 2
    assert await swap(shop.pool, number, Token("c"), version=1, worker_id=worker_id) is None, "not over a newer one"
    assert not await refuse(shop.pool, number, version=1, code="expired", words="expired: session")
    assert await refuse(shop.pool, number, version=2, code="expired", words="expired: session")
    assert not await refuse(shop.pool, number, version=2, code="expired", words="expired: session"), "told once"
    assert (await read_credentials(shop.pool, [number]))[number].refused == "expired: session"
    assert await shop.pool.fetchval("SELECT refused FROM credential") == "expired"
    assert await plant(shop.pool, number, Token("")) is None, "no token in the file replaces none"
    assert await authorise(shop.pool, number, Token("d"), name="shop", reason="r", actor="a")
    assert await plant(shop.pool, number, Token("a")) is None, "the newer one wins over the configuration of before"
    assert (await read_credentials(shop.pool, [number]))[number].token == Token("d")
    assert await plant(shop.pool, number, Token("e")) is None
    assert (await read_credentials(shop.pool, [number]))[number].token == Token("e")
    other = await start_worker(shop.pool, name="other", lease_s=60)
    with pytest.raises(Fenced):
        await swap(shop.pool, number, Token("f"), version=4, worker_id=other)


@pytest.mark.parametrize(
    ("life", "ahead"),
    [
        (timedelta(hours=24), timedelta(hours=6)),
        (timedelta(days=365), timedelta(days=7)),
        (timedelta(0), timedelta(minutes=10)),
    ],
)
def test_how_long_before_its_end_a_token_is_renewed(life: timedelta, ahead: timedelta) -> None:
    assert renew_ahead(life) == ahead
