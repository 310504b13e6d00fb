"""Tables: what follows from an order's facts. F-numbers are rows of the feature list."""

from __future__ import annotations

import itertools
from datetime import timedelta

import msgspec
import pytest

from gateway.core.event import ConnectionName
from gateway.core.order import (
    Booking,
    Closing,
    Facts,
    Mode,
    Order,
    OrderNumber,
    Origin,
    Passed,
    Payment,
    ProgressStep,
    Receiver,
    RefundStatus,
    Route,
    Sku,
    Stage,
)
from gateway.pipeline.clean import clean
from gateway.pipeline.decide import Step, fold, given_back
from gateway.pipeline.rules import Rules, UnknownSku
from tests.core.sample import (
    OTHER_WMS,
    PLACED_AT,
    SHOP,
    WMS,
    closed,
    content,
    held,
    paid,
    placed,
    refund,
    reported,
    said,
    shipped,
)
from tests.pipeline.sample import Books, commands, decide, elsewhere, rules

OPEN, DONE, REJECTED = RefundStatus.OPEN, RefundStatus.DONE, RefundStatus.REJECTED
PLACED, PAID = placed(1, X=2), paid(2)
FREE = said(1, content=content(total_minor=0))


# --- clean ------------------------------------------------------------------------------------------------------


def test_white_space_and_the_country_code_go_masked_data_stays() -> None:
    untidy = Receiver(
        " 王*\u3000", "+86 138****1234", "浙江省\u00a0", "杭州市", "", "", "\ufeff文一路1号 ", " 310000", "OAID=x "
    )
    cleaned = clean(said(content=content(receiver=untidy)))
    assert cleaned.content is not None
    assert cleaned.content.receiver == Receiver(
        "王*", "138****1234", "浙江省", "杭州市", "", "", "文一路1号", "310000", "OAID=x "
    )
    assert clean(PLACED) is PLACED
    assert clean(PAID) is PAID


@pytest.mark.parametrize(
    "phone",
    ["13800001111", " 138 0000 1111\n", "+86 13800001111", "008613800001111", "+86-13800001111", "\u200b13800001111",
     "\ufeff+86\u00a0138\u200b0000\u30001111"],
)  # fmt: skip
def test_a_phone_number_is_its_digits(phone: str) -> None:
    cleaned = clean(said(content=content(receiver=Receiver(phone=phone))))
    assert cleaned.content is not None
    assert cleaned.content.receiver.phone == "13800001111"


# --- review and stage -------------------------------------------------------------------------------------------

