"""The OpenAPI document, made from the table of routes and the structs they speak in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.api.routing import Route
from gateway.api.views import Problem

_STATUSES = {
    400: "The body is not JSON",
    401: "No token, or not a good one",
    404: "There is no such thing",
    408: "The body did not arrive in time",
    409: "Not as things stand; the code says why",
    413: "The body is too large",
    415: "The body is compressed",
    422: "The request cannot be understood",
    503: "The database does not answer; try again",
}


def document(routes: Iterable[Route], *, version: str) -> dict[str, Any]:
    """OpenAPI 3.1 of `routes`."""
    routes = list(routes)
    kinds = [
        kind for route in routes for kind in (route.query, route.body, route.answer) if kind and type(kind) is not str
    ]
    schemas, components = msgspec.json.schema_components([Problem, *kinds], ref_template="#/components/schemas/{name}")
    problem, *rest = schemas
    known = dict(zip([id(kind) for kind in kinds], rest, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, known, components, problem)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ordergate 订单网关",
            "version": version,
            "description": "Read orders, deliveries, dead letters, gates, stock and SKU tables; see what waits for a"
            " person; repair what is stuck, one by one or many at once."
            " Name the person who acts in the header `X-Ordergate-Actor`; it is kept with what was done.",
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(
    route: Route, known: dict[int, dict[str, Any]], components: dict[str, Any], problem: dict[str, Any]
) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "integer" if name in _NUMBERS else "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    if route.query is not None:
        schema = components[known[id(route.query)]["$ref"].rsplit("/", 1)[1]]
        for name, value in schema["properties"].items():
            parameters.append({"name": name, "in": "query", "required": False, "schema": value})
    operation: dict[str, Any] = {
        "summary": f"{route.zh} {route.en}",
        "operationId": route.handler.__name__,
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "OK",
                "content": {route.answer: {}}
                if isinstance(route.answer, str)
                else {"application/json": {"schema": known[id(route.answer)]}},
            },
            **{
                str(status): {"description": text, "content": {"application/json": {"schema": problem}}}
                for status, text in _STATUSES.items()
                if status in route.errors or (route.body is not None and status in _OF_BODIES)
            },
        },
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": route.body_required,
            "content": {"application/json": {"schema": known[id(route.body)]}},
        }
    return operation


_OF_BODIES = frozenset({400, 408, 413, 415})
_NUMBERS = frozenset({"seq", "n", "id"})
