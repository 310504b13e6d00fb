"""What the API hides of a receiver."""

from __future__ import annotations

import msgspec
import pytest

from gateway.api.masking import HIDDEN, masked, state_of, unquoted
from gateway.core.order import (
    Closing,
    Hold,
    Order,
    OrderNumber,
    Progress,
    ProgressStep,
    Receiver,
    Refund,
    RefundStatus,
    Register,
)
from tests.core.sample import content


@pytest.mark.parametrize(
    ("receiver", "said", "shown"),
    [
        (Receiver(town="仓前街道", detail="仓前街道文一西路969号"), "送到仓前街道文一西路969号", "送到***"),
        (Receiver(name="王丽", detail="王丽花园3幢501室"), "王丽：王丽花园3幢501室", "王*：***"),
        (Receiver(postcode="310023"), "邮编 310023", "邮编 ***"),
    ],
)
def test_the_longest_part_of_a_receiver_is_hidden_first(receiver: Receiver, said: str, shown: str) -> None:
    assert unquoted(said, content(receiver=receiver)) == shown


def test_of_a_receiver_enough_is_shown_to_tell_that_it_is_the_right_one_and_no_more() -> None:
    receiver = Receiver(
        "张三丰", "13800001234", "浙江省", "杭州市", "余杭区", "仓前街道", "文一西路969号", "310023", "1oaid"
    )
    shown = Receiver("张**", "138****1234", "浙江省", "杭州市", "余杭区", HIDDEN, HIDDEN, HIDDEN, HIDDEN)
    assert masked(receiver) == shown
    assert masked(Receiver("李四", "0571-8888")) == Receiver("李*", HIDDEN), "nothing is made of what is not there"


def test_what_shop_buyer_and_warehouse_say_of_an_order_quotes_nobody() -> None:
    said = "王丽 139 1234 5678 说：放门口"
    ordered = msgspec.structs.replace(
        content(receiver=Receiver(name="王丽")), buyer_note="放门口", seller_note="她急用"
    )
    order = Order(
        number=OrderNumber("A1"),
        content=Register(1, 0, ordered),
        hold=Register(1, 0, Hold(True, said)),
        closing=Register(1, 0, Closing(True, said)),
        refunds={
            "R1": Register(1, 0, Refund("R1", RefundStatus.OPEN, 990, "我是王丽的邻居")),
            "R2": Register(1, 0, Refund("R2", RefundStatus.OPEN)),
        },
        progress=(Progress(ProgressStep.EXCEPTION, f"{said}，她急用"),),
    )
    shown, whole = state_of(order, unmask=False), state_of(order, unmask=True)
    quoted = f"王* [phone] 说：{HIDDEN}"
    assert (shown.hold.value.reason, shown.closing.value.reason) == (quoted, quoted)
    assert [refund.value.reason for refund in shown.refunds.values()] == [HIDDEN, ""]
    assert shown.refunds["R1"].value.amount_minor == 990
    assert [one.text for one in shown.progress] == [f"{quoted}，{HIDDEN}"]
    assert whole.hold.value.reason == said and whole.refunds["R1"].value.reason == "我是王丽的邻居"
    nothing_known = state_of(Order(number=OrderNumber("A2"), hold=order.hold), unmask=False)
    assert nothing_known.hold.value.reason == "王丽 [phone] 说：放门口"
