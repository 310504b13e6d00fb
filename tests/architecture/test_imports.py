"""Who may import whom, as a table; and that the test which holds it would notice.

Type-checking imports and imports inside functions count: a dependency is one wherever it is written.
"""

from __future__ import annotations

import ast
import builtins
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

EVERYTHING = "gateway adapters"
ANY = None


@dataclass(frozen=True, slots=True)
class Layer:
    """Modules whose dotted name matches `modules` may import `first_party` (with all below) and their own package.

    `third_party` is a set of distributions' top-level names, or ANY. A `pure` module moreover has no I/O, clock,
    randomness or logging.
    """

    modules: str
    first_party: str
    third_party: frozenset[str] | None = ANY
    pure: bool = False


ONLY_MSGSPEC = frozenset({"msgspec"})

# The first line that matches counts.
LAYERS = (
    Layer("gateway.core", "", ONLY_MSGSPEC, pure=True),
    Layer("gateway.pipeline", "gateway.core", ONLY_MSGSPEC, pure=True),
    Layer("gateway.sdk", "gateway.core"),
    Layer("gateway.store", "gateway.core"),
    Layer("gateway.telemetry", "gateway.core"),
    Layer("gateway.embedded", "gateway.core"),
    Layer("gateway.sheets", "gateway.core"),
    Layer("gateway.schema", "gateway.core"),
    Layer("gateway.plugins", "gateway.core gateway.sdk gateway.schema"),
    Layer("gateway.settings", "gateway.core gateway.sdk gateway.schema gateway.plugins"),
    Layer("gateway.brokers", "gateway.core gateway.settings"),
    Layer("gateway.intake", "gateway.core gateway.sdk gateway.store gateway.pipeline"),
    Layer("gateway.dispatch", "gateway.core gateway.sdk gateway.store"),
    Layer("gateway.watch.conditions", "gateway.core", ONLY_MSGSPEC, pure=True),
    Layer("gateway.watch.wording", "gateway.core", ONLY_MSGSPEC, pure=True),
    Layer("gateway.watch.digest", "gateway.core gateway.sdk gateway.store", ONLY_MSGSPEC, pure=True),
    Layer("gateway.watch", "gateway.core gateway.sdk gateway.store"),
    Layer("gateway.ingest", "gateway.core gateway.sdk gateway.store gateway.settings gateway.listener"),
    Layer(
        "gateway.api",
        "gateway.core gateway.sdk gateway.store gateway.settings gateway.sheets gateway.telemetry gateway.listener",
    ),
    Layer("gateway.app", EVERYTHING),
    Layer("gateway.parts", EVERYTHING),
    Layer("gateway.shown", EVERYTHING),
    Layer("gateway.shops", EVERYTHING),
    Layer("gateway.listener", "gateway.core"),
    Layer("gateway.loose", "gateway.core", frozenset()),
    Layer("gateway.stall", "gateway.core", frozenset()),
    Layer(
        "gateway.supervise",
        "gateway.core gateway.store gateway.settings gateway.embedded gateway.telemetry gateway.listener"
        " gateway.run_name",
    ),
    Layer("gateway.run_name", "", frozenset()),
    Layer("gateway.cli", EVERYTHING),
    Layer("gateway.process", "gateway.core"),
    Layer("gateway.worker", "gateway.app gateway.plugins gateway.process gateway.settings"),
    Layer("gateway.admin", EVERYTHING),
    Layer("gateway.check", EVERYTHING),
    Layer("gateway.compare", EVERYTHING),
    Layer("gateway.remote", "gateway.core gateway.sheets gateway.terminal"),
    Layer("gateway.terminal", "gateway.core"),
    Layer("gateway.usage", "gateway.core"),
    Layer("gateway.__main__", "gateway.cli"),
    Layer("gateway.demo", EVERYTHING),
    Layer("gateway.testing", EVERYTHING),
    Layer("adapters.*.mapping", "gateway.sdk", ONLY_MSGSPEC, pure=True),
    Layer("adapters.*.fake", "gateway.sdk gateway.testing"),
    Layer("adapters.*", "gateway.sdk"),
)

PURE_HAS_NO_MODULE = frozenset(
    "asyncio concurrent contextvars ctypes fcntl ftplib glob http.client http.server importlib io logging mmap"
    " multiprocessing os pathlib queue random secrets select selectors shutil signal smtplib socket sqlite3 ssl"
    " subprocess sys syslog tempfile threading time urllib.request warnings".split()
)
PURE_HAS_NO_NAME = frozenset(
    "datetime.datetime.now datetime.datetime.utcnow datetime.datetime.today datetime.date.today uuid.uuid1 uuid.uuid4"
    " open print input breakpoint eval exec __import__".split()
)

ROOT = Path(__file__).resolve().parents[2]


def violations(root: Path, only: Path | None = None) -> list[str]:
    """One line per import or name that the table forbids: where, what, and the rule. `only` looks into one file."""
    files = {_module(root, path): path for top in ("gateway", "adapters") for path in (root / top).rglob("*.py")}
    return [
        f"{files[module].relative_to(root)}:{line}: {text}"
        for module in sorted(files)
        if only in (None, files[module])
        for line, text in _broken(module, files)
    ]


