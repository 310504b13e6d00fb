"""What an adapter raised that it should not, told so that its author finds the line and no buyer is quoted."""

from __future__ import annotations

from types import TracebackType

_OURS = frozenset(("gateway", "asyncio", "uvloop"))


def raised(error: BaseException) -> str:
    """``KeyError at target.py:31``: the type, and the last line of the package that the gateway called.

    An error's own words may hold buyer data. Only the type where nothing but the lines of the gateway, or of its
    event loop, were passed.
    """
    called, place = "", ""
    step: TracebackType | None = error.__traceback__
    while step is not None:
        package = str(step.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in _OURS and package == (called := called or package):
            place = f" at {step.tb_frame.f_code.co_filename.rpartition('/')[2]}:{step.tb_lineno}"
        step = step.tb_next
    return f"{type(error).__name__}{place}"
