"""Four shops of a simulated town, and what buyers, sellers and platforms do with every order in them.

Two shops on Taobao and one on Pinduoduo are the adapters' fakes, on a fast clock; the fourth is a mini-program that
tells of its orders by signed webhook, some twice and some in the wrong sequence.
"""

from __future__ import annotations

import asyncio
import enum
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from adapters.pinduoduo import mapping as pdd_mapping
from adapters.pinduoduo.fake import FakeLine as PinduoduoLine
from adapters.pinduoduo.fake import FakePinduoduo
from adapters.taobao.fake import FakeLine as TaobaoLine
from adapters.taobao.fake import FakeShop as FakeTaobao
from adapters.webhook.fake import FakeShop as FakePartner
from gateway.core.order import Part, Sku
from gateway.sdk.signing import decode_secret, sign
from gateway.sheets.skus import SkuRow
from tests.soak.clock import FastClock

SECRET = "whsec_" + "dGhlLXNpbXVsYXRlZC1taW5pLXByb2dyYW0tc2hvcCE="
WAREHOUSES = {"wms-a": "WH-A", "wms-b": "WH-B"}
KINDS = 20
"""SKUs in each warehouse."""
ITEM = 612345678901
GOODS = 900_001


def warehouse_skus(warehouse: str) -> list[str]:
    return [f"{warehouse[-1]}-{number:02}" for number in range(KINDS)]


class Fate(enum.Enum):
    PLAIN = "plain"
    LATE_PAID = "late_paid"
    UNPAID = "unpaid"
    HELD = "held"
    HELD_FOR_GOOD = "held_for_good"
    REMARKED = "remarked"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"
    REFUNDED_AFTER = "refunded_after"
    WITHDRAWN = "withdrawn"


SHARES: Mapping[Fate, float] = {
    Fate.PLAIN: 0.62,
    Fate.LATE_PAID: 0.1,
    Fate.UNPAID: 0.06,
    Fate.HELD: 0.05,
    Fate.HELD_FOR_GOOD: 0.005,
    Fate.REMARKED: 0.05,
    Fate.CANCELLED: 0.04,
    Fate.REFUNDED: 0.03,
    Fate.REFUNDED_AFTER: 0.04,
    Fate.WITHDRAWN: 0.005,
}


class Deed(enum.Enum):
    PAY = "pay"
    RELEASE = "release"
    REMARK = "remark"
    CANCEL = "cancel"
    ASK_REFUND = "ask_refund"
    PAY_BACK = "pay_back"
    WITHDRAW = "withdraw"


class Sold(msgspec.Struct, kw_only=True):
    """One order as its buyer knows it. `number` is the gateway's."""

    shop: str
    no: str
    number: str
    lines: tuple[tuple[str, int], ...]
    fate: Fate
    placed_s: float


class Standing(msgspec.Struct, frozen=True):
    """Where an order stands in its shop's books. `stopped`: cancelled, paid back, or a refund of it is open."""

    paid: bool
    held: bool
    stopped: bool


def life(fate: Fate, rng: random.Random, *, ships_after_s: float) -> list[tuple[float, Deed]]:
    """What happens to an order after it was placed, and how many seconds after. A warehouse takes `ships_after_s`."""
    hour = ships_after_s
    match fate:
        case Fate.LATE_PAID:
            return [(rng.uniform(0.05, 2.0) * hour, Deed.PAY)]
        case Fate.UNPAID:
            return [(rng.uniform(2.0, 6.0) * hour, Deed.CANCEL)]
        case Fate.HELD:
            return [(rng.uniform(0.5, 8.0) * hour, Deed.RELEASE)]
        case Fate.REMARKED:
            return [(rng.uniform(0.0, 2.0) * hour, Deed.REMARK)]
        case Fate.CANCELLED:
            return [(rng.uniform(0.0, 1.3) * hour, Deed.CANCEL)]
        case Fate.REFUNDED:
            asked = rng.uniform(0.0, 1.1) * hour
            return [(asked, Deed.ASK_REFUND), (asked + rng.uniform(0.1, 2.0) * hour, Deed.PAY_BACK)]
        case Fate.REFUNDED_AFTER:
            asked = rng.uniform(2.5, 6.0) * hour
            return [(asked, Deed.ASK_REFUND), (asked + rng.uniform(0.1, 2.0) * hour, Deed.PAY_BACK)]
        case Fate.WITHDRAWN:
            asked = rng.uniform(0.0, 1.0) * hour
            return [(asked, Deed.ASK_REFUND), (asked + rng.uniform(0.1, 1.0) * hour, Deed.WITHDRAW)]
        case _:
            return []


