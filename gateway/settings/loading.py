"""From the file and the environment to `Settings`, or to every problem in them at once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec

from gateway import schema as schemas
from gateway.core.errors import Problem, SettingsError
from gateway.core.event import ConnectionName
from gateway.core.order import Mode
from gateway.core.text import Text, system_reason
from gateway.plugins import Adapter, Registry
from gateway.schema import Node, Report
from gateway.settings.fitting import (
    check_accounts,
    check_carriers,
    check_connection,
    check_gates,
    check_lease,
    check_names,
    check_notices,
    check_owners,
    check_prefixes,
    check_pull,
    check_retention,
    check_route,
    check_sections,
)
from gateway.settings.sections import (
    KAFKA_FILES,
    Connection,
    ConnectionEntry,
    Document,
    GateOverride,
    Kafka,
    Sections,
    Settings,
    merged,
    pull_of,
    rate_of,
)

ENVIRONMENT_PREFIX = "ORDERGATE_"


def load(path: Path, environ: Mapping[str, str], adapters: Registry) -> Settings:
    """The configuration in the YAML file `path`, or SettingsError with every problem in it.

    ``${NAME}`` comes from `environ`; ``file:/path`` is read. A key of a section can also be set as
    ``ORDERGATE_<SECTION>_<KEY>`` (``ORDERGATE_HTTP_LISTEN``) and wins over the file. Only adapters that a connection
    uses are imported.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = Text("不是 UTF-8 文本", "it is not UTF-8 text")
        proposal = Text("在编辑器里另存为 UTF-8", "save it as UTF-8 in an editor")
        if isinstance(error, OSError):
            reason = system_reason(error)
            proposal = Text("用 --config 指定配置文件", "name the configuration file with --config")
        what = Text(f"无法读取：{reason.zh}", f"cannot be read: {reason.en}")
        raise SettingsError([Problem(str(path), what, proposal)]) from error
    return parse(text, environ, adapters, name=path.name, folder=path.parent)


def parse(text: str, environ: Mapping[str, str], adapters: Registry, *, name: str, folder: Path) -> Settings:
    """Like `load`, from text. Relative paths start at `folder`; `name` stands in the problems."""
    root, problems = schemas.read_yaml(text, name=name)
    if not isinstance(root.value, dict):
        what = Text("不是键值映射（键: 值）", "is not a mapping (key: value)")
        problems.append(Problem(name, what, Text("从示例配置开始", "start from the example configuration")))
        raise SettingsError(problems)
    root = _overridden(root, environ)
    report = Report(root)
    # A key given twice stands with its second value; after a mistake in the syntax the rest is empty and so right.
    report.problems += problems
    root = _without_moved(root, report)
    root = schemas.fill(root, environ, folder, report=report)
    # Sections that are right are checked against each other even when others are wrong.
    sections = {
        field.encode_name: _section(root, field, report)
        for field in msgspec.structs.fields(Document)
        if field.encode_name in root.value
    }
    for key in root.value:
        if key not in Document.__struct_fields__:
            known = Document.__struct_fields__
            near = schemas.suggest(key, known) or schemas.listed("这里可用", "known here", known)
            report.add((key,), schemas.UNKNOWN_KEY, near)
    document = Document(**{key: value for key, value in sections.items() if value is not _WRONG})
    check_sections(document, report, folder)
    entries = _entries(root, report)
    loaded = {entry: _load_adapter(entry, entries[entry], adapters, report) for entry in entries}
    configured = _names(root)
    check_prefixes(entries, report)
    connections: dict[ConnectionName, Connection] = {}
    for entry, adapter in loaded.items():
        connection = _connection(entry, entries[entry], adapter, root, report)
        if connection is not None:
            connections[connection.name] = connection
    for entry, adapter in loaded.items():
        if adapter is not None:
            check_connection(entry, entries[entry], adapter, report)
            check_gates(entry, entries[entry], adapter, connections.get(ConnectionName(entry)), report)
            check_pull(entry, entries[entry], adapter.manifest, report)
        check_route(entry, entries, loaded, connections, report)
    check_accounts(connections, report)
    if sections.get("dispatch") is not _WRONG:
        check_lease(document.dispatch, connections, report)
    check_retention(document.retention, connections, report)
    check_carriers(document.carriers, adapters, report)
    check_notices(document.notices, configured, loaded, report)
    check_owners(document, configured, report)
    check_names(root, configured, report)
    if report.problems:
        raise SettingsError(sorted(report.problems, key=_line))
    common = {field: getattr(document, field) for field in Sections.__struct_fields__}
    common["data_dir"] = str(folder.joinpath(document.data_dir).resolve())
    common["kafka"] = _with_absolute_files(document.kafka, folder)
    return Settings(**common, connections=connections, config_hash=_hash(root))


