"""What a person reads about work that waits: what is the case, who it belongs to, and what to do, with its command.

What a code is called stands in `gateway.core.words`; here is what to do about it. One without a line of its own (an
adapter's) is told by its kind.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from gateway.core import words
from gateway.core.order import Conflict, Reason, Stage
from gateway.core.owner import Matter, OwnerRule, WorkKind, owners_of
from gateway.core.text import NOTHING, Text
from gateway.store.stock import Missing

How = Literal["ask", "resend", "person"]
"""What a redrive of a delivery can do first: ask the target, send again (idempotent), or neither."""


class NextStep(msgspec.Struct, frozen=True, kw_only=True):
    """What to do next. `command` does it (or is its first step), `call` is the same as a request to this API."""

    zh: str
    en: str
    command: str
    call: str


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is waiting: a card (`number` empty) or one item. `shop`: the name that its shop has now, where that is
    another. `missing`: the stock that it lacks. `conflicts`: all of the order's, where they are known. `stage`: the
    order's."""

    kind: WorkKind
    connection: str
    operation: str
    code: str
    shop: str = ""
    how: How = "person"
    number: str = ""
    seq: int | None = None
    dead_letter_id: int | None = None
    missing: tuple[Missing, ...] = ()
    conflicts: tuple[str, ...] = ()
    stage: str = ""


def whose(about: About, rules: Sequence[OwnerRule]) -> tuple[str, ...]:
    """Who is to look after it."""
    return owners_of(Matter(about.kind, about.shop or about.connection, about.code), rules)


def meaning(kind: WorkKind, code: str) -> Text:
    """What `code` says."""
    if kind == "delivery":
        return words.blocked(code)
    if kind == "dead_letter":
        told = Text(f"消息无法处理（{code}）", f"an event that cannot be used ({code})")
        return words.LETTERS.get(code, told)
    return words.reason(code) if kind == "hold" else words.word(code, words.CONFLICTS)


def next_step(about: About) -> NextStep:
    """What to do about it."""
    number = shlex.quote(about.number) if about.number else "NUMBER"
    order = f"/orders/{quote(about.number, safe='')}" if about.number else "/orders/{number}"
    if about.kind == "delivery":
        return _about_delivery(about, number)
    if about.kind == "dead_letter":
        return _about_letter(about)
    if about.kind == "conflict":
        step = _step(_CONFLICTS, about.code) or Text("核实后标记为已处理", "look into it, then say that it is handled")
        seen = "".join(f" --conflict {code}" for code in about.conflicts or (about.code,))
        return NextStep(
            zh=step.zh,
            en=step.en,
            command=f"ordergate work handled {number}{seen} -r REASON",
            call=f"POST {order}/conflicts-handled",
        )
    step = _step(_HOLDS, about.code) or (_LACKS if about.code.startswith("missing:receiver.") else _MEND_AT_SHOP)
    if about.code in FOR_STOCK:
        return _about_stock(about.missing, step)
    if about.code == "unmapped_sku":
        shop = shlex.quote(about.shop or about.connection or "SHOP")
        return NextStep(
            zh=step.zh,
            en=step.en,
            command=f"ordergate skus template {shop} table.xlsx",
            call="GET /skus/{shop}/template",
        )
    if about.code == "paused":
        shop = shlex.quote(about.shop or about.connection or "SHOP")
        return NextStep(
            zh=step.zh,
            en=step.en,
            command=f"ordergate resume {shop} -r REASON",
            call="POST /connections/{shop}/resume",
        )
    if about.code == "over_limit" or about.code.startswith("missing:receiver."):
        return NextStep(
            zh=step.zh,
            en=step.en,
            command=f"ordergate orders approve {number} -r REASON",
            call=f"POST {order}/approve",
        )
    if not about.number:
        shop = f" --connection {shlex.quote(about.connection)}" if about.connection else ""
        return NextStep(
            zh=step.zh,
            en=step.en,
            command=f"ordergate orders reconsider-many --code {shlex.quote(about.code)}{shop}",
            call="POST /orders/reconsider",
        )
    return NextStep(
        zh=step.zh,
        en=step.en,
        command=f"ordergate orders reconsider {number} -r REASON",
        call=f"POST {order}/reconsider",
    )


