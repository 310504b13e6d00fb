"""Orders: which there are, everything that happened to one, what came in, and having one decided again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.core import words
from gateway.core.money import format_minor
from gateway.core.text import Text
from gateway.core.words import word
from gateway.remote.answer import Codes, choices, example, print_done, print_more, print_written, said, show
from gateway.remote.client import Remote, RemoteError
from gateway.remote.deliveries import print_lanes
from gateway.remote.options import LOCAL, After, DryRun, Limit, Number, Reason, Token, Url, as_number
from gateway.remote.redrives import WhyOr, Yes, decided, narrowed
from gateway.remote.work import Code, Connection, Kind, Operation, Owner
from gateway.terminal import ZH, AsJson, Lang, Terminal, when

_PAGE = 1_000
"""Orders of one request; the gateway takes no more."""
_BEHIND = 12
"""So often in a row the gateway takes none, after 5 s each, before the command ends instead of waiting on."""

_WAITS = [*words.REASONS, *(f"missing:{field}" for field in words.FIELDS)]
Waits = Annotated[
    str | None,
    typer.Option(help=choices("等待原因", "What it waits for", {code: words.reason(code) for code in _WAITS})),
]

orders = typer.Typer(no_args_is_help=True, help="查看订单。Look at orders.")


@orders.command(
    "list", epilog=example("orders list --stage received --reason unpaid", "orders list --channel-no 3927461500123")
)
def list_orders(
    stage: Annotated[str | None, typer.Option(help=choices("阶段", "Stage", words.STAGES))] = None,
    reason: Waits = None,
    conflict: Annotated[str | None, typer.Option(help=choices("冲突", "Conflict", words.CONFLICTS))] = None,
    connection: Annotated[str | None, typer.Option(help="来源店铺。Shop")] = None,
    number: Annotated[str | None, typer.Option(help="单号前缀。Begins with", callback=as_number)] = None,
    channel_no: Annotated[
        str | None, typer.Option("--channel-no", help="店铺自己的单号。The shop's own number", callback=as_number)
    ] = None,
    near_ship_by: Annotated[
        bool,
        typer.Option(
            "--near-ship-by", help="临近或已过发货时限、还没到仓库的，最急的在前。Ship-by near, most urgent first"
        ),
    ] = False,
    after: After = None,
    limit: Limit = 50,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """订单列表，最新在前。Orders, newest first."""
    answer = Remote(url, token).get(
        "orders",
        stage=stage,
        reason=reason,
        conflict=conflict,
        connection=connection,
        number=number,
        channel_no=channel_no,
        near_ship_by=near_ship_by,
        after=after,
        limit=limit,
    )
    show(answer, _print_orders, lang=lang, as_json=as_json)


@orders.command("show", epilog=example("orders show A1001", "orders show A1001 --json"))
def show_order(
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
    show(page, _print_order, lang=lang, as_json=as_json)


@orders.command("raw", epilog=example("orders raw A1001 2"))
def show_raw(
    number: Number,
    n: Annotated[int, typer.Argument(help="第几条消息。Which event, from 1")] = 1,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """原始报文（会被记录）。An original payload; recorded."""
    answer = Remote(url, token).get("orders", number, "raw", n)
    show(answer, _print_payload, lang=ZH, as_json=as_json)


@orders.command("reconsider", epilog=example('orders reconsider A1001 -r "已补库存"'))
def reconsider(
    number: Number, reason: Reason, url: Url = LOCAL, token: Token = "", as_json: AsJson = False, lang: Lang = ZH
) -> None:
    """重新判断订单。Decide an order again."""
    answer = Remote(url, token).post("orders", number, "reconsider", body={"reason": reason})
    show(answer, print_done, lang=lang, as_json=as_json)


@orders.command(
    "reconsider-many",
    epilog=example(
        "orders reconsider-many --code no_route --connection shop-a",
        'orders reconsider-many --code no_route --connection shop-a --yes -r "路线已配置"',
    ),
)
def reconsider_many(
    stage: Annotated[str | None, typer.Option(help=choices("阶段", "Stage", words.STAGES))] = None,
    code: Waits = None,
    conflict: Annotated[str | None, typer.Option(help=choices("冲突", "Conflict", words.CONFLICTS))] = None,
    connection: Annotated[str | None, typer.Option(help="来源店铺。Shop")] = None,
    number: Annotated[str | None, typer.Option(help="单号前缀。Begins with", callback=as_number)] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    cap: Annotated[
        int, typer.Option(min=1, help="最多处理多少，最早的优先。At most so many, the oldest first")
    ] = 10_000,
    reason: WhyOr = "",
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """按条件批量重新判断：先预览，再执行（--yes）。Decide all orders again that fit; look first, then --yes."""
    given = {"stage": stage, "code": code, "conflict": conflict, "connection": connection, "number": number}
    wanted = narrowed(given)
    remote = Remote(url, token)
    if not decided(dry_run=dry_run, yes=yes, reason=reason):
        found = remote.post("orders", "reconsider", "preview", body={"wanted": wanted})
        show({**found, "cap": cap}, _print_look_to_reconsider, lang=lang, as_json=as_json)
        return
    count, unread, after, behind = 0, [], "0", 0
    while after and count < cap:
        page = remote.post(
            "orders", "reconsider",
            body={"wanted": wanted, "reason": reason, "after": after, "limit": min(_PAGE, cap - count)},
        )  # fmt: skip
        behind = behind + 1 if page["next"] == after else 0
        count, after = count + page["count"], page["next"]
        unread += page["unread"]
        if behind == _BEHIND:
            raise RemoteError(
                Text(
                    f"已处理 {count} 个；收件箱积压，一分钟没有腾出地方，其余没有动：积压消除后再来一次",
                    f"{count} are decided again; the inbox has been full for a minute, and the rest is as it was:"
                    " repeat it when that is over",
                )
            )
    answer = {"count": count, "unread": unread, "next": after}
    show(answer, _print_reconsidered, lang=lang, as_json=as_json)


@orders.command("approve", epilog=example('orders approve A1001 -r "已与买家核实"'))
def approve(
    number: Number, reason: Reason, url: Url = LOCAL, token: Token = "", as_json: AsJson = False, lang: Lang = ZH
) -> None:
    """放行金额超过上限或缺少收件信息的订单。Let an order pass that is over the limit, or lacks something."""
    answer = Remote(url, token).post("orders", number, "approve", body={"reason": reason})
    show(answer, _print_approved, lang=lang, as_json=as_json)


@orders.command("reparse", epilog=example("orders reparse A1001 --dry-run", 'orders reparse A1001 -r "适配器已修正"'))
def reparse(
    number: Number,
    reason: Annotated[str, typer.Option("--reason", "-r", help="原因，会被记录。Why; it is kept")] = "",
    dry_run: DryRun = False,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """用现在的适配器重新解析保留的报文，再重新判断。Parse an order's kept messages again, and decide it again."""
    if not dry_run and not reason:
        raise RemoteError(
            "请给出 --reason，会被记录；或用 --dry-run 只预览 / give --reason, which is kept, or --dry-run"
        )
    remote = Remote(url, token)
    if dry_run:
        show(remote.get("orders", number, "reparse"), _print_look_reparsed, lang=lang, as_json=as_json)
    else:
        answer = remote.post("orders", number, "reparse", body={"reason": reason})
        show(answer, _print_reparsed, lang=lang, as_json=as_json)


