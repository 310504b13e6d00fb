"""What one worker makes of refusals and of what the database says, without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.core.access import Token
from gateway.core.delivery import Unauthorised
from gateway.core.event import ConnectionName
from gateway.ingest.authorisation import Authorisation
from gateway.store.credentials import Credential

NOW = datetime(2026, 5, 1, tzinfo=UTC)
EXPIRED = Unauthorised("expired", "session expired")


class Shop(Authorisation):
    """An authorisation that notes what it asks for."""

    def __init__(self, *, renewable: bool = False, ends_at: datetime | None = None) -> None:
        self.changes: list[bool] = []
        self.woken = 0
        self.at = NOW
        super().__init__(
            ConnectionName("shop"),
            seed=Token("t1", "r1", ends_at),
            renewable=renewable,
            now=lambda: self.at,
            changed=self.changes.append,
            wake=self._count,
        )
        self.learn(self.stored(1))

    def _count(self) -> None:
        self.woken += 1

    def stored(self, version: int, *, refused: str | None = None, renewal_refused: str | None = None) -> Credential:
        token = Token(f"t{version}", f"r{version}", self.seed.expires_at)
        return Credential(7, version, token, refused, NOW, b"", renewal_refused)


def test_a_refusal_holds_at_once_and_until_the_database_has_a_newer_token() -> None:
    shop = Shop()
    shop.refused(1, EXPIRED)
    shop.refused(1, EXPIRED)
    assert (shop.held, shop.woken, shop.changes) == (True, 1, [True])
    shop.learn(shop.stored(1))
    assert shop.held, "the database does not know yet"
    shop.learn(shop.stored(1, refused="expired"))
    assert shop.held and shop.refusal is None
    shop.learn(shop.stored(2))
    assert (shop.held, shop.changes, shop.token().access) == (False, [True, False], "t2")


def test_the_word_on_a_token_that_has_been_replaced_counts_for_nothing() -> None:
    shop = Shop()
    shop.learn(shop.stored(2))
    shop.refused(1, EXPIRED)
    assert (shop.held, shop.woken) == (False, 0)
    shop.refused(2, EXPIRED)
    shop.learn(shop.stored(3))
    assert not shop.held, "another worker's swap was quicker"
    shop.learn(shop.stored(2, refused="expired"))
    assert not shop.held and shop.version == 3, "read before the swap"


def test_a_token_that_has_run_out_is_given_time_to_be_renewed() -> None:
    shop = Shop(renewable=True, ends_at=NOW - timedelta(seconds=1))
    shop.refused(1, EXPIRED)
    assert shop.held and shop.being_renewed
    shop.at = NOW + timedelta(seconds=61)
    assert not shop.being_renewed, "that took too long: a person is called"
    for other in (Shop(renewable=True), Shop(ends_at=NOW), Shop(renewable=True, ends_at=NOW + timedelta(hours=1))):
        other.refused(1, EXPIRED)
        assert not other.being_renewed


def test_a_token_that_is_refused_while_it_is_renewed_calls_nobody() -> None:
    """Requests were under way with it when the platform gave the next one."""
    shop = Shop(renewable=True, ends_at=NOW + timedelta(minutes=5))
    shop.refused(1, EXPIRED)
    assert shop.held and shop.being_renewed
    shop.at = NOW + timedelta(seconds=61)
    assert not shop.being_renewed


def test_a_token_whose_renewal_is_refused_gets_no_time_to_be_renewed() -> None:
    shop = Shop(renewable=True, ends_at=NOW + timedelta(minutes=5))
    shop.learn(shop.stored(1, renewal_refused="27"))
    assert not shop.held
    shop.refused(1, EXPIRED)
    assert shop.held and not shop.being_renewed


def test_nothing_shows_a_token() -> None:
    shop = Shop()
    for text in (repr(shop.seed), repr(shop.stored(1)), str(shop.stored(1))):
        assert "t1" not in text and "r1" not in text
