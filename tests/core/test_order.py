"""What an order's facts make of it: merging as properties, what follows as tables, and states as they are stored."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.event import ConnectionName
from gateway.core.order import (
    Booking,
    Closing,
    Command,
    Confirmation,
    Content,
    Facts,
    Hold,
    Line,
    Operation,
    Order,
    OrderNumber,
    Origin,
    Parcel,
    Party,
    Payment,
    Progress,
    ProgressStep,
    Receiver,
    Refund,
    RefundStatus,
    Register,
    Route,
    Sku,
    Stage,
    digest,
    merge,
)
from tests.core.sample import (
    OTHER_WMS,
    PLACED_AT,
    RECEIVER,
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

NUMBER = OrderNumber("A1")
OPEN, DONE, REJECTED = RefundStatus.OPEN, RefundStatus.DONE, RefundStatus.REJECTED
PLACED, PAID = placed(1, X=2), paid(2)

Told = tuple[ConnectionName, Facts]
encode = msgspec.msgpack.Encoder(order="deterministic").encode


def known(*facts: Facts | Told, **decided: Any) -> Order:
    """An order of which these facts are known; without a source they come from the shop or from its warehouse."""
    order = Order(number=NUMBER, **decided)
    for one in facts:
        source, said_by_it = one if isinstance(one, tuple) else (SHOP if one.party is Party.SHOP else WMS, one)
        order = merge(order, said_by_it, source)
    return order


def elsewhere(facts: Facts) -> Told:
    return OTHER_WMS, facts


# --- merge: properties ------------------------------------------------------------------------------------------

# Few values a group, versions and ranks: most of them tie. One instant is written in two zones.
_INSTANTS = (PLACED_AT, PLACED_AT.astimezone(timezone(timedelta(hours=8))))
_ONE_X, _TWO_X, _ONE_Y = ((Sku("X"), 1),), ((Sku("X"), 2),), ((Sku("Y"), 1),)


def _any(kind: Callable[..., Any], *fields: Iterable[Any]) -> st.SearchStrategy[Any]:
    """Any of the structs there are of these values."""
    return st.sampled_from([kind(*values) for values in itertools.product(*fields)])


def _some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, max_size=3).map(tuple)


_LINES = tuple((Line("1", Sku("X"), pieces, 1000),) for pieces in (1, 2))
_by_shop = st.builds(
    Facts,
    party=st.just(Party.SHOP),
    order_no=st.just("1"),
    version=st.sampled_from([1, 2, 2**53]),
    rank=st.sampled_from([0, 10]),
    content=st.none() | _any(Content, _INSTANTS, _LINES, (RECEIVER, Receiver()), (2000,)),
    payment=st.none() | _any(Payment, (False, True), (0, 2000), (None, *_INSTANTS)),
    hold=st.none() | _any(Hold, (False, True), ("", "risk")),
    closing=st.none() | _any(Closing, (False, True), ("", "buyer")),
    refunds=_some(_any(Refund, ("R1", "R2"), RefundStatus, (0, 2000))),
    refund_versions=st.sampled_from([None, {"R1": 1}, {"R1": 2, "R2": 1}]),
)
_by_warehouse = st.builds(
    Facts,
    party=st.just(Party.WAREHOUSE),
    order_no=st.just(NUMBER),
    confirmations=_some(
        _any(Confirmation, ("M1", "M2"), (False, True), ((), (Parcel("SF", "1"),)), (_ONE_X, _TWO_X, _ONE_Y), _INSTANTS)
    ),
    progress=_some(_any(Progress, ProgressStep, ("", "late"), (None, *_INSTANTS))),
)
_told: st.SearchStrategy[list[Told]] = st.lists(
    st.tuples(st.just(SHOP), _by_shop) | st.tuples(st.sampled_from([WMS, OTHER_WMS]), _by_warehouse),
    min_size=1,
    max_size=6,
)
_thorough = settings(max_examples=200, deadline=None)
_brief = settings(max_examples=50, deadline=None)


@_thorough
@given(_told, st.data())
def test_neither_order_nor_repeats_nor_grouping_of_facts_matter(told: list[Told], data: st.DataObject) -> None:
    repeats = data.draw(st.lists(st.sampled_from(told), max_size=4))
    arriving = data.draw(st.permutations(told + repeats))
    assert known(*arriving) == known(*told)
    assert msgspec.msgpack.encode(known(*arriving)) == msgspec.msgpack.encode(known(*told))


@_brief
@given(_told)
def test_facts_that_are_known_give_the_same_object(told: list[Told]) -> None:
    order = known(*told)
    for source, facts in told:
        assert merge(order, facts, source) is order


@_thorough
@given(_told)
def test_the_greatest_wins_by_the_key_that_is_promised(told: list[Told]) -> None:
    """Version, rank, a refund's place in its life, then the encoded value: all of `merge`, said in another way."""
    order = known(*told)

    def newest(values: Iterable[tuple[Facts, Any]], key: Callable[[Any], Any] = encode) -> Any:
        best = max(values, key=lambda said: (said[0].version, said[0].rank, key(said[1])), default=None)
        return None if best is None else Register(best[0].version, best[0].rank, best[1])

    for group in ("content", "payment", "hold", "closing"):
        values = [(facts, getattr(facts, group)) for _, facts in told]
        assert getattr(order, group) == newest(said for said in values if said[1] is not None)
    for refund_id in ("R1", "R2"):
        cases = [
            (of_its_own(facts, one), one) for _, facts in told for one in facts.refunds if one.refund_id == refund_id
        ]
        assert order.refunds.get(refund_id) == newest(cases, lambda one: (one.status.place, encode(one)))
    confirmations: dict[str, Confirmation] = {}
    for source, facts in told:
        for one in facts.confirmations:
            name = f"{source}/{one.confirmation_id}"
            confirmations[name] = max(confirmations.get(name, one), one, key=encode)
    assert order.confirmations == confirmations
    reports = {msgspec.structs.replace(one, source=source) for source, facts in told for one in facts.progress}
    assert order.progress == tuple(sorted(reports, key=encode))
    assert (order.connection, order.channel_no) == ((SHOP, "1") if any(s == SHOP for s, _ in told) else ("", ""))


