"""What can be set, for editors and as pages."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway import schema as schemas
from gateway.core.text import Text
from gateway.settings.sections import ConnectionEntry, Document


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
