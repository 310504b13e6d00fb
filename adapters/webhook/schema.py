"""The JSON Schema of incoming order documents, made from the decoder's own types.

``python -m adapters.webhook.schema > adapters/webhook/order.schema.json``
"""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec

from adapters.webhook.mapping import OrderIn


def order_schema() -> dict[str, Any]:
    """Draft 2020-12; the rules between fields that types cannot say are added."""
    schema = msgspec.json.schema(OrderIn)
    order = schema["$defs"]["OrderIn"]
    order["properties"]["extra"] = {"type": "object", "description": "yours; accepted and not looked at"}
    order["dependentRequired"] = {
        "lines": ["placed_at", "receiver"],
        "receiver": ["lines"],
        "placed_at": ["lines"],
        "total": ["lines"],
    }
    order["if"] = {"properties": {"status": {"const": "paid"}}, "required": ["status"]}
    order["then"] = {"properties": {"payment": {"type": "object"}}, "required": ["payment"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Ordergate order document, version 1",
        **schema,
    }


def main() -> None:
    json.dump(order_schema(), sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
