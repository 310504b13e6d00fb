"""Whose doing a CancelledError is that arrives while an adapter works."""

from __future__ import annotations

import asyncio


def is_ours() -> bool:
    """Whether somebody has asked for the current task to be cancelled.

    If not, it is the adapter's own doing, as that of a task which it shares. Raised, it would end our task unnoticed.
    """
    me = asyncio.current_task()
    return me is None or me.cancelling() > 0
