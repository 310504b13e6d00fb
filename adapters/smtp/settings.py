"""Settings of one mail account."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

MailAddress = Annotated[
    str, msgspec.Meta(pattern=r"^[^@\s<>,;]{1,64}@[A-Za-z0-9.-]{1,253}$", description="ops@example.com")
]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who sends, through which server, and who hears of everything."""

    host: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:-]{1,253}$")]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 465
    security: Annotated[
        Literal["tls", "starttls", "none"],
        msgspec.Meta(description="`tls` from the first byte (465), `starttls` (587, refused without), `none` (25)"),
    ] = "tls"
    username: str | None = None
    password: Annotated[str | None, msgspec.Meta(description="or the provider's authorisation code 授权码")] = None
    sender: MailAddress
    to: Annotated[
        tuple[MailAddress, ...], msgspec.Meta(min_length=1, max_length=50, description="who hears of everything")
    ]
    ca_pem: Annotated[
        str | None, msgspec.Meta(description="of a server with a CA of its own: file:/path to its certificate")
    ] = None
    per_hour: Annotated[int, msgspec.Meta(ge=2, le=10000, description="mails an hour that the provider takes")] = 60

    def __post_init__(self) -> None:
        if (self.username is None) != (self.password is None):
            raise ValueError("`username` and `password` belong together")
        if self.security == "none" and self.password is not None:
            raise ValueError("a password is not sent without encryption: use security `tls` or `starttls`")

    def __repr__(self) -> str:
        """Without the password: settings end up in messages."""
        return f"Settings(host={self.host!r}, port={self.port}, security={self.security!r}, sender={self.sender!r})"
