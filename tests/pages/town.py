"""One gateway that has everything the pages tell of: shops, a warehouse, a robot and a mailbox, each of them a fake.

Its configuration is made of the examples in the pages themselves; a story brings about what its page is for.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import asyncpg
import trustme
import yaml
from aiosmtpd.smtp import AuthResult

from adapters.qimen.fake import FakeWms, render_confirm, signed_query
from adapters.taobao.fake import FakeLine as TaobaoLine
from adapters.taobao.fake import FakeShop as FakeTaobao
from adapters.wecom.fake import FakeWecom
from gateway.core.keys import KEY_BYTES
from gateway.core.words import BREAKERS
from gateway.sdk.signing import decode_secret, sign
from gateway.store.dead import DeadLetter, set_aside
from gateway.testing.fakes import Faults
from tests.mailbox import Mailbox, mail_server
from tests.pages.reading import ROOT, blocks_of
from tests.pages.stage import Fakes, Stage, fetch, until

SECRET = "whsec_b3JkZXJnYXRlIHF1aWNrIHN0YXJ0IHNlY3JldA=="
ORDER = json.loads((ROOT / "adapters/webhook/order.example.json").read_text(encoding="utf-8"))
ROBOT = "0f3c2d1e-aaaa-4bbb-8ccc-1234567890ab"
REFUSES = Faults(share_5xx=1.0, status_5xx=400, commands=("create",))
"""The warehouse finds fault with every new document."""
AWAY = Faults(share_5xx=1.0, status_5xx=503, commands=("create",))


def quick_start() -> dict[str, Any]:
    """The connections of `docs/quickstart.yaml`, at the ports of the page."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "docs/quickstart.yaml").read_text(encoding="utf-8"))
    connections: dict[str, Any] = document["connections"]
    return connections


def example_of(page: str, number: int = 0) -> dict[str, Any]:
    """A configuration that a page shows."""
    document: dict[str, Any] = yaml.safe_load(blocks_of(page, "yaml")[number])
    return document


def warehouse(stage: Stage, **more: Any) -> FakeWms:
    """The warehouse of the quick start, not started yet."""
    return FakeWms(secret="quickstart", app_key="1000", customer_id="C1", port=stage.port(8701), **more)


def write_config(stage: Stage, document: Mapping[str, Any]) -> None:
    text = yaml.safe_dump({**document, "http": stage.http}, allow_unicode=True)
    stage.config.write_text(stage.here(text), encoding="utf-8")


def send_order(stage: Stage, order_no: str, **changes: Any) -> None:
    """Push the example order to `shop-a`, under this number and with these changes."""
    push(stage, {**ORDER, "order_no": order_no, **changes})


