"""The configuration file: what it becomes, and that every way to get it wrong is told, with its line."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from gateway import plugins, schema, settings
from gateway.core.delivery import AfterUnknown
from gateway.core.errors import Said, SettingsError
from gateway.core.event import ConnectionName
from gateway.core.order import Operation
from gateway.core.text import Text
from gateway.settings import Mode, Settings
from tests.certificates import Authority
from tests.languages import english, is_told

MANIFESTS = {
    "shop": """
name = "shop"
settings = "code:Settings"
source = "code:Source"
target = "code:Target"
[title]
en = "Shop"
[operations.ship]
idempotent = true
""",
    "wms": """
name = "wms"
settings = "code:Settings"
source = "code:Source"
target = "code:Target"
[title]
en = "WMS"
[operations.create]
idempotent = false
findable = true
deadline_s = 4.0
[operations.cancel]
idempotent = false
""",
    "pager": """
name = "pager"
settings = "code:Settings"
target = "code:Target"
[title]
en = "Pager"
[operations.ship]
idempotent = true
""",
}
MANIFESTS["mall"] = """
name = "mall"
settings = "code:Settings"
source = "code:Source"
target = "code:Target"
[title]
en = "Mall"
[pull]
window_s = 600
overlap_s = 60
lookback_s = 86400
delay_s = 180
[rate]
per_s = 10
burst = 3
[operations.ship]
idempotent = true
[operations.stock]
idempotent = true
"""
CODE = """
import msgspec
from typing import Annotated
from gateway.core.access import Token

class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: Annotated[str, msgspec.Meta(pattern="^https?://", description="https://…")]
    app_key: str = ""
    secrets: tuple[str, ...] = ()
    pages: Annotated[int, msgspec.Meta(ge=1)] = 1
    quiet: bool = False

    @property
    def operations(self):
        return set() if self.quiet else {"create", "cancel", "ship", "stock"}

    @property
    def token(self):
        return Token(self.app_key)

    def __post_init__(self):
        if self.pages == 13:
            raise ValueError("pages cannot be 13")

class Source:
    def admit(self, push): ...
    def reply(self, error): ...
    def decode(self, event): ...
    async def pull(self, window, position, *, deadline_s): ...

class Target:
    async def send(self, delivery, *, deadline_s): ...
    async def find(self, delivery, *, deadline_s): ...
    async def check(self, *, deadline_s): ...
    async def set_level(self, level, *, deadline_s): ...
"""
GOOD = """\
data_dir: var
kafka:
  bootstrap: 127.0.0.1:9092
connections:
  shop-a:
    adapter: shop
    prefix: A
    mode: live
    start_at: 2026-01-01T00:00:00+08:00
    route: [{target: wms-1, warehouse: WH-HZ}]
    settings: {url: "https://shop.example", app_key: 00213, secrets: ["${SHOP_SECRET}"]}
  wms-1:
    adapter: wms
    settle_s: 20
    gates:
      create: {rate_per_s: 20, in_flight: 16}
    settings: {url: "https://wms.example"}
