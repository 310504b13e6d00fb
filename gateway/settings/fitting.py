"""How the settings must fit each other, the adapters, and the files that they name."""

from __future__ import annotations

import math
import os
import ssl
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from gateway import schema as schemas
from gateway.core.delivery import GRACE_S
from gateway.core.errors import BadInput, BadSetting
from gateway.core.event import ConnectionName
from gateway.core.keys import decode_key
from gateway.core.order import Mode, Operation
from gateway.core.owner import OF_NO_CONNECTION, WITH_CODE
from gateway.core.text import Text, described, system_reason
from gateway.plugins import Adapter, Registry
from gateway.schema import KeyPath, Node, Report
from gateway.sdk.adapter import Manifest
from gateway.sdk.carriers import load_carriers
from gateway.settings.sections import (
    CONNECTION_NAME,
    KAFKA_FILES,
    LEASE_BEATS,
    LEASE_DEADLINES,
    Connection,
    ConnectionEntry,
    Dispatch,
    Document,
    GateOverride,
    KafkaSecurity,
    Notices,
    PersonEntry,
    Retention,
    host_port,
    merged,
    pull_of,
    rate_of,
)

_REMOVE = Text("删掉它", "remove it")


def check_sections(document: Document, report: Report, folder: Path) -> None:
    _check_database(document.database.url, report)
    for key, address in (("listen", document.http.listen), ("metrics_listen", document.http.metrics_listen)):
        _check_port(("http", key), address, report)
    if document.http.bind == document.http.metrics_bind and document.http.bind[1] != 0:
        what = Text("与 http.listen 是同一个地址", "is the same address as http.listen")
        report.add(("http", "metrics_listen"), what, Text("换一个端口", "give it a port of its own"))
    retry, breaker, dispatch = document.retry, document.breaker, document.dispatch
    for path, low, high in (
        (("retry", "base_s"), retry.base_s, ("retry.max_s", retry.max_s)),
        (("retry", "durable_base_s"), retry.durable_base_s, ("retry.durable_max_s", retry.durable_max_s)),
        (("breaker", "open_s"), breaker.open_s, ("breaker.open_max_s", breaker.open_max_s)),
    ):
        if low > high[1]:
            what = Text(f"为 {low:g}，大于 {high[0]}（{high[1]:g}）", f"is {low:g}, more than {high[0]} ({high[1]:g})")
            report.add(path, what, Text("调低它，或调高另一个", "lower it or raise the other"))
    if dispatch.heartbeat_s * LEASE_BEATS > dispatch.lease_s:
        what = Text(
            f"为 {dispatch.heartbeat_s:g}：{dispatch.lease_s:g} 秒的租约容不下 {LEASE_BEATS} 次心跳",
            f"is {dispatch.heartbeat_s:g}: a lease of {dispatch.lease_s:g} s has no room for {LEASE_BEATS} beats",
        )
        report.add(("dispatch", "heartbeat_s"), what, _at_most(dispatch.lease_s / LEASE_BEATS))
    try:
        total_minor = document.review.max_total_minor
    except BadInput as error:
        report.add(("review", "max_total"), error.message, error.advice)
    else:
        if total_minor <= 0:
            what = Text("不大于零", "is not above zero")
            report.add(("review", "max_total"), what, Text("否则每个订单都会被扣住", "every order would be held"))
    for index, key in enumerate(document.encryption.keys):
        place: KeyPath = ("encryption", "keys", index)
        try:
            decode_key(key)
        except BadSetting as error:
            report.add(place, error.text, Text("用 `ordergate keys new` 生成", "`ordergate keys new` makes one"))
        if key in document.encryption.keys[:index]:
            report.add(place, Text("重复", "is there twice"), Text("删掉其中一个", "remove one of them"))
    if document.kafka is not None:
        for address in document.kafka.bootstrap.split(","):
            _check_port(("kafka", "bootstrap"), address, report)
        _check_kafka(document.kafka.security, report, folder)


