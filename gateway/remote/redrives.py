"""Many at once: sending again what is blocked, with a look first, and taking many for handled; and how that goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from gateway.core import words
from gateway.core.text import Text
from gateway.core.words import word
from gateway.remote.answer import Codes, choices, example, print_more, show
from gateway.remote.client import Remote, RemoteError
from gateway.remote.options import LOCAL, After, DryRun, Limit, Reason, Token, Url
from gateway.terminal import ZH, AsJson, Lang, Language, Terminal, when

Target = Annotated[str | None, typer.Option(help="目标连接。Deliveries to this connection")]
Source = Annotated[str | None, typer.Option(help="来源店铺或连接。Of this shop, or from this connection")]
Operation = Annotated[str | None, typer.Option(help=choices("操作", "Deliveries of this operation", words.OPERATIONS))]
Code = Annotated[
    str | None, typer.Option(help="原因代码， 如 rejected:http_4xx、 unknown； rejected 为全部拒收。 Code of the cause")
]
LetterCode = Annotated[str | None, typer.Option(help=choices("原因", "Code of the cause", words.LETTERS))]
Since = Annotated[str | None, typer.Option(help="自此刻起受阻，2026-05-01T09:00:00+08:00。Waiting since then or later")]
Until = Annotated[str | None, typer.Option(help="在此刻前受阻。Waiting since before then")]
Yes = Annotated[bool, typer.Option("--yes", help="确认执行。Do it")]
Cap = Annotated[int, typer.Option(min=1, help="最多处理多少，最早的优先。Take at most so many, the oldest first")]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        min=0.01,
        max=1000,
        help="每秒放出多少；默认 10，限速的一半更小时取一半。Released a second; default: 10, or half its limit if less",
    ),
]
StartIn = Annotated[
    float, typer.Option("--start-in", min=0, max=86400, help="多少秒后开始，期间可停止。Nothing leaves before")
]
ResolveIn = Annotated[
    float,
    typer.Option(
        "--start-in",
        min=0,
        max=86400,
        help="多少秒后开始，期间可停止，之后不能撤销。Nothing is resolved before; what is cannot be undone",
    ),
]
SendUnasked = Annotated[
    bool,
    typer.Option(
        "--send-unasked",
        help="连无法查询的也直接重发，已收到的会重复！Also send where nobody can be asked: what has arrived is doubled",
    ),
]
WhyOr = Annotated[str, typer.Option("--reason", "-r", help="原因，会被记录；预览时不需要。Why; needed with --yes")]
RedriveId = Annotated[int, typer.Argument(help="编号。Id")]

redrives = typer.Typer(
    no_args_is_help=True, help="批量重发、批量标记已处理的进度与停止。Redrives: how they go, and stopping one."
)


def redrive_deliveries(
    target: Target = None,
    source: Source = None,
    operation: Operation = None,
    code: Code = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    cap: Cap = 1000,
    rate: Rate = None,
    start_in: StartIn = 10.0,
    send_unasked: SendUnasked = False,
    reason: WhyOr = "",
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """批量重发受阻的下发：先预览（--dry-run），再执行（--yes）。Send many blocked deliveries again."""
    wanted = _wanted("delivery", target=target, source=source, operation=operation, code=code, since=since, until=until)
    _redrive(
        Remote(url, token), wanted, dry_run=dry_run, yes=yes, cap=cap, rate=rate, start_in=start_in,
        send_unasked=send_unasked, reason=reason, as_json=as_json, lang=lang,
    )  # fmt: skip


def redrive_letters(
    source: Source = None,
    code: LetterCode = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    cap: Cap = 1000,
    rate: Rate = None,
    start_in: StartIn = 10.0,
    reason: WhyOr = "",
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """批量重新处理死信：先预览（--dry-run），再执行（--yes）。Send many dead letters through again."""
    wanted = _wanted("dead_letter", source=source, code=code, since=since, until=until)
    _redrive(
        Remote(url, token), wanted, dry_run=dry_run, yes=yes, cap=cap, rate=rate, start_in=start_in,
        send_unasked=False, reason=reason, as_json=as_json, lang=lang,
    )  # fmt: skip


def resolve_many(
    target: Target = None,
    source: Source = None,
    operation: Operation = None,
    code: Code = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    cap: Cap = 100,
    start_in: ResolveIn = 10.0,
    reason: WhyOr = "",
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """批量标记已处理：先预览（--dry-run），再执行（--yes）。Take many blocked deliveries for handled elsewhere.

    开始前可用 redrives stop 停止，已标记的不能撤销。 redrives stop stops it before; what is resolved stays so.
    """
    remote = Remote(url, token)
    body = {
        "wanted": _wanted(
            "delivery", target=target, source=source, operation=operation, code=code, since=since, until=until
        ),
        "cap": cap,
    }
    if decided(dry_run=dry_run, yes=yes, reason=reason):
        answer = remote.post("deliveries", "resolve", body={**body, "reason": reason, "start_in_s": start_in})
        show(answer, _print_started, lang=lang, as_json=as_json)
    else:
        found = remote.post("deliveries", "resolve", "preview", body=body)
        show(found, _print_look_to_resolve, lang=lang, as_json=as_json)


@redrives.command("list", epilog=example("redrives list", "redrives list --state running"))
def list_redrives(
    state: Annotated[str, typer.Option(help="running 进行中、all 全部。Or all")] = "all",
    after: After = None,
    limit: Limit = 20,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """批量重发与批量标记已处理，最新在前。Redrives, newest first."""
    answer = Remote(url, token).get("redrives", state=state, after=after, limit=limit)
    show(answer, _print_redrives, lang=lang, as_json=as_json)


@redrives.command("show", epilog=example("redrives show 7"))
def show_redrive(
    redrive_id: RedriveId, url: Url = LOCAL, token: Token = "", as_json: AsJson = False, lang: Lang = ZH
) -> None:
    """一个批次的进度。How far one is."""
    show(Remote(url, token).get("redrives", redrive_id), _print_redrive, lang=lang, as_json=as_json)


@redrives.command("stop", epilog=example('redrives stop 7 -r "先等仓库恢复"'))
def stop_redrive(
    redrive_id: RedriveId,
    reason: Reason,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """停止：还没离开的恢复原状，已标记的不能撤销。Stop one; what has not left, or is not resolved, is as it was."""
    answer = Remote(url, token).post("redrives", redrive_id, "stop", body={"reason": reason})
    show(answer, _print_redrive, lang=lang, as_json=as_json)


def _wanted(kind: str, **given: str | None) -> dict[str, Any]:
    return {"kinds": [kind], **narrowed(given)}


def narrowed(given: Mapping[str, str | None]) -> dict[str, Any]:
    """The options that were given. Raises RemoteError where none was."""
    narrowing = {name: value for name, value in given.items() if value}
    if not narrowing:
        options = "、".join(f"--{name}" for name in given)
        raise RemoteError(
            f"必须给出过滤条件（{options} 之一），不能一次全部处理"
            " / a filter is needed: everything at once is never meant"
        )
    return narrowing


def decided(*, dry_run: bool, yes: bool, reason: str) -> bool:
    """Whether it is to be done now; without --yes it is only looked at."""
    if dry_run and yes:
        raise RemoteError("--dry-run 和 --yes 只能二选一 / give one of --dry-run and --yes")
    if yes and not reason:
        raise RemoteError("执行需要 --reason，会被记录 / --yes needs --reason, which is kept")
    return yes


def _redrive(
    remote: Remote,
    wanted: dict[str, Any],
    *,
    dry_run: bool,
    yes: bool,
    cap: int,
    rate: float | None,
    start_in: float,
    send_unasked: bool,
    reason: str,
    as_json: bool,
    lang: Language,
) -> None:
    body: dict[str, Any] = {"wanted": wanted, "cap": cap, "send_unasked": send_unasked}
    if decided(dry_run=dry_run, yes=yes, reason=reason):
        body |= {"reason": reason, "start_in_s": start_in} | ({} if rate is None else {"per_s": rate})
        show(remote.post("redrives", body=body), _print_started, lang=lang, as_json=as_json)
    else:
        look = remote.post("redrives", "preview", body=body)
        if rate is not None:  # as it would go, not as it would without the option
            look |= {"per_s": rate, "takes_s": look["preview"]["chosen"] / rate}
        show(look, _print_look, lang=lang, as_json=as_json)


def _print_look(terminal: Terminal, answer: Any) -> None:
    if not _print_preview(terminal, answer["preview"]):
        return
    if called_off := answer["preview"].get("called_off"):  # a gateway of before does not say
        terminal.line(
            f"注意：其中 {called_off} 个订单店铺已取消或退款：先下单，取消随后发出；肯定从未离开的，两者都不发",
            f"note: {called_off} of them were cancelled or paid back at the shop: each is created, and then cancelled;"
            " of what has certainly never left neither is sent",
        )
    terminal.line(
        f"每秒 {answer['per_s']:g} 个，约需 {answer['takes_s']:.0f} 秒；要执行：不写 --dry-run，加 --yes --reason 原因",
        f"{answer['per_s']:g} a second, about {answer['takes_s']:.0f} s; to do it: without --dry-run, with"
        " --yes --reason WHY",
    )


def _print_look_to_resolve(terminal: Terminal, preview: Any) -> None:
    if not _print_preview(terminal, preview):
        return
    terminal.line(
        "要执行：不写 --dry-run，加 --yes --reason 原因；--start-in 秒（默认 10）内可停止，已标记的不能撤销",
        "to do it: without --dry-run, with --yes --reason WHY; it can be stopped within --start-in seconds (10),"
        " what is resolved stays so",
    )


def _print_preview(terminal: Terminal, preview: Any) -> bool:
    """Whether there is anything to do."""
    codes = Codes(terminal)
    terminal.table(
        [
            ("连接", "Connection"), ("操作", "Operation"), ("原因", "Why"), ("数量", "Count"), ("最早", "Oldest"),
            ("最新", "Newest"), ("如", "Like"), ("做法", "How"),
        ],
        [
            (
                group["connection"], codes.say(group["operation"], words.OPERATIONS),
                codes.say(group["code"], words.blocked if group["kind"] == "delivery" else words.LETTERS),
                group["count"], when(group["oldest"]),
                when(group["newest"]), group["samples"], terminal.say(word(group["how"], words.HOWS)),
            )
            for group in preview["groups"]
        ],
    )  # fmt: skip
    codes.print()
    terminal.line(
        f"符合 {preview['total']}，将处理 {preview['chosen']}，留给人工 {preview['staying']}，"
        f"在其他批次中 {preview['elsewhere']}",
        f"{preview['total']} fit, {preview['chosen']} would be taken, {preview['staying']} stay with a person, "
        f"{preview['elsewhere']} are in another redrive",
    )
    if not preview["total"]:
        terminal.line(
            "没有符合条件的；有哪些在等，见 `ordergate work list`",
            "nothing fits; what waits is in `ordergate work list`",
        )
    return bool(preview["chosen"])


def _print_started(terminal: Terminal, answer: Any) -> None:
    redrive = answer["redrive"]
    number, total, per_s = redrive["redrive_id"], redrive["total"], redrive["per_s"]
    does = word(redrive["does"], words.DOES)
    terminal.line(
        f"批次 {number}：{does.zh} {total} 个，每秒 {per_s:g} 个，{when(redrive['next_at'])} 开始",
        f"redrive {number} {does.en}: {total} items, {per_s:g} a second, from {when(redrive['next_at'])} on",
    )
    terminal.line(
        f"进度：ordergate redrives show {number}；停止并恢复原状：ordergate redrives stop {number} -r REASON",
        f"how it goes: ordergate redrives show {number}; to stop it: ordergate redrives stop {number} -r REASON",
    )
    if redrive["does"] == "resolve":
        _print_for_good(terminal)


def _print_for_good(terminal: Terminal) -> None:
    terminal.line("已标记的不能撤销", "what is resolved cannot be undone")


def _print_redrives(terminal: Terminal, answer: Any) -> None:
    terminal.table(
        [
            ("编号", "Id"), ("做什么", "Does"), ("状态", "State"), ("总数", "Total"), ("未开始", "Waiting"),
            ("在途", "Out"), ("完成", "Done"), ("其中已有", "Found"), ("又受阻", "Again"), ("原因", "Why"),
            ("谁", "Who"), ("开始", "Starts"),
        ],
        [
            (
                row["redrive_id"], terminal.say(word(row["does"], words.DOES)),
                terminal.say(word(row["state"], words.REDRIVES)), row["total"], row["waiting"], row["released"],
                row["done"], row["found"], row["again"], row["reason"], row["author"],
                when(row["starts_at"]),
            )
            for row in answer["redrives"]
        ],
    )  # fmt: skip
    print_more(terminal, answer)


def _print_redrive(terminal: Terminal, row: Any) -> None:
    codes = Codes(terminal)
    sends = row["does"] == "send"
    lines = [
        (("编号", "Id"), row["redrive_id"]),
        (("做什么", "Does"), terminal.say(word(row["does"], words.DOES))),
        (("状态", "State"), terminal.say(word(row["state"], words.REDRIVES))),
        (("条件", "Filter"), _wanted_in_words(terminal, row["wanted"], codes)),
        (("原因", "Why"), row["reason"]),
        (("谁", "Who"), row["author"]),
        (("每秒", "A second"), f"{row['per_s']:g}"),
        (("建立", "Made"), when(row["created_at"])),
        (("开始", "Starts"), when(row["starts_at"])),
        (("结束", "Ended"), when(row["ended_at"])),
        (("总数", "Total"), row["total"]),
        (("未放出", "Not released yet") if sends else ("未标记", "Not resolved yet"), row["waiting"]),
    ]
    if sends:
        lines += [
            (("在途", "Released, under way"), row["released"]),
            (("完成", "Done"), row["done"]),
            (("其中对方已有", "of these, found there"), row["found"]),
            (("其中未发出：此前已取消", "of these, never sent: cancelled before"), row.get("withdrawn", "")),
            (("又受阻", "Blocked again"), row["again"]),
        ]
    else:
        lines.append((("已标记", "Resolved"), row["done"]))
    lines.append((("已变化而跳过", "Skipped: changed meanwhile"), row["skipped"]))
    if row["state"] == "stopped":
        lines.append((("停止时未动", "Untouched when stopped"), row["kept"]))
        if sends:
            lines += [
                (("已恢复原状", "Put back as they were"), row["undone"]),
                (("已离开", "Had left already"), row["left"]),
            ]
    terminal.table([("项", "Field"), ("值", "Value")], [(terminal.choose(*name), value) for name, value in lines])
    codes.print()
    if not sends and row["done"]:
        _print_for_good(terminal)


def _wanted_in_words(terminal: Terminal, wanted: Mapping[str, Any], codes: Codes) -> str:
    """What a redrive was asked to take; nothing of its kinds where it may take both."""
    letters = wanted.get("kinds") == ["dead_letter"]
    said: Mapping[str, Callable[[Any], str]] = {
        "kinds": lambda kinds: codes.list(kinds, words.WORK),
        "operation": lambda operation: codes.say(operation, words.OPERATIONS),
        "code": lambda code: codes.say(code, words.LETTERS if letters else words.blocked),
        "since": when,
        "until": when,
    }
    parts = [
        terminal.say(word(name, _FILTERS)) + " " + said.get(name, str)(value)
        for name, value in wanted.items()
        if name != "kinds" or len(value) == 1
    ]
    return terminal.choose("；", "; ").join(parts)


_FILTERS: Mapping[str, Text] = {
    "kinds": Text("类型", "kind"),
    "target": Text("目标", "target"),
    "source": Text("来源", "source"),
    "operation": Text("操作", "operation"),
    "code": Text("原因", "code"),
    "since": Text("受阻自", "since"),
    "until": Text("受阻早于", "before"),
}