def _about_stock(missing: Sequence[Missing], step: Text) -> NextStep:
    """With the first few that lack; how many pieces there are after restocking, only a count can tell."""
    place = "SKU WAREHOUSE"
    if missing:
        place = f"{shlex.quote(missing[0].sku)} {shlex.quote(missing[0].warehouse)}"
        first, more = missing[:_NAMED], len(missing) > _NAMED
        zh = "、".join(f"{one.sku} {one.pieces} 件" for one in first) + (" 等" if more else "")
        en = ", ".join(f"{one.pieces} × {one.sku}" for one in first) + (" and more" if more else "")
        step = Text(f"{step.zh}（缺 {zh}）", f"{step.en} (missing: {en})")
    return NextStep(zh=step.zh, en=step.en, command=f"ordergate stock set {place} PIECES -r REASON", call="PUT /stock")


def _about_delivery(about: About, number: str) -> NextStep:
    target, head = shlex.quote(about.connection), about.code.split(":", 1)[0]
    over = _CANCELS.get(about.code) if about.operation == "cancel" else None
    if about.operation == "create" and head == "rejected" and about.stage in (Stage.CANCELLED, Stage.REFUNDED):
        over = _NOT_WANTED
    if about.number:
        path = f"/deliveries/{quote(about.number, safe='')}/{quote(about.connection, safe='')}/{about.seq}"
        if head == "unknown" or over:
            look = Text(
                "到对方系统核实：有则标记已处理，没有则加 --confirmed-absent 重发",
                "look there: say it is handled if it is there; if it certainly is not, send it again with"
                " --confirmed-absent",
            )
            return NextStep(
                zh=(over or look).zh,
                en=(over or look).en,
                command=f"ordergate deliveries resolve {number} {target} {about.seq} -r REASON",
                call=f"POST {path}/resolve",
            )
        if known := _CAUSES.get(about.code):
            return NextStep(
                zh=known.zh,
                en=known.en,
                command=f"ordergate deliveries resend {number} {target} {about.seq} -r REASON",
                call=f"POST {path}/resend",
            )
        edit = " --edit FILE" if head == "rejected" and about.operation == "create" else ""
        return NextStep(
            zh="修改内容后重发" if edit else "排除原因后重发",
            en="change what was refused and send it again" if edit else "remove the cause and send it again",
            command=f"ordergate deliveries resend {number} {target} {about.seq}{edit} -r REASON",
            call=f"POST {path}/resend",
        )
    narrow = f"--target {target} --operation {about.operation} --code {shlex.quote(about.code)}"
    if over or (about.how == "person" and about.code not in _CAUSES):
        look = Text(
            "对方既不能查询也不能重复接收：核实后逐单处理，或成批标记已处理",
            "it can neither be asked nor told twice: look there, then one by one, or say that all are handled",
        )
        return NextStep(
            zh=(over or look).zh,
            en=(over or look).en,
            command=f"ordergate deliveries resolve-many {narrow} --dry-run",
            call="POST /deliveries/resolve/preview",
        )
    cause = _CAUSES.get(about.code, Text("排除原因后成批重发", "remove the cause and send all of them again"))
    asked = Text("（先查询对方是否已收到）", " (it is asked first what has arrived)")
    return NextStep(
        zh=cause.zh + (asked.zh if about.how == "ask" else ""),
        en=cause.en + (asked.en if about.how == "ask" else ""),
        command=f"ordergate deliveries redrive {narrow} --dry-run",
        call="POST /redrives/preview",
    )


