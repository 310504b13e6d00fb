"""Adapters are found without being imported, and a broken one breaks nothing but itself."""

from __future__ import annotations

import sys
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway import plugins
from gateway.check import reach
from gateway.core.errors import OrdergateError, SettingsError
from gateway.dispatch.lease import Lease
from gateway.ingest.inbound import Inbound, InboxLeg
from gateway.parts import notifier_of, setup_of, sources_of
from gateway.sdk.http import Http
from gateway.settings import parse
from gateway.shops import Shops
from gateway.store.sql import open_pool, register_connections
from tests.languages import english

MANIFEST = """
name = "{name}"
settings = "code:Settings"
target = "code:Target"
[title]
en = "Planted"
[operations.create]
idempotent = true
"""
CODE = """
import msgspec
class Settings(msgspec.Struct, frozen=True): ...
class Target:
    async def send(self, delivery, *, deadline_s): ...
    async def check(self, *, deadline_s): ...
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def plant(folder: Path, *, name: str, manifest: str = MANIFEST, code: str = CODE) -> Path:
    folder.mkdir(parents=True)
    (folder / "manifest.toml").write_text(manifest.replace("{name}", name))
    (folder / "code.py").write_text(code)
    return folder


def register(root: Path, **points: str) -> None:
    info = root / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("[planted.adapters]\n" + "\n".join(lines) + "\n")


def discover(package: str) -> plugins.Registry:
    return plugins.discover(shipped=package, group="planted.adapters")


def imported(prefix: str) -> list[str]:
    return [name for name in sys.modules if name.split(".")[0] == prefix]


def test_shipped_adapters_are_all_usable() -> None:
    registry = plugins.discover()
    assert not registry.problems
    assert {"webhook", "qimen"} <= set(registry.manifests)


def test_finding_imports_nothing_and_loading_imports_once(root: Path) -> None:
    plant(root / "planted_a" / "one", name="one")
    plant(root / "planted_a" / "two", name="two", code="raise SystemExit('never imported')")
    (root / "planted_a" / "notes").mkdir()
    registry = discover("planted_a")
    assert list(registry.manifests) == ["one", "two"]
    assert imported("planted_a") == []
    adapter = registry.load("one")
    assert adapter.settings_type.__name__ == "Settings"
    assert adapter.source_type is None and adapter.target_type is not None
    assert registry.load("one") is adapter
    assert "planted_a.two.code" not in imported("planted_a")


def test_outside_adapter_by_entry_point(root: Path) -> None:
    plant(root / "mycompany" / "mywms", name="mywms")
    (root / "mycompany" / "__init__.py").write_text("raise RuntimeError('parents are not imported either')")
    register(root, mywms="mycompany.mywms", gone="mycompany.gone")
    registry = discover("planted_none")
    assert list(registry.manifests) == ["mywms"]
    assert imported("mycompany") == []
    assert [str(problem.where) for problem in registry.problems] == ["adapter gone"]


def test_same_name_twice_is_named_with_both_places(root: Path) -> None:
    shipped = plant(root / "planted_b" / "same", name="same")
    outside = plant(root / "other_b", name="same")
    register(root, same="other_b")
    registry = discover("planted_b")
    assert not registry.manifests
    with pytest.raises(SettingsError) as caught:
        registry.load("same")
    assert str(shipped) in str(caught.value) and str(outside) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("name = ", "name : "), "cannot be read"),
        (('"{name}"', '"other"'), "is 'other', but it is installed as 'bad'"),
        (("settings = ", "setings = "), "is not a known key"),
        (("code:Settings", "code.Settings"), "'code.Settings'"),
        (('target = "code:Target"', ""), "neither a source nor a target"),
        (("idempotent = true", 'idempotent = "yes"'), "expected bool"),
        (("operations.create", "operations.creat"), "is not a known value"),
        (("[operations.create]\nidempotent = true", ""), "could not be told anything"),
        (("settings = ", "api_version = 99\nsettings = "), "written for adapter API 99"),
        (("settings = ", 'api_version = "1"\nsettings = '), "expected int"),
    ],
)
def test_broken_manifest_is_a_problem(root: Path, change: tuple[str, str], what: str) -> None:
    plant(root / "planted_c" / "good", name="good")
    plant(root / "planted_c" / "bad", name="bad", manifest=MANIFEST.replace(*change))
    registry = discover("planted_c")
    assert list(registry.manifests) == ["good"]
    assert any(what in problem.what for problem in english(registry.problems)), registry.problems
    with pytest.raises(SettingsError):
        registry.load("bad")


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("syntax error", "SyntaxError"),
        ("import no_such_library", "ModuleNotFoundError"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("raise BaseException('a Rust library panics')", "BaseException"),
        ("class Settings: ...\nclass Target: ...", "is not a msgspec.Struct"),
        (CODE.replace("async def send", "async def sned"), "its target has no send"),
        (CODE.replace("class Target", "class Targt"), "AttributeError"),
    ],
)
def test_broken_code_is_a_problem(root: Path, code: str, what: str, request: pytest.FixtureRequest) -> None:
    package = f"planted_d{abs(hash(request.node.name))}"
    plant(root / package / "bad", name="bad", code=code)
    plant(root / package / "good", name="good")
    registry = discover(package)
    with pytest.raises(SettingsError) as caught:
        registry.load("bad")
    assert what in str(caught.value) and english(caught.value.problems)
    assert registry.load("good")


def test_a_polled_shop_s_settings_have_a_token(root: Path) -> None:
    manifest = MANIFEST.replace('target = "code:Target"', 'source = "code:Source"').split("[operations")[0]
    manifest += "[pull]\nwindow_s = 600\noverlap_s = 60\nlookback_s = 86400\n"
    source = (
        "class Source:\n    async def pull(self, window, position, *, deadline_s): ...\n    def decode(self, e): ..."
    )
    plant(root / "planted_f" / "without", name="without", manifest=manifest, code=f"{CODE}\n{source}")
    with_token = CODE.replace("frozen=True): ...", "frozen=True):\n    @property\n    def token(self): ...")
    plant(root / "planted_f" / "with", name="with", manifest=manifest, code=f"{with_token}\n{source}")
    registry = discover("planted_f")
    with pytest.raises(SettingsError, match="has no `token`"):
        registry.load("without")
    assert registry.load("with").pull_type is not None


def test_what_is_missing_is_sent_to_where_it_is_asked_for(root: Path) -> None:
    manifest = MANIFEST.replace('target = "code:Target"', 'target = "code:Target"\nsource = "code:Source"')
    manifest += "[operations.stock]\nidempotent = true\n[pull]\nwindow_s = 600\noverlap_s = 60\nlookback_s = 86400\n"
    code = CODE.replace("frozen=True): ...", "frozen=True):\n    @property\n    def token(self): ...")
    code = code.replace("async def check", "async def chek")
    plant(root / "planted_g" / "bare", name="bare", manifest=manifest, code=f"{code}\nclass Source: ...")
    with pytest.raises(SettingsError) as caught:
        discover("planted_g").load("bare")
    assert [(problem.what.en, problem.proposal.en) for problem in caught.value.problems] == [
        ("its source has no pull, decode", "see gateway.sdk.pull"),
        ("its target has no check, set_level", "see gateway.sdk.adapter and gateway.sdk.pull"),
    ]


def test_unknown_adapter_gets_a_proposal(root: Path) -> None:
    plant(root / "planted_e" / "mywms", name="mywms")
    with pytest.raises(SettingsError, match="did you mean `mywms`"):
        discover("planted_e").load("mywsm")


@pytest.mark.parametrize(
    ("constructor", "how"),
    [
        ("def __init__(self, setup): bytes.fromhex(setup.settings.key)", "ValueError at code.py:4"),
        ("def __init__(self): ...", "takes 1 positional argument but 2 were given"),
    ],
)
async def test_an_adapter_that_cannot_be_built_is_told_in_one_line(
    root: Path, constructor: str, how: str, request: pytest.FixtureRequest
) -> None:
    """At the start and by `ordergate check`; what it says itself holds the setting, and is left out."""
    package = f"built_{request.node.callspec.indices['how']}"
    code = f"""import msgspec
