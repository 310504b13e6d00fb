"""The desk over HTTP: the work queue, many at once, already handled, the timeline with what people did, the export."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import msgspec
import pytest
from openpyxl import load_workbook

from gateway.api.advice import About, meaning, next_step, whose
from gateway.api.desk import Desk
from gateway.api.errors import ApiError
from gateway.api.routing import Call
from gateway.api.spreadsheet import harmless
from gateway.api.views import WorkItemsQuery, WorkQuery
from gateway.api.work import Work
from gateway.core import words
from gateway.core.order import Conflict, Reason
from gateway.core.owner import OwnerRule, WorkKind
from gateway.store.dead import set_aside
from gateway.store.work import WAIT_FOR_OTHERS, items
from gateway.testing.fakes import Faults
from tests.store.stuck import BLOCKED_AT, ERP, letter, open_desk, stick

from .conftest import ORDER, Gateway, is_told
from .test_routes import REFUSING

BEIJING = timezone(timedelta(hours=8))
WANTED = {"wanted": {"target": "erp"}}


async def refused(gateway: Gateway, *order_nos: str) -> list[str]:
    """Orders whose delivery the ERP has refused; it is well again."""
    gateway.erp.faults = REFUSING
    numbers = []
    for order_no in order_nos:
        numbers.append(await gateway.order(order_no=order_no))
        await gateway.blocked(numbers[-1])
    gateway.erp.faults = Faults()
    return numbers


@pytest.mark.feature("F74")
@pytest.mark.parametrize("limit", [1, 2, 500])
async def test_what_has_to_be_shipped_soon_is_listed_most_urgent_first(gateway: Gateway, limit: int) -> None:
    much = {"total": "9000.00", "payment": {"paid": True, "amount": "9000.00"}}
    now = datetime.now(UTC).replace(microsecond=123_456)
    for order_no, hours in (("1", 3.0), ("2", -5.0), ("3", 48.0), ("4", None), ("5", 3.0), ("6", 0.5)):
        at = None if hours is None else (now + timedelta(hours=hours)).astimezone(BEIJING).isoformat()
        await gateway.order(order_no=order_no, latest_ship_at=at, **much)
        await gateway.stage(f"S{order_no}", "received", reason="over_limit")
    await gateway.order(order_no="7", latest_ship_at=now.isoformat())
    await gateway.stage("S7", "allocated")

    seen: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        page = await gateway.get("/orders", near_ship_by=1, connection="shop", limit=limit, **after)
        seen += page["orders"]
        if not page["next"]:
            break
        after = {"after": page["next"]}
    # Of two with one time the first that came is first.
    assert [row["number"] for row in seen] == ["S2", "S6", "S1", "S5"]
    assert datetime.fromisoformat(seen[1]["ship_by"]) == now + timedelta(minutes=30)
    assert (await gateway.get("/orders", near_ship_by=1, connection="erp"))["orders"] == []
    assert [row["number"] for row in (await gateway.get("/orders", near_ship_by=1, channel_no="6"))["orders"]] == ["S6"]


@pytest.mark.feature("F115")
async def test_the_queue_says_what_whose_and_what_next(gateway: Gateway) -> None:
    await refused(gateway, "1", "2")
    await gateway.order(order_no="3", total="9000.00", payment={"paid": True, "amount": "9000.00"})
    await gateway.stage("S3", "received", reason="over_limit")
    await gateway.order(order_no="4", status="placed", payment={"paid": False})
    await gateway.stage("S4", "received", reason="unpaid")
    assert (await gateway.push({**ORDER, "order_no": "5", "lines": "none"})).status == 422
    await gateway.dead(1)

    queue = await gateway.get("/work")

    told = {(card["kind"], card["connection"], card["code"]): card for card in queue["cards"]}
    assert set(told) == {
        ("delivery", "erp", "rejected:http_4xx"), ("hold", "shop", "over_limit"), ("dead_letter", "shop", "shape"),
    }  # fmt: skip
    assert queue["total"] == 4
    card = told["delivery", "erp", "rejected:http_4xx"]
    assert (card["count"], card["samples"], card["operation"]) == (2, ["S1", "S2"], "create")
    assert card["means"] == {"zh": "被目标拒收（http_4xx）", "en": "the target refuses it (http_4xx)"}
    assert card["next"]["command"].startswith("ordergate deliveries redrive --target erp --operation create --code")
    assert card["owners"] == []

    items = (await gateway.get("/work/items", kind="delivery"))["items"]
    assert [item["number"] for item in items] == ["S1", "S2"]
    assert items[0]["next"]["call"] == "POST /deliveries/S1/erp/1/resend"
    assert (items[0]["last_code"], items[0]["shop"], items[0]["channel_no"]) == ("http_4xx", "shop", "1")

    first = await gateway.get("/work/items", limit=3)
    rest = await gateway.get("/work/items", limit=3, after=first["next"])
    assert len(first["items"]) == 3 and len(rest["items"]) == 1 and not rest["next"]
    assert (await gateway.get("/work", owner="nobody"))["cards"] == []
    assert (await gateway.get("/work/items", owner="nobody"))["items"] == []


WRONG: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/work?kind=lost", None, 422, "invalid"),
    ("GET", "/work/items?after=x", None, 422, "invalid"),
    ("GET", "/work/items?after=2026-05-01T00:00:00+00:00 7 x", None, 422, "invalid"),
    ("GET", "/work/export?limit=999999", None, 422, "invalid"),
    ("GET", "/redrives/7", None, 404, "not_found"),
    ("POST", "/redrives/7/stop", {"reason": "x"}, 404, "not_found"),
    ("POST", "/redrives", {"reason": "x"}, 422, "invalid"),
    ("POST", "/redrives", {"wanted": {}, "reason": "x"}, 422, "invalid"),
    ("POST", "/redrives", {"wanted": {"kinds": ["delivery"]}, "reason": "x"}, 422, "invalid"),
    ("POST", "/redrives", {"wanted": {"kinds": [], "target": "erp"}, "reason": "x"}, 422, "invalid"),
    ("POST", "/redrives", {"wanted": {"target": "erp"}}, 422, "invalid"),
    ("POST", "/redrives", {"wanted": {"target": "erp"}, "reason": ""}, 422, "invalid"),
    ("POST", "/redrives", {"wanted": {"target": "erp"}, "reason": "x", "cap": 0}, 422, "invalid"),
    ("POST", "/redrives", {"wanted": {"target": "erp"}, "reason": "x", "cap": 20_001}, 422, "invalid"),
    ("POST", "/redrives", {"wanted": {"target": "erp"}, "reason": "x", "per_s": 0}, 422, "invalid"),
    ("POST", "/redrives", {"wanted": {"target": "erp"}, "reason": "x", "per_s": 1e-60}, 422, "invalid"),
    ("POST", "/redrives", {"wanted": {"target": "erp"}, "reason": "x", "per_s": 1e-40}, 422, "invalid"),
    ("POST", "/redrives", {"wanted": {"since": "2026-05-01T00:00:00"}, "reason": "x"}, 422, "invalid"),
    ("POST", "/redrives", {"wanted": {"target": "epr"}, "reason": "x"}, 404, "not_found"),
    ("POST", "/redrives", {"wanted": {"operation": "crate"}, "reason": "x"}, 422, "invalid"),
    ("POST", "/redrives", {"wanted": {"target": "erp"}, "reason": "x"}, 409, "nothing"),
    ("POST", "/redrives/preview", {"wanted": {}}, 422, "invalid"),
    ("POST", "/deliveries/resolve/preview", {"wanted": {}}, 422, "invalid"),
    ("POST", "/deliveries/resolve", {"wanted": {}, "reason": "x"}, 422, "invalid"),
    ("POST", "/deliveries/resolve", {"wanted": {"target": "erp"}}, 422, "invalid"),
    ("POST", "/deliveries/resolve", {"wanted": {"target": "erp"}, "reason": "x", "cap": 5000}, 422, "invalid"),
    ("POST", "/deliveries/resolve", {"wanted": {"target": "erp"}, "reason": "x", "start_in_s": -1}, 422, "invalid"),
    ("POST", "/deliveries/resolve", {"wanted": {"target": "erp"}, "reason": "x", "start_in_s": 86401}, 422, "invalid"),
    ("POST", "/deliveries/resolve", {"wanted": {"target": "epr"}, "reason": "x"}, 404, "not_found"),
    ("POST", "/deliveries/resolve", {"wanted": {"target": "erp"}, "reason": "x"}, 409, "nothing"),
    ("POST", "/orders/nope/conflicts-handled", {"reason": "x"}, 404, "not_found"),
]


async def test_what_cannot_be_done_is_said(gateway: Gateway) -> None:
    for method, path, body, status, code in WRONG:
        answer = await gateway.call(method, path, body)

        assert (answer.status, answer.body["error"]) == (status, code), (path, body, answer)
        assert is_told(answer.body) and answer.body["where"]
    assert await gateway.audit() == []
    # A name that is nearly right is proposed.
    answer = await gateway.call("POST", "/redrives/preview", {"wanted": {"target": "epr"}})
    assert answer.body["advice"] == {"zh": "是不是 erp？", "en": "did you mean erp?"}


async def test_dead_letters_that_come_back_are_not_counted_as_done(gateway: Gateway) -> None:
    for order_no in ("1", "2"):
        await gateway.push({**ORDER, "order_no": order_no, "total": "much"})
    first = await gateway.dead(2)
    code = first[0]["code"]

    wanted = {"kinds": ["dead_letter"], "source": "shop", "code": code}
    started = await gateway.post("/redrives", {"wanted": wanted, "reason": "a try", "start_in_s": 0})

    async def ended() -> Any:
        redrive = await gateway.get(f"/redrives/{started['redrive']['redrive_id']}")
        return redrive if redrive["state"] == "done" else None

    redrive = await gateway.until(ended)
    assert (redrive["total"], redrive["done"], redrive["again"]) == (2, 0, 2)
    released = await gateway.get(f"/dead-letters/{first[0]['dead_letter_id']}")
    assert released["closed_reason"] == "a try"
    again = await gateway.dead(2)
    assert {one["dead_letter_id"] for one in again}.isdisjoint(one["dead_letter_id"] for one in first)


@pytest.mark.feature("F77")
async def test_many_are_sent_again_with_a_look_first_and_recorded(gateway: Gateway) -> None:
    numbers = await refused(gateway, "1", "2", "3")
    look = await gateway.post("/redrives/preview", {**WANTED, "cap": 2})
    assert (look["preview"]["total"], look["preview"]["chosen"], look["per_s"]) == (3, 2, 10.0)
    assert [group["how"] for group in look["preview"]["groups"]] == ["resend"]
    assert len((await gateway.get("/deliveries", state="blocked"))["deliveries"]) == 3

    started = await gateway.post("/redrives", {**WANTED, "cap": 2, "reason": "they are back", "start_in_s": 0})
    redrive_id = started["redrive"]["redrive_id"]
    for number in numbers[:2]:
        await gateway.sent(number)

    async def over() -> Any:
        row = await gateway.get(f"/redrives/{redrive_id}")
        return row if row["state"] == "done" else None

    row = await gateway.until(over)
    assert (row["total"], row["done"], row["again"], row["author"]) == (2, 2, 0, "admin/wang")
    assert row["wanted"] == {"kinds": ["delivery", "dead_letter"], "target": "erp"}
    assert [r["redrive_id"] for r in (await gateway.get("/redrives"))["redrives"]] == [redrive_id]
    assert (await gateway.get("/redrives", state="running"))["redrives"] == []
    assert gateway.erp.books.orders[numbers[0]].documents == 1
    assert [lane["number"] for lane in (await gateway.get("/deliveries", state="blocked"))["deliveries"]] == ["S3"]
    assert await gateway.audit() == [("admin/wang", "redrive.start", f"redrive/{redrive_id}", "they are back (2)")]
    late = await gateway.call("POST", f"/redrives/{redrive_id}/stop", {"reason": "x"})
    assert (late.status, late.body["error"]) == (409, "ended")
    timeline = (await gateway.get(f"/orders/{numbers[0]}"))["timeline"]
    assert [one["kind"] for one in timeline] == ["event", "delivery", "attempt", "redrive", "attempt"]


@pytest.mark.feature("F117")
async def test_within_its_window_a_redrive_is_undone(gateway: Gateway) -> None:
    await refused(gateway, "1", "2")
    before = [tuple(r) for r in await gateway.pool.fetch("SELECT lane::text FROM lane ORDER BY order_id")]
    started = await gateway.post("/redrives", {**WANTED, "reason": "x", "start_in_s": 600})

    path = f"/redrives/{started['redrive']['redrive_id']}/stop"
    row = await gateway.post(path, {"reason": "a mistake"})

    assert (row["state"], row["kept"], row["done"], row["ended_by"]) == ("stopped", 2, 0, "admin/wang")
    assert [tuple(r) for r in await gateway.pool.fetch("SELECT lane::text FROM lane ORDER BY order_id")] == before
    assert gateway.erp.books.effects == 0


@pytest.mark.feature("F129")
async def test_many_are_taken_for_handled(gateway: Gateway) -> None:
    await refused(gateway, "1", "2")
    look = await gateway.post("/deliveries/resolve/preview", WANTED)
    assert (look["total"], look["chosen"], look["groups"][0]["how"]) == (2, 2, "by_hand")

    started = await gateway.post("/deliveries/resolve", {**WANTED, "reason": "typed in", "start_in_s": 0})
    redrive_id = started["redrive"]["redrive_id"]

    async def over() -> Any:
        row = await gateway.get(f"/redrives/{redrive_id}")
        return row if row["state"] == "done" else None

    row = await gateway.until(over)
    assert (row["does"], row["total"], row["done"], row["skipped"], row["author"]) == ("resolve", 2, 2, 0, "admin/wang")
    assert await gateway.pool.fetchval("SELECT count(*) FROM lane") == 0 and gateway.erp.books.effects == 0
    assert await gateway.audit() == [
        ("admin/wang", "redrive.resolve", f"redrive/{redrive_id}", "typed in (2)"),
        ("admin/wang", "delivery.resolve", "S1/erp/1", "typed in"),
        ("admin/wang", "delivery.resolve", "S2/erp/1", "typed in"),
    ]
    timeline = (await gateway.get("/orders/S1"))["timeline"]
    assert [one["kind"] for one in timeline] == ["event", "delivery", "attempt", "hand", "attempt"]
    late = await gateway.call("POST", f"/redrives/{redrive_id}/stop", {"reason": "x"})
    assert (late.status, late.body["error"]) == (409, "ended")
    assert late.body["advice"] == {
        "zh": "没有可停止的；已标记的不能撤销",
        "en": "nothing is left to stop; what is resolved cannot be undone",
    }


@pytest.mark.feature("F117")
async def test_within_its_window_taking_many_for_handled_is_undone(gateway: Gateway) -> None:
    await refused(gateway, "1", "2")
    assert (await gateway.push({**ORDER, "order_no": "5", "lines": "none"})).status == 422
    await gateway.dead(1)
    tables = "SELECT lane::text FROM lane UNION ALL SELECT dead_letter::text FROM dead_letter ORDER BY 1"
    before = [tuple(r) for r in await gateway.pool.fetch(tables)]
    wanted = {"wanted": {"since": "2026-01-01T00:00:00Z"}}

    started = await gateway.post("/deliveries/resolve", {**wanted, "reason": "x"})
    redrive = started["redrive"]
    assert (redrive["does"], redrive["state"], redrive["total"], redrive["waiting"]) == ("resolve", "running", 3, 3)
    window = datetime.fromisoformat(redrive["starts_at"]) - datetime.fromisoformat(redrive["created_at"])
    assert window == timedelta(seconds=10)
    assert started["note"]["zh"].startswith("10 秒后开始标记") and "cannot be undone" in started["note"]["en"]
    [listed] = (await gateway.get("/redrives", state="running"))["redrives"]
    assert listed["redrive_id"] == redrive["redrive_id"]
    assert (await gateway.post("/deliveries/resolve/preview", wanted))["elsewhere"] == 3

    row = await gateway.post(f"/redrives/{redrive['redrive_id']}/stop", {"reason": "a mistake"})

    assert (row["state"], row["kept"], row["done"], row["ended_by"]) == ("stopped", 3, 0, "admin/wang")
    assert [tuple(r) for r in await gateway.pool.fetch(tables)] == before
    assert [action for _, action, _, _ in await gateway.audit()] == ["redrive.resolve", "redrive.stop"]


@pytest.mark.feature("F116")
async def test_the_timeline_tells_what_people_did_to_this_order_and_no_other(gateway: Gateway) -> None:
    numbers = await refused(gateway, "20", "20/26")
    for number in numbers:
        path = number.replace("/", "%2F")
        await gateway.post(f"/deliveries/{path}/erp/1/resend", {"reason": f"again {number}"})
        await gateway.sent(path)
        await gateway.get(f"/orders/{path}", unmask=1)
        await gateway.get(f"/orders/{path}/raw/1")

    for number in numbers:
        timeline = (await gateway.get(f"/orders/{number.replace('/', '%2F')}"))["timeline"]
        hand = [(one["action"], one["subject"], one["reason"]) for one in timeline if one["kind"] == "hand"]
        assert sorted(hand) == [
            ("delivery.resend", "erp/1", f"again {number}"), ("order.raw", "1", ""), ("order.unmask", "", ""),
        ]  # fmt: skip
        assert [one["at"] for one in timeline] == sorted(one["at"] for one in timeline)


async def test_an_order_is_found_by_the_shops_own_number(gateway: Gateway) -> None:
    number = await gateway.order(order_no="3927461500123")
    await gateway.stage(number, "allocated")

    assert [row["number"] for row in (await gateway.get("/orders", channel_no="3927461500123"))["orders"]] == [number]
    assert (await gateway.get("/orders", channel_no="392746150012"))["orders"] == []
    assert (await gateway.get("/orders", channel_no="3927461500123", stage="shipped"))["orders"] == []
    for method, path, body in (
        ("GET", "/orders/3927461500123", None), ("POST", "/orders/3927461500123/reconsider", {"reason": "x"}),
        ("POST", "/deliveries/3927461500123/erp/1/resend", {"reason": "x"}),
    ):  # fmt: skip
        missing = await gateway.call(method, path, body)
        assert (missing.status, f"did you mean {number}?" in missing.body["advice"]["en"]) == (404, True)


@pytest.mark.parametrize("asked", ["S77", "77"])
async def test_who_looks_for_an_order_that_was_set_aside_is_told_of_its_letter(gateway: Gateway, asked: str) -> None:
    assert (await gateway.push({**ORDER, "order_no": "77", "lines": "none"})).status == 422
    (letter,) = await gateway.dead(1)
    for method, path, body in (
        ("GET", f"/orders/{asked}", None),
        ("POST", f"/orders/{asked}/reconsider", {"reason": "x"}),
        ("POST", f"/deliveries/{asked}/erp/1/resend", {"reason": "x"}),
    ):
        answer = await gateway.call(method, path, body)
        assert answer.status == 404 and is_told(answer.body)
        assert f"死信 {letter['dead_letter_id']}" in answer.body["advice"]["zh"], path
    await gateway.post(f"/dead-letters/{letter['dead_letter_id']}/discard", {"reason": "x"})
    assert "死信" not in (await gateway.call("GET", f"/orders/{asked}")).body["advice"]["zh"]


@pytest.mark.feature("F76")
async def test_two_edits_of_one_delivery_at_once_and_the_second_is_refused(gateway: Gateway) -> None:
    (number,) = await refused(gateway, "1")
    await gateway.post("/connections/erp/pause", {"reason": "so that nothing leaves"})

    first = await gateway.call(
        "POST", f"/deliveries/{number}/erp/1/resend", {"reason": "x", "edit": {"receiver": {"name": "李四"}}}
    )
    second = await gateway.call(
        "POST", f"/deliveries/{number}/erp/1/resend", {"reason": "x", "edit": {"receiver": {"name": "王五"}}}
    )

    assert first.status == 200
    assert (second.status, second.body["error"] in ("not_blocked", "held", "done")) == (409, True)
    if second.body["error"] != "held":
        assert "your change was not" in second.body["advice"]["en"] and is_told(second.body)
    assert await gateway.pool.fetchval("SELECT count(*) FROM delivery_edit") == 1


async def test_who_wanted_to_change_what_another_has_sent_is_told_that_it_went_unchanged(gateway: Gateway) -> None:
    (number,) = await refused(gateway, "1")
    await gateway.post(f"/deliveries/{number}/erp/1/resend", {"reason": "as it is"})
    await gateway.sent(number)
    body = {"reason": "x", "edit": {"receiver": {"name": "李四"}}}
    late = await gateway.call("POST", f"/deliveries/{number}/erp/1/resend", body)
    assert (late.status, late.body["error"]) == (409, "done") and is_told(late.body)
    assert late.body["advice"]["zh"].startswith("这次修改没有发出")
    again = await gateway.call("POST", f"/deliveries/{number}/erp/1/resend", {"reason": "x"})
    assert again.body["advice"]["zh"].startswith("无需再做")


@pytest.mark.parametrize("edited", [False, True])
async def test_what_is_sent_again_after_the_shop_has_changed_it(gateway: Gateway, edited: bool) -> None:
    """The shop's newest word, and nothing was changed after it was sent; or what a person made of it before."""
    (number,) = await refused(gateway, "1")
    path = f"/deliveries/{number}/erp/1/resend"
    if edited:
        gateway.erp.faults = REFUSING
        seen = (await gateway.blocked(number))["attempts"]
        await gateway.post(path, {"reason": "x", "edit": {"receiver": {"detail": "张江路2号"}}})

        async def blocked_again() -> bool:
            return bool((await gateway.blocked(number))["attempts"] > seen)

        await gateway.until(blocked_again)
        gateway.erp.faults = Faults()
    moved = {**ORDER["receiver"], "detail": "漕溪路9号"}
    await gateway.order(order_no="1", updated_at="2026-05-01T10:00:00+08:00", receiver=moved)

    async def conflicting() -> Any:
        return (await gateway.get("/work", kind="conflict"))["cards"]

    assert [card["code"] for card in await gateway.until(conflicting)] == ["changed_after_sent"]
    await gateway.post(path, {"reason": "as it is now"})
    await gateway.sent(number)
    carried = msgspec.json.decode(gateway.erp.seen[f"{number}/create"])
    assert carried["receiver"]["detail"] == ("张江路2号" if edited else "漕溪路9号")

    async def decided_again() -> bool:
        return bool(await gateway.pool.fetchval("SELECT count(*) = 0 FROM inbox"))

    await gateway.until(decided_again)
    cards = await conflicting()
    assert [card["code"] for card in cards] == (["changed_after_sent"] if edited else [])
    later = {**ORDER["receiver"], "detail": "龙华路7号"}
    await gateway.order(order_no="1", updated_at="2026-05-01T11:00:00+08:00", receiver=later)
    assert await gateway.until(conflicting), "now it is changed after it was sent"