def of_its_own(facts: Facts, refund: Refund) -> Facts:
    """With the version that counts for `refund`."""
    version = (facts.refund_versions or {}).get(refund.refund_id)
    return facts if version is None else msgspec.structs.replace(facts, version=version, rank=0)


@_brief
@given(_told, st.tuples(st.just(SHOP), _by_shop) | st.tuples(st.just(WMS), _by_warehouse))
def test_merging_leaves_the_order_it_was_given_as_it_was(told: list[Told], one: Told) -> None:
    order = known(*told)
    before = encode(order)
    merge(order, one[1], one[0])
    assert encode(order) == before


@_brief
@given(_told)
def test_a_stored_order_is_the_order_that_was_stored(told: list[Told]) -> None:
    """And goes on like it: facts that were known before the restart are known after it."""
    order = known(*told)
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(order), type=Order)
    assert stored == order
    for source, facts in told:
        assert merge(stored, facts, source) is stored


# --- merge: tables ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "is_paid"),
    [
        ([paid(2), said(1, payment=Payment(False))], True),
        ([said(1, payment=Payment(False)), paid(2)], True),
        ([paid(2), said(3, payment=Payment(False))], False),
        ([paid(2), paid(2)], True),
        ([paid(1), paid(3), said(2, payment=Payment(False))], True),
    ],
    ids=["older after newer", "newer after older", "taken back", "twice", "said again, then what it outlived"],
)
def test_the_newest_version_wins(facts: list[Facts], is_paid: bool) -> None:
    assert known(*facts).paid is is_paid


def test_of_one_version_the_later_status_wins() -> None:
    low = Facts(party=Party.SHOP, order_no="1", version=1, rank=10, payment=Payment(False))
    high = Facts(party=Party.SHOP, order_no="1", version=1, rank=20, payment=Payment(True, 5))
    assert known(low, high).paid and known(high, low).paid


@pytest.mark.parametrize(
    ("one", "other", "status"),
    [(OPEN, DONE, DONE), (OPEN, REJECTED, REJECTED), (REJECTED, DONE, DONE)],
)
def test_of_one_version_and_status_a_refund_is_as_far_as_it_got(
    one: RefundStatus, other: RefundStatus, status: RefundStatus
) -> None:
    for pair in ((one, other), (other, one)):
        order = known(*(refund(3, refund_status) for refund_status in pair))
        assert order.refunds["R1"].value.status is status