def _check_database(url: str, report: Report) -> None:
    if url == "embedded":
        return
    path: KeyPath = ("database", "url")
    instead = Text(
        "写 `embedded`，或 postgresql://用户:密码@主机/库名", "`embedded`, or postgresql://user:password@host/name"
    )
    encoded = Text(
        "用户名和密码里的 # / ? @ : [ ] % 要写成 %23 %2F %3F %40 %3A %5B %5D %25",
        "in user and password write # / ? @ : [ ] % as %23 %2F %3F %40 %3A %5B %5D %25",
    )
    try:
        parts = urlsplit(url)
    except ValueError:
        report.add(path, Text("方括号不成对", "has a bracket without its other one"), encoded)
        return
    if parts.scheme not in ("postgresql", "postgres"):
        what = Text("既不是 `embedded`，也不是 postgresql:// 地址", "is neither `embedded` nor a postgresql:// address")
        report.add(path, what, instead)
    elif parts.fragment:
        # Whoever reads it as an address ends it there; what follows may be the rest of a password.
        report.add(path, Text("含有 #", "has a # in it"), encoded)
    else:
        for host in parts.netloc.rpartition("@")[2].split(","):
            # asyncpg takes several hosts, each with a port of its own.
            port = host.rpartition("]")[2].rpartition(":")[2] if ":" in host.rpartition("]")[2] else ""
            if port and not (port.isascii() and port.isdigit() and 0 < int(port[:9]) <= 65535):
                report.add(path, Text("主机后面的端口不是 1 到 65535", "has a port that is not 1 to 65535"), encoded)


def _check_port(path: KeyPath, address: str, report: Report) -> None:
    port = host_port(address)[1]
    if port > 65535:
        report.add(path, Text(f"没有端口 {port}", f"has no port {port}"), Text("端口最大 65535", "ports end at 65535"))


def _check_kafka(security: KafkaSecurity, report: Report, folder: Path) -> None:
    place: KeyPath = ("kafka", "security")
    protocol = security.protocol
    tls = protocol.endswith("SSL")
    sasl = protocol.startswith("SASL")
    useless = Text(f"在 {protocol} 下没有用", f"has no use with {protocol}")
    for key in ("mechanism", "username", "password"):
        if sasl and getattr(security, key) is None:
            what = Text(f"缺少：{protocol} 需要登录", f"is missing: {protocol} logs in")
            report.add((*place, key), what, Text(f"添加 `{key}: …`", f"add `{key}: …`"))
        elif not sasl and getattr(security, key) is not None:
            report.add((*place, key), useless, Text(f"改用 SASL_SSL，或删掉 {key}", f"use SASL_SSL or remove {key}"))
    for key in KAFKA_FILES:
        file = getattr(security, key)
        if file is None:
            continue
        if not tls:
            instead = Text(f"改用 SSL 或 SASL_SSL，或删掉 {key}", f"use SSL or SASL_SSL, or remove {key}")
            report.add((*place, key), useless, instead)
        elif (missing_file := _missing(folder.joinpath(file), file)) is not None:
            start = Text("相对路径从本文件所在目录算起", "relative paths start at the folder of this file")
            report.add((*place, key), missing_file, start)
    if (security.cert_file is None) != (security.key_file is None):
        missing = "cert_file" if security.cert_file is None else "key_file"
        both = Text(
            "客户端证书要同时有 cert_file 和 key_file", "a client certificate needs both cert_file and key_file"
        )
        report.add((*place, missing), schemas.MISSING, both)
    if security.key_password is not None and security.key_file is None:
        report.add((*place, "key_password"), Text("没有 key_file 就没有用", "has no use without a key_file"), _REMOVE)
    if not security.check_hostname and not tls:
        report.add((*place, "check_hostname"), useless, _REMOVE)
    elif not security.check_hostname and security.ca_file is None:
        what = Text(
            "没有 ca_file 就不能为 false：否则任何人买来的证书都会通过",
            "cannot be false without ca_file: a certificate that anybody can buy would do",
        )
        add = Text(
            "添加 `ca_file: …`，填签发 Kafka 证书的 CA",
            "add `ca_file: …`, the CA that signed the brokers' certificates",
        )
        report.add((*place, "check_hostname"), what, add)
    if tls:
        _check_certificates(security, report, folder)


