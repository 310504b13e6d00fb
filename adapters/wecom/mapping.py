"""WeCom's wire format: a message as JSON, and what its answers mean. Pure.

Group robot: developer.work.weixin.qq.com/document/path/91770. Application: path/90236, error codes path/90313.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from gateway.sdk.models import Answer, Done, Failed, Rejected, Throttled, Unauthorised, Unknown
from gateway.sdk.notify import Limits, Message

ROBOT_LIMITS = Limits(messages=20, window_s=60.0, text_bytes=2048)
# A member gets at most 30 a minute and 1,000 an hour from one application, and the excess is dropped without an error:
# 15 a minute are 900 an hour.
APPLICATION_LIMITS = Limits(messages=15, window_s=60.0, text_bytes=2048)

_RATE = frozenset({45009, 45033})
_BUSY_PAUSE_S = 5.0
# The robot was removed, the key or secret is not good (any more), our address is not in the white list; or the
# application reaches nobody: those who hear of everything are named in each of its messages.
_REFUSED = frozenset({93000, 40001, 40013, 40056, 40091, 41004, 60011, 60020, 301002, 81013, 82001})
# Not this content: message type, parameters, characters, length.
_CONTENT = frozenset({40008, 40033, 40035, 40058, 44004, 45002})
_ALL = "@all"
TOKEN_ENDED = frozenset({40014, 42001})


class Reply(msgspec.Struct, frozen=True):
    """What WeCom answers; errors come with HTTP 200."""

    errcode: int
    errmsg: str = ""
    access_token: str = ""
    expires_in: int = 7200
    invaliduser: str = ""
    unlicenseduser: str = ""


def robot_body(message: Message) -> bytes:
    """A text with its mentions: the only type of a robot's messages that can mention a mobile number."""
    text: dict[str, object] = {"content": message.text}
    userids = [person.userid for person in message.people if person.userid]
    mobiles = [person.mobile for person in message.people if person.mobile and not person.userid]
    if userids:
        text["mentioned_list"] = userids
    if mobiles:
        text["mentioned_mobile_list"] = mobiles
    return msgspec.json.encode({"msgtype": "text", "text": text})


def application_body(message: Message, *, agent_id: int, to: Sequence[str]) -> bytes:
    """A text to those who hear of everything and those who own what it says.

    The duplicate check drops a content that was sent in the last ten minutes: what is sent again because nobody knows
    whether it arrived, is shown once. Where all hear of everything, `@all` stands alone: among others it names nobody.
    """
    named = _once([*to, *(person.userid for person in message.people if person.userid)])
    return msgspec.json.encode(
        {
            "touser": _ALL if _ALL in named else "|".join(named),
            "msgtype": "text",
            "agentid": agent_id,
            "text": {"content": message.text},
            "enable_duplicate_check": 1,
            "duplicate_check_interval": 600,
        }
    )


def reply_of(body: bytes) -> Reply | None:
    """The answer; None for one that is not WeCom's."""
    try:
        return _read(body)
    except msgspec.MsgspecError:
        return None


def answer_of(status: int, body: bytes, *, retry_after_s: float | None, secrets: Iterable[str] = ()) -> Answer:
    """What an answer to a message means. No text of it holds one of `secrets`."""
    if status == 429:
        return Throttled(retry_after_s, "HTTP 429")
    if status >= 500:
        return Failed(f"http_{status}", f"HTTP {status}", retry_after_s)
    reply = reply_of(body) if status == 200 else None
    if reply is None:
        if status == 200:
            return Unknown("unreadable", "HTTP 200 without an errcode", answered=True)
        return Failed(f"http_{status}", f"HTTP {status}")
    code, text = str(reply.errcode), _without(reply.errmsg, secrets)
    if reply.errcode == 0:
        missed = _once([*reply.invaliduser.split("|"), *reply.unlicenseduser.split("|")])
        return Done(f"not for: {', '.join(missed)}" if missed else "")
    if reply.errcode in _RATE:
        return Throttled(_BUSY_PAUSE_S if reply.errcode == 45033 else ROBOT_LIMITS.window_s, f"{code} {text}")
    if reply.errcode in _REFUSED or reply.errcode in TOKEN_ENDED:
        return Unauthorised(code, text)
    if reply.errcode in _CONTENT:
        return Rejected(code, text)
    # -1 busy, 6000 conflict, and what we do not know: it was not taken, and may be later.
    return Failed(code, text)


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text[:120]


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name))


_read = msgspec.json.Decoder(Reply).decode
