"""Who did or looked at what, by hand: one row of `audit` for each, in the transaction that does it."""

from __future__ import annotations

import asyncpg

from gateway.store.sql import Connection, as_private


async def audit(
    connection: Connection | asyncpg.Pool, *, actor: str, action: str, subject: str, reason: str = ""
) -> None:
    """`action` is a word like ``delivery.resend`` (`gateway.core.words.ACTIONS`), `subject` what it was done to."""
    await connection.execute(
        "INSERT INTO audit (actor, action, subject, private_reason) VALUES ($1, $2, $3, $4)",
        actor,
        action,
        subject,
        as_private(reason),
    )
