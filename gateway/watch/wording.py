"""How a notice reads, in Chinese or English: what happened, what is known, what a person should do. Pure.

Nothing of a buyer stands in it: it is made of the names of connections, warehouses and SKUs, counts, times and codes
from closed sets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Literal

import msgspec

from gateway.core.clock import DATABASE, Off
from gateway.core.code import code_of
from gateway.core.notice import FAILING, PAST, RENEWAL, RESTARTS, Change, Imbalance, Kind, Sign, Words
from gateway.core.text import Text
from gateway.core.words import ANSWERS, BALANCE, OPERATIONS, subject, word
from gateway.watch.conditions import Changed

Language = Literal["zh", "en"]
Say = Callable[[str, str], str]

_BEIJING = timezone(timedelta(hours=8))


def sayer(language: Language) -> Say:
    """Chooses between a Chinese and an English text."""
    return (lambda zh, en: zh) if language == "zh" else (lambda zh, en: en)


def words(changed: Changed, *, at: datetime, language: Language, runbooks: str) -> Words:
    """The notice of one change; `runbooks` is where the pages lie, a folder or a URL that ends with a slash."""
    say = sayer(language)
    key, opened_at = changed.condition.key, changed.condition.opened_at
    if changed.change is Change.CLOSED:
        lasted = span((at - opened_at).total_seconds(), say)
        facts = say(f"始于 {when(opened_at)}，历时 {lasted}。", f"Since {when(opened_at)}, for {lasted}.")
        return Words(_closed(changed, say), facts, "")
    assert changed.sign is not None
    title, fact, advice = _OPENED[key.kind](changed.sign, say)
    if changed.change is Change.GROWN:
        title = say(f"{title}（增多）", f"{title} (growing)")
    facts = say(f"始于 {when(opened_at)}。{fact}", f"Since {when(opened_at)}. {fact}").rstrip()
    return Words(title, facts, say(f"处理：{advice}", f"To do: {advice}") + f"\n{runbooks}{key.kind.value}.md")


def when(at: datetime) -> str:
    """``05-01 09:30:05 (UTC+8)``: the merchant's time, wherever the server is."""
    return at.astimezone(_BEIJING).strftime("%m-%d %H:%M:%S (UTC+8)")


def span(seconds: float, say: Say) -> str:
    """``45 秒``, ``12 分钟``, ``3 小时 5 分钟``."""
    whole = max(0, round(seconds))
    if whole < 90:
        return say(f"{whole} 秒", f"{whole} s")
    minutes = round(whole / 60)
    if minutes < 90:
        return say(f"{minutes} 分钟", f"{minutes} min")
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return say(f"{hours} 小时", f"{hours} h") + (say(f" {rest} 分钟", f" {rest} min") if rest else "")
    return say(f"{hours // 24} 天", f"{hours // 24} days")


def _operation(name: str, say: Say) -> str:
    said = word(name, OPERATIONS)
    return say(said.zh, said.en)