async def test_who_sends_what_its_shop_has_called_off_is_told(gateway: Gateway) -> None:
    (number,) = await refused(gateway, "1")
    await gateway.order(order_no="1", updated_at="2026-05-01T10:00:00+08:00", status="cancelled", cancelled={})
    await gateway.stage(number, "cancelled")
    [item] = (await gateway.get("/work/items", kind="delivery"))["items"]
    assert item["next"]["command"] == f"ordergate deliveries resolve {number} erp 1 -r REASON"
    await refused(gateway, "2")
    assert (await gateway.post("/redrives/preview", WANTED))["preview"]["called_off"] == 1
    done = await gateway.post(f"/deliveries/{number}/erp/1/resend", {"reason": "x"})
    assert done["note"]["zh"].endswith("取消随后发出")
    await gateway.sent(number)
    assert gateway.erp.books.orders[number].commands == ["create", "cancel"]


async def test_what_may_have_arrived_was_changed_after_it_was_sent(gateway: Gateway) -> None:
    (number,) = await refused(gateway, "1")
    await gateway.pool.execute("UPDATE lane SET in_doubt = true")
    moved = {**ORDER["receiver"], "detail": "漕溪路9号"}
    await gateway.order(order_no="1", updated_at="2026-05-01T10:00:00+08:00", receiver=moved)

    async def conflicting() -> Any:
        return (await gateway.get("/work", kind="conflict"))["cards"]

    await gateway.until(conflicting)
    await gateway.post(f"/deliveries/{number}/erp/1/resend", {"reason": "x"})
    await gateway.sent(number)
    assert await gateway.pool.fetchval("SELECT count(*) FROM inbox") == 0 and await conflicting()