@orders.command("export", epilog=example("orders export --stuck -o stuck.xlsx"))
def export(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="XLSX 文件，- 为标准输出。The file; - for standard output")
    ],
    stuck: Annotated[bool, typer.Option("--stuck", help="卡住、等人处理的订单。What waits for a person")] = False,
    kind: Kind = None,
    connection: Connection = None,
    operation: Operation = None,
    code: Code = None,
    owner: Owner = None,
    limit: Annotated[int, typer.Option(min=1, max=10000, help="最多行数。Most rows")] = 5000,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """把卡住的订单导出为 XLSX。Stuck orders as a spreadsheet."""
    if not stuck:
        raise RemoteError("请加 --stuck：目前只导出卡住的订单 / add --stuck: stuck orders are what can be exported")
    if str(output) != "-" and output.suffix.lower() != ".xlsx":
        what = Text(
            f"导出的是 XLSX，文件名要以 .xlsx 结尾：{output}", f"what is exported is XLSX: {output} must end in .xlsx"
        )
        raise RemoteError(what)
    content, more = Remote(url, token).download(
        "work", "export",
        kind=kind, connection=connection, operation=operation, code=code, owner=owner, limit=limit, language=str(lang),
    )  # fmt: skip
    if str(output) == "-":
        sys.stdout.buffer.write(content)
        return
    output.write_bytes(content)
    written = {"file": str(output), "bytes": len(content), "limit": limit, "more": more}
    show(written, _print_exported, lang=lang, as_json=as_json)


def _print_exported(terminal: Terminal, answer: Any) -> None:
    print_written(terminal, answer)
    if answer["more"]:
        terminal.line(
            f"只有最早的 {answer['limit']} 项，还有更多：用 --limit（最多 10000）或过滤条件",
            f"only the oldest {answer['limit']}: there are more, use --limit (10000 at most) or a filter",
        )


