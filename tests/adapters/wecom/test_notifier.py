"""The WeCom notifier against the fake: what people see, what each errcode means, and that no key is ever shown."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from adapters.wecom import mapping
from adapters.wecom.fake import PER_MINUTE, Company, FakeWecom
from adapters.wecom.notifier import WecomNotifier
from adapters.wecom.settings import Application, Settings
from gateway.core.event import ConnectionName
from gateway.sdk.adapter import Setup
from gateway.sdk.carriers import load_carriers
from gateway.sdk.http import Http, NotSent
from gateway.sdk.models import Done, Failed, OrdergateError, Rejected, Throttled, Unauthorised, Unknown
from gateway.sdk.notify import Message, Person
from tests.languages import is_told

KEY = "0f3c2d1e-aaaa-4bbb-8ccc-1234567890ab"
SECRET = "application-secret-that-nobody-sees"
COMPANY = Company(corp_id="ww1234", secret=SECRET, agent_id=1000002, members=frozenset({"wang", "li", "ops"}))
WANG = Person(name="wang", userid="wang", mobile="13800000001")
LI = Person(name="li", mobile="13800000002")

pytestmark = pytest.mark.feature("F80")


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def notifier(settings: Settings) -> AsyncIterator[WecomNotifier]:
    async with Http(connections=2) as http:
        setup = Setup(
            connection=ConnectionName("robot"),
            settings=settings,
            now=lambda: datetime.now(UTC),
            carriers=load_carriers(),
        )
        yield WecomNotifier(setup, http)


def message(text: str, outlet: str, *people: Person) -> Message:
    return Message(key="k-1", title=text[:20], text=text, people=people, outlet=outlet)


def robot(fake: FakeWecom, *keys: str) -> Settings:
    return Settings(robot_keys=keys or (KEY,), base_url=fake.url)


def application(fake: FakeWecom, *to: str, secret: str = SECRET) -> Settings:
    return Settings(
        application=Application(corp_id="ww1234", secret=secret, agent_id=1000002, to=to or ("ops",)), base_url=fake.url
    )


async def test_a_robot_says_it_and_mentions_the_owner_by_userid_or_else_by_mobile() -> None:
    async with FakeWecom(keys={KEY}) as fake, notifier(robot(fake)) as wecom:
        assert await wecom.notify(message("仓库不可用", wecom.outlets[0], WANG, LI), deadline_s=5) == Done()
    assert [(told.text, told.mentioned, told.mobiles) for told in fake.told] == [
        ("仓库不可用", ("wang",), ("13800000002",))
    ]


async def test_the_rate_is_an_error_inside_200_and_asks_for_a_minute() -> None:
    clock = Clock()
    async with FakeWecom(keys={KEY}, clock=clock) as fake, notifier(robot(fake)) as wecom:
        for number in range(PER_MINUTE):
            assert isinstance(await wecom.notify(message(f"{number}", wecom.outlets[0]), deadline_s=5), Done)
        over = await wecom.notify(message("one more", wecom.outlets[0]), deadline_s=5)
        assert isinstance(over, Throttled) and over.retry_after_s == 60.0
        clock.now += 60
        assert isinstance(await wecom.notify(message("one more", wecom.outlets[0]), deadline_s=5), Done)


async def test_a_robot_that_was_removed_takes_nothing_more_and_its_key_is_not_shown() -> None:
    async with FakeWecom(keys={"another-robot-key"}) as fake, notifier(robot(fake)) as wecom:
        answer = await wecom.notify(message("x", wecom.outlets[0]), deadline_s=5)
        assert isinstance(answer, Unauthorised) and answer.code == "93000"
        with pytest.raises(OrdergateError, match="robot number 1: 93000") as refused:
            await wecom.check(deadline_s=5)
        assert is_told(refused.value.text)
    assert fake.told == []
    assert KEY not in f"{answer!r}{refused.value!r}{refused.value}{wecom.outlets}{robot(fake)!r}"


async def test_a_check_of_a_good_robot_tells_nobody_anything() -> None:
    async with FakeWecom(keys={KEY}) as fake, notifier(robot(fake)) as wecom:
        await wecom.check(deadline_s=5)
    assert fake.told == []


@pytest.mark.parametrize(
    ("faults", "kind", "code"),
    [
        ({"error_in_200_share": 1.0}, Failed, "-1"),
        ({"share_5xx": 1.0}, Failed, "http_503"),
        ({"share_5xx": 1.0, "status_5xx": 429, "retry_after": "7"}, Throttled, None),
        ({"garbage_share": 1.0}, Unknown, "unreadable"),
        ({"hang_share": 1.0}, Unknown, "timeout"),
    ],
)
async def test_what_goes_wrong_is_told_apart(faults: dict[str, Any], kind: type, code: str | None) -> None:
    async with FakeWecom(keys={KEY}) as fake, notifier(robot(fake)) as wecom:
        fake.set_faults(faults)
        answer = await wecom.notify(message("x", wecom.outlets[0]), deadline_s=0.4)
    assert isinstance(answer, kind)
    assert getattr(answer, "code", None) == code


async def test_nobody_there_is_not_sent() -> None:
    async with FakeWecom(keys={KEY}) as fake:
        gone = robot(fake)
    async with notifier(gone) as wecom:
        answer = await wecom.notify(message("x", wecom.outlets[0]), deadline_s=2)
        assert isinstance(answer, Failed) and answer.code == "connect"
        with pytest.raises(NotSent):
            await wecom.check(deadline_s=2)


async def test_each_robot_is_an_outlet_of_its_own() -> None:
    second = "second-robot-key-5678"
    async with FakeWecom(keys={KEY, second}) as fake, notifier(robot(fake, KEY, second)) as wecom:
        for outlet in wecom.outlets:
            await wecom.notify(message("x", outlet), deadline_s=5)
    assert {told.outlet for told in fake.told} == {KEY, second}


async def test_an_application_tells_its_readers_and_the_owner_and_keeps_its_token() -> None:
    async with FakeWecom(company=COMPANY) as fake, notifier(application(fake)) as wecom:
        for text in ("x", "y", "z"):
            assert await wecom.notify(message(text, wecom.outlets[0], WANG), deadline_s=5) == Done()
    assert [told.to for told in fake.told] == [("ops", "wang")] * 3
    assert len(fake.tokens) == 1


async def test_where_all_hear_of_everything_an_owner_does_not_keep_it_from_the_others() -> None:
    async with FakeWecom(company=COMPANY) as fake, notifier(application(fake, "ops", "@all")) as wecom:
        assert await wecom.notify(message("x", wecom.outlets[0], WANG), deadline_s=5) == Done()
    assert [told.to for told in fake.told] == [("@all",)]


@pytest.mark.parametrize(
    "end", [lambda fake: fake.tokens.clear(), lambda fake: fake.tokens.update({"token-0001": 0.0})]
)
async def test_a_token_that_ended_early_is_renewed_once(end: Callable[[FakeWecom], None]) -> None:
    async with FakeWecom(company=COMPANY) as fake, notifier(application(fake)) as wecom:
        await wecom.notify(message("before", wecom.outlets[0]), deadline_s=5)
        end(fake)
        assert await wecom.notify(message("after", wecom.outlets[0]), deadline_s=5) == Done()
    assert [told.text for told in fake.told] == ["before", "after"]


async def test_a_secret_that_is_wrong_and_an_address_that_is_not_listed_need_a_person() -> None:
    async with FakeWecom(company=COMPANY) as fake:
        async with notifier(application(fake, secret="wrong-secret-1")) as wecom:
            wrong = await wecom.notify(message("x", wecom.outlets[0]), deadline_s=5)
            with pytest.raises(OrdergateError, match="40001") as refused:
                await wecom.check(deadline_s=5)
            assert is_told(refused.value.text)
        fake.company = msgspec.structs.replace(COMPANY, from_good_address=False)
        async with notifier(application(fake)) as wecom:
            elsewhere = await wecom.notify(message("x", wecom.outlets[0]), deadline_s=5)
    assert [answer.code for answer in (wrong, elsewhere) if isinstance(answer, Unauthorised)] == ["40001", "60020"]
    assert "wrong-secret-1" not in repr(wrong)


async def test_whoever_is_not_there_is_named_and_nobody_at_all_is_refused() -> None:
    async with FakeWecom(company=COMPANY) as fake:
        async with notifier(application(fake, "ops", "gone")) as wecom:
            assert await wecom.notify(message("x", wecom.outlets[0]), deadline_s=5) == Done("not for: gone")
        async with notifier(application(fake, "gone")) as wecom:
            answer = await wecom.notify(message("x", wecom.outlets[0]), deadline_s=5)
    # `to` is in every message: whatever it says, nobody would see it.
    assert isinstance(answer, Unauthorised) and answer.code == "81013"


@pytest.mark.parametrize(
    ("errcode", "kind"),
    [(82001, Unauthorised), (45002, Rejected), (40008, Rejected), (48002, Failed), (60011, Unauthorised)],
)
def test_only_what_is_wrong_with_the_text_is_held_against_it(errcode: int, kind: type) -> None:
    answer = mapping.answer_of(200, msgspec.json.encode({"errcode": errcode}), retry_after_s=None)
    assert isinstance(answer, kind)


@pytest.mark.parametrize(
    ("errcode", "meant"),
    [
        # Too many at once is over in seconds, too many a minute only with the minute.
        (45033, Throttled(5.0, "45033 later")),
        (45009, Throttled(60.0, "45009 later")),
        # A conflict of data: nothing was taken, and the same text may be sent again.
        (6000, Failed("6000", "later")),
    ],
)
def test_what_is_too_much_or_in_conflict_waits(errcode: int, meant: Throttled | Failed) -> None:
    body = msgspec.json.encode({"errcode": errcode, "errmsg": "later"})
    assert mapping.answer_of(200, body, retry_after_s=None) == meant


def test_a_text_of_an_answer_never_repeats_the_key() -> None:
    body = msgspec.json.encode({"errcode": 7, "errmsg": f"bad key={KEY} and more"})
    answer = mapping.answer_of(200, body, retry_after_s=None, secrets=[KEY])
    assert answer == Failed("7", "bad key=*** and more")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"robot_keys": [KEY], "application": {"corp_id": "ww1234", "secret": SECRET, "agent_id": 1, "to": ["a"]}},
        {"robot_keys": ["https://example.com/?token=" + KEY]},
        {"robot_keys": [KEY, f"https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={KEY}"]},
    ],
)
def test_settings_that_cannot_work_are_refused_without_quoting_a_key(given: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert(given, Settings)
    assert KEY not in str(error.value) and SECRET not in str(error.value)


def test_a_robot_is_named_by_its_url_or_its_key() -> None:
    url = f"https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={KEY}"
    assert Settings(robot_keys=(url,)).keys == Settings(robot_keys=(KEY,)).keys == (KEY,)
    assert KEY not in repr(Settings(robot_keys=(url,)))


async def test_nothing_of_a_key_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with FakeWecom(keys={"another-robot-key"}) as fake, notifier(robot(fake)) as wecom:
        fake.set_faults({"hang_share": 1.0})
        await wecom.notify(message("x", wecom.outlets[0]), deadline_s=0.2)
    assert KEY not in caplog.text
