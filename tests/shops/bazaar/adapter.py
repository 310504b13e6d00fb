"""An adapter of a polled shop, as an outside author writes one: it knows `gateway.sdk` and nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.sdk.adapter import Setup
from gateway.sdk.http import NoAnswer, NotSent
from gateway.sdk.models import (
    Answer,
    BadInput,
    Content,
    Delivery,
    Done,
    Event,
    EventId,
    Facts,
    Failed,
    Finding,
    Level,
    Line,
    Party,
    Payment,
    Receiver,
    Sku,
    Throttled,
    Token,
    Unauthorised,
    Unknown,
)
from gateway.sdk.pull import Access, Page, Pulled, Window


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str
    access_token: str = ""
    refresh_token: str = ""
    expires_at: datetime | None = None
    details: bool = False

    @property
    def token(self) -> Token:
        return Token(self.access_token, self.refresh_token, self.expires_at)


class _Platform:
    def __init__(self, setup: Setup, access: Access) -> None:
        self._setup = setup
        self._access = access

    async def ask(
        self, path: str, deadline_s: float, **body: Any
    ) -> dict[str, Any] | Failed | Throttled | Unauthorised:
        headers = {"x-token": self._access.token().access, "x-worker": str(id(self._access.http))}
        try:
            reply = await self._access.http.post(
                self._setup.settings.url + path, json.dumps(body).encode(), deadline_s=deadline_s, headers=headers
            )
        except (NotSent, NoAnswer) as error:
            return Failed(error.code, error.message)
        answer: dict[str, Any] = json.loads(reply.body)
        match answer.get("error"):
            case None:
                return answer
            case "token":
                return Unauthorised("token", "session expired")
            case "busy":
                return Throttled(answer["wait_s"])
            case code:
                return Failed(code)


class Source(_Platform):
    async def pull(self, window: Window, position: str, *, deadline_s: float) -> Pulled:
        span = {"start": window.start_at.timestamp(), "end": window.end_at.timestamp()}
        answer = await self.ask("/pull", deadline_s, page=int(position or 0), **span)
        if not isinstance(answer, dict):
            return answer
        for row in answer["rows"]:
            if self._setup.settings.details:
                await self._access.budget.turn()
                detail = await self.ask("/detail", deadline_s, no=row["no"])
                if not isinstance(detail, dict):
                    return detail
        return Page(tuple(self._event(row) for row in answer["rows"]), str(answer["next"] or ""))

    def _event(self, row: dict[str, Any]) -> Event:
        return Event(
            id=EventId(f"{row['no']}:{row['modified']}"),
            source=self._setup.connection,
            type="order",
            order_key=row["no"],
            time=datetime.fromtimestamp(row["modified"], UTC),
            body=json.dumps(row).encode(),
        )

    def decode(self, event: Event) -> Facts:
        row = json.loads(event.body)
        if "no" not in row:
            raise BadInput("field", "has no number", where="$.no")
        line = Line("1", Sku("CUP"), 1, 1000)
        receiver = Receiver("张三", "13800001234", "浙江省", "杭州市", "余杭区", detail="一号")
        content = Content(datetime.fromtimestamp(row["placed"], UTC), (line,), receiver, 1000)
        payment = Payment(True, 1000)
        return Facts(
            party=Party.SHOP, order_no=row["no"], version=int(row["modified"] * 1000), content=content, payment=payment
        )


class Target(_Platform):
    async def send(self, delivery: Delivery, *, deadline_s: float) -> Answer:
        answer = await self.ask("/create", deadline_s, no=delivery.order.number)
        if isinstance(answer, Failed) and answer.code in ("timeout", "connection_lost"):
            return Unknown(answer.code, timeout=answer.code == "timeout")
        return Done() if isinstance(answer, dict) else answer

    async def find(self, delivery: Delivery, *, deadline_s: float) -> Finding:
        raise NotImplementedError

    async def set_level(self, level: Level, *, deadline_s: float) -> Answer:
        answer = await self.ask("/level", deadline_s, item=level.item_id, quantity=level.quantity)
        return Done() if isinstance(answer, dict) else answer

    async def check(self, *, deadline_s: float) -> None:
        answer = await self.ask("/check", deadline_s)
        if not isinstance(answer, dict):
            raise BadInput("check", f"the platform says: {answer.code if hasattr(answer, 'code') else 'busy'}")


class Authoriser(_Platform):
    async def refresh(self, token: Token, *, deadline_s: float) -> Token | Failed | Throttled | Unauthorised:
        answer = await self.ask("/refresh", deadline_s, refresh=token.refresh)
        if not isinstance(answer, dict):
            return answer
        return Token(answer["access"], answer["refresh"], datetime.fromtimestamp(answer["expires_at"], UTC))
