"""How Kafka's brokers are reached: the options of every client of ours."""

from __future__ import annotations

import ssl
from typing import Any

from gateway.settings import Kafka


def kafka_options(kafka: Kafka) -> dict[str, Any]:
    """Connection and security options for aiokafka, producer and consumer alike."""
    security = kafka.security
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap,
        "security_protocol": security.protocol,
        "client_id": "ordergate",
    }
    if security.protocol in ("SSL", "SASL_SSL"):
        context = ssl.create_default_context(cafile=security.ca_file)
        if security.cert_file is not None:
            context.load_cert_chain(security.cert_file, security.key_file)
        options["ssl_context"] = context
    if security.protocol.startswith("SASL"):
        options["sasl_mechanism"] = security.mechanism
        options["sasl_plain_username"] = security.username
        options["sasl_plain_password"] = security.password
    return options