async def test_an_edit_of_what_somebody_has_sent_meanwhile_is_refused(gateway: Gateway) -> None:
    (number,) = await refused(gateway, "1")
    path = f"/deliveries/{number}/erp/1/resend"
    seen = (await gateway.blocked(number))["attempts"]
    gateway.erp.faults = REFUSING
    await gateway.post(path, {"reason": "mine", "if_attempts": seen, "edit": {"receiver": {"name": "李四"}}})

    async def blocked_again() -> bool:
        return bool((await gateway.blocked(number))["attempts"] == seen + 1)

    await gateway.until(blocked_again)
    late = await gateway.call(
        "POST", path, {"reason": "x", "if_attempts": seen, "edit": {"receiver": {"name": "王五"}}}
    )

    assert (late.status, late.body["error"]) == (409, "changed_meanwhile")
    assert "timeline" in late.body["advice"]["en"] and is_told(late.body)
    assert await gateway.pool.fetchval("SELECT count(*) FROM delivery_edit") == 1


async def test_a_cancel_carries_nothing_to_edit_and_is_sent_again_as_it_is(gateway: Gateway) -> None:
    number = await gateway.order()
    await gateway.sent(number)
    gateway.erp.faults = REFUSING
    await gateway.order(updated_at="2026-05-01T09:31:00+08:00", status="cancelled")
    lane = await gateway.blocked(number)
    assert (lane["seq"], lane["operation"]) == (2, "cancel")
    gateway.erp.faults = Faults()
    path = f"/deliveries/{number}/erp/2/resend"
    refused_ = await gateway.call("POST", path, {"reason": "x", "edit": {"receiver": {"name": "李四"}}})
    assert (refused_.status, refused_.body["error"]) == (422, "nothing_to_edit")

    await gateway.post(path, {"reason": "they can now"})

    await gateway.sent(number)
    assert gateway.erp.books.orders[number].commands == ["create", "cancel"]