def test_a_refund_with_a_version_of_its_own_counts_as_of_that() -> None:
    """What was told with a newer state of its order is not newer itself."""
    early = msgspec.structs.replace(refund(9, OPEN), rank=200, refund_versions={"R1": 3})
    for pair in ((early, refund(4, REJECTED)), (refund(4, REJECTED), early)):
        assert known(*pair).refunds["R1"] == Register(4, 0, refund(4, REJECTED).refunds[0])


def test_an_older_refund_that_got_further_does_not_win() -> None:
    assert known(refund(3, DONE), refund(4, OPEN), refund(3, DONE)).refunds["R1"].value.status is OPEN


def test_one_confirmation_id_of_two_warehouses_is_two_confirmations() -> None:
    order = known(shipped("M1", X=1), elsewhere(shipped("M1", X=2)))
    assert list(order.confirmations) == ["wms-2/M1", "wms/M1"]


def test_nothing_said_changes_nothing() -> None:
    order = known(PLACED)
    assert merge(order, said(9), SHOP) is order


def test_one_group_does_not_move_another() -> None:
    """A newer event that says nothing about the payment leaves it as it is known."""
    order = known(PLACED, PAID, held(9, yes=False))
    assert order.paid and order.payment is not None and order.payment.version == 2


def test_a_warehouse_does_not_say_whose_order_it_is() -> None:
    order = known(shipped("M1", X=2))
    assert (order.connection, order.channel_no) == ("", "")
    assert merge(order, PLACED, SHOP).connection == SHOP


# --- what follows: tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "true"),
    [
        ([], set()),
        ([PLACED], set()),
        ([PAID], {"paid"}),
        ([held()], {"held"}),
        ([held(3), held(4, yes=False)], set()),
        ([closed()], {"closed"}),
        ([closed(4), said(5, closing=Closing(False))], set()),
        ([refund(3, OPEN)], {"refund_open"}),
        ([refund(3, OPEN), refund(4, REJECTED)], set()),
        ([refund(3, OPEN), refund(3, DONE, 1, "R2")], {"refund_open"}),
    ],
)
def test_an_order_is_what_its_newest_facts_say(facts: list[Facts], true: set[str]) -> None:
    order = known(*facts)
    assert {name for name in ("paid", "held", "closed", "refund_open") if getattr(order, name)} == true


@pytest.mark.parametrize(
    ("facts", "refunded"),
    [
        ([PLACED, PAID], False),
        ([PLACED, PAID, refund(3, DONE, 2000)], True),
        ([PLACED, PAID, refund(3, DONE, 1999)], False),
        ([PLACED, PAID, refund(3, DONE, 2001)], True),
        ([PLACED, PAID, refund(3, OPEN, 2000)], False),
        ([PLACED, PAID, refund(3, REJECTED, 2000)], False),
        ([PLACED, PAID, refund(3, DONE, 1500), refund(3, DONE, 500, "R2")], True),
        ([PLACED, PAID, refund(3, DONE, 1500), refund(3, OPEN, 500, "R2")], False),
        ([PLACED, paid(2, 1500), refund(3, DONE, 1500)], True),
        ([PLACED, paid(2, 0), refund(3, DONE, 2000)], True),
        ([PLACED, paid(2, 0), refund(3, DONE, 1999)], False),
        ([paid(2, 2000), refund(3, DONE, 2000)], True),
        ([paid(2, 0), refund(3, DONE, 2000)], False),
        ([said(1, content=content(total_minor=0)), paid(2, 0), refund(3, DONE, 0)], False),
        ([PLACED, refund(3, DONE, 2000)], False),
        ([PLACED, said(2, payment=Payment(False, 2000)), refund(3, DONE, 2000)], False),
    ],
    ids=[
        "no refund", "all of it", "a cent less", "a cent more", "asked for", "refused", "in two", "in two, one open",
        "what was paid, less than the total", "the total, where the amount paid is not said",
        "less than the total, where the amount paid is not said", "content not known", "nothing known", "free",
        "payment not known", "not paid",
    ],
)  # fmt: skip
def test_refunded_is_what_was_paid_and_came_back_in_full(facts: list[Facts], refunded: bool) -> None:
    assert known(*facts).refunded is refunded


