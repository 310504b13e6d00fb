"""Standard Webhooks signatures, in and out.

Source: github standard-webhooks/standard-webhooks, spec/standard-webhooks.md. The signature covers
``{webhook-id}.{webhook-timestamp}.{raw body}`` with HMAC-SHA256 under the base64-decoded secret (after the prefix
``whsec_``); the header is a space-separated list of ``v1,<base64>``, of which one has to match.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime

from gateway.core.errors import BadSetting, BadSignature
from gateway.core.text import Text

TOLERANCE_S = 300
PREFIX = "whsec_"


def decode_secret(secret: str) -> bytes:
    """Key bytes of ``whsec_<base64>``; 24 to 64 bytes. Raises BadSetting with the reason, never the secret."""
    if not secret.startswith(PREFIX):
        raise BadSetting(
            f"webhook 密钥以 {PREFIX} 开头；用 `ordergate webhook secret` 生成",
            f"a webhook secret starts with {PREFIX}; `ordergate webhook secret` makes one",
        )
    try:
        key = base64.b64decode(secret[len(PREFIX) :], validate=True)
    except ValueError as error:  # binascii.Error, or characters beyond ASCII
        raise BadSetting(f"{PREFIX} 之后不是 base64", f"what follows {PREFIX} is not base64") from error
    if not 24 <= len(key) <= 64:
        raise BadSetting(
            f"webhook 密钥应为 24 到 64 字节，现为 {len(key)} 字节",
            f"a webhook secret has 24 to 64 bytes, this one has {len(key)}",
        )
    return key


def sign(key: bytes, *, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header value for one key."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


class Signer:
    """Signs many messages under one key: `sign`, with the key's part of the work done once."""

    def __init__(self, key: bytes) -> None:
        # HMAC as RFC 2104 section 2 writes it, for keys up to a block. The library's object copies OpenSSL's state, at
        # 0.9 µs more a signature.
        block = key.ljust(64, b"\0")
        if len(block) > 64:
            raise ValueError("a key has at most 64 bytes")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def sign(self, *, message_id: str, timestamp: int, body: bytes) -> str:
        """The `webhook-signature` header value."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(f"{message_id}.{timestamp}.".encode() + body)
        outer.update(inner.digest())
        return "v1," + binascii.b2a_base64(outer.digest(), newline=False).decode()


NO_MATCH = Text("没有一个签名相符", "no signature matches")


def verify(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, *, now: datetime) -> str:
    """The verified `webhook-id`. Header names are lower case; several keys are for rotation.

    Raises BadSignature when a header is missing or not ASCII, the timestamp is further than ±300 s from `now`, or no
    `v1` entry matches under any key. Comparison is constant-time.
    """
    message_id = headers.get("webhook-id", "")
    stamp = headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "")
    if not (message_id and stamp and given):
        raise BadSignature(
            Text(
                "缺少 webhook-id、webhook-timestamp 或 webhook-signature",
                "webhook-id, webhook-timestamp and webhook-signature are all required",
            )
        )
    if not (message_id.isascii() and given.isascii()):
        raise BadSignature(
            Text("webhook-id 和 webhook-signature 只能是 ASCII", "webhook-id and webhook-signature are ASCII")
        )
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise BadSignature(Text("webhook-timestamp 不是秒数", "webhook-timestamp is not a count of seconds"))
    skew_s = int(stamp) - now.timestamp()
    if abs(skew_s) > TOLERANCE_S:
        raise BadSignature(
            Text(
                f"webhook-timestamp 偏差 {skew_s:+.0f} 秒，允许 {TOLERANCE_S} 秒",
                f"webhook-timestamp is {skew_s:+.0f} s off, the tolerance is {TOLERANCE_S} s",
            )
        )
    candidates = [part.encode() for part in given.split(" ") if part.startswith("v1,")]
    for key in keys:
        wanted = sign(key, message_id=message_id, timestamp=int(stamp), body=body).encode()
        # No early exit over candidates: the time taken says nothing about which one matched.
        if any([hmac.compare_digest(wanted, candidate) for candidate in candidates]):
            return message_id
    raise BadSignature(NO_MATCH)
