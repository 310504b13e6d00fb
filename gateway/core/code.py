"""Codes: words from closed sets that are grouped by, counted and shown, so nothing of a buyer may stand in them."""

from __future__ import annotations

import re

OTHER = "other"

_CODE = re.compile(r"[A-Za-z0-9._:-]{1,64}")
# Eight digits in a row are an order, a phone or a card number, and stand in no code that we know.
_LONG_NUMBER = re.compile(r"[0-9]{8}")


def code_of(text: str) -> str:
    """The code that a text begins with, or `other`: a platform's own words may quote anything."""
    match = _CODE.match(text)
    return match[0].rstrip(":") or OTHER if match is not None and not _LONG_NUMBER.search(match[0]) else OTHER