@pytest.mark.feature("F115")
async def test_a_conflict_is_dealt_with(gateway: Gateway) -> None:
    number = await gateway.order()
    await gateway.sent(number)
    await gateway.order(updated_at="2026-05-01T09:31:00+08:00", total="91.00")

    async def conflicting() -> Any:
        return (await gateway.get("/work", kind="conflict"))["cards"]

    (card,) = await gateway.until(conflicting)
    assert (card["code"], card["samples"]) == ("changed_after_sent", [number])
    path = f"/orders/{number}/conflicts-handled"
    unseen = await gateway.call("POST", path, {"reason": "x", "conflicts": ["cancelled_but_shipped"]})
    assert (unseen.status, unseen.body["error"]) == (409, "changed_meanwhile") and is_told(unseen.body)
    assert "（changed_after_sent）" in unseen.body["message"]["zh"] and await conflicting()
    [item] = (await gateway.get("/work/items", kind="conflict"))["items"]
    assert item["next"]["command"] == f"ordergate work handled {number} --conflict changed_after_sent -r REASON"
    seen = ["changed_after_sent", "cancelled_but_shipped"]
    await gateway.post(path, {"reason": "the warehouse knows", "conflicts": seen})
    assert not await conflicting()
    none = await gateway.call("POST", "/orders/S9/conflicts-handled", {"reason": "x"})
    assert none.status == 404


