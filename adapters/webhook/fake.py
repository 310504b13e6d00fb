"""A partner's server that takes our commands as signed JSON: verifies, keeps books, misbehaves on demand.

In a process of its own: ``python -m adapters.webhook.fake --port 8702 --secret whsec_... [--books FILE]``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from aiohttp import web

from gateway.sdk.models import BadSignature
from gateway.sdk.signing import decode_secret, verify
from gateway.testing.fakes import Effect, FakeServer, Faults, run_fake


class FakeShop(FakeServer):
    """Takes `order.create`, `order.cancel` and `order.ship`; a repeated `webhook-id` is done once and counted."""

    def __init__(
        self,
        *,
        secrets: tuple[str, ...],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        port: int = 0,
        faults: Faults | None = None,
        journal: Path | None = None,
    ) -> None:
        super().__init__(port=port, faults=faults, journal=journal)
        self._now = now
        self._keys = tuple(decode_secret(secret) for secret in secrets)
        self.seen: dict[str, bytes] = {}
        """`webhook-id` → the body it first came with; empty when known from the journal only."""
        self.changed: list[str] = []
        """Ids that came again with another body."""

    async def serve(self, request: web.BaseRequest, body: bytes) -> web.Response:
        if request.method != "POST":
            return web.Response(status=405)
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            message_id = verify(self._keys, headers, body, now=self._now())
        except BadSignature:
            self.books.refused += 1
            return web.Response(status=401)
        try:
            message = msgspec.json.decode(body, type=_Message)
        except msgspec.DecodeError:
            return web.Response(status=400)
        command = message.type.removeprefix("order.")

        def do() -> web.Response:
            if message_id in self.seen:
                self.books.repeats += 1
                if self.seen[message_id] not in (b"", body):
                    self.changed.append(message_id)
            else:
                self.seen[message_id] = body
                items: dict[str, int] = {}
                for line in message.items or message.lines:
                    items[line.sku] = items.get(line.sku, 0) + line.quantity
                self.commit(Effect(message.order_no, command, time.time(), message_id, items))
            return web.Response(body=_encode({"reference": f"R-{message_id}"}), content_type="application/json")

        return await self.perform(message.order_no, command, do)

    def apply(self, effect: Effect) -> None:
        self.seen.setdefault(effect.key, b"")
        book = self.books.order(effect.order)
        book.commands.append(effect.key.removeprefix(f"{effect.order}/"))
        book.at.append(effect.at)
        if effect.command == "create":
            book.documents += 1
            self.books.duplicates += book.documents > 1
            self.books.add("created", effect.items)
        elif effect.command == "cancel":
            book.cancelled = True
        book.status = effect.command

    def error_in_200(self) -> web.Response:
        return web.Response(body=b'{"error":"internal"}', status=500, content_type="application/json")

    def throttled_in_200(self) -> web.Response:
        return web.Response(status=429)


class _Line(msgspec.Struct, frozen=True):
    sku: str
    quantity: int


class _Message(msgspec.Struct, frozen=True):
    type: str
    order_no: str
    lines: tuple[_Line, ...] = ()
    items: tuple[_Line, ...] = ()


_encode = msgspec.json.Encoder().encode


def main() -> None:
    parser = argparse.ArgumentParser(prog="adapters.webhook.fake", description=__doc__)
    parser.add_argument("--port", type=int, default=8702)
    parser.add_argument("--secret", action="append", required=True, help="whsec_...; may be given several times")
    parser.add_argument("--books", type=Path, help="keep the books in this file")
    args = parser.parse_args()
    run_fake(FakeShop(secrets=tuple(args.secret), port=args.port, journal=args.books))


if __name__ == "__main__":
    main()