def _closed(changed: Changed, say: Say) -> str:
    key = changed.condition.key
    operation, code, said = _operation(key.subject, say), key.subject, subject(key.kind, key.subject).zh
    match key.kind:
        case Kind.DATABASE:
            return say(f"数据库已恢复：{key.subject}", f"The database is back: {key.subject}")
        case Kind.TARGET:
            return say(f"已恢复：{key.connection} {operation}", f"Up again: {key.connection} {operation}")
        case Kind.AUTHORISE if changed.dropped:
            return say(
                f"按现在的配置不再需要授权：{key.connection}",
                f"No authorisation needed any more, by the configuration: {key.connection}",
            )
        case Kind.AUTHORISE if key.subject == RENEWAL:
            return say(f"授权已更新：{key.connection}", f"Authorisation renewed: {key.connection}")
        case Kind.AUTHORISE:
            return say(f"授权已恢复：{key.connection}", f"Authorised again: {key.connection}")
        case Kind.SHOP_NOT_READ:
            return say(f"店铺已能读取：{key.connection}", f"Read again: {key.connection}")
        case Kind.CLOCK:
            clock = clock_name(key.connection or key.subject, say)
            # Set right; or, now that others have said theirs, it is another one that is off.
            return say(f"时钟不再有偏差：{clock}", f"Clock no longer off: {clock}")
        case Kind.WORKER if key.subject == RESTARTS:
            return say("工作进程不再反复重启", "Workers no longer end again and again")
        case Kind.WORKER:
            return say(f"进程 {key.subject} 已有接替", f"Worker {key.subject} has been replaced")
        case Kind.KAFKA_NOT_READ:
            return say("Kafka 已能读取", "Kafka is read again")
        case Kind.INBOX:
            return say("Kafka 已恢复，事件重新走 Kafka", "Kafka is back and carries the events again")
        case Kind.SHIP_BY if key.subject == PAST:
            return say(
                f"没有已过发货时限而未到仓库的订单了：{key.connection}",
                f"No orders past their ship-by time any more: {key.connection}",
            )
        case Kind.SHIP_BY:
            title = say(
                f"没有临近发货时限而未到仓库的订单了：{key.connection}",
                f"No orders near their ship-by time any more: {key.connection}",
            )
            if changed.past:
                title += say(f"，已过时限的有 {changed.past} 单", f", {changed.past} are past it")
            return title
        case Kind.BACKLOG if not key.connection:
            return say("收件箱积压已消除", "The inbox has caught up")
        case Kind.BACKLOG:
            return say(f"积压已消除：{key.connection} {operation}", f"Caught up: {key.connection} {operation}")
        case Kind.LEVEL if key.subject == FAILING:
            return say(f"库存回传已恢复：{key.connection}", f"Stock levels get through again: {key.connection}")
        case Kind.LEVEL:
            return say(f"库存回传已全部接受：{key.connection}", f"Stock levels taken again: {key.connection}")
        case Kind.LEDGER:
            return say(f"库存账已平：{key.subject}", f"The ledger tallies again: {key.subject}")
        case Kind.DEAD_LETTER:
            of = f"{key.connection} " if key.connection else ""
            return say(f"死信已清：{of}{said}", f"No dead letters any more: {of}{code}")
        case Kind.BLOCKED:
            return say(f"待人工已清：{key.connection} {said}", f"Nothing blocked any more: {key.connection} {code}")
        case Kind.CONFLICT:
            return say(f"冲突已清：{key.connection} {said}", f"No conflicts any more: {key.connection} {code}")
        case Kind.HOLD:
            return say(f"没有被扣住的了：{key.connection} {said}", f"None held any more: {key.connection} {code}")


def _database(sign: Sign, say: Say) -> tuple[str, str, str]:
    title = say(f"数据库不可用：{sign.key.subject}", f"Database away: {sign.key.subject}")
    fact = say(
        "网关连不上 PostgreSQL，或写不进去：订单不再处理和下发，其他通知也发不出来。"
        "新事件留在 Kafka；没有 Kafka 的回 503，由发送方重试。恢复后自动续上，不会丢单，也不会重复。",
        "The gateway cannot reach PostgreSQL, or cannot write to it: no order is decided or sent, and no other notice"
        " goes out. New events stay in Kafka; without it they are answered with 503 and sent again by who sends them."
        " Once it is back everything goes on by itself, nothing is lost or doubled.",
    )
    return (
        title,
        fact,
        say(
            "检查 PostgreSQL 是否在运行、磁盘和连接数是否已满、是否只读（ordergate check）",
            "see whether PostgreSQL runs, has room on its disk and for connections, is not read-only (ordergate check)",
        ),
    )