_STAGES = {
    "placed, not paid": ([PLACED], Stage.RECEIVED, ("unpaid",)),
    "content not known": ([said(1, payment=Payment(False))], Stage.RECEIVED, ("no_content",)),
    "paid, content not known": ([PAID], Stage.RECEIVED, ("paid_no_content",)),
    "held, content not known": ([PAID, held()], Stage.RECEIVED, ("no_content", "channel_hold")),
    "held for a person, content not known": (
        [PAID, held(for_person=True)],
        Stage.RECEIVED,
        ("paid_no_content", "held_for_person"),
    ),
    "refund open, content not known": ([PAID, refund(3, OPEN)], Stage.RECEIVED, ("no_content",)),
    "shipped in part, content not known": ([PAID, shipped(final=False, X=1)], Stage.PACKED, ("no_content",)),
    "paid": ([PLACED, PAID], Stage.ALLOCATED, ()),
    "held": ([PLACED, PAID, held()], Stage.RECEIVED, ("channel_hold",)),
    "held, for a person": ([PLACED, held(1, for_person=True), PAID], Stage.RECEIVED, ("held_for_person",)),
    "held for a person after it was sent": (
        [PLACED, PAID, held(for_person=True)],
        Stage.RECEIVED,
        ("held_for_person",),
    ),
    "held for a person, then by the channel": (
        [PLACED, held(1, for_person=True), PAID, held(4)],
        Stage.RECEIVED,
        ("channel_hold",),
    ),
    "let go": ([PLACED, PAID, held(3), held(4, yes=False)], Stage.ALLOCATED, ()),
    "refund asked": ([PLACED, PAID, refund(3, OPEN)], Stage.RECEIVED, ("refund_open",)),
    "refund refused": ([PLACED, PAID, refund(3, OPEN), refund(4, REJECTED)], Stage.ALLOCATED, ()),
    "refunded in part": ([PLACED, PAID, refund(3, DONE, 500)], Stage.ALLOCATED, ()),
    "refunded": ([PLACED, PAID, refund(3, DONE)], Stage.REFUNDED, ()),
    "refunded in part, amount paid not said": ([PLACED, paid(2, 0), refund(3, DONE, 500)], Stage.ALLOCATED, ()),
    "refunded, amount paid not said": ([PLACED, paid(2, 0), refund(3, DONE, 2000)], Stage.REFUNDED, ()),
    "refunded nothing of nothing": ([FREE, paid(2, 0), refund(3, DONE, 0)], Stage.ALLOCATED, ()),
    "refunded in two": ([PLACED, PAID, refund(3, DONE, 500), refund(4, DONE, 1500, "R2")], Stage.REFUNDED, ()),
    "cancelled": ([PLACED, PAID, closed()], Stage.CANCELLED, ()),
    "cancelled, create not seen": ([closed()], Stage.CANCELLED, ()),
    "cancelled before its create": ([closed(), PLACED, PAID], Stage.CANCELLED, ()),
    "accepted by the WMS": ([PLACED, PAID, reported(ProgressStep.ACCEPTED)], Stage.ALLOCATED, ()),
    "packing": ([PLACED, PAID, reported(ProgressStep.PACKING)], Stage.PACKED, ()),
    "packing before it was placed": ([reported(ProgressStep.PACKING), PLACED], Stage.PACKED, ("unpaid",)),
    "packing at another": ([PLACED, PAID, elsewhere(reported(ProgressStep.PACKING))], Stage.ALLOCATED, ()),
    "packing at another, not paid": ([PLACED, elsewhere(reported(ProgressStep.PACKING))], Stage.RECEIVED, ("unpaid",)),
    "shipped in part": ([PLACED, PAID, shipped(final=False, X=1)], Stage.PACKED, ()),
    "shipped in part, then held": ([PLACED, PAID, shipped(final=False, X=1), held()], Stage.PACKED, ()),
    "shipped by another, then held": (
        [PLACED, PAID, elsewhere(shipped(X=2)), held()],
        Stage.RECEIVED,
        ("channel_hold",),
    ),
    "shipped": ([PLACED, PAID, shipped(X=2)], Stage.SHIPPED, ()),
    "shipped in two": ([PLACED, PAID, shipped(final=False, X=1), shipped("M2", X=1)], Stage.SHIPPED, ()),
    "final before the part": ([PLACED, PAID, shipped("M2", X=1), shipped(final=False, X=1)], Stage.SHIPPED, ()),
    "shipped by another": ([PLACED, PAID, elsewhere(shipped(X=2))], Stage.ALLOCATED, ()),
    "shipped by another, then by ours": ([PLACED, PAID, elsewhere(shipped(X=2)), shipped(X=2)], Stage.SHIPPED, ()),
    "shipped by another, and cancelled": ([PLACED, PAID, elsewhere(shipped(X=2)), closed()], Stage.CANCELLED, ()),
    "shipped by another before it was placed": ([elsewhere(shipped(X=2)), PLACED], Stage.RECEIVED, ("unpaid",)),
    "shipped, the shop not known yet": ([shipped(X=2)], Stage.RECEIVED, ("no_content",)),
    "cancelled and shipped": ([PLACED, PAID, closed(), shipped(X=2)], Stage.CONFLICT, ()),
}


@pytest.mark.parametrize(("facts", "stage", "reasons"), _STAGES.values(), ids=_STAGES)
def test_the_stage_follows_from_the_facts(facts: list[Facts | Step], stage: Stage, reasons: tuple[str, ...]) -> None:
    order = decide(*facts)
    assert (order.stage, order.reasons) == (stage, reasons)


PAUSED = msgspec.structs.replace(rules(), paused=frozenset({SHOP}))


@pytest.mark.parametrize(
    ("by", "facts", "reasons"),
    [
        (rules(max_total_minor=1999), [PLACED, PAID], ("over_limit",)),
        (rules(max_total_minor=2000), [PLACED, PAID], ()),
        (rules(mandatory=("receiver.phone", "receiver.name")), [said(1, content=content(receiver=Receiver())), PAID],
         ("missing:receiver.phone", "missing:receiver.name")),
        (rules(mandatory=("receiver.phone",)), [said(1, content=content(receiver=Receiver(token="OAID"))), PAID], ()),
        (rules(), [said(1, content=content({})), PAID], ("missing:lines",)),
        (rules(routes=()), [PLACED, PAID], ("no_route",)),
        (PAUSED, [PLACED, PAID], ("paused",)),
        (PAUSED, [PLACED], ("unpaid",)),
        (msgspec.structs.replace(PAUSED, paused=frozenset({WMS})), [PLACED, PAID], ()),
        (rules(unknown_sku=UnknownSku.HOLD), [placed(1, Z=1), PAID], ("unknown_sku",)),
        (rules(unknown_sku=UnknownSku.PASS), [placed(1, Z=1), PAID], ()),
    ],
    ids=["over the limit", "at the limit", "fields missing", "ciphertext stands in", "nothing ordered",
         "no route", "shop paused", "shop paused and not paid", "another paused", "unknown held", "unknown passes"],
)  # fmt: skip
def test_what_a_person_sees_first(by: object, facts: list[Facts], reasons: tuple[str, ...]) -> None:
    order = decide(*facts, by=by)  # type: ignore[arg-type]
    assert order.reasons == reasons
    assert bool(order.commands) is not bool(reasons)


