"""Text of a configuration file → frozen structs, with every problem found and the line it stands on.

It answers for reading YAML into nodes that know their line, filling in `${NAME}` and `file:`, checking a node against
a msgspec struct type, and describing such types (JSON Schema, Markdown). What the settings mean, and how they
must fit each other, is left to `gateway.settings`.

msgspec stops at the first problem; so structs, lists and mappings are walked here, and msgspec judges each leaf
(range, pattern, enum, instant). The walk may miss what only msgspec knows (a `__post_init__`): the whole is converted
by msgspec in the end.
"""

from __future__ import annotations

import difflib
import enum
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
import yaml

from gateway.core.errors import Problem

T = TypeVar("T")
Key = str | int
KeyPath = tuple[Key, ...]
"""Keys from the top of the document: ``("connections", "shop-a", "route", 0, "target")``."""


class Node(msgspec.Struct, frozen=True):
    """One value of the document. `value` is a dict or list of nodes, or a scalar.

    `text` is how a scalar is written (``0012`` may be meant as a string). `origin` is where it stands
    (``ordergate.yaml:14``). A `filled` scalar came out of the environment or a file: its text is never shown.
    """

    value: Any
    origin: str
    text: str = ""
    filled: bool = False


class Report:
    """Collects problems, and says where in the document each one stands."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self.problems: list[Problem] = []

    def add(self, path: KeyPath, what: str, proposal: str = "") -> None:
        """Report `what` at `path`; a path that is not in the document stands where its nearest parent does."""
        self.problems.append(Problem(f"{self._origin(path)} {spell(path)}".strip(), what, proposal))

    def _origin(self, path: KeyPath) -> str:
        node = self.root
        for key in path:
            inner = node.value
            known = key in inner if isinstance(inner, dict) else isinstance(inner, list) and key in range(len(inner))
            if not known:
                break
            node = inner[key]
        return node.origin


def read_yaml(text: str, *, name: str) -> tuple[Node, list[Problem]]:
    """The document as nodes; an empty one is an empty mapping. Problems: syntax, a key given twice.

    Plain scalars follow the core schema of YAML 1.2, not 1.1: ``no`` is a string and ``0012`` is one too.
    """
    try:
        loader = _Loader(text)
        top = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        return Node({}, name), [Problem(where, f"is not YAML: {error.problem or error.context}", "see the indentation")]
    except yaml.YAMLError as error:
        return Node({}, name), [Problem(name, f"is not YAML: {str(error).splitlines()[0]}", "save the file as UTF-8")]
    if top is None:
        return Node({}, name), []
    problems: list[Problem] = []
    root = _node(top, name, top.start_mark.line, loader, problems, ())
    # What is missing at the top stands on no line.
    return msgspec.structs.replace(root, origin=name), problems


def plain(value: Any, origin: str) -> Node:
    """Nodes of a value that was read already (TOML, tests)."""
    if isinstance(value, Mapping):
        return Node({str(key): plain(inner, origin) for key, inner in value.items()}, origin)
    if isinstance(value, (list, tuple)):
        return Node([plain(inner, origin) for inner in value], origin)
    return Node(value, origin, str(value))


def fill(node: Node, environ: Mapping[str, str], folder: Path, *, report: Report, path: KeyPath = ()) -> Node:
    """`node` with ``${NAME}``, ``${NAME:-default}`` and ``file:/path`` replaced; ``$${`` stands for ``${``.

    What is missing is reported and left as it was. A file loses its last line ends and is read relative to `folder`.
    """
    if isinstance(node.value, dict):
        inner = {k: fill(v, environ, folder, report=report, path=(*path, k)) for k, v in node.value.items()}
        return msgspec.structs.replace(node, value=inner)
    if isinstance(node.value, list):
        items = [fill(v, environ, folder, report=report, path=(*path, i)) for i, v in enumerate(node.value)]
        return msgspec.structs.replace(node, value=items)
    if not isinstance(node.value, str):
        return node
    text = node.value
    if text.startswith(("file:/", "file:./")):
        try:
            content = folder.joinpath(text.removeprefix("file:").replace("///", "/")).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            report.add(path, f"{text} cannot be read: {reason}", "check the path and who may read it")
            return node
        content = content.rstrip("\r\n")
        return Node(content, node.origin, content, filled=True)
    if "${" not in text:
        return node
    missing: list[str] = []

    def replacement(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "${"
        value: str | None = environ.get(match["name"], match["default"])
        if value is None:
            missing.append(match["name"])
            return ""
        return value

    filled = _REFERENCE.sub(replacement, text)
    for variable in missing:
        near = suggest(variable, environ)
        report.add(path, f"the environment has no {variable}", near or f"set {variable}, or use file:/path")
    if missing:
        return node
    return Node(filled, node.origin, filled, filled=True)


def unresolved(node: Node) -> bool:
    """Whether a scalar still holds a reference that `fill` could not replace (and has reported)."""
    return (
        isinstance(node.value, str)
        and not node.filled
        and ("${" in node.value or node.value.startswith(("file:/", "file:./")))
    )


def convert(node: Node, kind: type[T], report: Report, path: KeyPath = ()) -> T | None:
    """`node` as `kind`, or None after every problem in it has been reported."""
    before = len(report.problems)
    value = _walk(node, kind, report, path)
    if len(report.problems) > before or value is _REPORTED:
        return None
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, _, inner = str(error).partition(" - at `$")
        report.add(path, _sentence(what) + (f" (at {inner.rstrip('`').lstrip('.')})" if inner else ""))
        return None


def spell(path: KeyPath) -> str:
    """The path as people write it: ``connections.shop-a.route[0].target``."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def suggest(word: str, known: Iterable[str]) -> str:
    """``did you mean `mode`?`` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else ""


def choices(kind: Any) -> list[str]:
    """The closed set of values a type takes (Literal, enum), empty for an open one."""
    kind = _bare(kind)
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return [str(member.value) for member in kind]
    return []


def table(kind: type[msgspec.Struct]) -> str:
    """A Markdown table of a struct's keys: type, default and description (`msgspec.Meta`)."""
    rows = ["| Key | Type | Default | |", "|---|---|---|---|"]
    for field in msgspec.structs.fields(kind):
        default = "required" if field.required else _default_text(field)
        rows.append(f"| `{field.encode_name}` | {_type_text(field.type)} | {default} | {description(field.type)} |")
    return "\n".join(rows) + "\n"


def description(kind: Any) -> str:
    """The description in a type's `msgspec.Meta`, if it has one, also where it is one of several types."""
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else ()
    metas = [meta for one in (kind, *members) for meta in _metas(one)]
    return next((meta.description for meta in metas if meta.description), "")


def struct_of(kind: Any) -> type[msgspec.Struct] | None:
    """The struct inside an annotation: itself, optional, or the value of a mapping or list; None otherwise."""
    kind = _bare(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    found = [struct for struct in map(struct_of, get_args(kind)) if struct is not None]
    return found[0] if found else None


# --- reading ----------------------------------------------------------------------------------------------------

_MAX_DEPTH = 32
_REFERENCE = re.compile(r"(?P<escaped>\$\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")
_SECRET = re.compile(r"pass|secret|token|key|url", re.IGNORECASE)
_REPORTED: Any = object()


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's interface


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(0|[1-9][0-9]*)?(\.[0-9]+)?([eE][-+]?[0-9]+)?", "-+0123456789."),
    ("merge", r"<<", "<"),
):
    # An empty scalar is looked up under the empty string.
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), ["" if c == "\0" else c for c in _first]
    )


