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

from gateway.core.errors import BadSetting, Problem
from gateway.core.shape import verdict_in_chinese
from gateway.core.text import NOTHING, Text, description_of, system_reason

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
        self.wrong: set[KeyPath] = set()
        """Where the problems are."""
        self.unread: set[KeyPath] = set()
        """What the document may set under a misspelt key, or has been left out with something wrong."""

    def add(self, path: KeyPath, what: Text, proposal: Text = NOTHING) -> None:
        """Report `what` at `path`; a path that is not in the document stands where its nearest parent does."""
        self.problems.append(Problem(f"{self._origin(path)} {spell(path)}".strip(), what, proposal))
        self.wrong.add(path)

    def in_doubt(self, path: KeyPath) -> bool:
        """Whether it is not known what the document says at `path`, or somewhere in it, because that is wrong."""
        return any(other[: len(path)] == path[: len(other)] for other in (*self.wrong, *self.unread))

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
        return Node({}, name), [_not_yaml(error, text, name)]
    except RecursionError:
        return Node({}, name), [Problem(name, _TOO_DEEP, _BRACKETS)]
    except yaml.YAMLError as error:
        said = str(error).splitlines()[0]
        what = Text(f"不是 YAML：有不允许的字符（{said}）", f"is not YAML: {said}")
        where = name
        if isinstance(error, yaml.reader.ReaderError):
            where = f"{name}:{len(text[: error.position + 1].split(_LINE_END))}"
        instead = Text(
            "删掉这个看不见的字符，或把文件存为 UTF-8", "remove that invisible character, or save the file as UTF-8"
        )
        return Node({}, name), [Problem(where, what, instead)]
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
            reason = system_reason(error) if isinstance(error, OSError) else Text("不是 UTF-8 文本", "not UTF-8 text")
            what = Text(f"{text} 无法读取：{reason.zh}", f"{text} cannot be read: {reason.en}")
            report.add(path, what, Text("检查路径和读取权限", "check the path and who may read it"))
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
        what = Text(f"没有环境变量 {variable}", f"the environment has no {variable}")
        instead = Text(f"设置 {variable}，或改用 file:/路径", f"set {variable}, or use file:/path")
        report.add(path, what, suggest(variable, environ) or instead)
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
        said, _, inner = str(error).partition(" - at `$")
        # What a Settings struct says of itself comes wrapped; without words of its own it is quoted.
        what = error.__cause__.text if isinstance(error.__cause__, BadSetting) else _sentence(said)
        place = inner.rstrip("`").lstrip(".")
        if isinstance(error.__cause__, BadSetting):
            path = (*path, *error.__cause__.place)
        report.add(path, Text(f"{what.zh}（在 {place}）", f"{what.en} (at {place})") if inner else what)
        return None


def salvage(node: Node, kind: type[T], report: Report, path: KeyPath, *, needed: Sequence[str] = ()) -> T | None:
    """Like `convert`; but where something in `node` is wrong, what it is without that.

    What was left out is `Report.in_doubt`. A wrong item takes its whole list along, a missing key its section; of
    `needed`, required texts of the struct `kind`, one that is missing or wrong is empty. None where nothing is left.
    """
    value = convert(node, kind, report, path)
    wrong = {other[len(path) :] for other in report.wrong if other[: len(path)] == path}
    while value is None and wrong:
        rest = _without(node, wrong)
        if rest is None:
            return None
        missing = [key for key in needed if key not in rest.value]
        node = msgspec.structs.replace(rest, value={**rest.value, **{key: Node("", rest.origin) for key in missing}})
        again = Report(node)
        value = convert(node, kind, again)
        wrong = again.wrong
        report.unread |= {(*path, *other) for other in (*wrong, *((key,) for key in missing))}
    return value


def spell(path: KeyPath) -> str:
    """The path as people write it: ``connections.shop-a.route[0].target``."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def suggest(word: str, known: Iterable[str]) -> Text:
    """``did you mean `mode`?`` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return Text(f"是不是想写 `{near[0]}`？", f"did you mean `{near[0]}`?") if near else NOTHING


