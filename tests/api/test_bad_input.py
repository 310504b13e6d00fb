"""Bad input from outside, through HTTP into the database: refused and not kept, or kept with its reason."""

from __future__ import annotations

import base64
import gzip
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.text import Text
from gateway.sdk.adapter import UNPROVEN
from gateway.sdk.signing import decode_secret, sign
from gateway.store.dead import set_aside
from tests.ports import free_port
from tests.store.stuck import letter as letter_of
from tests.test_cli import ORDER as PUSHED
from tests.test_cli import running

from .conftest import ERP_SECRET, ORDER, SHOP_SECRET, Gateway, is_told


def changed(**parts: Any) -> dict[str, Any]:
    return {**ORDER, **parts}


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in ORDER.items() if name not in names}


def line(**parts: Any) -> dict[str, Any]:
    return {**ORDER["lines"][0], **parts}


@pytest.mark.parametrize(
    "push",
    [
        {"headers": {"webhook-signature": ""}},
        {"headers": {"webhook-id": ""}},
        {"headers": {"webhook-timestamp": "soon"}},
        {"headers": {"webhook-signature": "v1,AAAA"}},
        {"headers": {"webhook-signature": "v2,AAAA v1a,BBBB"}},
        {"secret": ERP_SECRET},
        {"sign_body": b"another body"},
        {"skew_s": -301},
        {"skew_s": 302},
        {"connection": "erp"},
        {"connection": "nobody"},
    ],
    ids=lambda push: next(f"{key}-{value!s:.40}" for key, value in push.items()),
)
async def test_an_unproven_sender_is_refused_and_nothing_is_kept(gateway: Gateway, push: dict[str, Any]) -> None:
    answer = await gateway.push(ORDER, **push)

    assert answer.status == 401
    assert answer.body == UNPROVEN.body.decode(), "the same for all of them"
    assert await gateway.kept() == 0


def test_who_is_refused_is_counted_on_the_page_of_metrics(migrated_url: str, tmp_path: Path) -> None:
    """By HTTP, as partners push and Prometheus reads. A name that nobody configured is no label."""

    def push(connection: str, signature: str) -> int:
        headers = {"webhook-id": "m1", "webhook-timestamp": str(int(time.time())), "webhook-signature": signature}
        request = urllib.request.Request(f"{run.url}/hooks/{connection}", data=PUSHED, headers=headers)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        refused.value.close()
        return refused.value.code

    def counted() -> dict[tuple[str, str], float]:
        with urllib.request.urlopen(f"{run.metrics_url}/metrics", timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return {
            (sample.labels["source"], sample.labels["code"]): sample.value
            for family in families
            for sample in family.samples
            if sample.name == "ordergate_events_refused_total"
        }

    with running(tmp_path, migrated_url, f"http://127.0.0.1:{free_port()}") as run:
        before = counted()
        assert before.get(("shop", "signature"), 0) == 0
        assert push("shop", "v1,AAAA") == 401
        assert counted()["shop", "signature"] == 1
        assert [push("shop", "v1,AAAA"), push("nobody", "v1,AAAA")] == [401, 401]
        after = counted()
    assert {key: value for key, value in after.items() if value != before.get(key, 0)} == {
        ("shop", "signature"): 2,
        ("other", "signature"): 1,
    }


async def test_a_clock_that_is_a_little_off_is_accepted(gateway: Gateway) -> None:
    assert (await gateway.push(changed(order_no="1"), skew_s=-298)).status == 202
    assert (await gateway.push(changed(order_no="2"), skew_s=298)).status == 202
    await gateway.sent("S1")
    await gateway.sent("S2")


async def test_a_replay_changes_nothing_and_a_late_one_is_refused(gateway: Gateway) -> None:
    body, timestamp = msgspec.json.encode(ORDER), int(time.time())

    def headers(at: int) -> dict[str, str]:
        signature = sign(decode_secret(SHOP_SECRET), message_id="msg_r", timestamp=at, body=body)
        return {"webhook-id": "msg_r", "webhook-timestamp": str(at), "webhook-signature": signature}

    for _ in range(3):
        assert (await gateway.push(body, headers=headers(timestamp))).status == 202
    assert (await gateway.push(body, headers=headers(timestamp - 400))).status == 401
    await gateway.sent("S1001")

    page = await gateway.get("/orders/S1001")
    assert [one["kind"] for one in page["timeline"]] == ["event", "delivery", "attempt"]
    assert gateway.erp.books.orders["S1001"].documents == 1 and gateway.erp.books.repeats == 0


async def test_a_secret_may_be_rotated(gateway: Gateway) -> None:
    body, at = msgspec.json.encode(ORDER), int(time.time())
    signatures = " ".join(
        sign(decode_secret(secret), message_id="m", timestamp=at, body=body) for secret in (ERP_SECRET, SHOP_SECRET)
    )

    answer = await gateway.push(
        body, headers={"webhook-id": "m", "webhook-timestamp": str(at), "webhook-signature": signatures}
    )

    assert answer.status == 202


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 10 * 1024 * 1024])
async def test_a_body_over_the_limit_is_413(gateway: Gateway, size: int) -> None:
    answer = await gateway.push(b"x" * size)

    assert answer.status == 413
    assert "1048576" in answer.body
    assert await gateway.kept() == 0