"""
ENVIRON = {"SHOP_SECRET": "canary-9f31"}


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("settings_adapters")
    package = root / "planted_for_settings"
    for name, manifest in MANIFESTS.items():
        folder = package / name
        folder.mkdir(parents=True)
        (folder / "manifest.toml").write_text(manifest)
        (folder / "code.py").write_text(CODE)
    sys.path.insert(0, str(root))
    yield plugins.discover(shipped=package.name, group="ordergate.none")
    sys.path.remove(str(root))


def parsed(text: str, adapters: plugins.Registry, environ: Mapping[str, str] = ENVIRON) -> Settings:
    return settings.parse(text, environ, adapters, name="og.yaml", folder=Path("/srv/ordergate"))


def problems(text: str, adapters: plugins.Registry, environ: Mapping[str, str] = ENVIRON) -> list[Said]:
    with pytest.raises(SettingsError) as caught:
        parsed(text, adapters, environ)
    return english(caught.value.problems)


def test_no_account_is_read_by_two_live_shops(adapters: plugins.Registry) -> None:
    """A section that was copied: every order would be two, by the prefix of the one and of the other."""

    def mall(name: str, *, mode: str = "live", host: str = "mall", key: str = "k1") -> str:
        route = "route: [{target: wms-1, warehouse: W}]"
        account = f'settings: {{url: "https://{host}.example", app_key: "{key}"}}'
        return f"  {name}: {{adapter: mall, prefix: {name.upper()}, mode: {mode}, {route}, {account}}}\n"

    [said] = problems(GOOD + mall("m1") + mall("m2"), adapters)
    assert (said.where.split(" ")[1], "account of connections.m1" in said.what) == ("connections.m2.settings", True)
    for other in (mall("m2", mode="observe"), mall("m2", host="other"), mall("m2", key="k2")):
        assert len(parsed(GOOD + mall("m1") + other, adapters).connections) == 4
    assert parsed(GOOD + mall("m1", key="") + mall("m2", key=""), adapters), "a person authorises them later"


def test_good_file_becomes_structs(adapters: plugins.Registry) -> None:
    made = parsed(GOOD, adapters)
    assert made.data_dir == "/srv/ordergate/var"
    assert made.kafka is not None and made.kafka.topic == "ordergate.inbound"
    shop, wms = made.connections.values()
    assert (shop.name, shop.mode, shop.is_shop, wms.is_shop) == ("shop-a", Mode.LIVE, True, False)
    assert shop.start_at == datetime(2025, 12, 31, 16, tzinfo=UTC)
    assert shop.route[0].target == "wms-1"
    assert shop.settings.app_key == "00213", "leading zeros are part of a key"
    assert shop.settings.secrets == ("canary-9f31",)
    assert (wms.settle_s, shop.settle_s) == (20.0, 15.0)


@pytest.mark.feature("F109")
def test_gate_is_manifest_with_file_laid_over(adapters: plugins.Registry) -> None:
    wms = parsed(GOOD, adapters).connections["wms-1"]  # type: ignore[index]
    create = wms.gate(Operation.CREATE)
    assert (create.rate_per_s, create.in_flight, create.deadline_s, create.burst) == (20.0, 16, 4.0, 10)
    assert create.after_unknown is AfterUnknown.FIND
    assert not create.adaptive
    adaptive = parsed(GOOD.replace("in_flight: 16", "adaptive: true"), adapters).connections["wms-1"]  # type: ignore[index]
    assert adaptive.gate(Operation.CREATE).adaptive and not adaptive.gate(Operation.CANCEL).adaptive
    assert wms.gate(Operation.CANCEL).after_unknown is AfterUnknown.PERSON
    with pytest.raises(KeyError):
        wms.gate(Operation.SHIP)


@pytest.mark.parametrize(
    ("text", "environ", "same"),
    [
        (GOOD, {"SHOP_SECRET": "another"}, True),
        (GOOD.replace("data_dir: var", "# elsewhere\ndata_dir: lib\nhttp: {listen: 127.0.0.1:9}"), ENVIRON, True),
        (GOOD.replace("in_flight: 16}", "in_flight: 17}"), ENVIRON, False),
        (GOOD.replace("wms.example", "wms2.example"), ENVIRON, False),
        (GOOD.replace("app_key: 00213", "app_key: 213"), ENVIRON, False),
        (GOOD + "review: {mandatory: [receiver.phone, receiver.name]}\n", ENVIRON, False),
        (GOOD, {**ENVIRON, "ORDERGATE_REVIEW_MAX_TOTAL": "1.00"}, False),
        (GOOD, {**ENVIRON, "ORDERGATE_HTTP_LISTEN": "127.0.0.1:9"}, True),
        (GOOD.replace("mode: live", "mode: ${MODE}", 1), {**ENVIRON, "MODE": "live"}, True),
        (GOOD.replace("mode: live", "mode: ${MODE}", 1), {**ENVIRON, "MODE": "observe"}, False),
    ],
    ids=[
        "secret",
        "own",
        "limit",
        "address",
        "as written",
        "rules",
        "rules of the environment",
        "own of the environment",
        "the same of the environment",
        "another of the environment",
    ],
)
def test_gateways_that_decide_alike_have_one_hash(
    adapters: plugins.Registry, text: str, environ: dict[str, str], same: bool
) -> None:
    one, other = parsed(GOOD, adapters).config_hash, parsed(text, adapters, environ).config_hash
    assert (one == other) is same and 0 < other < 1 << 48
    turned = GOOD.replace("    prefix: A\n    mode: live\n", "    mode: live\n    prefix: A\n")
    assert parsed(turned, adapters).config_hash == one


def test_empty_file_is_all_defaults(adapters: plugins.Registry) -> None:
    for text in ("", "# nothing\n", "http:\nkafka:\nconnections:\n"):
        made = parsed(text, adapters)
        assert made.http.bind == ("127.0.0.1", 8080)
        assert made.kafka is None and not made.connections


def test_no_secret_in_repr(adapters: plugins.Registry) -> None:
    text = GOOD + "database: {url: 'postgresql://u:canary-9f31@h/d'}\n"
    made = parsed(text, adapters)
    shown = repr(made) + repr(made.database) + repr(list(made.connections.values()))
    assert "canary" not in shown


WRONG = [
    # (line to find in GOOD, what replaces it, where, what, proposal)
    ("data_dir: var", "data_dri: var", "og.yaml:1 data_dri", "is not a known key", "did you mean `data_dir`?"),
    ("data_dir: var", "http: {lsten: a:1}", "og.yaml:1 http.lsten", "is not a known key", "did you mean `listen`?"),
    ("data_dir: var", "http: {listen: 8080}", "og.yaml:1 http.listen", "wrong form", "host:port"),
    ("data_dir: var", "http: {listen: 'a:70000'}", "og.yaml:1 http.listen", "has no port 70000", ""),
    ("data_dir: var", "http: {listen: 'a:1', metrics_listen: 'a:1'}", "og.yaml:1 http.metrics_listen", "same", ""),
    ("data_dir: var", "http: []", "og.yaml:1 http", "expected a mapping", ""),
    ("data_dir: var", "log: {level: inof}", "og.yaml:1 log.level", "not a known value, got 'inof'", "`info`"),
    ("data_dir: var", "intake: {batch_events: 0}", "og.yaml:1 intake.batch_events", ">= 1, got '0'", ""),
    ("data_dir: var", "intake: {batch_events: ten}", "og.yaml:1 intake.batch_events", "expected int", ""),
    ("data_dir: var", "retry: {base_s: .inf}", "og.yaml:1 retry.base_s", "expected float", ""),
    ("data_dir: var", "retry: {base_s: 1e999}", "og.yaml:1 retry.base_s", "", ""),
    ("data_dir: var", "retry: {base_s: 9}", "og.yaml:1 retry.base_s", "more than retry.max_s", "raise the other"),
    ("data_dir: var", "retry: {budget_share: 1.5}", "og.yaml:1 retry.budget_share", "<= 1", ""),
    ("data_dir: var", "breaker: {dry_run: yes}", "og.yaml:1 breaker.dry_run", "expected bool", ""),
    ("data_dir: var", "dispatch: {heartbeat_s: 6}", "og.yaml:1 dispatch.heartbeat_s", "no room for 3", "at most 5"),
    ("data_dir: var", "dispatch: {lease_s: 10}", "og.yaml:1 dispatch.lease_s", "not above 2 × 5", "at least 15"),
    ("data_dir: var", "review: {max_total: '1,000'}", "og.yaml:1 review.max_total", "not an amount", '"12.30"'),
    ("data_dir: var", "review: {max_total: '0'}", "og.yaml:1 review.max_total", "not above zero", ""),
    ("data_dir: var", "review: {mandatory: [receiver.nam]}", "og.yaml:1 review.mandatory[0]", "", "receiver.name"),
    ("data_dir: var", "review: {mandatory: receiver.name}", "og.yaml:1 review.mandatory", "expected a list", ""),
    ("data_dir: var", "database: {url: 'mysql://h'}", "og.yaml:1 database.url", "neither", ""),
    ("data_dir: var", "database: {url: 'postgresql://u:p@h:abc/d'}", "og.yaml:1 database.url", "1 to 65535", "%40"),
    ("data_dir: var", "database: {url: 'postgresql://u:p@h:99999/d'}", "og.yaml:1 database.url", "1 to 65535", "%40"),
    ("data_dir: var", "database: {url: 'postgresql://u:p#w@h/d'}", "og.yaml:1 database.url", "#", "%23"),
    ("data_dir: var", "database: {url: 'postgresql://u:p/w@h/d'}", "og.yaml:1 database.url", "1 to 65535", "%2F"),
    ("data_dir: var", "database: {url: 'postgresql://u:p[w@h/d'}", "og.yaml:1 database.url", "bracket", "%5B"),
    ("data_dir: var", "http: {body_limit_bytes: 9" + 5000 * "9" + "}", "og.yaml:1 http.body_limit_bytes", "", ""),
    ("data_dir: var", "carriers: {ZTO: {webhok: a}}", "og.yaml:1 carriers.ZTO.webhok", "not a platform", "`webhook`"),
    ("  bootstrap: 127.0.0.1:9092", "  topic: a", "og.yaml:2 kafka.bootstrap", "is missing", "host:port"),
    ("  bootstrap: 127.0.0.1:9092", "  bootstrap: a", "og.yaml:3 kafka.bootstrap", "wrong form", ""),
    ("  shop-a:", "  Shop_A:", "og.yaml:5 connections.Shop_A", "the name has the wrong form", "a-z"),
    ("    adapter: shop", "    adapter: shp", "og.yaml:6 connections.shop-a.adapter", "not installed", "`shop`"),
    ("    adapter: shop", "    adapter: pager", "og.yaml:7 connections.shop-a.prefix", "brings no orders", ""),
    ("    prefix: A", "    prefix: A B", "og.yaml:7 connections.shop-a.prefix", "wrong form, got 'A B'", ""),
    ("    prefix: A", "    prefix:", "og.yaml:7 connections.shop-a.prefix", "is missing", "prefix: A"),
    ("    mode: live", "    mode: alive", "og.yaml:8 connections.shop-a.mode", "not a known value", "`live`"),
    ("    mode: live", "", "og.yaml:5 connections.shop-a.mode", "is missing", "`observe` first"),
    ("T00:00:00+08:00", "T00:00:00", "og.yaml:9 connections.shop-a.start_at", "timezone", ""),
    ("target: wms-1", "target: wms-2", "og.yaml:10 connections.shop-a.route[0].target", "no connection", "`wms-1`"),
    ("target: wms-1", "target: shop-a", "og.yaml:10 connections.shop-a.route[0].target", "no `create`", "wms-1"),
    ("warehouse: WH-HZ", "warehouse:", "og.yaml:10 connections.shop-a.route[0].warehouse", "got null", ""),
    ("    route: [", "    gates: {} #", "og.yaml:5 connections.shop-a.route", "nowhere to go", "mode: observe"),
    ("https://shop.example", "shop", "og.yaml:11 connections.shop-a.settings.url", "wrong form", "https://…"),
    ("app_key: 00213", "appkey: 1", "og.yaml:11 connections.shop-a.settings.appkey", "", "`app_key`"),
    ("app_key: 00213", "pages: 13", "og.yaml:11 connections.shop-a.settings", "pages cannot be 13", ""),
    (
        "${SHOP_SECRET}",
        "${SHOP_SECRT}",
        "og.yaml:11 connections.shop-a.settings.secrets[0]",
        "no SHOP_SECRT",
        "SECRET`",
    ),
    ("${SHOP_SECRET}", "file:/none", "og.yaml:11 connections.shop-a.settings.secrets[0]", "cannot be read", ""),
    ("    settle_s: 20", "    skus: mapped", "og.yaml:14 connections.wms-1.skus", "no use without a prefix", ""),
    ("    settle_s: 20", "    stock: {publish: true}", "og.yaml:14 connections.wms-1.stock", "no use without", ""),
    (
        "    start_at:",
        "    stock: {publish: true}\n    start_at:",
        "og.yaml:9 connections.shop-a.stock.publish",
        "takes no",
        "",
    ),
    ("    settle_s: 20", "    mode: observe", "og.yaml:14 connections.wms-1.mode", "has no use", "shops"),
    ("    settle_s: 20", "    start_at: 2026-01-01T00:00:00Z", "og.yaml:14 connections.wms-1.start_at", "no use", ""),
    ("    settle_s: 20", "    adapter: wms", "og.yaml:14 connections.wms-1.adapter", "twice, first on line 13", ""),
    ("      create: {", "      creat: {", "og.yaml:16 connections.wms-1.gates.creat", "the name", "`create`"),
    (
        "      create: {",
        "      ship: {",
        "og.yaml:16 connections.wms-1.gates.ship",
        "not declare ship",
        "create, cancel",
    ),
    ("in_flight: 16", "slow_s: 4", "og.yaml:16 connections.wms-1.gates.create.slow_s", "not below", "2.4"),
    ("in_flight: 16", "in_flight: 0", "og.yaml:16 connections.wms-1.gates.create.in_flight", ">= 1", ""),
    ("in_flight: 16", "adaptive: 16", "og.yaml:16 connections.wms-1.gates.create.adaptive", "expected bool", ""),
    (
        "in_flight: 16",
        "in_flight: 1, adaptive: true",
        "og.yaml:16 connections.wms-1.gates.create.adaptive",
        "no use with in_flight 1",
        "raise in_flight",
    ),
    ("in_flight: 16", "deadline_s: 8", "og.yaml dispatch.lease_s", "connections.wms-1.gates.create", "at least 21"),
    (
        '    settings: {url: "https://wms',
        '    x: {url: "https://wms',
        "og.yaml:17 connections.wms-1.x",
        "known key",
        "",
    ),
]


@pytest.mark.parametrize(("old", "new", "where", "what", "proposal"), WRONG, ids=[row[1].strip() for row in WRONG])
def test_each_mistake_is_told(
    adapters: plugins.Registry, old: str, new: str, where: str, what: str, proposal: str
) -> None:
    assert old in GOOD
    found = problems(GOOD.replace(old, new, 1), adapters)
    assert [p for p in found if p.where == where and what in p.what and proposal in p.proposal], found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: " + "[" * 20_000, "is nested deeper than"),
        (
            "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)),
            "has more than 100000 keys and values",
        ),
    ],
    ids=["brackets", "anchors"],
)
def test_a_file_that_would_never_be_read_to_its_end_is_a_problem(
    adapters: plugins.Registry, text: str, said: str
) -> None:
    assert any(said in one.what for one in problems(text, adapters))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///ordergate?host=/run/og&port=5432&user=og",
        "postgresql://u:p%23w@h:5432/d",
        "postgresql://u:p@[::1]:5432/d",
        "postgresql://u:p@[::1]/d",
        "postgresql://u:p@h1:5432,h2:5433/d",
        "postgres://h",
    ],
)
def test_an_address_of_a_database(adapters: plugins.Registry, url: str) -> None:
    assert parsed(f"database: {{url: '{url}'}}\n", adapters).database.url == url


def test_every_problem_at_once_in_file_order(adapters: plugins.Registry) -> None:
    text = (
        GOOD.replace("data_dir: var", "log: {level: x, form: json}")
        .replace("mode: live", "mode: x")
        .replace("in_flight: 16", "in_flight: 0, burst: 0")
    )
    found = [problem.where for problem in problems(text, adapters)]
    assert found == [
        "og.yaml:1 log.level",
        "og.yaml:1 log.form",
        "og.yaml:8 connections.shop-a.mode",
        "og.yaml:16 connections.wms-1.gates.create.in_flight",
        "og.yaml:16 connections.wms-1.gates.create.burst",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        ("    prefix: A", "    prefx: A"),
        ("    prefix: A", "    prefix: A B"),
        ("    mode: live", "    mode: alive"),
        ("    adapter: shop", "    adaptor: shop"),
        ("    adapter: shop", "    adapter: [shop]"),
        ("    start_at: 2026", "    start_at: later # 2026"),
        ("    start_at: 2026", '    start_at: "${NEVER_SET}" # 2026'),
        ("    start_at: 2026", "    x: 2026"),
        ("  shop-a:", "  Shop_A:"),
        ("data_dir: var", "data_dri: var"),
        ("data_dir: var", "data_dir: one\ndata_dir: var"),
    ],
    ids=lambda wrong: wrong[1].strip(),
)
def test_what_is_wrong_in_one_place_keeps_nothing_else_from_being_checked(
    adapters: plugins.Registry, wrong: tuple[str, str]
) -> None:
    assert wrong[0] in GOOD
    (alone,) = problems(GOOD.replace(*wrong), adapters)
    among = (
        GOOD.replace(*wrong)
        .replace("target: wms-1", "target: wms-2")
        .replace("adapter: wms", "adapter: wmss")
        .replace("in_flight: 16", "in_flight: 0")
        .replace("app_key: 00213", "pages: 0")
    )
    among += "  other: {adapter: shop, prefix: AB, mode: observe, settings: {url: none}}\nnotices: {channels: [pagr]}\n"
    found = {problem.where.split(" ")[1]: problem.what for problem in problems(among, adapters)}
    shop = "Shop_A" if "Shop_A" in wrong[1] else "shop-a"
    assert found.pop(alone.where.split(" ")[1]) == alone.what
    # Of the prefix that is wrong, nobody knows what another must not begin with.
    assert ("connections.other.prefix" in found) == ("pref" not in wrong[0])
    found.pop("connections.other.prefix", None)
    # Whose settings these are is not known where the adapter is wrong.
    assert ("adapter: [" in wrong[1] or "adaptor" in wrong[1]) != (
        found.pop(f"connections.{shop}.settings.pages", "") != ""
    )
    assert list(found) == [
        f"connections.{shop}.route[0].target",
        "connections.wms-1.adapter",
        "connections.wms-1.gates.create.in_flight",
        "connections.other.settings.url",
        "notices.channels[0]",
    ]


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("    route: [", "    rout: [", "connections.shop-a.rout"),
        ("route: [{target:", "route: [{tagret:", "connections.shop-a.route[0].tagret"),
        ('    settings: {url: "https://shop', '    setings: {url: "https://shop', "connections.shop-a.setings"),
        ("    mode: live", "    mod: live", "connections.shop-a.mod"),
        ("rate_per_s: 20, in_flight: 16", "deadline_s: 8, slow_s: x", "connections.wms-1.gates.create.slow_s"),
        ("rate_per_s: 20, in_flight: 16", "deadlin_s: 9, slow_s: 5", "connections.wms-1.gates.create.deadlin_s"),
        ("rate_per_s: 20, in_flight: 16", "adaptive: true, in_flight: 0", "connections.wms-1.gates.create.in_flight"),
        ("data_dir: var", "dispatch: {lease_s: 30, heartbeat_s: x}", "dispatch.heartbeat_s"),
    ],
)
def test_what_a_wrong_value_may_have_meant_is_not_complained_of(
    adapters: plugins.Registry, old: str, new: str, where: str
) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new)
    if "dispatch" in new:  # a lease of 30 s is enough for it, the default's 15 s would not be
        text = text.replace("in_flight: 16", "deadline_s: 10")
    found = [problem.where.split(" ")[1] for problem in problems(text, adapters)]
    assert [place for place in found if place != "dispatch.lease_s"] == [where]
    assert ("dispatch.lease_s" in found) == ("deadline_s: 8" in new), "8 s are too long for the lease, whatever is slow"


def test_connection_that_uses_less_than_its_adapter_can(adapters: plugins.Registry) -> None:
    quiet = GOOD.replace('{url: "https://wms.example"}', '{url: "https://wms.example", quiet: true}')
    found = [(problem.where, problem.what) for problem in problems(quiet, adapters)]
    assert found == [
        ("og.yaml:10 connections.shop-a.route[0].target", "'wms-1' does not take orders by its settings"),
        (
            "og.yaml:16 connections.wms-1.gates.create",
            "has no use: by its settings this connection is never told to create",
        ),
    ]


@pytest.mark.parametrize(("first", "second"), [("A", "A"), ("A", "AB"), ("AB", "A")])
def test_no_prefix_begins_another(adapters: plugins.Registry, first: str, second: str) -> None:
    shop = "{adapter: shop, mode: observe, prefix: %s, settings: {url: 'http://a'}}"
    text = f"connections:\n  a: {shop % first}\n  b: {shop % second}\n"
    (problem,) = problems(text, adapters)
    assert "prefix" in problem.where and "could be the same" in problem.what


def test_kafka_security_is_checked_as_a_whole(adapters: plugins.Registry, tmp_path: Path) -> None:
    def found(security: str) -> list[str]:
        text = f"kafka: {{bootstrap: 'a:1', security: {security}}}"
        return [problem.where.split(".")[-1] for problem in problems(text, adapters)]

    assert found("{protocol: SASL_SSL}") == ["mechanism", "username", "password"]
    assert found("{username: u}") == ["username"]
    assert found("{protocol: PLAINTEXT, ca_file: a}") == ["ca_file"]
    assert found("{protocol: SSL, cert_file: /no/such}") == ["cert_file", "key_file"]
    assert found("{protocol: SSL, check_hostname: false}") == ["check_hostname"]
    assert found("{check_hostname: false}") == ["check_hostname"]
    assert found("{protocol: SSL, key_password: p}") == ["key_password"]
    Authority(tmp_path)
    text = "kafka: {bootstrap: 'a:1', security: {protocol: SSL, ca_file: ca.pem, check_hostname: false}}"
    made = settings.parse(text, {}, adapters, name="og.yaml", folder=tmp_path)
    assert made.kafka is not None and made.kafka.security.ca_file == str(tmp_path / "ca.pem")


def test_certificate_files_are_read_before_anything_starts(adapters: plugins.Registry, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("a", "a.example")
    authority.issue("b", "b.example")
    authority.issue("locked", "a.example", password="canary-9f31")
    (tmp_path / "trust.jks").write_bytes(b"\xfe\xed\xfe\xed")

    def found(security: str) -> list[Said]:
        text = f"kafka: {{bootstrap: 'a:1', security: {{protocol: SSL, {security}}}}}"
        try:
            settings.parse(text, {}, adapters, name="og.yaml", folder=tmp_path)
        except SettingsError as error:
            return english(error.problems)
        return []

    assert found("ca_file: ca.pem, cert_file: a.pem, key_file: a.pem") == []
    assert found("cert_file: locked.pem, key_file: locked.pem, key_password: canary-9f31") == []
    (jks,) = found("ca_file: trust.jks")
    assert (jks.where, jks.what) == ("og.yaml:1 kafka.security.ca_file", "trust.jks holds no certificate")
    assert "keytool" in jks.proposal
    for pair in (
        "cert_file: a.pem, key_file: b.pem",
        "cert_file: ca.pem, key_file: ca.pem",
        "cert_file: locked.pem, key_file: locked.pem",
        "cert_file: locked.pem, key_file: locked.pem, key_password: canary-other",
    ):
        (problem,) = found(pair)
        assert problem.where.endswith("kafka.security.cert_file"), pair
        assert "are not a certificate and its key" in problem.what
        assert "canary" not in str(problem)


@pytest.mark.parametrize("bootstrap", ["k-1.example.com:9092,kafka_2:9093,10.0.0.1:9092", "[2001:db8::1]:9092"])
def test_bootstrap_names_and_addresses(adapters: plugins.Registry, bootstrap: str) -> None:
    made = parsed(f"kafka: {{bootstrap: '{bootstrap}'}}", adapters)
    assert made.kafka is not None and made.kafka.bootstrap == bootstrap


@pytest.mark.parametrize("host", ["kafka..example.com", ".example.com", f"{'x' * 64}.example.com"])
def test_a_bootstrap_name_that_cannot_be_looked_up(adapters: plugins.Registry, host: str) -> None:
    (problem,) = problems(f"kafka: {{bootstrap: '{host}:9092'}}", adapters)
    assert problem.where == "og.yaml:1 kafka.bootstrap" and "wrong form" in problem.what


def test_a_bootstrap_port_that_is_none(adapters: plugins.Registry) -> None:
    (problem,) = problems("kafka: {bootstrap: 'a:9092,b:99999'}", adapters)
    assert problem.where == "og.yaml:1 kafka.bootstrap" and "99999" in problem.what


def test_secrets_come_from_environment_and_files(adapters: plugins.Registry, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-file\n")
    text = """
