"""What can be set, its defaults, and what the settings come to for a connection, as frozen structs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.core.delivery import AfterUnknown, after_unknown
from gateway.core.event import ConnectionName
from gateway.core.keys import decode_key
from gateway.core.money import parse_minor
from gateway.core.notice import Kind
from gateway.core.order import Mode, Operation
from gateway.core.owner import OwnerKind
from gateway.core.text import described
from gateway.plugins import Adapter
from gateway.sdk.adapter import Manifest, OperationManifest

Seconds = Annotated[float, Meta(gt=0, le=86400)]
Share = Annotated[float, Meta(gt=0, le=1)]
Address = Annotated[str, described("主机:端口", "host:port", pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9_.-]+):\d{1,5}$")]
# Of names that can be looked up: an empty or overlong part of one is refused only when the worker already runs.
_BROKER = r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?):\d{1,5}"
CONNECTION_NAME = r"^[a-z0-9-]{1,40}$"
# A worker's lease outlives two sends one after the other, and misses this many beats before it is lost.
LEASE_DEADLINES = 2
LEASE_BEATS = 3
KAFKA_FILES = ("ca_file", "cert_file", "key_file")
"""Settings of `kafka.security` that name files."""


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
    listen: Annotated[Address, described("webhook 和 API 的主机:端口", "host:port of webhooks and API")] = (
        "127.0.0.1:8080"
    )
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
            "每个闸门在内存里的下发数，多个进程共用限速时更少；其余在数据库里等",
            "Deliveries held in memory per gate, fewer where workers share a rate; the rest waits in the database",
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


_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9-]+"
_MAIL_ADDRESS = rf"^(?=.{{1,64}}@){_ATOM}(\.{_ATOM})*@(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*\Z"
"""A dot-atom (RFC 5322, section 3.2.3): what every mail server takes, and a header holds as it is."""


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
        Annotated[str, Meta(pattern=_MAIL_ADDRESS)] | None,
        described("邮箱，如 wang@example.com", "Mail, like wang@example.com"),
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
    ship_by_lead_s: Annotated[
        Annotated[float, Meta(gt=0, le=604800)],
        described(
            "距最晚发货时间不足这么久、还没到仓库的订单，通知人处理",
            "An order that has not reached its warehouse so long before the shop's latest time to ship is told of",
        ),
    ] = 14400.0
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
        described(
            "仓库代码，库存记在它名下；用目标系统的叫法，或由目标的 `warehouse_codes` 换成它的叫法",
            "Warehouse code, under which its stock is kept: as the target calls it, or as the target's"
            " `warehouse_codes` translates it",
            min_length=1,
            max_length=64,
        ),
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
            "店铺用：我方订单号是它加店铺单号，上线后不能改；1 到 12 个字母、数字、- 或 _，一个不能是另一个的开头",
            "For shops: our order numbers are this and the shop's number, and it stays once the shop is live; 1 to 12 "
            "letters, digits, - or _, and none starts with another's",
        ),
    ] = None
    mode: Annotated[
        Mode | None,
        described(
            "店铺必填：`observe` 只接收，不下发新单，`live` 下发",
            "Required for shops: `observe` takes in and delivers nothing new, `live` delivers",
        ),
    ] = None
    start_at: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        described(
            "店铺用：在此之前下的订单只记录、不下发，写成 2026-01-01T00:00:00+08:00；轮询的店铺从此时读起，"
            "不填则从首次启动时读起。生效之后删掉这一行，仍算数",
            "For shops: orders placed before are known and never delivered, 2026-01-01T00:00:00+08:00; a "
            "shop that is polled is read from then on, without it from its first start. Once it has come to pass "
            "it counts even when the line is removed",
        ),
    ] = None
    route: Annotated[
        tuple[RouteTo, ...],
        described(
            "店铺用：订单发往哪里：新订单都按第一条，其余各条只留给已经按它们走的订单",
            "For shops: where its orders go: new ones by the first; the others are for orders that go by them already",
        ),
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
            "按操作（create、cancel、ship、stock）设上限和时限",
            "Per operation (create, cancel, ship, stock): limits and deadlines",
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


class Sections(_Section, frozen=True, kw_only=True):
    data_dir: Annotated[
        str,
        described(
            "本地数据的目录；相对路径从本文件所在目录算起",
            "Where local data is kept; relative to the folder of this file",
            min_length=1,
        ),
    ] = "./data"
    language: Annotated[
        Literal["zh", "en"],
        described("通知和卡住的订单表格的语言", "Language of notices and of the sheet of stuck orders"),
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


class Document(Sections, frozen=True, kw_only=True):
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
    def held_operations(self) -> tuple[Operation, ...]:
        """What a person can pause or hold by itself: what is delivered, and levels where they are published."""
        return (*self.order_operations, *((Operation.STOCK,) if self.publishes_levels else ()))

    @property
    def publishes_levels(self) -> bool:
        """Whether it is told stock levels: not while it is only observed, another system does so then."""
        return self.stock.publish and self.mode is Mode.LIVE

    def gate(self, operation: Operation) -> GatePolicy:
        """The policy of `operation`. KeyError when the adapter does not declare it."""
        return self.gates[operation]


class Settings(Sections, frozen=True, kw_only=True):
    """The whole configuration. `data_dir` is absolute."""

    connections: Mapping[ConnectionName, Connection]
    config_hash: int = 0
    """Differs where gateways differ in what orders are decided and sent by."""

    @property
    def switched_over(self) -> dict[ConnectionName, datetime]:
        """The shops that are live since an instant, and that instant."""
        return {
            name: connection.start_at
            for name, connection in self.connections.items()
            if connection.is_shop and connection.mode is Mode.LIVE and connection.start_at is not None
        }

    @property
    def live_since(self) -> dict[ConnectionName, datetime | None]:
        """Every live shop, and since when where that is said."""
        return {**dict.fromkeys(self.prefixes(Mode.LIVE)), **self.switched_over}

    def with_starts(self, kept: Mapping[ConnectionName, datetime]) -> Settings:
        """With the `kept` start of every live shop that has none here."""
        connections = {
            name: msgspec.structs.replace(connection, start_at=kept.get(name))
            if connection.is_shop and connection.mode is Mode.LIVE and connection.start_at is None
            else connection
            for name, connection in self.connections.items()
        }
        return msgspec.structs.replace(self, connections=connections)

    def prefixes(self, mode: Mode) -> dict[ConnectionName, str]:
        """The prefix of every shop in `mode`."""
        return {
            name: connection.prefix
            for name, connection in self.connections.items()
            if connection.prefix is not None and connection.mode is mode
        }

    @property
    def shop_prefixes(self) -> dict[ConnectionName, str]:
        """The prefix of every shop."""
        return {**self.prefixes(Mode.LIVE), **self.prefixes(Mode.OBSERVE)}

    @property
    def adapters(self) -> dict[ConnectionName, str]:
        """By which adapter each connection is reached."""
        return {name: connection.manifest.name for name, connection in self.connections.items()}

    def __repr__(self) -> str:
        return f"Settings(connections={list(self.connections)!r})"


def host_port(address: str) -> tuple[str, int]:
    """``("127.0.0.1", 8080)`` of ``127.0.0.1:8080``; an IPv6 host loses its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def merged(declared: OperationManifest, override: GateOverride) -> GatePolicy:
    values = {key: getattr(declared, key) for key in GatePolicy.__struct_fields__}
    return GatePolicy(**{**values, **_given(override)})


def pull_of(manifest: Manifest, override: PullOverride | None) -> PullPolicy | None:
    if manifest.pull is None:
        return None
    return PullPolicy(**{**msgspec.structs.asdict(manifest.pull), **_given(override or PullOverride())})


def rate_of(manifest: Manifest, override: RateOverride | None) -> RatePolicy | None:
    """None: no limit. A file that gives only a burst has no rate to go with it (`fitting.check_pull`)."""
    values = msgspec.structs.asdict(manifest.rate) if manifest.rate is not None else {"burst": 1}
    values |= _given(override or RateOverride())
    return RatePolicy(**values) if "per_s" in values else None


def _given(override: msgspec.Struct) -> dict[str, Any]:
    """What the file has set."""
    return {key: value for key, value in msgspec.structs.asdict(override).items() if value is not None}