def _missing(path: Path, file: str) -> Text | None:
    """Why there is no `file`; it may lie behind a folder that this user cannot enter."""
    no_file = Text(f"没有文件 {file}", f"there is no file {file}")
    try:
        return None if stat.S_ISREG(path.stat().st_mode) else no_file
    except (FileNotFoundError, NotADirectoryError):
        return no_file
    except OSError as error:
        reason = system_reason(error)
        return Text(f"{file} 无法读取：{reason.zh}", f"{file} cannot be read: {reason.en}")


def _check_certificates(security: KafkaSecurity, report: Report, folder: Path) -> None:
    """Load every file that is there as the clients will: what they cannot read ends a worker at its start."""
    place: KeyPath = ("kafka", "security")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca, cert, key = (folder.joinpath(getattr(security, name) or "") for name in KAFKA_FILES)
    if os.path.isfile(ca):
        try:
            context.load_verify_locations(ca)
        except (OSError, ValueError) as error:
            what = _unread(
                error,
                Text(f"{security.ca_file} 里没有证书", f"{security.ca_file} holds no certificate"),
                security.ca_file,
            )
            proposal = Text(
                "Java 的 trust store 用 keytool -list -rfc -keystore FILE 转成 PEM",
                "a Java trust store becomes PEM with: keytool -list -rfc -keystore FILE",
            )
            report.add((*place, "ca_file"), what, proposal)
    if os.path.isfile(cert) and os.path.isfile(key):
        try:
            # A password, even the empty one, keeps OpenSSL from asking for it at the terminal.
            context.load_cert_chain(cert, key, password=security.key_password or "")
        except (OSError, ValueError) as error:
            pair = Text(
                f"{security.cert_file} 和 {security.key_file} 不是一对证书和私钥",
                f"{security.cert_file} and {security.key_file} are not a certificate and its key",
            )
            proposal = Text(
                "用配对的 PEM 文件；私钥加密时填 key_password",
                "PEM files that belong together; an encrypted key needs key_password",
            )
            report.add((*place, "cert_file"), _unread(error, pair, security.cert_file), proposal)


def _unread(error: Exception, otherwise: Text, file: str | None) -> Text:
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        reason = system_reason(error)
        return Text(f"{file} 无法读取：{reason.zh}", f"{file} cannot be read: {reason.en}")
    return otherwise


def check_names(root: Node, names: Collection[str], report: Report) -> None:
    """Of the connections. The last check: a wrong name puts all that stands below it in doubt."""
    kind = dict[
        Annotated[
            str,
            described("用 a-z、0-9 和 -，最多 40 个字符", "use a-z, 0-9 and -, up to 40", pattern=CONNECTION_NAME),
        ],
        Any,
    ]
    for name in names:
        origin = root.value["connections"].value[name].origin
        schemas.convert(Node({name: Node(None, origin)}, origin), kind, report, ("connections",))


def check_prefixes(entries: Mapping[str, ConnectionEntry], report: Report) -> None:
    # "A" and "AB": number AB17 could be order B17 of the first shop or 17 of the second.
    prefixes = sorted((entry.prefix, name) for name, entry in entries.items() if entry.prefix is not None)
    for index, (prefix, name) in enumerate(prefixes):
        for longer, other in prefixes[index + 1 :]:
            if longer.startswith(prefix):
                same = longer == prefix
                zh = "也是" if same else f"以 {prefix!r} 开头，而它是"
                en = "is also the prefix" if same else f"starts with {prefix!r}, the prefix"
                what = Text(
                    f"{longer!r} {zh} connections.{name} 的前缀：两者的订单号可能相同",
                    f"{longer!r} {en} of connections.{name}: their order numbers could be the same",
                )
                choose = Text("选互不为开头的前缀", "choose prefixes of which none begins another")
                report.add(("connections", other, "prefix"), what, choose)


