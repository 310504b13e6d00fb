"""The configuration: one YAML file and the environment, as frozen structs.

It answers for what can be set, its defaults, and how the settings must fit each other. Everything is checked before
anything starts, and every problem is reported at once. Reading the file and checking a single value is
`gateway.schema`; what an adapter can be told is its own Settings struct, found through `gateway.plugins`.
"""

from __future__ import annotations

import enum
import re
import ssl
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from gateway import schema as schemas
from gateway.core.delivery import GRACE_S, AfterUnknown, after_unknown
from gateway.core.errors import BadInput, BadSetting, Problem, SettingsError
from gateway.core.event import ConnectionName
from gateway.core.keys import decode_key
from gateway.core.money import parse_minor
from gateway.core.notice import Kind
from gateway.core.order import Operation
from gateway.core.owner import OF_NO_CONNECTION, WITH_CODE, OwnerKind
from gateway.core.text import Text, described, system_reason
from gateway.plugins import Adapter, Registry
from gateway.schema import KeyPath, Node, Report
from gateway.sdk.adapter import Manifest, OperationManifest
from gateway.sdk.carriers import load_carriers

ENVIRONMENT_PREFIX = "ORDERGATE_"

Seconds = Annotated[float, Meta(gt=0, le=86400)]
Share = Annotated[float, Meta(gt=0, le=1)]
Address = Annotated[str, described("主机:端口", "host:port", pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9_.-]+):\d{1,5}$")]
# Of names that can be looked up: an empty or overlong part of one is refused only when the worker already runs.
_BROKER = r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?):\d{1,5}"
CONNECTION_NAME = r"^[a-z0-9-]{1,40}$"
# A worker's lease outlives two sends one after the other, and misses this many beats before it is lost.
LEASE_DEADLINES = 2
LEASE_BEATS = 3


class Mode(enum.StrEnum):
    """What a connection may cause (F126): `observe` takes everything in and delivers nothing."""

    OBSERVE = "observe"
    LIVE = "live"


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Database(_Section, frozen=True, kw_only=True):
    url: Annotated[
        str,
        described(
            "`embedded`（`data_dir` 里自带的 PostgreSQL），或 postgresql://用户:密码@主机/库名",
            "`embedded` (a PostgreSQL of its own in `data_dir`) or postgresql://user:password@host/name",
        ),
    ] = "embedded"
    pool_size: Annotated[int, described("每个进程的连接数", "Connections per worker", ge=2, le=200)] = 10

    def __repr__(self) -> str:
        return f"Database(embedded={self.embedded})"

    @property
    def embedded(self) -> bool:
        return self.url == "embedded"


class KafkaSecurity(_Section, frozen=True, kw_only=True):
    protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        described("与 Kafka 监听端口的协议一致", "As the brokers' listener is set up"),
    ] = "PLAINTEXT"
    mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None,
        described("协议为 SASL_… 时的登录机制", "With SASL_…: how to log in"),
    ] = None
    username: str | None = None
    password: Annotated[str | None, described("写成 ${变量名} 或 file:/路径", "Write it as ${NAME} or file:/path")] = (
        None
    )
    ca_file: Annotated[
        str | None,
        described(
            "签发 Kafka 证书的 CA（PEM 文件）；不填则用系统的", "PEM file of the brokers' CA; without it the system's"
        ),
    ] = None
    check_hostname: Annotated[
        bool,
        described(
            "仅在设了 `ca_file`、证书里的名字又对不上时才设 false",
            "False only with `ca_file`, for brokers whose certificates carry other names",
        ),
    ] = True
    cert_file: Annotated[str | None, described("客户端证书（PEM 文件）", "PEM file of a client certificate")] = None
    key_file: Annotated[str | None, described("客户端证书的私钥（PEM 文件）", "PEM file of its key")] = None
    key_password: Annotated[str | None, described("`key_file` 加密时的密码", "Of an encrypted `key_file`")] = None

    def __repr__(self) -> str:
        return f"KafkaSecurity(protocol={self.protocol!r})"


class Kafka(_Section, frozen=True, kw_only=True):
    bootstrap: Annotated[
        str,
        described(
            "主机:端口，多个用逗号分隔", "host:port, several with commas between", pattern=rf"^{_BROKER}(,{_BROKER})*$"
        ),
    ]
    topic: Annotated[
        str, described("接收事件的主题", "Topic of inbound events", pattern=r"^[A-Za-z0-9._-]{1,249}$")
    ] = "ordergate.inbound"
    group: Annotated[
        str, described("所有进程共用的消费组", "Consumer group of all workers", min_length=1, max_length=200)
    ] = "ordergate"
    acknowledge_within_s: Annotated[
        Seconds,
        described(
            "超过这么久没有确认，事件改存收件箱",
            "After this time without an acknowledgement an event goes to the inbox instead",
        ),
    ] = 2.0
    security: Annotated[
        KafkaSecurity,
        described(
            "连接 Kafka 的方式；文件路径从本文件所在目录算起",
            "How to reach the brokers; files start at this file's folder",
        ),
    ] = KafkaSecurity()


class Http(_Section, frozen=True, kw_only=True):
    listen: Annotated[
        Address, described("webhook、API 和控制台的主机:端口", "host:port of webhooks, API and console")
    ] = "127.0.0.1:8080"
    metrics_listen: Annotated[Address, described("指标和健康检查的主机:端口", "host:port of metrics and health")] = (
        "127.0.0.1:9464"
    )
    body_limit_bytes: Annotated[
        int,
        described(
            "更大的请求返回 413；Kafka 和收件箱都最多承载 1 MiB",
            "Larger requests are answered 413; both legs carry up to 1 MiB",
            ge=1024,
            le=1048576,
        ),
    ] = 1048576

    @property
    def bind(self) -> tuple[str, int]:
        return host_port(self.listen)

    @property
    def metrics_bind(self) -> tuple[str, int]:
        return host_port(self.metrics_listen)