def _print_look_reparsed(terminal: Terminal, answer: Any) -> None:
    _print_changes(terminal, answer)
    if answer["changes"]:
        terminal.line("去掉 --dry-run 并给出 --reason 执行", "leave --dry-run out and give --reason to do it")


def _print_reparsed(terminal: Terminal, answer: Any) -> None:
    _print_changes(terminal, answer)
    if answer["changes"]:
        terminal.line("即将重新判断", "the order is decided again in a moment")


def _print_changes(terminal: Terminal, answer: Any) -> None:
    messages, changes = answer["messages"], ", ".join(answer["changes"])
    if changes:
        terminal.line(f"{messages} 条报文，会不同的：{changes}", f"{messages} messages; what differs: {changes}")
    else:
        terminal.line(f"{messages} 条报文，与已知一致", f"{messages} messages, they say what is known")


def _print_orders(terminal: Terminal, answer: Any) -> None:
    codes = Codes(terminal)
    terminal.table(
        [
            ("单号", "Number"),
            ("店铺", "Shop"),
            ("阶段", "Stage"),
            ("原因", "Reasons"),
            ("冲突", "Conflicts"),
            ("最晚发货", "Ship by"),
            ("更新", "Updated"),
        ],
        [
            (
                row["number"],
                row["connection"],
                codes.say(row["stage"], words.STAGES),
                codes.list(row["reasons"], words.reason),
                codes.list(row["conflicts"], words.CONFLICTS),
                when(row["ship_by"]),
                when(row["updated_at"]),
            )
            for row in answer["orders"]
        ],
    )
    codes.print()
    print_more(terminal, answer)
    if not answer["orders"]:
        terminal.line(
            "没有符合条件的订单；首条消息就有误的还没有订单，见 `ordergate dead list`",
            "no order fits; one whose first event is a dead letter is none yet: `ordergate dead list`",
        )


def _print_look_to_reconsider(terminal: Terminal, answer: Any) -> None:
    codes = Codes(terminal)
    terminal.table(
        [("店铺", "Shop"), ("阶段", "Stage"), ("等待", "Waits for"), ("数量", "Count"), ("如", "Like")],
        [
            (
                group["connection"], codes.say(group["stage"], words.STAGES),
                codes.list(group["reasons"], words.reason), group["count"], group["like"],
            )
            for group in answer["groups"]
        ],
    )  # fmt: skip
    codes.print()
    chosen = min(answer["total"], answer["cap"])
    terminal.line(
        f"符合 {answer['total']}，将处理 {chosen}；要执行：不写 --dry-run，加 --yes --reason 原因",
        f"{answer['total']} fit, {chosen} would be taken; to do it: without --dry-run, with --yes --reason WHY",
    )


def _print_reconsidered(terminal: Terminal, answer: Any) -> None:
    terminal.line(
        f"完成：{answer['count']} 个订单即将重新判断",
        f"done: {answer['count']} orders are decided again in a moment",
    )
    if answer["unread"]:
        numbers = " ".join(answer["unread"])
        terminal.line(f"无法读取，保持不变：{numbers}", f"cannot be read, and stay as they are: {numbers}")
    if answer["next"]:
        terminal.line("……可能还有更多：加大 --cap 再来一次", "… there may be more: repeat with a greater --cap")


def _print_approved(terminal: Terminal, answer: Any) -> None:
    codes = Codes(terminal)
    passed, left = codes.list(answer["passed"], words.reason), codes.list(answer["left"], words.reason)
    if answer["total_minor"] is not None:
        passed += f" ({format_minor(answer['total_minor'])})"
    terminal.line(f"已放行：{passed}；即将重新判断", f"passed: {passed}; the order is decided again in a moment")
    if left:
        terminal.line(f"还在等待：{left}", f"it still waits for: {left}")