def _target(sign: Sign, say: Say) -> tuple[str, str, str]:
    key = sign.key
    operation = _operation(key.subject, say)
    title = say(
        f"不可用：{key.connection} {operation}，{sign.count} 单在等",
        f"Down: {key.connection} {operation}, {sign.count} orders wait",
    )
    causes = {
        "failure_share": ("多数请求失败或过慢", "most requests fail or are slow"),
        "timeouts": ("连续超时", "time-outs in a row"),
        "probe_failed": ("试探请求失败", "a probe failed"),
    }
    cause = say(*causes.get(sign.code, ("多数请求失败或过慢", "most requests fail or are slow")))
    fact = say(
        f"{sign.of_workers} 个进程中 {sign.workers} 个已熔断（{cause}）。"
        "网关已停止下发，自动试探，恢复后补发，不会重复。",
        f"{sign.workers} of {sign.of_workers} workers have stopped sending ({cause})."
        " The gateway probes by itself and then sends what waits, nothing twice.",
    )
    if sign.count:
        fact += say(
            f"最早的一单已等 {span(sign.age_s, say)}。", f" The oldest order has waited for {span(sign.age_s, say)}."
        )
    return title, fact, say("联系对方确认系统状态；订单无需手工处理", "ask whoever runs it; no order needs a hand")


def _authorise(sign: Sign, say: Say) -> tuple[str, str, str]:
    if sign.key.subject == RENEWAL:
        return _not_renewed(sign, say)
    title = say(f"授权失效：{sign.key.connection}", f"Authorisation refused: {sign.key.connection}")
    fact = say(
        f"平台返回 {code_of(sign.code)}，该连接已停止收发，{sign.count} 条下发在等，全部保留。",
        f"The platform says {code_of(sign.code)}. Nothing goes to or comes from it; {sign.count} deliveries are kept.",
    )
    return title, fact, _authorise_again(sign, say)


def _not_renewed(sign: Sign, say: Say) -> tuple[str, str, str]:
    shop, code = sign.key.connection, code_of(sign.code)
    title = say(f"授权续期被拒：{shop}", f"Renewal refused: {shop}")
    if sign.until is not None:
        title += say(f"，现有授权到 {when(sign.until)} 为止", f", its authorisation lasts until {when(sign.until)}")
    fact = say(
        f"平台返回 {code}。到期前照常收发，网关会再试续期；到期后该连接停止收发。",
        f"The platform says {code}. Until then everything goes on and renewing is tried again; after that nothing goes"
        " to it or comes from it.",
    )
    return title, fact, _authorise_again(sign, say)


def _authorise_again(sign: Sign, say: Say) -> str:
    return say(
        f"登录平台重新授权，再执行 ordergate connections authorise {sign.key.connection}",
        f"authorise again at the platform, then ordergate connections authorise {sign.key.connection}",
    )


def _shop_not_read(sign: Sign, say: Say) -> tuple[str, str, str]:
    code = code_of(sign.code)
    title = say(f"店铺读不到：{sign.key.connection}（{_said(code)}）", f"Shop not read: {sign.key.connection} ({code})")
    fact = say(
        "新订单暂时进不来；读取位置停在原处，恢复后自动补读，不会丢单。",
        "New orders do not come in now. Reading goes on from where it stopped, none is lost.",
    )
    return (
        title,
        fact,
        say("ordergate connections list，按处置页核对原因", "ordergate connections list; the page explains the reason"),
    )


def clock_name(clock: str, say: Say) -> str:
    """A connection, one of our machines (``@name``), or the database, as people call it."""
    return say("数据库", "database") if clock == DATABASE else clock.removeprefix("@")


