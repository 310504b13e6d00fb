"""Who is let in, and for how long a token that was replaced still is."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.api.auth import ACTOR_HEADER, Auth
from gateway.api.errors import ApiError
from gateway.store.sql import open_pool
from gateway.store.token import first_token, replace_token


async def test_a_token_that_was_replaced_is_good_for_seconds_and_no_longer(migrated_url: str) -> None:
    pool = await open_pool(migrated_url, size=1)
    at_s = 100.0
    auth = Auth(pool, clock=lambda: at_s)
    old = await first_token(pool)

    async def asked_with(token: str | None, **more: str) -> str:
        headers = {"Authorization": f"Bearer {token}", **more}
        return await auth.actor(make_mocked_request("GET", "/api/v1/orders", headers=headers))

    assert await asked_with(old) == "admin"
    new = await replace_token(pool)
    assert await asked_with(new, **{ACTOR_HEADER: "li"}) == "admin/li"
    at_s += 4.9
    assert await asked_with(old) == "admin"
    at_s += 0.2
    for _ in range(2):
        with pytest.raises(ApiError) as refused:
            await asked_with(old)
        assert (refused.value.status, refused.value.problem.error) == (401, "bad_token")
    assert await asked_with(new) == "admin"
    await pool.close()


@pytest.mark.parametrize("said", ["", "Bearer", "Bearer ", "Basic {}", "{}"])
async def test_what_is_no_bearer_token_lets_nobody_in(migrated_url: str, said: str) -> None:
    pool = await open_pool(migrated_url, size=1)
    token = await first_token(pool)
    headers = {"Authorization": said.format(token)} if said else {}
    with pytest.raises(ApiError) as refused:
        await Auth(pool, clock=lambda: 0.0).actor(make_mocked_request("GET", "/", headers=headers))
    assert (refused.value.status, refused.value.problem.error) == (401, "no_token")
    await pool.close()
