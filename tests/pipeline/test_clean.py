"""Clean: the quick look at a receiver agrees with the long one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.order import Receiver
from gateway.pipeline.clean import _STRAY, _is_plain, _tidy

PARTS = st.text(st.sampled_from("张三 aB1+860\u3000\u00a0\ufeff\u200b\t\n-"), max_size=12)


@given(st.builds(Receiver, PARTS, PARTS, PARTS, PARTS, PARTS, PARTS, PARTS, PARTS, PARTS))
def test_a_plain_receiver_needs_no_tidying(receiver: Receiver) -> None:
    assert not _is_plain(receiver) or _tidy(receiver) == receiver


def test_every_stray_character_is_looked_at() -> None:
    assert not any(_is_plain(Receiver(name=f"张{stray}三")) for stray in _STRAY)
    assert _is_plain(Receiver("张三", "13800000000", "浙江省", "杭州市", "余杭区", "", "文一西路1号", "310000", "a b"))