def clock_facts(clock: str, off: Off, say: Say) -> tuple[str, str]:
    """Who says that a clock is off, and what is to be done about it."""
    name = clock_name(clock, say)
    names = say("、", ", ").join(clock_name(one, say) for one in off.names)
    if off.agreeing > len(off.names):
        names += say(" 等", " and others")
    if clock.startswith("@"):
        return (
            say(
                f"比对了 {off.asked} 个时钟，{off.agreeing} 个（{names}）都这样说。"
                "平台拒绝时间戳不准的请求（拼多多的轮询只容 10 秒，其他 5 至 10 分钟）。",
                f"{off.agreeing} of {off.asked} clocks say so ({names}). Platforms refuse requests whose time is off"
                " (polling Pinduoduo by 10 s, others by 5 to 10 minutes).",
            ),
            say(
                f"在 {name} 上校准时钟，启用 NTP（chronyc tracking）",
                f"set the clock of {name} right and run NTP there (chronyc tracking)",
            ),
        )
    if off.agreeing:
        fact = say(
            f"本机与其余 {off.agreeing} 个时钟（{names}）一致。", f"Ours agrees with {off.agreeing} others ({names})."
        )
    else:
        fact = say("没有别的时钟可以判断是哪一方不准。", "No other clock tells which of the two is off.")
    if not off.agreeing:
        advice = say(
            f"先核对本机（chronyc tracking）；本机准确，则请 {name} 校准",
            f"look at this machine first (chronyc tracking); if it is right, have {name} set right",
        )
    elif clock == DATABASE:
        advice = say(
            "在数据库所在机器上启用 NTP（chronyc tracking）", "run NTP on the database's machine (chronyc tracking)"
        )
    else:
        advice = say(f"请 {name} 的维护方校准时钟；本机无需处理", f"ask whoever runs {name} to set it right; ours is")
    return fact, advice


def _clock(sign: Sign, say: Say) -> tuple[str, str, str]:
    clock = sign.key.connection or sign.key.subject
    name = clock_name(clock, say)
    try:
        off = msgspec.json.decode(sign.code, type=Off)
    except msgspec.MsgspecError:  # written by a worker of another release
        look = say(
            "在该机器上执行 chronyc tracking；ordergate check", "chronyc tracking on that machine; ordergate check"
        )
        return say(f"时钟不准：{name}", f"Clock off: {name}"), "", look
    by, ours = span(abs(off.ahead_s), say), clock.startswith("@")
    fast = (off.ahead_s > 0) is ours
    if off.agreeing:
        title = say(
            f"时钟不准：{name}（{'快' if fast else '慢'} {by}）",
            f"Clock off: {name} is {by} {'fast' if fast else 'slow'}",
        )
    else:
        title = say(f"时钟相差 {by}：本机与 {name}", f"Clocks {by} apart: ours and {name}")
    return title, *clock_facts(clock, off, say)


def _worker(sign: Sign, say: Say) -> tuple[str, str, str]:
    if sign.key.subject == RESTARTS:
        return _restarts(sign, say)
    name = sign.key.subject
    title = say(f"进程失联：{name}", f"Worker gone: {name}")
    fact = say(
        f"租约到期，{sign.count} 条下发已由其余 {sign.of_workers} 个进程接管，先查询再补发。",
        f"Its lease ran out; {sign.count} deliveries went to the other {sign.of_workers} and are asked for before they"
        " are sent.",
    )
    return title, fact, say("查看该机器和日志，重新启动进程", "look at its machine and log, and start it again")


def _restarts(sign: Sign, say: Say) -> tuple[str, str, str]:
    title = say(f"工作进程反复重启：{sign.count} 次", f"Workers end again and again: {sign.count} times")
    fact = say(
        "每次都由上级进程重新拉起；其间接收和下发时断时续，已收下的订单不会丢失。",
        "Each is started again; meanwhile orders are taken and sent by fits and starts. None that was taken is lost.",
    )
    advice = say(
        "查看日志中进程结束前的错误；刚升级或改过配置的，先退回",
        "look in the log for the error before each end; after an upgrade or a change of the settings, go back first",
    )
    return title, fact, advice


def _inbox(sign: Sign, say: Say) -> tuple[str, str, str]:
    title = say("Kafka 不可用，改走收件箱", "Kafka is away, the inbox takes the events")
    fact = say(
        f"{sign.of_workers} 个进程中 {sign.workers} 个写不进 Kafka；新订单存入收件箱（{sign.count} 条），不会丢失。",
        f"{sign.workers} of {sign.of_workers} workers cannot write to it. New orders are stored in the database"
        f" ({sign.count} wait there), none is lost.",
    )
    return title, fact, say("检查 Kafka 集群（ordergate check）", "look at the brokers (ordergate check)")