def _node(source: yaml.Node, name: str, line: int, loader: _Loader, problems: list[Problem], path: KeyPath) -> Node:
    origin = f"{name}:{line + 1}"
    if len(path) > _MAX_DEPTH:
        problems.append(
            Problem(origin, f"is nested deeper than {_MAX_DEPTH} levels", "an anchor that contains itself?")
        )
        return Node(None, origin)
    if isinstance(source, yaml.MappingNode):
        _report_twice(source, name, problems, path)
        loader.flatten_mapping(source)
        inner: dict[str, Node] = {}
        for key, value in source.value:
            if isinstance(key, yaml.ScalarNode):
                text = key.value
                inner[text] = _node(value, name, key.start_mark.line, loader, problems, (*path, text))
        return Node(inner, origin)
    if isinstance(source, yaml.SequenceNode):
        items = enumerate(source.value)
        return Node(
            [_node(item, name, item.start_mark.line, loader, problems, (*path, i)) for i, item in items], origin
        )
    text = str(source.value)
    kind = source.tag.removeprefix("tag:yaml.org,2002:")
    if kind == "null":
        return Node(None, origin, text)
    if kind == "bool":
        return Node(text.lower() == "true", origin, text)
    if kind == "int":
        return Node(int(text), origin, text)
    if kind == "float":
        return Node(float(text), origin, text)
    return Node(text, origin, text)


