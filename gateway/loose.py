"""What is raised where nobody waits for it: by a task that an adapter has left behind, or by a callback of its making.

By itself asyncio writes down the error's words and the callback's arguments, which may hold buyer data.
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
        what = next((what for key, what in _LOOSE.items() if key in context), "")
        if isinstance(error, BaseException) and what:
            observe([Trouble("task", f"{what} that nobody waits for failed: {raised(error)}")])
        else:
            loop.default_exception_handler(context)

    return told


_LOOSE = {"future": "a task", "handle": "a callback", "asyncgen": "a generator"}
"""By what asyncio and uvloop name in the context of an error."""
