"""The configuration: one YAML file and the environment, as frozen structs.

It answers for what can be set, its defaults, and how the settings must fit each other. Everything is checked before
anything starts, and every problem is reported at once. Reading the file and checking a single value is
`gateway.schema`; what an adapter can be told is its own Settings struct, found through `gateway.plugins`.
"""

from gateway.core.order import Mode
from gateway.settings.loading import load, parse
from gateway.settings.pages import reference, schema, section
from gateway.settings.sections import (
    LEASE_BEATS,
    LEASE_DEADLINES,
    Breaker,
    Connection,
    Document,
    GatePolicy,
    Kafka,
    KafkaSecurity,
    PullPolicy,
    RatePolicy,
    ReceiverField,
    Retry,
    Settings,
    host_port,
)

__all__ = [
    "LEASE_BEATS",
    "LEASE_DEADLINES",
    "Breaker",
    "Connection",
    "Document",
    "GatePolicy",
    "Kafka",
    "KafkaSecurity",
    "Mode",
    "PullPolicy",
    "RatePolicy",
    "ReceiverField",
    "Retry",
    "Settings",
    "host_port",
    "load",
    "parse",
    "reference",
    "schema",
    "section",
]
