"""How Kafka's brokers are reached: the options of every client of ours, and words for why a broker cannot be reached.

aiokafka tries one broker after the other and keeps each reason to its log. Whoever sets up TLS and logins needs the
reasons themselves, with the key of the configuration that each is about: `meet` is for `ordergate check`.
"""

from __future__ import annotations

import asyncio
import enum
import re
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from io import BytesIO
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    CommitFailedError,
    GroupAuthorizationFailedError,
    IllegalGenerationError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    RebalanceInProgressError,
    SaslAuthenticationFailed,
    UnknownMemberIdError,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

from gateway.core.errors import OrdergateError, Problem, Unavailable
from gateway.core.text import Text, system_reason
from gateway.settings import Kafka, KafkaSecurity, host_port

REWIND_WITHIN_S = 30.0

Place = tuple[str, int]


class Met(msgspec.Struct, frozen=True, kw_only=True):
    """What the brokers said. `topic`: Kafka's error code for the topic, 0 when it is there, None when nobody spoke.

    `denied`: what we may not do although the topic is there, as far as they say so.
    """

    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    brokers: int = 0
    topic: int | None = None
    denied: frozenset[Right] = frozenset()


class Right(enum.Enum):
    """What a gateway has to be allowed by the brokers."""

    READ = enum.auto()
    WRITE = enum.auto()
    GROUP = enum.auto()


async def rewind(kafka: Kafka, since: datetime) -> int:
    """Set the group back to the first event at or after `since`, never forward; returns how many come again.

    Nobody of the group may run; a member that was killed counts until its session ends. Raises Unavailable, and
    OrdergateError when the group runs.
    """
    runs = OrdergateError(
        f"消费组 {kafka.group} 正在运行，请先停止全部网关 / the group {kafka.group} runs, stop every gateway first"
    )
    ends_at = time.monotonic() + REWIND_WITHIN_S
    try:
        async with asyncio.timeout(2 * REWIND_WITHIN_S), AsyncExitStack() as stack:
            admin = AIOKafkaAdminClient(**kafka_options(kafka))
            await admin.start()
            stack.push_async_callback(admin.close)
            [about] = await admin.describe_topics([kafka.topic])
            partitions = [TopicPartition(kafka.topic, one["partition"]) for one in about["partitions"]]
            consumer = await stack.enter_async_context(
                AIOKafkaConsumer(**kafka_options(kafka), group_id=kafka.group, enable_auto_commit=False)
            )
            consumer.assign(partitions)
            offsets, again = await _earlier(consumer, partitions, since)
            while offsets:
                try:
                    await consumer.commit(offsets)
                    break
                except (UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError, CommitFailedError):
                    if time.monotonic() > ends_at:
                        raise runs from None
                    await asyncio.sleep(1.0)
            return again
    except (KafkaError, OSError, TimeoutError) as error:
        raise Unavailable(f"Kafka ({kafka.bootstrap}): {type(error).__name__}; `ordergate check` says why") from error


async def _earlier(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], since: datetime
) -> tuple[dict[TopicPartition, int], int]:
    """Offsets to go back to, of the partitions whose commit is later, and how many events lie between."""
    first = await consumer.offsets_for_times(dict.fromkeys(partitions, int(since.timestamp() * 1000)))
    offsets, again = {}, 0
    for partition in partitions:
        found, committed = first[partition], await consumer.committed(partition)
        # Without a commit the group begins at the oldest event there is.
        if found is not None and committed is not None and found.offset < committed:
            offsets[partition] = found.offset
            again += committed - found.offset
    return offsets, again


class Cause(enum.Enum):
    """Why a broker cannot be talked to."""

    OTHER_NAMES = enum.auto()
    OUT_OF_DATE = enum.auto()
    OTHER_CA = enum.auto()
    NO_CA = enum.auto()
    """Not signed by a CA of the system, and none is configured."""
    CERTIFICATE_WANTED = enum.auto()
    CERTIFICATE_REFUSED = enum.auto()
    LOGIN_REFUSED = enum.auto()
    OTHER_MECHANISM = enum.auto()
    NO_LOGIN = enum.auto()
    OTHER_PROTOCOL = enum.auto()
    AWAY = enum.auto()


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


