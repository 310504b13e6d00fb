"""Which adapters there are: found by their folder or by an entry point, described by their manifest, imported only
when a connection uses them.

An adapter of the gateway is a folder in the package `adapters`; an outside one registers its package under the
entry-point group ``ordergate.adapters``. Finding one reads its ``manifest.toml`` and runs none of its code. What is
wrong with an adapter is a problem of the connections that use it, never of the gateway.
"""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from gateway import schema
from gateway.core.errors import Problem, SettingsError
from gateway.core.order import Operation
from gateway.core.text import Text, system_reason
from gateway.sdk.adapter import API_VERSION, Manifest, Source, Target
from gateway.sdk.cancelled import is_a_stop
from gateway.sdk.notify import Notifier
from gateway.sdk.pull import Authoriser, PullSource

GROUP = "ordergate.adapters"
SHIPPED = "adapters"
MANIFEST = "manifest.toml"


class Adapter(msgspec.Struct, frozen=True):
    """An imported adapter: what it declares, and its classes."""

    manifest: Manifest
    settings_type: type[msgspec.Struct]
    source_type: type[Source] | None
    target_type: type[Target] | None
    pull_type: type[PullSource] | None = None
    """In place of `source_type` where the manifest has [pull]."""
    authoriser_type: type[Authoriser] | None = None
    notifier_type: type[Notifier] | None = None


class Found(msgspec.Struct, frozen=True):
    """An adapter that was found: its package and folder, and its manifest unless that is broken."""

    name: str
    package: str
    folder: str
    manifest: Manifest | None
    problems: tuple[Problem, ...] = ()