class Intake(_Section, frozen=True, kw_only=True):
    batch_events: Annotated[
        int, described("一个事务最多处理的事件数", "Most events in one transaction", ge=1, le=5000)
    ] = 1000
    batch_wait_ms: Annotated[int, described("凑一批最多等多久", "Longest wait for a batch to fill", ge=0, le=5000)] = 50


class Dispatch(_Section, frozen=True, kw_only=True):
    held_per_gate: Annotated[
        int,
        described(
            "每个闸门在内存里的下发数；其余在数据库里等",
            "Deliveries held in memory per gate; the rest waits in the database",
            ge=1,
            le=1000000,
        ),
    ] = 5000
    lease_s: Annotated[
        Seconds,
        described(
            "进程失联这么久即被接替；须大于最长时限的两倍",
            "A worker silent for this long is replaced; more than twice the longest deadline",
        ),
    ] = 15.0
    heartbeat_s: Annotated[Seconds, described("进程多久续一次租约", "How often a worker renews its lease")] = 3.0
    outcome_wait_ms: Annotated[
        int, described("结果合并写入最多等多久", "Longest wait for outcomes to be written together", ge=0, le=1000)
    ] = 20


class Retry(_Section, frozen=True, kw_only=True):
    burst_retries: Annotated[
        int, described("首次失败后立即重试的次数", "Retries at once, after the first try", ge=0, le=10)
    ] = 3
    base_s: Annotated[
        Seconds, described("重试间的首次停顿；逐次加倍，带抖动", "First pause between them; doubles, with jitter")
    ] = 0.2
    max_s: Annotated[Seconds, described("重试间的最长停顿", "Longest pause between them")] = 5.0
    durable_base_s: Annotated[
        Seconds,
        described("一轮重试用完后的首次停顿；逐次加倍，带抖动", "First pause after the burst; doubles, with jitter"),
    ] = 10.0
    durable_max_s: Annotated[Seconds, described("一轮重试用完后的最长停顿", "Longest pause after a burst")] = 300.0
    budget_share: Annotated[
        Share, described("每个闸门的重试占首次请求的比例上限", "Retries as a share of first tries, per gate")
    ] = 0.2


class Breaker(_Section, frozen=True, kw_only=True):
    window_s: Annotated[Seconds, described("按最近这么久的请求判断", "Calls of this long are judged")] = 60.0
    min_calls: Annotated[int, described("请求数不到这么多不作判断", "No verdict on fewer calls", ge=1, le=10000)] = 8
    failure_share: Annotated[
        Share, described("失败或过慢的请求达到这个比例即熔断", "Opens at this share of failed or slow calls")
    ] = 0.5
    consecutive_timeouts: Annotated[
        int, described("连续超时这么多次即熔断", "Opens after so many in a row", ge=1, le=1000)
    ] = 5
    open_s: Annotated[
        Seconds, described("首次熔断的时长；逐次加倍，带抖动", "First time it stays open; doubles, with jitter")
    ] = 10.0
    open_max_s: Annotated[Seconds, described("熔断的最长时长", "Longest time it stays open")] = 60.0
    ramp_s: Annotated[
        Annotated[float, Meta(ge=0, le=86400)],
        described("从首次试探成功到全速的时间", "From the first good probe to full speed"),
    ] = 10.0
    dry_run: Annotated[bool, described("只判断和报告，不拦截", "Judges and reports, but lets everything through")] = (
        False
    )


ReceiverField = Literal[
    "receiver.name",
    "receiver.phone",
    "receiver.province",
    "receiver.city",
    "receiver.district",
    "receiver.town",
    "receiver.detail",
    "receiver.postcode",
]


class Review(_Section, frozen=True, kw_only=True):
    mandatory: Annotated[
        tuple[ReceiverField, ...],
        described("缺少其中任何一项的订单等人处理", "An order without one of these is held for a person"),
    ] = ("receiver.name", "receiver.phone", "receiver.province", "receiver.city", "receiver.detail")
    max_total: Annotated[
        str,
        described(
            "超过这个金额的订单等人处理；写两位小数", "An order over this amount is held; written with two decimals"
        ),
    ] = "1000000.00"

    @property
    def max_total_minor(self) -> int:
        return parse_minor(self.max_total)


class StockRules(_Section, frozen=True, kw_only=True):
    unknown_sku: Annotated[
        Literal["pass", "hold"],
        described(
            "订单里的 SKU 没有库存记录时：放行，或扣住", "An order for a SKU without a stock row goes on, or is held"
        ),
    ] = "pass"


class Retention(_Section, frozen=True, kw_only=True):
    timeline_days: Annotated[
        int,
        described(
            "已结束订单的事件、下发记录、库存流水和买家信息保留的天数",
            "Events, attempts, stock movements and the buyer of orders that are over",
            ge=90,
            le=3650,
        ),
    ] = 180
    tombstone_days: Annotated[
        int,
        described(
            "整个订单保留的天数；须长于店铺的回查期，否则迟到的重复消息会变成新订单",
            "Whole orders; longer than any shop looks back, or a late repeat would be a new order",
            ge=180,
            le=36500,
        ),
    ] = 730
    hours: Annotated[
        str,
        described(
            "清除旧数据的时段，北京时间",
            "When old rows are removed, Beijing time",
            pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$",
        ),
    ] = "02:00-06:00"

    @property
    def minutes(self) -> tuple[int, int]:
        """Start and end of `hours`, in minutes since midnight."""
        start, end = (int(part[:2]) * 60 + int(part[3:]) for part in self.hours.split("-"))
        return start, end