def _report_twice(source: yaml.MappingNode, name: str, problems: list[Problem], path: KeyPath) -> None:
    seen: dict[str, int] = {}
    for key, _ in source.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            problems.append(Problem(f"{name}:{line} {spell(path)}".strip(), "has a key that is not a plain word"))
        elif key.tag == "tag:yaml.org,2002:merge":
            continue
        elif key.value in seen:
            where = f"{name}:{line} {spell((*path, key.value))}"
            problems.append(Problem(where, f"is given twice, first on line {seen[key.value]}", "keep one of them"))
        else:
            seen[key.value] = line


# --- checking ---------------------------------------------------------------------------------------------------


def _walk(node: Node, kind: Any, report: Report, path: KeyPath) -> Any:
    """The node as builtins that msgspec converts to `kind`; `_REPORTED` where that cannot be."""
    bare = _bare(kind)
    if bare is Any or bare is object:
        return builtins(node)
    members = _members(bare)
    if members:
        if node.value is None and type(None) in members:
            return None
        rest = [member for member in members if member is not type(None)]
        fitting = [member for member in rest if _takes(member, node)]
        if len(rest) == 1 or (len(fitting) == 1 and not _is_scalar(node)):
            # A constraint on the whole union goes along with its only member.
            metas = _metas(kind)
            member = rest[0] if len(rest) == 1 else fitting[0]
            return _walk(node, Annotated[(member, *metas)] if metas else member, report, path)
        return _leaf(node, kind, report, path) if _is_scalar(node) else builtins(node)
    if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
        return _walk_struct(node, bare, report, path)
    origin, arguments = get_origin(bare) or bare, get_args(bare)
    if origin in (dict, Mapping) or _is_mapping(origin):
        if not isinstance(node.value, dict):
            return _mismatch(node, "a mapping (key: value)", report, path)
        key_kind, value_kind = arguments or (str, Any)
        return _walk_mapping(node, key_kind, value_kind, report, path)
    if origin in (list, tuple, set, frozenset) or _is_sequence(origin):
        if not isinstance(node.value, list):
            return _mismatch(node, "a list ([a, b] or lines with -)", report, path)
        kinds = _item_kinds(origin, arguments, len(node.value))
        items = [_walk(item, k, report, (*path, i)) for i, (item, k) in enumerate(zip(node.value, kinds, strict=False))]
        return _REPORTED if any(item is _REPORTED for item in items) else items
    return _leaf(node, kind, report, path)


