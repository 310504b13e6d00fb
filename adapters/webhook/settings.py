"""Settings of one webhook connection."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.sdk.models import BadInput, BadSetting, Operation, described, parse_minor
from gateway.sdk.signing import decode_secret


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A partner, a shop of one's own or an ERP that speaks our JSON.

    `secrets`: a message in is good under any of them, messages out are signed with the first. To rotate, put the new
    one first, tell the partner, remove the old one.
    """

    secrets: Annotated[
        tuple[str, ...],
        described(
            "密钥，每个为 `whsec_` 加 24 到 64 字节的 base64",
            "secrets, each `whsec_` and base64 of 24 to 64 bytes",
            min_length=1,
        ),
    ]
    url: (
        Annotated[str, described("下发的地址", "where commands are posted to", pattern=r"^https?://[^\s/]+")] | None
    ) = None
    paths: Annotated[
        dict[Operation, str],
        described(
            "按操作：接在 `url` 后的路径，或单独的地址", "per operation: a path added to `url`, or a URL of its own"
        ),
    ] = {}
    max_total: Annotated[str, described("收到的订单金额不得超过此数", "no amount of an order in may be above this")] = (
        "1000000.00"
    )

    def __post_init__(self) -> None:
        for index, secret in enumerate(self.secrets):
            try:
                decode_secret(secret)
            except BadSetting as error:
                raise BadSetting(error.text.zh, error.text.en, place=("secrets", index)) from error
        try:
            limit_minor = parse_minor(self.max_total)
        except BadInput as error:
            what, advice = error.message, error.advice
            raise BadSetting(f"max_total {what.zh}（{advice.zh}）", f"max_total {what.en} ({advice.en})") from error
        if not 0 < limit_minor <= 10**14:
            raise BadSetting(
                "max_total 须在 0.01 与 1000000000000.00 之间", "max_total lies between 0.01 and 1000000000000.00"
            )

    @property
    def operations(self) -> frozenset[Operation]:
        """Without a URL there is nowhere to send commands to."""
        return frozenset() if self.url is None else frozenset(Operation)

    def __repr__(self) -> str:
        """Without the secrets: settings end up in messages."""
        return f"Settings(url={self.url!r}, secrets=<{len(self.secrets)}>)"