def _hash(root: Node) -> int:
    """48 bits that all gateways of one database should have in common: of what orders are decided and sent by, without
    the secrets, which come from the environment or a file into the `settings` of a connection."""
    shared = {key: _plain(node) for key, node in root.value.items() if key not in _OF_ONE_GATEWAY}
    text = msgspec.json.encode(shared, order="deterministic")
    return int.from_bytes(hashlib.sha256(text).digest()[:6], "big")


def _plain(node: Node, *, secret: bool = False) -> Any:
    if isinstance(node.value, dict):
        return {str(key): _plain(inner, secret=secret or key == "settings") for key, inner in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(inner, secret=secret) for inner in node.value]
    return None if secret and node.filled else node.text


_OF_ONE_GATEWAY = frozenset({"data_dir", "database", "kafka", "http", "intake", "dispatch", "encryption", "log"})
_WRONG: Any = object()
_DEFAULT_SETTLE_S = 15.0


def _line(problem: Problem) -> int:
    found = re.match(r"[^ ]*:(\d+)", problem.where)
    return int(found[1]) if found else 0


def _overridden(root: Node, environ: Mapping[str, str]) -> Node:
    """`root` with the keys that the environment sets.

    Unknown ``ORDERGATE_`` names are left alone on purpose: Kubernetes injects ``ORDERGATE_PORT`` and the like into
    every pod next to a Service called ordergate.
    """
    top = dict(root.value)
    for field in msgspec.structs.fields(Sections):
        if field.encode_name in ("carriers", "owners"):
            continue  # a table and a list: no variable holds one
        kind = schemas.struct_of(field.type)
        name = ENVIRONMENT_PREFIX + field.encode_name.upper()
        if kind is None:
            if name in environ:
                top[field.encode_name] = Node(environ[name], f"environment {name}", environ[name], filled=True)
            continue
        given = {
            inner.encode_name: f"{name}_{inner.encode_name.upper()}"
            for inner in msgspec.structs.fields(kind)
            if f"{name}_{inner.encode_name.upper()}" in environ and schemas.struct_of(inner.type) is None
        }
        section = top.get(field.encode_name, Node({}, root.origin))
        if given and (section.value is None or isinstance(section.value, dict)):
            keys = {
                key: Node(environ[variable], f"environment {variable}", environ[variable], filled=True)
                for key, variable in given.items()
            }
            top[field.encode_name] = msgspec.structs.replace(section, value={**(section.value or {}), **keys})
    return msgspec.structs.replace(root, value=top)


def _without_moved(root: Node, report: Report) -> Node:
    """`root` without keys that have moved or changed their shape, each reported with what to write instead."""
    rules = "owners: [{people: [wang], connection: wms-1}, {people: [li], code: short_of_stock}, {people: [ops]}]"
    proposal = Text(rules, rules)
    top = dict(root.value)
    if "owners" in top and isinstance(top["owners"].value, dict):
        what = Text("应为规则列表，第一条符合的算数", "is a list of rules, of which the first that fits counts")
        report.add(("owners",), what, proposal)
        del top["owners"]
    notices = top.get("notices")
    if notices is not None and isinstance(notices.value, dict) and "owners" in notices.value:
        what = Text("已移到顶层，与 `notices` 并列", "has moved to the top level, beside `notices`")
        report.add(("notices", "owners"), what, proposal)
        inner = {key: node for key, node in notices.value.items() if key != "owners"}
        top["notices"] = msgspec.structs.replace(notices, value=inner)
    return msgspec.structs.replace(root, value=top)