class Log(_Section, frozen=True, kw_only=True):
    level: Annotated[
        Literal["debug", "info", "warning", "error"], described("写入日志的最低级别", "Least level written")
    ] = "info"
    format: Annotated[
        Literal["json", "text"], described("`json` 供采集，`text` 供人看", "`json` for collectors, `text` for eyes")
    ] = "json"


class Encryption(_Section, frozen=True, kw_only=True):
    keys: Annotated[
        tuple[str, ...],
        described(
            "加密数据库里的买家信息：每个是 base64 写的 32 字节，写成 ${变量名} 或 file:/路径；第一个用来加密，"
            "全部可以解密。用 `ordergate keys new` 生成",
            "Seal buyer data in the database: 32 bytes in base64 each, as ${NAME} or file:/path; the first "
            "seals, all open. `ordergate keys new` makes one",
            max_length=20,
        ),
    ] = ()

    def __repr__(self) -> str:
        return f"Encryption(keys={len(self.keys)})"

    @property
    def decoded(self) -> tuple[bytes, ...]:
        """The keys themselves. Raises ValueError."""
        return tuple(decode_key(key) for key in self.keys)


class PersonEntry(_Section, frozen=True, kw_only=True):
    """Somebody who is told; by each medium that knows one of these."""

    userid: Annotated[
        Annotated[str, Meta(pattern=r"^[^\s|@]{1,64}$")] | None,
        described("企业微信的 userid，按它提醒", "In WeCom; mentioned by it"),
    ] = None
    mobile: Annotated[
        Annotated[str, Meta(pattern=r"^\+?\d{5,15}$")] | None,
        described("企业微信的手机号，没有 userid 时用", "In WeCom, where there is no userid"),
    ] = None
    email: Annotated[
        Annotated[str, Meta(pattern=r"^[^@\s<>,;]+@[A-Za-z0-9.-]+$")] | None, described("邮箱", "Mail")
    ] = None

    def __repr__(self) -> str:
        return "PersonEntry()"


class OwnerEntry(_Section, frozen=True, kw_only=True):
    """Whose work something is; the first rule that fits counts, and one without conditions fits all."""

    people: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=60)], ...],
        described(
            "自定的名字；设了 `notices.channels` 时须是 `notices.people` 里的",
            "Your own names; with `notices.channels`, of `notices.people`",
            min_length=1,
            max_length=20,
        ),
    ]
    connection: Annotated[str | None, described("只限这个连接", "Only of this connection")] = None
    kind: Annotated[
        OwnerKind | None,
        described(
            "只限这类待办或通知；`blocked` 与 `delivery` 是一回事",
            "Only of this kind of work or notice; `blocked` and `delivery` are one",
        ),
    ] = None
    code: Annotated[
        str | None,
        described(
            "只限这个代码（`short_of_stock`、`rejected`、`rejected:http_4xx`）",
            "Only this code (`short_of_stock`, `rejected`, `rejected:http_4xx`)",
        ),
    ] = None


class Notices(_Section, frozen=True, kw_only=True):
    channels: Annotated[
        tuple[str, ...],
        described(
            "发通知的连接；前一个发不出去时由后一个接替",
            "Connections that tell people; each takes over from the one before",
            max_length=10,
        ),
    ] = ()
    people: Annotated[
        dict[str, PersonEntry], described("可以提醒的人，名字自定", "Who can be mentioned, under names of your own")
    ] = {}
    mute: Annotated[tuple[Kind, ...], described("不通知的种类", "Kinds that nobody is told of")] = ()
    backlog_age_s: Annotated[
        Seconds, described("下发等待超过这么久算积压", "A delivery that waits longer is a backlog")
    ] = 900.0
    settle_s: Annotated[
        Seconds,
        described(
            "这么久没有迹象才算结束（须大于各时限）；反复出现的加倍",
            "Over only after so long without a sign (above the deadlines); doubles for what comes back",
        ),
    ] = 20.0
    hand_over_s: Annotated[
        Seconds,
        described(
            "超过这么久改走下一个渠道；须大于 65，即机器人到上限后的停顿",
            "After this time the next channel is asked; above 65, a robot's pause at its limit",
        ),
    ] = 90.0
    runbook_url: Annotated[
        str,
        described(
            "处置页 docs/runbooks 的位置；每条通知末尾附上对应页",
            "Where the pages of docs/runbooks lie; each notice ends with its page",
            max_length=200,
        ),
    ] = "docs/runbooks/"


class RouteTo(_Section, frozen=True, kw_only=True):
    """One place a connection's orders may go to, in order of preference."""

    target: Annotated[str, described("接收订单的连接名", "Name of a connection that takes orders", min_length=1)]
    warehouse: Annotated[
        str,
        described("仓库代码，用目标系统的叫法", "Warehouse code, as the target calls it", min_length=1, max_length=64),
    ]


class Levels(_Section, frozen=True, kw_only=True):
    """What a shop is told of stock."""

    publish: Annotated[
        bool,
        described(
            "把各 SKU 的可售数量同步给店铺；观察期间从不同步",
            "Tells the shop how many of each published SKU it may sell; never while it is observed",
        ),
    ] = False
    keep_back: Annotated[
        int,
        described("每个 SKU 留出这么多件不给店铺卖", "So many of each SKU are kept from the shop", ge=0, le=1000000),
    ] = 0
    share: Annotated[
        Share, described("其余的按这个比例给店铺卖，向下取整", "Of the rest it may sell this share, rounded down")
    ] = 1.0
    every_s: Annotated[
        Seconds,
        described(
            "多久查一次变化；多次变化只同步最后一次", "How often changes are looked for; of many only the last is told"
        ),
    ] = 2.0