@pytest.mark.parametrize(
    ("passed", "reasons"),
    [
        (Passed(2000), ("missing:receiver.phone",)),
        (Passed(2000, ("receiver.phone",)), ()),
        (Passed(1999, ("receiver.phone",)), ("over_limit",)),
        (Passed(0, ("receiver.name",)), ("over_limit", "missing:receiver.phone")),
    ],
)
def test_what_a_person_let_pass_holds_no_more_and_the_rest_does(passed: Passed, reasons: tuple[str, ...]) -> None:
    by = rules(max_total_minor=1000, mandatory=("receiver.phone",))
    told = [Step(SHOP, said(1, content=content(receiver=Receiver()))), Step(SHOP, PAID)]
    number = OrderNumber("A1")
    assert fold(number, Order(number=number, passed=passed), told, by).reasons == reasons


@pytest.mark.parametrize(
    ("told", "stage", "commands"),
    [
        ([], Stage.ALLOCATED, 1),
        ([refund(3, OPEN)], Stage.RECEIVED, 2),
        ([closed()], Stage.CANCELLED, 2),
        ([shipped(X=2)], Stage.SHIPPED, 2),
    ],
    ids=["nothing new", "a refund", "a cancel", "its parcel"],
)
def test_a_pause_changes_nothing_of_what_a_warehouse_has(told: list[Facts], stage: Stage, commands: int) -> None:
    books = Books(rules(), {"X": 10})
    number = OrderNumber("A1")
    books.take([(number, PLACED), (number, PAID)])
    books.rules = PAUSED
    books.take([(number, one) for one in [Step(SHOP, None), *told]])
    order = books.orders[number]
    assert (order.stage, len(order.commands), "paused" in order.reasons) == (stage, commands, False)
    before = books.orders[number]
    books.rules = rules()
    books.reconsider(number)
    assert books.orders[number] == before
    books.check_ledger()


# --- plan -------------------------------------------------------------------------------------------------------

_COMMANDS = {
    "not paid": ([PLACED], []),
    "paid": ([PLACED, PAID], ["wms.create"]),
    "twice": ([PLACED, PAID, PLACED, PAID], ["wms.create"]),
    "cancelled before": ([closed(), PLACED, PAID], []),
    "cancelled after": ([PLACED, PAID, closed()], ["wms.create", "wms.cancel"]),
    "refund asked after": ([PLACED, PAID, refund(3, OPEN)], ["wms.create", "wms.cancel"]),
    "refund asked before": ([PLACED, refund(3, OPEN), PAID], []),
    "refunded after": ([PLACED, PAID, refund(3, OPEN), refund(4, DONE)], ["wms.create", "wms.cancel"]),
    "cancelled after it left": ([PLACED, PAID, shipped(X=2), closed()], ["wms.create", "shop.ship:wms/M1"]),
    "cancelled between two parcels": (
        [PLACED, PAID, shipped(final=False, X=1), closed()],
        ["wms.create", "shop.ship:wms/M1", "wms.cancel"],
    ),
    "two parcels": (
        [PLACED, PAID, shipped(final=False, X=1), shipped("M2", X=1)],
        ["wms.create", "shop.ship:wms/M1", "shop.ship:wms/M2"],
    ),
    "a confirmation twice": ([PLACED, PAID, shipped(X=2), shipped(X=2)], ["wms.create", "shop.ship:wms/M1"]),
    "shipped before we could send": ([shipped(X=2), PLACED, PAID], ["shop.ship:wms/M1"]),
    "shipped by another": ([PLACED, PAID, elsewhere(shipped(X=2))], ["wms.create"]),
    "shipped by another before we could send": ([elsewhere(shipped(X=2)), PLACED, PAID], []),
    "shipped by another, then cancelled": (
        [PLACED, PAID, elsewhere(shipped(X=2)), closed()],
        ["wms.create", "wms.cancel"],
    ),
    "held after": ([PLACED, PAID, held()], ["wms.create"]),
}


@pytest.mark.feature("F13")
@pytest.mark.parametrize(("facts", "expected"), _COMMANDS.values(), ids=_COMMANDS)
def test_commands_follow_in_sequence(facts: list[Facts | Step], expected: list[str]) -> None:
    assert commands(decide(*facts)) == expected


def test_a_shop_that_is_told_nothing_is_told_nothing() -> None:
    assert commands(decide(PLACED, PAID, shipped(X=2), by=rules(takes_shipments=False))) == ["wms.create"]


@pytest.mark.parametrize("renamed", [True, False])
def test_a_shop_is_told_under_its_new_name_what_was_shipped_of_its_orders(renamed: bool) -> None:
    new = ConnectionName("shop-new")
    books = Books(rules(), {"X": 10})
    number = OrderNumber("A1")
    for facts in (PLACED, PAID, shipped(final=False, X=1)):
        books.take([(number, facts)])
    shops = {new: msgspec.structs.replace(rules().shops[SHOP], name=new)}
    books.rules = msgspec.structs.replace(rules(), shops=shops, renamed={SHOP: new} if renamed else {})
    books.take([(number, shipped("M2", X=1))])
    told = ["wms.create", "shop.ship:wms/M1"]
    assert commands(books.orders[number]) == told + ["shop-new.ship:wms/M2"] * renamed


