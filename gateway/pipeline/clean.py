"""Clean: what can be put right in one event without knowing anything else. Masked data passes untouched."""

from __future__ import annotations

import msgspec

from gateway.core.order import Facts, Receiver

_ZERO_WIDTH = "\ufeff\u200b"
_STRAY = " \t\r\n\u3000\u00a0" + _ZERO_WIDTH
"""White space that copying from a page leaves behind, full-width and zero-width included."""


def clean(facts: Facts) -> Facts:
    """`facts` with stray white space taken out of the receiver, and the country code out of the phone number.

    The same object where nothing had to change.
    """
    if facts.content is None:
        return facts
    receiver = facts.content.receiver
    if _is_plain(receiver):
        return facts
    tidy = _tidy(receiver)
    if tidy == receiver:
        return facts
    return msgspec.structs.replace(facts, content=msgspec.structs.replace(facts.content, receiver=tidy))


def _is_plain(r: Receiver) -> bool:
    """Whether nothing in it can need tidying, told by one look at all of it: most receivers are like that."""
    together = f"{r.name}{r.phone}{r.province}{r.city}{r.district}{r.town}{r.detail}{r.postcode}"
    # White space other than " ", and what has no width, is not printable.
    return together.isprintable() and " " not in together and not r.phone.startswith(("+86", "0086"))


def _tidy(receiver: Receiver) -> Receiver:
    phone = "".join(receiver.phone.split())
    if not phone.isascii():
        # `split` does not take them for white space.
        phone = phone.translate(dict.fromkeys(map(ord, _ZERO_WIDTH)))
    for country in ("+86", "0086"):
        if phone.startswith(country):
            phone = phone.removeprefix(country).removeprefix("-")
    return Receiver(
        receiver.name.strip(_STRAY),
        phone,
        receiver.province.strip(_STRAY),
        receiver.city.strip(_STRAY),
        receiver.district.strip(_STRAY),
        receiver.town.strip(_STRAY),
        receiver.detail.strip(_STRAY),
        receiver.postcode.strip(_STRAY),
        receiver.token,
    )