class GateOverride(_Section, frozen=True, kw_only=True):
    """What the file sets for one operation; anything left out is the adapter's own value."""

    rate_per_s: Annotated[
        Annotated[float, Meta(gt=0, le=100000)] | None,
        described("每秒最多请求数，所有进程合计", "Most requests a second, over all workers"),
    ] = None
    burst: Annotated[
        Annotated[int, Meta(ge=1, le=100000)] | None,
        described("限速之内可以一次发出的请求数", "Requests that may go at once within the rate"),
    ] = None
    in_flight: Annotated[
        Annotated[int, Meta(ge=1, le=10000)] | None,
        described("每个进程最多在途的请求数", "Most requests without an answer, per worker"),
    ] = None
    deadline_s: Annotated[
        Seconds | None, described("超过这么久算结果不明", "After this time the outcome is unknown")
    ] = None
    slow_s: Annotated[Seconds | None, described("比这更慢的请求计入熔断", "Slower calls count against the breaker")] = (
        None
    )
    adaptive: Annotated[
        bool | None,
        described(
            "同时发得多反而更慢时，自动少于 `in_flight`",
            "Sends fewer at once than `in_flight` when more makes the target slower",
        ),
    ] = None


class PullOverride(_Section, frozen=True, kw_only=True):
    """How the file has a shop polled; anything left out is the adapter's own value."""

    every_s: Annotated[
        Seconds | None, described("多久问一次店铺有什么变化", "How often the shop is asked what has changed")
    ] = None
    window_s: Annotated[
        Seconds | None,
        described(
            "一次查询的最大时间跨度；不超过平台允许的", "Longest span of one question; at most what the platform takes"
        ),
    ] = None
    overlap_s: Annotated[
        Annotated[float, Meta(ge=0, le=86400)] | None,
        described(
            "每次多回读这么久，以防订单晚出现；须小于 window_s",
            "So much is read again each time, for orders that appear late; below window_s",
        ),
    ] = None
    delay_s: Annotated[
        Annotated[float, Meta(ge=0, le=86400)] | None,
        described(
            "只读到这么久以前；不少于平台的要求", "Reading stays so far behind now; at least what the platform asks for"
        ),
    ] = None
    deadline_s: Annotated[
        Seconds | None, described("等平台一次应答的最长时间", "Longest wait for one answer of the platform")
    ] = None
    reread_hour: Annotated[
        int,
        described(
            "每天北京时间几点重读最近几天", "Daily, at this hour in Beijing, the last days are read again", ge=0, le=23
        ),
    ] = 4
    reread_days: Annotated[
        int, described("重读几天；0 为不重读", "How many days; 0: no daily re-read", ge=0, le=90)
    ] = 3


class RateOverride(_Section, frozen=True, kw_only=True):
    """The limit on everything that is asked of one connection; anything left out is the adapter's own value."""

    per_s: Annotated[
        Annotated[float, Meta(gt=0, le=100000)] | None,
        described(
            "每秒最多请求数：轮询和所有闸门、所有进程合计",
            "Most requests a second: polling and all gates, over all workers",
        ),
    ] = None
    burst: Annotated[
        Annotated[int, Meta(ge=1, le=100000)] | None,
        described("限速之内可以一次发出的请求数", "Requests that may go at once within the rate"),
    ] = None


class ConnectionEntry(_Section, frozen=True, kw_only=True):
    """A connection as the file says it."""

    adapter: Annotated[
        str,
        described(
            "用哪个适配器；`ordergate adapters` 列出全部",
            "Which adapter it speaks through; `ordergate adapters` lists them",
        ),
    ]
    prefix: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,12}$")] | None,
        described(
            "店铺用：我方订单号是它加店铺单号；任何一个都不能是另一个的开头",
            "For shops: our order numbers are this and the shop's number; none starts with another's",
        ),
    ] = None
    mode: Annotated[
        Mode | None,
        described(
            "店铺必填：`observe` 只接收不下发，`live` 下发",
            "Required for shops: `observe` takes in and delivers nothing, `live` delivers",
        ),
    ] = None
    start_at: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        described(
            "店铺用：在此之前下的订单只记录、不下发，写成 2026-01-01T00:00:00+08:00；轮询的店铺从此时读起，"
            "不填则从首次启动时读起",
            "For shops: orders placed before are known and never delivered, 2026-01-01T00:00:00+08:00; a "
            "shop that is polled is read from then on, without it from its first start",
        ),
    ] = None
    route: Annotated[
        tuple[RouteTo, ...],
        described("店铺用：订单发往哪里，首选在前", "For shops: where its orders go, first choice first"),
    ] = ()
    skus: Annotated[
        Literal["as_is", "mapped"],
        described(
            "店铺用：`mapped` 按对照表（`ordergate skus`）换算编码，含组合装和赠品，缺对照的订单扣住；"
            "`as_is`：店铺编码就是仓库编码",
            "For shops: `mapped` looks its SKUs up in its table (`ordergate skus`), bundles and gifts"
            " included, and holds orders with a SKU that is not there; `as_is`: they are the warehouse's own",
        ),
    ] = "as_is"
    stock: Annotated[Levels, described("店铺用：同步哪些库存", "For shops: which stock levels they are told")] = (
        Levels()
    )
    settle_s: Annotated[
        Annotated[float, Meta(ge=0, le=86400)] | None,
        described(
            "目标用：请求发出这么久之后查不到才算没有（默认 15）",
            "For targets: *not found* counts only this long after the request (default 15)",
        ),
    ] = None
    gates: Annotated[
        dict[Operation, GateOverride],
        described(
            "按操作（create、cancel、ship）设上限和时限", "Per operation (create, cancel, ship): limits and deadlines"
        ),
    ] = {}
    pull: Annotated[PullOverride | None, described("轮询的店铺用：怎样轮询", "For shops that are polled: how")] = None
    rate: Annotated[
        RateOverride | None,
        described("平台对该连接全部请求的限速", "The platform's limit on everything that is asked of this connection"),
    ] = None
    settings: Annotated[
        dict[str, Any], described("适配器自己的设置，见其说明", "The adapter's own settings; see its page")
    ] = {}