def listed(zh: str, en: str, names: Iterable[str], *, none: Text | None = None) -> Text:
    """``known here: a, b`` in both languages; `none` where there are no names."""
    found, empty = list(names), none or Text("无", "none")
    return Text(f"{zh}：{'、'.join(found) or empty.zh}", f"{en}: {', '.join(found) or empty.en}")


def choices(kind: Any) -> list[str]:
    """The closed set of values a type takes (Literal, enum), empty for an open one."""
    kind = _bare(kind)
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return [str(member.value) for member in kind]
    return []


def table(kind: type[msgspec.Struct], language: str) -> str:
    """A Markdown table of a struct's keys: type, default and description (`msgspec.Meta`)."""
    rows = [Text("| 键 | 类型 | 默认 | |", "| Key | Type | Default | |").of(language), "|---|---|---|---|"]
    for field in msgspec.structs.fields(kind):
        default = Text("必填", "required") if field.required else _default_text(field)
        cells = (_type_text(field.type), default, description(field.type))
        rows.append(f"| `{field.encode_name}` | {' | '.join(cell.of(language) for cell in cells)} |")
    return "\n".join(rows) + "\n"


def description(kind: Any) -> Text:
    """The description in a type's `msgspec.Meta`, if it has one, also where it is one of several types."""
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else ()
    metas = [meta for one in (kind, *members) for meta in _metas(one)]
    return next((description_of(meta) for meta in metas if meta.description), NOTHING)


def struct_of(kind: Any) -> type[msgspec.Struct] | None:
    """The struct inside an annotation: itself, optional, or the value of a mapping or list; None otherwise."""
    kind = _bare(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    found = [struct for struct in map(struct_of, get_args(kind)) if struct is not None]
    return found[0] if found else None


# --- reading ----------------------------------------------------------------------------------------------------

_MAX_DEPTH = 32
_MAX_NODES = 100_000
"""Keys and values, those of an anchor counted wherever it is used: ten lines of anchors can make billions."""
_REFERENCE = re.compile(r"(?P<escaped>\$\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")
_SECRET = re.compile(r"pass|secret|token|key|url", re.IGNORECASE)
_REPORTED: Any = object()

MISSING = Text("缺少", "is missing")
UNKNOWN_KEY = Text("没有这个键", "is not a known key")
_MAPPING = Text("键值映射（键: 值）", "a mapping (key: value)")
_LIST = Text("列表（[a, b]，或每行以 - 开头）", "a list ([a, b] or lines with -)")

_TOO_DEEP = Text(f"嵌套超过 {_MAX_DEPTH} 层", f"is nested deeper than {_MAX_DEPTH} levels")
_TOO_MUCH = Text(f"超过 {_MAX_NODES} 个键和值", f"has more than {_MAX_NODES} keys and values")
_BRACKETS = Text("检查括号是否都闭合", "see whether every bracket is closed")

_LINE_END = "\n"

_SYNTAX: Mapping[str, str] = {
    "mapping values are not allowed": "此处不能再有“键: 值”",
    "could not find expected ':'": "缺少冒号",
    "found character '\\t'": "用了制表符，请改用空格",
    "expected <block end>": "缩进与上文不一致",
    "expected ',' or": "缺少逗号，或括号没有闭合",
    "but found another document": "一个文件里只能有一份配置，删掉 `---` 这一行",
}
"""Beginnings of what PyYAML says most often."""

_WIDE = {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_WIDE |= dict.fromkeys("“”", '"') | dict.fromkeys("‘’", "'") | {"【": "[", "】": "]"}
_WIDE |= dict.fromkeys("\u3000\u00a0", "空格")
"""What a Chinese input method types → what YAML and the settings understand. To the eye they are nearly the same."""
_WIDE_QUOTED = re.compile("[“”‘’＂＇][^“”‘’＂＇]*[“”‘’＂＇]")
_SYNTACTIC = frozenset(wide for wide, plain in _WIDE.items() if plain in (*":,\"'[]{}#-", "空格"))
"""Those whose half-width form YAML reads as more than text; （ and ！ only stand in names."""
_HALF_WIDTH = Text(
    "改成半角的；若本来就属于值，给整个值加上半角引号",
    "type it half-width; where it belongs there, quote the whole value",
)

_KINDS: Mapping[str, str] = {
    "int": "整数",
    "float": "数",
    "str": "文本",
    "bool": "真假值（true 或 false）",
    "null": "空",
    "array": "列表",
    "object": "键值映射",
    "datetime": "时刻",
    "bytes": "base64 文本",
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's interface
    nodes = 0
    """Read so far."""


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]{0,99})", "-+0123456789"),
    ("float", r"[-+]?(0|[1-9][0-9]*)?(\.[0-9]+)?([eE][-+]?[0-9]+)?", "-+0123456789."),
    ("merge", r"<<", "<"),
):
    # An integer of more than a hundred digits is no setting's; int() raises at 4,300.
    # An empty scalar is looked up under the empty string.
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), ["" if c == "\0" else c for c in _first]
    )


