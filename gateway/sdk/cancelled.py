"""Whose doing it is that a call of an adapter ends early: of who wants the caller to end, or the adapter's own."""

from __future__ import annotations

import asyncio


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