def check_accounts(connections: Mapping[ConnectionName, Connection], report: Report) -> None:
    """No account is read by two live shops: a section that was copied, with its token left as it was."""
    first: dict[tuple[str, str, str], ConnectionName] = {}
    for name, connection in connections.items():
        settings = connection.settings
        if connection.pull is None or connection.mode is not Mode.LIVE or not settings.token.access:
            continue
        other = first.setdefault((connection.manifest.name, getattr(settings, "url", ""), settings.token.access), name)
        if other != name:
            what = Text(
                f"与 connections.{other} 是同一个店铺账号（access_token 相同）：每一单都会收到两次、下发两次",
                f"is the account of connections.{other} (the same access_token): every order would come in and be sent"
                " twice",
            )
            give = Text("填这家店铺自己的 token，或删掉其中一个", "its own shop's token, or remove one of the two")
            report.add(("connections", name, "settings"), what, give)


def check_connection(name: str, entry: ConnectionEntry, adapter: Adapter, report: Report) -> None:
    place: KeyPath = ("connections", name)
    manifest = adapter.manifest

    def unknown(key: str) -> bool:
        """Whether the file says something about `key` that could not be read."""
        return report.in_doubt((*place, key))

    if entry.prefix is None and not unknown("prefix"):
        # Only orders can come from an adapter that takes none; where both are possible, the prefix tells.
        is_shop = manifest.source is not None and Operation.CREATE not in manifest.operations
        if is_shop:
            what = Text("缺少：订单来自这个连接", "is missing: orders come from this connection")
            proposal = Text(
                "添加一个短前缀，如 `prefix: A`：我方订单号以它开头",
                "add a short prefix, like `prefix: A`: our order numbers begin with it",
            )
            report.add((*place, "prefix"), what, proposal)
        for key, given in (
            ("route", bool(entry.route)),
            ("start_at", entry.start_at is not None),
            ("skus", entry.skus != "as_is"),
            ("stock", entry.stock.publish),
        ):
            if given and not is_shop:
                what = Text("没有 prefix 就没有用", "has no use without a prefix")
                proposal = Text(
                    "它只用于店铺：补上 `prefix`，如 `prefix: A`；不是店铺就删掉它",
                    "it is for shops: add a `prefix`, like `prefix: A`; or remove it where no orders begin",
                )
                report.add((*place, key), what, proposal)
        if entry.mode is Mode.OBSERVE and not is_shop:
            what = Text("在这里没有用：这个连接不产生订单", "has no use here: no orders begin at this connection")
            report.add((*place, "mode"), what, Text("在店铺上设观察", "observe at the shops"))
    elif manifest.source is None and entry.prefix is not None:
        what = Text(
            f"没有用：适配器 {manifest.name} 不带来订单", f"has no use: the adapter {manifest.name} brings no orders"
        )
        report.add((*place, "prefix"), what, _REMOVE)
    elif entry.mode is None and not unknown("mode"):
        # Without a choice, a first start would send what the warehouse already has.
        what = Text("缺少：要说明它的订单是否下发", "is missing: say whether its orders are delivered")
        proposal = Text(
            "先用 `observe`（不下发），要下发时用 `live`，并以 `start_at` 划定切换时刻",
            "`observe` first (nothing is delivered), `live` to deliver, with `start_at` for the cut-over",
        )
        report.add((*place, "mode"), what, proposal)
    elif not entry.route and entry.mode is Mode.LIVE and not unknown("route"):
        what = Text("缺少：它的订单无处可去", "is missing: its orders would have nowhere to go")
        proposal = Text(
            "添加 `route: [{target: …, warehouse: …}]`，或设 `mode: observe`",
            "add `route: [{target: …, warehouse: …}]`, or `mode: observe`",
        )
        report.add((*place, "route"), what, proposal)
    elif entry.stock.publish and not entry.route and not unknown("route"):
        what = Text("没有 route 就没有用：没有属于它的库存", "has no use without a route: no stock is this shop's")
        report.add((*place, "stock"), what, Text("添加 `route`", "add `route`"))
    if entry.stock.publish and Operation.STOCK not in manifest.operations:
        what = Text(
            f"不能同步：适配器 {manifest.name} 不接收库存",
            f"cannot be told: the adapter {manifest.name} takes no stock levels",
        )
        report.add((*place, "stock", "publish"), what, _REMOVE)
    if entry.settle_s is not None and manifest.target is None:
        what = Text(f"没有用：适配器 {manifest.name} 不下发", f"has no use: the adapter {manifest.name} sends nothing")
        report.add((*place, "settle_s"), what, _REMOVE)