async def test_a_body_just_within_the_limit_is_taken(gateway: Gateway) -> None:
    document = msgspec.json.encode(changed(extra={"filling": ""}))
    filled = document.replace(b'"filling":""', b'"filling":"' + b"x" * (1024 * 1024 - len(document)) + b'"')
    assert len(filled) == 1024 * 1024

    assert (await gateway.push(filled)).status == 202
    await gateway.sent("S1001")


async def test_a_gzip_bomb_stays_packed(gateway: Gateway) -> None:
    bomb = gzip.compress(b" " * 100_000_000)

    answer = await gateway.push(bomb, headers={"content-encoding": "gzip"})

    assert answer.status == 415
    assert "compressed" in answer.body
    assert await gateway.kept() == 0


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        (b"", "json", "JSON"),
        (b"not json", "json", "JSON"),
        (b'{"order_no": "1001",', "json", "JSON"),
        (b"\xff\xfe\x00", "json", "JSON"),
        (b"[" * 50_000, "shape", "object"),
        (b'{"order_no":"1001","updated_at":"2026-05-01T09:30:05+08:00","extra":' + b"[" * 50_000, "json", "JSON"),
        (b"[]", "shape", "object"),
        (changed(colour="red"), "field", "colour"),
        (changed(lines=[line(weight=3)]), "field", "weight"),
        (changed(receiver={**ORDER["receiver"], "nmae": "x"}), "field", "nmae"),
        (without("updated_at"), "field", "updated_at"),
        (without("order_no"), "field", "order_no"),
        (without("receiver"), "field", "receiver"),
        (without("payment"), "field", "payment"),
        (changed(lines={"1": line()}), "shape", "lines"),
        (changed(lines=[line(quantity="2")]), "shape", "quantity"),
        (changed(lines=[line(quantity=1.5)]), "shape", "quantity"),
        (changed(receiver="张三"), "shape", "receiver"),
        (changed(total=90.0), "shape", "total"),
        (changed(lines=[line(quantity=0)]), "value", "quantity"),
        (changed(lines=[line(quantity=10**30)]), None, "quantity"),
        (changed(lines=[line(), line()]), "value", "line_no"),
        (changed(lines=[]), "value", "lines"),
        (changed(lines=[line(line_no=str(n)) for n in range(501)]), "value", "lines"),
        (changed(placed_at="yesterday"), None, "placed_at"),
        (changed(placed_at="2026-05-01T09:30:00"), None, "placed_at"),
        (changed(total="999999999999.00"), "value", "total"),
        (changed(total="1e9"), "amount", "total"),
        (changed(total="-1.00"), "value", "total"),
        (changed(lines=[line(price="12.345")]), "amount", "price"),
        (changed(buyer_note="a\x00b"), None, "buyer_note"),
    ],
    ids=lambda value: None if isinstance(value, bytes | dict) else str(value),
)
async def test_what_a_proven_sender_got_wrong_is_kept_with_its_reason(
    gateway: Gateway, body: bytes | dict[str, Any], code: str | None, told: str
) -> None:
    answer = await gateway.push(body)

    assert answer.status == 422
    assert told in answer.body
    (letter,) = await gateway.dead()
    if code is not None:
        assert letter["code"] == code, letter
    assert told in letter["message"]["en"] or told in letter["advice"]["en"], letter
    shown = await gateway.get(f"/dead-letters/{letter['dead_letter_id']}", unmask=1)
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    assert base64.b64decode(shown["base64"]) == raw
    assert (await gateway.get("/orders"))["orders"] == []