def _print_order(terminal: Terminal, page: Any) -> None:
    order = page["order"]
    unopened = said(terminal, page["unopened"])
    content = (order["content"] or {}).get("value")
    codes = Codes(terminal)
    waits = [codes.list(order["reasons"], words.reason), codes.list(order["conflicts"], words.CONFLICTS)]
    stage = codes.say(order["stage"], words.STAGES)
    terminal.plain("  ".join(part for part in (order["number"], order["connection"], stage, *waits) if part))
    if unopened:
        terminal.line(f"订单内容打不开：{unopened}", f"the order cannot be opened: {unopened}")
    if content is not None:
        total = f"{format_minor(content['total_minor'])} {content['currency']}"
        terminal.line(f"金额：{total}", f"total: {total}")
        if latest := content.get("latest_ship_at"):
            terminal.line(f"最晚发货：{when(latest)}", f"to be shipped by {when(latest)}")
        receiver = content["receiver"]
        terminal.plain(" ".join(receiver[key] for key in ("name", "phone", "province", "city", "district", "detail")))
        terminal.table(
            [("行", "Line"), ("SKU", "SKU"), ("名称", "Name"), ("数量", "Pieces"), ("单价", "Price")],
            [
                (line["line_no"], line["sku"], line["name"], line["quantity"], format_minor(line["price_minor"]))
                for line in content["lines"]
            ],
        )
    parcels = [
        (parcel["carrier"], parcel["tracking_no"], "  ".join(f"{sku} × {pieces}" for sku, pieces in parcel["items"]))
        for confirmation in order["confirmations"].values()
        for parcel in confirmation["parcels"]
    ]
    if parcels:
        terminal.plain("")
        terminal.table(
            [("快递", "Carrier"), ("运单号", "Tracking number"), ("仓库商品 × 件数", "SKU × pieces")], parcels
        )
    if page["missing"]:
        terminal.plain("")
        terminal.table(
            [("缺货 SKU", "Missing SKU"), ("仓库", "Warehouse"), ("缺少", "Missing"), ("可用", "Available")],
            [(one["sku"], one["warehouse"], one["pieces"], one["available"]) for one in page["missing"]],
        )
    terminal.plain("")
    terminal.table(
        [("时间", "Time"), ("事项", "What"), ("内容", "Details")],
        [
            (when(one["at"]), terminal.say(word(one["kind"], words.HAPPENED)), _told(terminal, one, codes))
            for one in page["timeline"]
        ],
    )
    if page["lanes"]:
        terminal.plain("")
        print_lanes(terminal, page["lanes"], codes)
    codes.print()


def _print_payload(terminal: Terminal, answer: Any) -> None:
    terminal.plain(answer["text"] if answer["text"] is not None else answer["base64"])


def _told(terminal: Terminal, one: Mapping[str, Any], codes: Codes) -> str:
    """One thing that happened, in a line."""
    match one["kind"]:
        case "event":
            came = f"#{one['n']} {one['source']} {one['type']} → {_came_to(terminal, one, codes)}"
            if not one.get("stale"):  # a gateway of the release before says nothing of it
                return came
            why = word(one["stale"], words.STALE)
            return came + terminal.choose(f"（{why.zh}）", f" ({why.en})")
        case "decision":
            return f"→ {_came_to(terminal, one, codes)}"
        case "delivery":
            # `ship:wms-1/MSG-77` says which parcel; of the others the key is the operation again.
            detail = one["key"].partition(":")[2]
            operation = terminal.say(word(one["operation"], words.OPERATIONS))
            return " ".join(part for part in (one["target"], str(one["seq"]), operation, detail) if part)
        case "attempt":
            result = terminal.say(words.result(one["result"]))
            told = " ".join(part for part in (result, codes.say(one["code"], words.answer), one["detail"]) if part)
            took = "" if one["result"] == "resolved" else f" ({one['took_ms']} ms)"
            return f"{one['target']} {one['seq']} {told}{took}"
        case "stock":
            names = terminal.choose(
                "在库 {:+d}  锁定 {:+d}  已占 {:+d}", "on_hand {:+d}  locked {:+d}  committed {:+d}"
            )
            moved = names.format(one["on_hand"], one["locked"], one["committed"])
            return f"{one['sku']} {one['warehouse']}  {moved}"
        case "edit":
            return f"{one['target']} {one['seq']} {one['author']}"
        case "redrive":
            return f"#{one['redrive_id']} {one['target']} {one['seq']} {one['author']}"
        case "hand":
            action = terminal.say(word(one["action"], words.ACTIONS))
            return " ".join(part for part in (one["actor"], action, one["subject"], one["reason"]) if part)
        case _:
            letter = terminal.say(word(one["code"], words.LETTERS))
            closed = terminal.say(word(one["resolution"], words.RESOLUTIONS))
            return f"#{one['dead_letter_id']} {letter}{terminal.choose('，', ', ')}{closed}"


def _came_to(terminal: Terminal, one: Mapping[str, Any], codes: Codes) -> str:
    """Where the order stood afterwards, and what it waited for."""
    stage = terminal.say(word(one["stage"], words.STAGES))
    waits = codes.list(one.get("reasons", ()), words.reason)  # a gateway of the release before gives none
    return f"{stage}{terminal.choose('：', ': ')}{waits}" if waits else stage
