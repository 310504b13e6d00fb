"""Sends notices as mails, one connection for each: they are few, and a server may close an idle one at any time."""

from __future__ import annotations

import asyncio
import ssl
import time

import aiosmtplib

from adapters.smtp import mapping
from adapters.smtp.settings import Settings
from gateway.sdk.adapter import Setup
from gateway.sdk.http import Http, NotSent
from gateway.sdk.models import Answer, Done, Failed, OrdergateError, Text, Unauthorised, Unknown
from gateway.sdk.notify import Limits, Message

_TEXT_BYTES = 64 * 1024
_PATIENCE_S = 60.0
"""A server may look through a mail before it says that it has taken it (RFC 5321, section 4.5.3.2.6, asks for ten
minutes): whoever hangs up on it sends the same mail again, and again."""


class SmtpNotifier:
    """One mail account, which is its only outlet."""

    def __init__(self, setup: Setup, http: Http) -> None:
        self._settings: Settings = setup.settings
        self._now = setup.now
        self.outlets: tuple[str, ...] = (self._settings.sender,)
        self.limits = Limits(
            messages=self._settings.per_hour, window_s=3600.0, text_bytes=_TEXT_BYTES, patience_s=_PATIENCE_S
        )

    async def notify(self, message: Message, *, deadline_s: float) -> Answer:
        settings, ends_at = self._settings, time.monotonic() + deadline_s
        recipients = mapping.recipients_of(message, settings.to)
        mail = mapping.mail_of(message, sender=settings.sender, recipients=recipients, at=self._now())
        try:
            client = await self._ready(deadline_s)
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            return _before(error)
        refused: list[int] = []
        taken = 0
        try:
            try:
                async with asyncio.timeout(max(0.1, ends_at - time.monotonic())):
                    size = [f"size={len(mail)}"] if client.supports_extension("size") else []
                    await client.mail(settings.sender, options=size)
                    for recipient in recipients:
                        try:
                            await client.rcpt(recipient)
                            taken += 1
                        except aiosmtplib.SMTPRecipientRefused as error:
                            refused.append(error.code)
            except aiosmtplib.SMTPSenderRefused as error:
                return mapping.answer_of(error.code, "sender")
            except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
                # A server that hangs up on whom it refuses has said so before.
                return mapping.answer_of(min(refused), "recipients") if refused and not taken else _before(error)
            if not taken:
                # One that may be taken later counts: a mailbox that is full, a server that wants us to come again.
                return mapping.answer_of(min(refused), "recipients")
            try:
                async with asyncio.timeout(max(0.1, ends_at - time.monotonic()) + _PATIENCE_S):
                    await client.data(mail, timeout=None)
            except aiosmtplib.SMTPResponseException as error:
                return mapping.answer_of(error.code)
            except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
                timeout = isinstance(error, TimeoutError)
                return Unknown("timeout" if timeout else "connection_lost", type(error).__name__, timeout=timeout)
            return Done(f"{len(refused)} of {len(recipients)} recipients refused" if refused else "")
        finally:
            client.close()

    async def check(self, *, deadline_s: float) -> None:
        """Connect and log in; nothing is sent."""
        try:
            client = await self._ready(deadline_s)
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            answer = _before(error)
            place = f"{self._settings.host}:{self._settings.port}"
            if isinstance(answer, Failed) and answer.code == _UNSUPPORTED:
                raise OrdergateError(
                    Text(
                        f"{place} 不支持设置所要求的加密或登录：{answer.message}",
                        f"{place} lacks the encryption or the login that the settings ask for: {answer.message}",
                    )
                ) from error
            if isinstance(answer, Failed) and answer.code == _TLS:
                raise OrdergateError(
                    Text(
                        f"{place} 加密连接失败（{answer.message}）："
                        "检查 security（465 用 tls，587 用 starttls）和 ca_pem",
                        f"{place}: no encrypted connection ({answer.message}); look at `security` (tls on 465,"
                        " starttls on 587) and `ca_pem`",
                    )
                ) from error
            if isinstance(answer, Failed):
                code = "connect_timeout" if answer.code == "connect_timeout" else "connect"
                # The library's error only says that it could not connect; the system's says why.
                reason = error.__cause__ if isinstance(error.__cause__, OSError) else error
                raise NotSent(code, f"{place}: {answer.message}") from reason
            refused = Text(f"{place} 拒绝登录（{answer.code}）", f"{place}: {answer.message} ({answer.code})")
            raise OrdergateError(refused) from error
        client.close()

    async def _ready(self, deadline_s: float) -> aiosmtplib.SMTP:
        """A connection that is encrypted as the settings want it, and logged in."""
        settings = self._settings
        context = None if settings.security == "none" else ssl.create_default_context(cadata=settings.ca_pem)
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            use_tls=settings.security == "tls",
            start_tls=settings.security == "starttls",
            tls_context=context,
            timeout=deadline_s,
        )
        try:
            async with asyncio.timeout(deadline_s):
                await client.connect()
                if settings.username is not None and settings.password is not None:
                    await client.login(settings.username, settings.password)
        except BaseException:
            client.close()
            raise
        return client


_UNSUPPORTED = "unsupported"
_TLS = "tls"


def _before(error: Exception) -> Failed | Unauthorised:
    """What kept us from handing the mail over: it certainly has not left."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        answer = mapping.answer_of(error.code)
        # A greeting or STARTTLS that is refused says nothing about this mail.
        return answer if isinstance(answer, Unauthorised) else Failed(str(error.code), f"the server says {error.code}")
    if isinstance(error, TimeoutError):
        return Failed("connect_timeout", "nobody answers in time")
    if type(error) is aiosmtplib.SMTPException:
        # No STARTTLS, no AUTH: the library's own words.
        return Failed(_UNSUPPORTED, str(error)[:120])
    # With STARTTLS it comes as it is.
    broken = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(broken, ssl.SSLError):
        return Failed(_TLS, (broken.reason or type(broken).__name__)[:120])
    return Failed("connect", type(error).__name__)
