"""The commands that look into a running gateway and repair orders, through its HTTP API.

They know nothing of databases and adapters, so they work from any machine that reaches the gateway. Every change takes
a reason, which is kept with who gave it.
"""

from __future__ import annotations

import csv
import getpass
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from gateway.core.errors import OrdergateError
from gateway.terminal import Language, Terminal, when

_WITHIN_S = 30.0
_STOCK_AT_ONCE = 5000

Url = Annotated[str, typer.Option("--url", envvar="ORDERGATE_URL", help="网关地址。Address of the gateway")]
Token = Annotated[
    str,
    typer.Option("--token", envvar="ORDERGATE_TOKEN", help="管理令牌。The administrator's token", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="输出 JSON。Print JSON")]
Lang = Annotated[Language, typer.Option("--lang", envvar="ORDERGATE_LANG", help="语言。Language")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="原因，会被记录。Why; it is kept")]
Limit = Annotated[int, typer.Option(min=1, max=500, help="最多行数。Most rows")]
Number = Annotated[str, typer.Argument(help="我方订单号。Our order number")]
Target = Annotated[str, typer.Argument(help="目标连接。Connection it goes to")]
Seq = Annotated[int, typer.Argument(help="第几条下发。Which delivery, from 1")]

LOCAL = "http://127.0.0.1:8080"
ZH = Language.ZH

orders = typer.Typer(no_args_is_help=True, help="查看订单。Look at orders.")
deliveries = typer.Typer(no_args_is_help=True, help="未完成的下发。Deliveries that are not done.")
dead = typer.Typer(no_args_is_help=True, help="死信：无法处理的消息。Events that could not be used.")
gates = typer.Typer(no_args_is_help=True, help="闸门和熔断。Gates and breakers.")
stock = typer.Typer(no_args_is_help=True, help="库存。Stock.")


class RemoteError(OrdergateError):
    """The gateway said no, or did not answer; the text says what to do."""


