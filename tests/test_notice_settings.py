"""The section `notices`: who can be told and who owns what, and that every mistake in it is told with a proposal."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import settings
from gateway.app import telling_of
from gateway.core.errors import Problem, SettingsError
from gateway.core.notice import Kind
from gateway.plugins import discover
from gateway.settings import Settings

KEY = "0f3c2d1e-aaaa-4bbb-8ccc-1234567890ab"
CONNECTIONS = f"""
connections:
  erp:
    adapter: webhook
    settings: {{secrets: ["whsec_c2hvcC1zZWNyZXQtMDEyMzQ1Njc4OWFiY2RlZg=="], url: "https://erp.example.com"}}
  ops-robot:
    adapter: wecom
    settings: {{robot_keys: ["{KEY}"]}}
  ops-mail:
    adapter: smtp
    settings: {{host: mail.example.com, sender: gateway@example.com, to: [ops@example.com]}}
"""
NOTICES = """
notices:
  channels: [ops-robot, ops-mail]
  people:
    wang: {userid: wangwu, mobile: "13800000001", email: wang@example.com}
  owners:
    - {connection: erp, kind: target, people: [wang]}
    - {people: [wang]}
  mute: [conflict]
  backlog_age_s: 600
  runbook_url: https://wiki.example.com/ordergate
"""


def parsed(text: str) -> Settings:
    return settings.parse(text, {}, discover(), name="og.yaml", folder=Path("/srv"))


def problems(text: str) -> list[Problem]:
    with pytest.raises(SettingsError) as caught:
        parsed(text)
    return list(caught.value.problems)


def test_the_section_becomes_who_is_told_what() -> None:
    telling = telling_of(parsed(NOTICES + CONNECTIONS))
    assert telling.policy.backlog_age_s == 600 and telling.policy.mute == {Kind.CONFLICT}
    assert telling.people["wang"].userid == "wangwu"
    assert [(rule.connection, rule.kind, rule.people) for rule in telling.rules] == [
        ("erp", Kind.TARGET, ("wang",)),
        ("", None, ("wang",)),
    ]
    assert telling.runbooks == "https://wiki.example.com/ordergate/"
    assert KEY not in repr(parsed(NOTICES + CONNECTIONS).connections)


def test_without_the_section_nobody_is_told() -> None:
    assert parsed(CONNECTIONS).notices.channels == ()


@pytest.mark.parametrize(
    ("wrong", "right", "where", "what", "proposal"),
    [
        ("[ops-robt,", "[ops-robot,", "og.yaml:3 notices.channels[0]", "no connection", "did you mean `ops-robot`?"),
        ("[erp,", "[ops-robot,", "og.yaml:3 notices.channels[0]", "declares no notifier", "ops-robot, ops-mail"),
        ("[ops-mail,", "[ops-robot,", "og.yaml:3 notices.channels[1]", "twice", "remove one"),
        ("[wnag]}\n  mute", "[wang]}\n  mute", "og.yaml:8 notices.owners[1].people[0]", "nobody is", "mean `wang`?"),
        (
            "connection: epr",
            "connection: erp",
            "og.yaml:7 notices.owners[0].connection",
            "no connection",
            "mean `erp`?",
        ),
        ("kind: targett", "kind: target", "og.yaml:7 notices.owners[0].kind", "targett", ""),
        (
            "backlog_age: 600",
            "backlog_age_s: 600",
            "og.yaml:10 notices.backlog_age",
            "not a known key",
            "backlog_age_s",
        ),
        ("wang: {}", None, "og.yaml:5 notices.people.wang", "cannot be reached", "add `userid`"),
    ],
)
def test_each_mistake_is_told(wrong: str, right: str | None, where: str, what: str, proposal: str) -> None:
    given = NOTICES
    if right is None:
        given = given.replace('wang: {userid: wangwu, mobile: "13800000001", email: wang@example.com}', wrong)
    else:
        assert right in given
        given = given.replace(right, wrong)
    found = problems(given + CONNECTIONS)
    assert [one.where for one in found] == [where]
    assert what in found[0].what and proposal in found[0].proposal


def test_owners_without_a_channel_are_a_mistake() -> None:
    [found] = problems("notices: {people: {wang: {userid: w}}}" + CONNECTIONS)
    assert found.where == "og.yaml:1 notices.channels" and "ops-robot, ops-mail" in found.proposal


def test_a_key_that_is_none_is_not_quoted() -> None:
    [found] = problems(CONNECTIONS.replace(KEY, f"not a key {KEY}"))
    assert KEY not in str(found)


def test_the_example_in_the_documentation_is_right(tmp_path: Path) -> None:
    page = (Path(settings.__file__).parent.parent / "docs/notices.md").read_text(encoding="utf-8")
    example = page.split("```yaml\n")[1].split("```")[0]
    (tmp_path / "smtp").write_text("a password")
    example = example.replace("/run/secrets", str(tmp_path))
    wms = """  wms-1:
    adapter: webhook
    settings: {secrets: ["whsec_c2hvcC1zZWNyZXQtMDEyMzQ1Njc4OWFiY2RlZg=="], url: "https://wms.example.com"}
"""
    text = example.replace("connections:\n", f"connections:\n{wms}")
    made = settings.parse(text, {"WECOM_ROBOT_KEY": KEY}, discover(), name="notices.md", folder=tmp_path)
    assert made.notices.channels == ("ops-robot", "ops-mail")