def _section(root: Node, field: msgspec.structs.FieldInfo, report: Report) -> Any:
    node = root.value[field.encode_name]
    if field.encode_name == "connections":
        return {}
    before = len(report.problems)
    value = schemas.convert(node, field.type, report, (field.encode_name,))
    # A reference inside it that cannot be followed has been reported before, and leaves nothing.
    wrong = len(report.problems) > before or schemas.unresolved(node) or (value is None and node.value is not None)
    return _WRONG if wrong else value


def _entries(root: Node, report: Report) -> dict[str, ConnectionEntry]:
    """The connections, each without what is wrong in it by itself (`Report.in_doubt`)."""
    node = root.value.get("connections")
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        report.add(("connections",), Text("应为键值映射（名称: 连接）", "expected a mapping (name: connection)"))
        return {}
    entries = {}
    for name, child in node.value.items():
        entry = schemas.salvage(child, ConnectionEntry, report, ("connections", name), needed=("adapter",))
        if entry is not None:
            entries[name] = entry
    return entries


def _names(root: Node) -> list[str]:
    """Of all connections, those that are wrong too."""
    node = root.value.get("connections")
    return list(node.value) if node is not None and isinstance(node.value, dict) else []


def _load_adapter(name: str, entry: ConnectionEntry, adapters: Registry, report: Report) -> Adapter | None:
    if report.in_doubt(("connections", name, "adapter")):
        return None
    try:
        return adapters.load(entry.adapter)
    except SettingsError as error:
        for problem in error.problems:
            place = problem.where.replace("adapter ", "适配器 ", 1)
            what = Text(f"{place} {problem.what.zh}", f"{problem.where} {problem.what.en}")
            report.add(("connections", name, "adapter"), what, problem.proposal)
        return None


def _connection(
    name: str, entry: ConnectionEntry, adapter: Adapter | None, root: Node, report: Report
) -> Connection | None:
    path = ("connections", name, "settings")
    child = root.value["connections"].value[name]
    if adapter is None or ("settings" not in child.value and report.in_doubt(path)):
        return None
    node = child.value.get("settings") or Node({}, child.origin)
    settings = schemas.convert(node, adapter.settings_type, report, path)
    if settings is None:
        return None
    # A connection may use less than its adapter can: a webhook without a URL takes orders in and nothing else.
    enabled = getattr(settings, "operations", None)
    declared = {op: m for op, m in adapter.manifest.operations.items() if enabled is None or op in enabled}
    return Connection(
        name=ConnectionName(name),
        adapter=adapter,
        prefix=entry.prefix,
        mode=entry.mode or Mode.LIVE,
        start_at=entry.start_at.astimezone(UTC) if entry.start_at else None,
        route=entry.route,
        skus=entry.skus,
        stock=entry.stock,
        settle_s=_DEFAULT_SETTLE_S if entry.settle_s is None else entry.settle_s,
        gates={op: merged(manifest, entry.gates.get(op, GateOverride())) for op, manifest in declared.items()},
        settings=settings,
        pull=pull_of(adapter.manifest, entry.pull),
        rate=rate_of(adapter.manifest, entry.rate),
    )


def _with_absolute_files(kafka: Kafka | None, folder: Path) -> Kafka | None:
    if kafka is None:
        return None
    security = kafka.security
    files = {key: getattr(security, key) for key in KAFKA_FILES}
    absolute = {key: str(folder.joinpath(file).resolve()) for key, file in files.items() if file is not None}
    return msgspec.structs.replace(kafka, security=msgspec.structs.replace(security, **absolute))
