"""Property: what becomes of an order depends on which documents of its shop there are, not on when they are read.

The documents go through the real mappings: those of the webhook with versions that tie, readings of Taobao and of
Pinduoduo of few seconds, after-sale cases with their order and without it. What the shop's SKUs stand for changes
between them. Nothing is sent, so that nothing but the documents can matter.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.pinduoduo import mapping as pinduoduo
from adapters.pinduoduo.settings import Refunds
from adapters.taobao import mapping as taobao
from adapters.webhook import mapping as webhook
from gateway.core.order import Facts, OrderNumber, Part, Recipe, Sku
from tests.adapters.pinduoduo.test_mapping import INFO
from tests.adapters.pinduoduo.test_mapping import SETTINGS as PINDUODUO
from tests.adapters.taobao.test_mapping import SAMPLE
from tests.adapters.taobao.test_mapping import SETTINGS as TAOBAO
from tests.pipeline.sample import Books, facts_of, rules

NUMBER = OrderNumber("A1")
NEVER_SENT = rules(mapped=True, mandatory=("seller_note",))
"""No document has a note of the seller."""

_seconds = st.integers(1, 3).map(lambda second: f"2026-05-01 09:30:0{second}")
_lines = st.dictionaries(st.sampled_from(["X", "Y"]), st.integers(1, 3), min_size=1)


def _webhook(draw: st.DrawFn) -> Facts:
    document: dict[str, Any] = {
        "order_no": "1",
        "updated_at": "2026-05-01T01:30:00Z",
        "version": draw(st.integers(1, 3)),
    }
    if draw(st.booleans()):
        document["status"] = draw(st.sampled_from(webhook.Status))
    if document.get("status") == webhook.Status.PAID or draw(st.booleans()):
        document["payment"] = {"paid": draw(st.booleans()), "amount": "20"}
    if draw(st.booleans()):
        lines = [
            {"line_no": str(n), "sku": sku, "quantity": pieces, "price": "1"}
            for n, (sku, pieces) in enumerate(draw(_lines).items())
        ]
        document |= {"lines": lines, "placed_at": "2026-05-01T01:00:00Z", "receiver": {"name": "王*"}}
    if draw(st.booleans()):
        document["hold"] = {"held": draw(st.booleans())}
    if draw(st.integers(0, 3)) == 0:
        document["cancelled"] = {"reason": draw(st.sampled_from(["", "too late"]))}
    if draw(st.booleans()):
        status = draw(st.sampled_from(["open", "done", "rejected"]))
        document["refunds"] = [{"refund_id": "R1", "status": status, "amount": draw(st.sampled_from(["5", "20"]))}]
    return webhook.decode(msgspec.json.encode(document), max_total_minor=10**9)


def _taobao(draw: st.DrawFn) -> Facts:
    statuses = st.sampled_from(sorted(taobao.STATUSES))
    lines = [
        {
            "oid": n, "outer_sku_id": sku, "num": pieces, "price": "1.00", "status": draw(statuses),
            "refund_status": draw(st.sampled_from(sorted(taobao.REFUNDS))), "refund_id": draw(st.sampled_from([0, 7])),
            "consign_time": draw(st.sampled_from(["", "2026-05-01 09:30:00"])),
        }
        for n, (sku, pieces) in enumerate(draw(_lines).items(), 1)
    ]  # fmt: skip
    changes = {
        "modified": draw(_seconds), "status": draw(statuses), "payment": "0.00", "seller_memo": "",
        "orders": {"order": lines}, "step_trade_status": draw(st.sampled_from([None, *taobao.STEPS])),
    }  # fmt: skip
    return taobao.decode(msgspec.json.encode({**SAMPLE, **changes}), TAOBAO)


def _pinduoduo(draw: st.DrawFn) -> Facts:
    by = msgspec.structs.replace(PINDUODUO, refunds=draw(st.sampled_from(Refunds)))
    items = [{**INFO["item_list"][0], "outer_id": sku, "goods_count": n} for sku, n in draw(_lines).items()]
    goods = round(39.9 * sum(item["goods_count"] for item in items), 2)
    order = {
        **INFO, "updated_at": draw(_seconds), "order_status": draw(st.sampled_from([1, 2, 3])),
        "confirm_status": draw(st.sampled_from([0, 1, 2])), "group_status": draw(st.sampled_from([0, 1, 2])),
        "refund_status": draw(st.sampled_from([1, 2, 3, 4])), "risk_control_status": draw(st.sampled_from([0, 1])),
        "item_list": items, "goods_amount": goods, "discount_amount": 0, "pay_amount": goods,
    }  # fmt: skip
    told = msgspec.json.encode(order)
    if draw(st.booleans()):
        return pinduoduo.decode(told, by)
    case = {
        "id": draw(st.sampled_from([71, 72])), "order_sn": INFO["order_sn"], "updated_time": draw(_seconds),
        "after_sales_status": draw(st.sampled_from(sorted(pinduoduo.CASES))),
        "refund_amount": draw(st.sampled_from([1, goods])),
    }  # fmt: skip
    alone = draw(st.booleans())
    return pinduoduo.decode_case(pinduoduo.case_body(msgspec.json.encode(case), None if alone else told), by)


_tables = st.fixed_dictionaries(
    {},
    optional={
        sku: st.lists(st.builds(Part, st.sampled_from([Sku("P"), Sku("Q")]), st.integers(1, 2)), min_size=1, max_size=2,
                      unique_by=lambda part: part.sku).map(tuple)
        for sku in ("X", "Y")
    },
)  # fmt: skip


@st.composite
def _readings(draw: st.DrawFn) -> tuple[list[Facts], list[list[Facts]], list[dict[str, tuple[Part, ...]]]]:
    """Documents of one shop, the same ones shuffled, repeated and cut into batches, and a table for each batch."""
    read: Callable[[st.DrawFn], Facts] = draw(st.sampled_from([_webhook, _taobao, _pinduoduo]))
    distinct = [read(draw) for _ in range(draw(st.integers(1, 6)))]
    arriving = draw(st.permutations(distinct + draw(st.lists(st.sampled_from(distinct), max_size=4))))
    cuts = sorted(draw(st.sets(st.integers(1, len(arriving)), max_size=3)) | {0, len(arriving)})
    batches = [list(arriving[start:end]) for start, end in itertools.pairwise(cuts)]
    return distinct, batches, [draw(_tables) for _ in batches]


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_readings())
def test_any_sequence_of_readings_ends_in_the_same_order(
    readings: tuple[list[Facts], list[list[Facts]], list[dict[str, tuple[Part, ...]]]],
) -> None:
    distinct, batches, tables = readings
    expected, books = (Books(NEVER_SENT, {"P": 1000, "Q": 1000}) for _ in range(2))
    _import(expected, tables[-1])
    for facts in distinct:
        expected.take([(NUMBER, facts)])
    for batch, table in zip(batches, tables, strict=True):
        _import(books, table)
        books.reconsider(*books.orders)
        books.take([(NUMBER, facts) for facts in batch])
        books.check_ledger()
    order, same = books.orders[NUMBER], expected.orders[NUMBER]
    assert (facts_of(order), order.left) == (facts_of(same), same.left)
    assert (order.stage, order.reasons, order.commands, order.conflicts) == (same.stage, same.reasons, (), ())
    if not any(facts.left or (facts.closing and facts.closing.after_shipping) for facts in distinct):
        # What was kept for an order that has left by hand depends on what was known before, and so it stays.
        assert (order.recipes, order.booked) == (same.recipes, same.booked)
        assert books.sums() == expected.sums()


def _import(books: Books, table: dict[str, tuple[Part, ...]]) -> None:
    books.map(*(Recipe(Sku(sku), parts) for sku, parts in table.items()))
