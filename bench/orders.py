"""The orders of the benchmark: 1.2 KB each, 1 to 4 lines, every message another order.

Deterministic: process and run do not matter, so the gateway, the bare loops and the peers post the same bytes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

CONNECTION = "shop"
PREFIX = "B"
WAREHOUSE = "WH-1"
CREATED_AT = "2026-11-20T08:16:11.000001+08:00"

_STYLES = 5000
_COLOURS = "RGBK"
_PLACES = (
    ("浙江省", "杭州市", "余杭区"),
    ("北京市", "北京市", "朝阳区"),
    ("广东省", "深圳市", "南山区"),
    ("四川省", "成都市", "武侯区"),
    ("新疆维吾尔自治区", "乌鲁木齐市", "天山区"),
)
_encode = msgspec.json.encode


class Message(msgspec.Struct, frozen=True, gc=False):
    """One record for the topic. `pieces` is how much stock the order takes."""

    index: int
    key: bytes
    headers: list[tuple[str, str | bytes | None]]
    body: bytes
    pieces: int


def skus() -> list[str]:
    """Every SKU an order can name."""
    return [f"SKU-{style:05d}-{colour}" for style in range(_STYLES) for colour in _COLOURS]


def bodies(start: int, count: int) -> Iterator[tuple[int, bytes, int]]:
    """(index, order document, pieces) of the orders `start` to `start + count`."""
    for index in range(start, start + count):
        rnd = random.Random(index)
        pick = rnd.random  # one float is several times cheaper than randrange
        lines, pieces, total_minor = [], 0, 0
        for line in range(1 + int(pick() * 4)):
            quantity, price_minor = 1 + int(pick() * 5), 199 + int(pick() * 19800)
            pieces += quantity
            total_minor += quantity * price_minor
            lines.append(
                {
                    "line_no": str(line + 1),
                    "sku": f"SKU-{int(pick() * _STYLES):05d}-{_COLOURS[int(pick() * 4)]}",
                    "quantity": quantity,
                    "price": f"{price_minor // 100}.{price_minor % 100:02d}",
                    "name": "夏季新款纯棉短袖T恤 男女同款 " + ("S", "M", "L", "XL")[int(pick() * 4)],
                    "discount": "0.00",
                }
            )
        province, city, district = _PLACES[int(pick() * 5)]
        total = f"{total_minor // 100}.{total_minor % 100:02d}"
        order = {
            "order_no": f"{index:010d}",
            "updated_at": CREATED_AT,
            "status": "paid",
            "placed_at": "2026-11-20T08:15:30.123456+08:00",
            "lines": lines,
            "receiver": {
                "name": "张" + "伟芳娜敏静"[int(pick() * 5)],
                "phone": f"138{int(pick() * 10**8):08d}",
                "province": province,
                "city": city,
                "district": district,
                "detail": f"文一西路{int(pick() * 999)}号{int(pick() * 20)}幢{int(pick() * 30)}单元{int(pick() * 999)}",
            },
            "total": total,
            "currency": "CNY",
            "freight": "0.00",
            "discount": "0.00",
            "buyer_note": "请尽快发货，送货前电话联系，无人接听请放物业前台。",
            "latest_ship_at": "2026-11-22T08:16:10+08:00",
            "payment": {
                "paid": True,
                "amount": total,
                "paid_at": "2026-11-20T08:16:10.654321+08:00",
                "method": "alipay",
            },
            "extra": {
                "channel": ("taobao", "jd", "pinduoduo", "douyin", "miniprogram")[int(pick() * 5)],
                "shop_id": int(pick() * 50),
                "buyer_id": f"U{int(pick() * 10**7)}",
                "payment_ref": f"PAY{int(pick() * 10**12):012d}",
                "note": "老客户，已合并包裹，发票随货，赠品另行寄出，请勿放快递柜",
            },
        }
        yield index, _encode(order), pieces


def messages(start: int, count: int) -> Iterator[Message]:
    """Records in the CloudEvents form that the topic takes from other producers."""
    at = datetime.fromisoformat(CREATED_AT).astimezone(UTC).isoformat().encode()
    for index, body, pieces in bodies(start, count):
        headers: list[tuple[str, str | bytes | None]] = [
            ("ce_id", f"{index:010d}/1".encode()),
            ("ce_source", CONNECTION.encode()),
            ("ce_type", b"ordergate.order.v1"),
            ("ce_time", at),
        ]
        yield Message(index, f"{CONNECTION}/{index:010d}".encode(), headers, body, pieces)
