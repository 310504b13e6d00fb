"""Why a broker cannot be reached, in words; the TLS servers here are real, Kafka itself is in `tests/real`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from gateway.brokers import Cause, cause_of, explain, kafka_options, meet, risks
from gateway.core.text import Text
from gateway.settings import Kafka, KafkaSecurity
from tests.certificates import Authority
from tests.languages import english, is_told

LOGIN = {"mechanism": "PLAIN", "username": "u", "password": "canary-9f31"}


@asynccontextmanager
async def tls_server(certificate: Path) -> AsyncIterator[str]:
    """Shakes hands and hangs up; its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def where(bootstrap: str, **security: Any) -> list[str]:
    made = Kafka(bootstrap=bootstrap, security=KafkaSecurity(protocol="SSL", **security))
    return [problem.where for problem in english((await meet(made, within_s=8)).problems)]


def verification(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError("certificate verify failed")
    error.verify_code, error.verify_message = code, "said by OpenSSL"
    return error


def closed_by(cause: Exception) -> KafkaConnectionError:
    error = KafkaConnectionError("Connection at 127.0.0.1:9092 closed")
    error.__cause__ = cause
    return error


def alert(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] said by the broker (_ssl.c:2580)")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "cause", "key"),
    [
        (verification(62), Cause.OTHER_NAMES, "kafka.security.check_hostname"),
        (verification(64), Cause.OTHER_NAMES, "kafka.security.check_hostname"),
        (verification(9), Cause.OUT_OF_DATE, "kafka.bootstrap"),
        (verification(10), Cause.OUT_OF_DATE, "kafka.bootstrap"),
        (verification(20), Cause.OTHER_CA, "kafka.security.ca_file"),
        (closed_by(alert("TLSV13_ALERT_CERTIFICATE_REQUIRED")), Cause.CERTIFICATE_WANTED, "kafka.security.cert_file"),
        (alert("SSLV3_ALERT_BAD_CERTIFICATE"), Cause.CERTIFICATE_WANTED, "kafka.security.cert_file"),
        (alert("SSLV3_ALERT_HANDSHAKE_FAILURE"), Cause.OTHER_PROTOCOL, "kafka.security.protocol"),
        (alert("WRONG_VERSION_NUMBER"), Cause.OTHER_PROTOCOL, "kafka.security.protocol"),
        (closed_by(EOFError()), Cause.OTHER_PROTOCOL, "kafka.security.protocol"),
        (ConnectionResetError(), Cause.OTHER_PROTOCOL, "kafka.security.protocol"),
        (SaslAuthenticationFailed("said by the broker"), Cause.LOGIN_REFUSED, "kafka.security.password"),
        (UnsupportedSaslMechanismError("x"), Cause.OTHER_MECHANISM, "kafka.security.mechanism"),
        (IllegalSaslStateError("x"), Cause.NO_LOGIN, "kafka.security.protocol"),
        (ConnectionRefusedError(111, "Connect call failed"), Cause.AWAY, "kafka.bootstrap"),
        (TimeoutError(), Cause.AWAY, "kafka.bootstrap"),
    ],
)
def test_every_reason_has_its_key_and_advice_in_both_languages(error: Exception, cause: Cause, key: str) -> None:
    security = KafkaSecurity(protocol="SASL_SSL", ca_file="ca.pem", **LOGIN)
    assert cause_of(error, security) is cause
    place = Text("kafka-1:9092", "kafka-1:9092")
    explained = explain(error, place=place, security=security, names="a.example")
    assert is_told(explained.what) and is_told(explained.proposal)
    for problem in (explained.said("zh"), explained.said("en")):
        assert problem.where == key
        assert "kafka-1:9092" in problem.what and problem.proposal
        assert "{" not in str(problem) and "canary" not in str(problem)
        assert "_ssl.c" not in problem.what and "[" not in problem.what


def test_a_certificate_of_ours_and_a_ca_that_is_missing_read_otherwise() -> None:
    ours = KafkaSecurity(protocol="SSL", cert_file="a.pem", key_file="a.pem")
    assert cause_of(alert("TLSV1_ALERT_UNKNOWN_CA"), ours) is Cause.CERTIFICATE_REFUSED
    assert cause_of(verification(20), ours) is Cause.NO_CA


async def test_names_that_do_not_fit_are_told(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    security = KafkaSecurity(protocol="SSL", ca_file=str(authority.file))
    async with tls_server(authority.issue("server", "a.example", "b.example")) as address:
        met = await meet(Kafka(bootstrap=address, security=security), within_s=8)
        (problem,) = english(met.problems)
        assert problem.where == "kafka.security.check_hostname"
        assert "other names: a.example, b.example" in problem.what

        assert await where(address, ca_file=str(authority.file), check_hostname=False) == ["kafka.security.protocol"]
        other = Authority(tmp_path, "other")
        assert await where(address, ca_file=str(other.file), check_hostname=False) == ["kafka.security.ca_file"]


async def test_a_ca_that_is_named_is_trusted_as_it_is(tmp_path: Path) -> None:
    """Past the handshake the server hangs up: what is left to complain about is the protocol."""
    middle = Authority(tmp_path, "middle", parent=Authority(tmp_path, "root"))
    async with tls_server(middle.issue("server", "127.0.0.1")) as address:
        assert await where(address, ca_file=str(middle.file)) == ["kafka.security.protocol"]
        assert await where(address) == ["kafka.security.ca_file"]
    made = Kafka(bootstrap="a:1", security=KafkaSecurity(protocol="SSL", ca_file=str(middle.file)))
    assert not kafka_options(made)["ssl_context"].verify_flags & ssl.VERIFY_X509_STRICT, "the default of Python 3.13"


async def test_one_address_of_several_that_is_away_is_a_warning(kafka_mock: str) -> None:
    met = await meet(Kafka(bootstrap=f"127.0.0.1:9,{kafka_mock}"), within_s=8)
    assert (met.problems, met.brokers) == ((), 1)
    (warning,) = english(met.warnings)
    assert warning.where == "kafka.bootstrap" and "127.0.0.1:9 cannot be reached" in warning.what


def test_what_is_left_open_on_purpose_is_said() -> None:
    lax = KafkaSecurity(protocol="SASL_SSL", ca_file="ca.pem", check_hostname=False, **LOGIN)
    assert [risk.where for risk in english(risks(lax))] == ["kafka.security.check_hostname"]
    (risk,) = english(risks(KafkaSecurity(protocol="SASL_PLAINTEXT", **LOGIN)))
    assert risk.where == "kafka.security.protocol" and "the password" in risk.what
    (risk,) = english(risks(KafkaSecurity(protocol="SASL_PLAINTEXT", **{**LOGIN, "mechanism": "SCRAM-SHA-256"})))
    assert "password" not in risk.what
    assert risks(KafkaSecurity(protocol="SASL_SSL", ca_file="ca.pem", **LOGIN)) == ()
