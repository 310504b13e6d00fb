"""Connections: how they stand, pausing and resuming, and giving a shop a new authorisation."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.core import words
from gateway.core.text import Text
from gateway.core.words import CONNECTIONS, word
from gateway.remote.answer import choices, example, print_done, show
from gateway.remote.client import Remote, RemoteError
from gateway.remote.options import LOCAL, Reason, Token, Url
from gateway.terminal import ZH, AsJson, Lang, Terminal, content_of, when

ConnectionName = Annotated[str, typer.Argument(help="连接名。Connection")]
Operation = Annotated[
    str | None, typer.Option("--operation", help=choices("只这一种操作", "Only this operation", words.OPERATIONS))
]

connections = typer.Typer(no_args_is_help=True, help="连接和店铺授权。Connections and authorisations of shops.")


@connections.command("list", epilog=example("connections list"))
def list_connections(url: Url = LOCAL, token: Token = "", as_json: AsJson = False, lang: Lang = ZH) -> None:
    """连接状态：启用、暂停、需重新授权；轮询进度。How the connections stand, and how far shops are read."""
    show(Remote(url, token).get("connections"), _print_connections, lang=lang, as_json=as_json)


@connections.command("authorise", epilog=example('connections authorise shop-a --from token.json -r "重新授权"'))
def authorise(
    name: ConnectionName,
    reason: Reason,
    file: Annotated[
        Path,
        typer.Option(
            "--from",
            help="令牌所在文件，- 为标准输入：令牌本身，或平台返回的 JSON。File with the token, - for standard input:"
            " the bare token, or the platform's JSON",
        ),
    ] = Path("-"),
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """重新授权店铺；令牌不出现在命令行。Give a shop a new token, which never stands on the command line."""
    body = {**_authorisation(content_of(file), now_s=time.time()), "reason": reason}
    answer = Remote(url, token).post("connections", name, "authorise", body=body)
    show(answer, print_done, lang=lang, as_json=as_json)


def pause(
    name: ConnectionName,
    reason: Reason,
    operation: Operation = None,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """暂停连接，或只暂停它的一种操作。Pause a connection, or one operation of it.

    暂停店铺：推来、读来的照常收下，未下发的订单等待，恢复后自动继续；已下发的照常取消。不读取、不回传。
    Of a shop: what comes in is taken, its orders wait and go on when it is resumed; what a warehouse has is still
    cancelled. It is neither read nor told anything.

    暂停仓库：不下发，排队等待。Of a warehouse: nothing is sent, all of it waits.
    """
    answer = Remote(url, token).post("connections", name, "pause", body=_which(reason, operation))
    show(answer, print_done, lang=lang, as_json=as_json)


def resume(
    name: ConnectionName,
    reason: Reason,
    operation: Operation = None,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """恢复连接，或它的一种操作；等待的自动继续。Resume a connection, or one operation; what waited goes on."""
    answer = Remote(url, token).post("connections", name, "resume", body=_which(reason, operation))
    show(answer, print_done, lang=lang, as_json=as_json)


def _which(reason: str, operation: str | None) -> dict[str, str]:
    return {"reason": reason} if operation is None else {"reason": reason, "operation": operation}


def _authorisation(content: bytes, *, now_s: float) -> dict[str, Any]:
    """What stands in the file, as the API takes it: the bare token, or a token answer of a platform (RFC 6749, 5.1)."""
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise RemoteError("不是文本 / not a text: the token, or the platform's JSON, as UTF-8") from error
    if not text.startswith("{"):
        if not text or len(text.split()) != 1:
            raise RemoteError("令牌应为一个词 / a token is one word: give the token alone, or the platform's JSON")
        return {"access_token": text}
    try:
        given = json.loads(text)
        found = {key: given[key] for key in ("access_token", "refresh_token") if given.get(key)}
        for instant, life in (("expires_at", "expires_in"), ("refresh_expires_at", "refresh_expires_in")):
            if given.get(instant):
                at = given[instant]
                found[instant] = _rfc3339(float(at)) if isinstance(at, int | float) or str(at).isdigit() else at
            elif given.get(life):
                found[instant] = _rfc3339(now_s + float(given[life]))
    except (ValueError, TypeError, OverflowError) as error:
        # Without the cause's text: it quotes what it could not read.
        raise RemoteError("不是令牌 JSON / is not the JSON of a token: access_token, refresh_token, expires_at") from (
            None if isinstance(error, json.JSONDecodeError) else error
        )
    if "access_token" not in found:
        raise RemoteError("缺少 access_token / has no access_token")
    return found


def _rfc3339(at_s: float) -> str:
    """Of seconds or milliseconds since 1970."""
    return datetime.fromtimestamp(at_s / 1000 if at_s > 1e11 else at_s, UTC).isoformat()


def _why(terminal: Terminal, row: Any) -> str:
    """Why it is not ready, or will not be any more when its token ends."""
    refused = None if row["pull"] is None else row["pull"]["renewal_refused"]
    if row["reason"] or not refused:
        return str(row["reason"])
    return terminal.say(Text(f"续期被拒：{refused}", f"renewal refused: {refused}"))


def _print_connections(terminal: Terminal, answer: Any) -> None:
    terminal.table(
        [
            ("连接", "Connection"), ("适配器", "Adapter"), ("状态", "State"), ("原因", "Why"),
            ("已读至", "Read to"), ("读取故障", "Failing"), ("授权到期", "Token ends"), ("负责进程", "Owner"),
        ],
        [
            (
                row["name"], row["adapter"], terminal.say(word(row["state"], CONNECTIONS)), _why(terminal, row),
                when(pull["read_to"]), pull["failing"], when(pull["token_ends_at"]), pull["owner"],
            )
            for row in answer["connections"]
            for pull in [row["pull"] or dict.fromkeys(("read_to", "failing", "token_ends_at", "owner"))]
        ],
    )  # fmt: skip
    terminal.line(
        "状态不说明对方是否应答：目标见 ordergate gates list，店铺见“读取故障”",
        "the state does not say whether the other side answers: of targets `ordergate gates list` says so, of shops"
        " “Failing”",
    )
