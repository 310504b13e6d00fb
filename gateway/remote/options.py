"""Options and arguments that several commands have."""

from __future__ import annotations

import unicodedata
from typing import Annotated

import typer

Url = Annotated[str, typer.Option("--url", envvar="ORDERGATE_URL", help="网关地址。Address of the gateway")]
Token = Annotated[
    str,
    typer.Option("--token", envvar="ORDERGATE_TOKEN", help="管理令牌。The administrator's token", show_default=False),
]
Reason = Annotated[str, typer.Option("--reason", "-r", help="原因，会被记录。Why; it is kept")]
Limit = Annotated[int, typer.Option(min=1, max=500, help="最多行数。Most rows")]
After = Annotated[
    str | None, typer.Option("--after", help="上一页 --json 中的 next。`next` of the page before, from --json")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="只预览，不改动。Only look: nothing is changed")]


def as_number(given: str | None) -> str | None:
    """As it was meant: an input method for Chinese types Ａ１, a spreadsheet's cell brings blanks along, and numbers of
    orders are visible ASCII."""
    return None if given is None else unicodedata.normalize("NFKC", given).strip()


Number = Annotated[str, typer.Argument(help="我方订单号。Our order number", callback=as_number)]
Target = Annotated[str, typer.Argument(help="目标连接。Connection it goes to")]
Seq = Annotated[int, typer.Argument(help="第几条下发。Which delivery, from 1")]

LOCAL = "http://127.0.0.1:8080"