class _Sections(_Section, frozen=True, kw_only=True):
    data_dir: Annotated[
        str,
        described(
            "本地数据的目录；相对路径从本文件所在目录算起",
            "Where local data is kept; relative to the folder of this file",
            min_length=1,
        ),
    ] = "./data"
    language: Annotated[
        Literal["zh", "en"], described("通知、报表和控制台的语言", "Language of notices, reports and the console")
    ] = "zh"
    database: Annotated[Database, described("PostgreSQL 数据库", "PostgreSQL")] = Database()
    kafka: Annotated[
        Kafka | None,
        described(
            "可选；没有它时，全部事件走 PostgreSQL 里的收件箱",
            "Optional; without it the inbox in PostgreSQL carries all events",
        ),
    ] = None
    http: Annotated[Http, described("网关监听的地址", "Where the gateway listens")] = Http()
    intake: Annotated[Intake, described("事件怎样接收", "How events are taken in")] = Intake()
    dispatch: Annotated[Dispatch, described("下发怎样发出", "How deliveries leave")] = Dispatch()
    retry: Annotated[Retry, described("失败的下发怎样重试", "How a failed delivery is tried again")] = Retry()
    breaker: Annotated[Breaker, described("何时暂时不打扰目标（熔断）", "When a target is left alone for a while")] = (
        Breaker()
    )
    review: Annotated[Review, described("哪些订单先由人看", "Which orders a person sees first")] = Review()
    stock: Annotated[StockRules, described("库存怎样预占", "How stock is reserved")] = StockRules()
    encryption: Annotated[Encryption, described("静态买家数据的加密", "Buyer data at rest")] = Encryption()
    carriers: Annotated[
        dict[str, dict[str, str]],
        described(
            "我方快递代码 → 平台 → 平台代码；叠加在自带的表上",
            "Our carrier code → platform → its code; laid over the shipped table",
        ),
    ] = {}
    owners: Annotated[
        tuple[OwnerEntry, ...],
        described(
            "哪些事归谁：待办里显示，通知里提醒；第一条符合的算数",
            "Whose work is what: shown at the desk, mentioned in notices; the first that fits counts",
        ),
    ] = ()
    retention: Annotated[Retention, described("已结束的内容保留多久", "How long what is over is kept")] = Retention()
    log: Annotated[Log, described("写到标准错误的日志", "Log lines on standard error")] = Log()
    notices: Annotated[
        Notices,
        described("通知谁、通知什么；没有 `channels` 就谁也不通知", "Who is told what; nobody without `channels`"),
    ] = Notices()


class Document(_Sections, frozen=True, kw_only=True):
    """The whole file."""

    connections: Annotated[
        dict[
            Annotated[
                str, described("a-z、0-9 和 -，最多 40 个字符", "a-z, 0-9 and -, up to 40", pattern=CONNECTION_NAME)
            ],
            ConnectionEntry,
        ],
        described(
            "每个店铺、仓库或系统一项，名字自定", "One entry per shop, warehouse or system, under a name of your own"
        ),
    ] = {}


class GatePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for one operation of one connection: the adapter's manifest with the file laid over it.

    `rate_per_s` None: no limit. `in_flight` is per worker; the rate is shared by all.
    """

    idempotent: bool
    findable: bool
    rate_per_s: float | None
    burst: int
    in_flight: int
    deadline_s: float
    slow_s: float
    adaptive: bool

    @property
    def after_unknown(self) -> AfterUnknown:
        return after_unknown(idempotent=self.idempotent, findable=self.findable)


class PullPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How one shop is polled: the adapter's manifest with the file laid over it. See `PullManifest`."""

    window_s: float
    overlap_s: float
    lookback_s: float
    delay_s: float
    every_s: float
    deadline_s: float
    reread_hour: int = 4
    reread_days: int = 3


class RatePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The limit on everything that is asked of one connection, over all workers."""

    per_s: float
    burst: int


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A connection, ready for use. `settings` is an instance of the adapter's Settings; `start_at` is UTC."""

    name: ConnectionName
    adapter: Adapter
    prefix: str | None
    mode: Mode
    start_at: datetime | None
    route: tuple[RouteTo, ...]
    skus: Literal["as_is", "mapped"]
    stock: Levels
    settle_s: float
    gates: Mapping[Operation, GatePolicy]
    settings: Any
    pull: PullPolicy | None = None
    rate: RatePolicy | None = None

    def __repr__(self) -> str:
        return f"Connection({self.name!r}, adapter={self.manifest.name!r}, mode={self.mode.value!r})"

    @property
    def manifest(self) -> Manifest:
        return self.adapter.manifest

    @property
    def is_shop(self) -> bool:
        """Whether orders begin here."""
        return self.prefix is not None

    @property
    def takes_orders(self) -> bool:
        return Operation.CREATE in self.gates

    @property
    def order_operations(self) -> tuple[Operation, ...]:
        """What the outbox delivers; levels of stock are published beside it."""
        return tuple(operation for operation in self.gates if operation is not Operation.STOCK)

    @property
    def publishes_levels(self) -> bool:
        """Whether it is told stock levels: not while it is only observed, another system does so then."""
        return self.stock.publish and self.mode is Mode.LIVE

    def gate(self, operation: Operation) -> GatePolicy:
        """The policy of `operation`. KeyError when the adapter does not declare it."""
        return self.gates[operation]


