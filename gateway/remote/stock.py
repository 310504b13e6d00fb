"""Stock: the balances, setting pieces on hand, one by one or from a file, and balances beside their movements."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from gateway.remote.answer import example, print_more, show
from gateway.remote.client import Remote, RemoteError
from gateway.remote.options import LOCAL, After, Limit, Reason, Token, Url
from gateway.sheets.stock import MAX_PIECES, BadStock, parse
from gateway.terminal import ZH, AsJson, Lang, Terminal, content_of, when

_AT_ONCE = 5000
_TOLD = 20
"""Problems of a file that are told."""


class Keep(enum.StrEnum):
    BALANCE = "balance"
    MOVEMENTS = "movements"


stock = typer.Typer(no_args_is_help=True, help="库存。Stock.")


@stock.command("list", epilog=example("stock list --sku CUP"))
def list_stock(
    sku: Annotated[str | None, typer.Option(help="SKU 前缀。SKU begins with")] = None,
    warehouse: Annotated[str | None, typer.Option(help="仓库。Warehouse")] = None,
    off: Annotated[
        bool, typer.Option("--off", help="只看与库存变动之和不符的。Only those that are not the sum of their movements")
    ] = False,
    after: After = None,
    limit: Limit = 100,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """库存。Balances, in pieces."""
    answer = Remote(url, token).get("stock", sku=sku, warehouse=warehouse, off=off or None, after=after, limit=limit)
    show(answer, _print_stock, lang=lang, as_json=as_json)


@stock.command("set", epilog=example('stock set CUP-01 WH-HZ 120 -r "盘点"'))
def set_stock(
    sku: Annotated[str, typer.Argument(help="SKU")],
    warehouse: Annotated[str, typer.Argument(help="仓库。Warehouse")],
    on_hand: Annotated[int, typer.Argument(min=0, max=MAX_PIECES, help="在库数量。Pieces on hand")],
    reason: Reason,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """设置在库数量。Set pieces on hand."""
    # As from a file: what is pasted from a table brings blanks along, which would make another place of it.
    items = [{"sku": sku.strip(), "warehouse": warehouse.strip(), "on_hand": on_hand}]
    show(_set(Remote(url, token), items, reason), _print_set, lang=lang, as_json=as_json)


@stock.command("import", epilog=example('stock import stock.csv -r "盘点"'))
def import_stock(
    file: Annotated[
        Path,
        typer.Argument(help="XLSX 或 CSV：sku、warehouse、on_hand；- 为标准输入。XLSX or CSV; - for standard input"),
    ],
    reason: Reason,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """从 XLSX 或 CSV 导入在库数量。Set pieces on hand from a file."""
    items = _rows(file)
    show(_set(Remote(url, token), items, reason), _print_set, lang=lang, as_json=as_json)


@stock.command("show", epilog=example("stock show CUP-01 WH-HZ"))
def show_ledger(
    sku: Annotated[str, typer.Argument(help="SKU")],
    warehouse: Annotated[str, typer.Argument(help="仓库。Warehouse")],
    limit: Annotated[int, typer.Option(min=1, max=500, help="最近多少条变动。So many of the newest movements")] = 20,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """一处库存、它的变动之和与最近的变动。A balance, the sum of its movements, and the newest of them."""
    answer = Remote(url, token).get("stock", "ledger", sku=sku, warehouse=warehouse, limit=limit)
    show(answer, _print_ledger, lang=lang, as_json=as_json)


@stock.command("settle", epilog=example('stock settle CUP-01 WH-HZ --keep movements -r "手工改过数据库"'))
def settle(
    sku: Annotated[str, typer.Argument(help="SKU")],
    warehouse: Annotated[str, typer.Argument(help="仓库。Warehouse")],
    keep: Annotated[
        Keep,
        typer.Option(help="以哪个为准：balance 库存，movements 变动之和。Which is right; the other one follows"),
    ],
    reason: Reason,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """平账：使库存与变动之和相符。Put a balance and the sum of its movements right."""
    body = {"sku": sku, "warehouse": warehouse, "keep": keep.value, "reason": reason}
    answer = Remote(url, token).call("POST", ("stock", "settle"), body=body)
    show(answer, _print_settled, lang=lang, as_json=as_json)


def _rows(file: Path) -> list[dict[str, Any]]:
    """What stands in it. Raises RemoteError with everything that is wrong."""
    try:
        rows = parse(content_of(file))
    except BadStock as error:
        wrong = [f"{file}:{f'{one.row}:' if one.row else ''} {one.zh} / {one.en}" for one in error.wrong[:_TOLD]]
        if (more := len(error.wrong) - _TOLD) > 0:
            wrong.append(f"……另有 {more} 处 / and {more} more")
        raise RemoteError("\n".join(wrong)) from error
    return [msgspec.to_builtins(row) for row in rows]


def _set(remote: Remote, items: list[dict[str, Any]], reason: str) -> dict[str, Any]:
    total = {"changed": 0, "created": 0, "woken": 0}
    unrouted = set[str]()
    for start in range(0, len(items), _AT_ONCE):
        part = items[start : start + _AT_ONCE]
        try:
            answer = remote.call("PUT", ("stock",), body={"items": part, "reason": reason})
        except RemoteError as error:
            if not start:
                raise
            raise RemoteError(f"前 {start} 行已写入 / the first {start} rows are set; then: {error}") from error
        for key in total:
            total[key] += answer[key]
        unrouted.update(answer.get("unrouted", ()))  # a gateway of before does not say
    return {**total, "unrouted": sorted(unrouted)}


def _print_stock(terminal: Terminal, answer: Any) -> None:
    terminal.table(
        [
            ("SKU", "SKU"),
            ("仓库", "Warehouse"),
            *_PIECES,
            ("可用", "Available"),
        ],
        [
            (row["sku"], row["warehouse"], row["on_hand"], row["locked"], row["committed"], row["available"])
            for row in answer["stock"]
        ],
    )
    print_more(terminal, answer)


def _print_ledger(terminal: Terminal, answer: Any) -> None:
    balance, moved, off = answer["balance"], answer["moved"], answer["off"]
    terminal.table(
        [("", ""), *_PIECES],
        [
            (terminal.choose(*name), *(f"{part[column]:{sign}d}" for column in _COLUMNS))
            for name, part, sign in (
                (("库存", "Balance"), balance, ""),
                (("变动之和", "Sum of movements"), moved, ""),
                (("差", "Difference"), off, "+"),
            )
        ],
    )
    terminal.plain("")
    terminal.table(
        [("时间", "At"), ("订单", "Order"), *_PIECES, ("原因", "Reason")],
        [
            (when(one["at"]), one["order"], *(f"{one[column]:+d}" for column in _COLUMNS), one["reason"])
            for one in answer["movements"]
        ],
    )
    if answer["summarized"]:
        until = when(answer["summarized_until"])
        terminal.line(
            f"{until} 以前的变动已清理，其中 {answer['summarized']} 条只留合计",
            f"{answer['summarized']} movements of before {until} are kept as a sum only",
        )


def _print_settled(terminal: Terminal, answer: Any) -> None:
    off = answer["off"]
    if not any(off.values()):
        terminal.line(
            "库存与变动之和相符，没有做任何改动", "the balance is the sum of its movements: nothing was changed"
        )
        return
    terminal.line(
        f"已平账：在库差 {off['on_hand']:+d}、锁定差 {off['locked']:+d}、已占差 {off['committed']:+d}，"
        f"{answer['woken']} 个订单继续",
        f"settled: on hand {off['on_hand']:+d}, locked {off['locked']:+d}, committed {off['committed']:+d};"
        f" {answer['woken']} orders go on",
    )


def _print_set(terminal: Terminal, total: Any) -> None:
    terminal.line(
        f"已更改 {total['changed']} 项（其中新建 {total['created']} 项），{total['woken']} 个订单继续",
        f"{total['changed']} changed ({total['created']} of them new), {total['woken']} orders go on",
    )
    if total["unrouted"]:
        names = terminal.choose("、", ", ").join(total["unrouted"])
        terminal.line(
            f"注意：没有店铺的 route 通向仓库 {names}，订单不使用它的库存；名称写对了吗？",
            f"note: no shop's route leads to {names}, no order uses its stock: is it the right name?",
        )


_PIECES = (("在库", "On hand"), ("锁定", "Locked"), ("已占", "Committed"))
_COLUMNS = ("on_hand", "locked", "committed")