def _kafka_not_read(sign: Sign, say: Say) -> tuple[str, str, str]:
    title = say("Kafka 读不到，其中的订单在等", "Kafka is not read, the orders on it wait")
    fact = say(
        f"Kafka 在线，{sign.of_workers} 个进程中 {sign.workers} 个读不到主题。订单保存在 Kafka，"
        "恢复后自动续读；等待超过主题的保留时间会丢失。",
        f"Kafka is there, and {sign.workers} of {sign.of_workers} workers do not read the topic. Orders are kept there,"
        " and reading goes on by itself; what waits for longer than the topic keeps it is lost.",
    )
    return title, fact, say("ordergate check；日志中 where 为 kafka 的行", "ordergate check; log lines where=kafka")


def _backlog(sign: Sign, say: Say) -> tuple[str, str, str]:
    key, age = sign.key, span(sign.age_s, say)
    if not key.connection:
        title = say(f"收件箱积压：最早 {age}", f"The inbox is behind: oldest {age}")
        fact = say(f"{sign.count} 条事件尚未处理。", f"{sign.count} events are not decided.")
        return title, fact, say("查看数据库负载和进程状态", "look at the database's load and the workers")
    operation = _operation(key.subject, say)
    title = say(
        f"积压：{key.connection} {operation}，{sign.count} 单，最早 {age}",
        f"Backlog: {key.connection} {operation}, {sign.count} orders, oldest {age}",
    )
    fact = say("网关持续按限速下发，无需重发。", "The gateway goes on sending within its limits.")
    return (
        title,
        fact,
        say(
            f"ordergate deliveries list --target {key.connection}；核对对方状态和限速",
            f"ordergate deliveries list --target {key.connection}; check the target and the rate limit",
        ),
    )


def _ship_by(sign: Sign, say: Say) -> tuple[str, str, str]:
    shop, count = sign.key.connection, sign.count
    assert sign.until is not None
    if sign.key.subject == PAST:
        title = say(
            f"已过发货时限：{shop}，{count} 单未到仓库", f"Past ship-by: {shop}, {count} orders not at a warehouse"
        )
        first = say(f"最早的应在 {when(sign.until)} 前发货。", f"The first was to be shipped by {when(sign.until)}.")
    else:
        title = say(
            f"临近发货时限：{shop}，{count} 单未到仓库", f"Ship-by near: {shop}, {count} orders not at a warehouse"
        )
        if sign.past:
            title += say(f"，另有 {sign.past} 单已过时限", f", {sign.past} more are past it")
        first = say(f"最早的要在 {when(sign.until)} 前发货。", f"The first has to be shipped by {when(sign.until)}.")
    fact = first + say(
        "过了时限网关也不会放弃，照常发送；迟发由平台处罚。",
        " The gateway does not give up when the time is over and sends all the same; the platform fines what is late.",
    )
    listed = f"ordergate orders list --near-ship-by --connection {shop}"
    return title, fact, say(f"{listed}，按原因处理最早的", f"{listed}; see to the first ones, by what they wait for")


def _level(sign: Sign, say: Say) -> tuple[str, str, str]:
    shop, code = sign.key.connection, code_of(sign.code)
    if sign.key.subject == FAILING:
        return (
            say(
                f"库存回传一再失败：{shop}，{sign.count} 个商品",
                f"Stock levels do not get through: {shop}, {sign.count} listings",
            ),
            say(
                "店铺仍按原来的数量销售，可能超卖。网关继续再试，间隔最长 5 分钟。",
                "The shop sells by older numbers and may sell too many. The gateway goes on trying, at least every 5"
                " minutes.",
            ),
            say(
                "看日志 level_told 的 code：permission 是应用没有库存接口的权限；快卖完的先在店铺后台改数量或下架",
                "the log's level_told has a code, permission where the app lacks that for stock; set what is nearly"
                " sold out by hand at the shop",
            ),
        )
    title = say(
        f"库存回传被拒：{shop}，{sign.count} 个商品（{_said(code)}）",
        f"Stock levels refused: {shop}, {sign.count} listings ({code})",
    )
    fact = say(
        "店铺仍按原来的数量销售，可能超卖。可售数量减少时网关尽快再报，其余过 10 分钟至 6 小时再试。",
        "The shop sells by older numbers and may sell too many. Lower levels are told again soon, others after 10"
        " minutes to 6 hours.",
    )
    return (
        title,
        fact,
        say(
            f"ordergate skus list {shop} --refused，在店铺后台改好商品后 ordergate skus publish {shop} --refused",
            f"ordergate skus list {shop} --refused; mend the items at the shop, then"
            f" ordergate skus publish {shop} --refused",
        ),
    )


