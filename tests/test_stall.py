"""A loop that stands still is told of with the line it stands in, once; one that runs is not."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from gateway.core.happening import Happening, Trouble
from gateway.stall import LOOKS, LoopWatch, place_of

EVERY_S = 0.02


class Told:
    def __init__(self) -> None:
        self.happened: list[Happening] = []
        self.came = threading.Event()

    def __call__(self, happenings: Sequence[Happening]) -> None:
        self.happened += happenings
        self.came.set()


async def _live(told: Told, block: Callable[[], object]) -> None:
    """A loop that beats, is blocked, and beats again."""
    loop = asyncio.get_running_loop()
    with LoopWatch(told, look_every_s=EVERY_S) as watch:

        def beat() -> None:
            watch.beat()
            loop.call_later(EVERY_S / 4, beat)

        beat()
        await asyncio.sleep(EVERY_S * LOOKS * 2)
        block()
        await asyncio.sleep(EVERY_S * LOOKS * 2)


def test_where_the_loop_stands_is_told_once() -> None:
    told = Told()

    def blocks() -> None:
        assert told.came.wait(10)
        time.sleep(EVERY_S * LOOKS * 3)

    asyncio.run(_live(told, blocks))
    [one] = told.happened
    assert isinstance(one, Trouble) and one.where == "stalled"
    assert one.what.startswith("the loop has stood still for 0.1 s, in ")
    assert "/threading.py:" in one.what, "how deep in there it is"


def test_a_loop_that_runs_is_not_told_of() -> None:
    told = Told()
    asyncio.run(_live(told, lambda: None))
    assert told.happened == []


def test_the_place_is_where_the_gateway_called_what_and_how_deep(tmp_path: Path) -> None:
    def module(name: str, code: str) -> ModuleType:
        file = tmp_path / f"{name.replace('.', '/')}.py"
        file.parent.mkdir(exist_ok=True)
        made = ModuleType(name)
        exec(compile(code, str(file), "exec"), made.__dict__)
        return made

    look = "import sys\n\n\ndef get(place_of):\n    return place_of(sys._getframe())\n"
    library, ours = module("requests.api", look), module("gateway.gate", look)
    adapter = module(
        "mywms.target",
        "def send(get, *args):\n    return _inner(get, *args)\n\n\ndef _inner(get, *args):\n    return get(*args)\n",
    )
    gate = module("gateway.dispatch", "def run(send, *given):\n    return send(*given)\n")
    assert (
        gate.run(adapter.send, library.get, place_of) == "gateway/dispatch.py:2 > mywms/target.py:2 > requests/api.py:5"
    )
    assert ours.get(place_of) == "gateway/gate.py:5"
    assert place_of(None) == "nobody's code"
