"""Everybody who speaks to the gateway quotes a buyer: platforms, a warehouse, the shop and the desk.

What comes out has nothing of it: logs, metrics, notices, the pages that the CLI prints and the tables of the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import zipfile
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from adapters.pinduoduo import fake as pinduoduo
from adapters.pinduoduo import wire
from adapters.qimen import mapping as qimen
from adapters.qimen.fake import signed_query
from adapters.taobao import fake as taobao
from adapters.wecom.fake import FakeWecom
from gateway.cli import main
from gateway.sdk.signing import decode_secret
from tests.chaos.gateway import SECRET, WAREHOUSE, Fake, Gateway, until
from tests.chaos.test_canary import CANARIES, KEY, SECRETIVE, document, found_in_database, new_token, post
from tests.mailbox import Mailbox, mail_server

DASHED = "139-7777-0001"
NOTE = "请放金丝雀门口"
SAID = f"收件人 {CANARIES['name']} {CANARIES['phone']} {DASHED} {CANARIES['detail']} {NOTE}"
NOWHERE = (*SECRETIVE, DASHED)
LIST = "taobao.trades.sold.increment.get"
ROBOT = "0f3c2d1e-aaaa-4bbb-8ccc-1234567890ab"
BEFORE_S = 400.0
"""Pinduoduo shows nothing younger than three minutes."""

pytestmark = pytest.mark.real


class Pinduoduo(pinduoduo.FakePinduoduo):
    """Hides no receiver, refuses every shipment, and quotes the buyer in what it refuses and in after-sale cases."""

    unreadable: str = ""
    """The order whose detail has another form."""

    async def serve(self, request: web.BaseRequest, body: bytes) -> web.Response:
        if msgspec.json.decode(body)["type"] == wire.SHIP.name:
            return web.json_response({"error_response": {"error_code": 40005, "error_msg": SAID, "sub_msg": SAID}})
        answer = await super().serve(request, body)
        if answer.status != 200 or answer.content_type != "application/json":
            return answer
        assert isinstance(answer.body, bytes)
        root = msgspec.json.decode(answer.body)
        if "error_response" in root:
            root["error_response"] |= {"error_msg": SAID, "sub_msg": SAID}
        for case in root.get(wire.CHANGED_CASES.root, {}).get("refund_list", ()):
            case["after_sale_reason"] = SAID
        order = root.get(wire.ORDER.root, {}).get("order_info")
        if order is not None:
            order |= {name: "" for name in order if name.endswith("_mask")}
            order |= {
                "receiver_name": CANARIES["name"],
                "receiver_phone": CANARIES["phone"],
                "receiver_address": CANARIES["detail"],
                "buyer_memo": NOTE,
                "remark": SAID,
            }
            if order["order_sn"] == self.unreadable:
                order["pay_time"] = SAID
        return web.Response(body=msgspec.json.encode(root), content_type="application/json")


class Stage:
    """The gateway with all who speak to it."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.clock = taobao.Clock(datetime.now(UTC) - timedelta(seconds=BEFORE_S))
        self.taobao = taobao.FakeShop(secret="fake-secret", session="t0", now=self.clock.now)
        self.pinduoduo = Pinduoduo(now=self.clock.now)
        self.robot = FakeWecom(keys={ROBOT})
        self.box = Mailbox()
        self.wms = Fake("qimen", folder, arguments=["--quoting-share", "0.3"])
        self._folder, self._database_url = folder, database_url

    async def open(self, stack: AsyncExitStack) -> Gateway:
        for fake in (self.taobao, self.pinduoduo, self.robot):
            await stack.enter_async_context(fake)
        self._sell()
        self.clock.advance(BEFORE_S)
        gateway = Gateway(
            self._folder,
            database_url=self._database_url,
            fakes=[self.wms],
            workers=2,
            lease_s=20.0,
            connections=self._connections(mail_port=await stack.enter_async_context(mail_server(self.box))),
            sections={"notices": {"channels": ["robot", "mail"]}, "encryption": {"keys": [KEY]}},
        )
        self.wms.ship_through(f"{gateway.hooks_url}/wms")
        await stack.enter_async_context(self.wms)
        await stack.enter_async_context(gateway)
        return gateway

    def _sell(self) -> None:
        """Trades of a buyer who is not masked; some are refused, others not to be read."""
        buyer = {
            "receiver_name": CANARIES["name"],
            "receiver_mobile": CANARIES["phone"],
            "receiver_address": CANARIES["detail"],
        }
        cup = taobao.FakeLine(sku="SKU-001")

        def trade(**more: Any) -> str:
            return self.taobao.place([cup], paid=True, note=NOTE, **{**buyer, **more})

        self.trades = [trade() for _ in range(6)]
        refused = trade()
        self.taobao.refuse(refused, {"code": 15, "msg": SAID, "sub_code": "isv.trade-not-exist", "sub_msg": SAID})
        trade(receiver_name={"name": SAID})
        trade(post_fee=SAID)
        trade(created=SAID)
        self.taobao.refund(trade())
        self.taobao.remark(self.trades[0], SAID)
        self.taobao.refuse(LIST, _platform(SAID), _platform(SAID))
        self.taobao.refuse("taobao.logistics.offline.send", *[_refused_shipment(SAID)] * 40)

        piece = [pinduoduo.FakeLine(outer_id="SKU-001", price_minor=990)]
        self.orders = [self.pinduoduo.place(piece) for _ in range(6)]
        self.pinduoduo.orders[self.pinduoduo.place(piece)].broken = True
        self.pinduoduo.unreadable = self.pinduoduo.place(piece)
        self.case_of = self.pinduoduo.place(piece)
        self.pinduoduo.open_refund(self.case_of, amount_minor=100)
        self.pinduoduo.set_faults({"error_in_200_share": 0.2, "commands": ["list"]})

    def _connections(self, *, mail_port: int) -> dict[str, Any]:
        shop = {
            "mode": "live",
            "start_at": (datetime.now(UTC) - timedelta(seconds=2 * BEFORE_S)).isoformat(),
            "route": [{"target": "wms", "warehouse": WAREHOUSE}],
            "pull": {"every_s": 0.3},
        }
        return {
            "tb": {
                "adapter": "taobao",
                "prefix": "TB",
                "settings": {
                    "app_key": "12345678",
                    "app_secret": "fake-secret",
                    "access_token": "t0",
                    "url": f"{self.taobao.url}/router/rest",
                    "token_url": f"{self.taobao.url}/token",
                },
                **shop,
            },
            "pdd": {
                "adapter": "pinduoduo",
                "prefix": "PD",
                "settings": {
                    "client_id": "fake-client",
                    "client_secret": "fake-secret",
                    "access_token": self.pinduoduo.access_token,
                    "url": self.pinduoduo.router_url,
                    "detail_tries": 2,
                },
                **shop,
            },
            "robot": {"adapter": "wecom", "settings": {"robot_keys": [ROBOT], "base_url": self.robot.url}},
            "mail": {
                "adapter": "smtp",
                "settings": {
                    "host": "127.0.0.1",
                    "port": mail_port,
                    "security": "none",
                    "sender": "gateway@example.com",
                    "to": ["ops@example.com"],
                },
            },
        }


