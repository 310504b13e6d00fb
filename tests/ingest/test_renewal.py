"""A refused renewal: the shop goes on with the token it has, to its end. A real PostgreSQL, and a clock of the test."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from gateway.core.access import Token
from gateway.core.delivery import Failed, Unauthorised
from gateway.core.errors import Fenced
from gateway.core.event import ConnectionName
from gateway.core.happening import ConnectionChanged, ConnectionState, Happening, Trouble
from gateway.core.notice import NotRenewed
from gateway.ingest.authorisation import Authorisation, Authorisations, Renewal
from gateway.ingest.duty import Ownership
from gateway.store.credentials import authorise, plant, read_credentials, refuse, seed_of, swap
from gateway.store.notices import read_changing
from gateway.store.pulls import claim_duty
from tests.ingest.test_duty import SHOP, Endless, prepared

REFUSED = Unauthorised("27", "27 refresh token used up")


class Once(Ownership):
    """Is over as soon as its loop has nothing to do."""

    async def rest(self, for_s: float) -> None:
        self.stop()


class Desk:
    """A shop whose token lives for a year and ends in six days, its owner, and a platform that is asked."""

    def __init__(self, pool: asyncpg.Pool, number: int, worker_id: int) -> None:
        self.pool = pool
        self.number = number
        self.worker_id = worker_id
        self.answer: Token | Unauthorised | Failed | BaseException | Callable[[], Token] = REFUSED
        self.asked = 0
        self.happened: list[Happening] = []
        self.passed = timedelta(0)
        self.ends_at: datetime | None = datetime.now(UTC).replace(microsecond=0) + timedelta(days=6)
        self.shop = self._shop()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.passed

    def _shop(self) -> Authorisation:
        shop = Authorisation(
            ConnectionName("shop"),
            seed=Token("good", "r0", self.ends_at),
            renewable=True,
            now=self.now,
            changed=lambda _: None,
            wake=lambda: None,
        )
        self.every = Authorisations(self.pool, {self.number: shop}, observe=self.happened.extend)
        self.renewal = Renewal(
            pool=self.pool, shop=shop, all_shops=self.every, authoriser=self, budget=Endless(), deadline_s=5,
            now=self.now, rng=random.Random(1), observe=self.happened.extend, reach=lambda _: None,
        )  # fmt: skip
        return shop

    async def start(self) -> None:
        """As a worker that has just become the owner."""
        self.shop = self._shop()
        await self.every.start()
        await self.pool.execute("UPDATE credential SET changed_at = now() - interval '359 days' WHERE version = 1")
        await self.every.follow()

    async def refresh(self, token: Token, *, deadline_s: float) -> Token | Unauthorised | Failed:
        self.asked += 1
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer() if callable(self.answer) else self.answer

    async def look(self, *, passed: timedelta = timedelta(0)) -> int:
        """The renewal's next look after so long; how often the platform was asked."""
        self.passed += passed
        await self.every.follow()
        before = self.asked
        await self.renewal.run(Once(SHOP, self.number, self.worker_id))
        return self.asked - before

    def troubles(self) -> list[str]:
        return [one.what for one in self.happened if isinstance(one, Trouble)]

    def changes(self) -> list[ConnectionState]:
        return [one.state for one in self.happened if isinstance(one, ConnectionChanged)]

    async def token(self) -> Token:
        return (await read_credentials(self.pool, [self.number]))[self.number].token

    async def refused(self) -> str | None:
        return (await read_credentials(self.pool, [self.number]))[self.number].refused


@pytest.fixture
async def desk(migrated_url: str) -> AsyncIterator[Desk]:
    pool, number, worker_id = await prepared(migrated_url)
    assert await claim_duty(pool, number, worker_id=worker_id)
    desk = Desk(pool, number, worker_id)
    await desk.start()
    yield desk
    await pool.close()


async def test_whoever_is_not_the_owner_any_more_stores_no_token(desk: Desk) -> None:
    with pytest.raises(Fenced):
        await swap(desk.pool, desk.number, Token("late"), version=1, worker_id=desk.worker_id + 1)
    assert await desk.token() == Token("good", "r0", desk.ends_at)


async def test_what_a_renewal_gives_or_hears_is_not_put_over_a_token_that_a_person_has_put_meanwhile(
    desk: Desk,
) -> None:
    mine = Token("mine")
    await authorise(desk.pool, desk.number, mine, name=SHOP, reason="a test", actor="li")
    assert await swap(desk.pool, desk.number, Token("late"), version=1, worker_id=desk.worker_id) is None
    assert not await refuse(desk.pool, desk.number, version=1, code="27", words="27 session expired")
    assert (await desk.token(), await desk.refused()) == (mine, None)


@pytest.mark.feature("F6")
async def test_a_refused_early_renewal_does_not_hold_the_shop_and_people_are_told(desk: Desk) -> None:
    assert await desk.look() == 1
    assert not desk.shop.held and desk.shop.renewal_refused
    facts = await read_changing(desk.pool)
    assert facts.refusals == {}
    told = facts.not_renewed["shop"]
    assert isinstance(told, NotRenewed) and (told.code, told.ends_at) == ("27", desk.ends_at)
    (trouble,) = desk.troubles()
    assert "renewal refused: 27" in trouble and desk.ends_at.isoformat() in trouble
    assert desk.changes() == []


