"""Renewing: what a refresh gives, and when only a person helps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from typing import Any

import pytest

from adapters.pinduoduo.auth import PinduoduoAuthoriser
from adapters.pinduoduo.fake import FakePinduoduo
from adapters.pinduoduo.settings import Meaning
from gateway.sdk.http import Http
from gateway.sdk.models import Failed, Throttled, Token, Unauthorised
from tests.adapters.pinduoduo.shop import Clock, access_of, setup_for


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with Http(connections=2) as client:
        yield client


def token_of(fake: FakePinduoduo) -> Token:
    return Token(fake.access_token, fake.refresh_token, fake.expires_at)


def authoriser_of(fake: FakePinduoduo, http: Http) -> PinduoduoAuthoriser:
    return PinduoduoAuthoriser(setup_for(fake.router_url, now=fake.now), access_of(fake, http))


async def test_a_refresh_gives_a_new_pair_and_no_longer_life(http: Http) -> None:
    async with FakePinduoduo(now=Clock(), token_lifetime_s=3600) as fake:
        before = token_of(fake)
        renewed = await authoriser_of(fake, http).refresh(before, deadline_s=5)

        assert isinstance(renewed, Token)
        assert renewed == Token(fake.access_token, fake.refresh_token, before.expires_at, before.expires_at)
        assert renewed.access != before.access and renewed.refresh != before.refresh
        assert renewed.expires_at is not None and renewed.expires_at.tzinfo is UTC


@pytest.mark.feature("F6")
async def test_once_it_has_ended_only_a_person_helps(http: Http) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock, token_lifetime_s=3600) as fake:
        clock.forward(hours=2)
        answer = await authoriser_of(fake, http).refresh(token_of(fake), deadline_s=5)
        assert isinstance(answer, Unauthorised) and answer.code == "10019"

        old = token_of(fake)
        fake.authorise(lifetime_s=3600)
        assert isinstance(await authoriser_of(fake, http).refresh(old, deadline_s=5), Unauthorised)
        assert isinstance(await authoriser_of(fake, http).refresh(token_of(fake), deadline_s=5), Token)


async def test_where_a_refresh_does_lengthen_it_the_answer_is_believed(http: Http) -> None:
    clock = Clock()
    async with FakePinduoduo(now=clock, token_lifetime_s=3600, refresh_extends=True) as fake:
        clock.forward(minutes=30)
        renewed = await authoriser_of(fake, http).refresh(token_of(fake), deadline_s=5)
        assert isinstance(renewed, Token) and renewed.expires_at == clock() + timedelta(hours=1)


async def test_without_a_refresh_token_nobody_is_asked(http: Http) -> None:
    async with FakePinduoduo(now=Clock()) as fake:
        answer = await authoriser_of(fake, http).refresh(Token("T"), deadline_s=5)
        assert isinstance(answer, Unauthorised) and answer.code == "no_refresh_token"
        assert fake.books.requests == 0


@pytest.mark.parametrize(
    ("faults", "kind"),
    [
        ({"share_5xx": 1.0, "status_5xx": 500}, Failed),
        ({"hang_share": 1.0}, Failed),
        ({"garbage_share": 1.0}, Failed),
        ({"error_in_200_share": 1.0}, Failed),
        ({"throttle_per_s": 0.0, "throttle_in_200": True}, Throttled),
    ],
)
async def test_faults_are_for_later(http: Http, faults: dict[str, Any], kind: type) -> None:
    async with FakePinduoduo(now=Clock()) as fake:
        fake.set_faults(faults)
        assert type(await authoriser_of(fake, http).refresh(token_of(fake), deadline_s=0.2)) is kind


async def test_a_refusal_that_is_no_word_on_the_authorisation_leaves_the_shop_at_work(http: Http) -> None:
    """20002, a clock that is off, stands in no table of the vendor's that we have."""
    async with FakePinduoduo(now=Clock()) as fake:
        late = setup_for(fake.router_url, now=lambda: fake.now() - timedelta(minutes=11))
        answer = await PinduoduoAuthoriser(late, access_of(fake, http)).refresh(token_of(fake), deadline_s=5)
        assert isinstance(answer, Failed) and answer.code == "business" and "20002" in answer.message

        meant = setup_for(fake.router_url, now=late.now, errors={"20002": Meaning.UNAUTHORISED})
        answer = await PinduoduoAuthoriser(meant, access_of(fake, http)).refresh(token_of(fake), deadline_s=5)
        assert isinstance(answer, Unauthorised)