async def test_characters_beyond_the_basic_plane_reach_the_target(gateway: Gateway) -> None:
    number = await gateway.order(
        lines=[line(sku="茶-𠮷", name="𠮷野家 🍵")], receiver={**ORDER["receiver"], "name": "𠮷田"}, buyer_note="🙏"
    )
    await gateway.sent(number)

    sent = msgspec.json.decode(gateway.erp.seen[f"{number}/create"])
    assert (sent["lines"][0]["sku"], sent["receiver"]["name"], sent["buyer_note"]) == ("茶-𠮷", "𠮷田", "🙏")


async def test_an_order_of_500_lines_reaches_the_target(gateway: Gateway) -> None:
    number = await gateway.order(
        lines=[line(line_no=str(n), sku=f"SKU-{n:03}", quantity=1, price="0.10") for n in range(500)], total="50.00"
    )
    await gateway.sent(number)

    assert len(gateway.erp.books.sums) == 500


@pytest.mark.feature("F5")
async def test_a_changed_payload_shape_holds_its_order_until_it_is_repaired(gateway: Gateway) -> None:
    """The platform renames a field: quarantined, later events of that order wait, other orders flow."""
    broken = {**without("receiver"), "consignee": ORDER["receiver"]}
    assert (await gateway.push(broken)).status == 422
    (letter,) = await gateway.dead()
    await gateway.order(updated_at="2026-05-01T10:00:00+08:00", status="cancelled", cancelled={"reason": "buyer"})
    other = await gateway.order(order_no="2002")
    await gateway.sent(other)

    async def waits() -> bool:
        row = await gateway.get(f"/dead-letters/{letter['dead_letter_id']}")
        return bool(row["dead_letter"]["behind"] == 1)

    await gateway.until(waits)
    assert (await gateway.call("GET", "/orders/S1001")).status == 404
    behind = (await gateway.get("/dead-letters", code="behind"))["dead_letters"]
    assert [row["number"] for row in behind] == ["S1001"]

    path = f"/dead-letters/{letter['dead_letter_id']}/release"
    for body in ({"body_base64": "%%%"}, {"body": {}, "body_base64": "AA=="}, {"repaired": 1}):
        refused = await gateway.call("POST", path, body)
        assert refused.status == 422 and refused.body["where"].startswith("$"), refused
    too_large = await gateway.call("POST", path, {"body": "x" * (1024 * 1024 + 1)})
    assert (too_large.status, too_large.body["error"]) == (413, "too_large")

    assert await gateway.post(path, {"body": ORDER, "reason": "field renamed"}) == {"events": 2}
    await gateway.stage("S1001", "cancelled")
    await gateway.dead(0)

    page = await gateway.get("/orders/S1001")
    kinds = [(one["kind"], one.get("code")) for one in page["timeline"]]
    assert (
        kinds.count(("event", None)) == 2 and ("dead_letter", "field") in kinds and ("dead_letter", "behind") in kinds
    )
    assert (
        "admin/wang",
        "dead_letter.release",
        str(letter["dead_letter_id"]),
        "field renamed",
    ) in await gateway.audit()
    hand = [one for one in page["timeline"] if one["kind"] == "hand"]
    assert [(one["actor"], one["action"], one["subject"], one["reason"]) for one in hand] == [
        ("admin/wang", "dead_letter.release", f"#{letter['dead_letter_id']}", "field renamed")
    ]
    closed = await gateway.get(f"/dead-letters/{letter['dead_letter_id']}")
    assert (closed["dead_letter"]["closed_by"], closed["closed_reason"]) == ("admin/wang", "field renamed")
    again = await gateway.call("POST", path)
    assert (again.status, again.body["error"]) == (409, "closed")


