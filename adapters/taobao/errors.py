"""What the platform's errors mean, as data: `RULES`, first match counts.

TOP answers errors with HTTP 200 and an `error_response` of `code` and `sub_code`. Sources: the vendor's error table
(open.taobao.com, articles 101645 and 108869) as quoted by public clients. `isp.` is their fault, `isv.` the caller's.

One thing departs from that table: what it calls permanent is split in two. A fault of the app or its configuration
(signature, permission, version) is *failed*, because the order is right and goes out once the configuration is; a
fault of the content is *rejected*, for a person.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from adapters.taobao.mapping import BEIJING
from gateway.sdk.http import HttpReply, NoAnswer, NotSent, retry_after_s
from gateway.sdk.models import Failed, Rejected, Throttled, Unauthorised, Unknown

Wait = Literal["midnight", "text", "second", ""]
"""How long to be patient: until 00:00 Beijing, as long as the text says, a second, or unsaid."""


class ErrorResponse(msgspec.Struct, frozen=True):
    """The platform's own words."""

    code: int | str = ""
    sub_code: str | None = None
    msg: str | None = None
    sub_msg: str | None = None


class Rule(msgspec.Struct, frozen=True):
    """`codes` (empty: any) and `sub_code` (a regular expression) have to fit; then `kind` and our `code` hold.

    `certain`: the call certainly had no effect.
    """

    kind: Literal["throttled", "unauthorised", "failed", "rejected"]
    code: str
    codes: tuple[int, ...] = ()
    sub_code: str = ""
    wait: Wait = ""
    certain: bool = True


RULES = (
    Rule("throttled", "quota", sub_code=r"^accesscontrol\.limited-by-app-access-count", wait="midnight"),
    Rule("throttled", "frequency", sub_code=r"^accesscontrol\.limited-by-", wait="text"),
    Rule("throttled", "frequency", sub_code=r"^isp\.call-limited", wait="second"),
    Rule("throttled", "frequency", (4, 5, 6, 7, 8), wait="text"),
    Rule("unauthorised", "session", (26, 27)),
    Rule("failed", "clock", (30, 31)),
    Rule("failed", "platform", sub_code=r"^isp\.", certain=False),
    Rule("failed", "unavailable", (10,), certain=False),
    Rule("failed", "permission", (11, 12, 13)),
    Rule("failed", "method", (21, 22)),
    Rule("failed", "signature", (24, 25)),
    Rule("failed", "app_key", (28, 29)),
    Rule("failed", "version", (32, 33, 34)),
    Rule("failed", "permission", sub_code=r"^isv\.(invalid-)?permission"),
    Rule("rejected", "argument", (40, 41, 43)),
    Rule("rejected", "forbidden", (42,)),
    Rule("rejected", "business", sub_code=r"^isv\."),
    Rule("failed", "platform", (15,), certain=False),
    Rule("rejected", "other"),
)


class Verdict(msgspec.Struct, frozen=True):
    """Why a call did not give what was asked for. `code` is from a closed set, `message` is for a person."""

    kind: Literal["throttled", "unauthorised", "failed", "rejected"]
    code: str
    message: str = ""
    wait_s: float | None = None
    certain: bool = True
    timeout: bool = False

    def of_question(self) -> Failed | Throttled | Unauthorised:
        """What it means for a question, which has no effect: a refused one is no order's fault, and fails."""
        if self.kind == "throttled":
            return Throttled(self.wait_s, self.message)
        if self.kind == "unauthorised":
            return Unauthorised(self.code, self.message)
        return Failed(self.code, self.message, self.wait_s)

    def of_command(self) -> Failed | Throttled | Unauthorised | Rejected | Unknown:
        """What it means for something that was to take effect."""
        if self.kind == "rejected":
            return Rejected(self.code, self.message)
        if self.kind == "failed" and not self.certain:
            return Unknown(self.code, self.message, timeout=self.timeout)
        return self.of_question()


def judge(error: ErrorResponse, *, now: datetime) -> Verdict:
    """What an `error_response` means."""
    number = int(error.code) if str(error.code).isdigit() else -1
    sub_code = error.sub_code or ""
    rule = next(
        rule for rule in RULES if (not rule.codes or number in rule.codes) and re.search(rule.sub_code, sub_code)
    )
    return Verdict(rule.kind, rule.code, _say(error), _wait_s(rule.wait, error, now), rule.certain)


def judge_status(reply: HttpReply, *, now: datetime) -> Verdict:
    """What an HTTP status other than 200 means: something between us and the platform speaks."""
    wait_s = retry_after_s(reply.retry_after, now=now)
    said = f"HTTP {reply.status}"
    if reply.status == 429:
        return Verdict("throttled", "frequency", said, wait_s)
    if reply.status >= 500:
        code = f"http_{reply.status}" if reply.status in (500, 502, 503, 504) else "http_5xx"
        # 503: nobody stood behind it to take anything.
        return Verdict("failed", code, said, wait_s, certain=reply.status == 503, timeout=reply.status == 504)
    return Verdict("failed", "http", said, wait_s)


def judge_lack(error: NotSent | NoAnswer) -> Verdict:
    """What it means that there is no answer at all."""
    if isinstance(error, NotSent):
        return Verdict("failed", error.code, error.message)
    return Verdict("failed", error.code, error.message, certain=False, timeout=error.timeout)


def until_midnight_s(now: datetime) -> float:
    """Seconds until a second past the next 00:00 in Beijing."""
    here = now.astimezone(BEIJING)
    midnight = (here + timedelta(days=1)).replace(hour=0, minute=0, second=1, microsecond=0)
    return (midnight - here).total_seconds()


_BAN = re.compile(r"(\d{1,6}) (?:more )?seconds?|(\d{1,6}) ?秒")
# Long numbers in an error's text may be a telephone number or a parcel's.
_LONG_NUMBER = re.compile(r"\d{5,}")
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,80}")


def _wait_s(wait: Wait, error: ErrorResponse, now: datetime) -> float | None:
    if wait == "midnight":
        return until_midnight_s(now)
    if wait == "second":
        return 1.0
    ban = _BAN.search(f"{error.sub_msg} {error.msg}") if wait == "text" else None
    return float(ban[1] or ban[2]) + 1.0 if ban is not None else None


def _say(error: ErrorResponse) -> str:
    code, sub_code = str(error.code), error.sub_code or ""
    words = [word for word in (code, sub_code) if _WORD.fullmatch(word)]
    return " ".join([*words, _LONG_NUMBER.sub("…", (error.sub_msg or error.msg or "")[:200])]).strip()
