"""Signing many messages under one key comes to the same as signing each by the library's HMAC."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import BadSetting
from gateway.sdk.signing import Signer, decode_secret, sign


@given(st.binary(min_size=24, max_size=64), st.text(max_size=40), st.integers(0, 2**40), st.binary(max_size=3000))
def test_a_signer_signs_like_the_library(key: bytes, message_id: str, timestamp: int, body: bytes) -> None:
    message_id = message_id.encode("ascii", "ignore").decode()
    signer = Signer(key)
    wanted = sign(key, message_id=message_id, timestamp=timestamp, body=body)
    assert signer.sign(message_id=message_id, timestamp=timestamp, body=body) == wanted
    # Signing leaves the signer as it was.
    assert signer.sign(message_id=message_id, timestamp=timestamp, body=body) == wanted


def test_the_published_vector() -> None:
    """standard-webhooks/standard-webhooks, libraries/go/webhook_test.go."""
    signer = Signer(decode_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    signature = signer.sign(
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330, body=b'{"test": 2432232314}'
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_key_longer_than_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 64 bytes"):
        Signer(b"x" * 65)


@pytest.mark.parametrize("secret", ["secret", "whsec_“x”", "whsec_b3JkZ：XJn", "whsec_a", "whsec_YQ=="])
def test_a_secret_of_another_form_is_a_bad_setting(secret: str) -> None:
    with pytest.raises(BadSetting) as told:
        decode_secret(secret)
    assert secret not in str(told.value) or secret == "secret"