def _about_letter(about: About) -> NextStep:
    letter, path = "ID", "/dead-letters/{id}"
    if about.dead_letter_id is not None:
        letter, path = str(about.dead_letter_id), f"/dead-letters/{about.dead_letter_id}"
    narrow = f"--source {shlex.quote(about.connection)} --code {shlex.quote(about.code)}"
    if about.code == "another_shop":
        return NextStep(
            zh="由人录入仓库，再放弃；以后的换一个前缀（docs/operations.md，改动连接）",
            en="enter the order in the warehouse by hand and discard this; later ones need another prefix"
            " (docs/operations.md, Changing connections)",
            command=f"ordergate dead discard {letter} -r REASON",
            call=f"POST {path}/discard",
        )
    if about.dead_letter_id is None and about.code not in _PAYLOAD:
        return NextStep(
            zh="修正原因后成批重新处理",
            en="mend the cause, then send them through again",
            command=f"ordergate dead redrive {narrow} --dry-run",
            call="POST /redrives/preview",
        )
    if about.code == "sealed":
        return NextStep(
            zh="把缺少的密钥加回 encryption.keys，重启网关后原样放行",
            en="put the missing key back into encryption.keys, restart the gateway, and release it as it is",
            command=f"ordergate dead release {letter} -r REASON",
            call=f"POST {path}/release",
        )
    if about.code == "unread":
        return NextStep(
            zh="在店铺后台查看该订单；再次读到时自动关闭，确认无用可放弃",
            en="look at the order in the shop; a later reading closes this by itself, or discard it",
            command=f"ordergate dead discard {letter} -r REASON",
            call=f"POST {path}/discard",
        )
    see = f"ordergate dead show {letter} -o FILE"
    which = all_of_them = NOTHING
    if about.dead_letter_id is None:
        listed, again = f"ordergate dead list {narrow}", f"ordergate dead redrive {narrow} --dry-run"
        which = Text(f"逐个（编号见 {listed}）", f"one by one (ids: {listed}), ")
        all_of_them = Text(
            f"；是网关的配置或适配器不对、已改好的，成批重新处理（{again}）",
            f"; where a setting or the adapter was wrong and is mended, all at once ({again})",
        )
    return NextStep(
        zh=f"{which.zh}取出报文（{see}），修复后重新处理；或放弃{all_of_them.zh}",
        en=f"{which.en}take out the payload ({see}), release it repaired, or discard it{all_of_them.en}",
        command=f"ordergate dead release {letter} --body FILE -r REASON",
        call=f"POST {path}/release",
    )


FOR_STOCK = frozenset({"short_of_stock", "unknown_sku"})
"""Reasons of orders that wait for stock."""

_NAMED = 3
_LACKS = Text(
    "在店铺后台补全订单，更新后自动继续；确认不需要的可放行",
    "mend the order at the shop, it goes on with the update; where it can do without, let it pass",
)
_MEND_AT_SHOP = Text("在店铺后台补全订单；更新后自动继续", "mend the order at the shop; it goes on with the update")