def _not_yaml(error: yaml.MarkedYAMLError, text: str, name: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 0
    opened, closed = _open_quote(text, line)
    if opened:
        what = Text("不是 YAML：这里开始的引号没有闭合", "is not YAML: the quote that begins here is not closed")
        if closed:
            what = Text(
                f"不是 YAML：这里开始的引号到第 {closed} 行才结束",
                f"is not YAML: the quote that begins here ends on line {closed} only",
            )
        return Problem(f"{name}:{opened}", what, Text("补上这一行末尾的引号", "close the quote on this line"))
    said = error.problem or error.context or ""
    zh = next((f"{words}（{said}）" for start, words in _SYNTAX.items() if said.startswith(start)), said)
    what = Text(f"不是 YAML：{zh}", f"is not YAML: {said}")
    proposal = Text("检查这一行和上一行的缩进、冒号和引号", "see the indentation, the colons and the quotes")
    if "flow" in (error.context or "") and error.context_mark is not None:
        began = error.context_mark.line + 1
        proposal = Text(
            f"检查从第 {began} 行开始的括号：少了逗号，或没有闭合",
            f"see the bracket that begins on line {began}: it lacks a comma or its end",
        )
    return Problem(f"{name}:{line}" if line else name, what, _wide_before(text, line) or proposal)


def _wide_before(text: str, line: int) -> Text | None:
    """That a full-width character on `line`, or above it, is what YAML stumbled over: it names the line after.

    Above it, what follows a key that YAML has read is only a value.
    """
    lines = text.split(_LINE_END)
    for number in (line - 1, line):
        said = lines[number - 1] if 0 < number <= len(lines) else ""
        said = re.sub(r"""(^|\s)#.*|"[^"]*"|'[^']*'""", "", said)
        if number < line:
            said = re.sub(": .*", "", said)
        wide = _wide("".join(character for character in said if character in _SYNTACTIC))
        if wide is not None:
            return Text(f"第 {number} 行{wide.zh}", f"line {number} {wide.en}")
    return None


def _wide(text: str) -> Text | None:
    """``有全角的“：”，改成半角的 :``, of the first such character in it."""
    found = next((character for character in text if character in _WIDE), None)
    if found is None:
        return None
    plain = _WIDE[found]
    if found.isspace():
        return Text("有全角或不间断的空格，改成普通空格", "has a full-width or no-break space: make it a plain one")
    return Text(f"有全角的 {found} ，改成半角的 {plain}", f"has a full-width {found} : make it {plain}")


def _typed_wide(text: str) -> Text | None:
    """What YAML takes for a part of a plain value, and nobody means to be one."""
    if _WIDE_QUOTED.fullmatch(text):
        return Text("全角引号成了值的一部分", "has full-width quotes, which are a part of the value")
    if re.search(r"\s＃", text):
        return Text("全角的 ＃ 不是注释，成了值的一部分", "has a full-width ＃, which begins no comment")
    return None


def _open_quote(text: str, line: int) -> tuple[int, int]:
    """Where a quote begins that ends only on `line` (or nowhere: 0), and with that what follows makes no sense."""
    try:
        for token in yaml.scan(text, Loader=_Loader):
            if isinstance(token, yaml.ScalarToken) and token.style in ("'", '"'):
                began, ended = token.start_mark.line + 1, token.end_mark.line + 1
                if began < ended == line:
                    return began, ended
    except yaml.MarkedYAMLError as error:
        if (error.context or "").startswith("while scanning a quoted scalar") and error.context_mark is not None:
            return error.context_mark.line + 1, 0
    return 0, 0


def _node(source: yaml.Node, name: str, line: int, loader: _Loader, problems: list[Problem], path: KeyPath) -> Node:
    origin = f"{name}:{line + 1}"
    if len(path) > _MAX_DEPTH:
        problems.append(Problem(origin, _TOO_DEEP, Text("锚点引用了自己？", "an anchor that contains itself?")))
        return Node(None, origin)
    loader.nodes += 1
    if loader.nodes > _MAX_NODES:
        if loader.nodes == _MAX_NODES + 1:
            problems.append(Problem(origin, _TOO_MUCH, Text("锚点引用了锚点？", "anchors that contain anchors?")))
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
        if source.flow_style:
            _report_unparted(source, name, problems, path)
        items = enumerate(source.value)
        return Node(
            [_node(item, name, item.start_mark.line, loader, problems, (*path, i)) for i, item in items], origin
        )
    text = str(source.value)
    kind = source.tag.removeprefix("tag:yaml.org,2002:")
    if isinstance(source, yaml.ScalarNode) and source.style is None and (wide := _typed_wide(text)) is not None:
        problems.append(Problem(f"{origin} {spell(path)}".strip(), wide, _HALF_WIDTH))
    if kind == "null":
        return Node(None, origin, text)
    if kind == "bool":
        return Node(text.lower() == "true", origin, text)
    if kind == "int":
        return Node(int(text), origin, text)
    if kind == "float":
        return Node(float(text), origin, text)
    return Node(text, origin, text)


def _report_unparted(source: yaml.SequenceNode, name: str, problems: list[Problem], path: KeyPath) -> None:
    """Items of ``[a，b]``. One that stands on a line of its own may have such a comma: nothing else is meant there."""
    for index, item in enumerate(source.value):
        if isinstance(item, yaml.ScalarNode) and item.style is None and "，" in item.value:
            what = Text("全角逗号分不开两项，成了值的一部分", "has a full-width comma, which parts no items")
            where = f"{name}:{item.start_mark.line + 1} {spell((*path, index))}"
            problems.append(Problem(where, what, _HALF_WIDTH))


def _report_twice(source: yaml.MappingNode, name: str, problems: list[Problem], path: KeyPath) -> None:
    seen: dict[str, int] = {}
    for key, _ in source.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            what = Text("有一个键不是普通文本", "has a key that is not a plain word")
            problems.append(Problem(f"{name}:{line} {spell(path)}".strip(), what))
        elif key.tag == "tag:yaml.org,2002:merge":
            continue
        elif key.value in seen:
            where = f"{name}:{line} {spell((*path, key.value))}"
            first = seen[key.value]
            what = Text(f"写了两次，第一次在第 {first} 行", f"is given twice, first on line {first}")
            problems.append(Problem(where, what, Text("只留一个", "keep one of them")))
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
            return _mismatch(node, _MAPPING, report, path)
        key_kind, value_kind = arguments or (str, Any)
        return _walk_mapping(node, key_kind, value_kind, report, path)
    if origin in (list, tuple, set, frozenset) or _is_sequence(origin):
        if not isinstance(node.value, list):
            return _mismatch(node, _LIST, report, path)
        kinds = _item_kinds(origin, arguments, len(node.value))
        items = [_walk(item, k, report, (*path, i)) for i, (item, k) in enumerate(zip(node.value, kinds, strict=False))]
        return _REPORTED if any(item is _REPORTED for item in items) else items
    return _leaf(node, kind, report, path)


def _walk_struct(node: Node, kind: type[msgspec.Struct], report: Report, path: KeyPath) -> Any:
    # A section whose lines are all commented out reads as null.
    inner = {} if node.value is None else node.value
    if not isinstance(inner, dict):
        return _mismatch(node, _MAPPING, report, path)
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    result: dict[str, Any] = {}
    complete = True
    for key, child in inner.items():
        if key in fields:
            result[key] = _walk(child, fields[key].type, report, (*path, key))
            complete = complete and result[key] is not _REPORTED
        else:
            report.add((*path, key), UNKNOWN_KEY, suggest(key, fields) or listed("这里可用", "known here", fields))
            report.unread |= {(*path, name) for name in _meant(key, fields.keys() - inner.keys())}
            complete = False
    for name, field in fields.items():
        if field.required and name not in inner:
            near = difflib.get_close_matches(name, [key for key in inner if key not in fields], n=1, cutoff=0.6)
            if not near:  # the misspelt key is reported already
                add = Text(f"添加 `{name}: …`", f"add `{name}: …`")
                report.add((*path, name), MISSING, description(field.type) or add)
            complete = False
    return result if complete else _REPORTED


def _meant(key: str, unset: Iterable[str]) -> list[str]:
    """Which of the keys that are not set an unknown one may stand for: the nearest, or any where none is near."""
    names = list(unset)
    return difflib.get_close_matches(key, names, n=1, cutoff=0.6) or names


def _without(node: Node, paths: Iterable[KeyPath]) -> Node | None:
    """`node` without what stands at `paths`; None where that is `node` itself."""
    places = {_place(node, path) for path in paths}
    if () in places:
        return None
    for place in sorted(places, key=len, reverse=True):
        node = _cut(node, place)
    return node


def _place(node: Node, path: KeyPath) -> KeyPath:
    """As far along `path` as mappings go and have its keys."""
    for depth, key in enumerate(path):
        if not isinstance(node.value, dict) or key not in node.value:
            return path[:depth]
        node = node.value[key]
    return path


def _cut(node: Node, place: KeyPath) -> Node:
    key, inner = place[0], dict(node.value)
    if len(place) == 1:
        del inner[key]
    else:
        inner[key] = _cut(inner[key], place[1:])
    return msgspec.structs.replace(node, value=inner)


def _walk_mapping(node: Node, key_kind: Any, value_kind: Any, report: Report, path: KeyPath) -> Any:
    result: dict[str, Any] = {}
    complete = True
    for key, child in node.value.items():
        place = (*path, key)
        checked = _leaf(Node(key, child.origin, key), key_kind, report, place, of_name=True)
        result[key] = _walk(child, value_kind, report, place)
        complete = complete and checked is not _REPORTED and result[key] is not _REPORTED
    return result if complete else _REPORTED


def _leaf(node: Node, kind: Any, report: Report, path: KeyPath, *, of_name: bool = False) -> Any:
    if unresolved(node):
        return _REPORTED
    if not _is_scalar(node):
        return _mismatch(node, _type_text(kind), report, path)
    try:
        value = _convert_leaf(node, kind)
    except msgspec.ValidationError as error:
        known = choices(kind)
        proposal = suggest(node.text, known) or (listed("可选", "one of", known) if known else description(kind))
        judged, shown = _judgement(str(error)), _shown(node, path)
        wide = _wide(node.text) if isinstance(node.value, str) and not node.filled else None
        if wide is not None:
            shown = Text(f"{shown.zh}，{wide.zh}", f"{shown.en}; {wide.en}")
        zh, en = ("名称", "the name ") if of_name else ("", "")
        report.add(path, Text(zh + judged.zh + shown.zh, en + judged.en + shown.en), proposal)
        return _REPORTED
    if isinstance(value, float) and not math.isfinite(value):
        report.add(path, Text("不是有限的数", "is not a finite number"))
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


def _mismatch(node: Node, expected: Text, report: Report, path: KeyPath) -> Any:
    if not unresolved(node):
        got = Text("单个值", "one value")
        if node.value is None:
            got = Text("空", "nothing")
        elif isinstance(node.value, dict):
            got = Text("键值映射", "a mapping")
        elif isinstance(node.value, list):
            got = Text("列表", "a list")
        report.add(path, Text(f"应为{expected.zh}，现为{got.zh}", f"expected {expected.en}, got {got.en}"))
    return _REPORTED


def builtins(node: Node) -> Any:
    """The node as dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: builtins(inner) for key, inner in node.value.items()}
    if isinstance(node.value, list):
        return [builtins(inner) for inner in node.value]
    return node.value


def _judgement(message: str) -> Text:
    # A pattern helps nobody, the description says what is meant; and a wrong enum value is quoted by `_shown`.
    if "matching regex" in message:
        return Text("格式不对", "has the wrong form")
    if message.startswith("Invalid enum value"):
        return Text("不是可用的值", "is not a known value")
    return _sentence(message)


def _sentence(message: str) -> Text:
    """msgspec's message as the middle of a sentence."""
    en = message[:1].lower() + message[1:].replace("`", "")
    zh = verdict_in_chinese(message, kinds=_KINDS)
    return Text(zh or f"不可用：{en}", en)


def _shown(node: Node, path: KeyPath) -> Text:
    """The value for the message, unless it may be a secret."""
    if node.filled or any(isinstance(key, str) and _SECRET.search(key) for key in path[-2:]):
        return NOTHING
    if isinstance(node.value, (dict, list)) or node.value is None or repr(node.text) in ("''", '""'):
        return NOTHING
    return Text(f"（{node.text[:40]!r}）", f", got {node.text[:40]!r}")


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


_WORDS: Mapping[Any, Text] = {
    str: Text("文本", "text"),
    int: Text("整数", "integer"),
    float: Text("数", "number"),
    bool: Text("true / false", "true / false"),
    Any: Text("任意", "any"),
}
_BOUNDS: tuple[tuple[str, str], ...] = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))


