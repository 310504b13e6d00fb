"""Errors of the gateway. A class tells the caller what to do next.

    OrdergateError
    ├── BadInput             the input is wrong: keep it as a dead letter, a person repairs it
    │   ├── BadSignature     who sent it is not proven: answer 401, keep nothing
    │   └── TooLarge         over the body limit: answer 413, keep nothing
    ├── SettingsError        the configuration is wrong: show every problem, do not start
    ├── Unavailable          a dependency does not answer: retry after `retry_after_s`
    │   └── DatabaseBusy     the batch collided with another one: read the facts again
    └── Fenced               this worker has been replaced: stop sending, start again under a new id

Expected outcomes (duplicate, held, short of stock, refused by a target) are values, not errors.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.core.code import code_of
from gateway.core.text import NOTHING, Text, in_both


class OrdergateError(Exception):
    """Root of everything the gateway raises on purpose. `text`: in both languages, where it was given so."""

    def __init__(self, what: str | Text = "") -> None:
        self.text = in_both(what)
        super().__init__(self.text.both)


class BadInput(OrdergateError):
    """Input that can never be processed as it is.

    `code` comes from a small closed set and may be a metric label; `where` is a path into the input
    (``$.lines[2].quantity``); `advice` says what a person does about it. None of them quotes buyer data.
    """

    # An adapter's own kind of it may forget to call ours.
    code = "adapter"
    message = Text("适配器没有说明", "the adapter does not say why")
    where = "$"
    advice = NOTHING

    def __init__(self, code: str, message: str | Text, *, where: str = "$", advice: str | Text = NOTHING) -> None:
        self.code = code_of(code)
        self.message = in_both(message)
        self.where = where
        self.advice = in_both(advice)
        super().__init__(Text(self._in("zh"), self._in("en")))

    def _in(self, language: str) -> str:
        advice = self.advice.of(language)
        return f"{self.where}: {self.message.of(language)}" + (f" ({advice})" if advice else "")


class BadSignature(BadInput):
    """The sender is not proven. The caller answers 401, counts it, and keeps nothing."""

    def __init__(self, message: str | Text) -> None:
        super().__init__("signature", message, where="headers")


class TooLarge(BadInput):
    """The body is over the limit (bytes). The caller answers 413 and keeps nothing."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            "too_large",
            Text(f"报文超过 {limit_bytes} 字节", f"body is over {limit_bytes} bytes"),
            advice=Text("拆分订单，或调高上限", "split the order or raise the limit"),
        )
        self.limit_bytes = limit_bytes


class BadSetting(ValueError):
    """A value that a Settings struct refuses in its ``__post_init__``; `text` does not quote a secret.

    `place`: keys and numbers from the struct to the value, ``("secrets", 0)``; empty for the struct itself.
    """

    def __init__(self, zh: str, en: str, *, place: Sequence[str | int] = ()) -> None:
        super().__init__(en)
        self.text = Text(zh, en)
        self.place = tuple(place)


class Said(msgspec.Struct, frozen=True):
    """A problem in one language."""

    where: str
    what: str
    proposal: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" — {self.proposal}" if self.proposal else "")


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with the configuration: where (`connections.shop-a.mode`), what, and a proposal."""

    where: str
    what: Text
    proposal: Text = NOTHING

    def __post_init__(self) -> None:
        # Adapters of others may give plain texts: shown as they are in both languages.
        for name, text in (("what", self.what), ("proposal", self.proposal)):
            msgspec.structs.force_setattr(self, name, in_both(text))

    def said(self, language: str) -> Said:
        return Said(self.where, self.what.of(language), self.proposal.of(language))

    def __str__(self) -> str:
        return str(self.said("en"))


class SettingsError(OrdergateError):
    """The configuration cannot be used; carries every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class Unavailable(OrdergateError):
    """A dependency does not answer now; the same call may go through after `retry_after_s` seconds."""

    def __init__(self, what: str | Text, *, retry_after_s: float = 1.0) -> None:
        again = f"; retry after {retry_after_s:g} s"
        if isinstance(what, Text):
            super().__init__(Text(f"{what.zh}；{retry_after_s:g} 秒后可重试", what.en + again))
        else:
            super().__init__(what + again)
        self.retry_after_s = retry_after_s


class DatabaseBusy(Unavailable):
    """Another worker wrote the same order first; nothing was written, read the facts again."""


class Fenced(OrdergateError):
    """Another worker has adopted this one's lanes: what it holds in memory must not be sent any more."""