def test_what_left_by_another_hand_waits_for_nothing_and_holds_no_stock() -> None:
    books = Books(rules(), {"X": 10})
    number = OrderNumber("A1")
    books.take([(number, PLACED)])
    assert books.orders[number].booked
    books.take([(number, PAID), (number, said(3, left=True))])
    order = books.orders[number]
    assert (order.stage, order.reasons, order.commands) == (Stage.SHIPPED, (), ())
    assert [(b.locked, b.committed, b.shipped) for b in order.booked] == [(0, 0, 2)], "what was kept for it is gone"
    assert books.balances[Sku("X"), "WH1"].on_hand == 8
    books.check_ledger()
    books.take([(number, said(4, left=False))])
    assert commands(books.orders[number]) == ["wms.create"], "it says now that it has not"
    assert books.balances[Sku("X"), "WH1"].on_hand == 10
    books.check_ledger()


@pytest.mark.parametrize(
    ("then", "stage"),
    [
        (refund(4, DONE), Stage.REFUNDED),
        (closed(), Stage.CANCELLED),
        (said(4, left=False, closing=Closing(True, after_shipping=True)), Stage.CANCELLED),
    ],
    ids=["paid back", "cancelled", "closed as one that had been shipped"],
)
@pytest.mark.parametrize("at_once", [False, True])
def test_what_left_by_another_hand_is_not_on_the_shelf_once_it_is_paid_back(
    then: Facts, stage: Stage, at_once: bool
) -> None:
    books = Books(rules(), {"X": 10})
    number = OrderNumber("A1")
    books.take([(number, PLACED), (number, held(2))])
    batches = [[PAID, said(3, left=True)], [then], [then]]
    for batch in [[*batches[0], then]] if at_once else batches:
        books.take([(number, one) for one in batch])
        books.check_ledger()
    assert (books.orders[number].stage, books.orders[number].commands) == (stage, ())
    assert books.balances[Sku("X"), "WH1"].on_hand == 8, "whoever takes goods back counts them"


def test_what_left_before_we_knew_it_books_nothing() -> None:
    books = Books(rules(), {"X": 10})
    number = OrderNumber("A1")
    books.take([(number, PLACED), (number, PAID), (number, said(3, left=True))])
    assert (books.orders[number].stage, books.orders[number].booked) == (Stage.SHIPPED, ())
    books.take([(number, elsewhere(shipped(X=2)))])
    assert books.orders[number].stage is Stage.SHIPPED, "whichever warehouse it came from"
    books.check_ledger()


@pytest.mark.parametrize("told", [True, False])
def test_what_leaves_by_another_hand_after_it_was_sent(told: bool) -> None:
    facts = [PLACED, PAID, said(3, left=True)]
    order = decide(PLACED, by=rules(takes_shipments=told))
    books = Books(rules(takes_shipments=told), {"X": 10})
    for fact in facts:
        books.take([(order.number, fact)])
    order = books.orders[order.number]
    assert (order.stage, order.reasons) == (Stage.ALLOCATED, ())
    assert order.conflicts == (("shipped_elsewhere",) if told else ())
    books.take([(order.number, shipped(X=2))])
    assert (books.orders[order.number].stage, books.orders[order.number].conflicts) == (Stage.SHIPPED, ())
    books.check_ledger()


def test_what_waits_follows_the_route_once_its_target_is_gone_and_its_bookings_too() -> None:
    books = Books(rules(), {"X": 10})
    number = OrderNumber("A1")
    books.take([(number, PLACED)])
    assert [b.warehouse for b in books.orders[number].booked] == ["WH1"]
    books.count("X", 5, warehouse="WH2")
    books.rules = rules(routes=(Route(OTHER_WMS, "WH2"),))
    books.reconsider(number)
    assert books.orders[number].route == Route(WMS, "WH1"), "what is kept for it there is not given up for a new route"
    books.rules = rules(routes=(Route(OTHER_WMS, "WH2"),), targets=frozenset({OTHER_WMS}))
    books.take([(number, PAID)])
    order = books.orders[number]
    assert (order.route, [b.warehouse for b in order.booked]) == (Route(OTHER_WMS, "WH2"), ["WH2"])
    assert [command.target for command in order.commands] == [OTHER_WMS]
    books.check_ledger()
    books.rules = rules(routes=(), targets=frozenset())
    books.reconsider(number)
    assert books.orders[number] == order


@pytest.mark.parametrize("targets", [{WMS, OTHER_WMS}, {OTHER_WMS}])
def test_what_waits_goes_to_the_system_that_runs_its_warehouse_now(targets: set[ConnectionName]) -> None:
    """The one before is there until its orders are shipped, and gets no more; stock stays where it is."""
    books = Books(rules(), {"X": 10})
    number = OrderNumber("A1")
    books.take([(number, PLACED)])
    routes = (Route(OTHER_WMS, "WH2"), Route(OTHER_WMS, "WH1"))
    books.rules = rules(routes=routes, targets=frozenset(targets))
    books.take([(number, PAID)])
    order = books.orders[number]
    assert (order.route, [b.warehouse for b in order.booked]) == (Route(OTHER_WMS, "WH1"), ["WH1"])
    assert [command.target for command in order.commands] == [OTHER_WMS]
    books.check_ledger()


