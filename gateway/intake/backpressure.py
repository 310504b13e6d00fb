"""Intake gives way to the sends that it gives birth to.

Both share one processor. Where the sends are what takes longer, intake runs away from them: thousands of decided orders
wait in memory until it has no place left, the rest goes the way through the outbox and is read and decoded once more,
and what is sent at last has long left the processor's caches (docs/decisions/0007).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_LOOK_EVERY_S = 0.002
_AT_MOST_S = 1.0


def nothing_waits() -> int:
    """For readers that hand on to nobody."""
    return 0


async def give_way(waiting: Callable[[], int], *, above: int, at_most_s: float) -> None:
    """Wait while more than `above` deliveries wait to be sent, `at_most_s` and never more than a second.

    A target that is slow itself gains nothing by it, so it may not stop intake: with `at_most_s` of what the batch
    before took, it halves its pace at the worst.
    """
    now_s = asyncio.get_running_loop().time
    ends_at = now_s() + min(at_most_s, _AT_MOST_S)
    # A look now and then costs less than being told of every send.
    while waiting() > above and now_s() < ends_at:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_EVERY_S)