async def test_stuck_orders_as_a_spreadsheet_without_formulas(gateway: Gateway) -> None:
    await refused(gateway, "00392746150012345678", "=1+1")
    await gateway.order(order_no="@x", total="9000.00", payment={"paid": True, "amount": "9000.00"})
    await gateway.stage("S@x", "received")
    async with gateway.download("/work/export", language="en") as answer:
        assert answer.headers["Content-Type"].startswith("application/vnd.openxmlformats")
        assert ".xlsx" in answer.headers["Content-Disposition"]
        sheet = load_workbook(io.BytesIO(await answer.read())).active
    assert sheet is not None
    rows = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert rows[0][:4] == ["Kind", "Order", "Shop", "Shop's number"] and len(rows) == 4
    by_number = {row[1]: row for row in rows[1:]}
    assert set(by_number) == {"S00392746150012345678", "S=1+1", "S@x"}
    assert {row[3] for row in rows[1:]} == {"00392746150012345678", "'=1+1", "'@x"}
    assert by_number["S=1+1"][7:11] == ["erp", "create", "rejected", "http_4xx"]
    assert {cell.data_type for row in sheet.iter_rows() for cell in row if cell.value is not None} <= {"s", "d"}
    async with gateway.download("/work/export", language="zh", kind="delivery") as answer:
        chinese = load_workbook(io.BytesIO(await answer.read())).active
    assert chinese is not None
    rows = [[cell.value for cell in row] for row in chinese.iter_rows()]
    assert rows[0][:4] == ["类型", "订单号", "店铺", "店铺单号"]
    assert rows[1][0] == "下发受阻" and rows[1][4] == "被目标拒收（http_4xx）"
    assert rows[1][7:11] == ["erp", "下单", "被拒收", "http_4xx"]
    short = await gateway.get("/work/items", limit=1)
    assert len(short["items"]) == 1