database: {url: "postgresql://u:${PW}@${HOST:-db}/d", pool_size: "${POOL}"}
kafka: {bootstrap: "a:1", security: {protocol: SASL_SSL, mechanism: PLAIN, username: "$${PW}", password: file:./secret}}
"""
    made = settings.parse(text, {"PW": "p", "POOL": "7"}, adapters, name="og.yaml", folder=tmp_path)
    assert made.database.url == "postgresql://u:p@db/d"
    assert made.database.pool_size == 7
    assert made.kafka is not None
    assert (made.kafka.security.username, made.kafka.security.password) == ("${PW}", "from-file")


@pytest.mark.parametrize(
    ("section", "where"),
    [
        ('database: {url: "${NOPE}"}', "database.url"),
        ('http: {listen: "${NOPE}"}', "http.listen"),
        ('encryption: {keys: ["${NOPE}"]}', "encryption.keys[0]"),
        ("database: {url: file:/nowhere/database_url}", "database.url"),
    ],
)
def test_a_reference_that_leads_nowhere_is_a_problem_wherever_it_stands(
    adapters: plugins.Registry, section: str, where: str
) -> None:
    [problem] = problems(section, adapters)
    assert problem.where.endswith(f" {where}"), problem


def test_environment_overrides_the_file(adapters: plugins.Registry) -> None:
    environ = {**ENVIRON, "ORDERGATE_HTTP_LISTEN": "0.0.0.0:80", "ORDERGATE_DATA_DIR": "/data", "ORDERGATE_PORT": "x"}
    made = parsed(GOOD, adapters, environ)
    assert (made.http.listen, made.data_dir) == ("0.0.0.0:80", "/data")
    (problem,) = problems(GOOD, adapters, {**ENVIRON, "ORDERGATE_INTAKE_BATCH_EVENTS": "canary-9f31"})
    assert problem.where == "environment ORDERGATE_INTAKE_BATCH_EVENTS intake.batch_events"
    assert "canary" not in str(problem)


def test_no_secret_in_problems(adapters: plugins.Registry) -> None:
    text = """