def _walk_struct(node: Node, kind: type[msgspec.Struct], report: Report, path: KeyPath) -> Any:
    # A section whose lines are all commented out reads as null.
    inner = {} if node.value is None else node.value
    if not isinstance(inner, dict):
        return _mismatch(node, "a mapping (key: value)", report, path)
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    result: dict[str, Any] = {}
    complete = True
    for key, child in inner.items():
        if key in fields:
            result[key] = _walk(child, fields[key].type, report, (*path, key))
            complete = complete and result[key] is not _REPORTED
        else:
            proposal = suggest(key, fields) or "known here: " + ", ".join(fields)
            report.add((*path, key), "is not a known key", proposal)
            complete = False
    for name, field in fields.items():
        if field.required and name not in inner:
            near = difflib.get_close_matches(name, [key for key in inner if key not in fields], n=1, cutoff=0.6)
            if not near:  # the misspelt key is reported already
                report.add((*path, name), "is missing", description(field.type) or f"add `{name}: …`")
            complete = False
    return result if complete else _REPORTED


def _walk_mapping(node: Node, key_kind: Any, value_kind: Any, report: Report, path: KeyPath) -> Any:
    result: dict[str, Any] = {}
    complete = True
    for key, child in node.value.items():
        place = (*path, key)
        checked = _leaf(Node(key, child.origin, key), key_kind, report, place, what="the name ")
        result[key] = _walk(child, value_kind, report, place)
        complete = complete and checked is not _REPORTED and result[key] is not _REPORTED
    return result if complete else _REPORTED


def _leaf(node: Node, kind: Any, report: Report, path: KeyPath, *, what: str = "") -> Any:
    if unresolved(node):
        return _REPORTED
    if not _is_scalar(node):
        return _mismatch(node, _type_text(kind), report, path)
    try:
        value = _convert_leaf(node, kind)
    except msgspec.ValidationError as error:
        known = choices(kind)
        proposal = suggest(node.text, known) or ("one of: " + ", ".join(known) if known else description(kind))
        report.add(path, what + _judgement(str(error)) + _shown(node, path), proposal)
        return _REPORTED
    if isinstance(value, float) and not math.isfinite(value):
        report.add(path, "is not a finite number")
        return _REPORTED
    return value


def _convert_leaf(node: Node, kind: Any) -> Any:
    """A builtin that msgspec takes for `kind` (the converted value goes through msgspec once more in the end)."""
    value = node.value
    if node.filled:
        converted = msgspec.convert(value, kind, strict=False)
        return converted if isinstance(converted, (int, float)) else value
    try:
        converted = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        if value is None or isinstance(value, (str, bool)) or "`str`" not in str(error):
            raise
        # `app_key: 21363512` is meant as a string: the text as written counts, leading zeros included.
        msgspec.convert(node.text, kind)
        return node.text
    return converted if isinstance(converted, float) and not isinstance(value, str) else value


def _mismatch(node: Node, expected: str, report: Report, path: KeyPath) -> Any:
    if not unresolved(node):
        got = "a mapping" if isinstance(node.value, dict) else "a list" if isinstance(node.value, list) else "one value"
        report.add(path, f"expected {expected}, got {'nothing' if node.value is None else got}")
    return _REPORTED


def builtins(node: Node) -> Any:
    """The node as dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: builtins(inner) for key, inner in node.value.items()}
    if isinstance(node.value, list):
        return [builtins(inner) for inner in node.value]
    return node.value


def _judgement(message: str) -> str:
    # A pattern helps nobody, the description says what is meant; and a wrong enum value is quoted by `_shown`.
    if "matching regex" in message:
        return "has the wrong form"
    return "is not a known value" if message.startswith("Invalid enum value") else _sentence(message)


def _sentence(message: str) -> str:
    """msgspec's message as the middle of a sentence."""
    return message[:1].lower() + message[1:].replace("`", "")


def _shown(node: Node, path: KeyPath) -> str:
    """The value for the message, unless it may be a secret."""
    if node.filled or any(isinstance(key, str) and _SECRET.search(key) for key in path[-2:]):
        return ""
    if isinstance(node.value, (dict, list)) or node.value is None or repr(node.text) in ("''", '""'):
        return ""
    return f", got {node.text[:40]!r}"