def _ledger(sign: Sign, say: Say) -> tuple[str, str, str]:
    warehouse = sign.key.subject
    title = say(
        f"库存账不平：{warehouse}，{sign.count} 个 SKU", f"Ledger off: {warehouse}, balances of {sign.count} SKUs"
    )
    fact = say(
        f"库存数量不等于库存变动之和{_example(sign.code, say)}。订单照常处理，可售数量可能有误。",
        f"They are not the sum of their movements{_example(sign.code, say)}. Orders go on; what may be sold may be"
        " wrong.",
    )
    return (
        title,
        fact,
        say(
            "ordergate stock list --off，按处置页核对后 ordergate stock settle",
            "ordergate stock list --off; the page says how to look at them and ordergate stock settle",
        ),
    )


def _example(code: str, say: Say) -> str:
    try:
        one = msgspec.json.decode(code, type=Imbalance)
    except msgspec.MsgspecError:  # written by a worker of another release
        return ""
    apart = ((BALANCE["on_hand"], one.on_hand), (BALANCE["locked"], one.locked), (BALANCE["committed"], one.committed))
    zh = "、".join(f"{name.zh}差 {pieces:+d}" for name, pieces in apart if pieces)
    en = ", ".join(f"{name.en} {pieces:+d}" for name, pieces in apart if pieces)
    return say(f"（如 {one.sku}：{zh}）", f" (as {one.sku}: {en})")


def _dead_letter(sign: Sign, say: Say) -> tuple[str, str, str]:
    connection, code = sign.key.connection, sign.key.subject
    said = subject(sign.key.kind, code).zh
    of = f"{connection} " if connection else ""  # none where the source is unknown
    title = say(f"死信：{of}{said}，{sign.count} 条", f"Dead letters: {of}{code}, {sign.count}")
    listed = f"ordergate dead list{f' --source {connection}' if connection else ''} --code {code}"
    if code == "dropped":
        return (
            title,
            say(
                "读取落后于 Kafka 主题的保留时间或大小，这些事件已被 Kafka 删除，网关没有处理。",
                "Reading fell behind what the topic keeps: Kafka has removed these events, and nobody acted on them.",
            ),
            say(f"{listed}，请发送方或店铺拉取补发后放弃", f"{listed}; have them sent again, or pulled, then discard"),
        )
    fact = say(
        "这些报文无法解析，原文完整保留；同一订单的后续报文在其后等待，其余订单不受影响。",
        "They could not be understood and are kept whole; later events of the same orders wait, all others flow.",
    )
    return (
        title,
        fact,
        say(
            f"{listed}，修复后放行",
            f"{listed}, repair and release",
        ),
    )


def _blocked(sign: Sign, say: Say) -> tuple[str, str, str]:
    connection, code = sign.key.connection, sign.key.subject
    said = subject(sign.key.kind, code).zh
    title = say(
        f"待人工：{connection} {said}，{sign.count} 单", f"Wait for a person: {connection} {code}, {sign.count} orders"
    )
    fact, advice = _BLOCKED.get(code, _BLOCKED["rejected"])
    listed = f"ordergate deliveries list --state blocked --target {connection}"
    return title, say(fact.zh, fact.en), say(f"{listed}，{advice.zh}", f"{listed}; {advice.en}")