def _type_text(kind: Any) -> Text:
    bare = _bare(kind)
    named = choices(bare)
    members = [_type_text(member) for member in _members(bare) if member is not type(None)]
    arguments = get_args(bare)
    if named:
        words = " / ".join(f"`{name}`" for name in named)
        text = Text(words, words)
    elif members:
        text = Text("或".join(one.zh for one in members), " or ".join(one.en for one in members))
    elif isinstance(bare, type) and issubclass(bare, msgspec.Struct):
        text = Text("小节", "section")
    elif _is_mapping(get_origin(bare) or bare):
        text = _type_of("键值映射", "mapping", arguments[1:])
    elif _is_sequence(get_origin(bare) or bare):
        text = _type_of("列表", "list", arguments[:1])
    elif getattr(bare, "__name__", "") == "datetime":
        text = Text("带时区的时刻", "instant with zone")
    else:
        name = getattr(bare, "__name__", str(bare))
        text = _WORDS.get(bare, Text(name, name))
    bounds = "".join(
        f" {sign} {getattr(meta, name)}"
        for meta in _metas(kind)
        for name, sign in _BOUNDS
        if getattr(meta, name) is not None
    )
    return Text(text.zh + bounds, text.en + bounds)


def _type_of(zh: str, en: str, inner: Sequence[Any]) -> Text:
    if not inner:
        return Text(zh, en)
    of = _type_text(inner[0])
    return Text(f"{zh}（{of.zh}）", f"{en} of {of.en}")


def _item_text(item: Any) -> str:
    """One item of a list as YAML has it, fit for a cell of a table."""
    if isinstance(item, msgspec.Struct):
        set_ = {key: value for key, value in msgspec.structs.asdict(item).items() if value is not None}
        return msgspec.json.encode(set_).decode().replace("|", "\\|")
    return str(item)


def _default_text(field: msgspec.structs.FieldInfo) -> Text:
    factory: Callable[[], Any] | Any = field.default_factory
    value = field.default if factory is msgspec.NODEFAULT else factory()
    if value is None or value == {} or value == () or value == "":
        return Text("–", "–")
    if isinstance(value, msgspec.Struct):
        return Text("见下", "see below")
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, (tuple, list)):
        shown = f"`[{', '.join(map(_item_text, value))}]`"
    else:
        shown = f"`{str(value).lower() if isinstance(value, bool) else value}`"
    return Text(shown, shown)
