"""How Kafka's brokers are reached: the options of every client of ours."""

from __future__ import annotations

import ssl
from typing import Any

from gateway.settings import Kafka, KafkaSecurity


def kafka_options(kafka: Kafka) -> dict[str, Any]:
    """Connection and security options for aiokafka, producer and consumer alike."""
    security = kafka.security
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap,
        "security_protocol": security.protocol,
        "client_id": "ordergate",
    }
    if security.protocol.endswith("SSL"):
        options["ssl_context"] = _tls(security, check_hostname=security.check_hostname)
    if security.protocol.startswith("SASL"):
        options["sasl_mechanism"] = security.mechanism
        options["sasl_plain_username"] = security.username
        options["sasl_plain_password"] = security.password
    return options


def _tls(security: KafkaSecurity, *, check_hostname: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=security.ca_file)
    context.check_hostname = check_hostname
    if security.ca_file is not None:
        # A CA that was named is trusted as it is, as Java's clients do: also one from the middle of a chain, and one
        # without the extensions that Python 3.13 asks for (`openssl req -x509` and keytool leave them out).
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if security.cert_file is not None:
        # With a password, even the empty one, OpenSSL does not ask for it at the terminal.
        context.load_cert_chain(security.cert_file, security.key_file, password=security.key_password or "")
    return context