def _conflict(sign: Sign, say: Say) -> tuple[str, str, str]:
    connection, code = sign.key.connection, sign.key.subject
    said = subject(sign.key.kind, code).zh
    title = say(
        f"订单冲突：{connection} {said}，{sign.count} 单", f"Conflicts: {connection} {code}, {sign.count} orders"
    )
    fact = say(
        "各系统对订单的说法不一致，网关不会替人决定。",
        "The systems contradict each other, a person decides.",
    )
    listed = f"ordergate work items --kind conflict{f' --connection {connection}' if connection else ''}"
    return (
        title,
        fact,
        say(
            f"{listed}，逐单核对；没有系统会再说什么的，ordergate work handled",
            f"{listed}, settle each; what no system will say more of: ordergate work handled",
        ),
    )


def _hold(sign: Sign, say: Say) -> tuple[str, str, str]:
    connection, code = sign.key.connection, sign.key.subject
    said = subject(sign.key.kind, code).zh
    title = say(f"订单被扣住：{connection} {said}，{sign.count} 单", f"Held: {connection} {code}, {sign.count} orders")
    fact = say("这些订单没有发往仓库，等人处理。", "They are not sent to the warehouse until a person does something.")
    listed = f"ordergate work list --kind hold{f' --connection {connection}' if connection else ''} --code {code}"
    return title, fact, say(f"{listed} 写明怎样处理", f"{listed} says what to do")


_BLOCKED: Mapping[str, tuple[Text, Text]] = {
    "rejected": (
        Text("对方拒收，重发同样内容没有用。", "The target refuses them; the same again would not help."),
        Text("修改后重发，或标记已处理", "edit and resend, or resolve"),
    ),
    "unknown": (
        Text("对方是否已收到无法确认。", "Nobody knows whether the target has them."),
        Text("到对方系统核实：没有则重发，已有则标记已处理", "look there: resend if absent, resolve if there"),
    ),
    "rejected:unknown_carrier": (
        Text(
            "配置里没有这家快递公司在对方那里的代码，所以没有发给对方；内容没有错。",
            "The configuration lacks the target's code of a carrier, so nothing was sent; the content is right.",
        ),
        Text(
            "在配置 carriers 里补上该快递公司，重启网关后重发",
            "add the carrier to the setting `carriers`, restart the gateway, and resend",
        ),
    ),
    "sealed": (
        Text(
            "网关没有打开这些订单的密钥，无法下发；此前试过的，对方可能已收到。",
            "The gateway lacks the key of these orders and cannot send them; what was tried before may be there.",
        ),
        Text(
            "把缺少的密钥加回 encryption.keys，重启网关后重发；密钥确已丢失的，到对方系统核实、手工处理后标记已处理",
            "put the missing key back into encryption.keys, restart, and resend; where it is lost for good, look at the"
            " target, see to them by hand, and resolve",
        ),
    ),
    "unreadable": (
        Text(
            "这些订单由更新的版本写入，本版本无法下发；此前试过的，对方可能已收到。",
            "A later release wrote these orders, and this one cannot send them; what was tried before may be there.",
        ),
        Text("升级网关后重发", "upgrade the gateway and resend"),
    ),
}
"""What is known and what to do, by why deliveries wait for a person."""


def _said(code: str) -> str:
    """What `code` is called in Chinese, and the code, by which the pages are read."""
    name = word(code, ANSWERS).zh
    return f"{name} {code}" if name != code else code


_OPENED: Mapping[Kind, Callable[[Sign, Say], tuple[str, str, str]]] = {
    Kind.DATABASE: _database,
    Kind.TARGET: _target,
    Kind.AUTHORISE: _authorise,
    Kind.SHOP_NOT_READ: _shop_not_read,
    Kind.CLOCK: _clock,
    Kind.WORKER: _worker,
    Kind.KAFKA_NOT_READ: _kafka_not_read,
    Kind.INBOX: _inbox,
    Kind.SHIP_BY: _ship_by,
    Kind.BACKLOG: _backlog,
    Kind.LEVEL: _level,
    Kind.LEDGER: _ledger,
    Kind.DEAD_LETTER: _dead_letter,
    Kind.BLOCKED: _blocked,
    Kind.CONFLICT: _conflict,
    Kind.HOLD: _hold,
}
