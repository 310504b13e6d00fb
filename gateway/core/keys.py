"""Keys that buyer data is sealed with at rest, as they are configured."""

from __future__ import annotations

import base64

from gateway.core.errors import BadSetting

KEY_BYTES = 32


def decode_key(text: str) -> bytes:
    """The 32 bytes of a key in base64. Raises BadSetting, which does not quote the key."""
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise BadSetting(f"不是 base64 写的 {KEY_BYTES} 字节", f"is not {KEY_BYTES} bytes in base64")
    return key