def check_gates(
    name: str, entry: ConnectionEntry, adapter: Adapter, connection: Connection | None, report: Report
) -> None:
    operations = adapter.manifest.operations
    for operation, override in entry.gates.items():
        path = ("connections", name, "gates", operation.value)
        if operation not in operations:
            what = Text(
                f"适配器 {adapter.manifest.name} 没有 {operation} 操作",
                f"the adapter {adapter.manifest.name} does not declare {operation}",
            )
            declared = schemas.listed("它有", "it declares", operations, none=Text("无", "nothing"))
            report.add(path, what, declared)
            continue
        if connection is not None and operation not in connection.gates:
            what = Text(
                f"没有用：按它的 settings，从不向这个连接下发 {operation}",
                f"has no use: by its settings this connection is never told to {operation}",
            )
            report.add(path, what, Text("检查它的 settings，或删掉这个闸门", "see its settings, or remove the gate"))
        if report.in_doubt(path):
            continue
        if operation is Operation.STOCK:
            _check_level_gate(path, override, report)
        gate = merged(operations[operation], override)
        if override.slow_s is not None and gate.slow_s >= gate.deadline_s:
            what = Text(
                f"为 {gate.slow_s:g}，不小于 deadline_s（{gate.deadline_s:g}）：没有请求会算慢",
                f"is {gate.slow_s:g}, not below deadline_s ({gate.deadline_s:g}): no call would ever be slow",
            )
            report.add((*path, "slow_s"), what, _something_like(gate.deadline_s * 0.6))
        if override.adaptive and gate.in_flight == 1:
            what = Text("in_flight 为 1 时没有用", "has no use with in_flight 1")
            report.add((*path, "adaptive"), what, Text("调高 in_flight，或删掉它", "raise in_flight, or remove it"))


def _check_level_gate(path: KeyPath, override: GateOverride, report: Report) -> None:
    """Levels go past the gates, within the connection's `rate` alone."""
    what = Text("对库存回传没有用", "has no use for stock levels")
    of_rate = Text(
        "删掉它；要限速，用连接的 `rate`", "remove it; the connection's `rate` limits all that is asked of the platform"
    )
    for key, given, proposal in (
        ("rate_per_s", override.rate_per_s, of_rate),
        ("burst", override.burst, of_rate),
        ("adaptive", override.adaptive, _REMOVE),
    ):
        if given:
            report.add((*path, key), what, proposal)


