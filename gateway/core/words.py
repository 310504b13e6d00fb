"""Words for the codes that people meet: the only place where a stage, a reason or a state gets a name. Values only.

Codes stay what programs, filters and the database use. What a person does about one is `gateway.api.advice`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.core.delivery import Result
from gateway.core.happening import ConnectionState
from gateway.core.notice import FAILING, PAST, RENEWAL, RESTARTS, Change, Kind
from gateway.core.order import Conflict, Operation, Reason, Stage, Stale
from gateway.core.owner import WorkKind
from gateway.core.text import Text

STAGES: Mapping[Stage, Text] = {
    Stage.RECEIVED: Text("已接收", "received"),
    Stage.REVIEWED: Text("已审核", "reviewed"),
    Stage.ALLOCATED: Text("已分配", "allocated"),
    Stage.PACKED: Text("已打包", "packed"),
    Stage.SHIPPED: Text("已发货", "shipped"),
    Stage.CANCELLED: Text("已取消", "cancelled"),
    Stage.REFUNDED: Text("已退款", "refunded"),
    Stage.CONFLICT: Text("冲突", "conflict"),
}
REASONS: Mapping[Reason, Text] = {
    "unpaid": Text("未付款", "not paid"),
    "channel_hold": Text("平台暂停发货", "held by the channel"),
    "held_for_person": Text("平台暂停发货，需人工处理", "held by the channel until a person acts at the shop"),
    "no_content": Text("尚无订单内容", "its content is not known yet"),
    "paid_no_content": Text("已付款，但没有订单内容", "paid, and the shop has not told its content"),
    "observed": Text("仅观察", "observed only"),
    "before_start": Text("切换前的订单", "from before the start"),
    "refund_open": Text("有未结束的退款", "a refund is open"),
    "over_limit": Text("金额超过审核上限", "over the amount that goes without a look"),
    "no_route": Text("没有可用的发货路线", "no route to a warehouse"),
    "paused": Text("店铺已暂停或改为观察", "its shop is paused, or only observed"),
    "unmapped_sku": Text("店铺商品编码没有对照", "a shop SKU that is not mapped"),
    "short_of_stock": Text("库存不足", "short of stock"),
    "unknown_sku": Text("库存中没有该 SKU", "no stock is known for a SKU"),
}
CONFLICTS: Mapping[Conflict, Text] = {
    "cancelled_but_shipped": Text("买家已取消，仓库已发货", "cancelled at the shop, shipped by the warehouse"),
    "refunded_but_shipped": Text(
        "已全额退款并通知仓库取消，仓库仍发了货", "paid back in full, shipped by the warehouse in spite of our cancel"
    ),
    "shipped_unknown_order": Text("仓库发了未知订单", "the warehouse shipped an order no shop told of"),
    "confirmed_by_other_warehouse": Text("由另一个仓库确认发货", "confirmed by a warehouse it was not sent to"),
    "changed_after_sent": Text("下发后订单内容有变更", "changed at the shop after it was sent"),
    "held_after_sent": Text("下发后被平台暂停发货", "held by the channel after it was sent"),
    "reopened_after_cancel": Text("取消后，店铺又恢复订单", "open again at the shop after it was cancelled"),
    "warehouse_exception": Text("仓库报告异常", "the warehouse reports an exception"),
    "shipped_beyond_stock": Text("发货数量超过账面库存", "more was shipped than the books had"),
    "shipped_elsewhere": Text(
        "已下发仓库，店铺显示已由别处发货", "shipped by another hand after it was sent to the warehouse"
    ),
    "shipped_short": Text("仓库发货完毕，件数少于订单", "the warehouse is done and shipped less than was ordered"),
}
LETTERS: Mapping[str, Text] = {
    "json": Text("报文不是 JSON", "the payload is not JSON"),
    "xml": Text("报文不是 XML", "the payload is not XML"),
    "shape": Text("报文结构不对", "the payload has another shape"),
    "field": Text("报文字段缺失或多余", "a field is missing or unknown"),
    "value": Text("报文字段的值有误", "a value is wrong"),
    "amount": Text("报文金额有误", "an amount is wrong"),
    "too_large": Text("报文过大", "the payload is too large"),
    "clock": Text("时间超前一天以上", "from more than a day ahead"),
    "signature": Text("签名无效", "the sender is not proven"),
    "unknown_source": Text("来源没有配置", "its source is not configured"),
    "another_shop": Text("订单号与另一家店铺的相同", "it has the number of another shop's order"),
    "not_a_shop": Text("来源没有配置成店铺", "its source is not set up as a shop"),
    "adapter": Text("适配器出错", "the adapter failed"),
    "sealed": Text("无法解密：缺少密钥，或已损坏", "it cannot be opened: its key is missing, or it is damaged"),
    "undecidable": Text("无法判断", "cannot be decided"),
    "unread": Text("平台没有给出订单内容", "its platform gives nothing of the order"),
    "dropped": Text("Kafka 已删除，未读取", "removed by Kafka unread"),
    "behind": Text("排在前一条死信之后", "waits behind another"),
}
RESOLUTIONS: Mapping[str, Text] = {
    "open": Text("未处理", "open"),
    "released": Text("已放行", "released"),
    "discarded": Text("已放弃", "discarded"),
    "superseded": Text("其后已读到该订单，自动关闭", "closed by itself: the order has been read since"),
}
OPERATIONS: Mapping[Operation, Text] = {
    Operation.CREATE: Text("下单", "create"),
    Operation.CANCEL: Text("取消", "cancel"),
    Operation.SHIP: Text("发货回传", "ship"),
    Operation.STOCK: Text("库存回传", "stock"),
}
RESULTS: Mapping[Result, Text] = {
    Result.DONE: Text("成功", "done"),
    Result.FAILED: Text("失败", "failed"),
    Result.THROTTLED: Text("被限流", "throttled"),
    Result.REJECTED: Text("被拒收", "rejected"),
    Result.UNKNOWN: Text("结果不明", "unknown"),
    Result.FOUND: Text("查到对方已有", "found there"),
    Result.NOT_FOUND: Text("查到对方没有", "not found there"),
    Result.RESOLVED: Text("人工标记已处理", "resolved by hand"),
    Result.UNAUTHORISED: Text("授权被拒", "authorisation refused"),
    Result.WITHDRAWN: Text("未发出：此前已取消", "never sent: cancelled before"),
}
LANES: Mapping[str, Text] = {
    "held": Text("排队发送", "held"),
    "waiting": Text("等待", "waiting"),
    "blocked": Text("待人工", "blocked"),
}
STOPPED: Mapping[str, Text] = {
    "paused": Text("连接已暂停", "paused"),
    "authorise": Text("需重新授权", "to be authorised again"),
    "breaker": Text("闸门手动断开", "breaker held open"),
    "not_configured": Text("目标不在配置里", "its target is not configured"),
}
BREAKERS: Mapping[str, Text] = {
    "closed": Text("闭合", "closed"),
    "open": Text("断开", "open"),
    "half_open": Text("试探", "half open"),
    "forced_open": Text("手动断开", "held open"),
    "forced_closed": Text("手动闭合", "held closed"),
}
CONNECTIONS: Mapping[ConnectionState, Text] = {
    ConnectionState.READY: Text("启用", "ready"),
    ConnectionState.PAUSED: Text("暂停", "paused"),
    ConnectionState.RE_AUTHORISE: Text("需重新授权", "re-authorise"),
}
WORK: Mapping[WorkKind, Text] = {
    "hold": Text("等待", "held"),
    "conflict": Text("冲突", "conflict"),
    "delivery": Text("下发受阻", "delivery"),
    "dead_letter": Text("死信", "dead letter"),
}
NOTICES: Mapping[Kind, Text] = {
    Kind.DATABASE: Text("数据库不可用", "database away"),
    Kind.TARGET: Text("目标不可用", "target down"),
    Kind.AUTHORISE: Text("授权失效", "authorisation refused"),
    Kind.SHOP_NOT_READ: Text("店铺读不到", "shop not read"),
    Kind.KAFKA_NOT_READ: Text("Kafka 读不到", "Kafka not read"),
    Kind.CLOCK: Text("时钟不准", "clock off"),
    Kind.WORKER: Text("进程失联", "worker gone"),
    Kind.INBOX: Text("Kafka 不可用", "Kafka away"),
    Kind.SHIP_BY: Text("临近发货时限", "ship-by near"),
    Kind.BACKLOG: Text("积压", "backlog"),
    Kind.LEVEL: Text("库存回传被拒", "stock level refused"),
    Kind.LEDGER: Text("库存账不平", "ledger off"),
    Kind.DEAD_LETTER: Text("死信", "dead letters"),
    Kind.BLOCKED: Text("待人工", "blocked"),
    Kind.CONFLICT: Text("订单冲突", "conflicts"),
    Kind.HOLD: Text("订单被扣住", "orders held"),
}
CHANGES: Mapping[Change, Text] = {
    Change.OPENED: Text("开始", "opened"),
    Change.GROWN: Text("增多", "grown"),
    Change.CLOSED: Text("结束", "closed"),
}
NOTICE_STATES: Mapping[str, Text] = {
    "waiting": Text("待发", "waiting"),
    "sending": Text("发送中", "on its way"),
    "sent": Text("已发", "sent"),
    "merged": Text("已并入", "merged"),
    "failed": Text("失败", "failed"),
}
REDRIVES: Mapping[str, Text] = {
    "running": Text("进行中", "running"),
    "done": Text("完成", "done"),
    "stopped": Text("已停止", "stopped"),
}
DOES: Mapping[str, Text] = {
    "send": Text("重发", "sends again"),
    "resolve": Text("标记已处理", "takes for handled"),
}
HOWS: Mapping[str, Text] = {
    "ask": Text("先查询对方，没有才发送", "asked first, sent if it is not there"),
    "resend": Text("直接重发（对方去重）", "sent again, the target does it once"),
    "send": Text("不查询直接发送（强制）", "sent without asking (forced)"),
    "person": Text("留给人工", "stays with a person"),
    "intake": Text("重新处理", "goes through intake again"),
    "by_hand": Text("标记已处理", "taken for handled"),
}
HAPPENED: Mapping[str, Text] = {
    "event": Text("收到消息", "event"),
    "decision": Text("重新判断", "decided again"),
    "delivery": Text("计划下发", "planned"),
    "attempt": Text("下发结果", "attempt"),
    "stock": Text("库存变动", "stock"),
    "edit": Text("修改内容", "edit"),
    "dead_letter": Text("死信", "dead letter"),
    "redrive": Text("批量重发", "redrive"),
    "hand": Text("人工操作", "by hand"),
}
STALE: Mapping[Stale, Text] = {
    "older": Text("比已知的旧，未采用", "older than what was known, not taken over"),
    "unchanged": Text("没有新内容", "nothing new in it"),
}
BALANCE: Mapping[str, Text] = {
    "on_hand": Text("在库", "on hand"),
    "locked": Text("锁定", "locked"),
    "committed": Text("已占", "committed"),
}
ACTIONS: Mapping[str, Text] = {
    "order.unmask": Text("查看收件人信息", "looked at personal data"),
    "order.raw": Text("查看原始报文", "looked at a payload"),
    "order.reconsider": Text("重新判断", "had it decided again"),
    "order.approve": Text("放行订单", "let it pass"),
    "order.reparse": Text("重新解析报文", "had its messages parsed again"),
    "order.conflicts_handled": Text("冲突已处理", "conflicts handled"),
    "delivery.resend": Text("重新下发", "sent again"),
    "delivery.edit_and_resend": Text("修改后重新下发", "edited and sent again"),
    "delivery.resolve": Text("标记已处理", "taken for done"),
    "dead_letter.unmask": Text("查看死信报文", "looked at a dead letter's payload"),
    "dead_letter.release": Text("放行死信", "released a dead letter"),
    "dead_letter.discard": Text("放弃死信", "discarded a dead letter"),
}
FIELDS: Mapping[str, Text] = {
    "receiver.name": Text("收件人姓名", "the receiver's name"),
    "receiver.phone": Text("收件人电话", "the receiver's telephone"),
    "receiver.province": Text("省", "the province"),
    "receiver.city": Text("市", "the city"),
    "receiver.district": Text("区县", "the district"),
    "receiver.town": Text("街道", "the town"),
    "receiver.detail": Text("详细地址", "the address"),
    "receiver.postcode": Text("邮编", "the postcode"),
    "lines": Text("商品明细", "what was ordered"),
}
BLOCKS: Mapping[str, Text] = {
    "rejected": Text("被目标拒收", "the target refuses it"),
    "unknown": Text("不清楚对方是否已收到", "nobody knows whether the target has it"),
    "unreadable": Text("订单由更新的版本写入，本版本无法读取", "the order was written by a later release"),
    "sealed": Text(
        "订单无法解密：缺少密钥，或已损坏", "the order cannot be opened: its key is missing, or it is damaged"
    ),
}
ANSWERS: Mapping[str, Text] = {
    # No answer.
    "connect": Text("无法连接", "no connection"),
    "connect_timeout": Text("连接超时", "no connection in time"),
    "tls": Text("TLS 握手失败", "no TLS"),
    "pool": Text("没有等到空闲的连接", "no connection became free in time"),
    "url": Text("不是可用的 http(s) 地址", "not an http(s) address"),
    "timeout": Text("超时没有应答", "no answer in time"),
    "connection_lost": Text("连接中断", "the connection was lost"),
    # An answer that says too little.
    "unreadable": Text("应答无法解读", "the answer cannot be read"),
    "shape": Text("应答结构不对", "the answer has another shape"),
    "redirect": Text("被重定向，地址可能已变", "redirected: its address may have changed"),
    "duplicate": Text("对方说已有该单据，尚未查实", "there already, it says; not proven"),
    "not_proven": Text("没有查实", "the question proved nothing"),
    "not_confirmed": Text("平台没有确认", "the platform does not confirm it"),
    "not_findable": Text("对方不能查询", "it cannot be asked"),
    "refused": Text("对方答复不成功", "it answers: no success"),
    # The adapter.
    "adapter": Text("适配器出错", "the adapter failed"),
    "deadline": Text("适配器没有按时完成", "the adapter did not keep its deadline"),
    "unsupported": Text("对方没有这个操作", "it knows no such operation"),
    # What stands in the order, or is lacking.
    "content": Text("没有可下发的内容", "nothing to send"),
    "currency": Text("币种不对", "another currency"),
    "value": Text("数值不对", "a value is wrong"),
    "unmapped_sku": Text("商品编码没有对照", "a SKU that is not mapped"),
    "unknown_carrier": Text("快递公司没有对照", "a carrier that is not mapped"),
    "no_parcel": Text("仓库没有给出包裹", "the warehouse names no parcel"),
    "no_line": Text("店铺订单里没有所发的商品", "what was shipped is not in the shop's order"),
    "unknown_line": Text("店铺订单里没有这一行", "the shop's order has no such line"),
    "no_item": Text("商品缺少平台商品编号", "a listing without the platform's item id"),
    "closed": Text("店铺订单已关闭", "closed at the shop"),
    "not_shippable": Text("店铺订单当前不能发货", "not to be shipped at the shop now"),
    # Authorisation.
    "expired": Text("授权已过期", "the authorisation has expired"),
    "no_refresh_token": Text("没有续期令牌，需重新授权", "no refresh token: authorise again"),
}
"""Why an attempt failed, in the codes that adapters share; a platform's own stand as they are."""