class Settings(msgspec.Struct, frozen=True): key: str
class Source:
    {constructor}
    def admit(self, push): ...
    def reply(self, error): ...
    def decode(self, event): ...
"""
    manifest = 'name = "kiosk"\nsettings = "code:Settings"\nsource = "code:Source"\n[title]\nen = "Kiosk"\n'
    plant(root / package / "kiosk", name="kiosk", manifest=manifest, code=code)
    text = "connections: {shop-a: {adapter: kiosk, prefix: A, mode: observe, settings: {key: secret-word}}}"
    settings = parse(text, {}, discover(package), name="og.yaml", folder=root)
    with pytest.raises(OrdergateError, match=how) as told:
        sources_of(settings)
    assert "适配器 kiosk 的 Source 用 shop-a 的设置建不起来" in str(told.value)
    found = await reach(settings)
    assert [p.what.en for p in found.problems if p.where == "connections.shop-a"] == [told.value.text.en]
    assert "secret-word" not in str(told.value)


async def test_an_adapter_that_ends_the_program_when_tried_ends_no_check(root: Path) -> None:
    code = """import sys
import msgspec
class Settings(msgspec.Struct, frozen=True): url: str
class Target:
    def __init__(self, setup, http): ...
    async def send(self, delivery, *, deadline_s): ...
    async def find(self, delivery, *, deadline_s): ...
    async def check(self, *, deadline_s): sys.exit(3)