def check_pull(name: str, entry: ConnectionEntry, manifest: Manifest, report: Report) -> None:
    place: KeyPath = ("connections", name)
    polled, pull = manifest.pull, pull_of(manifest, entry.pull)
    if polled is None or pull is None:
        if entry.pull is not None:
            what = Text(
                f"没有用：适配器 {manifest.name} 不轮询", f"has no use: the adapter {manifest.name} is not polled"
            )
            report.add((*place, "pull"), what, _REMOVE)
    elif not report.in_doubt((*place, "pull")):
        if pull.window_s > polled.window_s:
            what = Text(
                f"为 {pull.window_s:g}：平台一次最多查 {polled.window_s:g} 秒",
                f"is {pull.window_s:g}: the platform takes questions over {polled.window_s:g} s at most",
            )
            report.add((*place, "pull", "window_s"), what, _at_most(polled.window_s))
        elif pull.overlap_s >= pull.window_s:
            what = Text(
                f"为 {pull.overlap_s:g}，不小于 window_s（{pull.window_s:g}）：永远读不到前面去",
                f"is {pull.overlap_s:g}, not below window_s ({pull.window_s:g}): reading would never get ahead",
            )
            report.add((*place, "pull", "overlap_s"), what, _something_like(pull.window_s / 10))
        if pull.delay_s < polled.delay_s:
            what = Text(
                f"为 {pull.delay_s:g}：平台最近 {polled.delay_s:g} 秒的数据查不到",
                f"is {pull.delay_s:g}: the platform's newest {polled.delay_s:g} s cannot be asked for",
            )
            report.add((*place, "pull", "delay_s"), what, _at_least(polled.delay_s))
    if entry.rate is not None and manifest.pull is None and manifest.target is None:
        what = Text(
            f"没有用：从不向适配器 {manifest.name} 发请求",
            f"has no use: nothing is asked of the adapter {manifest.name}",
        )
        report.add((*place, "rate"), what, _REMOVE)
    elif entry.rate is not None and not report.in_doubt((*place, "rate")) and rate_of(manifest, entry.rate) is None:
        what = Text("缺少：适配器没有自带限速", "is missing: the adapter declares no rate")
        report.add((*place, "rate", "per_s"), what, Text("添加 `per_s: …`", "add `per_s: …`"))


def check_route(
    name: str,
    entries: Mapping[str, ConnectionEntry],
    loaded: Mapping[str, Adapter | None],
    connections: Mapping[ConnectionName, Connection],
    report: Report,
) -> None:
    # One whose adapter or settings are wrong may take orders too.
    takers = [
        other
        for other, adapter in loaded.items()
        if (adapter is None or Operation.CREATE in adapter.manifest.operations)
        and (other not in connections or connections[ConnectionName(other)].takes_orders)
    ]
    for index, choice in enumerate(entries[name].route):
        path = ("connections", name, "route", index, "target")
        listed = schemas.listed("接收订单的有", "these take orders", takers)
        adapter = loaded.get(choice.target)
        if choice.target not in report.root.value["connections"].value:
            report.add(path, _no_connection(choice.target), schemas.suggest(choice.target, takers) or listed)
        elif adapter is not None and Operation.CREATE not in adapter.manifest.operations:
            what = Text(
                f"{choice.target!r} 不接收订单：它的适配器没有 `create`",
                f"{choice.target!r} does not take orders: its adapter declares no `create`",
            )
            report.add(path, what, listed)
        elif choice.target in connections and choice.target not in takers:
            what = Text(
                f"按 settings，{choice.target!r} 不接收订单", f"{choice.target!r} does not take orders by its settings"
            )
            report.add(path, what, listed)
        # A target that is wrong by itself has been reported there.