def _is_scalar(node: Node) -> bool:
    return not isinstance(node.value, (dict, list))


def _takes(kind: Any, node: Node) -> bool:
    """Whether a union's member is of the node's shape."""
    bare = _bare(kind)
    origin = get_origin(bare) or bare
    is_struct = isinstance(bare, type) and issubclass(bare, msgspec.Struct)
    if isinstance(node.value, dict):
        return is_struct or _is_mapping(origin)
    return isinstance(node.value, list) and _is_sequence(origin)


def _is_mapping(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _is_sequence(origin: Any) -> bool:
    return (
        isinstance(origin, type)
        and issubclass(origin, (Sequence, set, frozenset))
        and not issubclass(origin, (str, bytes, bytearray))
    )


def _item_kinds(origin: Any, arguments: tuple[Any, ...], count: int) -> Sequence[Any]:
    if origin is tuple and arguments and arguments[-1] is not ...:
        # Its length is for msgspec to judge.
        return [*arguments, *([Any] * max(0, count - len(arguments)))]
    return [arguments[0] if arguments else Any] * count


# --- describing -------------------------------------------------------------------------------------------------


def _metas(kind: Any) -> tuple[msgspec.Meta, ...]:
    if get_origin(kind) is Annotated:
        return tuple(meta for meta in kind.__metadata__ if isinstance(meta, msgspec.Meta))
    return ()


def _bare(kind: Any) -> Any:
    """The type without `Annotated` and without `NewType`."""
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif hasattr(kind, "__supertype__"):
            kind = kind.__supertype__
        else:
            return kind


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else ()


_WORDS: dict[Any, str] = {str: "text", int: "integer", float: "number", bool: "true / false", Any: "any"}
_BOUNDS: tuple[tuple[str, str], ...] = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))


def _type_text(kind: Any) -> str:
    bare = _bare(kind)
    named = choices(bare)
    members = [member for member in _members(bare) if member is not type(None)]
    arguments = get_args(bare)
    if named:
        text = " / ".join(f"`{name}`" for name in named)
    elif members:
        text = " or ".join(_type_text(member) for member in members)
    elif isinstance(bare, type) and issubclass(bare, msgspec.Struct):
        text = "section"
    elif _is_mapping(get_origin(bare) or bare):
        text = f"mapping of {_type_text(arguments[1])}" if arguments else "mapping"
    elif _is_sequence(get_origin(bare) or bare):
        text = f"list of {_type_text(arguments[0])}" if arguments else "list"
    elif getattr(bare, "__name__", "") == "datetime":
        text = "instant with zone"
    else:
        text = _WORDS.get(bare, getattr(bare, "__name__", str(bare)))
    for meta in _metas(kind):
        text += "".join(f" {sign} {getattr(meta, name)}" for name, sign in _BOUNDS if getattr(meta, name) is not None)
    return text


def _item_text(item: Any) -> str:
    """One item of a list as YAML has it, fit for a cell of a table."""
    if isinstance(item, msgspec.Struct):
        set_ = {key: value for key, value in msgspec.structs.asdict(item).items() if value is not None}
        return msgspec.json.encode(set_).decode().replace("|", "\\|")
    return str(item)


def _default_text(field: msgspec.structs.FieldInfo) -> str:
    factory: Callable[[], Any] | Any = field.default_factory
    value = field.default if factory is msgspec.NODEFAULT else factory()
    if value is None or value == {} or value == () or value == "":
        return "–"
    if isinstance(value, msgspec.Struct):
        return "see below"
    if isinstance(value, (tuple, list)):
        return "`[" + ", ".join(map(_item_text, value)) + "]`"
    if isinstance(value, enum.Enum):
        value = value.value
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
