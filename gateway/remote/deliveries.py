"""Deliveries that are not done: which there are, sending one again, and taking one for done."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.core import words
from gateway.core.text import Text
from gateway.core.words import word
from gateway.remote.answer import Codes, example, print_done, print_more, show
from gateway.remote.client import Remote, RemoteError
from gateway.remote.options import LOCAL, After, Limit, Number, Reason, Seq, Target, Token, Url
from gateway.remote.redrives import redrive_deliveries, resolve_many
from gateway.terminal import ZH, AsJson, Lang, Terminal, content_of, when

deliveries = typer.Typer(no_args_is_help=True, help="未完成的下发。Deliveries that are not done.")


@deliveries.command("list", epilog=example("deliveries list --state blocked --target wms-1"))
def list_deliveries(
    state: Annotated[str, typer.Option(help="open 全部、waiting 等待、blocked 待人工。One of these")] = "open",
    target: Annotated[str | None, typer.Option(help="目标连接。Connection it goes to")] = None,
    after: After = None,
    limit: Limit = 50,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """未完成的下发，最早在前。Deliveries that are not done, oldest first."""
    answer = Remote(url, token).get("deliveries", state=state, target=target, after=after, limit=limit)
    show(answer, _print_deliveries, lang=lang, as_json=as_json)


@deliveries.command("resend", epilog=example('deliveries resend A1001 wms-1 1 --edit fix.json -r "地址有误"'))
def resend(
    number: Number,
    target: Target,
    seq: Seq,
    reason: Reason,
    edit: Annotated[
        Path | None,
        typer.Option(
            help="要修改的内容： JSON 文件， - 为标准输入。 只写要改的部分， 见 docs/desk.md。 "
            "What to change: a JSON file, - for standard input, like"
            ' {"receiver": {"phone": "13900000000"}}; lists are replaced whole'
        ),
    ] = None,
    confirmed_absent: Annotated[
        bool,
        typer.Option("--confirmed-absent", help="已确认对方没有该单。You have looked: the target does not have it"),
    ] = False,
    if_attempts: Annotated[
        int | None,
        typer.Option(
            "--if-attempts", min=0, help="你看到的次数；其间有人重发过则拒绝。Refused if somebody sent it since"
        ),
    ] = None,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """（修改后）重新下发。Send a blocked delivery again, changed or not."""
    body: dict[str, Any] = {"reason": reason, "confirmed_absent": confirmed_absent, "if_attempts": if_attempts}
    if edit is not None:
        try:
            body["edit"] = json.loads(content_of(edit))
        except ValueError as error:
            place = "不是 UTF-8"
            if isinstance(error, json.JSONDecodeError):
                place = f"第 {error.lineno} 行第 {error.colno} 个字符处有误"
            raise RemoteError(Text(f"{edit} 不是 JSON：{place}", f"{edit} is not JSON: {error}")) from error
    answer = Remote(url, token).post("deliveries", number, target, seq, "resend", body=body)
    show(answer, print_done, lang=lang, as_json=as_json)


@deliveries.command("resolve", epilog=example('deliveries resolve A1001 wms-1 1 --reference W-77 -r "已手工录入"'))
def resolve(
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
    answer = Remote(url, token).post("deliveries", number, target, seq, "resolve", body=body)
    show(answer, print_done, lang=lang, as_json=as_json)


deliveries.command(
    "redrive",
    epilog=example(
        "deliveries redrive --target wms-1 --code unknown --dry-run",
        'deliveries redrive --target wms-1 --code unknown --yes --cap 5000 --rate 20 -r "仓库已恢复"',
    ),
)(redrive_deliveries)
deliveries.command(
    "resolve-many",
    epilog=example('deliveries resolve-many --target wms-1 --code cancel_refused --yes -r "已电话取消"'),
)(resolve_many)


def print_lanes(terminal: Terminal, lanes: list[dict[str, Any]], codes: Codes) -> None:
    """What is open of some orders, a line each."""
    terminal.table(
        [
            ("单号", "Order"), ("目标", "Target"), ("序号", "Seq"), ("操作", "Operation"), ("状态", "State"),
            ("原因", "Why"), ("次数", "Tries"), ("最近结果", "Last"), ("说明", "Words"),
        ],
        [
            (
                lane["number"], lane["target"], lane["seq"], codes.say(lane["operation"], words.OPERATIONS),
                _state(terminal, lane, codes), codes.say(lane["blocked"], words.blocked), lane["attempts"],
                " ".join(
                    filter(
                        None,
                        (
                            terminal.say(words.result(lane["last_result"] or "")),
                            codes.say(lane["last_code"], words.answer),
                        ),
                    )
                ),
                lane["last_detail"],
            )
            for lane in lanes
        ],
    )  # fmt: skip


def _state(terminal: Terminal, lane: dict[str, Any], codes: Codes) -> str:
    name = codes.say(lane["state"], words.LANES)
    if lane["state"] == "blocked":
        return name
    if lane["stopped"]:
        stopped = terminal.say(word(lane["stopped"], words.STOPPED))
        return terminal.choose(f"{name}（{stopped}）", f"{name} ({stopped})")
    if lane["state"] == "waiting" and datetime.fromisoformat(lane["not_before"]) > datetime.now(UTC):
        return f"{name} {terminal.choose('至', 'until')} {when(lane['not_before'])}"
    return name


def _print_deliveries(terminal: Terminal, answer: Any) -> None:
    codes = Codes(terminal)
    print_lanes(terminal, answer["deliveries"], codes)
    codes.print()
    print_more(terminal, answer)
