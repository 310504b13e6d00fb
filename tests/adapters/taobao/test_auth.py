"""Renewing the authorisation, and what only a person can do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adapters.taobao.auth import TaobaoAuthoriser
from adapters.taobao.errors import Verdict
from adapters.taobao.fake import BUSY, FREQUENT, QUOTA
from adapters.taobao.source import DETAIL
from adapters.taobao.wire import Top
from gateway.sdk.http import Http
from gateway.sdk.models import Failed, Throttled, Token, Unauthorised
from tests.adapters.taobao.support import CUP, START, Shop


@pytest.mark.feature("F6")
async def test_a_token_is_traded_for_the_next_once(http: Http) -> None:
    shop = Shop(lifetime_s=3600)
    async with shop.fake:
        tid = shop.fake.place([CUP])
        authoriser = TaobaoAuthoriser(shop.setup(), shop.access(http))
        shop.clock.advance(3600)

        new = await authoriser.refresh(Token("t0", "r0"), deadline_s=5)
        ends_at = START + timedelta(seconds=7200)
        assert new == Token("session-1", "refresh-1", ends_at, ends_at)
        again = await authoriser.refresh(Token("t0", "r0"), deadline_s=5)
        assert isinstance(again, Unauthorised) and again.code == "invalid_grant"

        top = Top(shop.setup(), shop.access(http))
        detail = {"fields": "tid", "tid": tid}
        old = await top.call(DETAIL, detail, deadline_s=5)
        assert isinstance(old, Verdict) and old.kind == "unauthorised"
        assert isinstance(new, Token)
        shop.tokens = [new]
        assert not isinstance(await top.call(DETAIL, detail, deadline_s=5), Verdict)


async def test_an_app_that_renews_nothing(shop: Shop, http: Http) -> None:
    answer = await TaobaoAuthoriser(shop.setup(), shop.access(http)).refresh(Token("t0"), deadline_s=5)
    assert isinstance(answer, Unauthorised) and answer.code == "no_refresh_token"
    assert shop.fake.refreshes == 0


async def test_a_withdrawn_authorisation_and_a_wrong_secret(shop: Shop, http: Http) -> None:
    wrong = TaobaoAuthoriser(shop.setup(app_secret="other"), shop.access(http))
    answer: Any = await wrong.refresh(Token("t0", "r0"), deadline_s=5)
    assert isinstance(answer, Failed) and answer.code == "invalid_client"
    shop.fake.expire(for_good=True)
    answer = await TaobaoAuthoriser(shop.setup(), shop.access(http)).refresh(Token("t0", "r0"), deadline_s=5)
    assert isinstance(answer, Unauthorised) and answer.code == "invalid_grant"


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        ({"share_5xx": 1.0}, "http_503"),
        ({"hang_share": 1.0}, "timeout"),
        ({"garbage_share": 1.0}, "unreadable"),
    ],
)
async def test_what_may_work_later(shop: Shop, http: Http, faults: dict[str, Any], code: str) -> None:
    shop.fake.set_faults({**faults, "commands": ["token"]})
    answer = await TaobaoAuthoriser(shop.setup(), shop.access(http)).refresh(Token("t0", "r0"), deadline_s=0.2)
    assert isinstance(answer, Failed) and answer.code == code


async def test_an_answer_that_was_lost_shows_at_the_next_try(shop: Shop, http: Http) -> None:
    shop.fake.set_faults({"commit_then_timeout_share": 1.0, "commands": ["token"]})
    authoriser = TaobaoAuthoriser(shop.setup(), shop.access(http))
    assert isinstance(await authoriser.refresh(Token("t0", "r0"), deadline_s=0.2), Failed)
    shop.fake.set_faults({"commit_then_timeout_share": 0.0})
    assert isinstance(await authoriser.refresh(Token("t0", "r0"), deadline_s=5), Unauthorised)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        *[
            (400, {"error": error, "error_description": "…"}, error)
            for error in ("invalid_grant", "unauthorized_client", "access_denied", "expired_token")
        ],
        (200, {"error_response": {"code": 27, "sub_code": "invalid-sessionkey"}}, "session"),
    ],
)
async def test_only_a_person_helps_where_the_authorisation_itself_is_refused(
    shop: Shop, http: Http, status: int, body: dict[str, Any], code: str
) -> None:
    shop.fake.answer_renewals((status, body))
    answer = await TaobaoAuthoriser(shop.setup(), shop.access(http)).refresh(Token("t0", "r0"), deadline_s=5)
    assert isinstance(answer, Unauthorised) and answer.code == code


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"error_response": FREQUENT}, (Throttled, "", 2.0)),
        (200, {"error_response": QUOTA}, (Throttled, "", 14.5 * 3600 + 1)),
        (200, {"error_response": BUSY}, (Failed, "platform", None)),
        (400, {"error_response": BUSY}, (Failed, "platform", None)),
        (200, {"error_response": {"code": 29, "msg": "Invalid app Key"}}, (Failed, "app_key", None)),
        (200, {"error_response": {"code": 15, "sub_code": "isv.invalid-parameter"}}, (Failed, "business", None)),
        (400, {"error": "temporarily_unavailable"}, (Failed, "temporarily_unavailable", None)),
        (400, {"error": "server_error"}, (Failed, "server_error", None)),
        (400, {"error": "invalid_request"}, (Failed, "invalid_request", None)),
        (400, {"error": "13800000000"}, (Failed, "refused", None)),
        (404, {}, (Failed, "http", None)),
        (200, {}, (Failed, "unreadable", None)),
        (200, {"error_response": 7}, (Failed, "unreadable", None)),
    ],
)
async def test_what_is_no_word_on_the_authorisation_leaves_the_shop_at_work(
    shop: Shop, http: Http, status: int, body: dict[str, Any], expected: tuple[type, str, float | None]
) -> None:
    """Where the authorisation has ended all the same, what is asked with it says so."""
    shop.fake.answer_renewals((status, body))
    authoriser = TaobaoAuthoriser(shop.setup(), shop.access(http))
    answer: Any = await authoriser.refresh(Token("t0", "r0"), deadline_s=5)
    kind, code, wait_s = expected
    assert type(answer) is kind and "13800000000" not in answer.message
    assert getattr(answer, "code", "") == code
    assert getattr(answer, "retry_after_s", None) == wait_s
    assert isinstance(await authoriser.refresh(Token("t0", "r0"), deadline_s=5), Token)
