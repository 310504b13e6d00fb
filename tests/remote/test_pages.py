"""What the commands print of an answer, in the API's own shapes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from gateway.api.views import DeadLetterList, DeadLetterPage, LaneList, OrderList, OrderPage, StockList, state_of
from gateway.cli import main
from gateway.core.order import Order, OrderNumber, Register, Stage
from gateway.store.queries import (
    AttemptEnded,
    ContentEdited,
    DeadLetterRow,
    DeliveryPlanned,
    EventSeen,
    Happened,
    LaneRow,
    OrderRow,
    SetAside,
    StockMoved,
)
from gateway.store.stock import StockRow
from tests.core.sample import PLACED_AT, content
from tests.remote.answering import OK, answering

ORDER = OrderRow(
    order_id=1,
    number="A1",
    connection="shop",
    stage=Stage.RECEIVED,
    reasons=("unpaid", "channel_hold"),
    conflicts=(),
    created_at=PLACED_AT,
    updated_at=PLACED_AT,
)
LANE = LaneRow(
    number="A1",
    target="wms",
    seq=1,
    last_seq=1,
    operation="create",
    key="create",
    state="blocked",
    blocked="rejected",
    in_doubt=False,
    bursts=0,
    not_before=PLACED_AT,
    opened_at=PLACED_AT,
    worker=None,
    attempts=3,
    last_at=PLACED_AT,
    last_result="rejected",
    last_code="business",
    last_detail="SKU unknown",
)
LETTER = DeadLetterRow(
    dead_letter_id=7,
    source="shop",
    type="ordergate.order.v1",
    event_id="E1",
    order_key="1",
    number="A1",
    code="field",
    message="$.lines: is missing",
    advice="add it",
    leg="kafka",
    partition=0,
    position=1,
    body_bytes=2,
    happened_at=PLACED_AT,
    taken_at=PLACED_AT,
    created_at=PLACED_AT,
    closed_at=None,
    closed_by=None,
    resolution=None,
)
TIMELINE: list[Happened] = [
    EventSeen(at=PLACED_AT, n=1, event_id="E1", source="shop", type="order", happened_at=PLACED_AT, stage="received"),
    DeliveryPlanned(at=PLACED_AT, target="wms", seq=1, operation="create", key="create"),
    AttemptEnded(
        at=PLACED_AT,
        target="wms",
        seq=1,
        result="rejected",
        code="business",
        detail="SKU unknown",
        took_ms=12,
        worker=1,
    ),
    StockMoved(at=PLACED_AT, sku="X", warehouse="W1", on_hand=-2, locked=0, committed=-2),
    ContentEdited(at=PLACED_AT, target="wms", seq=1, author="wang"),
    SetAside(at=PLACED_AT, dead_letter_id=7, code="field", resolution="released"),
]
STOCK = StockRow(sku="茶", warehouse="W1", on_hand=9, locked=1, committed=2, available=6)


def printed(capsys: pytest.CaptureFixture[str], answer: Any, *command: str) -> str:
    """What the command prints when the gateway answers so."""
    body = msgspec.json.encode(answer)
    with answering(OK + b"%d\r\n\r\n%s" % (len(body), body)) as (url, _):
        with pytest.raises(SystemExit) as ended:
            main([*command, "--url", url, "--token", "og_token"])
    out = capsys.readouterr()
    assert not ended.value.code, out.err
    return out.out


LISTS = {
    ("orders", "list"): (lambda rest: OrderList(orders=[ORDER], next=rest), "A1 shop received unpaid channel_hold"),
    ("deliveries", "list"): (lambda rest: LaneList(deliveries=[LANE], next=rest), "A1 wms 1 create blocked rejected 3"),
    ("dead", "list"): (lambda rest: DeadLetterList(dead_letters=[LETTER], next=rest), "7 shop A1 field $.lines: is"),
    ("stock", "list"): (lambda rest: StockList(stock=[STOCK], next=rest), "茶 W1 9 1 2 6"),
}


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_a_list_says_whether_it_goes_on(command: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    answer, row = LISTS[command]
    whole = printed(capsys, answer(""), *command)
    cut_off = printed(capsys, answer("7"), *command)
    assert row in " ".join(whole.split()) and "还有更多" not in whole
    assert row in " ".join(cut_off.split()) and "还有更多" in cut_off
    assert "there are more" in printed(capsys, answer("7"), *command, "--lang", "en")


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_a_program_gets_the_answer_as_it_is(command: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    answer = LISTS[command][0]("7")
    assert json.loads(printed(capsys, answer, *command, "--json")) == json.loads(msgspec.json.encode(answer))


def test_an_order_is_shown_with_its_prices_and_all_that_happened(capsys: pytest.CaptureFixture[str]) -> None:
    order = Order(number=OrderNumber("A1"), content=Register(1, 0, content({"X": 2}, total_minor=2000)))
    page = OrderPage(
        number="A1",
        created_at=PLACED_AT,
        updated_at=PLACED_AT,
        masked=True,
        order=state_of(order, unmask=False),
        lanes=[LANE],
        timeline=TIMELINE,
    )
    out = " ".join(printed(capsys, page, "orders", "show", "A1").split())
    assert "1 X 2 10.00" in out
    assert "A1 wms 1 create blocked" in out
    for told in (
        "event #1 shop order → received",
        "delivery wms 1 create",
        "attempt wms 1 rejected business SKU unknown (12 ms)",
        "stock X W1 on_hand -2 locked +0 committed -2",
        "edit wms 1 wang",
        "dead_letter #7 field released",
    ):
        assert told in out


@pytest.mark.parametrize(
    ("page", "payload"),
    [
        (DeadLetterPage(dead_letter=LETTER), ""),
        (DeadLetterPage(dead_letter=LETTER, text='{"a": 1}', base64="eyJhIjogMX0="), '{"a": 1}'),
        (DeadLetterPage(dead_letter=LETTER, text=None, base64="/w=="), "/w=="),
        (DeadLetterPage(dead_letter=LETTER, text="", base64=""), ""),
    ],
    ids=["masked", "text", "bytes", "empty"],
)
def test_a_dead_letter_ends_with_its_payload_where_it_was_asked_for(
    page: DeadLetterPage, payload: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(capsys, page, "dead", "show", "7")
    assert "is missing" in out
    last = out.rstrip("\n").splitlines()[-1]
    assert last == payload if payload else "resolution" in out