@pytest.mark.parametrize(
    ("route", "origin", "confirmed"),
    [
        (Route(WMS, "WH1"), Origin.LIVE, ["wms/M1", "wms/M2"]),
        (Route(OTHER_WMS, "WH1"), Origin.LIVE, ["wms-2/M3"]),
        (Route(ConnectionName("wm"), "WH1"), Origin.LIVE, []),
        (None, Origin.LIVE, []),
        (Route(WMS, "WH1"), Origin.OBSERVED, ["wms-2/M3", "wms/M1", "wms/M2"]),
        (None, Origin.BEFORE_START, ["wms-2/M3", "wms/M1", "wms/M2"]),
    ],
    ids=["ours", "the other's", "a name that begins the same", "no route yet", "observed", "before the start"],
)
def test_confirmations_count_where_the_order_is_routed(
    route: Route | None, origin: Origin, confirmed: list[str]
) -> None:
    facts = (shipped("M2", X=1), elsewhere(shipped("M3")), shipped("M1", final=False, X=1))
    assert list(known(*facts, route=route, origin=origin).confirmed) == confirmed
    assert known(route=route, origin=origin).confirmed == {}


@pytest.mark.parametrize(
    ("route", "origin", "steps"),
    [
        (Route(WMS, "WH1"), Origin.LIVE, [ProgressStep.PACKING]),
        (Route(OTHER_WMS, "WH1"), Origin.LIVE, [ProgressStep.EXCEPTION]),
        (None, Origin.LIVE, []),
        (None, Origin.OBSERVED, [ProgressStep.PACKING, ProgressStep.EXCEPTION]),
    ],
    ids=["ours", "the other's", "no route yet", "observed"],
)
def test_reports_count_where_the_order_is_routed(
    route: Route | None, origin: Origin, steps: list[ProgressStep]
) -> None:
    order = known(
        elsewhere(reported(ProgressStep.EXCEPTION)), reported(ProgressStep.PACKING), route=route, origin=origin
    )
    assert [report.step for report in order.reported] == steps


def test_a_report_that_was_stored_without_its_source_counts() -> None:
    report = Progress(ProgressStep.PACKING)
    assert Order(number=NUMBER, progress=(report,), route=Route(WMS, "WH1")).reported == (report,)


@pytest.mark.parametrize(
    ("facts", "final"),
    [
        ([], False),
        ([shipped(final=False, X=1)], False),
        ([shipped(final=False, X=1), shipped("M2", final=False, X=1)], False),
        ([shipped(X=1)], True),
        ([shipped("M2", X=1), shipped("M1", final=False, X=1)], True),
        ([elsewhere(shipped(X=1))], False),
        ([shipped(final=False, X=1), elsewhere(shipped(X=1))], False),
    ],
    ids=["nothing", "a part", "two parts", "final", "final before the part", "another's", "another's after our part"],
)
def test_the_last_parcel_is_the_routed_warehouses(facts: list[Facts | Told], final: bool) -> None:
    assert known(*facts, route=Route(WMS, "WH1")).shipped_final is final


def test_issued_is_the_last_command_of_its_kind() -> None:
    create = Command(WMS, 1, Operation.CREATE, "create")
    first, second = (Command(SHOP, seq, Operation.SHIP, f"ship:wms/M{seq}") for seq in (1, 2))
    order = known(commands=(create, first, second))
    assert order.issued(Operation.CREATE) is create
    assert order.issued(Operation.SHIP) is second
    assert order.issued(Operation.CANCEL) is None


# --- digest -----------------------------------------------------------------------------------------------------

_CONTENT = content()


@pytest.mark.parametrize(
    "changed",
    [
        content({"X": 3}),
        content({"Y": 2}),
        content({"X": 2, "Y": 1}),
        content(receiver=Receiver()),
        content(total_minor=2001),
    ],
    ids=["pieces", "SKU", "lines", "receiver", "amount"],
)
def test_a_digest_changes_with_the_content(changed: Content) -> None:
    assert digest(changed) != digest(_CONTENT)
    assert len(digest(changed)) == 8