database: {url: "mysql://u:canary-9f31@h", pool_size: "${PW}"}
log: {level: "${PW}"}
connections:
  a: {adapter: wms, settings: {url: "http://a", secrets: canary-9f31, pages: "${PW}"}}
  b: {adapter: wms, settings: {url: canary-9f31, secrets: [[canary-9f31]]}}
"""
    found = problems(text, adapters, {"PW": "canary-9f31"})
    assert len(found) >= 6
    assert "canary" not in "\n".join(map(str, found))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: [1", "og.yaml:1"),
        ("a: 1\nb: 'x\nc: 2\n", "og.yaml:2"),
        ('a: 1\nb: "x\nc: 2\nd: "y"\n', "og.yaml:2"),
        ("http:\n  listen: a:1\n listen: b", "og.yaml:3"),
        ("- 1", "og.yaml"),
        ("text", "og.yaml"),
        ("http: *none", "og.yaml:1"),
        ("x: \x00", "og.yaml:1"),
        ("x: &a [*a]", "og.yaml:1"),
        ("? [a]\n: b", "og.yaml:1"),
        ("a: 1\n---\nb: 2", "og.yaml:2"),
        ("a: !!python/object:os.system x", "og.yaml:1 a"),
    ],
)
def test_broken_yaml_is_a_problem(adapters: plugins.Registry, text: str, where: str) -> None:
    assert problems(text, adapters)[0].where == where


def test_anchors_and_merge_keys(adapters: plugins.Registry) -> None:
    text = """