@pytest.mark.parametrize(("limit", "more"), [(1, True), (2, True), (3, False), (500, False)])
async def test_a_spreadsheet_that_is_cut_off_says_so(gateway: Gateway, limit: int, more: bool) -> None:
    await refused(gateway, "1", "2", "3")
    async with gateway.download("/work/export", limit=limit) as answer:
        assert answer.headers.get("X-Ordergate-More") == ("1" if more else None)
        sheet = load_workbook(io.BytesIO(await answer.read())).active
    assert sheet is not None
    rows = [[cell for cell in row if cell is not None] for row in sheet.values]
    assert len(rows) == 1 + min(limit, 3) + more
    assert (rows[-1] == [f"只有最早的 {limit} 项，还有更多"]) is more


async def test_a_spreadsheet_of_what_there_never_was_is_refused(gateway: Gateway) -> None:
    for slip in ({"connection": "epr"}, {"kind": "hold", "code": "unpayed"}, {"operation": "crate"}):
        async with gateway.download("/work/export", **slip) as answer:
            assert answer.status == 422, slip


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", "#N/A", "=cmd|' /C calc'!A0"])
def test_a_text_like_a_formula_is_made_harmless(text: str) -> None:
    assert harmless(text).startswith("'")
    assert harmless("a\x00b\x0bc\ud800") == "abc" and harmless("392746150012345678") == "392746150012345678"


