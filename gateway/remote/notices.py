"""What people have been told, and what is the matter now."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from gateway.core import words
from gateway.core.words import word
from gateway.remote.answer import Codes, choices, example, print_more, show
from gateway.remote.client import Remote
from gateway.remote.options import LOCAL, After, Limit, Token, Url
from gateway.terminal import ZH, AsJson, Lang, Terminal, when

notices = typer.Typer(no_args_is_help=True, help="通知。What people are told.")


@notices.command("list", epilog=example("notices list --state failed", "notices list --kind target"))
def list_notices(
    state: Annotated[str | None, typer.Option(help=choices("去向", "What became of it", words.NOTICE_STATES))] = None,
    kind: Annotated[str | None, typer.Option(help=choices("种类", "Kind", words.NOTICES))] = None,
    connection: Annotated[str | None, typer.Option(help="连接。Connection")] = None,
    after: After = None,
    limit: Limit = 50,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """通知记录，最新在前：每条是否送达、在哪条消息里。Notices and what became of each, newest first."""
    remote = Remote(url, token)
    answer = remote.get("notices", state=state, kind=kind, connection=connection, after=after, limit=limit)
    show(answer, _print_notices, lang=lang, as_json=as_json)


@notices.command("open", epilog=example("notices open"))
def list_conditions(url: Url = LOCAL, token: Token = "", as_json: AsJson = False, lang: Lang = ZH) -> None:
    """当前异常。What is the matter now."""
    answer = Remote(url, token).get("conditions")
    show(answer, _print_conditions, lang=lang, as_json=as_json)


def _print_notices(terminal: Terminal, answer: Any) -> None:
    codes = Codes(terminal)

    def fate(notice: Any) -> str:
        message = notice["message_id"]
        match notice["state"]:
            case "merged":
                return terminal.choose(
                    f"并入消息 {message}（共 {notice['notices']} 条）",
                    f"merged into message {message} of {notice['notices']}",
                )
            case "sent":
                return terminal.choose(f"已发，消息 {message}", f"sent in message {message}")
            case "sending":
                return terminal.choose(f"发送中，消息 {message}", f"on its way in message {message}")
            case "failed":
                return terminal.choose(f"失败：{notice['why']}", f"failed: {notice['why']}")
        return terminal.choose("待发", "waiting")

    terminal.table(
        [
            ("编号", "Id"), ("时间", "When"), ("种类", "Kind"), ("变化", "Change"), ("内容", "What"),
            ("去向", "What became of it"), ("渠道", "Channel"), ("提醒", "Mentioned"),
        ],
        [
            (
                notice["notice_id"], when(notice["at"]), codes.say(notice["kind"], words.NOTICES),
                terminal.say(word(notice["change"], words.CHANGES)), notice["title"],
                fate(notice), notice["channel"], notice["people"],
            )
            for notice in answer["notices"]
        ],
    )  # fmt: skip
    codes.print()
    print_more(terminal, answer)


def _print_conditions(terminal: Terminal, answer: Any) -> None:
    if not answer["watched"]:
        terminal.line(
            "没有配置 notices.channels，不检测异常；待办见 `ordergate work list`，目标状态见 `ordergate gates list`",
            "notices.channels is not configured: nothing is watched; see `ordergate work list`, `ordergate gates list`",
        )
        return
    if not answer["conditions"]:
        terminal.line("一切正常", "nothing is the matter")
        return
    codes = Codes(terminal)
    terminal.table(
        [("种类", "Kind"), ("连接", "Connection"), ("对象", "Subject"), ("始于", "Since"), ("数量", "Count told")],
        [
            (
                codes.say(one["kind"], words.NOTICES),
                one["connection"],
                codes.say(one["subject"], partial(words.subject, one["kind"])),
                when(one["opened_at"]),
                one["told"],
            )
            for one in answer["conditions"]
        ],
    )
    codes.print()