class Settings(_Sections, frozen=True, kw_only=True):
    """The whole configuration. `data_dir` is absolute."""

    connections: Mapping[ConnectionName, Connection]

    def __repr__(self) -> str:
        return f"Settings(connections={list(self.connections)!r})"


def load(path: Path, environ: Mapping[str, str], adapters: Registry) -> Settings:
    """The configuration in the YAML file `path`, or SettingsError with every problem in it.

    ``${NAME}`` comes from `environ`; ``file:/path`` is read. A key of a section can also be set as
    ``ORDERGATE_<SECTION>_<KEY>`` (``ORDERGATE_HTTP_LISTEN``) and wins over the file. Only adapters that a connection
    uses are imported.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = Text("不是 UTF-8 文本", "it is not UTF-8 text")
        proposal = Text("在编辑器里另存为 UTF-8", "save it as UTF-8 in an editor")
        if isinstance(error, OSError):
            reason = system_reason(error)
            proposal = Text("用 --config 指定配置文件", "name the configuration file with --config")
        what = Text(f"无法读取：{reason.zh}", f"cannot be read: {reason.en}")
        raise SettingsError([Problem(str(path), what, proposal)]) from error
    return parse(text, environ, adapters, name=path.name, folder=path.parent)


def parse(text: str, environ: Mapping[str, str], adapters: Registry, *, name: str, folder: Path) -> Settings:
    """Like `load`, from text. Relative paths start at `folder`; `name` stands in the problems."""
    root, problems = schemas.read_yaml(text, name=name)
    if not isinstance(root.value, dict):
        what = Text("不是键值映射（键: 值）", "is not a mapping (key: value)")
        problems.append(Problem(name, what, Text("从示例配置开始", "start from the example configuration")))
        raise SettingsError(problems)
    root = _overridden(root, environ)
    report = Report(root)
    # A key given twice stands with its second value; after a mistake in the syntax the rest is empty and so right.
    report.problems += problems
    root = _without_moved(root, report)
    root = schemas.fill(root, environ, folder, report=report)
    # Sections that are right are checked against each other even when others are wrong.
    sections = {
        field.encode_name: _section(root, field, report)
        for field in msgspec.structs.fields(Document)
        if field.encode_name in root.value
    }
    for key in root.value:
        if key not in Document.__struct_fields__:
            known = Document.__struct_fields__
            near = schemas.suggest(key, known) or schemas.listed("这里可用", "known here", known)
            report.add((key,), schemas.UNKNOWN_KEY, near)
    document = Document(**{key: value for key, value in sections.items() if value is not _WRONG})
    _check_sections(document, report, folder)
    entries = _entries(root, report)
    loaded = {entry: _load_adapter(entry, entries[entry], adapters, report) for entry in entries}
    configured = _names(root)
    _check_prefixes(entries, report)
    connections: dict[ConnectionName, Connection] = {}
    for entry, adapter in loaded.items():
        connection = _connection(entry, entries[entry], adapter, root, report)
        if connection is not None:
            connections[connection.name] = connection
    for entry, adapter in loaded.items():
        if adapter is not None:
            _check_connection(entry, entries[entry], adapter, report)
            _check_gates(entry, entries[entry], adapter, connections.get(ConnectionName(entry)), report)
            _check_pull(entry, entries[entry], adapter.manifest, report)
        _check_route(entry, entries, loaded, connections, report)
    if sections.get("dispatch") is not _WRONG:
        _check_lease(document.dispatch, connections, report)
    _check_retention(document.retention, connections, report)
    _check_carriers(document.carriers, adapters, report)
    _check_notices(document.notices, configured, loaded, report)
    _check_owners(document, configured, report)
    _check_names(root, configured, report)
    if report.problems:
        raise SettingsError(sorted(report.problems, key=_line))
    common = {field: getattr(document, field) for field in _Sections.__struct_fields__}
    common["data_dir"] = str(folder.joinpath(document.data_dir).resolve())
    common["kafka"] = _with_absolute_files(document.kafka, folder)
    return Settings(**common, connections=connections)


def host_port(address: str) -> tuple[str, int]:
    """``("127.0.0.1", 8080)`` of ``127.0.0.1:8080``; an IPv6 host loses its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def schema() -> dict[str, Any]:
    """JSON Schema of the file, for editors."""
    made = msgspec.json.schema(Document)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Ordergate configuration", **made}


def reference(language: str) -> str:
    """Every key of the file as Markdown: a table per section."""
    text = f"## {Text('顶层', 'Top level').of(language)}\n\n{schemas.table(Document, language)}"
    for field in msgspec.structs.fields(Document):
        kind = schemas.struct_of(field.type)
        if kind is not None:
            text += section(kind, field.encode_name, schemas.description(field.type), "##", language)
    return text


def section(kind: type[msgspec.Struct], name: str, description: Text, level: str, language: str) -> str:
    """The keys of one section as Markdown, and below them those of the sections inside it."""
    heading = f"{name}.<name>" if kind is ConnectionEntry else name
    told = f"{description.of(language)}{Text('。', '.').of(language)}\n\n" if description else ""
    text = f"\n{level} `{heading}`\n\n{told}{schemas.table(kind, language)}"
    for field in msgspec.structs.fields(kind):
        inner = schemas.struct_of(field.type)
        if inner is not None:
            place = f"{heading}.{field.encode_name}"
            text += section(inner, place, schemas.description(field.type), "###", language)
    return text


