"""Orders: which there are, everything that happened to one, what came in, and having one decided again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from gateway.core.money import format_minor
from gateway.remote.answer import print_done, print_more, show
from gateway.remote.client import Remote
from gateway.remote.deliveries import print_lanes
from gateway.remote.options import LOCAL, Limit, Number, Reason, Token, Url
from gateway.terminal import ZH, AsJson, Lang, Terminal, when

orders = typer.Typer(no_args_is_help=True, help="查看订单。Look at orders.")


@orders.command("list")
def list_orders(
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
    show(answer, _print_orders, lang=lang, as_json=as_json)


@orders.command("show")
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


@orders.command("raw")
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


@orders.command("reconsider")
def reconsider(
    number: Number, reason: Reason, url: Url = LOCAL, token: Token = "", as_json: AsJson = False, lang: Lang = ZH
) -> None:
    """重新判断订单。Decide an order again."""
    answer = Remote(url, token).post("orders", number, "reconsider", body={"reason": reason})
    show(answer, print_done, lang=lang, as_json=as_json)


def _print_orders(terminal: Terminal, answer: Any) -> None:
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
    print_more(terminal, answer)


def _print_order(terminal: Terminal, page: Any) -> None:
    order = page["order"]
    content = (order["content"] or {}).get("value")
    terminal.plain(
        f"{order['number']}  {order['connection']}  {order['stage']}  {' '.join(order['reasons'] + order['conflicts'])}"
    )
    if content is not None:
        receiver = content["receiver"]
        terminal.plain(" ".join(receiver[key] for key in ("name", "phone", "province", "city", "district", "detail")))
        terminal.table(
            [("行", "Line"), ("SKU", "SKU"), ("名称", "Name"), ("数量", "Pieces"), ("单价", "Price")],
            [
                (line["line_no"], line["sku"], line["name"], line["quantity"], format_minor(line["price_minor"]))
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
        print_lanes(terminal, page["lanes"])


def _print_payload(terminal: Terminal, answer: Any) -> None:
    terminal.plain(answer["text"] if answer["text"] is not None else answer["base64"])


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
