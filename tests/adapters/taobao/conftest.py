from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.sdk.http import Http
from tests.adapters.taobao.support import Shop


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    async with shop.fake:
        yield shop


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with Http(connections=8) as client:
        yield client