connections:
  w1: &wms {adapter: wms, settle_s: 1, settings: {url: "http://a"}}
  w2: {<<: *wms, settle_s: 2}
"""
    assert [c.settle_s for c in parsed(text, adapters).connections.values()] == [1.0, 2.0]


def test_missing_file_says_how_to_name_one(adapters: plugins.Registry, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--config"):
        settings.load(tmp_path / "none.yaml", {}, adapters)


def test_a_file_in_another_encoding_is_told_to_be_saved_as_utf_8(adapters: plugins.Registry, tmp_path: Path) -> None:
    (tmp_path / "og.yaml").write_bytes("# 店铺\ndata_dir: var\n".encode("gbk"))
    with pytest.raises(SettingsError) as caught:
        settings.load(tmp_path / "og.yaml", {}, adapters)
    [problem] = english(caught.value.problems)
    assert "not UTF-8" in problem.what and "UTF-8" in problem.proposal and "--config" not in problem.proposal


def test_broken_adapter_is_a_problem_of_its_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "planted_broken" / "bad"
    folder.mkdir(parents=True)
    (folder / "manifest.toml").write_text(MANIFESTS["wms"].replace('"wms"', '"bad"'))
    (folder / "code.py").write_text("raise RuntimeError('at import')")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = plugins.discover(shipped="planted_broken", group="ordergate.none")
    assert not registry.problems
    assert settings.parse("", {}, registry, name="og.yaml", folder=tmp_path)
    found = problems("connections:\n  w: {adapter: bad, settings: {}}", registry)
    assert {p.where for p in found} == {"og.yaml:2 connections.w.adapter"}
    assert "RuntimeError: at import" in found[0].what


def test_shipped_example_is_right() -> None:
    text = (Path(__file__).parents[1] / "docs/configuration.example.yaml").read_text(encoding="utf-8")
    secret = "whsec_" + "A" * 32
    text = text.replace("file:/run/secrets/wms-1", "from-a-file")
    made = settings.parse(text, {"SHOP_A_SECRET": secret}, plugins.discover(), name="example", folder=Path("/srv"))
    assert set(made.connections) == {"shop-a", "wms-1"}
    defaults = settings.parse("", {}, plugins.discover(), name="empty", folder=Path("/srv"))
    for section in settings.Settings.__struct_fields__:
        if section not in ("connections", "carriers", "config_hash"):
            assert getattr(made, section) == getattr(defaults, section), section


def test_schema_accepts_the_good_file_and_refuses_a_typing_error() -> None:
    validator = jsonschema.Draft202012Validator(settings.schema())
    root, _ = schema.read_yaml(GOOD.replace("00213", '"00213"'), name="og.yaml")
    document = schema.builtins(root)
    assert list(validator.iter_errors(document)) == []
    assert list(validator.iter_errors({**document, "data_dri": 1}))


def test_reference_names_every_key() -> None:
    text = settings.reference("en")
    for section in ("http", "kafka.security", "connections.<name>", "connections.<name>.gates"):
        assert f"## `{section}`" in text
    for key in ("lease_s", "unknown_sku", "start_at", "slow_s", "mechanism"):
        assert f"| `{key}` |" in text


@pytest.mark.parametrize(
    "kind", [settings.Document, *(plugins.discover().load(name).settings_type for name in plugins.discover().manifests)]
)
def test_every_setting_is_described_in_both_languages(kind: type[msgspec.Struct]) -> None:
    told = [*descriptions(kind)]
    assert len(told) > 3 and [text for text in told if not is_told(text)] == []


def descriptions(kind: type[msgspec.Struct]) -> Iterator[Text]:
    for field in msgspec.structs.fields(kind):
        if described := schema.description(field.type):
            yield described
        inner = schema.struct_of(field.type)
        if inner is not None:
            yield from descriptions(inner)


@pytest.mark.parametrize(
    ("kind", "value", "zh"),
    [
        (int, "x", "应为整数，现为文本（'x'）"),
        (int | bool | None, "x", "应为真假值（true 或 false）或整数或空，现为文本（'x'）"),
        (bool, "x", "应为真假值（true 或 false），现为文本（'x'）"),
        (str, None, "应为文本，现为空"),
        (Annotated[int, msgspec.Meta(ge=1)], 0, "应为整数且 >= 1（'0'）"),
        (Annotated[float, msgspec.Meta(lt=1)], 5, "应为数且 < 1.0（'5'）"),
        (Annotated[str, msgspec.Meta(min_length=1)], "", "至少要有 1 个字符"),
        (Annotated[str, msgspec.Meta(max_length=1)], "xx", "最多 1 个字符（'xx'）"),
        (Annotated[tuple[int, ...], msgspec.Meta(min_length=1)], [], "至少要有 1 项"),
        (Annotated[tuple[int, ...], msgspec.Meta(max_length=1)], [1, 2], "最多 1 项"),
        (tuple[int, int], [1], "应有 2 项，现有 1 项"),
        (Annotated[datetime, msgspec.Meta(tz=True)], "2026-01-01T00:00:00", "缺少时区（如 +08:00）"),
        (datetime, "x", "不是时刻（写成 2026-01-01T00:00:00+08:00）（'x'）"),
        (bytes, "!", "不是 base64（'!'）"),
        (Literal["a"], "x", "不是可用的值（'x'）"),
        (dict[str, int], [], "应为键值映射（键: 值），现为列表"),
        (tuple[int, ...], {}, "应为列表（[a, b]，或每行以 - 开头），现为键值映射"),
        (Annotated[int, msgspec.Meta(ge=1)], [], "应为整数 ≥ 1，现为列表"),
    ],
)
def test_what_msgspec_says_of_a_value_is_said_in_chinese(kind: Any, value: Any, zh: str) -> None:
    report = schema.Report(schema.plain(value, "og.yaml"))
    assert schema.convert(report.root, kind, report) is None
    (problem,) = report.problems
    assert problem.what.zh.startswith(zh) and is_told(problem.what), problem


@pytest.mark.parametrize(
    ("text", "zh"),
    [
        ("a: b: c", "不是 YAML：此处不能再有“键: 值”"),
        ("a:\n\tb: 1", "不是 YAML：用了制表符，请改用空格"),
        ("a: [1", "不是 YAML："),
        ("a: 1\nb", "不是 YAML：缺少冒号"),
        ("a: 1\nb: 'x\nc: 2\n", "不是 YAML：这里开始的引号没有闭合"),
        ('a: "x\nc: 2\nd: "y"\n', "不是 YAML：这里开始的引号到第 3 行才结束"),
        ("a: [1\nb: 2\n", "不是 YAML：缺少逗号，或括号没有闭合"),
        ("a: \x01", "不是 YAML：有不允许的字符"),
        ("a: 1\n---\nb: 2", "不是 YAML：一个文件里只能有一份配置"),
        ("a: 1\na: 2", "写了两次，第一次在第 1 行"),
        ("? [a]\n: 1", "有一个键不是普通文本"),
    ],
)
def test_a_text_that_is_not_yaml_is_told_in_chinese(text: str, zh: str) -> None:
    _, found = schema.read_yaml(text, name="og.yaml")
    assert english(found) and found[0].what.zh.startswith(zh), found


def test_an_invisible_character_is_told_with_its_line() -> None:
    _, (found,) = schema.read_yaml("a: 1\nb: \x07\n", name="og.yaml")
    assert found.where == "og.yaml:2"


@pytest.mark.parametrize(
    ("text", "line", "wide"),
    [
        ("a:\n  b：c\n  d: 1\n", 2, "：  "),
        ("a: [{b: 1，c: 2}]", 1, "，"),
        ("a:\n  x:\n　　b: 1\n  c: 2\n", 3, "空格"),
        ("a:\n  b:\u00a0c\n  d: 1\n", 2, "空格"),
        ("a: ［{b: 1}］", 1, "［"),
    ],
)
def test_a_full_width_character_that_breaks_the_syntax_is_pointed_at(text: str, line: int, wide: str) -> None:
    """YAML stumbles over the line after, where nothing can be seen."""
    _, found = schema.read_yaml(text, name="og.yaml")
    assert found[0].proposal.zh.startswith(f"第 {line} 行有全角") and wide.strip() in found[0].proposal.zh, found


def test_full_width_text_in_a_comment_or_in_quotes_is_not_blamed() -> None:
    _, found = schema.read_yaml("a: '甲：乙，丙' # 注：说明\nb: c: d\n", name="og.yaml")
    assert "全角" not in found[0].proposal.zh


@pytest.mark.parametrize(
    ("text", "where", "zh"),
    [
        ("a: {secret: “quickstart”}", "og.yaml:1 a.secret", "全角引号"),
        ("a:\n  - ‘x’\n", "og.yaml:2 a[0]", "全角引号"),
        ("a: 1\nb: http://wms ＃ 仓库\n", "og.yaml:2 b", "全角的 ＃"),
        ("people: [采购，王五]", "og.yaml:1 people[0]", "全角逗号"),
    ],
)
def test_full_width_marks_are_no_silent_part_of_a_value(text: str, where: str, zh: str) -> None:
    _, (found,) = schema.read_yaml(text, name="og.yaml")
    assert found.where == where and found.what.zh.startswith(zh)
    quoted = re.sub(r"(“.*”|‘.*’|http.*|采购，王五)", r"'\1'", text)
    assert not schema.read_yaml(quoted, name="og.yaml")[1]


def test_full_width_text_that_is_meant_stays() -> None:
    said = (
        "nick: “小店”旗舰店，杭州\nnote: “甲”和“乙”\n"
        "sender: {detail: 仓前路1号（东门），2楼}\nlines:\n  - 仓前路1号，2楼\n"
    )
    assert not schema.read_yaml(said, name="og.yaml")[1]


@pytest.mark.parametrize("name", ["旗舰店（上海）", "旗舰店：上海，“一号”"])
@pytest.mark.parametrize("next_line", ["\tb: 1", "b: c: d", "b: 旗舰店（上海）: d"])
def test_full_width_text_that_is_meant_is_not_blamed_for_another_mistake(name: str, next_line: str) -> None:
    _, (found,) = schema.read_yaml(f"name: {name}\n{next_line}\n", name="og.yaml")
    assert "全角" not in found.proposal.zh, found


def test_a_wrong_value_with_full_width_characters_says_so() -> None:
    report = schema.Report(schema.plain("５", "og.yaml"))
    assert schema.convert(report.root, float, report) is None
    assert report.problems[0].what.zh == "应为数，现为文本（'５'），有全角的 ５ ，改成半角的 5"


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
keys = st.sampled_from([*settings.Document.__struct_fields__, "x"])


@examples(deadline=None, max_examples=60)
@given(st.dictionaries(keys, trees, max_size=4))
def test_nothing_but_settings_error_comes_out(tree: dict[str, Any]) -> None:
    """Whatever stands in the file, the answer is settings or problems."""
    text = msgspec.json.encode(tree).decode()
    try:
        settings.parse(text, {}, plugins.Registry([]), name="og.yaml", folder=Path("/srv"))
    except SettingsError as error:
        assert error.problems


def test_whole_orders_stay_longer_than_their_timelines(adapters: plugins.Registry) -> None:
    [problem] = problems(GOOD + "\nretention: {timeline_days: 400, tombstone_days: 300}\n", adapters)
    assert "tombstone_days" in problem.where and "below timeline_days (400)" in problem.what
    found = problems(GOOD + "\nretention: {timeline_days: 89, hours: '2-6'}\n", adapters)
    assert {problem.where.rsplit(".", 1)[-1] for problem in found} == {"timeline_days", "hours"}
    assert parsed(GOOD + "\nretention: {hours: '23:00-01:30'}\n", adapters).retention.minutes == (1380, 90)


@pytest.mark.parametrize(("days", "problem"), [(200, "shop may tell of orders from 200 days ago"), (201, None)])
def test_whole_orders_stay_longer_than_a_shop_looks_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, problem: str | None
) -> None:
    """What the shop tells of an order that is gone would be a new order."""
    folder = tmp_path / "planted_long" / "mall"
    folder.mkdir(parents=True)
    days_200 = str(200 * 86_400)
    (folder / "manifest.toml").write_text(MANIFESTS["mall"].replace("lookback_s = 86400", f"lookback_s = {days_200}"))
    (folder / "code.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    adapters = plugins.discover(shipped="planted_long", group="ordergate.none")
    shop = "connections: {shop: {adapter: mall, prefix: M, mode: observe, settings: {url: 'https://mall.example'}}}"
    text = f"{shop}\nretention: {{tombstone_days: {days}}}\n"
    if problem is None:
        assert parsed(text, adapters).retention.tombstone_days == days
        return
    [found] = problems(text, adapters)
    assert found.where.endswith("retention.tombstone_days") and problem in found.what
    assert found.proposal == "at least 201"


POLLED = """\
connections:
  mall:
    adapter: mall
    prefix: M
    mode: observe
    pull: {every_s: 5}
    rate: {per_s: 4}
    settings: {url: "https://mall.example"}
  wms-1:
    adapter: wms
    settings: {url: "https://wms.example"}
