"""Money as integer minor units (fen), and the decimal text platforms write.

Floats never touch an amount: ``"90.00"`` ⇄ ``9000``. Texts of amounts are remembered: a shop has few prices and writes
them nine times an order.
"""

from __future__ import annotations

import functools
import re

from gateway.core.errors import BadInput
from gateway.core.text import Text

_DECIMAL = re.compile(r"(-?)([0-9]{1,15})(?:\.([0-9]{1,2}))?")


@functools.lru_cache(maxsize=16_384)
def parse_minor(text: str, *, where: str = "$") -> int:
    """Minor units of a decimal text with at most two decimals: ``parse_minor("12.3") == 1230``.

    White space around it is passed over. Raises BadInput (`amount`) for anything else: exponents, thousands separators
    and the digits of other scripts included.
    """
    if text[-3:-2] == "." and len(text) <= 18:
        # The form nearly every platform writes; the general one below takes three times as long.
        digits = text[:-3] + text[-2:]
        if digits.isdigit() and digits.isascii() and len(digits) > 2:
            return int(digits)
    match = _DECIMAL.fullmatch(text.strip())
    if match is None:
        raise BadInput(
            "amount",
            Text("不是最多两位小数的金额", "is not an amount with at most two decimals"),
            where=where,
            advice=Text('写成 "12.30"', 'write it like "12.30"'),
        )
    sign, whole, decimals = match.groups()
    minor = int(whole) * 100 + int(((decimals or "") + "00")[:2])
    return -minor if sign else minor


@functools.lru_cache(maxsize=16_384)
def format_minor(minor: int) -> str:
    """Decimal text with two decimals: ``format_minor(1230) == "12.30"``, ``format_minor(-5) == "-0.05"``."""
    if minor >= 0:
        return f"{minor // 100}.{minor % 100:02d}"
    return f"-{-minor // 100}.{-minor % 100:02d}"