class Shop(ABC):
    """One shop. `told` are the parcels it knows of an order, one entry for each time it was told."""

    prefix: str
    target: str
    mapped = False
    levels: Mapping[tuple[str, str], int] = {}

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def warehouse(self) -> str:
        return WAREHOUSES[self.target]

    def goods(self) -> list[str]:
        """What it sells, by its own names."""
        return warehouse_skus(self.warehouse)

    def table(self) -> list[SkuRow]:
        """Its SKU table: what stands for its goods, and whose level it wants to know."""
        return []

    def pieces(self, lines: Sequence[tuple[str, int]]) -> dict[str, int]:
        """What has to leave the warehouse for `lines`."""
        parts = {str(row.sku): row.parts for row in self.table()} if self.mapped else {}
        found: dict[str, int] = {}
        for sku, quantity in lines:
            for part in parts.get(sku, (Part(Sku(sku), 1),)):
                found[part.sku] = found.get(part.sku, 0) + part.pieces * quantity
        return found

    @abstractmethod
    def place(self, sold: Sold) -> None: ...

    @abstractmethod
    def do(self, deed: Deed, sold: Sold) -> None: ...

    @abstractmethod
    def standing(self, sold: Sold) -> Standing: ...

    @abstractmethod
    def told(self, sold: Sold) -> list[str]:
        """Tracking numbers of the parcels it was told, or the names of the messages that told them."""

    @abstractmethod
    def is_told(self, sold: Sold, parcels: Sequence[str]) -> bool:
        """Whether it knows of all that left: of every line or parcel once."""

    @abstractmethod
    def quiet(self) -> None:
        """Stop changing things by itself."""


