"""SKU tables: what a shop's SKUs stand for in the warehouse, as an Excel or CSV file in and out."""

from __future__ import annotations

import base64
import enum
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.core.text import Text
from gateway.remote.answer import example, print_more, show
from gateway.remote.client import Remote, RemoteError
from gateway.remote.options import LOCAL, After, Limit, Reason, Token, Url
from gateway.terminal import ZH, AsJson, Lang, Language, Terminal, content_of, when

_SHOWN_PROBLEMS = 50

skus = typer.Typer(no_args_is_help=True, help="商品对照表：店铺商品编码 → 仓库。SKU tables: shop → warehouse.")

Shop = Annotated[str, typer.Argument(help="店铺连接。Connection of the shop")]


class Format(enum.StrEnum):
    XLSX = "xlsx"
    CSV = "csv"


AsFormat = Annotated[Format | None, typer.Option("--format", help="默认按文件名。By the file's name if left out")]


@skus.command("list", epilog=example("skus list shop-a --unmapped", "skus list shop-a --refused"))
def list_skus(
    shop: Shop,
    sku: Annotated[str | None, typer.Option(help="店铺商品编码前缀。The shop's SKU begins with")] = None,
    unmapped: Annotated[
        bool, typer.Option("--unmapped", help="只看缺少对照、压住订单的编码。SKUs that hold orders, without a row")
    ] = False,
    refused: Annotated[bool, typer.Option("--refused", help="只看店铺拒收库存的。Only those the shop refused")] = False,
    after: After = None,
    limit: Limit = 100,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """对照表与已同步的库存。The table, and the stock levels the shop was told."""
    remote = Remote(url, token)
    if unmapped:
        if sku or refused or after:
            raise RemoteError(
                Text(
                    "--unmapped 不能与 --sku、--refused、--after 同用",
                    "--unmapped goes with none of --sku, --refused, --after",
                )
            )
        answer = remote.get("skus", shop, "unmapped", limit=limit)
        show(answer, partial(_print_unmapped, shop, limit), lang=lang, as_json=as_json)
        return
    answer = remote.get("skus", shop, sku=sku, refused=refused or None, after=after, limit=limit)
    show(answer, _print_skus, lang=lang, as_json=as_json)


@skus.command(
    "import",
    epilog=example('skus import shop-a table.xlsx -r "新品" --dry-run', 'skus import shop-a table.xlsx -r "新品"'),
)
def import_skus(
    shop: Shop,
    file: Annotated[Path, typer.Argument(help="XLSX 或 CSV；- 为标准输入。XLSX or CSV; - for standard input")],
    reason: Reason,
    replace: Annotated[
        bool, typer.Option("--replace", help="删除文件中没有的编码。Remove what the file does not name")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="只预览，不写入。Say what would change, and change nothing")
    ] = False,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """导入对照表：先整体检查，全部正确才写入；等待它的订单随即继续。Import a file, all or nothing."""
    body = {
        "file": base64.b64encode(content_of(file)).decode(),
        "replace": replace,
        "dry_run": dry_run,
        "reason": reason,
    }
    try:
        answer = Remote(url, token).post("skus", shop, "import", body=body)
    except RemoteError as error:
        if error.code != "bad_table":
            raise
        if as_json:
            Terminal(language=lang, as_json=True).json({"applied": False, **error.details})
        else:
            _print_problems(Terminal(language=lang, as_json=False), error.details)
        raise typer.Exit(1) from error
    show(answer, _print_import, lang=lang, as_json=as_json)


@skus.command("export", epilog=example("skus export shop-a table.xlsx"))
def export_skus(
    shop: Shop,
    file: Annotated[Path, typer.Argument(help="写入的文件；- 为标准输出。File to write; - for standard output")],
    as_format: AsFormat = None,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """导出对照表，可用 Excel 修改后再导入。Write the table to a file that Excel opens and `import` reads."""
    _write(Remote(url, token), shop, "export", file, as_format, lang=lang, as_json=as_json)


@skus.command("template", epilog=example("skus template shop-a table.xlsx"))
def skus_template(
    shop: Shop,
    file: Annotated[Path, typer.Argument(help="写入的文件；- 为标准输出。File to write; - for standard output")],
    as_format: AsFormat = None,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """模板，已填入缺少对照、压住订单的编码。A file to fill in; the SKUs that hold orders are in it."""
    _write(Remote(url, token), shop, "template", file, as_format, lang=lang, as_json=as_json)


@skus.command("publish", epilog=example('skus publish shop-a --refused -r "已改好"'))
def publish_skus(
    shop: Shop,
    reason: Reason,
    sku: Annotated[list[str] | None, typer.Option(help="只同步这些编码。Only these SKUs")] = None,
    refused: Annotated[bool, typer.Option("--refused", help="只同步被拒绝的。Only those the shop refused")] = False,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """重新同步库存到店铺（修复用）。Tell the shop its stock levels again, as a repair."""
    body: dict[str, Any] = {"refused": refused, "reason": reason}
    if sku:
        body["skus"] = sku
    show(Remote(url, token).post("skus", shop, "publish", body=body), _print_published, lang=lang, as_json=as_json)


def _write(
    remote: Remote, shop: str, what: str, file: Path, form: Format | None, *, lang: Language, as_json: bool
) -> None:
    form = _form(file, form)
    answer = remote.get("skus", shop, what, format=form.value, language=lang.value)
    content = base64.b64decode(answer["file"])
    if str(file) == "-":
        sys.stdout.buffer.write(content)
        return
    file.write_bytes(content)
    written = {"file": str(file), "bytes": len(content), "skus": answer["skus"]}
    show(written, _print_written, lang=lang, as_json=as_json)


def _form(file: Path, given: Format | None) -> Format:
    """What is written into `file`. Raises RemoteError where its name says something else, or nothing."""
    if str(file) == "-":
        return given or Format.XLSX
    ending = file.suffix.lower()[1:]
    if ending in tuple(Format) and given in (None, ending):
        return Format(ending)
    if given is None:
        raise RemoteError(
            Text(
                f"写成什么格式？{file} 要以 .xlsx 或 .csv 结尾，或加 --format",
                f"as what? {file} must end in .xlsx or .csv, or --format says it",
            )
        )
    if ending in tuple(Format):
        raise RemoteError(
            Text(
                f"--format {given} 与文件名 {file} 不符，请改其中一个",
                f"--format {given}, and {file}: change one of them",
            )
        )
    return given


def _print_written(terminal: Terminal, answer: Any) -> None:
    terminal.line(f"{answer['file']}：{answer['skus']} 个编码", f"{answer['file']}: {answer['skus']} SKUs")


def _print_skus(terminal: Terminal, answer: Any) -> None:
    terminal.table(
        [
            ("店铺商品编码", "Shop SKU"),
            ("仓库商品编码 × 数量", "Warehouse SKU × pieces"),
            ("名称", "Title"),
            ("同步", "Publish"),
            ("已同步", "Told"),
            ("时间", "At"),
            ("被拒绝", "Refused"),
        ],
        [
            (
                row["sku"],
                " + ".join(_part(terminal, part) for part in row["parts"]),
                row["title"],
                row["publish"],
                row["sent"],
                when(row["sent_at"]),
                row["refused"],
            )
            for row in answer["skus"]
        ],
    )
    _note_unused(terminal, answer)
    print_more(terminal, answer)


def _note_unused(terminal: Terminal, answer: Any) -> None:
    if not answer.get("mapped", True):  # of an import a gateway of before does not say
        terminal.line(
            "注意：该店铺配置为 skus: as_is，订单不使用此表",
            "note: this shop has `skus: as_is`, its orders do not use this table",
        )


def _part(terminal: Terminal, part: Any) -> str:
    text = f"{part['sku']} × {part['quantity']}"
    return text + terminal.choose("（赠品）", " (gift)") if part["gift"] else text


def _print_unmapped(shop: str, limit: int, terminal: Terminal, answer: Any) -> None:
    terminal.table(
        [("店铺商品编码", "Shop SKU"), ("名称", "Name"), ("压住的订单", "Orders held")],
        [(row["sku"], row["name"], row["orders"]) for row in answer["skus"]],
    )
    if len(answer["skus"]) == limit:
        template = f"ordergate skus template {shlex.quote(shop)} table.xlsx"
        terminal.line(
            f"这是压住订单最多的 {limit} 个，或许还有：用 --limit，或 {template}",
            f"these are the {limit} that hold most, there may be more: use --limit, or {template}",
        )


def _print_import(terminal: Terminal, answer: Any) -> None:
    zh, en = ("已导入", "imported") if answer["applied"] else ("预览，未写入", "preview, nothing written")
    terminal.line(
        f"{zh}：新增 {answer['new']}，修改 {answer['changed']}，未变 {answer['unchanged']}，删除 {answer['removed']}；"
        f"放行 {answer['frees']} 个被压住的订单",
        f"{en}: {answer['new']} new, {answer['changed']} changed, {answer['unchanged']} unchanged,"
        f" {answer['removed']} removed; {answer['frees']} held orders go on",
    )
    _note_unused(terminal, answer)


def _print_problems(terminal: Terminal, details: Any) -> None:
    problems = details["problems"]
    terminal.table(
        [("行", "Row"), ("列", "Column"), ("问题与处理", "What is wrong, and what to do")],
        [
            (one["row"] or "", one["column"], terminal.choose(one["zh"], one["en"]))
            for one in problems[:_SHOWN_PROBLEMS]
        ],
    )
    count = details["count"]
    terminal.line(f"共 {count} 个问题，没有导入任何内容", f"{count} problem(s), nothing was imported")
    if count > _SHOWN_PROBLEMS:
        terminal.line(
            f"以上为前 {_SHOWN_PROBLEMS} 个，--json 列出前 {len(problems)} 个",
            f"these are the first {_SHOWN_PROBLEMS}; --json lists {len(problems)}",
        )


def _print_published(terminal: Terminal, answer: Any) -> None:
    terminal.line(f"{answer['listings']} 个编码将重新同步", f"{answer['listings']} SKUs are told again")
