"""Gates: how they stand, and holding a breaker."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.core import words
from gateway.core.text import Text
from gateway.core.words import word
from gateway.remote.answer import Codes, choices, example, print_done, show
from gateway.remote.client import Remote
from gateway.remote.options import LOCAL, Reason, Target, Token, Url
from gateway.terminal import ZH, AsJson, Lang, Terminal, when

Operation = Annotated[str, typer.Argument(help=choices("操作", "Operation", words.OPERATIONS))]
For = Annotated[float, typer.Option("--for", min=1, max=604800, help="持续秒数。For so many seconds")]

gates = typer.Typer(no_args_is_help=True, help="闸门和熔断。Gates and breakers.")


@gates.command("list", epilog=example("gates list"))
def list_gates(url: Url = LOCAL, token: Token = "", as_json: AsJson = False, lang: Lang = ZH) -> None:
    """闸门状态。How the gates stand."""
    answer = Remote(url, token).get("gates")
    show(answer, _print_gates, lang=lang, as_json=as_json)


@gates.command("open", epilog=example('gates open wms-1 create --for 600 -r "仓库盘点"'))
def hold_open(
    target: Target,
    operation: Operation,
    reason: Reason,
    for_s: For = 3600,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """手动断开一段时间：不再下发。Hold a breaker open for a time: nothing is sent."""
    answer = _force(Remote(url, token), target, operation, force="open", reason=reason, for_s=for_s)
    show(answer, print_done, lang=lang, as_json=as_json)


@gates.command("close", epilog=example('gates close wms-1 create --for 600 -r "先放行"'))
def hold_closed(
    target: Target,
    operation: Operation,
    reason: Reason,
    for_s: For = 3600,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """手动闭合：不论失败都下发。Hold a breaker closed: everything is sent."""
    answer = _force(Remote(url, token), target, operation, force="closed", reason=reason, for_s=for_s)
    show(answer, print_done, lang=lang, as_json=as_json)


@gates.command("auto", epilog=example('gates auto wms-1 create -r "恢复"'))
def let_go(
    target: Target,
    operation: Operation,
    reason: Reason,
    url: Url = LOCAL,
    token: Token = "",
    as_json: AsJson = False,
    lang: Lang = ZH,
) -> None:
    """恢复自动。Let the breaker judge by itself again."""
    answer = _force(Remote(url, token), target, operation, force="auto", reason=reason)
    show(answer, print_done, lang=lang, as_json=as_json)


def _force(remote: Remote, target: str, operation: str, **how: Any) -> Any:
    """Hold a gate's breaker `open` or `closed`, or have it judge by itself again: `auto`."""
    return remote.post("gates", target, operation, "breaker", body=how)


def _print_gates(terminal: Terminal, answer: Any) -> None:
    codes = Codes(terminal)
    terminal.table(
        [
            ("目标", "Target"), ("操作", "Operation"), ("状态", "State"), ("暂停", "Paused"), ("未完成", "Open"),
            ("等待", "Parked"), ("待人工", "Blocked"), ("内存", "Held"), ("在途/上限", "In flight/limit"),
            ("失败率", "Failed"), ("核对", "Questions"), ("手动", "By hand"),
        ],
        [
            (
                gate["target"], codes.say(gate["operation"], words.OPERATIONS),
                _state(terminal, worker) if worker else "",
                gate["paused"], gate["open"], gate["parked"], gate["blocked"],
                worker["held"] if worker else "", f"{worker['in_flight']}/{worker['limit']}" if worker else "",
                f"{worker['breaker']['failure_share']:.0%}" if worker else "",
                terminal.say(word(worker["questions"]["state"], words.BREAKERS))
                if worker and worker["questions"]
                else "",
                _held(terminal, gate["forced"]),
            )
            for gate in answer["gates"]
            for worker in [gate["worker"]]
        ],
    )  # fmt: skip
    codes.print()
    terminal.line(
        f"熔断状态来自应答的进程；共 {answer['workers']} 个进程。核对：对存疑下发的查询",
        f"breakers are those of the worker that answered, one of {answer['workers']};"
        " questions: about what is in doubt",
    )


def _state(terminal: Terminal, worker: Any) -> str:
    """The breaker's state, and what the target has asked for: nothing else says why nothing is sent, or so little."""
    state = terminal.say(word(worker["breaker"]["state"], words.BREAKERS))
    patience, pace = worker.get("throttled_for_s"), worker.get("learnt_per_s")  # a gateway of before says neither
    if patience and patience >= 1:
        return state + terminal.say(Text(f"，被限流，还有 {patience:.0f} 秒", f", throttled for {patience:.0f} s"))
    if pace:
        figure = f"{pace:.0f}" if pace >= 10 else f"{pace:g}"
        return state + terminal.say(Text(f"，被限流，降到每秒 {figure} 次", f", throttled, down to {figure} a second"))
    return state


def _held(terminal: Terminal, forced: Any) -> str:
    """How somebody has ordered the breaker to be held, until when, why, and who; workers may still have to follow."""
    if not forced:
        return ""
    state, until = terminal.say(word(forced["state"], words.BREAKERS)), when(forced["until_at"])
    why = f"{forced['reason']} ({forced['author']})"
    if not until:
        return terminal.choose(f"{state}，直到恢复：{why}", f"{state} until resumed: {why}")
    return terminal.choose(f"{state}，到 {until}：{why}", f"{state} until {until}: {why}")