class TaobaoShop(Shop):
    """`mapped`: it sells under names of its own, among them bundles and something with a gift."""

    def __init__(self, name: str, fake: FakeTaobao, *, prefix: str, target: str, mapped: bool, seed: int) -> None:
        super().__init__(name)
        self.fake, self.prefix, self.target, self.mapped = fake, prefix, target, mapped
        self._rng = random.Random(seed)
        self._moving = True
        self.levels = fake.levels
        fake.between = self._go_on

    def goods(self) -> list[str]:
        return [str(row.sku) for row in self.table()] if self.mapped else super().goods()

    def table(self) -> list[SkuRow]:
        if not self.mapped:
            return []
        letter = self.warehouse[-1]
        recipes: dict[str, tuple[tuple[str, int, bool], ...]]
        recipes = {f"TB-{number:02}": ((f"{letter}-{number:02}", 1, False),) for number in range(KINDS - 2)}
        recipes["SET-1"] = ((f"{letter}-01", 1, False), (f"{letter}-02", 2, False))
        recipes["SET-2"] = ((f"{letter}-03", 2, False), (f"{letter}-19", 1, True))
        return [
            SkuRow(
                sku=Sku(sku),
                parts=tuple(Part(Sku(part), pieces, gift) for part, pieces, gift in parts),
                title=None,
                item_id=str(ITEM),
                sku_id=str(4_900_000 + index),
                publish=index % 3 == 0,
            )
            for index, (sku, parts) in enumerate(recipes.items())
        ]

    def place(self, sold: Sold) -> None:
        listed = {str(row.sku): row.sku_id or "" for row in self.table()}
        lines = [
            TaobaoLine(sku=sku, quantity=quantity, price_minor=990, item_id=ITEM, sku_id=listed.get(sku, "1"))
            for sku, quantity in sold.lines
        ]
        held = sold.fate in (Fate.HELD, Fate.HELD_FOR_GOOD)
        paid = sold.fate not in (Fate.LATE_PAID, Fate.UNPAID) and not held
        self.fake.place(lines, paid=paid, tid=sold.no)
        if held:
            self.fake.forbid(sold.no)

    def do(self, deed: Deed, sold: Sold) -> None:
        fake, tid = self.fake, sold.no
        match deed:
            case Deed.PAY:
                fake.pay(tid)
            case Deed.RELEASE:
                fake.allow(tid)
            case Deed.REMARK:
                fake.remark(tid, "请尽快")
            case Deed.CANCEL:
                if not fake.parcels.get(tid):
                    fake.close(tid)
            case Deed.ASK_REFUND:
                fake.refund(tid)
            case Deed.PAY_BACK:
                fake.refund(tid, status="SUCCESS")
            case Deed.WITHDRAW:
                fake.refund(tid, status="CLOSED")

    def standing(self, sold: Sold) -> Standing:
        trade = self.fake.trades[sold.no]
        refunds = {line["refund_status"] for line in trade.lines}
        return Standing(
            paid="pay_time" in trade.detail,
            held=trade.status == "PAID_FORBID_CONSIGN",
            stopped=trade.status.startswith("TRADE_CLOSED") or bool(refunds & {"WAIT_SELLER_AGREE", "SUCCESS"}),
        )

    def told(self, sold: Sold) -> list[str]:
        return [parcel.out_sid for parcel in self.fake.parcels.get(sold.no, ())]

    def is_told(self, sold: Sold, parcels: Sequence[str]) -> bool:
        """The platform knows lines: each was told with one parcel."""
        oids = sorted(oid for parcel in self.fake.parcels.get(sold.no, ()) for oid in parcel.oids)
        return oids == sorted(line["oid_str"] for line in self.fake.trades[sold.no].lines)

    def quiet(self) -> None:
        self._moving = False

    def _go_on(self, method: str) -> None:
        """While it is paged, rows move."""
        if self._moving and method.endswith("increment.get") and self.fake.trades and self._rng.random() < 0.3:
            recent = list(self.fake.trades)[-40:]
            self.fake.remark(self._rng.choice(recent), f"备注 {self._rng.randrange(100)}")


class PinduoduoShop(Shop):
    """Sells under the warehouse's names, and wants to know the levels of some."""

    prefix = "PD"
    target = "wms-a"

    def __init__(self, name: str, fake: FakePinduoduo) -> None:
        super().__init__(name)
        self.fake = fake
        self.levels = fake.levels

    def table(self) -> list[SkuRow]:
        return [
            SkuRow(
                sku=Sku(sku),
                parts=(Part(Sku(sku), 1),),
                title=None,
                item_id=str(GOODS),
                sku_id=str(800_000 + index),
                publish=index % 4 == 0,
            )
            for index, sku in enumerate(self.goods())
        ]

    def place(self, sold: Sold) -> None:
        listed = {str(row.sku): int(row.sku_id or 0) for row in self.table()}
        lines = [
            PinduoduoLine(outer_id=sku, quantity=quantity, price_minor=850, goods_id=GOODS, sku_id=listed[sku])
            for sku, quantity in sold.lines
        ]
        self.fake.place(lines, order_sn=sold.no, pay=sold.fate not in (Fate.LATE_PAID, Fate.UNPAID))
        if sold.fate in (Fate.HELD, Fate.HELD_FOR_GOOD):
            self.fake.review(sold.no)

    def do(self, deed: Deed, sold: Sold) -> None:
        fake, no = self.fake, sold.no
        match deed:
            case Deed.PAY:
                fake.pay(no)
                fake.conclude(no)
            case Deed.RELEASE:
                fake.release(no)
            case Deed.REMARK:
                fake.touch(no, "请尽快")
            case Deed.CANCEL:
                if fake.orders[no].order_status == pdd_mapping.TO_SHIP:
                    fake.cancel(no)
            case Deed.ASK_REFUND:
                fake.open_refund(no)
            case Deed.PAY_BACK:
                fake.finish_refund(no)
            case Deed.WITHDRAW:
                fake.withdraw_refund(no)

    def standing(self, sold: Sold) -> Standing:
        order = self.fake.orders[sold.no]
        return Standing(
            paid=order.paid_at is not None,
            held=order.under_review,
            stopped=order.confirm_status == pdd_mapping.CANCELLED or order.refund_status in (2, 4),
        )

    def told(self, sold: Sold) -> list[str]:
        return [number for _, number in self.fake.orders[sold.no].parcels]

    def is_told(self, sold: Sold, parcels: Sequence[str]) -> bool:
        return sorted(self.told(sold)) == sorted(parcels)

    def quiet(self) -> None:
        self.fake.churn = 0