async def test_a_refused_renewal_is_tried_again_after_longer_and_longer(desk: Desk) -> None:
    assert await desk.look() == 1
    waits, since = [], 0
    for _ in range(9):
        waits.append(min(max(since, 10), 360))
        assert await desk.look(passed=timedelta(minutes=waits[-1] - 1)) == 0
        assert await desk.look(passed=timedelta(minutes=2)) == 1
        since += waits[-1] + 1
    assert waits == [10, 11, 23, 47, 95, 191, 360, 360, 360]
    assert not desk.shop.held and len(desk.troubles()) == 1, "told once"
    await desk.start()
    assert await desk.look() == 1, "the next owner asks at once, and goes on as slowly"
    assert await desk.look(passed=timedelta(minutes=350)) == 0
    desk.answer = Token("new", "r1", desk.now() + timedelta(days=365))
    assert await desk.look(passed=timedelta(minutes=20)) == 1
    assert desk.shop.token().access == "new" and not desk.shop.renewal_refused
    assert (await read_changing(desk.pool)).not_renewed == {}


async def test_the_shop_is_held_when_its_token_ends(desk: Desk) -> None:
    assert await desk.look(passed=timedelta(days=6, minutes=-2)) == 1
    assert await desk.look(passed=timedelta(minutes=1)) == 0
    assert not desk.shop.held
    assert await desk.look(passed=timedelta(minutes=1)) == 1, "a last try, whatever its turn is"
    assert desk.shop.held and await desk.refused() == REFUSED.message
    assert await desk.look(passed=timedelta(days=1)) == 0
    assert desk.changes() == [ConnectionState.RE_AUTHORISE]


async def test_the_shop_is_held_when_its_token_is_refused_in_use(desk: Desk) -> None:
    await desk.look()
    desk.shop.refused(desk.shop.version, Unauthorised("revoked", "revoked by the seller"))
    assert desk.shop.held
    assert await desk.look() == 1, "perhaps it is given one now"
    assert await desk.look(passed=timedelta(days=1)) == 0
    assert desk.shop.held and await desk.refused() == "revoked by the seller"
    assert desk.changes() == [ConnectionState.RE_AUTHORISE]


async def test_a_new_token_ends_what_was_told_and_is_renewed_in_its_time(desk: Desk) -> None:
    await desk.look()
    new = Token("new", "r9", desk.now() + timedelta(days=6))
    assert not await authorise(desk.pool, desk.number, new, name="shop", reason="r", actor="wang")
    assert (await read_changing(desk.pool)).not_renewed == {}
    await desk.pool.execute("UPDATE credential SET changed_at = now() - interval '359 days'")
    assert await desk.look() == 1, "the refusal was of the old one"
    assert (await read_changing(desk.pool)).not_renewed["shop"].ends_at == new.expires_at


@pytest.mark.parametrize(("minutes", "asked"), [(10, [1, 0, 0, 1]), (5, [1, 0, 0, 1]), (0, [1, 1, 1, 1])])
async def test_a_token_that_does_not_live_long_leaves_time_for_the_orders(
    desk: Desk, minutes: int, asked: list[int]
) -> None:
    """Each renewal takes a turn of the shop's rate: nothing else would be asked of its platform."""
    new = Token("new", "r9", desk.now() - timedelta(minutes=1))
    assert not await authorise(desk.pool, desk.number, new, name="shop", reason="r", actor="wang")
    life, given = timedelta(minutes=minutes), iter("abcdefgh")  # after that the platform fails, and the test with it

    def another() -> Token:
        return Token(next(given), "r", desk.now() + life)

    desk.answer, quarter = another, life / 4
    assert [await desk.look(passed=after) for after in (timedelta(0), timedelta(0), quarter, 2 * quarter)] == asked
    assert not desk.shop.held and desk.troubles() == []


async def test_a_token_of_the_configuration_of_before_does_not_come_back_while_the_present_one_works(
    desk: Desk,
) -> None:
    """A process of the old configuration that restarts in the middle of a rolling deploy."""
    old, new = Token("good", "r0", desk.ends_at), Token("new")
    assert await plant(desk.pool, desk.number, new) is None
    for _ in range(2):
        assert await plant(desk.pool, desk.number, old) is None
        stored = (await read_credentials(desk.pool, [desk.number]))[desk.number]
        assert (stored.token, stored.version) == (new, 2)
    # The new one does not work, and somebody takes it back out of the configuration.
    await refuse(desk.pool, desk.number, version=2, code="27", words="27 no such session")
    assert await plant(desk.pool, desk.number, new) is None
    assert await plant(desk.pool, desk.number, old) == ""
    stored = (await read_credentials(desk.pool, [desk.number]))[desk.number]
    assert (stored.token.access, stored.refused, stored.planted) == ("good", None, (seed_of(new),))


@pytest.mark.parametrize("defect", [SystemExit(3), BaseException("a Rust library panics"), KeyError("x")])
async def test_a_broken_authoriser_is_contained(desk: Desk, defect: BaseException) -> None:
    desk.answer = defect
    assert await desk.look() == 1
    assert not desk.shop.held and desk.troubles() == ["shop: not renewed: adapter"]


async def test_a_token_whose_end_has_no_time_zone_is_its_adapters_fault(desk: Desk) -> None:
    """Stored, it would end every worker as soon as the shop refuses it."""
    desk.answer = lambda: Token("new", "r1", datetime(2026, 5, 1))  # noqa: DTZ001
    assert await desk.look() == 1
    desk.shop.refused(desk.shop.version, Unauthorised("27", "27 session expired"))
    await desk.every.follow()
    assert await desk.look() == 1
    assert desk.troubles() == ["shop: not renewed: adapter"]
    assert await desk.token() == Token("good", "r0", desk.ends_at)


async def test_an_empty_token_takes_no_good_ones_place(desk: Desk) -> None:
    """What an adapter makes of an answer that has none in it."""
    desk.answer = Token("")
    assert await desk.look() == 1
    assert await desk.token() == Token("good", "r0", desk.ends_at) and not desk.shop.held
    assert desk.troubles()[0] == "shop: not renewed: the adapter answered with an empty token"