CODES: dict[WorkKind, list[str]] = {
    "hold": [*(code for code in get_args(Reason) if code not in WAIT_FOR_OTHERS), "missing:receiver.phone"],
    "conflict": [*get_args(Conflict)],
    "delivery": [*words.BLOCKS, "rejected:sku"],
    "dead_letter": [*words.LETTERS, "of_an_adapter"],
}


@pytest.mark.parametrize(
    ("operation", "code", "stage", "does"),
    [
        ("cancel", "rejected:cancel_refused", "cancelled", "resolve"),
        ("cancel", "rejected:not_found", "cancelled", "resolve"),
        ("cancel", "rejected:http_4xx", "cancelled", "resend"),
        ("create", "rejected:http_4xx", "cancelled", "resolve"),
        ("create", "rejected:http_4xx", "refunded", "resolve"),
        ("create", "rejected:http_4xx", "allocated", "resend"),
        ("create", "rejected:not_found", "allocated", "resend"),
    ],
)
def test_what_nobody_would_take_is_not_said_to_be_sent_again(operation: str, code: str, stage: str, does: str) -> None:
    one = About(kind="delivery", connection="wms", operation=operation, code=code, how="ask", number="A1", seq=1)
    step = next_step(msgspec.structs.replace(one, stage=stage))
    assert step.command.startswith(f"ordergate deliveries {does} A1 wms 1")
    assert ("店铺已取消" in step.zh) is (operation == "create" and does == "resolve")
    card = next_step(msgspec.structs.replace(one, number="", seq=None))
    many = "resolve-many" if operation == "cancel" and does == "resolve" else "redrive"
    assert card.command.startswith(f"ordergate deliveries {many} --target wms --operation {operation} --code {code}")


def test_every_code_has_words_and_a_next_step_in_both_languages() -> None:
    for kind, codes in CODES.items():
        for code in codes:
            for number in ("", "A1"):
                about = About(
                    kind=kind, connection="wms-1", operation="create" if kind == "delivery" else "", code=code,
                    number=number, seq=1 if number else None, dead_letter_id=7 if number else None,
                )  # fmt: skip
                said, step = meaning(kind, code), next_step(about)
                assert said.zh and said.en and said.zh != code, (kind, code)
                assert step.zh and step.en and step.command.startswith("ordergate ") and step.call.split()[0].isupper()
                assert ("A1" in step.command) == bool(number) or kind in ("dead_letter", "hold"), step


@pytest.mark.parametrize(
    ("code", "does"),
    [
        ("sealed", "把缺少的密钥加回"),
        ("unreadable", "升级网关"),
        ("rejected:unknown_carrier", "补上该快递公司"),
        ("rejected:address", "后"),
    ],
)
@pytest.mark.parametrize("number", ["", "A1"])
@pytest.mark.parametrize("how", ["ask", "person"])
def test_a_cause_that_is_known_is_named_with_what_removes_it(code: str, does: str, number: str, how: Any) -> None:
    """What was never sent is not taken for handled, whether its target can be asked or not."""
    operation = "ship" if code.endswith("carrier") else "create"
    about = About(kind="delivery", connection="wms-1", operation=operation, code=code, how=how, number=number, seq=1)
    step = next_step(about)
    other = code == "rejected:address"
    assert does in step.zh or (other and how == "person")
    assert ("--edit" in step.command) == (other and number != "")
    assert ("resolve-many" in step.command) == (other and how == "person" and number == "")


@pytest.mark.parametrize("how", ["ask", "person"])
def test_one_that_nobody_knows_of_is_looked_up_by_a_person(how: Any) -> None:
    """A bare `resend` of it is refused; whether the target can be asked in principle, asking has not settled it."""
    about = About(kind="delivery", connection="wms-1", operation="create", code="unknown", how=how, number="A1", seq=1)
    assert next_step(about).command == "ordergate deliveries resolve A1 wms-1 1 -r REASON"