@pytest.mark.parametrize(
    "noted",
    [
        msgspec.structs.replace(_CONTENT, buyer_note="ring twice"),
        msgspec.structs.replace(_CONTENT, seller_note="called him"),
        msgspec.structs.replace(_CONTENT, latest_ship_at=PLACED_AT + timedelta(days=2)),
    ],
    ids=["buyer's note", "seller's note", "latest time to ship"],
)
def test_a_digest_does_not_see_what_is_only_noted(noted: Content) -> None:
    assert digest(noted) == digest(_CONTENT)


def test_one_instant_in_two_zones_has_one_digest() -> None:
    other = msgspec.structs.replace(_CONTENT, placed_at=PLACED_AT.astimezone(timezone(timedelta(hours=8))))
    assert digest(other) == digest(_CONTENT)


def test_a_digest_outlives_the_release_that_made_it() -> None:
    """Orders that have been sent keep it: one that also saw a field of a later release, at its default, would call all
    of them changed after they were sent."""
    sent = Content(PLACED_AT, (Line("1", Sku("X"), 2, 1000),), Receiver("王*", "138****1234"), 2000)
    assert digest(sent).hex() == "d345cae4e90c364e"


def test_a_digest_of_an_earlier_release_which_saw_the_notes_is_no_change() -> None:
    """It is compared as it was made, and replaced by one that does not see them as soon as another content comes."""
    noted = msgspec.structs.replace(_CONTENT, seller_note="called him")
    stored = hashlib.blake2b(encode(noted), digest_size=8).digest()
    create = Command(WMS, 1, Operation.CREATE, "create")
    order = known(said(2, content=noted), commands=(create,), sent_content=stored)
    assert not order.changed_after_sent
    memo = merge(order, said(3, content=msgspec.structs.replace(noted, seller_note="called again")), SHOP)
    assert not memo.changed_after_sent and memo.sent_content == digest(_CONTENT)
    assert merge(memo, said(4, content=content({"X": 3})), SHOP).changed_after_sent
    assert merge(order, said(4, content=content({"X": 3})), SHOP).changed_after_sent


# --- stored states ----------------------------------------------------------------------------------------------

# Fields by their place, as they lie in the database. Nothing here may ever have to be changed.
_SHORTEST = ["A1"]
_REQUIRED_ONLY = [
    "A1",
    "shop",
    "1",
    [1, 10, [PLACED_AT, [["1", "X", 2, 1000]], ["王*"], 2000]],
    [2, 20, [True]],
    [3, 20, [False]],
    [4, 50, [True]],
    {"R1": [3, 0, ["R1", "open"]]},
    {"wms/M1": ["M1", False, [["SF", "SF1"]]]},
    [[30]],
    "observed",
    ["wms", "WH1"],
    [["X", "WH1"]],
    [["wms", 1, "create", "create"]],
]
_EVERYTHING = [
    "A1",
    "shop",
    "1",
    [
        1,
        10,
        [
            PLACED_AT,
            [["1", "X", 2, 1000, "Cup", 5]],
            ["王*", "138****1234", "浙江省", "杭州市", "西湖区", "三墩", "文一路1号", "310000", "OAID"],
            2000,
            "USD",
            300,
            20,
            "ring twice",
            "fragile",
            PLACED_AT,
        ],
    ],
    [2, 20, [True, 2000, PLACED_AT, "alipay"]],
    [3, 20, [True, "risk"]],
    [4, 50, [True, "buyer"]],
    {"R1": [3, 0, ["R1", "done", 500, "broken"]]},
    {"wms/M1": ["M1", True, [["SF", "SF1", [["X", 1]]]], [["X", 1]], PLACED_AT]},
    [[90, "lost", PLACED_AT]],
    "before_start",
    ["wms", "WH1"],
    [["X", "WH1", 1, 2, 3]],
    [["wms", 1, "create", "create"]],
    "shipped",
    ["unpaid"],
    ["held_after_sent"],
    b"12345678",
    ["Z"],
]