# What to do, by code.
_HOLDS: Mapping[Reason, Text] = {
    "refund_open": Text("在店铺后台同意或拒绝退款", "settle the refund at the shop"),
    "held_for_person": Text(
        "在店铺后台处理：其余商品手工发货，或退还余款；更新后自动结束",
        "at the shop, ship by hand what is still to be sent or pay back the rest; it ends with the update",
    ),
    "paid_no_content": Text(
        "在店铺后台查看商品和收货信息；店铺再次发来完整内容后自动继续",
        "look at the shop for its lines and receiver; it goes on once the shop has told all of it",
    ),
    "over_limit": Text("核实订单，无误则放行", "verify the order, and let it pass if it is right"),
    "no_route": Text("在配置中为店铺设置 route 后重新判断", "give the shop a `route`, then decide it again"),
    "paused": Text(
        "恢复该店铺（在观察的，改回 mode: live 重启），订单自动继续",
        "resume the shop (one that is observed: `mode: live` again, and restart); its orders go on by themselves",
    ),
    "unmapped_sku": Text(
        "导出模板（缺的编码已填好），补上仓库编码后用 `ordergate skus import` 导入，订单自动继续",
        "take the template, which has the missing ones, fill in the warehouse's SKUs and import it with"
        " `ordergate skus import`; the orders go on by themselves",
    ),
    "short_of_stock": Text(
        "补货并更新库存，订单自动继续", "restock and set the balance; the orders go on by themselves"
    ),
    "unknown_sku": Text("建立该 SKU 的库存，订单自动继续", "set its stock; the orders go on by themselves"),
}
_CONFLICTS: Mapping[Conflict, Text] = {
    "cancelled_but_shipped": Text("联系快递拦截或等待退回", "stop the parcel or wait for its return"),
    "refunded_but_shipped": Text("联系快递拦截或等待退回", "stop the parcel or wait for its return"),
    "shipped_unknown_order": Text("向仓库核实单号", "ask the warehouse about the number"),
    "confirmed_by_other_warehouse": Text("与两个仓库核实，防止重复发货", "ask both warehouses, lest it ships twice"),
    "changed_after_sent": Text("通知仓库按新内容发货，或取消重下", "tell the warehouse, or cancel and send anew"),
    "held_after_sent": Text("通知仓库暂缓发货", "tell the warehouse to wait"),
    "reopened_after_cancel": Text("与仓库核实，需要时重新下单", "ask the warehouse, enter it anew where needed"),
    "warehouse_exception": Text("联系仓库处理", "see the warehouse about it"),
    "shipped_beyond_stock": Text("盘点该 SKU 并更新库存", "count the SKU and set its stock"),
    "shipped_elsewhere": Text(
        "通知仓库不要再发，已发的联系快递拦截", "tell the warehouse to stop; if it has shipped, stop the parcel"
    ),
    "shipped_short": Text(
        "与仓库核实少发的商品，补发或退款", "ask the warehouse what is missing, send it or pay it back"
    ),
}
# Of deliveries, where the cause is known whatever the target is.
_CAUSES: Mapping[str, Text] = {
    "sealed": Text(
        "把缺少的密钥加回 encryption.keys，重启网关后重发；密钥确已丢失的，到对方系统核实、手工处理后标记已处理",
        "put the missing key back into encryption.keys, restart the gateway, and send again; where it is lost for good,"
        " look at the target, see to them by hand, and take them for handled",
    ),
    "unreadable": Text("升级网关后重发", "upgrade the gateway and send again"),
    "rejected:unknown_carrier": Text(
        "在配置 carriers 里补上该快递公司，重启网关后重发",
        "add the carrier to the setting `carriers`, restart the gateway, and send again",
    ),
}
# Of cancels, which nobody would take a second time.
_CANCELS: Mapping[str, Text] = {
    "rejected:cancel_refused": Text(
        "对方已不能取消：请仓库或快递拦截，再标记已处理",
        "it cannot be cancelled there any more: have the warehouse or the carrier stop it, then say that it is handled",
    ),
    "rejected:not_found": Text(
        "对方没有此单：核实后标记已处理", "the target has no such order: look there, then say that it is handled"
    ),
}
_NOT_WANTED = Text(
    "店铺已取消或退款，不必再下单：标记已处理，其后的取消随即发出；重发的，取消跟在后面",
    "cancelled or paid back at the shop, not wanted any more: say that it is handled, and the cancel behind it goes"
    " out; sent again, the cancel follows it",
)
_PAYLOAD = frozenset({"json", "xml", "shape", "field", "value", "amount", "unread"})
"""The payload itself is wrong, or holds nothing: sending it through as it is would help nobody."""


def _step(steps: Mapping[Any, Text], code: str) -> Text | None:
    return steps.get(code)