"""
    plant(root / "ending" / "mywms", name="mywms", code=code)
    text = "connections: {wms-1: {adapter: mywms, settings: {url: x}}}"
    found = await reach(parse(text, {}, discover("ending"), name="og.yaml", folder=root))
    (problem,) = [problem for problem in found.problems if problem.where == "connections.wms-1"]
    assert "SystemExit" in problem.what.en


@pytest.mark.parametrize("part", ["Source", "Authoriser"])
async def test_a_polled_shop_that_cannot_be_built_is_told_in_one_line(root: Path, migrated_url: str, part: str) -> None:
    """Its source and what renews its token are built apart from its target."""
    code = f"""import msgspec
from gateway.sdk.pull import Token
class Settings(msgspec.Struct, frozen=True):
    key: str
    @property
    def token(self): return Token(self.key)
class Source:
    def __init__(self, setup, access): {"bytes.fromhex(setup.settings.key)" if part == "Source" else "..."}
    async def pull(self, window, position, *, deadline_s): ...
    def decode(self, event): ...
class Authoriser:
    def __init__(self, setup, access): {"bytes.fromhex(setup.settings.key)" if part == "Authoriser" else "..."}
    async def refresh(self, token, *, deadline_s): ...
"""
    manifest = """name = "mall"
settings = "code:Settings"
source = "code:Source"
authoriser = "code:Authoriser"
[title]
en = "Mall"
[pull]
window_s = 600
overlap_s = 60
lookback_s = 86400
"""
    plant(root / f"polled_{part}" / "mall", name="mall", manifest=manifest, code=code)
    text = "connections: {shop-a: {adapter: mall, prefix: A, mode: observe, settings: {key: secret-word}}}"
    settings = parse(text, {}, discover(f"polled_{part}"), name="og.yaml", folder=root)
    found = await reach(settings)
    told = f"{part} of the adapter mall cannot be made of the settings of shop-a: ValueError at code.py"
    assert [p.what.en for p in found.problems if p.where == "connections.shop-a" and p.what.en.startswith(told)]
    pool = await open_pool(migrated_url, size=2)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(pool.close)
        shops = Shops(
            settings,
            pool=pool,
            names=await register_connections(pool, list(settings.connections)),
            worker_id=1,
            lease=Lease(10.0, clock=time.monotonic, granted_at=time.monotonic()),
            setup=lambda connection: setup_of(connection, settings),
            hold=lambda name, held: None,
            now=lambda: datetime.now(UTC),
            observe=lambda happenings: None,
            reach=lambda point: None,
        )
        await shops.open(stack)
        inbox = InboxLeg(pool, observe=lambda happenings: None)
        with pytest.raises(OrdergateError, match=told):
            shops.duties(Inbound(kafka=None, inbox=inbox, observe=lambda happenings: None))


async def test_a_notifier_that_cannot_be_built_is_told_in_one_line(root: Path) -> None:
    code = """import msgspec
class Settings(msgspec.Struct, frozen=True): key: str
class Notifier:
    def __init__(self, setup, http): bytes.fromhex(setup.settings.key)
    limits = None
    async def notify(self, message, *, deadline_s): ...
    async def check(self, *, deadline_s): ...
"""
    manifest = 'name = "pager"\nsettings = "code:Settings"\nnotifier = "code:Notifier"\n[title]\nen = "Pager"\n'
    plant(root / "paged" / "pager", name="pager", manifest=manifest, code=code)
    text = "connections: {pager: {adapter: pager, settings: {key: secret-word}}}\nnotices: {channels: [pager]}"
    settings = parse(text, {}, discover("paged"), name="og.yaml", folder=root)
    async with Http(connections=1) as http:
        with pytest.raises(
            OrdergateError, match="Notifier of the adapter pager cannot be made of the settings of pager"
        ):
            notifier_of(settings, "pager", http)
