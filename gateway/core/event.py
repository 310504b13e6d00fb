"""What enters: an event. Every source, whatever its road, hands on this and nothing else.

An event is a CloudEvent in Kafka binary mode: the attributes travel as headers (`ce_id`, `ce_source`, `ce_type`,
`ce_time`, `traceparent`), the untouched payload of the platform is the value, and the record key is
``<connection>/<order number>``. The inbox table carries the same columns.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import NewType

import msgspec

EventId = NewType("EventId", str)
"""Made from the business fact, so that a re-send has the same id."""

ConnectionName = NewType("ConnectionName", str)
"""Key of a connection in the configuration: one shop, one WMS."""

MAX_BODY_BYTES = 1024 * 1024
"""Limit on both legs, for the payload of one event."""

RECONSIDER = "ordergate.reconsider"
"""Type of the gateway's own event: decide this order again, nothing new is known of it from outside."""


YEARS = range(2000, 2100)
"""Of all instants at which something can have happened. Others are some platform's word for nothing (year 1), and may
have no UTC form, or be endless to a database."""


class Leg(enum.StrEnum):
    """The road an event came by."""

    KAFKA = "kafka"
    INBOX = "inbox"


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that happened outside, with the bytes that say so.

    `order_key` is what the sender knows the order by, inside its connection: the channel's order number for a
    shop, our number for a WMS. Empty when even that could not be read.
    """

    id: EventId
    source: ConnectionName
    type: str
    order_key: str
    time: datetime
    body: bytes
    traceparent: str = ""

    @property
    def key(self) -> str:
        """Kafka record key; all events of one order from one sender share a partition."""
        return f"{self.source}/{self.order_key}"


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where an event was read from: a Kafka partition and offset, or an inbox row (partition -1, offset = row id)."""

    leg: Leg
    partition: int
    offset: int


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """An event as intake reads it: the event, where it stood, and when the leg took it (aware UTC)."""

    event: Event
    position: Position
    taken_at: datetime
