"""Settings of one mail account."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gateway.sdk.models import BadSetting, described

# What every server takes without an extension and fits into a header as it is: a dot-atom (RFC 5322, section 3.2.3).
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9-]+"
MailAddress = Annotated[
    str,
    described(
        "邮箱，如 ops@example.com",
        "ops@example.com",
        pattern=rf"^(?=.{{1,64}}@){_ATOM}(\.{_ATOM})*@(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*\Z",
    ),
]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who sends, through which server, and who hears of everything."""

    host: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:-]{1,253}$")]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 465
    security: Annotated[
        Literal["tls", "starttls", "none"],
        described(
            "`tls` 一开始就加密（465），`starttls`（587，不支持则拒绝），`none` 不加密（25）",
            "`tls` from the first byte (465), `starttls` (587, refused without), `none` (25)",
        ),
    ] = "tls"
    username: str | None = None
    password: Annotated[
        str | None, described("密码，或邮箱的授权码", "or the provider's authorisation code 授权码")
    ] = None
    sender: MailAddress
    to: Annotated[
        tuple[MailAddress, ...], described("收到全部通知的人", "who hears of everything", min_length=1, max_length=50)
    ]
    ca_pem: Annotated[
        str | None,
        described(
            "服务器用自己的 CA 时：file:/ 加证书路径", "of a server with a CA of its own: file:/path to its certificate"
        ),
    ] = None
    per_hour: Annotated[
        int, described("邮箱每小时允许发的封数", "mails an hour that the provider takes", ge=2, le=10000)
    ] = 60

    def __post_init__(self) -> None:
        if (self.username is None) != (self.password is None):
            raise BadSetting("`username` 和 `password` 要一起填", "`username` and `password` belong together")
        if self.security == "none" and self.password is not None:
            raise BadSetting(
                "不加密时不发送密码：security 用 `tls` 或 `starttls`",
                "a password is not sent without encryption: use security `tls` or `starttls`",
            )

    def __repr__(self) -> str:
        """Without the password: settings end up in messages."""
        return f"Settings(host={self.host!r}, port={self.port}, security={self.security!r}, sender={self.sender!r})"
