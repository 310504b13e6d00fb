"""The way out: parcels told once whatever happens on the way, and levels, against a shop that keeps books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from adapters.pinduoduo.fake import FakeLine, FakePinduoduo
from adapters.pinduoduo.settings import Refunds
from adapters.pinduoduo.target import PinduoduoTarget
from gateway.plugins import discover
from gateway.sdk.carriers import load_carriers
from gateway.sdk.http import Http, NotSent
from gateway.sdk.models import (
    Answer,
    Command,
    Confirmation,
    ConnectionName,
    Delivery,
    Done,
    Failed,
    Found,
    Level,
    NotFound,
    Operation,
    Order,
    OrdergateError,
    OrderNumber,
    Parcel,
    Rejected,
    Throttled,
    Unauthorised,
    Unknown,
)
from tests.adapters.pinduoduo.shop import Clock, CountingBudget, access_of, setup_for
from tests.languages import is_told

CUP = FakeLine(outer_id="CUP", quantity=2, price_minor=3990)
ONE = (Parcel("SF", "SF1"),)
TWO = (Parcel("SF", "SF1"), Parcel("ZTO", "ZT2"))


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with Http(connections=8) as client:
        yield client


@pytest.fixture
async def fake() -> AsyncIterator[FakePinduoduo]:
    async with FakePinduoduo(now=Clock()) as shop:
        yield shop


def target_of(
    fake: FakePinduoduo, http: Http, *, budget: CountingBudget | None = None, **settings: Any
) -> PinduoduoTarget:
    return PinduoduoTarget(setup_for(fake.router_url, now=fake.now, **settings), access_of(fake, http, budget=budget))


def ship(order_sn: str, parcels: tuple[Parcel, ...] = ONE, *, operation: Operation = Operation.SHIP) -> Delivery:
    order = Order(
        number=OrderNumber(f"P{order_sn}"),
        channel_no=order_sn,
        confirmations={"wms/M1": Confirmation("M1", True, parcels)},
    )
    return Delivery(order_id=1, order=order, command=Command(ConnectionName("pdd-1"), 1, operation, "ship:wms/M1"))


async def test_ship_and_find(fake: FakePinduoduo, http: Http) -> None:
    out, budget = target_of(fake, http), CountingBudget()
    order_sn = fake.place([CUP])

    assert await out.find(ship(order_sn), deadline_s=5) == NotFound()
    assert await target_of(fake, http, budget=budget).send(ship(order_sn), deadline_s=5) == Done("SF1")
    assert await out.find(ship(order_sn), deadline_s=5) == Found("SF1")
    assert fake.orders[order_sn].parcels == [(44, "SF1")]
    assert fake.books.orders[order_sn].commands == ["ship:SF1"]
    assert budget.turns == 1


@pytest.mark.feature("F127")
async def test_shipped_already_is_success_and_nothing_is_overwritten(fake: FakePinduoduo, http: Http) -> None:
    out = target_of(fake, http)
    order_sn = fake.place([CUP])
    await out.send(ship(order_sn), deadline_s=5)

    assert await out.send(ship(order_sn), deadline_s=5) == Done("SF1", already=True)
    assert (fake.books.orders[order_sn].commands, fake.books.repeats) == (["ship:SF1"], 0)


@pytest.mark.feature("F127")
async def test_another_order_than_was_looked_up_says_nothing(fake: FakePinduoduo, http: Http) -> None:
    out = target_of(fake, http)
    order_sn, other = fake.place([CUP]), fake.place([CUP])
    fake.ship_by_hand(other, logistics_id=44, tracking_number="SF1")
    fake.orders[order_sn] = fake.orders[other]
    assert await out.send(ship(order_sn), deadline_s=5) == Failed("shape", "the platform answers with another order")
    assert await out.find(ship(order_sn), deadline_s=5) == Failed("shape", "the platform answers with another order")


@pytest.mark.feature("F127")
@pytest.mark.parametrize("extra_parcels", ["missing", "all"])
async def test_further_parcels_stand_beside_the_first(fake: FakePinduoduo, http: Http, extra_parcels: str) -> None:
    out = target_of(fake, http, extra_parcels=extra_parcels)
    order_sn = fake.place([CUP])

    assert await out.send(ship(order_sn, TWO), deadline_s=5) == Done("SF1+ZT2")
    assert fake.orders[order_sn].parcels == [(44, "SF1"), (115, "ZT2")]
    # A later confirmation of the same order.
    assert await out.find(ship(order_sn, (Parcel("YTO", "YT3"),)), deadline_s=5) == NotFound()
    assert await out.send(ship(order_sn, (Parcel("YTO", "YT3"),)), deadline_s=5) == Done("YT3")
    assert fake.orders[order_sn].parcels == [(44, "SF1"), (115, "ZT2"), (85, "YT3")]
    assert await out.send(ship(order_sn, TWO), deadline_s=5) == Done("SF1+ZT2", already=True)


async def test_further_parcels_can_be_left_out(fake: FakePinduoduo, http: Http) -> None:
    out = target_of(fake, http, extra_parcels="off")
    order_sn = fake.place([CUP])

    assert await out.send(ship(order_sn, TWO), deadline_s=5) == Done("SF1+ZT2")
    assert fake.orders[order_sn].parcels == [(44, "SF1")]
    assert await out.send(ship(order_sn, TWO), deadline_s=5) == Done("SF1+ZT2", already=True)
    assert await out.find(ship(order_sn, TWO), deadline_s=5) == Found("SF1+ZT2")


async def test_an_order_shipped_by_hand_keeps_its_number_and_gets_ours(fake: FakePinduoduo, http: Http) -> None:
    order_sn = fake.place([CUP])
    fake.ship_by_hand(order_sn, logistics_id=121, tracking_number="YD9")

    assert await target_of(fake, http).send(ship(order_sn), deadline_s=5) == Done("SF1")
    assert fake.orders[order_sn].parcels == [(121, "YD9"), (44, "SF1")]


@pytest.mark.feature("F66")
async def test_what_was_shipped_without_an_answer_is_found_and_not_shipped_again(
    fake: FakePinduoduo, http: Http
) -> None:
    out = target_of(fake, http)
    orders = [fake.place([CUP]) for _ in range(20)]
    fake.set_faults({"commit_then_timeout_share": 0.5, "first_attempts_only": True, "commands": ["ship"], "seed": 3})

    for order_sn in orders:
        answer: Answer = await out.send(ship(order_sn), deadline_s=0.2)
        if isinstance(answer, Unknown):
            assert answer.timeout
            assert await out.find(ship(order_sn), deadline_s=5) == Found("SF1")
            # Whoever sends all the same does no harm.
            assert await out.send(ship(order_sn), deadline_s=5) == Done("SF1", already=True)
        else:
            assert answer == Done("SF1")

    assert fake.books.injected["commit_then_timeout"] >= 5
    assert all(fake.books.orders[order_sn].commands == ["ship:SF1"] for order_sn in orders)
    assert fake.books.repeats == 0


async def test_what_takes_effect_between_our_look_and_our_request_is_settled_by_one_more_look(
    fake: FakePinduoduo, http: Http
) -> None:
    order_sn = fake.place([CUP])

    class Late(CountingBudget):
        """The turn for the shipment: an earlier one of ours arrives just then."""

        async def turn(self) -> None:
            await super().turn()
            if self.turns == 1:
                fake.ship_by_hand(order_sn, logistics_id=44, tracking_number="SF1")

    assert await target_of(fake, http, budget=Late()).send(ship(order_sn), deadline_s=5) == Done("SF1", already=True)
    assert fake.orders[order_sn].parcels == [(44, "SF1")]
    assert fake.books.repeats == 1


async def test_a_refusal_is_for_a_person(fake: FakePinduoduo, http: Http) -> None:
    order_sn = fake.place([CUP])
    fake.cancel(order_sn)
    answer = await target_of(fake, http).send(ship(order_sn), deadline_s=5)
    assert answer == Rejected("business", "40005 订单状态不允许发货")
    assert await target_of(fake, http).find(ship(order_sn), deadline_s=5) == NotFound()


async def test_a_refusal_that_nothing_is_left_to_look_behind_is_no_verdict(fake: FakePinduoduo, http: Http) -> None:
    """It may have been refused because an earlier request of ours was slow."""
    order_sn = fake.place([CUP])
    fake.cancel(order_sn)

    class Two(CountingBudget):
        async def turn(self) -> None:
            await super().turn()
            if self.turns > 1:
                await asyncio.Event().wait()

    answer = await target_of(fake, http, budget=Two()).send(ship(order_sn), deadline_s=0.3)
    assert answer == Unknown("business", "40005 订单状态不允许发货", answered=True)


async def test_an_order_the_platform_does_not_know(fake: FakePinduoduo, http: Http) -> None:
    out = target_of(fake, http)
    assert isinstance(await out.send(ship("none"), deadline_s=5), Rejected)
    assert await out.find(ship("none"), deadline_s=5) == Unknown("business", "40001 订单不存在", answered=True)


@pytest.mark.parametrize(
    ("parcels", "code"),
    [((), "content"), ((Parcel("NOBODY", "1"),), "unknown_carrier"), ((Parcel("CAINIAO", "1"),), "unknown_carrier")],
)
async def test_what_cannot_be_said_is_rejected_without_a_call(
    fake: FakePinduoduo, http: Http, parcels: tuple[Parcel, ...], code: str
) -> None:
    command = ship(fake.place([CUP]), parcels)
    answer = await target_of(fake, http).send(command, deadline_s=5)
    assert isinstance(answer, Rejected) and answer.code == code
    assert await target_of(fake, http).find(command, deadline_s=5) == answer
    assert fake.books.requests == 0


async def test_a_carrier_of_the_configuration(fake: FakePinduoduo, http: Http) -> None:
    order_sn = fake.place([CUP])
    setup = setup_for(fake.router_url, now=fake.now)
    for code, expected in (("191", Done("1")), ("CN", None)):
        carriers = load_carriers().extended({"CAINIAO": {"pinduoduo": code}})
        out = PinduoduoTarget(msgspec.structs.replace(setup, carriers=carriers), access_of(fake, http))
        answer = await out.send(ship(order_sn, (Parcel("CAINIAO", "1"),)), deadline_s=5)
        assert answer == expected or (expected is None and isinstance(answer, Rejected))
    assert fake.orders[order_sn].parcels == [(191, "1")]


async def test_only_shipments_are_sent(fake: FakePinduoduo, http: Http) -> None:
    answer = await target_of(fake, http).send(ship("A", operation=Operation.CREATE), deadline_s=5)
    assert isinstance(answer, Rejected) and answer.code == "unsupported"


@pytest.mark.parametrize(
    ("faults", "kind", "code", "effects"),
    [
        ({"share_5xx": 1.0}, Failed, "http_503", 0),
        ({"share_5xx": 1.0, "status_5xx": 500}, Unknown, "http_500", 0),
        ({"error_in_200_share": 1.0}, Unknown, "internal", 0),
        ({"throttle_per_s": 0.0}, Throttled, "", 0),
        ({"throttle_per_s": 0.0, "throttle_in_200": True}, Throttled, "", 0),
        ({"garbage_share": 1.0}, Unknown, "unreadable", 1),
        ({"hang_share": 1.0}, Unknown, "timeout", 0),
    ],
)
async def test_faults_of_the_shipment(
    fake: FakePinduoduo, http: Http, faults: dict[str, Any], kind: type, code: str, effects: int
) -> None:
    order_sn = fake.place([CUP])
    fake.set_faults({**faults, "commands": ["ship"]})
    answer = await target_of(fake, http).send(ship(order_sn), deadline_s=0.3)
    assert type(answer) is kind and getattr(answer, "code", "") == code
    assert fake.books.effects == effects


@pytest.mark.parametrize("faults", [{"hang_share": 1.0}, {"error_in_200_share": 1.0}, {"share_5xx": 1.0}])
async def test_after_a_look_that_failed_nothing_is_in_doubt(
    fake: FakePinduoduo, http: Http, faults: dict[str, Any]
) -> None:
    order_sn = fake.place([CUP])
    fake.set_faults({**faults, "commands": ["detail"]})
    assert isinstance(await target_of(fake, http).send(ship(order_sn), deadline_s=0.2), Failed)
    assert fake.books.effects == 0


async def test_without_a_turn_in_time_it_waits_uncounted(fake: FakePinduoduo, http: Http) -> None:
    class Never(CountingBudget):
        async def turn(self) -> None:
            await asyncio.Event().wait()

    answer = await target_of(fake, http, budget=Never()).send(ship(fake.place([CUP])), deadline_s=0.2)
    assert isinstance(answer, Throttled)
    assert fake.books.effects == 0


@pytest.mark.feature("F6")
async def test_an_ended_authorisation(fake: FakePinduoduo, http: Http) -> None:
    out = target_of(fake, http)
    order_sn = fake.place([CUP])
    fake.expire()

    for answer in (
        await out.send(ship(order_sn), deadline_s=5),
        await out.find(ship(order_sn), deadline_s=5),
        await out.set_level(Level("CUP", 1, "900001"), deadline_s=5),
    ):
        assert isinstance(answer, Unauthorised) and answer.code == "10019"
    fake.authorise(lifetime_s=3600)
    assert await out.send(ship(order_sn), deadline_s=5) == Done("SF1")


# --- stock ------------------------------------------------------------------------------------------------------


async def test_levels_are_absolute(fake: FakePinduoduo, http: Http) -> None:
    out = target_of(fake, http)

    assert await out.set_level(Level("CUP", 7, "900001"), deadline_s=5) == Done()
    assert await out.set_level(Level("CUP", 5, "900001"), deadline_s=5) == Done()
    assert await out.set_level(Level("CUP", 0, "900001", "800001"), deadline_s=5) == Done()
    assert fake.levels == {("900001", "CUP"): 5, ("900001", "800001"): 0}
    assert fake.books.orders == {}


async def test_a_level_that_cannot_be_set(fake: FakePinduoduo, http: Http) -> None:
    out = target_of(fake, http)
    assert isinstance(answer := await out.set_level(Level("CUP", 7), deadline_s=5), Rejected)
    assert answer.code == "no_item" and fake.books.requests == 0
    await out.set_level(Level("CUP", 7, "900001"), deadline_s=5)
    fake.promoted.add("900001")
    assert isinstance(await out.set_level(Level("CUP", 6, "900001"), deadline_s=5), Rejected)
    assert await out.set_level(Level("CUP", 8, "900001"), deadline_s=5) == Done()


# --- check ------------------------------------------------------------------------------------------------------


async def test_check_asks_for_clock_signature_and_authorisation(fake: FakePinduoduo, http: Http) -> None:
    await target_of(fake, http).check(deadline_s=5)
    assert fake.books.effects == 0
    with pytest.raises(OrdergateError, match="20004") as refused:
        await target_of(fake, http, client_secret="other").check(deadline_s=5)
    assert is_told(refused.value.text)
    fake.expire()
    with pytest.raises(OrdergateError, match="10019") as refused:
        await target_of(fake, http).check(deadline_s=5)
    assert is_told(refused.value.text)


async def test_check_tells_that_the_list_of_cases_may_not_be_read(fake: FakePinduoduo, http: Http) -> None:
    fake.cases_listed = False
    with pytest.raises(OrdergateError, match=r"refunds: hold.*20031") as refused:
        await target_of(fake, http).check(deadline_s=5)
    assert is_told(refused.value.text)
    await target_of(fake, http, refunds=Refunds.HOLD).check(deadline_s=5)


async def test_check_tells_a_wrong_clock(fake: FakePinduoduo, http: Http) -> None:
    setup = setup_for(fake.router_url, now=lambda: fake.now() + timedelta(seconds=90))
    with pytest.raises(OrdergateError, match=r"\+90 s") as refused:
        await PinduoduoTarget(setup, access_of(fake, http)).check(deadline_s=5)
    assert is_told(refused.value.text)


async def test_check_with_nobody_there(fake: FakePinduoduo, http: Http) -> None:
    setup = setup_for("http://127.0.0.1:9/api/router", now=fake.now)
    with pytest.raises((OrdergateError, NotSent), match="connect"):
        await PinduoduoTarget(setup, access_of(fake, http)).check(deadline_s=5)


def test_the_adapter_loads() -> None:
    adapter = discover().load("pinduoduo")
    assert adapter.pull_type is not None and adapter.target_type is PinduoduoTarget
    assert adapter.authoriser_type is not None and adapter.source_type is None
    assert {op: how.after_unknown for op, how in adapter.manifest.operations.items()} == {
        Operation.SHIP: "find",
        Operation.STOCK: "resend",
    }
