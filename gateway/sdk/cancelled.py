"""How a call of an adapter ends early, and whose doing it is: of who wants the caller to end, or the adapter's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

WAY_OUT_S = 0.5
"""So long a call may take to end once it is cut off, before it is cut off again or left behind."""


def is_ours() -> bool:
    """Whether somebody has asked for the current task to be cancelled.

    If not, it is the adapter's own doing, as that of a task which it shares. Raised, it would end our task unnoticed.
    """
    me = asyncio.current_task()
    return me is None or me.cancelling() > 0


def is_a_stop(error: BaseException) -> bool:
    """Whether it is raised to end the caller, and has to pass. Anything else is an adapter's fault, and contained.

    That is more than `Exception`: `sys.exit` of somebody's library, and PyO3's PanicException where Rust code panics.
    And a cancel that nobody has asked for, as of a task whose `result()` is asked for once it was cut off.
    """
    if isinstance(error, asyncio.CancelledError):
        return is_ours()
    return isinstance(error, KeyboardInterrupt | GeneratorExit)


def insist(tasks: Sequence[asyncio.Task[Any]], *, every_s: float) -> None:
    """From now on cancel again, every `every_s`, whichever of `tasks`, cancelled already, has not ended.

    A connection that breaks off just then has asyncpg raise its own error in place of the cancel, and a loop that goes
    on after such errors goes on for ever: a worker of which one part has failed would be there, and do nothing. And
    an adapter that is cut off may hang on its way out.
    """

    def again() -> None:
        left = [task for task in tasks if not task.done()]
        for task in left:
            task.cancel()
        if left:
            insist(left, every_s=every_s)

    asyncio.get_running_loop().call_later(every_s, again)


async def within(for_s: float, call: Awaitable[T]) -> T:
    """What `call` of an adapter gives or raises. Raises TimeoutError after `for_s`, 2 * `WAY_OUT_S` later at most.

    It has a task of its own. One whose way out hangs (a connection that does not close) is cut off again, and one that
    swallows that as well is left behind, whatever it still does: otherwise the loop that called it would stand still
    until a restart. Cancelled, it sees the call out in the same way.
    """
    task = asyncio.create_task(_heard(call), name="adapter")
    try:
        await asyncio.wait((task,), timeout=for_s)
        in_time = task.done()
    finally:
        for _ in range(2):
            if not task.done():
                task.cancel()
                await asyncio.wait((task,), timeout=WAY_OUT_S)
    if not in_time and (not task.done() or task.cancelled()):
        raise TimeoutError
    answer = task.result()
    if isinstance(answer, _Raised):
        raise answer.error
    return answer


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


async def _heard(call: Awaitable[T]) -> T | _Raised:
    """What `call` raises is an outcome: a SystemExit that leaves a task ends the whole loop."""
    try:
        return await call
    except BaseException as error:
        if is_a_stop(error):
            raise
        return _Raised(error)