def test_what_is_short_at_a_wrong_warehouse_goes_to_the_right_one_once_that_is_mended() -> None:
    books = Books(rules(routes=(Route(WMS, "WH-1"),), unknown_sku=UnknownSku.HOLD), {"X": 10})
    number = OrderNumber("A1")
    books.take([(number, PLACED), (number, PAID)])
    assert books.orders[number].reasons == ("unknown_sku",)
    books.rules = rules(routes=(Route(OTHER_WMS, "WH2"), Route(WMS, "WH-1")), unknown_sku=UnknownSku.HOLD)
    books.reconsider(number)
    assert books.orders[number].route == Route(WMS, "WH-1"), "the shop still has it"
    books.rules = rules(unknown_sku=UnknownSku.HOLD)
    books.reconsider(number)
    assert (books.orders[number].route, commands(books.orders[number])) == (Route(WMS, "WH1"), ["wms.create"])
    books.check_ledger()


@pytest.mark.parametrize(
    "told", [[PAID], [shipped(X=2)], [reported(ProgressStep.PACKING)]], ids=["sent", "left", "at it"]
)
def test_the_route_stays_once_a_warehouse_knows_the_order(told: list[Facts | Step]) -> None:
    books = Books(rules(), {"X": 10})
    number = OrderNumber("A1")
    books.take([(number, facts) for facts in (PLACED, *told)])
    books.rules = rules(routes=(Route(OTHER_WMS, "WH2"),), targets=frozenset({OTHER_WMS}))
    books.take([(number, said(7, payment=PAID.payment))])
    assert books.orders[number].route == Route(WMS, "WH1")
    books.check_ledger()


# --- cut-over (F126) --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "origin", "sent"),
    [
        (rules(), Origin.LIVE, True),
        (rules(mode=Mode.OBSERVE), Origin.OBSERVED, False),
        (rules(start_at=PLACED_AT), Origin.LIVE, True),
        (rules(start_at=PLACED_AT + timedelta(seconds=1)), Origin.BEFORE_START, False),
    ],
    ids=["live", "observing", "placed at the start", "placed before the start"],
)
def test_a_first_start_sends_only_what_it_may(by: object, origin: Origin, sent: bool) -> None:
    order = decide(PLACED, PAID, by=by)  # type: ignore[arg-type]
    assert order.origin is origin
    assert bool(order.commands) is sent
    assert bool(order.booked) is sent
    later = decide(PLACED, PAID, closed(), shipped(X=2), by=by)  # type: ignore[arg-type]
    assert bool(later.commands) is sent


def test_what_was_observed_stays_with_whoever_delivers_it() -> None:
    books = Books(rules(mode=Mode.OBSERVE), {"X": 10})
    number = OrderNumber("A1")
    books.take([(number, PLACED)])
    books.rules = rules()
    books.take([(number, PAID)])
    assert books.orders[number].origin is Origin.OBSERVED
    assert commands(books.orders[number]) == []
    books.take([(OrderNumber("A2"), PLACED), (OrderNumber("A2"), PAID)])
    assert commands(books.orders[OrderNumber("A2")]) == ["wms.create"]


@pytest.mark.parametrize(
    ("then", "origin", "told"),
    [
        (rules(start_at=PLACED_AT + timedelta(days=1)), Origin.BEFORE_START, []),
        (rules(), Origin.LIVE, ["wms.create"]),
    ],
    ids=["switched over again", "live as before"],
)
def test_observed_again_a_shop_sends_nothing_that_no_warehouse_has(
    then: Rules, origin: Origin, told: list[str]
) -> None:
    """Whoever takes over sends what is open at the shop; what is sent already goes its way here."""
    books = Books(rules(), {"X": 10})
    waits, sent = OrderNumber("A1"), OrderNumber("A2")
    books.take([(waits, PLACED), (sent, PLACED), (sent, PAID)])
    books.rules = rules(mode=Mode.OBSERVE)
    books.take([(waits, PAID), (sent, closed())])
    assert (commands(books.orders[waits]), books.orders[waits].reasons) == ([], ("paused",))
    assert commands(books.orders[sent]) == ["wms.create", "wms.cancel"]
    books.check_ledger()
    books.rules = then
    books.reconsider(waits, sent)
    assert (books.orders[waits].origin, commands(books.orders[waits])) == (origin, told)
    assert commands(books.orders[sent]) == ["wms.create", "wms.cancel"]
    books.check_ledger()


def test_a_start_at_given_later_does_not_take_back_what_was_sent() -> None:
    books = Books(rules(), {"X": 10})
    number = OrderNumber("A1")
    books.take([(number, PLACED), (number, PAID)])
    books.rules = rules(start_at=PLACED_AT + timedelta(days=1))
    books.take([(number, closed())])
    assert commands(books.orders[number]) == ["wms.create", "wms.cancel"]