def push(stage: Stage, document: Mapping[str, Any], *, status: int = 202) -> None:
    id_, at = f"msg_{time.time_ns()}", int(time.time())
    body = json.dumps(document).encode()
    headers = {
        "webhook-id": id_,
        "webhook-timestamp": str(at),
        "webhook-signature": sign(decode_secret(SECRET), message_id=id_, timestamp=at, body=body),
        "content-type": "application/json",
    }
    request = urllib.request.Request(f"{stage.url}/hooks/shop-a", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == status
    except urllib.error.HTTPError as error:
        with error:
            assert error.code == status, error.read()


class Town:
    """A method that is called after a state returns when it is reached."""

    def __init__(self, stage: Stage, fakes: Fakes) -> None:
        self.stage = stage
        self._enter = fakes.enter
        self._call = fakes.call
        self.wms = fakes.enter(warehouse(stage))
        self.taobao = fakes.enter(FakeTaobao(secret="fake-secret", session="fake-session"))
        self.robot = fakes.enter(FakeWecom(keys={ROBOT}))
        self.mailbox = Mailbox()
        key = base64.b64encode(b"k" * KEY_BYTES).decode()
        stage.environment |= {"WECOM_ROBOT_KEY": ROBOT, "TAOBAO_SECRET": "fake-secret", "ORDERGATE_KEY": key}
        write_config(stage, self._document(self._mail()))
        self.gateway = stage.start_gateway("ordergate run")
        self.server = stage.server()

    # --- what is the case

    def order(self, order_no: str, *, sku: str = "TEA-01", **changes: Any) -> str:
        """A paid order of one line; its number here."""
        lines = [{"line_no": "1", "sku": sku, "quantity": 1, "price": "98.00", "name": "青瓷杯"}]
        send_order(self.stage, order_no, lines=lines, total="98.00", freight="0", discount="0", **changes)
        return f"A{order_no}"

    def blocked(self, order_no: str) -> str:
        """An order that the warehouse has refused; it is well again."""
        with self.trouble(REFUSES):
            number = self.order(order_no)
            self.until_blocked(number)
        return number

    def unknown(self, *order_nos: str) -> list[str]:
        """Orders of which nobody knows whether the warehouse has them; it has not.

        What eight bursts of useless answers would come to, written down at once.
        """
        numbers = [self.blocked(order_no) for order_no in order_nos]
        self.sql(
            "UPDATE lane SET blocked = 'unknown', in_doubt = true WHERE order_id IN"
            " (SELECT order_id FROM orders WHERE number = ANY($1::text[]))",
            numbers,
        )
        return numbers

    @contextmanager
    def trouble(self, faults: Faults) -> Iterator[None]:
        """The warehouse misbehaves."""
        self.wms.faults = faults
        try:
            yield
        finally:
            self.wms.faults = Faults()

    def sent(self, number: str) -> None:
        until(lambda: self.documents(number), f"{number} to reach the warehouse")
        until(lambda: not self.sql(_LANE, number), f"{number} to have nothing open")

    def documents(self, number: str) -> int:
        """How often the warehouse has the order."""
        book = self.wms.books.orders.get(number)
        return 0 if book is None else book.documents

    def held(self, number: str, reason: str) -> None:
        question = "SELECT 1 FROM orders WHERE number = $1 AND $2 = ANY(string_to_array(reasons, ' '))"
        until(lambda: self.sql(question, number, reason), f"{number} to be held as {reason}")

    def in_conflict(self, number: str) -> None:
        until(lambda: self.sql("SELECT 1 FROM orders WHERE number = $1 AND conflicts <> ''", number), "a conflict")

    def until_gate(self, state: str) -> None:
        """The breaker before the warehouse's new orders stands so."""
        listed = rf"wms-1 +下单 +{BREAKERS[state].zh} "
        until(lambda: re.search(listed, self.stage.run("ordergate gates list").out), f"the gate to be {state}")

    def until_blocked(self, number: str) -> str:
        """Why the order's delivery waits for a person, once it does."""
        return until(lambda: [why for (why,) in self.sql(_LANE, number) if why], f"{number} to wait for a person")[0]

    def confirm(self, number: str) -> None:
        """The warehouse reports the whole order as shipped."""
        body = render_confirm(number, {"TEA-01": 1}, final=True, carrier="ZTO", tracking_no=f"78{number}")
        query = signed_query("deliveryorder.confirm", body, secret="quickstart", app_key="1000", customer_id="C1")
        url = f"{self.stage.url}/hooks/wms-1?{urlencode(query, quote_via=quote)}"
        with urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": "text/xml"})) as answer:
            assert b"success" in answer.read()

    def cancel(self, order_no: str) -> None:
        """The buyer cancels at the shop."""
        cancelled = {"status": "cancelled", "cancelled": {"reason": "买家取消"}}
        push(self.stage, {"order_no": order_no, "updated_at": datetime.now(UTC).isoformat(), **cancelled})

    def sell(self, line: TaobaoLine) -> str:
        """Somebody buys at `tmall` and pays; the trade's number."""

        async def do() -> str:
            return self.taobao.place([line], paid=True)

        return self._call(do())

    def refuse_stock(self, error: dict[str, Any]) -> None:
        """`tmall` refuses the next stock level that it is told."""

        async def do() -> None:
            self.taobao.refuse("taobao.item.quantity.update", error)

        self._call(do())

    def ship_silently(self, number: str) -> None:
        """It leaves the warehouse, which has not told yet."""
        self._call(self.wms.ship(number))

    def set_aside(self, letter: DeadLetter) -> None:
        """What no sound release brings about."""

        async def do() -> None:
            connection = await asyncpg.connect(self.server.url)
            try:
                await set_aside(connection, [letter])
            finally:
                await connection.close()

        asyncio.run(do())

    def sql(self, statement: str, *arguments: Any) -> list[Any]:
        return fetch(self.server.url, statement, *arguments)

    # --- its configuration

    def _document(self, mail: Mapping[str, Any]) -> dict[str, Any]:
        told, mapped = example_of("docs/notices.md"), example_of("docs/skus.md")
        route = [{"target": "wms-1", "warehouse": "WH-HZ"}]
        connections = {**quick_start(), **told["connections"]}
        # Nothing here is to wait for an answer that never comes.
        connections["wms-1"]["settle_s"] = 0.1
        del connections["shop-a"]["settings"]["url"]
        connections["ops-robot"]["settings"]["base_url"] = self.robot.url
        connections["ops-mail"]["settings"] |= mail
        connections["tmall"] = {
            "adapter": "taobao",
            "prefix": "T",
            "mode": "live",
            "route": route,
            **mapped["connections"]["tmall"],
            "pull": {"every_s": 0.5},
            "settings": {
                "app_key": "12345678",
                "app_secret": "${TAOBAO_SECRET}",
                "access_token": "fake-session",
                "url": f"{self.taobao.url}/router/rest",
                "token_url": f"{self.taobao.url}/token",
            },
        }
        return {
            "dispatch": {"heartbeat_s": 0.5},
            "retry": {"burst_retries": 0, "durable_base_s": 0.1, "durable_max_s": 0.1},
            # A breaker that opens stays open for longer than anybody waits here.
            "breaker": {"open_s": 60.0},
            "encryption": {"keys": ["${ORDERGATE_KEY}"]},
            "owners": [{"code": "short_of_stock", "people": ["wang"]}],
            "notices": told["notices"],
            "connections": connections,
        }

    def _mail(self) -> dict[str, Any]:
        authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)

        def login(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
            return AuthResult(success=data.password == b"secret", handled=False)

        serving = mail_server(self.mailbox, tls_context=context, authenticator=login, auth_required=True)
        (self.stage.folder / "smtp").write_text("secret", encoding="utf-8")
        return {
            "host": "127.0.0.1",
            "port": self._enter(serving),
            "security": "starttls",
            "password": f"file:{self.stage.folder}/smtp",
            "ca_pem": authority.cert_pem.bytes().decode(),
        }


_LANE = "SELECT l.blocked FROM lane l JOIN orders o USING (order_id) WHERE o.number = $1"
