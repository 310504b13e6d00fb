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


class SmtpNotifier:
    """One mail account, which is its only outlet."""

    def __init__(self, setup: Setup, http: Http) -> None:
        self._settings: Settings = setup.settings
        self._now = setup.now
        self.outlets: tuple[str, ...] = (self._settings.sender,)
        self.limits = Limits(messages=self._settings.per_hour, window_s=3600.0, text_bytes=_TEXT_BYTES)

    async def notify(self, message: Message, *, deadline_s: float) -> Answer:
        settings, ends_at = self._settings, time.monotonic() + deadline_s
        recipients = mapping.recipients_of(message, settings.to)
        mail = mapping.mail_of(message, sender=settings.sender, recipients=recipients, at=self._now())
        try:
            client = await self._ready(deadline_s)
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            return _before(error)
        try:
            try:
                async with asyncio.timeout(max(0.1, ends_at - time.monotonic())):
                    refused, _ = await client.sendmail(settings.sender, recipients, mail)
            except aiosmtplib.SMTPHeloError as error:
                return _before(error)
            except aiosmtplib.SMTPSenderRefused as error:
                return mapping.answer_of(error.code, "sender")
            except aiosmtplib.SMTPRecipientsRefused as error:
                # One that may be taken later counts: a mailbox that is full, a server that wants us to come again.
                return mapping.answer_of(min(one.code for one in error.recipients), "recipients")
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


def _before(error: Exception) -> Failed | Unauthorised:
    """What kept us from handing the mail over: it certainly has not left."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        answer = mapping.answer_of(error.code)
        # A greeting or STARTTLS that is refused says nothing about this mail.
        return answer if isinstance(answer, Unauthorised) else Failed(str(error.code), f"the server says {error.code}")
    if isinstance(error, TimeoutError):
        return Failed("connect_timeout", "nobody answers in time")
    return Failed("connect", type(error).__name__)