# --- conflicts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "conflicts"),
    [
        ([PLACED, PAID], ()),
        ([PLACED, PAID, closed(), shipped(X=2)], ("cancelled_but_shipped",)),
        ([PLACED, PAID, closed(), refund(4, DONE, 2000), shipped(X=2)], ("cancelled_but_shipped",)),
        ([PLACED, PAID, refund(3, OPEN, 2000), shipped(X=2)], ()),
        ([PLACED, PAID, refund(3, OPEN, 2000), shipped(X=2), refund(4, DONE, 2000)], ("refunded_but_shipped",)),
        ([PLACED, PAID, refund(3, OPEN, 2000), refund(4, DONE, 2000), shipped(X=2)], ("refunded_but_shipped",)),
        ([PLACED, PAID, refund(3, OPEN, 2000), shipped(X=2), refund(4, REJECTED, 2000)], ()),
        ([PLACED, PAID, shipped(X=2), refund(3, OPEN, 2000), refund(4, DONE, 2000)], ()),
        ([PLACED, PAID, shipped(final=False, X=1), refund(4, DONE, 2000)], ("refunded_but_shipped",)),
        ([shipped(X=2)], ("shipped_unknown_order",)),
        ([PLACED, PAID, placed(3, X=3)], ("changed_after_sent",)),
        ([PLACED, PAID, placed(3, X=2)], ()),
        ([PLACED, PAID, held()], ("held_after_sent",)),
        ([PLACED, PAID, held(), closed()], ()),
        ([PLACED, PAID, held(), refund(4, DONE, 2000)], ()),
        ([PLACED, PAID, held(), refund(4, DONE, 500)], ("held_after_sent",)),
        ([PLACED, PAID, shipped(final=False, X=1), held()], ()),
        ([PLACED, PAID, refund(3, OPEN), refund(4, REJECTED)], ("reopened_after_cancel",)),
        ([PLACED, PAID, reported(ProgressStep.EXCEPTION)], ("warehouse_exception",)),
        ([PLACED, PAID, elsewhere(reported(ProgressStep.EXCEPTION))], ()),
        ([PLACED, PAID, shipped(X=200)], ("shipped_beyond_stock",)),
        ([PLACED, PAID, elsewhere(shipped(X=2))], ("confirmed_by_other_warehouse",)),
        ([elsewhere(shipped(X=2)), PLACED, PAID], ("confirmed_by_other_warehouse",)),
        ([elsewhere(shipped(X=2))], ("shipped_unknown_order",)),
    ],
)
def test_contradictions_have_names(facts: list[Facts | Step], conflicts: tuple[str, ...]) -> None:
    assert decide(*facts).conflicts == conflicts
    assert decide(*facts, *facts).conflicts == conflicts, "a repeat is no news"


@pytest.mark.parametrize(
    "noted", [{"seller_note": "已联系客户"}, {"buyer_note": "快点"}, {"latest_ship_at": PLACED_AT + timedelta(days=2)}]
)
def test_a_memo_or_another_latest_time_to_ship_is_no_change_of_what_was_sent(noted: dict[str, object]) -> None:
    memo = said(3, content=msgspec.structs.replace(content(), **noted))
    for facts in ([PLACED, PAID, memo], [PLACED, PAID, memo, placed(4, X=2)], [memo, PAID, placed(4, X=2)]):
        assert decide(*facts).conflicts == ()
    assert decide(PLACED, PAID, memo, placed(4, X=3)).conflicts == ("changed_after_sent",)


X2_Y1 = [placed(1, X=2, Y=1), PAID]
SHORT = ("shipped_short",)


@pytest.mark.parametrize(
    ("facts", "conflicts"),
    [
        ([shipped(X=2, Y=0)], SHORT),
        ([shipped(X=2)], SHORT),
        ([shipped(X=0, Y=0)], SHORT),
        ([shipped(X=1, Y=2)], SHORT),
        ([shipped(X=2, Z=1)], SHORT),
        ([shipped(X=2, Y=1)], ()),
        ([shipped(X=3, Y=1)], ()),
        ([shipped()], ()),
        ([shipped(final=False, X=2)], ()),
        ([shipped(final=False, X=2), shipped("M2", X=0)], SHORT),
        ([shipped("M2", X=1), shipped(final=False, X=1, Y=1)], ()),
        ([shipped(final=False, X=1), shipped("M2")], ()),
        ([shipped(final=False), shipped("M2", X=2)], SHORT),
        ([elsewhere(shipped(Y=1)), shipped(X=2)], ("confirmed_by_other_warehouse", "shipped_short")),
        ([placed(3, X=2, Y=2), shipped(X=2, Y=1)], SHORT),
        ([placed(3, X=2), shipped(X=2)], ()),
        ([shipped(X=2), placed(3, X=2)], ()),
        ([shipped(X=2), closed()], ("cancelled_but_shipped",)),
        ([shipped(X=2), refund(4, DONE, 2000)], ()),
    ],
    ids=["none of one", "one not named", "nothing at all", "another too often", "another SKU instead", "all of it",
         "more", "no counts: as ordered", "more follows", "the last brings nothing", "final before the part",
         "the last completes it", "a part without counts", "the rest by another warehouse", "more ordered since",
         "less ordered since", "less ordered afterwards", "cancelled", "paid back"],
)  # fmt: skip
def test_less_than_was_ordered_and_nothing_to_follow_is_for_a_person(
    facts: list[Facts | Step], conflicts: tuple[str, ...]
) -> None:
    order = decide(*X2_Y1, *facts)
    assert order.conflicts == conflicts
    assert decide(*X2_Y1, *facts, *facts).conflicts == conflicts


