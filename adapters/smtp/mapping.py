"""A message as a mail, and what a server's replies mean (RFC 5321, section 4.2). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Literal

from gateway.sdk.models import Answer, Failed, Rejected, Unauthorised
from gateway.sdk.notify import Message

# 530 login required, 534 and 535 login refused, 538 wants encryption (RFC 4954, section 6).
_LOGIN = frozenset({530, 534, 535, 538})
_TOO_LARGE = 552
"""Also said to the sender, with whom the size is announced (RFC 1870, section 6)."""

Refused = Literal["sender", "recipients", "mail"]
"""What a reply refuses. The server has seen nothing of the text before it has taken the sender and a recipient."""


def recipients_of(message: Message, to: Iterable[str]) -> list[str]:
    """Those who hear of everything and those who own what the message says, each once."""
    return list(dict.fromkeys([*to, *(person.email for person in message.people if person.email)]))


def mail_of(message: Message, *, sender: str, recipients: Iterable[str], at: datetime) -> bytes:
    """The mail as it goes on the wire. Its Message-ID is the message's key: what is sent twice can be told."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = _address(sender)
    mail["To"] = [_address(recipient) for recipient in recipients]
    mail["Subject"] = " ".join(message.title.split())[:200]
    mail["Date"] = format_datetime(at)
    mail["Message-ID"] = f"<{message.key}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text, charset="utf-8", cte="base64")
    return mail.as_bytes()


def answer_of(status: int, refused: Refused = "mail") -> Answer:
    """What a refusing reply means. Its text is left out: servers quote addresses and more in it.

    A sender, or recipients all of them, that are refused for good are a matter of the settings: no other text would do.
    """
    if status in _LOGIN:
        return Unauthorised(str(status), "the server refuses the login")
    if 400 <= status < 500:
        return Failed(str(status), f"the server says {status}: later")
    if refused == "recipients":
        return Unauthorised(str(status), "the server refuses all recipients")
    if refused == "sender" and status != _TOO_LARGE:
        return Unauthorised(str(status), "the server refuses the sender")
    return Rejected(str(status), f"the server refuses the mail: {status}")


def _address(address: str) -> Address:
    return Address(addr_spec=address)