# --- building ---------------------------------------------------------------------------------------------------

_WRONG: Any = object()
_DEFAULT_SETTLE_S = 15.0
_KAFKA_FILES = ("ca_file", "cert_file", "key_file")


def _line(problem: Problem) -> int:
    found = re.match(r"[^ ]*:(\d+)", problem.where)
    return int(found[1]) if found else 0


def _overridden(root: Node, environ: Mapping[str, str]) -> Node:
    """`root` with the keys that the environment sets.

    Unknown ``ORDERGATE_`` names are left alone on purpose: Kubernetes injects ``ORDERGATE_PORT`` and the like into
    every pod next to a Service called ordergate.
    """
    top = dict(root.value)
    for field in msgspec.structs.fields(_Sections):
        if field.encode_name in ("carriers", "owners"):
            continue  # a table and a list: no variable holds one
        kind = schemas.struct_of(field.type)
        name = ENVIRONMENT_PREFIX + field.encode_name.upper()
        if kind is None:
            if name in environ:
                top[field.encode_name] = Node(environ[name], f"environment {name}", environ[name], filled=True)
            continue
        given = {
            inner.encode_name: f"{name}_{inner.encode_name.upper()}"
            for inner in msgspec.structs.fields(kind)
            if f"{name}_{inner.encode_name.upper()}" in environ and schemas.struct_of(inner.type) is None
        }
        section = top.get(field.encode_name, Node({}, root.origin))
        if given and (section.value is None or isinstance(section.value, dict)):
            keys = {
                key: Node(environ[variable], f"environment {variable}", environ[variable], filled=True)
                for key, variable in given.items()
            }
            top[field.encode_name] = msgspec.structs.replace(section, value={**(section.value or {}), **keys})
    return msgspec.structs.replace(root, value=top)


def _without_moved(root: Node, report: Report) -> Node:
    """`root` without keys that have moved or changed their shape, each reported with what to write instead."""
    rules = "owners: [{people: [wang], connection: wms-1}, {people: [li], code: short_of_stock}, {people: [ops]}]"
    proposal = Text(rules, rules)
    top = dict(root.value)
    if "owners" in top and isinstance(top["owners"].value, dict):
        what = Text("应为规则列表，第一条符合的算数", "is a list of rules, of which the first that fits counts")
        report.add(("owners",), what, proposal)
        del top["owners"]
    notices = top.get("notices")
    if notices is not None and isinstance(notices.value, dict) and "owners" in notices.value:
        what = Text("已移到顶层，与 `notices` 并列", "has moved to the top level, beside `notices`")
        report.add(("notices", "owners"), what, proposal)
        inner = {key: node for key, node in notices.value.items() if key != "owners"}
        top["notices"] = msgspec.structs.replace(notices, value=inner)
    return msgspec.structs.replace(root, value=top)


def _section(root: Node, field: msgspec.structs.FieldInfo, report: Report) -> Any:
    node = root.value[field.encode_name]
    if field.encode_name == "connections":
        return {}
    before = len(report.problems)
    value = schemas.convert(node, field.type, report, (field.encode_name,))
    # A reference inside it that cannot be followed has been reported before, and leaves nothing.
    wrong = len(report.problems) > before or schemas.unresolved(node) or (value is None and node.value is not None)
    return _WRONG if wrong else value


def _entries(root: Node, report: Report) -> dict[str, ConnectionEntry]:
    """The connections, each without what is wrong in it by itself (`Report.in_doubt`)."""
    node = root.value.get("connections")
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        report.add(("connections",), Text("应为键值映射（名称: 连接）", "expected a mapping (name: connection)"))
        return {}
    entries = {}
    for name, child in node.value.items():
        entry = schemas.salvage(child, ConnectionEntry, report, ("connections", name), needed=("adapter",))
        if entry is not None:
            entries[name] = entry
    return entries


def _names(root: Node) -> list[str]:
    """Of all connections, those that are wrong too."""
    node = root.value.get("connections")
    return list(node.value) if node is not None and isinstance(node.value, dict) else []


def _load_adapter(name: str, entry: ConnectionEntry, adapters: Registry, report: Report) -> Adapter | None:
    if report.in_doubt(("connections", name, "adapter")):
        return None
    try:
        return adapters.load(entry.adapter)
    except SettingsError as error:
        for problem in error.problems:
            place = problem.where.replace("adapter ", "适配器 ", 1)
            what = Text(f"{place} {problem.what.zh}", f"{problem.where} {problem.what.en}")
            report.add(("connections", name, "adapter"), what, problem.proposal)
        return None


def _connection(
    name: str, entry: ConnectionEntry, adapter: Adapter | None, root: Node, report: Report
) -> Connection | None:
    path = ("connections", name, "settings")
    child = root.value["connections"].value[name]
    if adapter is None or ("settings" not in child.value and report.in_doubt(path)):
        return None
    node = child.value.get("settings") or Node({}, child.origin)
    settings = schemas.convert(node, adapter.settings_type, report, path)
    if settings is None:
        return None
    # A connection may use less than its adapter can: a webhook without a URL takes orders in and nothing else.
    enabled = getattr(settings, "operations", None)
    declared = {op: m for op, m in adapter.manifest.operations.items() if enabled is None or op in enabled}
    return Connection(
        name=ConnectionName(name),
        adapter=adapter,
        prefix=entry.prefix,
        mode=entry.mode or Mode.LIVE,
        start_at=entry.start_at.astimezone(UTC) if entry.start_at else None,
        route=entry.route,
        skus=entry.skus,
        stock=entry.stock,
        settle_s=_DEFAULT_SETTLE_S if entry.settle_s is None else entry.settle_s,
        gates={op: _merged(manifest, entry.gates.get(op, GateOverride())) for op, manifest in declared.items()},
        settings=settings,
        pull=_pull_of(adapter.manifest, entry.pull),
        rate=_rate_of(adapter.manifest, entry.rate),
    )


