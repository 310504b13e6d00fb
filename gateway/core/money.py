"""Money as integer minor units (fen), and the decimal text platforms write.

Floats never touch an amount: ``"90.00"`` ⇄ ``9000``. Nothing is remembered of it: to find a price among thousands of
others in memory takes longer than to read it (docs/decisions/0007).
"""

from __future__ import annotations

import re

from gateway.core.errors import BadInput
from gateway.core.text import Text

_ZERO = ("0.00", "0")
_DECIMAL = re.compile(r"(-?)([0-9]{1,15})(?:\.([0-9]{1,2}))?")


def parse_minor(text: str, *, where: str = "$") -> int:
    """Minor units of a decimal text with at most two decimals: ``parse_minor("12.3") == 1230``.

    White space around it is passed over. Raises BadInput (`amount`) for anything else: exponents, thousands separators
    and the digits of other scripts included.
    """
    if text in _ZERO:
        return 0
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


def format_minor(minor: int) -> str:
    """Decimal text with two decimals: ``format_minor(1230) == "12.30"``, ``format_minor(-5) == "-0.05"``."""
    if minor >= 0:
        return f"{minor // 100}.{_TWO_DIGITS[minor % 100]}"
    return f"-{format_minor(-minor)}"


_TWO_DIGITS = [f"{number:02d}" for number in range(100)]