@pytest.mark.parametrize(
    ("refunds", "conflicts"),
    [
        ([refund(4, OPEN, 1000)], SHORT),
        ([refund(4, REJECTED, 1000)], SHORT),
        ([refund(4, DONE, 0)], ()),
        ([refund(4, DONE, 899)], SHORT),
        ([refund(4, DONE, 900)], ()),
        ([refund(4, DONE, 500), refund(4, DONE, 400, "R2")], ()),
    ],
    ids=["asked for", "refused", "not said how much", "a cent less", "what was paid for it", "in two"],
)
def test_what_was_paid_back_need_not_leave(refunds: list[Facts], conflicts: tuple[str, ...]) -> None:
    """Three pieces at 10.00 for 28.00 with the freight of 1.00: one is 9.00 of the 27.00."""
    given = msgspec.structs.replace(content({"X": 2, "Y": 1}, total_minor=2800), freight_minor=100, discount_minor=300)
    before = [said(1, content=given), paid(2, 2800)]
    for facts in ([*before, shipped(X=2), *refunds], [*before, *refunds, shipped(X=2)]):
        assert [code for code in decide(*facts).conflicts if code in SHORT] == list(conflicts)


def test_an_unknown_sku_that_did_not_leave_is_missed_too() -> None:
    assert decide(placed(1, X=1, Z=1), PAID, shipped(X=1)).conflicts == SHORT
    assert decide(placed(1, X=1, Z=1), PAID, shipped(X=1, Z=1)).conflicts == ()


@pytest.mark.parametrize("by", [rules(mode=Mode.OBSERVE), rules(start_at=PLACED_AT + timedelta(seconds=1))])
def test_what_somebody_else_shipped_short_is_not_ours_to_judge(by: Rules) -> None:
    assert decide(*X2_Y1, shipped(X=2), by=by).conflicts == ()


def test_an_order_closed_after_the_shop_knew_it_as_shipped_is_a_return_and_no_conflict() -> None:
    """Goods that come back are the shop's everyday business: nobody could have stopped anything."""
    came_back = said(4, closing=Closing(True, "TRADE_CLOSED", after_shipping=True))
    for sequence in itertools.permutations([PLACED, PAID, shipped(X=2), came_back]):
        order = decide(*sequence)
        assert (order.stage, order.conflicts) == (Stage.REFUNDED, ())
    assert decide(PLACED, PAID, came_back).stage is Stage.CANCELLED


def test_who_ships_an_observed_order_is_not_ours_to_judge() -> None:
    order = decide(PLACED, PAID, elsewhere(shipped(X=2)), by=rules(mode=Mode.OBSERVE))
    assert (order.stage, order.conflicts) == (Stage.SHIPPED, ())
    order = decide(PLACED, PAID, elsewhere(reported(ProgressStep.PACKING)), by=rules(mode=Mode.OBSERVE))
    assert order.stage is Stage.PACKED


# --- reserve ----------------------------------------------------------------------------------------------------


def _booked(order: Order) -> list[tuple[str, int, int, int]]:
    return [(b.sku, b.locked, b.committed, b.shipped) for b in order.booked]


@pytest.mark.feature("F45")
@pytest.mark.parametrize(
    ("facts", "booked"),
    [
        ([PLACED], [("X", 2, 0, 0)]),
        ([PLACED, PAID], [("X", 0, 2, 0)]),
        ([PLACED, PAID, held()], [("X", 2, 0, 0)]),
        ([PLACED, closed()], []),
        ([PLACED, PAID, refund(3, DONE)], []),
        ([PLACED, PAID, shipped(final=False, X=1)], [("X", 0, 1, 1)]),
        ([PLACED, PAID, shipped(final=False, X=1), held()], [("X", 0, 1, 1)]),
        ([PLACED, PAID, shipped(X=2)], [("X", 0, 0, 2)]),
        ([PLACED, PAID, shipped()], [("X", 0, 0, 2)]),
        ([PLACED, PAID, shipped(X=1)], [("X", 0, 0, 1)]),
        ([PLACED, PAID, shipped(Y=1)], [("Y", 0, 0, 1)]),
        ([placed(1, X=1, Z=1), PAID], [("X", 0, 1, 0)]),
        ([placed(1, X=2, Y=1), PAID, shipped(final=False, X=1), shipped("M2")], [("X", 0, 0, 2), ("Y", 0, 0, 1)]),
        ([PLACED, PAID, shipped(final=False, X=3), shipped("M2")], [("X", 0, 0, 3)]),
        ([PLACED, PAID, elsewhere(shipped(X=2))], [("X", 0, 2, 0)]),
    ],
    ids=["placed locks", "paid commits", "held locks", "cancelled frees", "refunded frees", "part ships",
         "held after a part", "final ships", "as ordered", "short shipment frees the rest", "another SKU was shipped",
         "unknown SKUs book nothing", "the last part is the rest", "more than ordered before the last part",
         "another warehouse ships"],
)  # fmt: skip
def test_bookings_follow_from_the_facts(facts: list[Facts | Step], booked: list[tuple[str, int, int, int]]) -> None:
    assert _booked(decide(*facts)) == booked