def _broken(module: str, files: Mapping[str, Path]) -> Iterator[tuple[int, str]]:
    is_package = files[module].name == "__init__.py"
    tree = ast.parse(files[module].read_text(encoding="utf-8"))
    imports = list(_imports(tree, module, is_package, files))
    layer = _layer(module)
    if layer is None:
        yield 1, f"{module} has no line in the table of {Path(__file__).name}"
        return
    home = _home(module, layer)
    allowed = [*layer.first_party.split(), *home]
    for line, target in imports:
        top = target.split(".")[0]
        if top in ("gateway", "adapters"):
            if target not in ("gateway", "adapters") and not any(_within(target, part) for part in allowed):
                yield line, f"{module} imports {target}, allowed are {', '.join(allowed) or 'none'}"
        elif top not in sys.stdlib_module_names:
            if layer.third_party is not ANY and top not in layer.third_party:
                yield line, f"{module} imports {top}, allowed are {', '.join(sorted(layer.third_party))}"
        elif layer.pure and any(_within(target, forbidden) for forbidden in PURE_HAS_NO_MODULE):
            yield line, f"{module} imports {target}, but it is pure: time, ids and text come as arguments"
    if layer.pure:
        for line, name in _names(tree):
            if name in PURE_HAS_NO_NAME:
                yield line, f"{module} uses {name}, but it is pure: time, ids and text come as arguments"


def _layer(module: str) -> Layer | None:
    if module in ("gateway", "adapters"):
        return Layer(module, "", frozenset())
    return next((layer for layer in LAYERS if any(fnmatchcase(name, layer.modules) for name in _upwards(module))), None)


def _home(module: str, layer: Layer) -> list[str]:
    """What a module may import because it is its own: its layer's package, or its adapter's folder."""
    if module in ("gateway", "adapters"):
        return []
    parts = module.split(".")
    if layer.pure and parts[0] == "adapters":
        # Pure reaches no further than itself: its siblings do I/O. Their settings are plain data.
        return [module, ".".join([*parts[:2], "settings"])]
    return [".".join(parts[:2])]