class Registry:
    """The adapters of this installation. Reading it imports nothing; `load` imports one adapter, once."""

    def __init__(self, found: Iterable[Found]) -> None:
        self._found: dict[str, list[Found]] = {}
        self._loaded: dict[str, Adapter] = {}
        for one in found:
            self._found.setdefault(one.name, []).append(one)

    @property
    def manifests(self) -> Mapping[str, Manifest]:
        """Manifests of the adapters that can be used, by name and in name order."""
        usable = {}
        for name in sorted(self._found):
            first = self._found[name][0]
            if first.manifest is not None and not self.problems_of(name):
                usable[name] = first.manifest
        return usable

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with any adapter found, used or not."""
        return tuple(problem for name in sorted(self._found) for problem in self.problems_of(name))

    def problems_of(self, name: str) -> tuple[Problem, ...]:
        """What is wrong with the adapter `name` as far as its manifest tells; empty for one that is not there."""
        found = self._found.get(name, [])
        problems = [problem for one in found for problem in one.problems]
        if len(found) > 1:
            places = [one.folder for one in found]
            what = Text(f"有多个：{'、'.join(places)}", f"is there twice: {' and '.join(places)}")
            problems.append(Problem(f"adapter {name}", what, Text("删掉或改名一个", "remove or rename one of them")))
        return tuple(problems)

    def load(self, name: str) -> Adapter:
        """The adapter `name`, imported. Raises SettingsError with what is wrong when it cannot be used."""
        if name in self._loaded:
            return self._loaded[name]
        problems = self.problems_of(name)
        if problems:
            raise SettingsError(problems)
        if name not in self._found:
            known = self.manifests
            near = schema.suggest(name, known) or schema.listed("已安装", "installed", known)
            raise SettingsError([Problem(f"adapter {name}", Text("没有安装", "is not installed"), near)])
        adapter = _import(self._found[name][0])
        self._loaded[name] = adapter
        return adapter


def discover(*, shipped: str = SHIPPED, group: str = GROUP) -> Registry:
    """The adapters in the package `shipped` and those registered under the entry-point `group`."""
    found = []
    for root in _folders(shipped):
        for manifest in sorted(root.glob(f"*/{MANIFEST}")):
            folder = manifest.parent
            found.append(_read(folder.name, f"{shipped}.{folder.name}", folder))
    for point in sorted(metadata.entry_points(group=group), key=lambda point: (point.name, point.value)):
        folders = [folder for folder in _folders(point.value) if (folder / MANIFEST).is_file()]
        if folders:
            found.append(_read(point.name, point.value, folders[0]))
        else:
            what = Text(f"的包 {point.value} 里没有 {MANIFEST}", f"its package {point.value} has no {MANIFEST}")
            instead = Text("重新安装或卸载这个包", "reinstall or remove the package")
            problem = Problem(f"adapter {point.name}", what, instead)
            found.append(Found(point.name, point.value, point.value, None, (problem,)))
    return Registry(found)


def _folders(package: str) -> list[Path]:
    """The folders of a package, found without importing it or its parents."""
    top, *inner = package.split(".")
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = find(top, None) if find is not None else None
        if spec is not None:
            # Below the top it is folders: asking a finder for `a.b` would import `a`.
            return [Path(folder).joinpath(*inner) for folder in spec.submodule_search_locations or []]
    return []


def _read(name: str, package: str, folder: Path) -> Found:
    where = f"adapter {name}"
    file = folder / MANIFEST
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = system_reason(error) if isinstance(error, OSError) else Text(str(error), str(error))
        what = Text(f"的 {file} 无法读取：{reason.zh}", f"{file} cannot be read: {error}")
        problem = Problem(where, what, Text("修复或移除这个适配器", "repair or remove the adapter"))
        return Found(name, package, str(folder), None, (problem,))
    version = values.get("api_version", API_VERSION)
    if isinstance(version, int) and version != API_VERSION:
        # Said alone: what else a manifest of another version holds cannot be judged.
        newer = version > API_VERSION
        proposal = Text("升级网关", "upgrade the gateway") if newer else Text("升级适配器", "upgrade the adapter")
        what = Text(
            f"按适配器 API {version} 编写，网关的是 {API_VERSION}",
            f"is written for adapter API {version}, this gateway has {API_VERSION}",
        )
        return Found(name, package, str(folder), None, (Problem(where, what, proposal),))
    root = schema.plain(values, f"{name}/{MANIFEST}")
    report = schema.Report(root)
    manifest = schema.convert(root, Manifest, report)
    if manifest is not None:
        add_target = Text("添加 `target`", "add `target`")
        if manifest.name != name:
            what = Text(
                f"为 {manifest.name!r}，安装名却是 {name!r}", f"is {manifest.name!r}, but it is installed as {name!r}"
            )
            report.add(("name",), what, Text("统一成一个名字", "use one name"))
        if manifest.source is None and manifest.target is None and manifest.notifier is None:
            what = Text(
                "既没有 source，也没有 target 或 notifier", "declares neither a source nor a target nor a notifier"
            )
            report.add((), what, Text("添加 `source` 或 `target`", "add `source` or `target`"))
        if manifest.pull is not None and manifest.source is None:
            instead = Text("添加 `source`，或删掉 [pull]", "add `source`, or remove [pull]")
            report.add(("pull",), Text("没有 source 就没有用", "is there without a source"), instead)
        if manifest.authoriser is not None and manifest.pull is None:
            what = Text("没有 [pull] 就没有用", "has no use without [pull]")
            report.add(("authoriser",), what, Text("添加 [pull]，或删掉它", "add [pull], or remove it"))
        if manifest.target is None and manifest.operations:
            report.add(("operations",), Text("没有 target 就没有用", "are declared without a target"), add_target)
        if manifest.target is not None and not manifest.operations:
            what = Text("缺少：目标没有可下发的操作", "are missing: the target could not be told anything")
            report.add(("operations",), what, Text("添加 [operations.create]", "add [operations.create]"))
        for field in ("settings", "source", "target", "authoriser", "notifier"):
            reference = getattr(manifest, field)
            if reference is not None and not _is_reference(reference):
                form = Text("写成 模块:属性，如 target:Target", "write it as module:attribute, like target:Target")
                report.add((field,), Text(f"为 {reference!r}", f"is {reference!r}"), form)
    return Found(name, package, str(folder), manifest if not report.problems else None, tuple(report.problems))


def _is_reference(text: str) -> bool:
    module, separator, attribute = text.partition(":")
    return bool(separator) and attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))


def _import(found: Found) -> Adapter:
    assert found.manifest is not None
    manifest = found.manifest
    problems: list[Problem] = []
    settings_type = _resolve(found, "settings", manifest.settings, problems)
    source_type = _resolve(found, "source", manifest.source, problems)
    target_type = _resolve(found, "target", manifest.target, problems)
    authoriser_type = _resolve(found, "authoriser", manifest.authoriser, problems)
    notifier_type = _resolve(found, "notifier", manifest.notifier, problems)
    if settings_type is not None and not (
        isinstance(settings_type, type) and issubclass(settings_type, msgspec.Struct)
    ):
        where = f"adapter {found.name}"
        what = Text(f"的 {manifest.settings} 不是 msgspec.Struct", f"{manifest.settings} is not a msgspec.Struct")
        problems.append(Problem(where, what, Text("把设置写成 frozen struct", "make its settings a frozen struct")))
    elif settings_type is not None and manifest.pull is not None and not hasattr(settings_type, "token"):
        what = Text(
            f"的 {manifest.settings} 没有 `token`，即轮询店铺的首次授权",
            f"{manifest.settings} has no `token`: the first authorisation of a polled shop",
        )
        problems.append(Problem(f"adapter {found.name}", what, _see("gateway.sdk.pull")))
    for field, kind, methods in (
        ("source", source_type, ("pull", "decode") if manifest.pull is not None else ("admit", "reply", "decode")),
        ("target", target_type, _told(manifest)),
        ("authoriser", authoriser_type, ("refresh",)),
        ("notifier", notifier_type, ("notify", "check")),
    ):
        missing = [method for method in methods if kind is not None and not callable(getattr(kind, method, None))]
        if missing:
            what = Text(f"的 {field} 缺少 {'、'.join(missing)}", f"its {field} has no {', '.join(missing)}")
            modules = {_module_of(field, method, pulled=manifest.pull is not None) for method in missing}
            problems.append(Problem(f"adapter {found.name}", what, _see(*sorted(modules))))
    if problems:
        raise SettingsError(problems)
    pulled = manifest.pull is not None
    return Adapter(
        manifest,
        settings_type,
        None if pulled else source_type,
        target_type,
        source_type if pulled else None,
        authoriser_type,
        notifier_type,
    )


def _told(manifest: Manifest) -> tuple[str, ...]:
    """The methods that a target with these operations has."""
    findable = any(operation.findable for operation in manifest.operations.values())
    levels = Operation.STOCK in manifest.operations
    orders = bool(manifest.operations.keys() - {Operation.STOCK})
    return ("check", *(["send"] if orders else []), *(["find"] if findable else []), *(["set_level"] if levels else []))


def _resolve(found: Found, field: str, reference: str | None, problems: list[Problem]) -> Any:
    if reference is None:
        return None
    module, _, attribute = reference.partition(":")
    try:
        return getattr(importlib.import_module(f"{found.package}.{module}"), attribute)
    except BaseException as error:
        if is_a_stop(error):
            raise
        # A supervisor's catch-all: whatever an adapter does while it is imported stays its own problem.
        raised = f"{type(error).__name__}: {str(error)[:200]}"
        what = Text(
            f"的 {field} {reference} 无法导入：{raised}", f"its {field} {reference} cannot be imported: {raised}"
        )
        instead = Text(f"修复 {found.folder}，或删掉用它的连接", f"repair {found.folder} or remove its connections")
        problems.append(Problem(f"adapter {found.name}", what, instead))
        return None


def _module_of(field: str, method: str, *, pulled: bool) -> str:
    """Where the protocol stands that asks for `method`."""
    if field == "notifier":
        return "gateway.sdk.notify"
    if field == "authoriser" or method == "set_level" or (field == "source" and pulled):
        return "gateway.sdk.pull"
    return "gateway.sdk.adapter"


def _see(*modules: str) -> Text:
    return Text(f"见 {'、'.join(modules)}", f"see {' and '.join(modules)}")