async def meet(kafka: Kafka, *, within_s: float) -> Met:
    """Ask every address of `kafka.bootstrap` for the topic, then every broker that they name; at most `within_s`.

    One address of several that does not answer is a warning, since the clients take the next. A broker that is named
    and cannot be reached is a problem: the clients are sent there and nowhere else. Creates no topic.
    """
    first = {host_port(address): Text(address, address) for address in kafka.bootstrap.split(",")}
    told = await _ask(first, kafka, within_s=within_s / 2)
    answers = [answer for answer in told.values() if not isinstance(answer, Exception)]
    if not answers:
        return Met(problems=await _explained(told, first, kafka))
    named = {
        (host, port): Text(f"{host}:{port}（advertised.listeners 所指）", f"{host}:{port} (as in advertised.listeners)")
        for answer in answers
        for _, host, port, *_ in answer.brokers
    }
    answered = next(place for place, answer in told.items() if not isinstance(answer, Exception))
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(_ask(named.keys() - told.keys(), kafka, within_s=within_s / 2), name="brokers")
        group_denied = group.create_task(_group_denied(answered, kafka, within_s / 2), name="group")
    told |= asking.result()
    codes = [code for answer in answers for code, *_ in answer.topics]
    denied = {right for answer in answers for right in _denied(answer)}
    if group_denied.result():
        denied.add(Right.GROUP)
    return Met(
        problems=await _explained({place: told[place] for place in named}, named, kafka),
        warnings=await _explained({place: told[place] for place in first if place not in named}, first, kafka),
        brokers=len(named),
        topic=min(codes, default=None),
        denied=frozenset(denied),
    )


async def topic_id(consumer: AIOKafkaConsumer, topic: str) -> bytes | None:
    """Which topic now has this name: another one after it was deleted and made anew. None where that is not known: it
    is not there, the broker is older than Kafka 2.8, or none answers (KafkaError, OSError)."""
    client = consumer._client
    try:
        answer = await client.send(client.get_random_node(), _AboutRequest(topic))
    except NotImplementedError:
        return None
    [(code, _, identity, *_)] = answer.topics
    return None if code else identity


def risks(security: KafkaSecurity) -> tuple[Problem, ...]:
    """What these settings leave open on purpose, and how to close it."""
    found = []
    if not security.check_hostname:
        what = Text(
            "不核对证书里的主机名：持有该 CA 任何一张证书的人都能冒充 Kafka，看到订单",
            "host names are not checked: whoever holds any certificate of this CA can pose as Kafka and read orders",
        )
        advice = Text(
            "只在内网使用；主机名对得上时删掉这一行", "inside your own network only; remove it once names fit"
        )
        found.append(Problem("kafka.security.check_hostname", what, advice))
    if security.protocol == "SASL_PLAINTEXT":
        zh, en = (
            ("密码和订单", "the password and the orders") if security.mechanism == "PLAIN" else ("订单", "the orders")
        )
        what = Text(f"不加密：沿途的人都能看到{zh}", f"nothing is encrypted: whoever is on the way reads {en}")
        advice = Text("只在内网使用，否则改用 SASL_SSL", "inside your own network only, or SASL_SSL")
        found.append(Problem("kafka.security.protocol", what, advice))
    return tuple(found)