def _imports(tree: ast.Module, module: str, is_package: bool, files: Mapping[str, Path]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                package = module.split(".")[: None if is_package else -1]
                package = package[: len(package) - (node.level - 1)]
                source = ".".join([*package, source] if source else package)
            for alias in node.names:
                # `from gateway import settings` imports a module, `from gateway import __version__` a name.
                below = f"{source}.{alias.name}"
                first_party = source.split(".")[0] in ("gateway", "adapters")
                yield node.lineno, below if below in files or not first_party else source
        elif isinstance(node, ast.Call):
            match node.func, node.args:
                case (
                    ast.Name("import_module" | "__import__") | ast.Attribute(attr="import_module"),
                    [ast.Constant(str(name)), *_],
                ):
                    yield node.lineno, name


def _names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every name and attribute, spelled out by what was imported: `dt.now` as `datetime.datetime.now`."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    shadowed = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    } | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            first, *rest = ast.unparse(node).split(".")
            if not rest and first in shadowed and hasattr(builtins, first):
                continue
            yield node.lineno, ".".join([known.get(first, first), *rest])


def _module(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _upwards(module: str) -> Iterator[str]:
    """`a.b.c`, `a.b`, `a`."""
    while module:
        yield module
        module = module.rpartition(".")[0]


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def test_the_code_keeps_to_the_table() -> None:
    found = violations(ROOT)
    assert not found, "\n" + "\n".join(found)


# --- the test, tested: each line is planted in a copy and must be found

BAD = [
    ("gateway/core/planted.py", "import asyncpg"),
    ("gateway/core/planted.py", "import pydantic.fields"),
    ("gateway/core/planted.py", "from gateway.sdk import models"),
    ("gateway/core/planted.py", "import time"),
    ("gateway/core/planted.py", "import os.path"),
    ("gateway/core/planted.py", "from os import environ"),
    ("gateway/core/planted.py", "import random"),
    ("gateway/core/planted.py", "import asyncio"),
    ("gateway/core/planted.py", "import logging"),
    ("gateway/core/planted.py", "from urllib import request"),
    ("gateway/core/planted.py", "def f():\n    import time"),
    (
        "gateway/core/planted.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from gateway.store import sql",
    ),
    ("gateway/core/planted.py", "import datetime\nx = datetime.datetime.now(datetime.UTC)"),
    ("gateway/core/planted.py", "from datetime import datetime as d\nx = d.now"),
    ("gateway/core/planted.py", "from datetime import date\nx = date.today()"),
    ("gateway/core/planted.py", "from uuid import uuid4\nx = uuid4()"),
    ("gateway/core/planted.py", "x = open('file')"),
    ("gateway/core/planted.py", "x = __import__('time')"),
    ("gateway/core/deep/planted.py", "from ...store import sql"),
    ("gateway/pipeline/planted.py", "import aiohttp"),
    ("gateway/pipeline/planted.py", "import gateway.sdk"),
    ("gateway/pipeline/planted.py", "import time"),
    ("gateway/pipeline/planted.py", "from datetime import datetime\nx = datetime.utcnow()"),
    ("gateway/sdk/planted.py", "import gateway.store"),
    ("gateway/sdk/planted.py", "from gateway import settings"),
    ("gateway/store/planted.py", "from gateway.sdk.models import Event"),
    ("gateway/store/planted.py", "from gateway.pipeline import decide"),
    ("gateway/telemetry/planted.py", "from gateway.store import sql"),
    ("gateway/embedded/planted.py", "from gateway.store import sql"),
    ("gateway/schema.py", "from gateway.sdk import models"),
    ("gateway/plugins.py", "from gateway import settings"),
    ("gateway/settings/planted.py", "from gateway.store import sql"),
    ("gateway/intake/planted.py", "from gateway.dispatch import breaker"),
    ("gateway/intake/planted.py", "from gateway import settings"),
    ("gateway/dispatch/planted.py", "from gateway.intake import batch"),
    ("gateway/dispatch/planted.py", "from gateway.pipeline import decide"),
    ("gateway/dispatch/planted.py", "from ..watch import clock"),
    ("gateway/dispatch/planted.py", "from adapters.webhook import target"),
    ("gateway/watch/planted.py", "import gateway.api"),
    ("gateway/watch/conditions.py", "import time"),
    ("gateway/watch/digest.py", "import asyncpg"),
    ("gateway/ingest/planted.py", "import gateway.intake.batch"),
    ("gateway/ingest/planted.py", "from importlib import import_module\nimport_module('gateway.dispatch')"),
    ("gateway/api/planted.py", "from gateway.pipeline.rules import Rules"),
    ("gateway/api/planted.py", "import gateway.app"),
    ("gateway/store/planted.py", "import gateway.app"),
    ("gateway/__init__.py", "from gateway.core import order"),
    ("gateway/unheard_of.py", "x = 1"),
    ("gateway/unheard_of/planted.py", "x = 1"),
    ("adapters/planted/source.py", "from gateway.core.order import Facts"),
    ("adapters/planted/source.py", "from gateway.store import sql"),
    ("adapters/planted/source.py", "from gateway.testing import fakes"),
    ("adapters/planted/source.py", "from adapters.other import mapping"),
    ("adapters/planted/source.py", "from ..other import mapping"),
    ("adapters/planted/fake.py", "from gateway.core.order import Facts"),
    ("adapters/planted/mapping.py", "import aiohttp"),
    ("adapters/planted/mapping.py", "import time"),
    ("adapters/planted/mapping.py", "from datetime import datetime\nx = datetime.now()"),
    ("adapters/planted/mapping.py", "from adapters.planted import source"),
    ("adapters/planted/mapping.py", "print('mapped')"),
]

GOOD = [
    ("gateway/core/planted.py", "import msgspec\nimport re, hashlib\nfrom gateway.core import order"),
    ("gateway/core/planted.py", "from datetime import UTC, datetime\nx = datetime(2026, 1, 1, tzinfo=UTC)"),
    ("gateway/core/planted.py", "from urllib.parse import quote"),
    ("gateway/core/planted.py", "import gateway"),
    ("gateway/pipeline/planted.py", "from gateway.core.order import Order\nfrom . import clean"),
    ("gateway/intake/planted.py", "import time, asyncio\nimport asyncpg\nfrom gateway.pipeline.decide import fold"),
    ("gateway/ingest/planted.py", "from gateway import settings"),
    ("gateway/app.py", "import gateway.intake, gateway.dispatch, gateway.api\nfrom adapters.webhook import target"),
    ("gateway/demo/planted.py", "from adapters.webhook import fake\nprint('demo')"),
    ("adapters/planted/source.py", "import aiohttp\nfrom gateway.sdk.models import Event\nfrom . import mapping"),
    ("adapters/planted/fake.py", "from gateway.testing.fakes import FakeServer\nfrom adapters.planted import mapping"),
    ("adapters/planted/mapping.py", "import msgspec\nfrom gateway.sdk.models import Event"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("planted")
    for top in ("gateway", "adapters"):
        shutil.copytree(ROOT / top, root / top, ignore=lambda _, names: [n for n in names if n == "__pycache__"])
    return root


@pytest.mark.parametrize(("file", "code"), BAD)
def test_a_planted_violation_is_found(copy: Path, file: str, code: str) -> None:
    assert _planted(copy, file, code), f"nobody noticed `{code}` in {file}"


@pytest.mark.parametrize(("file", "code"), GOOD)
def test_what_is_allowed_is_not_reported(copy: Path, file: str, code: str) -> None:
    assert _planted(copy, file, code) == []


def _planted(copy: Path, file: str, code: str) -> list[str]:
    """The violations that appear when `code` is the file, or is added to it."""
    path = copy / file
    before = path.read_text() if path.exists() else None
    known = {line.split(": ", 1)[1] for line in violations(copy, path)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((before + "\n\n" if before else "") + code + "\n")
    try:
        return [line for line in violations(copy, path) if line.split(": ", 1)[1] not in known]
    finally:
        path.unlink() if before is None else path.write_text(before)
