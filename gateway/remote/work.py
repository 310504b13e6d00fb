"""What waits for a person: the queue by root cause, its items, and saying that a conflict has been dealt with."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.core import words
from gateway.remote.answer import Codes, choices, example, print_done, print_more, said, show
from gateway.remote.client import Remote
from gateway.remote.options import LOCAL, After, Limit, Number, Reason, Token, Url
from gateway.terminal import ZH, AsJson, Lang, Terminal, when

Kind = Annotated[
    str | None,
    typer.Option(help=choices("类型", "Kind", words.WORK)),
]
Connection = Annotated[str | None, typer.Option(help="店铺、目标或来源连接。Shop, target or source")]
Operation = Annotated[str | None, typer.Option(help=choices("下发的操作", "Of deliveries", words.OPERATIONS))]
Code = Annotated[str | None, typer.Option(help="原因代码。Code of the cause")]
Owner = Annotated[str | None, typer.Option(help="负责人（配置 owners）。Whose work, as `owners` says")]

work = typer.Typer(no_args_is_help=True, help="待办：等人处理的一切。Everything that waits for a person.")


@work.command("list", epilog=example("work list", "work list --kind delivery --connection wms-1", "work list --json"))
def list_work(
    kind: Kind = None,
    connection: Connection = None,
    operation: Operation = None,
    code: Code = None,
    owner: Owner = None,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """待办，按原因归组：同一原因一张卡片。A card per root cause, with what to do."""
    answer = Remote(url, token).get(
        "work", kind=kind, connection=connection, operation=operation, code=code, owner=owner
    )
    show(answer, _print_cards, lang=lang, as_json=as_json)


@work.command("items", epilog=example("work items", "work items --kind hold --code short_of_stock --limit 200"))
def list_items(
    kind: Kind = None,
    connection: Connection = None,
    operation: Operation = None,
    code: Code = None,
    owner: Owner = None,
    after: After = None,
    limit: Limit = 50,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """待办明细，等得最久的在前。One by one, what waits longest first."""
    answer = Remote(url, token).get(
        "work", "items",
        kind=kind, connection=connection, operation=operation, code=code, owner=owner, after=after, limit=limit,
    )  # fmt: skip
    show(answer, _print_items, lang=lang, as_json=as_json)


@work.command("handled", epilog=example('work handled A1001 -r "已联系快递拦截"'))
def handled(
    number: Number,
    reason: Reason,
    conflict: Annotated[
        list[str] | None,
        typer.Option(
            "--conflict",
            help="你看到的冲突代码，可多个；又有别的则拒绝。Those you have seen: refused if there are others",
        ),
    ] = None,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """订单的冲突已处理：有新变化前不再列出。An order's conflicts are dealt with, until they change."""
    body: dict[str, Any] = {"reason": reason}
    if conflict:
        body["conflicts"] = conflict
    answer = Remote(url, token).post("orders", number, "conflicts-handled", body=body)
    show(answer, print_done, lang=lang, as_json=as_json)


def _print_cards(terminal: Terminal, answer: Any) -> None:
    if not answer["cards"]:
        terminal.line("没有待办", "nothing waits for a person")
        return
    codes = Codes(terminal)
    for card in answer["cards"]:
        name = codes.say(card["kind"], words.WORK)
        operation = codes.say(card["operation"], words.OPERATIONS)
        where = " ".join(part for part in (card["connection"], operation) if part)
        owner = f"  [{_owners(terminal, card)}]" if card["owners"] else ""
        terminal.plain(f"{card['count']} × {name} {where}: {said(terminal, card['means'])} ({card['code']}){owner}")
        terminal.line(
            f"    最早 {when(card['oldest'])}，最新 {when(card['newest'])}，如 {'、'.join(card['samples'])}",
            f"    oldest {when(card['oldest'])}, newest {when(card['newest'])}, like {', '.join(card['samples'])}",
        )
        terminal.plain(f"    → {said(terminal, card['next'])}: {card['next']['command']}")
    terminal.line(f"共 {answer['total']} 项", f"{answer['total']} in all")
    codes.print()


def _print_items(terminal: Terminal, answer: Any) -> None:
    codes = Codes(terminal)
    terminal.table(
        [
            ("类型", "Kind"), ("单号", "Order"), ("店铺", "Shop"), ("在", "At"), ("原因", "Why"), ("代码", "Code"),
            ("等待自", "Since"), ("最晚发货", "Ship by"), ("负责人", "Owner"), ("下一步", "Next"),
        ],
        [
            (
                codes.say(item["kind"], words.WORK), item["number"], item["shop"],
                f"{item['connection']} {codes.say(item['operation'], words.OPERATIONS)}"
                if item["kind"] == "delivery" else "",
                said(terminal, item["means"]), item["codes"], when(item["since"]), when(item["latest_ship_at"]),
                _owners(terminal, item), item["next"]["command"],
            )
            for item in answer["items"]
        ],
    )  # fmt: skip
    codes.print()
    print_more(terminal, answer)


def _owners(terminal: Terminal, one: Any) -> str:
    return terminal.choose("、", ", ").join(one["owners"])