def cause_of(error: Exception, security: KafkaSecurity) -> Cause:
    """What `error`, raised while a connection was opened or first used, says about the configuration."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OTHER_NAMES:
            return Cause.OTHER_NAMES
        if error.verify_code in _OUT_OF_DATE:
            return Cause.OUT_OF_DATE
        return Cause.NO_CA if security.ca_file is None else Cause.OTHER_CA
    if _refused_certificate(error):
        return Cause.CERTIFICATE_WANTED if security.cert_file is None else Cause.CERTIFICATE_REFUSED
    for kind, cause in _KINDS:
        if isinstance(error, kind):
            return cause
    return Cause.AWAY


def explain(error: Exception, *, place: Text, security: KafkaSecurity, names: str) -> Problem:
    """Why the broker at `place` could not be talked to: the key it is about, what is wrong, what to do.

    `names`: those in its certificate, where they are the reason.
    """
    text, why = _TEXTS[cause_of(error, security)], _why(error)
    values = {
        "protocol": security.protocol,
        "without_login": security.protocol.removeprefix("SASL_"),
        "mechanism": security.mechanism,
        "ca_file": security.ca_file,
        "names": names,
    }
    zh, en = {**values, "place": place.zh, "why": why.zh}, {**values, "place": place.en, "why": why.en}
    return Problem(
        text.key,
        Text(text.zh.format_map(zh), text.en.format_map(en)),
        Text(text.advice_zh.format_map(zh), text.advice_en.format_map(en)),
    )


def _why(error: Exception) -> Text:
    said = _words(error)
    if isinstance(error, TimeoutError) and not said:
        return Text("没有应答", "no answer")
    said = said or repr(error)
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        return Text(system_reason(error).zh, said)
    return Text(said, said)


class _Text(msgspec.Struct, frozen=True):
    key: str
    zh: str
    en: str
    advice_zh: str
    advice_en: str


_TEXTS: Mapping[Cause, _Text] = {
    Cause.OTHER_NAMES: _Text(
        "kafka.security.check_hostname",
        "{place} 的证书写的是别的名字：{names}",
        "{place} shows a certificate for other names: {names}",
        "bootstrap 和 advertised.listeners 用证书里的名字；云厂商的证书对不上时设 check_hostname: false，须有 ca_file",
        "use its names in bootstrap and advertised.listeners; where a provider's never fit, `check_hostname: false`"
        " with its ca_file",
    ),
    Cause.OUT_OF_DATE: _Text(
        "kafka.bootstrap",
        "{place} 的证书不在有效期内：{why}",
        "the certificate of {place} is out of date: {why}",
        "更换 Kafka 的证书；或校准本机时钟",
        "renew the broker's certificate; or set this machine's clock right",
    ),
    Cause.OTHER_CA: _Text(
        "kafka.security.ca_file",
        "{place} 的证书不是 {ca_file} 里的 CA 签发的：{why}",
        "the certificate of {place} is not signed by the CA in {ca_file}: {why}",
        "ca_file 填签发 Kafka 证书的 CA（PEM），向云厂商或 Kafka 管理员索取",
        "ca_file: the PEM file of the CA that signed it, from your provider or whoever runs the brokers",
    ),
    Cause.NO_CA: _Text(
        "kafka.security.ca_file",
        "{place} 的证书不是系统信任的 CA 签发的：{why}",
        "the certificate of {place} is not signed by a CA that this system trusts: {why}",
        "ca_file 填签发 Kafka 证书的 CA（PEM），向云厂商或 Kafka 管理员索取",
        "ca_file: the PEM file of the CA that signed it, from your provider or whoever runs the brokers",
    ),
    Cause.CERTIFICATE_WANTED: _Text(
        "kafka.security.cert_file",
        "{place} 要求客户端证书",
        "{place} asks for a client certificate",
        "cert_file 和 key_file 填 Kafka 信任的 CA 签发的证书和私钥",
        "cert_file and key_file: a certificate of a CA that the brokers trust, and its key",
    ),
    Cause.CERTIFICATE_REFUSED: _Text(
        "kafka.security.cert_file",
        "{place} 不接受我们的证书：{why}",
        "{place} refuses our certificate: {why}",
        "证书要在有效期内，并由 Kafka 信任的 CA 签发",
        "it has to be valid now, and of a CA that the brokers trust",
    ),
    Cause.LOGIN_REFUSED: _Text(
        "kafka.security.password",
        "{place} 拒绝登录：{why}",
        "{place} refuses the login: {why}",
        "检查用户名和密码；SCRAM 用户按机制分别创建；腾讯云的用户名是“实例 ID#用户名”",
        "check username and password; a SCRAM user exists per mechanism; on Tencent Cloud it is instance-id#username",
    ),
    Cause.OTHER_MECHANISM: _Text(
        "kafka.security.mechanism",
        "{place} 不支持 {mechanism}",
        "{place} does not offer {mechanism}",
        "换成该端口启用的机制：PLAIN、SCRAM-SHA-256 或 SCRAM-SHA-512",
        "the one that this port is set up for: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
    ),
    Cause.NO_LOGIN: _Text(
        "kafka.security.protocol",
        "{place} 不需要登录，协议不是 {protocol}",
        "{place} asks for no login, so it does not speak {protocol}",
        "改用 {without_login}，或换成需要登录的端口",
        "{without_login}, or the port that asks for one",
    ),
    Cause.OTHER_PROTOCOL: _Text(
        "kafka.security.protocol",
        "{place} 一连上就断开：该端口的协议多半不是 {protocol}",
        "{place} hangs up at the first word: most likely it does not speak {protocol}",
        "确认该端口的协议：PLAINTEXT、SSL、SASL_PLAINTEXT 或 SASL_SSL",
        "find out what this port speaks: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
    ),
    Cause.AWAY: _Text(
        "kafka.bootstrap",
        "{place} 无法连接：{why}",
        "{place} cannot be reached: {why}",
        "检查地址、监听协议和防火墙；没有 Kafka 就删掉 kafka 一节",
        "check address, protocol and firewall; or remove `kafka`",
    ),
}

_KINDS = (
    (SaslAuthenticationFailed, Cause.LOGIN_REFUSED),
    (UnsupportedSaslMechanismError, Cause.OTHER_MECHANISM),
    (IllegalSaslStateError, Cause.NO_LOGIN),
    (KafkaConnectionError, Cause.OTHER_PROTOCOL),
    (ConnectionResetError, Cause.OTHER_PROTOCOL),
    (ssl.SSLError, Cause.OTHER_PROTOCOL),
)

_CLOSE_WITHIN_S = 1.0

# Codes of org.apache.kafka.common.acl.AclOperation, bits of `topic_authorized_operations`.
_BITS: Mapping[Right, int] = {Right.READ: 3, Right.WRITE: 4}
_NOT_TOLD = -(2**31)


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


class _AboutResponse(Response):  # type: ignore[misc]
    """Metadata v10 (KIP-516, Kafka 2.8), which aiokafka 0.14 does not know: with the topic's id, and our rights."""

    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _About(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _AboutResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _AboutRequest(Request[_About]):  # type: ignore[misc]
    """Asks for one topic by its name, and makes none."""

    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_About]) -> _About:
        return request_struct_class([(bytes(16), self._topic, {})], False, False, True, {})


