from __future__ import annotations

import asyncio
import gc
import re

import pytest

from gateway.core.happening import Happening, Trouble
from gateway.loose import tells_loose


async def test_what_a_task_left_behind_raises_is_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    happened: list[Happening] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(tells_loose(happened.extend))

    async def fails() -> None:
        raise KeyError("张三 13800000000")

    left = asyncio.ensure_future(fails())
    await asyncio.wait([left])
    del left
    gc.collect()
    [told] = happened
    assert isinstance(told, Trouble) and told.where == "task"
    assert re.fullmatch(r"a task that nobody waits for failed: KeyError at test_loose\.py:\d+", told.what)
    assert caplog.records == []

    def calls(buyer: str) -> None:
        raise KeyError(buyer)

    loop.call_soon(calls, "张三 13800000000")
    await asyncio.sleep(0)
    assert isinstance(happened[1], Trouble)
    assert re.fullmatch(r"a callback that nobody waits for failed: KeyError at test_loose\.py:\d+", happened[1].what)
    assert caplog.records == []

    loop.call_exception_handler({"message": "something else"})
    assert [record.getMessage() for record in caplog.records] == ["something else"]
