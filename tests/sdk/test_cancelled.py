"""A call of an adapter ends in time, whatever the adapter makes of its end."""

from __future__ import annotations

import asyncio

import pytest

from gateway.sdk.cancelled import WAY_OUT_S, within
from tests.travel import now_s, travelling

FOREVER_S = 1e9


class Adapter:
    """Hangs on its way out so many times."""

    def __init__(self, hangs: float) -> None:
        self.hangs = hangs
        self.cancels = 0

    async def call(self) -> str:
        while True:
            try:
                await asyncio.sleep(FOREVER_S)
            except asyncio.CancelledError:
                self.cancels += 1
                if self.cancels > self.hangs:
                    raise


@pytest.mark.parametrize(("hangs", "took_s"), [(0, 5.0), (1, 5.0 + WAY_OUT_S), (9, 5.0 + 2 * WAY_OUT_S)])
@travelling
async def test_who_calls_goes_on_though_the_way_out_hangs(hangs: int, took_s: float) -> None:
    adapter = Adapter(hangs)
    with pytest.raises(TimeoutError):
        await within(5.0, adapter.call())
    assert now_s() == took_s and adapter.cancels == min(hangs + 1, 2)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)


@pytest.mark.parametrize(("hangs", "took_s"), [(0, 1.0), (1, 1.0 + WAY_OUT_S)])
@travelling
async def test_a_stop_sees_the_call_out(hangs: int, took_s: float) -> None:
    adapter = Adapter(hangs)
    calling = asyncio.create_task(within(5.0, adapter.call()))
    await asyncio.sleep(1.0)
    calling.cancel()
    await asyncio.wait([calling])
    assert calling.cancelled() and now_s() == took_s
    assert len(asyncio.all_tasks()) == 1


async def _gives(what: object) -> object:
    if isinstance(what, BaseException):
        raise what
    return what


@travelling
async def test_what_a_call_gives_or_raises_is_passed_on() -> None:
    assert await within(5.0, _gives("done")) == "done"
    for error in (KeyError("mapping"), SystemExit(3), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            await within(5.0, _gives(error))
    current = asyncio.current_task()
    assert current is not None and not current.cancelling()


@travelling
async def test_an_answer_that_comes_on_the_way_out_counts() -> None:
    async def late() -> str:
        try:
            await asyncio.sleep(FOREVER_S)
        except asyncio.CancelledError:
            return "taken"
        raise AssertionError

    assert await within(5.0, late()) == "taken"