@pytest.mark.parametrize(
    ("rules", "people"),
    [
        ([], ()),
        ([{}], ("0",)),
        ([{"kind": "hold"}, {}], ("1",)),
        ([{"kind": "delivery"}, {}], ("0",)),
        ([{"connection": "wms-2"}, {"connection": "wms-1"}], ("1",)),
        ([{"code": "rejected:shop"}, {"code": "rejected"}], ("1",)),
        ([{"code": "rejected:sku", "connection": "wms-2"}, {"code": "rejected:sku", "connection": "wms-1"}], ("1",)),
    ],
)
def test_the_first_rule_that_fits_says_whose_work_it_is(rules: list[dict[str, Any]], people: tuple[str, ...]) -> None:
    about = About(kind="delivery", connection="wms-1", operation="create", code="rejected:sku")
    made = [OwnerRule(people=(str(place),), **rule) for place, rule in enumerate(rules)]
    assert whose(about, made) == people


def test_what_waits_under_a_shops_name_of_before_is_found_by_that_and_resumed_by_the_one_it_has_now() -> None:
    held = About(kind="hold", connection="old", shop="new", operation="", code="no_route")
    assert next_step(held).command == "ordergate orders reconsider-many --code no_route --connection old"
    assert next_step(msgspec.structs.replace(held, code="paused")).command == "ordergate resume new -r REASON"
    told = About(kind="delivery", connection="old", shop="new", operation="ship", code="unknown", number="A1", seq=2)
    assert next_step(told).command == "ordergate deliveries resolve A1 old 2 -r REASON"
    assert whose(told, [OwnerRule(people=("li",), connection="new")]) == ("li",)


def test_what_is_asked_of_a_person_never_breaks_out_of_its_command() -> None:
    about = About(kind="conflict", connection="shop", operation="", code="held_after_sent", number="A1; rm -rf /")
    command = "ordergate work handled 'A1; rm -rf /' --conflict held_after_sent -r REASON"
    assert next_step(about).command == command
    assert msgspec.json.encode(next_step(about))


async def test_whose_work_is_nobodys_is_found_out_without_reading_it(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[int] = []

    async def counted(*args: Any, limit: int, **more: Any) -> Any:
        pages.append(limit)
        return await items(*args, limit=limit, **more)

    monkeypatch.setattr("gateway.api.work.items", counted)
    await gateway.pool.execute(
        "INSERT INTO dead_letter (event_id, source, type, order_key, number, happened_at, taken_at, body, leg,"
        " partition, position, code, message) SELECT 'E' || n, 'shop', 't', '', '', now(), now(), '', 'kafka', 0, n,"
        " 'shape', '' FROM generate_series(1, 3000) AS n"
    )

    assert await gateway.get("/work/items", limit=1, owner="nobody") == {"items": [], "next": ""}
    assert pages == []


async def test_an_owner_is_given_the_same_as_somebody_who_looks_through_all_of_it(migrated_url: str) -> None:
    pool, names = await open_desk(migrated_url)
    await stick(pool, names, 7, first=1)
    await stick(pool, names, 3, first=21, target=ERP, blocked="unknown")
    await stick(pool, names, 4, first=11, blocked=None, reasons="over_limit missing:receiver.phone")
    await stick(pool, names, 3, first=15, blocked=None, reasons="missing:receiver.phone over_limit")
    await stick(pool, names, 5, first=31, blocked=None, conflicts="shipped_unknown_order")
    await pool.execute("UPDATE orders SET connection_id = NULL WHERE order_id > 32")
    async with pool.acquire() as connection:
        await set_aside(connection, [letter(n, f"S9{n}", "json" if n % 2 else "field") for n in range(4)])
    rules = (
        OwnerRule(people=("wang",), kind="conflict", connection=""),
        OwnerRule(people=("li",), connection="erp"),
        OwnerRule(people=("wang", "li"), code="missing"),
        OwnerRule(people=("li",), kind="dead_letter", code="json"),
        OwnerRule(people=("nobody",), connection="nowhere"),
    )
    desk = Work(pool, desk=Desk(owners=rules), now=lambda: BLOCKED_AT)

    async def listed(owner: str | None, limit: int) -> list[Any]:
        found: list[Any] = []
        after = None
        while True:
            query = WorkItemsQuery(owner=owner, after=after, limit=limit)
            page = await desk.list_work_items(Call(actor="admin", path={}, query=query, body=None))
            found += page.items
            if not page.next:
                return found
            after = page.next

    everything = await listed(None, 500)
    for owner, count in (("wang", 8), ("li", 8), ("nobody", 0)):
        his = [one for one in everything if owner in one.owners]
        assert len(his) == count
        for limit in (1, 2, 3, 500):
            assert await listed(owner, limit) == his, (owner, limit)
    for ask, query in ((desk.list_work, WorkQuery), (desk.list_work_items, WorkItemsQuery)):
        with pytest.raises(ApiError) as slip:
            await ask(Call(actor="admin", path={}, query=query(owner="wagn"), body=None))
        assert (slip.value.problem.where, slip.value.problem.advice.zh) == ("query.owner", "是不是 wang？")
    await pool.close()
