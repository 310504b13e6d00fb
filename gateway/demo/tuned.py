"""What the configuration of the demo has otherwise than the product has by itself: read from the document, not listed.

The document is read twice as `ordergate run` reads it, once with all that could be left out left out, and the figures
of both are compared. What wires the demo up (addresses, names, secrets) is no figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from gateway.plugins import discover
from gateway.settings import Settings, parse
from gateway.settings.sections import Sections

Figure = float | bool | None

_KEPT: Mapping[str, tuple[str, ...]] = {"kafka": ("bootstrap",)}
_KEPT_OF_A_CONNECTION = ("adapter", "prefix", "mode", "start_at", "route", "settings")
_TUNED_OF_A_CONNECTION = ("settle_s", "stock", "gates", "pull", "rate")


def differences(document: Mapping[str, Any]) -> dict[str, tuple[Figure, Figure]]:
    """Setting → what it is in `document`, and what it would be without a word; in the sequence of the settings.

    Of a connection that is what its adapter's manifest says.
    """
    here, default = _read(document), _read(_untuned(document))
    without = dict(_figures_of(default))
    return {
        key: (value, without.get(key))
        for key, value in _figures_of(here)
        if value is not None and value != without.get(key)
    }


def _untuned(document: Mapping[str, Any]) -> dict[str, Any]:
    connections = {
        name: {key: entry[key] for key in _KEPT_OF_A_CONNECTION if key in entry}
        for name, entry in document["connections"].items()
    }
    sections = {name: {key: document[name][key] for key in keys} for name, keys in _KEPT.items() if name in document}
    return {"data_dir": document["data_dir"], **sections, "connections": connections}


def _read(document: Mapping[str, Any]) -> Settings:
    text = yaml.safe_dump(dict(document), allow_unicode=True, sort_keys=False)
    return parse(text, {}, discover(), name="ordergate.yaml", folder=Path(document["data_dir"]))


def _figures_of(settings: Settings) -> Iterator[tuple[str, Figure]]:
    for section in Sections.__struct_fields__:
        yield from _figures(section, getattr(settings, section))
    for name, connection in settings.connections.items():
        for key in _TUNED_OF_A_CONNECTION:
            yield from _figures(f"connections.{name}.{key}", getattr(connection, key))


def _figures(key: str, value: Any) -> Iterator[tuple[str, Figure]]:
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _figures(f"{key}.{name}", inner)
    elif value is None or isinstance(value, (bool, int, float)):
        yield key, value
