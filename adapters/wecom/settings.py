"""Settings of one WeCom channel."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from gateway.sdk.models import BadSetting, described

_KEY = re.compile(r"(?:https://[^\s?]+\?(?:[^\s#]*&)?key=)?(?P<key>[0-9A-Za-z_-]{8,80})")


class Application(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An application of the company; its messages go to each member alone."""

    corp_id: Annotated[str, described("企业 ID", "the company's id (企业 ID)", pattern=r"^[0-9A-Za-z_-]{4,64}$")]
    secret: Annotated[
        str, described("应用的 secret", "the application's own secret", pattern=r"^[0-9A-Za-z_-]{8,128}$")
    ]
    agent_id: Annotated[int, msgspec.Meta(ge=1)]
    to: Annotated[
        tuple[Annotated[str, msgspec.Meta(pattern=r"^[^\s|]{1,64}$")], ...],
        described(
            "收到全部通知的 userid；`@all` 为所有人",
            "userids of those who hear of everything; `@all`: all",
            min_length=1,
            max_length=100,
        ),
    ]

    def __repr__(self) -> str:
        return f"Application(agent_id={self.agent_id})"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group robot, or several of one group that share the load; or an application. One of the two."""

    robot_keys: Annotated[
        tuple[str, ...],
        described(
            "每个机器人的 webhook 地址，或其末尾的 key",
            "per robot its webhook URL, or the key that it ends with",
            max_length=20,
        ),
    ] = ()
    application: Application | None = None
    base_url: Annotated[str, described("私有部署的地址", "of a private deployment", pattern=r"^https?://[^\s?/]+$")] = (
        "https://qyapi.weixin.qq.com"
    )

    def __post_init__(self) -> None:
        if bool(self.robot_keys) == (self.application is not None):
            raise BadSetting("`robot_keys` 和 `application` 填其中一个", "give either `robot_keys` or `application`")
        for number, key in enumerate(self.robot_keys, 1):
            # Not quoted: whoever has the key can write to the group.
            if _KEY.fullmatch(key) is None:
                raise BadSetting(
                    f"`robot_keys` 第 {number} 个既不是机器人的 webhook 地址，也不是它的 key",
                    f"`robot_keys`, number {number}, is neither a robot's webhook URL nor its key",
                )
        if len(set(self.keys)) < len(self.keys):
            raise BadSetting("`robot_keys` 里有重复的机器人", "`robot_keys` has the same robot twice")

    @property
    def keys(self) -> tuple[str, ...]:
        found = (_KEY.fullmatch(key) for key in self.robot_keys)
        return tuple(match["key"] for match in found if match is not None)

    def __repr__(self) -> str:
        """Without the keys: settings end up in messages."""
        return f"Settings(robots={len(self.robot_keys)}, application={self.application!r})"