# X509_V_ERR_* in OpenSSL's x509_vfy.h: host name or address mismatch; not yet valid, expired.
_OTHER_NAMES = frozenset({62, 64})
_OUT_OF_DATE = frozenset({9, 10})


def _refused_certificate(error: Exception) -> bool:
    # With TLS 1.3 a server looks at our certificate after the handshake, and the connection ends with its alert.
    alert = error if isinstance(error, ssl.SSLError) else error.__cause__
    reason = (alert.reason or "") if isinstance(alert, ssl.SSLError) else ""
    return "ALERT" in reason and ("CERT" in reason or "UNKNOWN_CA" in reason)


def _words(error: Exception) -> str:
    """What the error says, in one line and without the names that libraries put before it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    told = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error
    text = re.sub(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$", "", " ".join(str(told).split()))
    return text.removeprefix(f"{type(told).__name__}: ")[:300]


async def _ask(places: Iterable[Place], kafka: Kafka, *, within_s: float) -> dict[Place, Any]:
    """What each place says of the brokers and the topic (a metadata response), or the exception in the way of it."""
    options = kafka_options(kafka)
    del options["bootstrap_servers"]

    async def ask(host: str, port: int) -> Any:
        connection = AIOKafkaConnection(host, port, **options)
        try:
            async with asyncio.timeout(within_s):
                await connection.connect()
                try:
                    return await connection.send(_AboutRequest(kafka.topic))
                except NotImplementedError:  # before Kafka 2.8
                    return await connection.send(MetadataRequest([kafka.topic], allow_auto_topic_creation=False))
        except Exception as error:  # whatever it is, it is the reason
            return error
        finally:
            await _close(connection)

    async with asyncio.TaskGroup() as group:
        tasks = {place: group.create_task(ask(*place), name="broker") for place in places}
    return {place: task.result() for place, task in tasks.items()}


async def _close(connection: AIOKafkaConnection) -> None:
    closed = connection.close()
    if connection._protocol is not None:  # else nothing was opened, and nothing will be closed
        await asyncio.wait([closed], timeout=_CLOSE_WITHIN_S)


def _denied(answer: Any) -> Iterator[Right]:
    """What this answer says that we may not do with the topic; one without our rights in it says nothing."""
    if not isinstance(answer, _AboutResponse):
        return
    for code, *_, operations, _ in answer.topics:
        if code == 0 and operations != _NOT_TOLD:
            yield from (right for right, bit in _BITS.items() if not operations >> bit & 1)


async def _group_denied(place: Place, kafka: Kafka, within_s: float) -> bool:
    """Whether the broker at `place`, which has answered before, says that the group is not ours to use.

    Asked in a way that makes nothing: who looks for a group's coordinator has the brokers make its topic.
    """
    options = kafka_options(kafka)
    del options["bootstrap_servers"]
    connection = AIOKafkaConnection(*place, **options)
    try:
        async with asyncio.timeout(within_s):
            await connection.connect()
            answer = await connection.send(DescribeGroupsRequest([kafka.group]))
    except Exception:  # whatever it is: where it matters it is said of the topic too
        return False
    finally:
        await _close(connection)
    # It is another broker's, or nobody's yet: said to those only who may ask.
    return any(code == GroupAuthorizationFailedError.errno for code, *_ in answer.groups)


async def _explained(told: Mapping[Place, Any], shown: Mapping[Place, Text], kafka: Kafka) -> tuple[Problem, ...]:
    problems = []
    for (host, port), error in told.items():
        if isinstance(error, Exception):
            names = ""
            if cause_of(error, kafka.security) is Cause.OTHER_NAMES:
                names = await _names(host, port, kafka.security)
            problems.append(explain(error, place=shown[host, port], security=kafka.security, names=names))
    return tuple(problems)


async def _names(host: str, port: int, security: KafkaSecurity) -> str:
    """The names in the certificate at `host`, which is checked but for them; "?" where it is not shown again."""
    try:
        async with asyncio.timeout(2.0):
            _, writer = await asyncio.open_connection(host, port, ssl=_tls(security, check_hostname=False))
            certificate = writer.get_extra_info("peercert") or {}
            writer.close()
            with suppress(OSError):  # a server that does not care for a client who only looks
                await writer.wait_closed()
    except OSError:
        return "?"
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    names = [name for _, name in certificate.get("subjectAltName", ())]
    return ", ".join(names[:8] or [name for key, name in subject if key == "commonName"]) or "?"


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
