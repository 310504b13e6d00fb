"""The section `notices`: who can be told and who owns what, and that every mistake in it is told with a proposal."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway import settings
from gateway.core.errors import Said, SettingsError
from gateway.core.event import ConnectionName
from gateway.core.notice import Kind
from gateway.core.owner import Matter, owners_of
from gateway.parts import desk_of, rules_of, telling_of
from gateway.plugins import discover
from gateway.settings import Settings
from tests.languages import english

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
  mute: [conflict]
  backlog_age_s: 600
  runbook_url: https://wiki.example.com/ordergate
owners:
  - {connection: erp, kind: target, people: [wang]}
  - {people: [wang]}
"""


def parsed(text: str) -> Settings:
    return settings.parse(text, {}, discover(), name="og.yaml", folder=Path("/srv"))


def problems(text: str) -> list[Said]:
    with pytest.raises(SettingsError) as caught:
        parsed(text)
    return english(caught.value.problems)


def test_the_section_becomes_who_is_told_what() -> None:
    telling = telling_of(parsed(NOTICES + CONNECTIONS))
    assert telling.policy.backlog_age_s == 600 and telling.policy.mute == {Kind.CONFLICT}
    assert telling.people["wang"].userid == "wangwu"
    assert [(rule.connection, rule.kind, rule.people) for rule in telling.owners] == [
        ("erp", "target", ("wang",)),
        ("", None, ("wang",)),
    ]
    assert telling.runbooks == "https://wiki.example.com/ordergate/"
    assert KEY not in repr(parsed(NOTICES + CONNECTIONS).connections)


def test_only_what_is_polled_needs_an_authorisation() -> None:
    shop = """
  shop-a:
    adapter: pinduoduo
    prefix: P
    mode: observe
    settings: {client_id: fake-client, client_secret: fake-secret, access_token: fake-session}
"""
    policy = telling_of(parsed(CONNECTIONS.rstrip() + shop)).policy
    assert policy.polled == {"shop-a"} and policy.authorises("shop-a") and not policy.authorises("erp")


def test_who_owns_a_shop_is_told_of_its_orders_under_the_name_of_before() -> None:
    telling = telling_of(parsed(NOTICES + CONNECTIONS), {ConnectionName("old"): ConnectionName("erp")})
    assert owners_of(Matter("target", "old"), telling.owners[:2]) == ("wang",)
    assert owners_of(Matter("target", "another"), telling.owners[:2]) == ()


@pytest.mark.feature("F74")
def test_how_near_is_near_is_one_setting_for_the_notices_and_the_desk() -> None:
    text = NOTICES.replace("  backlog_age_s: 600\n", "  ship_by_lead_s: 7200\n") + CONNECTIONS
    for given, lead_s in ((text, 7200.0), (CONNECTIONS, 14_400.0)):
        configured = parsed(given)
        assert telling_of(configured).policy.ship_by_lead_s == lead_s
        assert desk_of(configured, rules_of(configured)).ship_by_lead == timedelta(seconds=lead_s)


def test_without_the_section_nobody_is_told() -> None:
    assert parsed(CONNECTIONS).notices.channels == ()


@pytest.mark.parametrize(
    ("wrong", "right", "where", "what", "proposal"),
    [
        ("[ops-robt,", "[ops-robot,", "og.yaml:3 notices.channels[0]", "no connection", "did you mean `ops-robot`?"),
        ("[erp,", "[ops-robot,", "og.yaml:3 notices.channels[0]", "declares no notifier", "ops-robot, ops-mail"),
        ("[ops-mail,", "[ops-robot,", "og.yaml:3 notices.channels[1]", "twice", "remove one"),
        ("  - {people: [wnag]}", "  - {people: [wang]}", "og.yaml:11 owners[1].people[0]", "nobody is", "mean `wang`?"),
        (
            "connection: epr",
            "connection: erp",
            "og.yaml:10 owners[0].connection",
            "no connection",
            "mean `erp`?",
        ),
        ("kind: targett", "kind: target", "og.yaml:10 owners[0].kind", "targett", ""),
        (
            "backlog_age: 600",
            "backlog_age_s: 600",
            "og.yaml:7 notices.backlog_age",
            "not a known key",
            "backlog_age_s",
        ),
        (
            "email: 王@example.com",
            "email: wang@example.com",
            "og.yaml:5 notices.people.wang.email",
            "has the wrong form",
            "like wang@example.com",
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


def test_people_without_a_channel_are_a_mistake() -> None:
    [found] = problems("notices: {people: {wang: {userid: w}}}" + CONNECTIONS)
    assert found.where == "og.yaml:1 notices.channels" and "ops-robot, ops-mail" in found.proposal


def test_without_a_channel_the_desk_shows_any_name() -> None:
    made = parsed("owners: [{code: short_of_stock, people: [采购]}, {people: [值班]}]" + CONNECTIONS)
    assert [rule.people for rule in made.owners] == [("采购",), ("值班",)]


@pytest.mark.parametrize(
    ("old", "where"),
    [
        ("owners: {short_of_stock: 采购, default: 值班}", "og.yaml:1 owners"),
        ("owners: {}", "og.yaml:1 owners"),
        ("notices: {owners: [{connection: erp, people: [wang]}]}", "og.yaml:1 notices.owners"),
    ],
)
def test_the_owners_of_before_are_told_what_to_write_instead(old: str, where: str) -> None:
    [found] = problems(old + CONNECTIONS)
    assert found.where == where and found.proposal.startswith("owners: [{people: [wang], connection: wms-1}, ")


def test_a_rule_behind_one_that_fits_everything_never_counts() -> None:
    [found] = problems("owners: [{people: [a]}, {people: [b], connection: erp}]" + CONNECTIONS)
    assert found.where == "og.yaml:1 owners[0]" and "never count" in found.what


def test_a_key_that_is_none_is_not_quoted() -> None:
    [found] = problems(CONNECTIONS.replace(KEY, f"not a key {KEY}"))
    assert KEY not in str(found)


def test_the_example_in_the_documentation_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs/notices.md").read_text(encoding="utf-8")
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


@pytest.mark.parametrize(
    ("rule", "where"),
    [
        ("{people: [a], kind: target, code: create}", "code"),
        ("{people: [a], kind: worker, connection: erp}", "connection"),
        ("{people: [a], kind: inbox, connection: erp}", "connection"),
    ],
)
def test_an_owner_of_what_can_never_be_is_told(rule: str, where: str) -> None:
    [found] = problems(f"owners: [{rule}]" + CONNECTIONS)
    assert found.where == f"og.yaml:1 owners[0].{where}" and "never counts" in found.what


@pytest.mark.parametrize("kind", ["hold", "conflict", "delivery", "blocked", "dead_letter"])
def test_kinds_that_have_codes_take_one(kind: str) -> None:
    assert parsed(f"owners: [{{people: [a], kind: {kind}, code: x}}]" + CONNECTIONS).owners[0].code == "x"