class _Known(msgspec.Struct):
    """What the mini-program knows of an order."""

    paid: bool = False
    held: bool = False
    stopped: bool = False
    placed_at: str = ""


class MiniProgram(Shop):
    """A shop of one's own: sends what changed to the gateway's hook until it is acknowledged."""

    prefix = "MP"
    target = "wms-b"

    def __init__(self, name: str, partner: FakePartner, clock: FastClock, *, seed: int, callers: int = 6) -> None:
        super().__init__(name)
        self.partner = partner
        self.hooks_url = ""
        self.sent = 0
        self.repeated = 0
        self._clock = clock
        self._rng = random.Random(seed)
        self._busy = 0
        self._known: dict[str, _Known] = {}
        self._key = decode_secret(SECRET)
        self._calls = callers
        self._waiting: asyncio.PriorityQueue[tuple[float, int, bytes]] = asyncio.PriorityQueue()
        self._count = 0

    @property
    def waiting(self) -> int:
        return self._waiting.qsize() + self._busy

    def place(self, sold: Sold) -> None:
        held = sold.fate in (Fate.HELD, Fate.HELD_FOR_GOOD)
        paid = sold.fate not in (Fate.LATE_PAID, Fate.UNPAID)
        self._known[sold.no] = _Known(paid=paid, held=held, placed_at=self._clock.now().isoformat())
        more: dict[str, Any] = {"hold": {"held": True, "reason": "风控"}} if held else {}
        if paid:
            more |= self._payment(sold)
        self._tell(sold, status="paid" if paid else "placed", **self._content(sold, ""), **more)

    def do(self, deed: Deed, sold: Sold) -> None:
        known = self._known[sold.no]
        match deed:
            case Deed.PAY:
                known.paid = True
                self._tell(sold, status="paid", **self._payment(sold))
            case Deed.RELEASE:
                known.held = False
                self._tell(sold, hold={"held": False})
            case Deed.REMARK:
                self._tell(sold, **self._content(sold, "请尽快"))
            case Deed.CANCEL:
                if not self.told(sold):
                    known.stopped = True
                    self._tell(sold, status="cancelled")
            case Deed.ASK_REFUND | Deed.PAY_BACK | Deed.WITHDRAW:
                status = {Deed.ASK_REFUND: "open", Deed.PAY_BACK: "done", Deed.WITHDRAW: "rejected"}[deed]
                known.stopped = deed is not Deed.WITHDRAW
                self._tell(sold, refunds=[{"refund_id": f"R{sold.no}", "status": status, "amount": self._total(sold)}])

    def standing(self, sold: Sold) -> Standing:
        known = self._known[sold.no]
        return Standing(known.paid, known.held, known.stopped)

    def told(self, sold: Sold) -> list[str]:
        book = self.partner.books.orders.get(sold.number)
        return [] if book is None else [command for command in book.commands if command.startswith("ship")]

    def is_told(self, sold: Sold, parcels: Sequence[str]) -> bool:
        told = self.told(sold)
        return len(told) == len(set(told)) == len(parcels)

    def quiet(self) -> None:
        return

    def _total(self, sold: Sold) -> str:
        return f"{sum(quantity for _, quantity in sold.lines) * 12}.00"

    def _payment(self, sold: Sold) -> dict[str, Any]:
        at = self._clock.now().isoformat()
        return {"payment": {"paid": True, "amount": self._total(sold), "paid_at": at, "method": "wechat"}}

    def _content(self, sold: Sold, note: str) -> dict[str, Any]:
        lines = [
            {"line_no": str(index), "sku": sku, "quantity": quantity, "price": "12.00"}
            for index, (sku, quantity) in enumerate(sold.lines, 1)
        ]
        receiver = {
            "name": "张三",
            "phone": "13800000000",
            "province": "浙江省",
            "city": "杭州市",
            "detail": "文一路1号",
        }
        return {
            "placed_at": self._known[sold.no].placed_at,
            "lines": lines,
            "receiver": receiver,
            "total": self._total(sold),
            "buyer_note": note,
        }

    def _tell(self, sold: Sold, **what: Any) -> None:
        body = msgspec.json.encode({"order_no": sold.no, "updated_at": self._clock.now().isoformat(), **what})
        for repeat in (0, 1):
            if repeat and self._rng.random() > 0.15:
                continue
            delay_s = self._rng.uniform(0, 1200 if repeat else 200)
            self._count += 1
            self.repeated += repeat
            self._waiting.put_nowait((self._clock.passed_s() + delay_s, self._count, body))

    async def tell(self) -> None:
        """Post what is waiting, until cancelled."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            async with asyncio.TaskGroup() as group:
                for number in range(self._calls):
                    group.create_task(self._call(session), name=f"mini-program {number}")

    async def _call(self, session: aiohttp.ClientSession) -> None:
        while True:
            due_s, count, body = await self._waiting.get()
            left_s = (due_s - self._clock.passed_s()) / self._clock.speed
            if left_s > 0.05:
                self._waiting.put_nowait((due_s, count, body))
                await asyncio.sleep(min(left_s, 0.05))
                continue
            self._busy += 1
            try:
                while not await self._post(session, f"m{count}", body):  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
                self.sent += 1
            finally:
                self._busy -= 1

    async def _post(self, session: aiohttp.ClientSession, message_id: str, body: bytes) -> bool:
        timestamp = int(self._clock.now().timestamp())
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._key, message_id=message_id, timestamp=timestamp, body=body),
        }
        try:
            async with session.post(f"{self.hooks_url}/{self.name}", data=body, headers=headers) as answer:
                text = await answer.text()
                # A signature is good for five of the town's minutes, which may be less than one of our requests.
                assert answer.status in (202, 401, 503), f"{answer.status} {text}"
                return answer.status == 202
        except (aiohttp.ClientError, TimeoutError):
            return False


def orders(
    shops: Sequence[tuple[Shop, float]], count: int, *, seed: int, hours: float, weights: Sequence[float]
) -> Iterator[Sold]:
    """`count` orders over `hours`, in the sequence they are placed; `weights` say how busy each hour is."""
    rng = random.Random(seed)
    fates, shares = list(SHARES), list(SHARES.values())
    moments = sorted(
        3600.0 * min(hour + rng.random(), hours) for hour in rng.choices(range(len(weights)), weights=weights, k=count)
    )
    for index, placed_s in enumerate(moments):
        shop = rng.choices([one for one, _ in shops], weights=[share for _, share in shops])[0]
        goods = shop.goods()
        lines = [(sku, rng.choice((1, 1, 1, 2, 3))) for sku in rng.sample(goods, rng.choice((1, 1, 1, 2, 3)))]
        no = f"26{seed % 100:02}{index:014}" if isinstance(shop, TaobaoShop) else f"{seed}-{index:06}"
        fate = rng.choices(fates, weights=shares)[0]
        yield Sold(shop=shop.name, no=no, number=shop.prefix + no, lines=tuple(lines), fate=fate, placed_s=placed_s)
