"""Clean: what can be put right in one event without knowing anything else. Masked data passes untouched (F24)."""

from __future__ import annotations

import msgspec

from gateway.core.order import Facts, Receiver

_REPLACED = str.maketrans({"\u3000": " ", "\u00a0": " ", "\ufeff": "", "\u200b": ""})


def clean(facts: Facts) -> Facts:
    """`facts` with stray white space taken out of the receiver, and the country code out of the phone number.

    The same object where nothing had to change.
    """
    if facts.content is None:
        return facts
    receiver = facts.content.receiver
    tidy = _tidy(receiver)
    if tidy == receiver:
        return facts
    return msgspec.structs.replace(facts, content=msgspec.structs.replace(facts.content, receiver=tidy))


def _tidy(receiver: Receiver) -> Receiver:
    phone = "".join(receiver.phone.split())
    for prefix in ("+86", "0086"):
        phone = phone.removeprefix(prefix)
    return Receiver(
        name=_strip(receiver.name),
        phone=phone,
        province=_strip(receiver.province),
        city=_strip(receiver.city),
        district=_strip(receiver.district),
        town=_strip(receiver.town),
        detail=_strip(receiver.detail),
        postcode=receiver.postcode.strip(),
        token=receiver.token,
    )


def _strip(text: str) -> str:
    return text.strip() if text.isascii() else text.translate(_REPLACED).strip()