class Remote:
    """The API of one gateway."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token
        # A proxy of the environment would be asked for 127.0.0.1 too.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, *path: str | int, **query: Any) -> Any:
        return self.call("GET", path, query=query)

    def post(self, *path: str | int, body: Mapping[str, Any]) -> Any:
        return self.call("POST", path, body=body)

    def call(
        self,
        method: str,
        path: tuple[str | int, ...],
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
    ) -> Any:
        """The decoded answer. Raises RemoteError."""
        if not self._token:
            raise RemoteError(
                "没有令牌，请设置 ORDERGATE_TOKEN 或 --token / no token: set ORDERGATE_TOKEN or pass --token"
                " (`ordergate token replace` makes one)"
            )
        url = f"{self._url}/api/v1/" + "/".join(quote(str(part), safe="") for part in path)
        given = {name: value for name, value in (query or {}).items() if value not in (None, False)}
        if given:
            url += "?" + urlencode({name: int(v) if v is True else v for name, v in given.items()})
        try:
            request = urllib.request.Request(
                url,
                method=method,
                data=None if body is None else json.dumps(body).encode(),
                headers={
                    "Authorization": f"Bearer {self._token}",
                    "Content-Type": "application/json",
                    "X-Ordergate-Actor": _user(),
                },
            )
            with self._opener.open(request, timeout=_WITHIN_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise RemoteError(_refusal(error)) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise RemoteError(f"{self._url} 没有应答 / does not answer: {reason}") from error


# --- orders


@orders.command("list")
def orders_list(
    stage: Annotated[str | None, typer.Option(help="阶段，如 received。Stage")] = None,
    reason: Annotated[str | None, typer.Option(help="等待原因，如 unpaid。What it waits for")] = None,
    conflict: Annotated[str | None, typer.Option(help="冲突。Conflict")] = None,
    connection: Annotated[str | None, typer.Option(help="来源店铺。Shop")] = None,
    number: Annotated[str | None, typer.Option(help="单号前缀。Begins with")] = None,
    limit: Limit = 50,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """订单列表，最新在前。Orders, newest first."""
    answer = Remote(url, token).get(
        "orders", stage=stage, reason=reason, conflict=conflict, connection=connection, number=number, limit=limit
    )
    terminal = Terminal(language=lang, as_json=as_json)
    if as_json:
        terminal.json(answer)
        return
    terminal.table(
        [
            ("单号", "Number"),
            ("店铺", "Shop"),
            ("阶段", "Stage"),
            ("原因", "Reasons"),
            ("冲突", "Conflicts"),
            ("更新", "Updated"),
        ],
        [
            (row["number"], row["connection"], row["stage"], row["reasons"], row["conflicts"], when(row["updated_at"]))
            for row in answer["orders"]
        ],
    )
    if answer["next"]:
        terminal.line("……还有更多，用 --limit 或过滤条件", "… there are more: use --limit or a filter")


@orders.command("show")
def orders_show(
    number: Number,
    unmask: Annotated[
        bool, typer.Option("--unmask", help="显示收件人信息（会被记录）。With personal data; recorded")
    ] = False,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """一个订单及其全部经过。One order with everything that happened to it."""
    page = Remote(url, token).get("orders", number, unmask=unmask)
    terminal = Terminal(language=lang, as_json=as_json)
    if as_json:
        terminal.json(page)
        return
    order = page["order"]
    content = (order["content"] or {}).get("value")
    terminal.plain(
        f"{number}  {order['connection']}  {order['stage']}  {' '.join(order['reasons'] + order['conflicts'])}"
    )
    if content is not None:
        receiver = content["receiver"]
        terminal.plain(" ".join(receiver[key] for key in ("name", "phone", "province", "city", "district", "detail")))
        terminal.table(
            [("行", "Line"), ("SKU", "SKU"), ("名称", "Name"), ("数量", "Pieces"), ("单价", "Price")],
            [
                (line["line_no"], line["sku"], line["name"], line["quantity"], f"{line['price_minor'] / 100:.2f}")
                for line in content["lines"]
            ],
        )
    terminal.plain("")
    terminal.table(
        [("时间", "Time"), ("事项", "What"), ("内容", "Details")],
        [(when(one["at"]), one["kind"], _told(one)) for one in page["timeline"]],
    )
    if page["lanes"]:
        terminal.plain("")
        _print_lanes(terminal, page["lanes"])


@orders.command("raw")
def orders_raw(
    number: Number,
    n: Annotated[int, typer.Argument(help="第几条消息。Which event, from 1")] = 1,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """原始报文（会被记录）。An original payload; recorded."""
    answer = Remote(url, token).get("orders", number, "raw", n)
    terminal = Terminal(language=ZH, as_json=as_json)
    if as_json:
        terminal.json(answer)
    else:
        terminal.plain(answer["text"] if answer["text"] is not None else answer["base64"])


@orders.command("reconsider")
def orders_reconsider(
    number: Number, reason: Reason, url: Url = LOCAL, token: Token = "", as_json: AsJson = False, lang: Lang = ZH
) -> None:
    """重新判断订单。Decide an order again."""
    _done(Remote(url, token).post("orders", number, "reconsider", body={"reason": reason}), lang, as_json)


# --- deliveries


@deliveries.command("list")
def deliveries_list(
    state: Annotated[str, typer.Option(help="open、waiting 或 blocked（等人处理）。Or blocked: for a person")] = "open",
    target: Annotated[str | None, typer.Option(help="目标连接。Connection it goes to")] = None,
    limit: Limit = 50,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """未完成的下发，最早在前。Deliveries that are not done, oldest first."""
    answer = Remote(url, token).get("deliveries", state=state, target=target, limit=limit)
    terminal = Terminal(language=lang, as_json=as_json)
    if as_json:
        terminal.json(answer)
        return
    _print_lanes(terminal, answer["deliveries"])
    if answer["next"]:
        terminal.line("……还有更多，用 --limit 或过滤条件", "… there are more: use --limit or a filter")


@deliveries.command("resend")
def deliveries_resend(
    number: Number,
    target: Target,
    seq: Seq,
    reason: Reason,
    edit: Annotated[
        Path | None,
        typer.Option(help="要修改的内容（JSON 文件，- 为标准输入）。What to change: a JSON file, - for standard input"),
    ] = None,
    confirmed_absent: Annotated[
        bool,
        typer.Option("--confirmed-absent", help="已确认对方没有该单。You have looked: the target does not have it"),
    ] = False,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """（修改后）重新下发。Send a blocked delivery again, changed or not."""
    body: dict[str, Any] = {"reason": reason, "confirmed_absent": confirmed_absent}
    if edit is not None:
        try:
            body["edit"] = json.loads(_content(edit))
        except ValueError as error:
            raise RemoteError(f"{edit} 不是 JSON / is not JSON: {error}") from error
    _done(Remote(url, token).post("deliveries", number, target, seq, "resend", body=body), lang, as_json)


@deliveries.command("resolve")
def deliveries_resolve(
    number: Number,
    target: Target,
    seq: Seq,
    reason: Reason,
    reference: Annotated[str, typer.Option(help="对方系统的单号。The target's own id")] = "",
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """标记为已处理。Take a delivery for done: it has been handled elsewhere."""
    body = {"reason": reason, "reference": reference}
    _done(Remote(url, token).post("deliveries", number, target, seq, "resolve", body=body), lang, as_json)


# --- dead letters


@dead.command("list")
def dead_list(
    state: Annotated[str, typer.Option(help="open 或 all。Or all")] = "open",
    source: Annotated[str | None, typer.Option(help="来源连接。Connection it came from")] = None,
    code: Annotated[
        str | None, typer.Option(help="原因代码；behind 为排队等待的。Code; behind: those that wait")
    ] = None,
    limit: Limit = 50,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """死信列表，最新在前。Events set aside, newest first."""
    answer = Remote(url, token).get("dead-letters", state=state, source=source, code=code, limit=limit)
    terminal = Terminal(language=lang, as_json=as_json)
    if as_json:
        terminal.json(answer)
        return
    terminal.table(
        [
            ("编号", "Id"), ("来源", "Source"), ("单号", "Order"), ("代码", "Code"), ("原因", "Why"),
            ("建议", "Advice"),
            ("排队", "Behind"), ("时间", "Time"), ("处理", "Closed"),
        ],
        [
            (
                row["dead_letter_id"], row["source"], row["number"] or row["order_key"], row["code"], row["message"],
                row["advice"], row["behind"], when(row["created_at"]), row["resolution"],
            )
            for row in answer["dead_letters"]
        ],
    )  # fmt: skip


@dead.command("show")
def dead_show(
    dead_letter_id: Annotated[int, typer.Argument(help="编号。Id")],
    unmask: Annotated[bool, typer.Option("--unmask", help="显示报文（会被记录）。With the payload; recorded")] = False,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """死信详情。One dead letter."""
    page = Remote(url, token).get("dead-letters", dead_letter_id, unmask=unmask)
    terminal = Terminal(language=lang, as_json=as_json)
    if as_json:
        terminal.json(page)
        return
    terminal.table([("项", "Field"), ("值", "Value")], page["dead_letter"].items())
    if unmask:
        terminal.plain("")
        terminal.plain(page["text"] if page["text"] is not None else page["base64"])


@dead.command("release")
def dead_release(
    dead_letter_id: Annotated[int, typer.Argument(help="编号。Id")],
    body: Annotated[
        Path | None,
        typer.Option(help="修复后的报文（文件，- 为标准输入）。Repaired payload: a file, - for standard input"),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", "-r", help="原因。Why")] = "",
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """（修复后）重新处理。Send it through again, repaired or not, and what waits behind it."""
    import base64

    given: dict[str, Any] = {"reason": reason}
    if body is not None:
        given["body_base64"] = base64.b64encode(_content(body)).decode()
    _released(Remote(url, token).post("dead-letters", dead_letter_id, "release", body=given), lang, as_json)


@dead.command("discard")
def dead_discard(
    dead_letter_id: Annotated[int, typer.Argument(help="编号。Id")],
    reason: Reason,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """放弃死信，排在后面的继续。Close it unused; what waits behind it goes on."""
    _released(
        Remote(url, token).post("dead-letters", dead_letter_id, "discard", body={"reason": reason}), lang, as_json
    )


# --- gates and connections


@gates.command("list")
def gates_list(url: Url = LOCAL, token: Token = "", as_json: AsJson = False, lang: Lang = ZH) -> None:
    """闸门状态。How the gates stand."""
    answer = Remote(url, token).get("gates")
    terminal = Terminal(language=lang, as_json=as_json)
    if as_json:
        terminal.json(answer)
        return
    terminal.table(
        [
            ("目标", "Target"), ("操作", "Operation"), ("状态", "State"), ("暂停", "Paused"), ("未完成", "Open"),
            ("等待", "Parked"), ("待人工", "Blocked"), ("内存", "Held"), ("在途", "In flight"), ("失败率", "Failed"),
            ("手动", "By hand"),
        ],
        [
            (
                gate["target"], gate["operation"], worker["breaker"]["state"] if worker else "",
                gate["paused"], gate["open"], gate["parked"], gate["blocked"],
                worker["held"] if worker else "", worker["in_flight"] if worker else "",
                f"{worker['breaker']['failure_share']:.0%}" if worker else "",
                f"{forced['reason']} ({when(forced['until_at'])})" if (forced := gate["forced"]) else "",
            )
            for gate in answer["gates"]
            for worker in [gate["worker"]]
        ],
    )  # fmt: skip
    terminal.line(
        f"熔断状态来自应答的进程；共 {answer['workers']} 个进程",
        f"breakers are those of the worker that answered, one of {answer['workers']}",
    )


Operation = Annotated[str, typer.Argument(help="create、cancel 或 ship")]
For = Annotated[float, typer.Option("--for", min=1, max=604800, help="持续秒数。For so many seconds")]


@gates.command("open")
def gates_open(
    target: Target,
    operation: Operation,
    reason: Reason,
    for_s: For = 3600,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """手动断开：不再下发。Hold a breaker open: nothing is sent."""
    body = {"force": "open", "reason": reason, "for_s": for_s}
    _done(Remote(url, token).post("gates", target, operation, "breaker", body=body), lang, as_json)


@gates.command("close")
def gates_close(
    target: Target,
    operation: Operation,
    reason: Reason,
    for_s: For = 3600,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """手动闭合：不论失败都下发。Hold a breaker closed: everything is sent."""
    body = {"force": "closed", "reason": reason, "for_s": for_s}
    _done(Remote(url, token).post("gates", target, operation, "breaker", body=body), lang, as_json)


@gates.command("auto")
def gates_auto(
    target: Target,
    operation: Operation,
    reason: Reason,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """恢复自动。Let the breaker judge by itself again."""
    body = {"force": "auto", "reason": reason}
    _done(Remote(url, token).post("gates", target, operation, "breaker", body=body), lang, as_json)


ConnectionName = Annotated[str, typer.Argument(help="连接名。Connection")]


def pause(
    name: ConnectionName,
    reason: Reason,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """暂停连接。Send nothing to a connection until it is resumed."""
    _done(Remote(url, token).post("connections", name, "pause", body={"reason": reason}), lang, as_json)


def resume(
    name: ConnectionName,
    reason: Reason,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """恢复连接。Send to a connection again."""
    _done(Remote(url, token).post("connections", name, "resume", body={"reason": reason}), lang, as_json)


# --- stock


@stock.command("list")
def stock_list(
    sku: Annotated[str | None, typer.Option(help="SKU 前缀。SKU begins with")] = None,
    warehouse: Annotated[str | None, typer.Option(help="仓库。Warehouse")] = None,
    limit: Limit = 100,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """库存。Balances, in pieces."""
    answer = Remote(url, token).get("stock", sku=sku, warehouse=warehouse, limit=limit)
    terminal = Terminal(language=lang, as_json=as_json)
    if as_json:
        terminal.json(answer)
        return
    terminal.table(
        [
            ("SKU", "SKU"),
            ("仓库", "Warehouse"),
            ("在库", "On hand"),
            ("锁定", "Locked"),
            ("已占", "Committed"),
            ("可用", "Available"),
        ],
        [
            (row["sku"], row["warehouse"], row["on_hand"], row["locked"], row["committed"], row["available"])
            for row in answer["stock"]
        ],
    )
    if answer["next"]:
        terminal.line("……还有更多，用 --limit 或过滤条件", "… there are more: use --limit or a filter")


@stock.command("set")
def stock_set(
    sku: Annotated[str, typer.Argument(help="SKU")],
    warehouse: Annotated[str, typer.Argument(help="仓库。Warehouse")],
    on_hand: Annotated[int, typer.Argument(min=0, help="在库数量。Pieces on hand")],
    reason: Reason,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """设置在库数量。Set pieces on hand."""
    items = [{"sku": sku, "warehouse": warehouse, "on_hand": on_hand}]
    _stock_done(_set_stock(Remote(url, token), items, reason), lang, as_json)


@stock.command("import")
def stock_import(
    file: Annotated[Path, typer.Argument(help="CSV：sku,warehouse,on_hand；- 为标准输入。CSV; - for standard input")],
    reason: Reason,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """从 CSV 导入在库数量。Set pieces on hand from a CSV file."""
    items = list(_stock_rows(file))
    _stock_done(_set_stock(Remote(url, token), items, reason), lang, as_json)


def _stock_rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        text = _content(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RemoteError(f"{file} 不是 UTF-8 / is not UTF-8: save it as “CSV UTF-8”") from error
    reader = csv.DictReader(text.splitlines())
    missing = {"sku", "warehouse", "on_hand"} - set(reader.fieldnames or ())
    if missing:
        raise RemoteError(f"{file}: 缺少列 / columns missing: {', '.join(sorted(missing))}")
    seen = set()
    for row in reader:
        place = ((row["sku"] or "").strip(), (row["warehouse"] or "").strip())
        pieces = (row["on_hand"] or "").strip()
        if not all(place) or not (pieces.isascii() and pieces.isdigit()):
            raise RemoteError(
                f"{file}:{reader.line_num}: 需要 SKU、仓库和非负整数 / needs SKU, warehouse and a whole number"
            )
        if place in seen:
            raise RemoteError(f"{file}:{reader.line_num}: {place[0]} {place[1]} 重复 / stands there twice")
        seen.add(place)
        yield {"sku": place[0], "warehouse": place[1], "on_hand": int(pieces)}


def _set_stock(remote: Remote, items: list[dict[str, Any]], reason: str) -> dict[str, int]:
    total = {"changed": 0, "created": 0, "woken": 0}
    for start in range(0, len(items), _STOCK_AT_ONCE):
        part = items[start : start + _STOCK_AT_ONCE]
        try:
            answer = remote.call("PUT", ("stock",), body={"items": part, "reason": reason})
        except RemoteError as error:
            if not start:
                raise
            raise RemoteError(f"前 {start} 行已写入 / the first {start} rows are set; then: {error}") from error
        for key in total:
            total[key] += answer[key]
    return total


# --- what is printed


def _stock_done(total: dict[str, int], language: Language, as_json: bool) -> None:
    terminal = Terminal(language=language, as_json=as_json)
    if as_json:
        terminal.json(total)
        return
    terminal.line(
        f"已更改 {total['changed']} 项，新建 {total['created']} 项，{total['woken']} 个订单继续",
        f"{total['changed']} changed, {total['created']} new, {total['woken']} orders go on",
    )


def _done(answer: Any, language: Language, as_json: bool) -> None:
    terminal = Terminal(language=language, as_json=as_json)
    if as_json:
        terminal.json(answer)
    else:
        terminal.plain(f"{terminal.choose('完成', 'done')}: {answer['note']}")


def _released(answer: Any, language: Language, as_json: bool) -> None:
    terminal = Terminal(language=language, as_json=as_json)
    if as_json:
        terminal.json(answer)
    else:
        terminal.line(f"{answer['events']} 条消息重新处理", f"{answer['events']} event(s) go through again")


def _print_lanes(terminal: Terminal, lanes: list[dict[str, Any]]) -> None:
    terminal.table(
        [
            ("单号", "Order"), ("目标", "Target"), ("序号", "Seq"), ("操作", "Operation"), ("状态", "State"),
            ("原因", "Why"), ("次数", "Tries"), ("最近结果", "Last"), ("说明", "Words"), ("不早于", "Not before"),
        ],
        [
            (
                lane["number"], lane["target"], lane["seq"], lane["operation"], lane["state"], lane["blocked"],
                lane["attempts"], f"{lane['last_result'] or ''} {lane['last_code'] or ''}".strip(), lane["last_detail"],
                when(lane["not_before"]) if lane["state"] == "waiting" else "",
            )
            for lane in lanes
        ],
    )  # fmt: skip


def _told(one: Mapping[str, Any]) -> str:
    match one["kind"]:
        case "event":
            return f"#{one['n']} {one['source']} {one['type']} → {one['stage']}"
        case "delivery":
            return f"{one['target']} {one['seq']} {one['key']}"
        case "attempt":
            words = " ".join(part for part in (one["result"], one["code"], one["detail"]) if part)
            return f"{one['target']} {one['seq']} {words} ({one['took_ms']} ms)"
        case "stock":
            return (
                f"{one['sku']} {one['warehouse']}  on_hand {one['on_hand']:+d}  locked {one['locked']:+d}"
                f"  committed {one['committed']:+d}"
            )
        case "edit":
            return f"{one['target']} {one['seq']} {one['author']}"
        case _:
            return f"#{one['dead_letter_id']} {one['code']} {one['resolution']}"


def _content(file: Path) -> bytes:
    return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this user id (a container)
        return "cli"


def _refusal(error: urllib.error.HTTPError) -> str:
    try:
        problem = json.loads(error.read(100_000))
        text = str(problem["message"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"HTTP {error.code} {error.reason}: 这里不是网关 API？/ is this the gateway's address?"
    if problem.get("where"):
        text = f"{problem['where']}: {text}"
    return f"{text} — {problem['advice']}" if problem.get("advice") else text
