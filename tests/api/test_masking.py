"""What the API hides of a receiver."""

from __future__ import annotations

import pytest

from gateway.api.masking import unquoted
from gateway.core.order import Receiver


@pytest.mark.parametrize(
    ("receiver", "said", "shown"),
    [
        (Receiver(town="仓前街道", detail="仓前街道文一西路969号"), "送到仓前街道文一西路969号", "送到***"),
        (Receiver(name="王丽", detail="王丽花园3幢501室"), "王丽：王丽花园3幢501室", "王*：***"),
        (Receiver(postcode="310023"), "邮编 310023", "邮编 ***"),
    ],
)
def test_the_longest_part_of_a_receiver_is_hidden_first(receiver: Receiver, said: str, shown: str) -> None:
    assert unquoted(said, receiver) == shown