def _platform(words: str) -> dict[str, Any]:
    return {"code": 15, "msg": words, "sub_code": "isp.remote-service-error", "sub_msg": words}


def _refused_shipment(words: str) -> dict[str, Any]:
    return {"code": 15, "msg": words, "sub_code": "isv.logistics-offline-service-error:B01", "sub_msg": words}


async def report(gateway: Gateway, session: aiohttp.ClientSession, number: str) -> None:
    """The warehouse cannot go on with an order, and says why."""
    body = (
        f"<request><order><orderCode>{number}</orderCode></order><process><processStatus>EXCEPTION</processStatus>"
        f"<operateInfo>{SAID}</operateInfo></process></request>"
    ).encode()
    query = signed_query(qimen.REPORT, body, secret="fake-secret", app_key="fake", customer_id="fake-wms")
    headers = {"content-type": "text/xml"}
    async with session.post(f"{gateway.hooks_url}/wms", params=query, data=body, headers=headers) as answer:
        assert b"success" in await answer.read()


async def told_by_shop(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    """A mini-program that writes the buyer's words into every reason, and documents that nobody can read."""
    key = decode_secret(SECRET)
    reasons = {
        "hold": {"held": True, "reason": SAID},
        "cancelled": {"reason": SAID},
        "refunds": [{"refund_id": "R1", "status": "open", "amount": "9.90", "reason": SAID}],
    }
    for number, (name, value) in enumerate(reasons.items()):
        assert await post(gateway, session, document(number, **{name: value}), key=key) == 202
    for number in (10, 11, 12):
        assert await post(gateway, session, document(number), key=key) == 202
    assert await post(gateway, session, document(90, payment={"paid": True, "amount": SAID}), key=key) == 422
    assert await post(gateway, session, document(91, updated_at=SAID), key=key) == 422


class Desk:
    """Who reads the pages, without `--unmask`."""

    def __init__(self, gateway: Gateway, token: str) -> None:
        self._remote = ("--url", f"http://127.0.0.1:{gateway.port}", "--token", token)
        self.pages: dict[str, str] = {}

    def read(self, *command: str) -> Any:
        """What `--json` shows; that and the table are kept among the pages."""
        name = " ".join(command)
        self.pages[name] = printed(*command, *self._remote)
        self.pages[f"{name} --json"] = printed(*command, *self._remote, "--json")
        return json.loads(self.pages[f"{name} --json"])

    def export(self, file: Path) -> None:
        printed("orders", "export", "--stuck", "-o", str(file), *self._remote)
        with zipfile.ZipFile(file) as sheet:
            self.pages["orders export"] = "".join(sheet.read(name).decode() for name in sheet.namelist())

    def do(self, *command: str, reason: str) -> None:
        printed(*command, "-r", reason, *self._remote)

    def look(self, folder: Path) -> None:
        numbers = [row["number"] for row in self.read("orders", "list", "--limit", "500")["orders"]]
        lanes = self.read("deliveries", "list", "--limit", "500")["deliveries"]
        letters = self.read("dead", "list", "--limit", "500")["dead_letters"]
        for command in (
            "work list",
            "work items",
            "connections list",
            "connections list",
            "notices list",
            "notices open",
            "gates list",
            "redrives list",
        ):
            self.read(*command.split())
        self.do("deliveries", "resolve", lanes[0]["number"], lanes[0]["target"], str(lanes[0]["seq"]), reason=SAID)
        # Of a dead letter nobody knows a receiver, so a name that a person writes down is seen there.
        self.do("dead", "discard", str(letters[0]["dead_letter_id"]), reason=f"{DASHED} 来电")
        for number in numbers:
            self.read("orders", "show", number)
        for letter in letters:
            self.read("dead", "show", str(letter["dead_letter_id"]))
        self.export(folder / "stuck.xlsx")


def printed(*command: str) -> str:
    """What the command prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            main(command)
        except SystemExit as ended:
            assert not ended.code, command
    return out.getvalue()


async def _run(stage: Stage, gateway: Gateway, folder: Path) -> dict[str, str]:
    """Everything that came out, by where."""
    async with aiohttp.ClientSession() as session:
        await told_by_shop(gateway, session)
        await until(lambda: _refused(gateway), within_s=60, what="everybody to have refused", log=gateway.log)
        await report(gateway, session, "AC10")
        await until(
            lambda: _told(stage.robot, "死信", "待人工", "订单冲突"),
            within_s=30,
            what="the robot to be told",
            log=gateway.log,
        )
        stage.robot.keys.clear()
        stage.taobao.refuse(LIST, *[{"code": 27, "msg": SAID, "sub_code": "invalid-sessionkey", "sub_msg": SAID}] * 3)
        stage.pinduoduo.expire()
        await until(lambda: _mailed(stage.box, "授权失效"), within_s=30, what="a mail", log=gateway.log)
        desk = Desk(gateway, await new_token(gateway))
        await asyncio.to_thread(desk.look, folder)
        async with session.get(f"http://127.0.0.1:{gateway.metrics_port}/metrics") as answer:
            metrics = await answer.text()
    return {
        **desk.pages,
        "metrics": metrics,
        "robot": "\n".join(told.text for told in stage.robot.told),
        "mailbox": "\n".join(f"{mail['Subject']} {mail.get_content()}" for mail in stage.box.mails),
    }


async def _refused(gateway: Gateway) -> bool:
    blocked = await gateway.fetch(
        "SELECT c.name FROM lane l JOIN connection c ON c.connection_id = l.target_id WHERE l.blocked IS NOT NULL"
    )
    letters = await gateway.fetch("SELECT source, code FROM dead_letter")
    kinds = {("pdd", "unread"), ("pdd", "value"), ("tb", "unread"), ("tb", "shape"), ("tb", "amount"), ("tb", "value")}
    return {row[0] for row in blocked} == {"tb", "pdd", "wms"} and {tuple(row) for row in letters} >= kinds


async def _told(robot: FakeWecom, *words: str) -> bool:
    said = "".join(told.text for told in robot.told)
    return all(word in said for word in words)


async def _mailed(box: Mailbox, word: str) -> bool:
    return any(word in f"{mail['Subject']} {mail.get_content()}" for mail in box.mails)


async def test_what_everybody_says_of_a_buyer_is_shown_nowhere(
    postgres_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "5000")  # a table that folds its cells would hide what it shows
    stage = Stage(folder, postgres_url)
    async with AsyncExitStack() as stack:
        gateway = await stage.open(stack)
        shown = await _run(stage, gateway, folder)
        kept = await found_in_database(gateway)
        await gateway.stop()
    shown["log"] = gateway.log.read_text()
    assert "AC12" in shown["log"] and "ordergate_dead_letters" in shown["metrics"] and len(shown) > 50
    assert "EXCEPTION" in shown["orders show AC10 --json"] and "[phone]" in shown["orders show AC0 --json"]
    connections = shown.pop("connections list") + shown.pop("connections list --json")
    assert "需重新授权" in connections
    # What a platform says of an authorisation is about no order: nobody knows a name to look for.
    assert [text for text in (CANARIES["phone"], DASHED) if text in connections] == []
    sung = [f"{where}: {text}" for where, page in shown.items() for text in NOWHERE if text in page]
    assert sung == []
    assert kept == []