def _with_absolute_files(kafka: Kafka | None, folder: Path) -> Kafka | None:
    if kafka is None:
        return None
    security = kafka.security
    files = {key: getattr(security, key) for key in _KAFKA_FILES}
    absolute = {key: str(folder.joinpath(file).resolve()) for key, file in files.items() if file is not None}
    return msgspec.structs.replace(kafka, security=msgspec.structs.replace(security, **absolute))


def _merged(declared: OperationManifest, override: GateOverride) -> GatePolicy:
    values = {key: getattr(declared, key) for key in GatePolicy.__struct_fields__}
    return GatePolicy(**{**values, **_given(override)})


def _pull_of(manifest: Manifest, override: PullOverride | None) -> PullPolicy | None:
    if manifest.pull is None:
        return None
    return PullPolicy(**{**msgspec.structs.asdict(manifest.pull), **_given(override or PullOverride())})


def _rate_of(manifest: Manifest, override: RateOverride | None) -> RatePolicy | None:
    """None: no limit. A file that gives only a burst has no rate to go with it (`_check_pull`)."""
    values = msgspec.structs.asdict(manifest.rate) if manifest.rate is not None else {"burst": 1}
    values |= _given(override or RateOverride())
    return RatePolicy(**values) if "per_s" in values else None


def _given(override: msgspec.Struct) -> dict[str, Any]:
    """What the file has set."""
    return {key: value for key, value in msgspec.structs.asdict(override).items() if value is not None}


# --- how the settings must fit each other -----------------------------------------------------------------------

_REMOVE = Text("删掉它", "remove it")


def _check_sections(document: Document, report: Report, folder: Path) -> None:
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
    for key in _KAFKA_FILES:
        file = getattr(security, key)
        if file is None:
            continue
        if not tls:
            instead = Text(f"改用 SSL 或 SASL_SSL，或删掉 {key}", f"use SSL or SASL_SSL, or remove {key}")
            report.add((*place, key), useless, instead)
        elif not folder.joinpath(file).is_file():
            start = Text("相对路径从本文件所在目录算起", "relative paths start at the folder of this file")
            report.add((*place, key), Text(f"没有文件 {file}", f"there is no file {file}"), start)
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


def _check_certificates(security: KafkaSecurity, report: Report, folder: Path) -> None:
    """Load every file that is there as the clients will: what they cannot read ends a worker at its start."""
    place: KeyPath = ("kafka", "security")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca, cert, key = (folder.joinpath(getattr(security, name) or "") for name in _KAFKA_FILES)
    if ca.is_file():
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
    if cert.is_file() and key.is_file():
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


def _check_names(root: Node, names: Collection[str], report: Report) -> None:
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


def _check_prefixes(entries: Mapping[str, ConnectionEntry], report: Report) -> None:
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


def _check_connection(name: str, entry: ConnectionEntry, adapter: Adapter, report: Report) -> None:
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
                report.add((*place, key), what, Text("它只用于店铺", "it is for connections where orders begin"))
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


def _check_gates(
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
        gate = _merged(operations[operation], override)
        if override.slow_s is not None and gate.slow_s >= gate.deadline_s:
            what = Text(
                f"为 {gate.slow_s:g}，不小于 deadline_s（{gate.deadline_s:g}）：没有请求会算慢",
                f"is {gate.slow_s:g}, not below deadline_s ({gate.deadline_s:g}): no call would ever be slow",
            )
            report.add((*path, "slow_s"), what, _something_like(gate.deadline_s * 0.6))
        if override.adaptive and gate.in_flight == 1:
            what = Text("in_flight 为 1 时没有用", "has no use with in_flight 1")
            report.add((*path, "adaptive"), what, Text("调高 in_flight，或删掉它", "raise in_flight, or remove it"))


def _check_pull(name: str, entry: ConnectionEntry, manifest: Manifest, report: Report) -> None:
    place: KeyPath = ("connections", name)
    polled, pull = manifest.pull, _pull_of(manifest, entry.pull)
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
    elif entry.rate is not None and not report.in_doubt((*place, "rate")) and _rate_of(manifest, entry.rate) is None:
        what = Text("缺少：适配器没有自带限速", "is missing: the adapter declares no rate")
        report.add((*place, "rate", "per_s"), what, Text("添加 `per_s: …`", "add `per_s: …`"))


def _check_route(
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


def _check_lease(dispatch: Dispatch, connections: Mapping[ConnectionName, Connection], report: Report) -> None:
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


def _check_retention(retention: Retention, connections: Mapping[ConnectionName, Connection], report: Report) -> None:
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
            days = int(pull.lookback_s // 86_400) + 1
            what = Text(
                f"为 {tombstone_days}，而 {name} 可能给出 {days} 天前的订单",
                f"is {tombstone_days}, but {name} may tell of orders from {days} days ago",
            )
            report.add(("retention", "tombstone_days"), what, _at_least(days + 1))


def _check_notices(
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


def _check_owners(document: Document, configured: Collection[str], report: Report) -> None:
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


def _check_carriers(carriers: Mapping[str, Mapping[str, str]], adapters: Registry, report: Report) -> None:
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