async def test_a_release_without_repair_comes_back_with_the_same_reason(gateway: Gateway) -> None:
    await gateway.push(changed(colour="red"))
    (letter,) = await gateway.dead()

    assert await gateway.post(f"/dead-letters/{letter['dead_letter_id']}/release") == {"events": 1}

    async def again() -> Any:
        rows = await gateway.dead(1)
        return rows[0]["dead_letter_id"] != letter["dead_letter_id"] and rows[0]["code"] == "field"

    await gateway.until(again)


async def test_a_repair_that_is_another_orders_is_refused_unless_it_is_meant(gateway: Gateway) -> None:
    await gateway.push(changed(order_no="4", colour="red"))
    (letter,) = await gateway.dead()
    path = f"/dead-letters/{letter['dead_letter_id']}/release"

    slip = await gateway.call("POST", path, {"body": changed(order_no="1")})

    assert (slip.status, slip.body["error"], slip.body["where"]) == (409, "another_order", "$.body")
    assert slip.body["details"] == {"number": "S1", "own": "S4"} and is_told(slip.body)
    assert "S1" in slip.body["message"]["zh"] and "S4" in slip.body["message"]["zh"]
    assert len(await gateway.dead()) == 1 and await gateway.audit() == []
    assert await gateway.post(path, {"body": changed(order_no="1"), "another_order": True}) == {"events": 1}
    await gateway.sent("S1")


async def test_a_repair_is_looked_for_its_order_only_where_the_letters_own_is_known(gateway: Gateway) -> None:
    await gateway.push(b"not json")
    (letter,) = await gateway.dead()
    assert letter["number"] == ""

    assert await gateway.post(f"/dead-letters/{letter['dead_letter_id']}/release", {"body": ORDER}) == {"events": 1}

    await gateway.sent("S1001")


@pytest.mark.parametrize(
    ("repair", "code", "where"),
    [
        (changed(colour="blue"), "field", "$"),
        (changed(lines="none"), "shape", "$.lines"),
        ("not json", "json", "$"),
    ],
    ids=["field", "shape", "json"],
)
async def test_a_repair_that_is_still_wrong_is_refused_as_a_dead_letter_would_say(
    gateway: Gateway, repair: Any, code: str, where: str
) -> None:
    await gateway.push(changed(colour="red"))
    (letter,) = await gateway.dead()

    answer = await gateway.call(
        "POST", f"/dead-letters/{letter['dead_letter_id']}/release", {"body": repair, "another_order": True}
    )

    assert (answer.status, answer.body["error"], answer.body["details"]) == (422, "unrepaired", {"code": code})
    assert answer.body["where"].startswith(where) and is_told(answer.body)
    assert len(await gateway.dead()) == 1


async def test_a_wish_to_decide_an_order_again_takes_no_repair(gateway: Gateway) -> None:
    """It has no payload: what is put in its place would be lost, and the letter closed."""
    await gateway.push(ORDER)
    await gateway.sent("S1001")
    await gateway.pool.execute(
        "INSERT INTO dead_letter (event_id, source, type, order_key, number, happened_at, taken_at, body, leg,"
        " partition, position, code, message) VALUES ('r', 'shop', 'ordergate.reconsider', 'S1001', 'S1001', now(),"
        " now(), '', 'inbox', -1, 1, 'undecidable', '')"
    )
    (letter,) = await gateway.dead()
    path = f"/dead-letters/{letter['dead_letter_id']}/release"

    answer = await gateway.call("POST", path, {"body": ORDER})

    assert (answer.status, answer.body["error"], answer.body["where"]) == (422, "unrepaired", "$.body")
    assert answer.body["details"] == {"code": "reconsider"} and is_told(answer.body)
    assert await gateway.post(path) == {"events": 1}
    assert await gateway.dead(0) == []


