"""What the platform's errors mean, row by row of the facts."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from adapters.taobao.errors import RULES, ErrorResponse, Rule, Verdict, judge, judge_status, until_midnight_s
from gateway.sdk.http import HttpReply
from gateway.sdk.models import Failed, Rejected, Throttled, Unauthorised, Unknown

NOON = datetime(2026, 5, 1, 4, 0, tzinfo=UTC)  # 12:00 in Beijing
QUOTA = "accesscontrol.limited-by-app-access-count"
BAN = "accesscontrol.limited-by-api-access-count"
APP_BAN = "accesscontrol.limited-by-app-api-access-count"

ROWS: list[tuple[int, str, str, tuple[str, str, float | None]]] = [
    (4, "", "", ("throttled", "frequency", None)),
    (5, "", "", ("throttled", "frequency", None)),
    (6, "", "", ("throttled", "frequency", None)),
    (7, "", "", ("throttled", "frequency", None)),
    (8, "", "", ("throttled", "frequency", None)),
    (7, QUOTA, "", ("throttled", "quota", 12 * 3600 + 1.0)),
    (7, BAN, "This ban will last for 31 more seconds", ("throttled", "frequency", 32.0)),
    (7, APP_BAN, "This ban will last for 1 more seconds", ("throttled", "frequency", 2.0)),
    (7, BAN, "本次限流将持续 5 秒", ("throttled", "frequency", 6.0)),
    (15, "isp.call-limited", "", ("throttled", "frequency", 1.0)),
    (26, "", "", ("unauthorised", "session", None)),
    (27, "invalid-sessionkey", "", ("unauthorised", "session", None)),
    (30, "", "", ("failed", "clock", None)),
    (31, "isv.invalid-timestamp", "", ("failed", "clock", None)),
    (10, "", "", ("failed", "unavailable", None)),
    (15, "isp.remote-service-timeout", "", ("failed", "platform", None)),
    (15, "", "", ("failed", "platform", None)),
    (11, "isv.permission-api-package-limit", "", ("failed", "permission", None)),
    (15, "isv.invalid-permission", "", ("failed", "permission", None)),
    (12, "", "", ("failed", "permission", None)),
    (13, "", "", ("failed", "permission", None)),
    (21, "", "", ("failed", "method", None)),
    (22, "", "", ("failed", "method", None)),
    (24, "", "", ("failed", "signature", None)),
    (25, "", "", ("failed", "signature", None)),
    (28, "", "", ("failed", "app_key", None)),
    (29, "isv.appkey-not-exists", "", ("failed", "app_key", None)),
    (32, "", "", ("failed", "version", None)),
    (33, "", "", ("failed", "version", None)),
    (34, "", "", ("failed", "version", None)),
    (40, "isv.missing-parameter:tid", "", ("rejected", "argument", None)),
    (41, "", "", ("rejected", "argument", None)),
    (43, "", "", ("rejected", "argument", None)),
    (42, "", "", ("rejected", "forbidden", None)),
    (15, "isv.trade-not-exist", "", ("rejected", "business", None)),
    (15, "isv.logistics-offline-service-error:B60", "", ("rejected", "business", None)),
    (999, "", "", ("rejected", "other", None)),
]


@pytest.mark.parametrize(("code", "sub_code", "text", "expected"), ROWS)
def test_every_row(code: int, sub_code: str, text: str, expected: tuple[str, str, float | None]) -> None:
    for given in (code, str(code)):  # numbers come as numbers and as text
        verdict = judge(ErrorResponse(given, sub_code or None, "msg", text or None), now=NOON)
        assert (verdict.kind, verdict.code, verdict.wait_s) == expected


def test_every_rule_is_reached_by_a_row() -> None:
    def rule_of(code: int, sub_code: str) -> Rule:
        return next(r for r in RULES if (not r.codes or code in r.codes) and re.search(r.sub_code, sub_code))

    assert {rule_of(code, sub_code) for code, sub_code, _, _ in ROWS} == set(RULES)


@pytest.mark.parametrize(
    ("verdict", "asked", "told"),
    [
        (Verdict("throttled", "f", "m", 2.0), Throttled(2.0, "m"), Throttled(2.0, "m")),
        (Verdict("unauthorised", "session", "m"), Unauthorised("session", "m"), Unauthorised("session", "m")),
        (Verdict("failed", "clock", "m"), Failed("clock", "m"), Failed("clock", "m")),
        (Verdict("rejected", "business", "m"), Failed("business", "m"), Rejected("business", "m")),
        (
            Verdict("failed", "platform", "m", certain=False, timeout=True),
            Failed("platform", "m"),
            Unknown("platform", "m", timeout=True),
        ),
    ],
)
def test_a_question_has_no_effect_and_a_command_may(verdict: Verdict, asked: object, told: object) -> None:
    assert verdict.of_question() == asked
    assert verdict.of_command() == told


@pytest.mark.parametrize(
    ("status", "retry_after", "expected"),
    [
        (429, "3", Verdict("throttled", "frequency", "HTTP 429", 3.0)),
        (503, "7", Verdict("failed", "http_503", "HTTP 503", 7.0)),
        (500, None, Verdict("failed", "http_500", "HTTP 500", certain=False)),
        (504, None, Verdict("failed", "http_504", "HTTP 504", certain=False, timeout=True)),
        (599, None, Verdict("failed", "http_5xx", "HTTP 599", certain=False)),
        (404, None, Verdict("failed", "http", "HTTP 404")),
    ],
)
def test_other_statuses(status: int, retry_after: str | None, expected: Verdict) -> None:
    assert judge_status(HttpReply(status, b"", retry_after), now=NOON) == expected


def test_the_quota_ends_at_midnight_in_beijing() -> None:
    assert until_midnight_s(datetime(2026, 5, 1, 15, 59, 59, tzinfo=UTC)) == 2.0
    assert until_midnight_s(datetime(2026, 5, 1, 16, 0, tzinfo=UTC)) == 24 * 3600 + 1.0


def test_what_a_person_reads_has_no_long_numbers_in_it() -> None:
    error = ErrorResponse(
        15, "isv.some-error:B60", "Remote service error", "运单号 773012345678 不符合规则，联系 13800138000"
    )
    assert judge(error, now=NOON).message == "15 isv.some-error:B60 运单号 … 不符合规则，联系 …"