def check_lease(dispatch: Dispatch, connections: Mapping[ConnectionName, Connection], report: Report) -> None:
    lease_s = dispatch.lease_s
    for name, connection in connections.items():
        pull = connection.pull
        in_doubt = report.in_doubt(("connections", name, "pull", "deadline_s"))
        if pull is not None and not in_doubt and lease_s <= pull.deadline_s + dispatch.heartbeat_s:
            # One request leaves per turn, and only where the lease, renewed a heartbeat ago, outlives it.
            what = Text(
                f"为 {pull.deadline_s:g}：加上一次心跳就超过 dispatch.lease_s（{lease_s:g}）",
                f"is {pull.deadline_s:g}: with a heartbeat that is not within dispatch.lease_s ({lease_s:g})",
            )
            below_s, needed_s = lease_s - dispatch.heartbeat_s, pull.deadline_s + dispatch.heartbeat_s + 2
            proposal = Text(
                f"小于 {below_s:g}，或 lease_s 设为 {needed_s:g}", f"below {below_s:g}, or a lease_s of {needed_s:g}"
            )
            report.add(("connections", name, "pull", "deadline_s"), what, proposal)
    gates = [
        (gate.deadline_s, name, op)
        for name, connection in connections.items()
        for op, gate in connection.gates.items()
        if not report.in_doubt(("connections", name, "gates", op.value, "deadline_s"))
    ]
    if not gates:
        return
    deadline_s, name, operation = max(gates)
    place, needed_s = f"connections.{name}.gates.{operation}", deadline_s + dispatch.heartbeat_s + GRACE_S
    if lease_s <= deadline_s * LEASE_DEADLINES:
        what = Text(
            f"为 {lease_s:g}，不大于 {LEASE_DEADLINES} × {deadline_s:g}（{place} 的 deadline_s）",
            f"is {lease_s:g}, not above {LEASE_DEADLINES} × {deadline_s:g} (deadline_s of {place})",
        )
        enough_s = deadline_s * LEASE_DEADLINES + 5
    elif lease_s <= needed_s and dispatch.heartbeat_s * LEASE_BEATS <= lease_s:
        # A gate sends only what ends before the lease does, and that was renewed up to a heartbeat ago.
        what = Text(
            f"为 {lease_s:g}，不大于 {needed_s:g}（{place} 的 deadline_s + heartbeat_s + {GRACE_S:g}）：两次心跳之间"
            "发不出去",
            f"is {lease_s:g}, not above {needed_s:g} (deadline_s of {place} + heartbeat_s + {GRACE_S:g}): between two"
            " beats nothing could be sent",
        )
        enough_s = max(needed_s, deadline_s * LEASE_DEADLINES) + 2
    else:
        return
    proposal = Text(f"至少 {enough_s:g}，或缩短时限", f"at least {enough_s:g}, or shorter deadlines")
    report.add(("dispatch", "lease_s"), what, proposal)


def check_retention(retention: Retention, connections: Mapping[ConnectionName, Connection], report: Report) -> None:
    tombstone_days = retention.tombstone_days
    if tombstone_days < retention.timeline_days:
        what = Text(
            f"为 {tombstone_days}，小于 timeline_days（{retention.timeline_days}）",
            f"is {tombstone_days}, below timeline_days ({retention.timeline_days})",
        )
        proposal = Text("整个订单要比它的经过留得久", "whole orders stay longer than their timelines")
        report.add(("retention", "tombstone_days"), what, proposal)
    for name, connection in connections.items():
        pull = connection.manifest.pull
        if pull is not None and tombstone_days * 86_400 <= pull.lookback_s:
            days = math.ceil(pull.lookback_s / 86_400)
            what = Text(
                f"为 {tombstone_days}，而 {name} 可能给出 {days} 天前的订单",
                f"is {tombstone_days}, but {name} may tell of orders from {days} days ago",
            )
            report.add(("retention", "tombstone_days"), what, _at_least(days + 1))


