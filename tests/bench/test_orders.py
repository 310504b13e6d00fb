"""The benchmark measures orders that the product takes as they are."""

from __future__ import annotations

from adapters.webhook import mapping
from bench import orders


def test_an_order_is_about_1200_bytes_and_the_adapter_reads_it() -> None:
    made, known = list(orders.bodies(0, 500)), set(orders.skus())
    for index, body, pieces in made:
        facts = mapping.decode(body, max_total_minor=100_000_000)
        assert facts.content is not None and facts.payment is not None and facts.payment.paid
        assert facts.order_no == f"{index:010d}"
        assert 1 <= len(facts.content.lines) <= 4
        assert sum(line.quantity for line in facts.content.lines) == pieces
        assert {line.sku for line in facts.content.lines} <= known
    assert 1100 <= sum(len(body) for _, body, _ in made) / len(made) <= 1300


def test_the_same_index_is_the_same_bytes_wherever_a_run_starts() -> None:
    assert list(orders.bodies(0, 20))[10:] == list(orders.bodies(10, 10))


def test_a_record_is_the_documented_cloud_event() -> None:
    (message,) = orders.messages(7, 1)
    assert message.key == b"shop/0000000007"
    assert dict(message.headers)["ce_type"] == b"ordergate.order.v1"
    assert set(dict(message.headers)) == {"ce_id", "ce_source", "ce_type", "ce_time"}
