"""Property: what becomes of an order depends on which events there are, not on when or how often they arrive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.order import (
    Closing,
    Facts,
    Operation,
    Order,
    OrderNumber,
    Part,
    Party,
    Payment,
    ProgressStep,
    Recipe,
    RefundStatus,
    Register,
    Sku,
    Stage,
    as_withdrawn,
    differences,
    forgotten,
    merge,
    told_anew,
)
from gateway.pipeline.decide import Step
from gateway.pipeline.rules import Rules, UnknownSku
from tests.core.sample import closed, held, paid, placed, refund, reported, said, shipped
from tests.pipeline.sample import Books, elsewhere, facts_of, rules, step

# Few versions, so that they tie; few SKUs, of which one is known to no shelf.
_versions = st.integers(1, 4)
_skus = st.sampled_from(["X", "Y", "unknown"])
_lines = st.dictionaries(_skus, st.integers(1, 3), min_size=1)
_confirmations = st.builds(
    lambda name, final, pieces: shipped(name, final=final, **pieces),
    st.sampled_from(["M1", "M2"]),
    st.booleans(),
    st.dictionaries(_skus, st.integers(0, 2)),
)
_reports = st.builds(reported, st.sampled_from(ProgressStep))
_facts: st.SearchStrategy[Facts | Step] = st.one_of(
    st.builds(lambda version, lines: placed(version, **lines), _versions, _lines),
    st.builds(paid, _versions, st.sampled_from([0, 1000, 2000])),
    st.builds(lambda version: said(version, payment=Payment(False)), _versions),
    st.builds(
        lambda version, yes, for_person: held(version, yes=yes, for_person=for_person),
        _versions,
        st.booleans(),
        st.booleans(),
    ),
    st.builds(closed, _versions),
    st.builds(lambda version: said(version, closing=Closing(False)), _versions),
    st.builds(
        refund, _versions, st.sampled_from(RefundStatus), st.sampled_from([500, 2000]), st.sampled_from(["R1", "R2"])
    ),
    _confirmations,
    st.builds(elsewhere, _confirmations),
    _reports,
    st.builds(elsewhere, _reports),
)
_gone = st.one_of(
    st.builds(lambda version, left: said(version, left=left), _versions, st.booleans()),
    st.builds(lambda version: said(version, left=False, closing=Closing(True, after_shipping=True)), _versions),
)
"""Not among `_facts`: what of an order may depend on when these are told is in a property of its own, below."""
_rules = st.builds(rules, unknown_sku=st.sampled_from(UnknownSku), takes_shipments=st.booleans(), mapped=st.booleans())
# The shop's own names: X stands for itself and a gift, Y for a bundle of both; "unknown" has no row.
_TABLE = (
    Recipe(Sku("X"), (Part(Sku("X"), 1), Part(Sku("Y"), 1, gift=True))),
    Recipe(Sku("Y"), (Part(Sku("X"), 2), Part(Sku("Y"), 3))),
)

Event = tuple[OrderNumber, Facts | Step]


@st.composite
def _arrivals(draw: st.DrawFn, *, gone: bool = True) -> tuple[list[Event], list[list[Event]]]:
    """Distinct events in a fixed sequence, and the same events shuffled, repeated and cut into batches."""
    facts = st.one_of(_facts, _gone) if gone else _facts
    number = st.sampled_from(["A1", "A1", "A1", "A2", "A3"]).map(OrderNumber)
    events = draw(st.lists(st.tuples(number, facts), min_size=1, max_size=14))
    if draw(st.booleans()):
        # Left to chance hardly any order has all it takes to be sent, and something that would have kept it.
        events += [(OrderNumber("A1"), placed(2, X=2)), (OrderNumber("A1"), paid(2, 2000))]
    distinct = sorted({repr(event): event for event in events}.values(), key=repr)
    repeats = draw(st.lists(st.sampled_from(distinct), max_size=10))
    arriving = draw(st.permutations(distinct + repeats))
    batches, rest = [], list(arriving)
    while rest:
        size = draw(st.integers(1, len(rest)))
        batches.append(rest[:size])
        rest = rest[size:]
    return distinct, batches


def _books(by: Rules, stock: Mapping[str, int]) -> Books:
    books = Books(by, stock)
    books.map(*_TABLE)
    return books


_OF_WHAT_WAS_SENT = frozenset(
    {"changed_after_sent", "held_after_sent", "reopened_after_cancel", "refunded_but_shipped", "shipped_elsewhere"}
)
"""Conflicts between the facts and the commands that had left before them."""


def _apart_from_what_was_sent(order: Order) -> set[str]:
    return set(order.conflicts) - _OF_WHAT_WAS_SENT


_thorough = settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])


_TOLD = ("content", "payment", "hold", "left", "closing", "refunds", "confirmations", "progress")


@pytest.mark.feature("F12")
@_thorough
@given(_arrivals(), _rules)
def test_of_what_is_called_stale_nothing_is_taken_and_of_all_else_something(
    arrivals: tuple[list[Event], list[list[Event]]], by: Rules
) -> None:
    books = _books(by, {"X": 5, "Y": 4})
    for batch in arrivals[1]:
        before = dict(books.orders)
        for decision in books.take(batch):
            number, stale = decision.order.number, dict(decision.stale)
            order = before.get(number) or Order(number=number)
            steps = [facts for named, facts in batch if named == number]
            assert stale.keys() <= set(range(len(steps)))
            for place, told in enumerate(map(step, steps)):
                assert told.facts is not None
                known = [getattr(order, name) for name in _TOLD]
                first = not order.connection and told.facts.party is Party.SHOP
                newest = max((one.version for one in known if isinstance(one, Register)), default=0)
                newest = max([newest, *(one.version for one in order.refunds.values())])
                order = merge(order, told.facts, told.source)
                taken = first or [getattr(order, name) for name in _TOLD] != known
                assert (place in stale) is not taken
                assert stale.get(place) != "older" or told.facts.version < newest
            assert [getattr(order, name) for name in _TOLD] == [getattr(decision.order, name) for name in _TOLD]


def test_an_older_event_and_one_with_nothing_new_are_told_apart() -> None:
    books = _books(rules(), {"X": 5})
    number = OrderNumber("A1")
    [first] = books.take([(number, placed(3, X=2)), (number, placed(2, X=1))])
    assert first.stale == ((1, "older"),)
    [second] = books.take([(number, placed(3, X=2)), (number, paid(2, 2000)), (number, paid(1, 1000))])
    assert second.stale == ((0, "unchanged"), (2, "older"))
    [third] = books.take([(number, refund(4, RefundStatus.OPEN, 500)), (number, refund(3, RefundStatus.DONE, 500))])
    assert third.stale == ((1, "older"),)


@pytest.mark.feature("F13")
@pytest.mark.feature("F45")
@_thorough
@given(_arrivals(gone=False), _rules)
def test_any_sequence_ends_in_the_same_state(arrivals: tuple[list[Event], list[list[Event]]], by: Rules) -> None:
    """Facts, stage, bookings and conflicts, save those conflicts that are about what was sent.

    A command that has left is not taken back, and whether it left depends on what was known first:
    `changed_after_sent`, `held_after_sent` and `shipped_elsewhere` need a *create* that went out before the shop
    changed, held or shipped the order; `reopened_after_cancel` and `refunded_but_shipped` a *cancel* that went out
    before the shop wanted the order after all, or before the parcel left. Told the other way round nothing is sent, and
    nothing contradicts it. Where the same was sent, they are the same too.
    """
    distinct, batches = arrivals
    stock = {"X": 10_000, "Y": 10_000}
    sorted_books, books = _books(by, stock), _books(by, stock)
    for event in distinct:
        sorted_books.take([event])
    for batch in batches:
        books.take(batch)
        books.check_ledger()
    assert books.orders.keys() == sorted_books.orders.keys()
    for number, order in books.orders.items():
        expected = sorted_books.orders[number]
        assert facts_of(order) == facts_of(expected)
        assert (order.stage, order.reasons) == (expected.stage, expected.reasons)
        assert order.booked == expected.booked
        assert _apart_from_what_was_sent(order) == _apart_from_what_was_sent(expected)
        if (order.commands, order.sent_content) == (expected.commands, expected.sent_content):
            assert order.conflicts == expected.conflicts
    assert books.sums() == sorted_books.sums()


@_thorough
@given(_arrivals(), _rules)
def test_what_has_left_by_the_shop_s_word_is_told_in_any_sequence_too(
    arrivals: tuple[list[Event], list[list[Event]]], by: Rules
) -> None:
    """Its facts, and where the same was sent its stage and conflicts; what it has booked unless it left, or is over.

    What the shop says has left is over for us where no warehouse had been told of it; where one had, that one's word is
    waited for. And only what was kept for it before has left our shelf: where nothing was, nobody knows from where it
    came. Both depend on what was known first, so equal bookings cannot hold for them.
    """
    distinct, batches = arrivals
    stock = {"X": 10_000, "Y": 10_000}
    sorted_books, books = _books(by, stock), _books(by, stock)
    for event in distinct:
        sorted_books.take([event])
    for batch in batches:
        books.take(batch)
        books.check_ledger()
    assert books.orders.keys() == sorted_books.orders.keys()
    for number, order in books.orders.items():
        expected = sorted_books.orders[number]
        assert facts_of(order) == facts_of(expected)
        if (order.commands, order.sent_content) == (expected.commands, expected.sent_content):
            assert (order.stage, order.reasons, order.conflicts) == (
                expected.stage,
                expected.reasons,
                expected.conflicts,
            )
            if not (order.left_by_other_hand or order.closed or order.refunded):
                assert order.booked == expected.booked


@_thorough
@given(_arrivals(), _rules)
def test_deciding_again_changes_nothing(arrivals: tuple[list[Event], list[list[Event]]], by: Rules) -> None:
    distinct, batches = arrivals
    books = _books(by, {"X": 10_000, "Y": 10_000})
    for batch in batches:
        books.take(batch)
    moved = len(books.ledger)
    assert [decision for decision in books.take(distinct) if decision.changed or decision.commands] == []
    assert len(books.ledger) == moved


@_thorough
@given(_arrivals(), _rules)
def test_all_that_was_told_told_anew_is_what_is_known(
    arrivals: tuple[list[Event], list[list[Event]]], by: Rules
) -> None:
    """Messages that are parsed again to the same effect change nothing, whatever was done about them meanwhile."""
    books = _books(by, {"X": 10_000, "Y": 10_000})
    for batch in arrivals[1]:
        books.take(batch)
    for number, order in books.orders.items():
        told = [step(facts) for named, facts in arrivals[0] if named == number]
        assert told_anew(order, [(one.source, one.facts) for one in told if one.facts is not None]) is order
        fewer = told_anew(order, [(one.source, one.facts) for one in told[1:] if one.facts is not None])
        assert fewer is order or forgotten(order, fewer) or differences(order, fewer)
        assert (fewer.commands, fewer.booked, fewer.route, fewer.origin) == (
            order.commands, order.booked, order.route, order.origin
        )  # fmt: skip


@_thorough
@given(_arrivals(), _rules, st.integers(0, 6), st.integers(0, 6))
def test_scarce_stock_is_never_sold_twice(
    arrivals: tuple[list[Event], list[list[Event]]],
    by: Rules,
    x: int,
    y: int,
) -> None:
    _, batches = arrivals
    books = _books(by, {"X": x, "Y": y})
    for batch in batches:
        books.take(batch)
        books.check_ledger()


@_thorough
@given(_arrivals(), _rules)
def test_nothing_rests_without_a_word(arrivals: tuple[list[Event], list[list[Event]]], by: Rules) -> None:
    """What waits says why, what was stopped after it was sent is cancelled, and what is over keeps no stock."""
    books = _books(by, {"X": 10_000, "Y": 10_000})
    for batch in arrivals[1]:
        books.take(batch)
    for order in books.orders.values():
        create, cancel = order.issued(Operation.CREATE), order.issued(Operation.CANCEL)
        stopped = order.closed or order.refunded or order.refund_open
        if order.stage in (Stage.RECEIVED, Stage.REVIEWED):
            assert order.reasons
        if order.stage is Stage.ALLOCATED:
            assert create is not None or order.conflicts
        if create is not None and not order.shipped_final:
            assert cancel is not None or not stopped
            assert cancel is None or stopped or "reopened_after_cancel" in order.conflicts
        if order.closed or order.refunded or order.shipped_final:
            assert not any(booking.locked or booking.committed for booking in order.booked)


@_thorough
@given(_arrivals(), _rules)
def test_commands_are_numbered_and_said_once(arrivals: tuple[list[Event], list[list[Event]]], by: Rules) -> None:
    books = _books(by, {"X": 10_000, "Y": 10_000})
    for batch in arrivals[1]:
        books.take(batch)
    for order in books.orders.values():
        by_target: Counter[str] = Counter()
        for command in order.commands:
            by_target[command.target] += 1
            assert command.seq == by_target[command.target]
        assert len({(command.target, command.key) for command in order.commands}) == len(order.commands)
        operations = [command.operation for command in order.commands if command.operation is not Operation.SHIP]
        assert operations in ([], [Operation.CREATE], [Operation.CREATE, Operation.CANCEL])


def _withdraw(books: Books) -> None:
    """As a worker does whose target is down: nothing of what the shop has called off was sent."""
    again = []
    for number, order in books.orders.items():
        create, cancel = order.issued(Operation.CREATE), order.issued(Operation.CANCEL)
        if create is not None and cancel is not None:
            books.orders[number] = as_withdrawn(order, create.target)
            again.append(number)
    books.reconsider(*again)


_planned = st.tuples(
    st.just(placed(1, X=2)) | st.just(placed(1, X=2, unknown=1)),
    st.just(paid(1, 2000)),
    st.just(closed(2)) | st.just(refund(2, RefundStatus.OPEN, 500)),
)


@_thorough
@given(_planned, _arrivals(), _rules, st.lists(st.booleans(), min_size=8, max_size=8))
def test_what_is_withdrawn_ends_as_if_it_had_never_been_planned(
    planned: tuple[Facts, ...], arrivals: tuple[list[Event], list[list[Event]]], by: Rules, down: list[bool]
) -> None:
    """It stands as it is decided again, is sent where the shop wants it, and its cancel is never forgotten."""
    books = _books(by, {"X": 10_000, "Y": 10_000})
    batches = [*([(OrderNumber("A1"), facts)] for facts in planned), *arrivals[1]]
    for place, batch in enumerate(batches):
        books.take(batch)
        if down[place % len(down)]:
            _withdraw(books)
        books.check_ledger()
    _withdraw(books)
    books.check_ledger()
    before = dict(books.orders)
    books.reconsider(*before)
    assert books.orders == before
    for order in books.orders.values():
        create, cancel = order.issued(Operation.CREATE), order.issued(Operation.CANCEL)
        assert cancel is None and not set(order.conflicts) & {"reopened_after_cancel", "refunded_but_shipped"}
        if create is not None:
            assert order.shipped_final or not (order.closed or order.refunded or order.refund_open)
            rewritten = msgspec.structs.replace(order, withdrawn=0)  # by a gateway of before
            assert rewritten.issued(Operation.CREATE) is create and rewritten.issued(Operation.CANCEL) is None
        else:
            assert not order.unbooked or order.confirmed
        if order.stage is Stage.ALLOCATED:
            assert create is not None or order.conflicts