def test_the_last_piece_goes_to_the_order_that_came_first_in_the_batch() -> None:
    books = Books(rules(), {"X": 3})
    one, two = OrderNumber("A1"), OrderNumber("A2")
    books.take([(one, PLACED), (two, PLACED), (one, PAID), (two, PAID)])
    books.check_ledger()
    assert [books.orders[number].stage for number in (one, two)] == [Stage.ALLOCATED, Stage.REVIEWED]
    assert books.orders[two].reasons == ("short_of_stock",)
    assert commands(books.orders[two]) == []


def test_an_order_gets_all_or_nothing() -> None:
    order = decide(placed(1, X=1, Y=1), PAID, stock={"X": 5, "Y": 0})
    assert order.booked == ()
    assert order.reasons == ("short_of_stock",)


@pytest.mark.parametrize("counted", [0, 1, 100])
@pytest.mark.parametrize(
    "before", [[placed(1, X=2, Z=5), PAID], [shipped(X=2, Z=5), placed(1, X=2, Z=5)]], ids=["sent", "shipped"]
)
@pytest.mark.parametrize(
    "later",
    [
        [held(), held(4, yes=False)],
        [shipped(final=False, X=1, Z=2)],
        [shipped(X=2, Z=5)],
        [shipped()],
        [closed()],
        [refund(3, OPEN), refund(4, REJECTED)],
    ],
    ids=["held and let go", "part", "final", "as ordered", "cancelled", "refund refused"],
)
def test_what_left_unbooked_is_not_booked_when_its_balance_appears(
    before: list[Facts], later: list[Facts], counted: int
) -> None:
    books = Books(rules(unknown_sku=UnknownSku.PASS), {"X": 100})
    number = OrderNumber("A1")
    for facts in before:
        books.take([(number, facts)])
    assert books.orders[number].unbooked == ("Z",)
    books.count("Z", counted)
    for facts in later:
        books.take([(number, facts)])
        books.check_ledger()
        order = books.orders[number]
        assert books.balances[Sku("Z"), "WH1"].available == counted
        assert order.stage is not Stage.REVIEWED and "short_of_stock" not in order.reasons


def test_an_order_that_is_not_sent_yet_books_a_balance_that_appears() -> None:
    books = Books(rules(unknown_sku=UnknownSku.PASS), {"X": 100})
    number = OrderNumber("A1")
    books.take([(number, placed(1, X=2, Z=5))])
    books.count("Z", 100)
    books.take([(number, PAID)])
    assert _booked(books.orders[number]) == [("X", 0, 2, 0), ("Z", 0, 5, 0)]


def test_what_a_batch_gives_back_is_named() -> None:
    """Also where others of the batch took more than came back, as long as some of it is left."""
    books = Books(rules(), {"X": 5, "Y": 5})
    one, two, three = OrderNumber("A1"), OrderNumber("A2"), OrderNumber("A3")
    x = (Sku("X"), "WH1")
    first = books.take([(one, placed(1, X=3)), (one, PAID)])
    assert given_back(first, books.balances) == {}
    assert given_back(books.take([(one, PAID)]), books.balances) == {}
    assert given_back(books.take([(one, held())]), books.balances) == {}, "from committed to locked"
    took_and_gave = books.take([(two, placed(1, X=2)), (three, placed(1, X=3)), (one, closed())])
    assert books.orders[three].reasons == ("unpaid", "short_of_stock")
    assert given_back(took_and_gave, books.balances) == {x: 3}
    all_taken = books.take([(two, closed()), (three, PAID), (one, placed(1, X=1)), (OrderNumber("A4"), placed(1, X=2))])
    assert given_back(all_taken, books.balances) == {}
    less = books.take([(three, shipped(X=1))])
    assert given_back(less, books.balances) == {x: 2}


def test_shipping_more_than_is_there_takes_what_is_there_and_says_so() -> None:
    order = decide(PLACED, PAID, shipped(X=5), stock={"X": 3})
    assert order.booked == (Booking(Sku("X"), "WH1", 0, 0, 3),)
    assert order.conflicts == ("shipped_beyond_stock",)
    assert order.stage is Stage.SHIPPED
