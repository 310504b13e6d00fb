"""What dispatch knows of the authorisation that a target is sent with; kept and renewed in `gateway.ingest`."""

from __future__ import annotations

from typing import Protocol

from gateway.core.delivery import Unauthorised


class Authority(Protocol):
    """Whose authorisation a target uses. `version` counts its tokens."""

    @property
    def version(self) -> int: ...

    def refused(self, version: int, answer: Unauthorised) -> None:
        """The platform refused the token of `version`; everything of the connection waits before this returns."""
        ...
