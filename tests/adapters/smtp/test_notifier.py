"""The mail notifier against a real SMTP server on loopback: what arrives, encrypted or not, and what refusals mean."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from adapters.smtp.notifier import SmtpNotifier
from adapters.smtp.settings import Settings
from gateway.core.event import ConnectionName
from gateway.sdk.adapter import Setup
from gateway.sdk.carriers import load_carriers
from gateway.sdk.http import Http, NotSent
from gateway.sdk.models import Done, Failed, OrdergateError, Rejected, Unauthorised, Unknown
from gateway.sdk.notify import Message, Person
from tests.languages import is_told
from tests.mailbox import Mailbox, mail_server

AT = datetime(2026, 5, 1, 1, 30, tzinfo=UTC)
PASSWORD = "mail-password-that-nobody-sees"
MESSAGE = Message(
    key="ordergate-7-20260501T013000",
    title="不可用：wms-1 下单，132 单在等",
    text="不可用：wms-1 下单，132 单在等\n始于 05-01 09:30:05 (UTC+8)。",
    people=(Person(name="wang", email="wang@example.com"), Person(name="li", userid="li")),
    outlet="gateway@example.com",
)


@asynccontextmanager
async def notifier(port: int, **more: Any) -> AsyncIterator[SmtpNotifier]:
    values: dict[str, Any] = {"security": "none", "sender": "gateway@example.com", "to": ["ops@example.com"], **more}
    settings = msgspec.convert({"host": "127.0.0.1", "port": port, **values}, Settings)
    async with Http(connections=1) as http:
        yield SmtpNotifier(
            Setup(connection=ConnectionName("mail"), settings=settings, now=lambda: AT, carriers=load_carriers()),
            http,
        )


async def test_a_mail_goes_to_those_who_hear_of_everything_and_to_the_owner() -> None:
    box = Mailbox()
    async with mail_server(box) as port:
        async with notifier(port) as mail:
            assert await mail.notify(MESSAGE, deadline_s=5) == Done()
            await mail.check(deadline_s=5)
    assert box.recipients == [["ops@example.com", "wang@example.com"]]
    [got] = box.mails
    assert got["Subject"] == MESSAGE.title
    assert got["Message-ID"] == "<ordergate-7-20260501T013000@example.com>"
    assert got["Auto-Submitted"] == "auto-generated"
    assert got.get_content().splitlines() == MESSAGE.text.splitlines()


# The server does not see that everything is encrypted already.
@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_login_goes_over_an_encrypted_connection_only(security: str) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    logins = []

    def login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        logins.append((data.login, data.password))
        return AuthResult(success=data.password == PASSWORD.encode(), handled=False)

    options: dict[str, Any] = {"authenticator": login, "auth_required": True}
    if security == "tls":
        options |= {"tls": context, "auth_require_tls": False}
    else:
        options |= {"tls_context": context}
    box = Mailbox()
    ca = authority.cert_pem.bytes().decode()
    async with mail_server(box, **options) as port:
        login_as = {"security": security, "username": "gateway", "ca_pem": ca}
        async with notifier(port, **login_as, password=PASSWORD) as mail:
            assert await mail.notify(MESSAGE, deadline_s=5) == Done()
        async with notifier(port, **login_as, password="wrong-password") as mail:
            refused = await mail.notify(MESSAGE, deadline_s=5)
            with pytest.raises(OrdergateError, match="refuses the login") as told:
                await mail.check(deadline_s=5)
            assert is_told(told.value.text)
        async with notifier(port, security=security, username="gateway", password=PASSWORD) as mail:
            untrusted = await mail.notify(MESSAGE, deadline_s=5)
            with pytest.raises(OrdergateError, match=r"CERTIFICATE_VERIFY_FAILED.*ca_pem") as told:
                await mail.check(deadline_s=5)
            assert is_told(told.value.text)
    assert len(box.mails) == 1
    assert isinstance(refused, Unauthorised) and "wrong-password" not in repr(refused)
    assert isinstance(untrusted, Failed) and untrusted.code == "tls"
    assert logins[0] == (b"gateway", PASSWORD.encode())


@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        ({"RCPT": "450 4.2.1 come again"}, Failed),
        # Nothing of the mail has been seen yet: another text would fare no better.
        ({"RCPT": "550 5.1.1 nobody of that name"}, Unauthorised),
        ({"RCPT": "554 5.7.1 relaying denied"}, Unauthorised),
        ({"ops@example.com": "550 nobody", "wang@example.com": "452 full"}, Failed),
        ({"MAIL": "501 5.1.7 bad sender address"}, Unauthorised),
        ({"MAIL": "550 5.7.1 not your address"}, Unauthorised),
        ({"MAIL": "553 5.7.1 sender and login differ"}, Unauthorised),
        ({"MAIL": "451 4.3.0 later"}, Failed),
        # By the size that is announced with the sender.
        ({"MAIL": "552 5.3.4 larger than we take"}, Rejected),
        ({"DATA": "552 5.3.4 larger than we take"}, Rejected),
        ({"HELO": "554 5.7.1 not from your address"}, Failed),
        ({"DATA": "451 4.3.0 later"}, Failed),
        ({"DATA": "554 5.7.1 looks like spam"}, Rejected),
    ],
)
async def test_later_never_and_not_from_us_are_told_apart(replies: dict[str, str], kind: type) -> None:
    box = Mailbox()
    box.replies = replies
    async with mail_server(box) as port:
        async with notifier(port) as mail:
            answer = await mail.notify(MESSAGE, deadline_s=5)
    assert isinstance(answer, kind)
    assert "example.com" not in repr(answer)


async def test_one_recipient_that_is_refused_does_not_keep_the_others_from_hearing() -> None:
    box = Mailbox()
    box.replies = {"wang@example.com": "550 no such user"}
    async with mail_server(box) as port:
        async with notifier(port) as mail:
            assert await mail.notify(MESSAGE, deadline_s=5) == Done("1 of 2 recipients refused")
    assert box.recipients == [["ops@example.com"]]


async def test_a_server_that_looks_through_a_mail_for_long_is_sent_it_once() -> None:
    box = Mailbox()
    box.slow_s = 1.5
    async with mail_server(box) as port:
        async with notifier(port) as mail:
            assert await mail.notify(MESSAGE, deadline_s=0.5) == Done()
    assert len(box.mails) == 1


@pytest.mark.parametrize(
    ("replies", "kind", "code"),
    [
        ({"RCPT": "550 nobody of that name"}, Unauthorised, "550"),
        ({"RCPT": "421 too many"}, Failed, "421"),
        ({"MAIL": "250 OK"}, Failed, "connect"),
    ],
)
async def test_a_server_that_hangs_up_before_it_has_the_mail_leaves_nothing_unknown(
    replies: dict[str, str], kind: type, code: str
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com\r\n")
        while line := await reader.readline():
            command = line[:4].decode().upper()
            writer.write(f"{replies.get(command, '250 OK')}\r\n".encode())
            if command in replies:
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, notifier(server.sockets[0].getsockname()[1]) as mail:
        answer = await mail.notify(MESSAGE, deadline_s=5)
    assert isinstance(answer, kind) and getattr(answer, "code", None) == code


async def test_a_server_that_cannot_encrypt_is_told_as_that() -> None:
    async with mail_server(Mailbox()) as port:
        async with notifier(port, security="starttls", username="gateway", password=PASSWORD) as mail:
            answer = await mail.notify(MESSAGE, deadline_s=5)
            assert isinstance(answer, Failed) and answer.code == "unsupported" and "STARTTLS" in answer.message
            with pytest.raises(OrdergateError, match="STARTTLS") as told:
                await mail.check(deadline_s=5)
            assert is_told(told.value.text)


async def test_a_port_that_is_not_encrypted_from_the_first_byte_is_told_as_that() -> None:
    """Port 587 with the default of 465: it looked like trouble of the network."""
    async with mail_server(Mailbox()) as port:
        async with notifier(port, security="tls") as mail:
            answer = await mail.notify(MESSAGE, deadline_s=5)
            assert isinstance(answer, Failed) and answer.code == "tls" and "WRONG_VERSION" in answer.message
            with pytest.raises(OrdergateError, match="starttls on 587") as told:
                await mail.check(deadline_s=5)
            assert is_told(told.value.text)


async def test_a_connection_that_breaks_while_the_mail_is_handed_over_leaves_it_unknown() -> None:
    box = Mailbox()
    box.hang_up = True
    async with mail_server(box) as port:
        async with notifier(port) as mail:
            answer = await mail.notify(MESSAGE, deadline_s=5)
    assert isinstance(answer, Unknown)


async def test_nobody_there_is_not_sent() -> None:
    async with mail_server(Mailbox()) as port:
        pass
    async with notifier(port) as mail:
        assert isinstance(await mail.notify(MESSAGE, deadline_s=2), Failed)
        with pytest.raises(NotSent):
            await mail.check(deadline_s=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"username": "gateway"},
        {"username": "gateway", "password": PASSWORD, "security": "none"},
        {"to": []},
        {"sender": "not an address"},
        # What no header holds: no mail with such an address in it would ever leave, whoever else is to hear.
        *({"to": [address]} for address in ("运维@example.com", "a..b@example.com", 'a"b@example.com', "a@b..com")),
        {"to": ["ops@example.com\n"]},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    given = {"host": "mail.example.com", "sender": "gateway@example.com", "to": ["ops@example.com"], **wrong}
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert(given, Settings)
    assert PASSWORD not in str(error.value)


def test_settings_do_not_show_the_password() -> None:
    settings = Settings(
        host="mail.example.com", username="u", password=PASSWORD, sender="gateway@example.com", to=("ops@example.com",)
    )
    assert PASSWORD not in repr(settings)