def word(code: str, words: Mapping[Any, Text]) -> Text:
    """What `code` is called; one without words (of another release, or of an adapter) stands as it is."""
    found: Text | None = words.get(code)
    return found if found is not None else Text(code, code)


def reason(code: str) -> Text:
    """Why an order waits: one of `REASONS`, or a field that is missing."""
    head, _, field = code.partition(":")
    if head == "missing" and field:
        name = word(field, FIELDS)
        return Text(f"缺少{name.zh}", f"{name.en} is missing")
    return word(code, REASONS)


def blocked(code: str) -> Text:
    """Why a delivery waits for a person; what stands behind the colon is an answer's code."""
    head, _, detail = code.partition(":")
    said = word(head, BLOCKS)
    return Text(f"{said.zh}（{word(detail, ANSWERS).zh}）", f"{said.en} ({detail})") if detail else said


def answer(code: str) -> Text:
    """Why an attempt failed; `find:` says that it is about the question whether the target has it."""
    question, _, code_asked = code.partition(":")
    if question == "find" and code_asked:
        said = word(code_asked, ANSWERS)
        return Text(f"查询时{said.zh}", f"asked: {said.en}")
    return word(code, ANSWERS)


def result(name: str) -> Text:
    """How an attempt ended, by the name that the API gives it."""
    return word(name, _RESULT_NAMES)


def subject(kind: str, code: str) -> Text:
    """What a notice of `kind` is about: an operation, a code, or a name that needs no words."""
    match kind:
        case Kind.TARGET | Kind.BACKLOG:
            return word(code, OPERATIONS)
        case Kind.AUTHORISE if code == RENEWAL:
            return Text("续期被拒", "renewal refused")
        case Kind.WORKER if code == RESTARTS:
            return Text("反复重启", "restarted again and again")
        case Kind.SHIP_BY if code == PAST:
            return Text("已过时限", "past")
        case Kind.LEVEL if code == FAILING:
            return Text("一再失败", "failing again and again")
        case Kind.DEAD_LETTER:
            return word(code, LETTERS)
        case Kind.BLOCKED:
            return blocked(code)
        case Kind.CONFLICT:
            return word(code, CONFLICTS)
        case Kind.HOLD:
            return reason(code)
    return Text(code, code)


_RESULT_NAMES: Mapping[str, Text] = {result.name.lower(): said for result, said in RESULTS.items()}