def check_notices(
    notices: Notices,
    configured: Collection[str],
    loaded: Mapping[str, Adapter | None],
    report: Report,
) -> None:
    place: KeyPath = ("notices",)
    tellers = [name for name, adapter in loaded.items() if adapter is not None and adapter.notifier_type is not None]
    listed = schemas.listed("能发通知的有", "these tell people", tellers)
    for index, channel in enumerate(notices.channels):
        path = (*place, "channels", index)
        if channel not in configured:
            report.add(path, _no_connection(channel), schemas.suggest(channel, tellers) or listed)
        elif loaded.get(channel) is not None and channel not in tellers:
            what = Text(
                f"{channel!r} 不能发通知：它的适配器没有 notifier",
                f"{channel!r} tells nobody: its adapter declares no notifier",
            )
            report.add(path, what, listed)
        elif channel in notices.channels[:index]:
            what = Text(f"{channel!r} 写了两次", f"{channel!r} stands here twice")
            report.add(path, what, Text("删掉一个", "remove one"))
    for name, person_entry in notices.people.items():
        if person_entry == PersonEntry():
            proposal = Text("添加 `userid`、`mobile` 或 `email`", "add `userid`, `mobile` or `email`")
            report.add((*place, "people", name), Text("无法联系到", "cannot be reached"), proposal)
    if not notices.channels and notices.people:
        what = Text("缺少：没有渠道就谁也通知不到", "is missing: nobody would be told anything")
        report.add((*place, "channels"), what, listed)


def check_owners(document: Document, configured: Collection[str], report: Report) -> None:
    people = document.notices.people
    for index, rule in enumerate(document.owners):
        place: KeyPath = ("owners", index)
        if rule.connection is not None and rule.connection not in configured:
            listed = schemas.listed("已配置的有", "configured", configured)
            proposal = schemas.suggest(rule.connection, configured) or listed
            report.add((*place, "connection"), _no_connection(rule.connection), proposal)
        # Without a channel nobody is mentioned, and the desk shows any name.
        for number, person in enumerate(rule.people if document.notices.channels else ()):
            if person not in people:
                nobody = Text("无，请添加 `notices.people`", "none, add `notices.people`")
                proposal = schemas.suggest(person, people) or schemas.listed("已有", "known", people, none=nobody)
                what = Text(f"没有人叫 {person!r}", f"nobody is called {person!r}")
                report.add((*place, "people", number), what, proposal)
        if rule.code is not None and rule.kind is not None and rule.kind not in WITH_CODE:
            what = Text(f"`{rule.kind}` 没有代码：这条规则永远轮不到", f"`{rule.kind}` has none: the rule never counts")
            report.add((*place, "code"), what, Text("删掉 `code` 或 `kind`", "remove `code` or `kind`"))
        if rule.connection is not None and rule.kind in OF_NO_CONNECTION:
            what = Text(
                f"`{rule.kind}` 不属于任何连接：这条规则永远轮不到", f"`{rule.kind}` has none: the rule never counts"
            )
            report.add((*place, "connection"), what, Text("删掉 `connection`", "remove `connection`"))
        if (rule.connection, rule.kind, rule.code) == (None, None, None) and index + 1 < len(document.owners):
            what = Text("符合一切：它后面的规则永远轮不到", "fits everything: the rules after it never count")
            report.add(place, what, Text("移到最后", "make it the last one"))


def check_carriers(carriers: Mapping[str, Mapping[str, str]], adapters: Registry, report: Report) -> None:
    if not carriers:
        return
    known = {*adapters.manifests, *(platform for row in load_carriers().rows.values() for platform in row)}
    for code, row in carriers.items():
        for platform in row:
            if platform not in known:
                what = Text("不是快递表里的平台", "is not a platform of the carrier table")
                proposal = schemas.suggest(platform, known) or schemas.listed("已有", "known", sorted(known))
                report.add(("carriers", code, platform), what, proposal)


def _no_connection(name: str) -> Text:
    return Text(f"没有连接 {name!r}", f"there is no connection {name!r}")


def _at_most(value: float) -> Text:
    return Text(f"最多 {value:g}", f"at most {value:g}")


def _at_least(value: float) -> Text:
    return Text(f"至少 {value:g}", f"at least {value:g}")


def _something_like(value: float) -> Text:
    return Text(f"例如 {value:g}", f"something like {value:g}")
