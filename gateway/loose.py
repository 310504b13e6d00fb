"""What a task raises that nobody waits for, as one that an adapter has left behind.

By itself asyncio writes down the error's words, which may hold buyer data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.core.fault import raised
from gateway.core.happening import Observer, Trouble


def tells_loose(observe: Observer) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """An exception handler for a loop: says the type and the line, and leaves everything else to asyncio's own."""

    def told(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException) and "future" in context:
            observe([Trouble("task", f"a task that nobody waits for failed: {raised(error)}")])
        else:
            loop.default_exception_handler(context)

    return told
