"""How long to wait before a shop is asked again after a failure."""

from __future__ import annotations

import random

_FIRST_S = 1.0
_MOST_S = 300.0


def backoff_s(failures: int, rng: random.Random) -> float:
    """1, 2, 4 … at most 300 s, each cut by up to half at random so that shops do not come back together."""
    whole: float = min(_MOST_S, _FIRST_S * 2 ** min(failures - 1, 20))
    return whole * rng.uniform(0.5, 1.0)
