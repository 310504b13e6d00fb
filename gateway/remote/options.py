"""Options and arguments that several commands have."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.terminal import Language

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


def content_of(file: Path) -> bytes:
    return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
