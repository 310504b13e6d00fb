"""Whatever is asked of the API: no failure of ours, every answer as the OpenAPI document declares it, nothing
changed by what is refused, and one audit row for what is done.

Requests are made from the document itself: valid, nearly valid and hostile, as bytes on a socket of their own, so that
no client tidies them up.
"""

from __future__ import annotations

import asyncio
import json
import os
import urllib.parse
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from adapters.webhook.fake import FakeShop
from gateway.core.happening import Trouble
from gateway.store.sql import migrate, open_pool
from gateway.store.token import first_token

from .conftest import ERP_SECRET, ORDER, SHOP_SECRET, Gateway, Running, is_told
from .test_routes import REFUSING

EXAMPLES = int(os.environ.get("CONFORMANCE_EXAMPLES", "150"))

MORE = f"""
  tmall:
    adapter: webhook
    prefix: T
    mode: live
    skus: mapped
    route: [{{target: erp, warehouse: W1}}]
    settings: {{secrets: ["{SHOP_SECRET}"]}}
"""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it goes onto the wire. `route`: the declared method and path it is meant for."""

    route: tuple[str, str]
    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    chunked: bool = False


class Told(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    headers: dict[str, str]
    body: bytes


async def ask(base: str, request: Request, token: str | None = None) -> Told:
    host, _, port = base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        lines = [request.method.encode() + b" " + request.target + b" HTTP/1.1", b"Host: x", b"Connection: close"]
        if token is not None:
            lines.append(b"Authorization: Bearer " + token.encode())
        lines += [name + b": " + value for name, value in request.headers]
        if request.chunked:
            lines.append(b"Transfer-Encoding: chunked")
            body = b"%x\r\n%s\r\n" % (len(request.body), request.body) if request.body else b""
            body += b"0\r\n\r\n"
        else:
            body = request.body
            if body or request.method not in ("GET", "HEAD", "OPTIONS"):
                lines.append(b"Content-Length: %d" % len(body))
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        async with asyncio.timeout(30):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                status = int(head.split(b" ", 2)[1])
                if status != 100:
                    break
            rest = await reader.read()
    finally:
        writer.close()
    headers = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Told(status=status, headers=headers, body=rest)


# --- the document


def fits(value: Any, schema: dict[str, Any], components: dict[str, Any], where: str = "$") -> list[str]:
    """Where `value` is not as `schema` says; the parts of JSON Schema that msgspec writes."""
    if "$ref" in schema:
        return fits(value, components[schema["$ref"].rsplit("/", 1)[1]], components, where)
    if "anyOf" in schema:
        tries = [fits(value, one, components, where) for one in schema["anyOf"]]
        return [] if any(not one for one in tries) else min(tries, key=len)
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: {value!r} is none of {schema['enum']}"]
    if "const" in schema and value != schema["const"]:
        return [f"{where}: is not {schema['const']!r}"]
    kind = schema.get("type")
    kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None),
             "array": list, "object": dict}  # fmt: skip
    if kind is not None and (not isinstance(value, kinds[kind]) or (kind != "boolean" and value is True)):
        return [f"{where}: {value!r:.60} is no {kind}"]
    wrong = []
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        wrong += [f"{where}.{name} is missing" for name in schema.get("required", ()) if name not in value]
        if properties and "additionalProperties" not in schema:
            wrong += [f"{where}.{name} is not declared" for name in value if name not in properties]
        for name, one in value.items():
            if name in properties:
                wrong += fits(one, properties[name], components, f"{where}.{name}")
            elif isinstance(schema.get("additionalProperties"), dict):
                wrong += fits(one, schema["additionalProperties"], components, f"{where}.{name}")
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, one in enumerate(value):
            wrong += fits(one, schema["items"], components, f"{where}[{index}]")
    return wrong


JUNK: list[Any] = [
    "", " ", "\x00", "a\x00b", "é", "张三", "\U0001f600", "x" * 300, "y" * 70, "%", "_", "\\", "'", '"', "a b",
    "../..", "\n", "\x01" * 64,
    "erp", "shop", "S1", "missing:x", "1", "true", "null", "2026-05-01T00:00:00Z", "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59", "2026-05-01T00:00:00", "2026-05-01T09:30:00+08:00", "1 2 3", "[1,2]", '["a","b"]',
    "2026-05-01T00:00:00+00:00 S1", "2026-05-01T00:00:00+00:00 0 1", "0001-01-01T00:00:00+23:59 0 1",
    "9999-12-31T23:59:59-23:59 0 1", "9999-12-31T23:59:59-23:59 x", "١", "９" * 3, "QUJD", "é===",
    0, 1, -1, 2, 500, 501, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, 0.5, 1e-60,
    1e-40,
    5e-324, 1e308, -0.0, True, False, None, [], {}, [[]], [None], {"a": {"b": []}}, ["x"] * 3, {"": 1}, {"\x00": 1},
]  # fmt: skip
"""What a value may be instead."""

EDITS: list[Any] = [
    {}, {"receiver": {"phone": "13900001234"}}, {"total_minor": 2**64}, {"total_minor": -(10**30)},
    {"total_minor": 2**63 - 1}, {"lines": None}, {"lines": []}, {"placed_at": "2026-05-01T09:30:00"},
    {"placed_at": "0001-01-01T00:00:00+23:59"}, {"receiver": None}, {"freight_minor": 2**70}, {"x": 1},
    {"discount_minor": 1e300}, {"receiver": {"name": "é" * 5000}},
]  # fmt: skip

RAW = [
    b"", b"{", b"null", b"[]", b"1", b'"x"', b"\xef\xbb\xbf{}", '{"reason":"x"}'.encode("utf-16"), b"\xff\xfe",
    b'{"reason":"\\ud800"}', b'{"reason":"\xed\xa0\x80"}', b'{"reason":"x","reason":"y"}', b'{"reason":NaN}',
    b'{"reason":1e400}',
    b'{"reason":"x","for_s":1e400,"force":"open"}', b'{"reason":"\x01"}', b"[" * 100_000,
    b'{"a":' * 900 + b"1" + b"}" * 900,
    b'{"reason":"x","edit":' + b'{"a":' * 900 + b"1" + b"}" * 901, b'{"body":' + b"[" * 930 + b"]" * 930 + b"}",
    b'{"reason":"x","edit":' + b'{"a":' * 940 + b"1" + b"}" * 941, b'{"body":' + b"[" * 960 + b"]" * 960 + b"}",
    b'{"body":1e400}', b'{"body":123456789012345678901234567890}', b'{"body_base64":"\xc3\xa9"}',
    b'{"body_base64":"QQ"}',
    b'{"body":{"order_no":"1","extra":' + b"9" * 5000 + b"}}",
    b'{"reason":"x"}', b'{"reason":"x","confirmed_absent":true}',
    b'{"reason":"x","edit":{"total_minor":' + b"9" * 30 + b"}}",
    b'{"wanted":{"target":"erp"},"reason":"x","per_s":1e-60}',
    b'{"wanted":{"target":"erp"},"reason":"x","per_s":1e-40,"start_in_s":0}',
    b'{"wanted":{"since":"9999-12-31T23:59:59-23:59"},"reason":"x"}', b" " * 70_000,
]  # fmt: skip

HEADERS: list[tuple[bytes, bytes]] = [
    (b"Content-Type", b"text/plain"), (b"Content-Type", b"application/json; charset=bogus"),
    (b"Content-Type", b"multipart/form-data"), (b"Content-Type", b"\xff/\xfe"), (b"Content-Type", b";;;"),
    (b"Content-Encoding", b"gzip"), (b"Content-Encoding", b"identity"), (b"Content-Encoding", b"x, y"),
    (b"Range", b"bytes=0-1"), (b"Range", b"bytes=9-1,x"), (b"If-None-Match", b"*"), (b"If-Match", b'"x"'),
    (b"If-Modified-Since", b"Thu, 01 Jan 1970 00:00:00 GMT"), (b"If-Modified-Since", b"soon"), (b"Expect",
    b"100-continue"),
    (b"Expect", b"200-maybe"), (b"X-Ordergate-Actor", b"wang"), (b"X-Ordergate-Actor", b"\xff\xfe"),
    (b"X-Ordergate-Actor", "王".encode()), (b"X-Ordergate-Actor", b"x" * 5000), (b"Accept", b"text/html"),
    (b"Accept-Encoding", b"gzip, br"), (b"Upgrade", b"websocket"), (b"traceparent", b"\xff"), (b"Cookie",
    b"\xff=;;;="),
    (b"X-Forwarded-For", b"1.2.3.4"), (b"Authorization", b"Basic eDp5"),
]  # fmt: skip


class Maker:
    """Strategies of requests, from the document."""

    def __init__(self, document: dict[str, Any], known: dict[str, list[str]]) -> None:
        self._components = document["components"]["schemas"]
        self._known = known
        self.routes = [
            (method.upper(), path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        ]

    def value(self, schema: dict[str, Any], name: str = "") -> st.SearchStrategy[Any]:
        """Mostly what `schema` says."""
        if name == "edit":
            return st.sampled_from(EDITS)
        likely = self._valid(schema, name)
        return st.integers(0, 9).flatmap(lambda n: likely if n else st.sampled_from(JUNK))

    def _valid(self, schema: dict[str, Any], name: str) -> st.SearchStrategy[Any]:
        if "$ref" in schema:
            return self._valid(self._components[schema["$ref"].rsplit("/", 1)[1]], name)
        if "anyOf" in schema:
            return st.one_of([self._valid(one, name) for one in schema["anyOf"]])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        match schema.get("type"):
            case "string" if schema.get("format") == "date-time":
                return st.sampled_from(["2026-05-01T09:30:00+08:00", "2000-01-01T00:00:00Z", "2099-12-31T23:59:59Z"])
            case "string" if name in self._known:
                return st.sampled_from(self._known[name])
            case "string":
                return st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
            case "integer":
                low = schema.get("minimum", -5)
                return st.integers(low, min(schema.get("maximum", low + 50), low + 1000))
            case "number":
                return st.sampled_from([0.5, 1, 10.0, 1e-3, 1e-45, 86400])
            case "boolean":
                return st.booleans()
            case "null":
                return st.none()
            case "array":
                items = schema.get("items") or {}
                return st.lists(self.value(items, name), min_size=schema.get("minItems", 0), max_size=3)
            case "object" if "properties" in schema:
                required = set(schema.get("required", ()))
                fields = {one: self.value(inner, one) for one, inner in schema["properties"].items()}
                return st.fixed_dictionaries(
                    {one: made for one, made in fields.items() if one in required},
                    optional={one: made for one, made in fields.items() if one not in required},
                )
            case "object":
                return st.sampled_from(EDITS)
        return st.sampled_from([*JUNK, ORDER])

    @st.composite
    @staticmethod
    def request(draw: st.DrawFn, self: Maker) -> Request:
        method, path, operation = draw(st.sampled_from(self.routes))
        odd = draw(st.integers(0, 3)) == 0
        target = "/api/v1" + path
        query: list[tuple[str, str]] = []
        for parameter in operation["parameters"]:
            name, schema = parameter["name"], parameter["schema"]
            if parameter["in"] == "path":
                value = draw(
                    st.sampled_from([str(one) for one in JUNK] + ["%2F", "%00", "%ff", "a%2Fb", "%ED%A0%80", "{x}"])
                    if draw(st.integers(0, 11)) == 0
                    else st.sampled_from(self._known[name])
                )
                quoted = value if value.startswith("%") else urllib.parse.quote(value, safe="%")
                target = target.replace(f"{{{name}}}", quoted or "%20")
            elif draw(st.integers(0, 3)) == 0:
                value = draw(self.value(schema, name))
                query.append((name, value if isinstance(value, str) else json.dumps(value)))
        if odd and draw(st.booleans()):
            query.append(
                draw(
                    st.sampled_from(
                        [
                            ("colour", "red"),
                            ("", ""),
                            ("limit", "1"),
                            ("limit", ""),
                            ("unmask", "1"),
                            ("a\x00", "b"),
                            ("after", ""),
                        ]
                    )
                )
            )
            query += query[:1]
        encoded = urllib.parse.urlencode(query).encode()
        if odd:
            encoded += draw(
                st.sampled_from(
                    [b"", b"", b"&\xff=1", b"&number=\xff\xfe", b"&%ff=%ff", b"&x=%ED%A0%80", b"&&&==", b";", b"#x"]
                )
            )
        raw = target.encode()
        if odd:
            raw += draw(st.sampled_from([b"", b"", b"", b"/", b"//", b"\xff", b"%", b"%00", b"/../x"]))
        body = b""
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            if draw(st.integers(0, 4)) == 0:
                body = draw(st.sampled_from(RAW))
            else:
                given_ = draw(self.value(schema))
                if odd and isinstance(given_, dict):
                    given_ = {
                        **given_,
                        draw(st.sampled_from(["x", "", "\x00", "reason", "edit", "é"])): draw(st.sampled_from(JUNK)),
                    }
                body = json.dumps(given_, ensure_ascii=draw(st.booleans())).encode()
        sent = method
        if odd and draw(st.integers(0, 3)) == 0:
            sent = draw(
                st.sampled_from(["HEAD", "OPTIONS", "DELETE", "PATCH", "PUT", "POST", "GET", "TRACE", "PROPFIND"])
            )
        headers = tuple(draw(st.lists(st.sampled_from(HEADERS), max_size=2))) if odd else ()
        return Request(
            route=(method, path), method=sent, target=raw + (b"?" + encoded if encoded else b""), headers=headers,
            body=body, chunked=draw(st.integers(0, 9)) == 0,
        )  # fmt: skip


# --- a gateway with something of everything


@pytest.fixture
async def gateway(postgres_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    pool = await open_pool(postgres_url, size=4)
    await migrate(pool)
    token = await first_token(pool)
    assert token is not None
    async with FakeShop(secrets=(ERP_SECRET,)) as erp, aiohttp.ClientSession() as session:
        async with Running(postgres_url, tmp_path, erp.url, extra=MORE) as running:
            gateway = Gateway(running.base, token, pool=pool, erp=erp, session=session)
            gateway.happened = running.happened
            await furnish(gateway)
            yield gateway
    await pool.close()


async def furnish(gateway: Gateway) -> None:
    """Orders that are sent, refused, in doubt and held; dead letters; stock; a SKU table; a hold; a redrive."""
    await gateway.order(order_no="1")
    await gateway.sent("S1")
    gateway.erp.faults = REFUSING
    for number in ("2", "3", "4", "5"):
        await gateway.order(order_no=number)
        await gateway.blocked(f"S{number}")
    await gateway.pool.execute(
        "UPDATE lane SET blocked = 'unknown', in_doubt = true WHERE order_id ="
        " (SELECT order_id FROM orders WHERE number = 'S5')"
    )
    await gateway.order(order_no="6", total="9000.00", payment={"paid": True, "amount": "9000.00"})
    await gateway.stage("S6", "received", reason="over_limit")
    for number in ("7", "8"):
        await gateway.push({**ORDER, "order_no": number, "lines": "none"})
    await gateway.dead(2)
    await gateway.call(
        "PUT", "/stock", {"items": [{"sku": "CUP-01", "warehouse": "W1", "on_hand": 100}], "reason": "counted"}
    )
    await gateway.post("/connections/tmall/pause", {"reason": "a holiday, call 13800001234"})
    await gateway.post("/gates/erp/cancel/breaker", {"force": "open", "reason": "slow", "for_s": 86400})
    await gateway.post("/redrives", {"wanted": {"target": "erp"}, "cap": 1, "start_in_s": 86400, "reason": "later"})


async def digest(gateway: Gateway) -> dict[str, str]:
    """What each table holds; but for those that workers keep writing."""
    async with gateway.pool.acquire() as connection:
        tables = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename NOT IN ('worker')"
        )
        return {
            name: await connection.fetchval(
                f"SELECT md5(coalesce(string_agg(t::text, '' ORDER BY t::text), '')) FROM {name} t"
            )
            for (name,) in tables
        }


NO_AUDIT = {"/redrives/preview", "/deliveries/resolve/preview"}
# Beside what is asked, a redrive that resolves writes a row with each thing it has done.
ASKED_FOR = """
SELECT (SELECT count(*) FROM audit) - (
    SELECT count(*) FROM redrive_item i JOIN redrive r USING (redrive_id) WHERE r.does = 'resolve' AND i.state = 'done')