async def test_a_repair_given_as_text_or_bytes(gateway: Gateway) -> None:
    for number, repair in (
        ("1", {"body": msgspec.json.encode(changed(order_no="1")).decode()}),
        ("2", {"body_base64": base64.b64encode(msgspec.json.encode(changed(order_no="2"))).decode()}),
    ):
        await gateway.push(changed(order_no=number, colour="red"))
        (letter,) = await gateway.dead()
        await gateway.post(f"/dead-letters/{letter['dead_letter_id']}/release", repair)
        await gateway.sent(f"S{number}")
        assert gateway.erp.books.orders[f"S{number}"].documents == 1


async def test_a_repair_that_is_no_base64(gateway: Gateway) -> None:
    await gateway.push(changed(colour="red"))
    (letter,) = await gateway.dead()
    for wrong in ("QQ", "é", "Q Q="):
        answer = await gateway.call("POST", f"/dead-letters/{letter['dead_letter_id']}/release", {"body_base64": wrong})
        assert (answer.status, answer.body["where"]) == (422, "$.body_base64"), wrong


async def test_what_a_letter_quotes_of_its_buyer_is_shown_to_who_asks_for_it(gateway: Gateway) -> None:
    said = Text("买家 13800001234 无法解析", "the buyer 13800001234 cannot be read")
    quoting = msgspec.structs.replace(letter_of(1, "S1", "json"), message=said, advice=said)
    async with gateway.pool.acquire() as connection:
        await set_aside(connection, [quoting])
    (listed,) = await gateway.dead()
    path = f"/dead-letters/{listed['dead_letter_id']}"
    masked, whole = await gateway.get(path), await gateway.get(path, unmask=1)
    for row in (listed, masked["dead_letter"]):
        assert row["message"] == row["advice"]
        assert row["message"]["en"] == "the buyer [phone] cannot be read", row
        assert row["message"]["zh"] == "买家 [phone] 无法解析", row
    assert masked["text"] is None and masked["base64"] is None
    assert whole["dead_letter"]["message"]["en"] == said.en and whole["text"] == "{}"


async def test_a_discarded_dead_letter_lets_the_others_go(gateway: Gateway) -> None:
    await gateway.push(changed(colour="red", updated_at="2026-05-01T09:30:04+08:00"))
    (letter,) = await gateway.dead()
    await gateway.order()

    async def waits() -> bool:
        return bool((await gateway.get("/dead-letters", code="behind"))["dead_letters"])

    await gateway.until(waits)
    path = f"/dead-letters/{letter['dead_letter_id']}/discard"
    assert (await gateway.call("POST", path, {})).status == 422
    assert await gateway.post(path, {"reason": "their test, see 13800001234"}) == {"events": 1}
    await gateway.sent("S1001")
    hand = [one for one in (await gateway.get("/orders/S1001"))["timeline"] if one["kind"] == "hand"]
    assert [(one["action"], one["subject"], one["reason"]) for one in hand] == [
        ("dead_letter.discard", f"#{letter['dead_letter_id']}", "their test, see 138****1234")
    ]
    page = await gateway.get(f"/dead-letters/{letter['dead_letter_id']}")
    assert page["closed_reason"] == "their test, see [phone]"

    closed = (await gateway.get("/dead-letters", state="all"))["dead_letters"]
    assert [(row["resolution"], row["closed_by"]) for row in closed] == [("discarded", "admin/wang")]
    assert (await gateway.call("POST", path, {"reason": "x"})).status == 409


async def test_an_order_over_the_configured_amount_waits_for_a_person(gateway: Gateway) -> None:
    number = await gateway.order(total="5000.01")

    row = await gateway.stage(number, "received", reason="over_limit")

    assert row["reasons"] == ["over_limit"]
    assert gateway.erp.books.requests == 0