"""


def test_pull_and_rate_are_laid_over_the_manifest(adapters: plugins.Registry) -> None:
    made = parsed(POLLED, adapters)
    mall, wms = made.connections[ConnectionName("mall")], made.connections[ConnectionName("wms-1")]
    assert mall.pull == settings.PullPolicy(
        window_s=600,
        overlap_s=60,
        lookback_s=86400,
        delay_s=180,
        every_s=5,
        deadline_s=10,
        reread_hour=4,
        reread_days=3,
    )
    assert mall.rate == settings.RatePolicy(per_s=4, burst=3)
    assert (wms.pull, wms.rate) == (None, None)
    assert mall.order_operations == (Operation.SHIP,) and Operation.STOCK in mall.gates
    assert mall.held_operations == (Operation.SHIP,), "levels that nobody is told cannot be paused"
    live = "mode: live\n    route: [{target: wms-1, warehouse: W}]\n    stock: {publish: true}"
    told = parsed(POLLED.replace("mode: observe", live), adapters)
    assert told.connections[ConnectionName("mall")].held_operations == (Operation.SHIP, Operation.STOCK)
    few = parsed(POLLED.replace("mode: observe", "mode: observe\n    gates: {stock: {in_flight: 2}}"), adapters)
    assert few.connections[ConnectionName("mall")].gate(Operation.STOCK).in_flight == 2
    limited = parsed(POLLED.replace("adapter: wms", "adapter: wms\n    rate: {per_s: 2}"), adapters)
    assert limited.connections[ConnectionName("wms-1")].rate == settings.RatePolicy(per_s=2, burst=1)


@pytest.mark.parametrize(
    ("old", "new", "where", "what", "proposal"),
    [
        ("every_s: 5", "evry_s: 5", "og.yaml:6 connections.mall.pull.evry_s", "not a known key", "`every_s`"),
        ("every_s: 5", "every_s: 0", "og.yaml:6 connections.mall.pull.every_s", "> 0", ""),
        ("every_s: 5", "window_s: 900", "og.yaml:6 connections.mall.pull.window_s", "at most", "at most 600"),
        ("every_s: 5", "overlap_s: 600", "og.yaml:6 connections.mall.pull.overlap_s", "never get ahead", "60"),
        ("every_s: 5", "delay_s: 60", "og.yaml:6 connections.mall.pull.delay_s", "cannot be asked", "at least 180"),
        ("every_s: 5", "reread_hour: 24", "og.yaml:6 connections.mall.pull.reread_hour", "<= 23", ""),
        ("every_s: 5", "deadline_s: 20", "og.yaml:6 connections.mall.pull.deadline_s", "not within", "below 12"),
        ("per_s: 4", "burst: 0", "og.yaml:7 connections.mall.rate.burst", ">= 1", ""),
        (
            "    rate: {per_s: 4}",
            "    gates: {stock: {rate_per_s: 2}}",
            "og.yaml:7 connections.mall.gates.stock.rate_per_s",
            "no use for stock levels",
            "`rate`",
        ),
        (
            "    rate: {per_s: 4}",
            "    gates: {stock: {adaptive: true}}",
            "og.yaml:7 connections.mall.gates.stock.adaptive",
            "no use for stock levels",
            "remove",
        ),
        (
            "    adapter: wms",
            "    adapter: wms\n    pull: {}",
            "og.yaml:11 connections.wms-1.pull",
            "not polled",
            "remove",
        ),
        (
            "    adapter: wms",
            "    adapter: wms\n    rate: {burst: 2}",
            "og.yaml:11 connections.wms-1.rate.per_s",
            "declares no rate",
            "per_s",
        ),
    ],
)
def test_each_mistake_about_a_polled_shop_is_told(
    adapters: plugins.Registry, old: str, new: str, where: str, what: str, proposal: str
) -> None:
    assert old in POLLED
    (problem,) = problems(POLLED.replace(old, new), adapters)
    assert problem.where == where
    assert what in problem.what and proposal in problem.proposal, problem


@pytest.mark.parametrize(("lease_s", "sound"), [(0.9, False), (1.2, False), (1.3, True)])
def test_a_lease_leaves_room_to_send_between_two_heartbeats(
    adapters: plugins.Registry, lease_s: float, sound: bool
) -> None:
    """Below it is twice the deadline, and its gates would send now and then, or never."""
    limits = "{deadline_s: 0.4, slow_s: 0.3}"
    quick = GOOD.replace("create: {rate_per_s: 20, in_flight: 16}", f"create: {limits}\n      cancel: {limits}")
    quick = quick.replace("    prefix: A\n", f"    prefix: A\n    gates: {{ship: {limits}}}\n")
    text = quick.replace("data_dir: var", f"dispatch: {{lease_s: {lease_s}, heartbeat_s: 0.3}}")
    if sound:
        assert parsed(text, adapters).dispatch.lease_s == lease_s
        return
    [told] = problems(text, adapters)
    assert told.where == "og.yaml:1 dispatch.lease_s"
    assert "not above 1.2" in told.what and "at least 3.2" in told.proposal