"""


class Checks:
    def __init__(self, gateway: Gateway, document: dict[str, Any]) -> None:
        self.gateway = gateway
        self.document = document
        self.components = document["components"]["schemas"]

    async def check(self, request: Request) -> list[str]:
        gateway = self.gateway
        before, audit = await self.still(), await self.audit()
        token = None if any(name == b"Authorization" for name, _ in request.headers) else gateway.token
        began = asyncio.get_running_loop().time()
        told = await ask(gateway.base, request, token)
        took_s = asyncio.get_running_loop().time() - began
        wrong = [] if took_s < 5 else [f"took {took_s:.1f} s"]
        if told.status >= 500:
            wrong.append(f"status {told.status}: {told.body[:300]!r}")
        if told.status >= 400:
            wrong += self.problem(request, told)
            if await digest(gateway) != before:
                after = await self.still()
                told = await ask(gateway.base, request, token)
                changed = await digest(gateway)
                if told.status >= 400 and changed != after:
                    wrong.append(f"refused, and changed {[k for k in after if after[k] != changed[k]]}")
        elif told.status == 200 and request.method == request.route[0]:
            wrong += await self.done(request, told, audit)
        return wrong

    def problem(self, request: Request, told: Told) -> list[str]:
        if request.method == "HEAD":
            return []
        if not told.headers.get("content-type", "").startswith("application/json"):
            return [f"{told.status} as {told.headers.get('content-type')}: {told.body[:80]!r}"]
        body = msgspec.json.decode(told.body)
        wrong = fits(body, {"$ref": "#/components/schemas/Problem"}, self.components)
        if not wrong and not is_told(body):
            wrong.append(f"is not told in both languages: {body}")
        operation = self.document["paths"].get(request.route[1], {}).get(request.route[0].lower())
        # Of HTTP itself, or of a path that is nobody's.
        beside = body["error"] in ("http", "method", "expect") or (told.status == 404 and body["where"] == "path")
        if operation and not beside and str(told.status) not in operation["responses"]:
            wrong.append(f"{told.status} is not declared: {told.body[:200]!r}")
        return wrong

    async def done(self, request: Request, told: Told, audit: int) -> list[str]:
        method, path = request.route
        content = self.document["paths"][path][method.lower()]["responses"]["200"]["content"]
        kind = told.headers["content-type"].split(";")[0]
        if kind not in content:
            return [f"200 as {kind}"]
        wrong = []
        if kind == "application/json":
            wrong += fits(msgspec.json.decode(told.body), content[kind]["schema"], self.components)
        rows = await self.audit() - audit
        unmasked = "unmask=1" in request.target.decode("latin-1") or path.endswith("/raw/{n}")
        if method == "GET":
            if rows != int(unmasked and path in ("/orders/{number}", "/orders/{number}/raw/{n}", "/dead-letters/{id}")):
                wrong.append(f"{rows} audit rows of a reading")
            if not unmasked and (b"13800001234" in told.body or "张三丰".encode() in told.body):
                wrong.append("personal data unmasked")
        else:
            wanted = 0 if path in NO_AUDIT else 1
            if b'"dry_run": true' in request.body or b'"dry_run":true' in request.body:
                wanted = 0
            if rows != wanted:
                wrong.append(f"{rows} audit rows, not {wanted}")
        return wrong

    async def still(self) -> dict[str, str]:
        before = await digest(self.gateway)
        for _ in range(100):
            await asyncio.sleep(0.01)
            now = await digest(self.gateway)
            if now == before:
                return now
            before = now
        return before

    async def audit(self) -> int:
        return int(await self.gateway.pool.fetchval(ASKED_FOR))


async def test_every_answer_is_as_declared_and_nothing_fails(gateway: Gateway) -> None:
    document = (await gateway.call("GET", "/openapi.json", token=None)).body
    letters = [str(row["dead_letter_id"]) for row in await gateway.dead(2)]
    known = {
        "number": ["S1", "S2", "S3", "S4", "S5", "S6", "S9"], "target": ["erp"], "seq": ["1", "2"], "n": ["1", "0"],
        "id": [*letters, "1", "2", "0", "9" * 18], "operation": ["create", "cancel"], "name": ["shop", "tmall", "erp"],
        "shop": ["shop", "tmall", "erp"], "source": ["shop"], "connection": ["shop", "erp"], "sku": ["CUP-01", "A"],
        "warehouse": ["W1"], "code": ["rejected:http_4xx", "shape"], "reason": ["why not"], "channel_no": ["1"],
    }  # fmt: skip
    maker, checks = Maker(document, known), Checks(gateway, document)
    loop = asyncio.get_running_loop()

    @examples(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize="CONFORMANCE_SEED" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    @given(Maker.request(maker))
    def every(request: Request) -> None:
        wrong = asyncio.run_coroutine_threadsafe(checks.check(request), loop).result(60)
        assert not wrong, (request, wrong)

    await asyncio.to_thread(every)
    assert [one for one in gateway.happened if isinstance(one, Trouble)] == []