@pytest.mark.parametrize(
    ("stored", "order"),
    [
        (_SHORTEST, Order(number=NUMBER)),
        (
            _REQUIRED_ONLY,
            Order(
                number=NUMBER,
                connection=SHOP,
                channel_no="1",
                content=Register(
                    1, 10, Content(PLACED_AT, (Line("1", Sku("X"), 2, 1000),), Receiver(name="王*"), total_minor=2000)
                ),
                payment=Register(2, 20, Payment(paid=True)),
                hold=Register(3, 20, Hold(held=False)),
                closing=Register(4, 50, Closing(closed=True)),
                refunds={"R1": Register(3, 0, Refund("R1", OPEN))},
                confirmations={"wms/M1": Confirmation("M1", final=False, parcels=(Parcel("SF", "SF1"),))},
                progress=(Progress(ProgressStep.PACKING),),
                origin=Origin.OBSERVED,
                route=Route(WMS, "WH1"),
                booked=(Booking(Sku("X"), "WH1"),),
                commands=(Command(WMS, 1, Operation.CREATE, "create"),),
            ),
        ),
        (
            _EVERYTHING,
            Order(
                number=NUMBER,
                connection=SHOP,
                channel_no="1",
                content=Register(
                    1,
                    10,
                    Content(
                        placed_at=PLACED_AT,
                        lines=(Line("1", Sku("X"), 2, price_minor=1000, name="Cup", discount_minor=5),),
                        receiver=Receiver(
                            name="王*",
                            phone="138****1234",
                            province="浙江省",
                            city="杭州市",
                            district="西湖区",
                            town="三墩",
                            detail="文一路1号",
                            postcode="310000",
                            token="OAID",
                        ),
                        total_minor=2000,
                        currency="USD",
                        freight_minor=300,
                        discount_minor=20,
                        buyer_note="ring twice",
                        seller_note="fragile",
                        latest_ship_at=PLACED_AT,
                    ),
                ),
                payment=Register(2, 20, Payment(True, amount_minor=2000, paid_at=PLACED_AT, method="alipay")),
                hold=Register(3, 20, Hold(True, reason="risk")),
                closing=Register(4, 50, Closing(True, reason="buyer")),
                refunds={"R1": Register(3, 0, Refund("R1", DONE, amount_minor=500, reason="broken"))},
                confirmations={
                    "wms/M1": Confirmation(
                        "M1",
                        final=True,
                        parcels=(Parcel("SF", "SF1", items=((Sku("X"), 1),)),),
                        shipped=((Sku("X"), 1),),
                        at=PLACED_AT,
                    )
                },
                progress=(Progress(ProgressStep.EXCEPTION, text="lost", at=PLACED_AT),),
                origin=Origin.BEFORE_START,
                route=Route(target=WMS, warehouse="WH1"),
                booked=(Booking(Sku("X"), "WH1", locked=1, committed=2, shipped=3),),
                commands=(Command(WMS, seq=1, operation=Operation.CREATE, key="create"),),
                stage=Stage.SHIPPED,
                reasons=("unpaid",),
                conflicts=("held_after_sent",),
                sent_content=b"12345678",
                unbooked=(Sku("Z"),),
            ),
        ),
    ],
    ids=["number only", "required fields only", "every field"],
)
def test_orders_of_earlier_releases_are_read(stored: Sequence[object], order: Order) -> None:
    """Fields have a place, not a name: one that is put between two others gives every stored order wrong values."""
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(stored), type=Order) == order


@_thorough
@given(_told, st.integers(1, len(Order.__struct_fields__)))
def test_an_order_stored_with_fewer_fields_has_the_defaults_for_the_rest(told: list[Told], kept: int) -> None:
    order = known(*told, stage=Stage.CONFLICT, reasons=("unpaid",), sent_content=b"12345678", unbooked=(Sku("Z"),))
    fields: list[object] = msgspec.msgpack.decode(msgspec.msgpack.encode(order))
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(fields[:kept]), type=Order)
    names = Order.__struct_fields__
    assert read == Order(**{name: getattr(order, name) for name in names[:kept]})


def test_the_receiver_of_the_sample_is_masked() -> None:
    assert "*" in RECEIVER.name and "*" in RECEIVER.phone
