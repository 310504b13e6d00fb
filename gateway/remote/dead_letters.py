"""Dead letters: which there are, what one says, sending it through again, repaired or not, and closing it unused."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.core import words
from gateway.core.text import Text
from gateway.core.words import word
from gateway.remote.answer import Codes, choices, example, print_more, print_written, said, show
from gateway.remote.client import Remote, RemoteError
from gateway.remote.options import LOCAL, After, Limit, Reason, Token, Url
from gateway.remote.redrives import redrive_letters
from gateway.terminal import ZH, AsJson, Lang, Terminal, content_of, when

dead = typer.Typer(no_args_is_help=True, help="死信：无法处理的消息。Events that could not be used.")


@dead.command("list", epilog=example("dead list --source shop-a"))
def list_dead_letters(
    state: Annotated[str, typer.Option(help="open 未处理、all 全部。Or all")] = "open",
    source: Annotated[str | None, typer.Option(help="来源连接。Connection it came from")] = None,
    code: Annotated[str | None, typer.Option(help=choices("原因", "Code", words.LETTERS))] = None,
    after: After = None,
    limit: Limit = 50,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """死信列表，最新在前。Events set aside, newest first."""
    answer = Remote(url, token).get("dead-letters", state=state, source=source, code=code, after=after, limit=limit)
    show(answer, _print_dead_letters, lang=lang, as_json=as_json)


@dead.command("show", epilog=example("dead show 7", "dead show 7 -o letter.json"))
def show_dead_letter(
    dead_letter_id: Annotated[int, typer.Argument(help="编号。Id")],
    unmask: Annotated[bool, typer.Option("--unmask", help="显示报文（会被记录）。With the payload; recorded")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="把报文写入文件，修复后用 dead release --body 放行；- 为标准输出（会被记录）。"
            "Write the payload to a file, for dead release --body; - for standard output; recorded",
        ),
    ] = None,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """死信详情。One dead letter."""
    page = Remote(url, token).get("dead-letters", dead_letter_id, unmask=unmask or output is not None)
    if output is None:
        show(page, _print_dead_letter, lang=lang, as_json=as_json)
        return
    if page["base64"] is None:
        why = page["unopened"]
        raise RemoteError(Text(f"报文打不开：{why['zh']}", f"the payload cannot be opened: {why['en']}"))
    content = base64.b64decode(page["base64"])
    if str(output) == "-":
        sys.stdout.buffer.write(content)
        return
    # A buyer's name and address stand in it: a new file is for its owner only.
    with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    show({"file": str(output), "bytes": len(content)}, print_written, lang=lang, as_json=as_json)


@dead.command("release", epilog=example('dead release 7 --body fixed.json -r "补了收件人"'))
def release(
    dead_letter_id: Annotated[int, typer.Argument(help="编号。Id")],
    body: Annotated[
        Path | None,
        typer.Option(help="修复后的报文（文件，- 为标准输入）。Repaired payload: a file, - for standard input"),
    ] = None,
    another_order: Annotated[
        bool,
        typer.Option(
            "--another-order",
            help="原单号有误， 换成报文里的订单。 Its number was wrong: take the payload's order",
        ),
    ] = False,
    reason: Annotated[str, typer.Option("--reason", "-r", help="原因。Why")] = "",
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """（修复后）重新处理。Send it through again, repaired or not, and what waits behind it."""
    given: dict[str, Any] = {"reason": reason}
    if another_order:
        given["another_order"] = True
    if body is not None:
        given["body_base64"] = base64.b64encode(content_of(body)).decode()
    answer = Remote(url, token).post("dead-letters", dead_letter_id, "release", body=given)
    show(answer, _print_released, lang=lang, as_json=as_json)


@dead.command("discard", epilog=example('dead discard 7 -r "测试消息"'))
def discard(
    dead_letter_id: Annotated[int, typer.Argument(help="编号。Id")],
    reason: Reason,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """放弃死信，排在后面的继续。Close it unused; what waits behind it goes on."""
    answer = Remote(url, token).post("dead-letters", dead_letter_id, "discard", body={"reason": reason})
    show(answer, _print_discarded, lang=lang, as_json=as_json)


dead.command(
    "redrive",
    epilog=example("dead redrive --source shop-a --dry-run", 'dead redrive --source shop-a --yes -r "已修复"'),
)(redrive_letters)


def _print_dead_letters(terminal: Terminal, answer: Any) -> None:
    codes = Codes(terminal)
    terminal.table(
        [
            ("编号", "Id"), ("来源", "Source"), ("单号", "Order"), ("原因", "Why"), ("说明", "Words"),
            ("建议", "Advice"),
            ("排队", "Behind"), ("时间", "Time"), ("处理", "Closed"),
        ],
        [
            (
                row["dead_letter_id"], row["source"], row["number"] or row["order_key"],
                codes.say(row["code"], words.LETTERS), said(terminal, row["message"]),
                said(terminal, row["advice"]), row["behind"],
                when(row["created_at"]), terminal.say(word(row["resolution"] or "", words.RESOLUTIONS)),
            )
            for row in answer["dead_letters"]
        ],
    )  # fmt: skip
    codes.print()
    print_more(terminal, answer)


def _print_dead_letter(terminal: Terminal, page: Any) -> None:
    letter = page["dead_letter"]
    code = terminal.say(word(letter["code"], words.LETTERS))
    values = {
        **letter,
        "code": letter["code"] if code == letter["code"] else f"{letter['code']} {code}",
        **{key: said(terminal, letter[key]) for key in ("message", "advice")},
        "resolution": terminal.say(word(letter["resolution"] or "open", words.RESOLUTIONS)),
        **{key: when(letter[key]) for key in ("happened_at", "taken_at", "created_at", "closed_at")},
        "closed_reason": page["closed_reason"],
    }
    terminal.table(
        [("项", "Field"), ("值", "Value")],
        [(terminal.say(word(key, _FIELDS)), value) for key, value in values.items()],
    )
    if unopened := said(terminal, page["unopened"]):
        terminal.line(f"报文打不开：{unopened}", f"the payload cannot be opened: {unopened}")
    payload = page["text"] if page["text"] is not None else page["base64"]
    if payload is not None:  # only where it was asked for
        terminal.plain("")
        terminal.plain(payload)
    elif not unopened:
        number = letter["dead_letter_id"]
        terminal.line(
            f"取出报文：ordergate dead show {number} -o 文件；直接显示加 --unmask（都会被记录）",
            f"its payload: ordergate dead show {number} -o FILE, or --unmask to show it (both are recorded)",
        )


_FIELDS: Mapping[str, Text] = {
    "dead_letter_id": Text("编号", "id"),
    "source": Text("来源", "source"),
    "type": Text("消息类型", "type"),
    "event_id": Text("消息编号", "event id"),
    "order_key": Text("来源单号", "order key"),
    "number": Text("单号", "number"),
    "code": Text("原因", "code"),
    "message": Text("说明", "message"),
    "advice": Text("建议", "advice"),
    "leg": Text("通道", "leg"),
    "partition": Text("分区", "partition"),
    "position": Text("位置", "position"),
    "body_bytes": Text("报文字节数", "body bytes"),
    "happened_at": Text("发生时间", "happened at"),
    "taken_at": Text("接收时间", "taken at"),
    "created_at": Text("成为死信的时间", "set aside at"),
    "closed_at": Text("处理时间", "closed at"),
    "closed_by": Text("处理人", "closed by"),
    "closed_reason": Text("处理原因", "why closed"),
    "resolution": Text("处理", "resolution"),
    "behind": Text("排队", "behind"),
}


def _print_released(terminal: Terminal, answer: Any) -> None:
    terminal.line(f"{answer['events']} 条消息重新处理", f"{answer['events']} event(s) go through again")


def _print_discarded(terminal: Terminal, answer: Any) -> None:
    terminal.line(
        f"已放弃；其后 {answer['events']} 条消息重新处理",
        f"discarded; {answer['events']} event(s) behind it go through again",
    )
