"""Orders whose details fail: which of them are to blame themselves, and which suffer from their platform.

A platform that is down as a whole must not turn its orders into dead letters, and one order that it always fails at
must not keep all others waiting. Asking and listing are the adapter's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable

from gateway.sdk.pull import Window


class Failures:
    """How often the details of a shop's orders have failed, each in a row.

    `list_numbers` gives the numbers of some orders that changed in a window, None where the platform does not answer.
    `comes` asks for the detail of an order, and says whether it came. Both take their turns of the budget.
    """

    def __init__(
        self,
        *,
        tries: int,
        list_numbers: Callable[[Window, float], Awaitable[Collection[str] | None]],
        comes: Callable[[str, float], Awaitable[bool]],
    ) -> None:
        self._tries = tries
        self._list_numbers = list_numbers
        self._comes = comes
        self._counts: dict[str, int] = {}

    def count(self, number: str) -> None:
        """The detail of `number` has failed."""
        self._counts[number] = self._counts.get(number, 0) + 1

    def forget(self, number: str) -> None:
        """It has come."""
        self._counts.pop(number, None)

    async def is_alone(self, number: str, spans: Iterable[Window], *, deadline_s: float) -> bool:
        """Whether `number` has failed `tries` times at least, and the detail of another order comes now.

        A page that waits for one order asks for no other, so one is asked for here: the first of `spans` that has
        another says which. `deadline_s` is for each request.
        """
        if self._counts.get(number, 0) < self._tries:
            return False
        for span in spans:
            listed = await self._list_numbers(span, deadline_s)
            if listed is None:
                return False
            if others := sorted(set(listed) - {number}):
                # The one that has failed least: another may be as hopeless as this.
                return await self._comes(min(others, key=lambda other: self._counts.get(other, 0)), deadline_s)
        return False
