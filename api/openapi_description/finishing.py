"""Completes what FastAPI derives from a contract's routes: errors, headers, keys, ids, named schemas."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from copy import deepcopy
from typing import Any

from pydantic import BaseModel

from access.keys import Keyring
from api.openapi_description.bodies import REF
from api.openapi_description.errors import ALWAYS, GENERATING, described_errors, reference_name
from api.openapi_description.event_streams import EVENTS
from api.openapi_description.headers import RATE_HEADERS, REQUEST_ID, header_components, header_references
from api.openapi_description.served_limits import ServedLimits
from settings import Settings

KEY = "key"
VARIANTS = "x-variants"
"""Where an operation says what replaces it for each value of a path parameter: `{parameter: {value: fields}}`."""
_FASTAPIS = ("HTTPValidationError", "ValidationError")


def finished(
    description: dict[str, Any], refused: type[BaseModel], settings: Settings, open_paths: Collection[str] = ()
) -> dict[str, Any]:
    """Complete the description of one contract, whose errors have the body `refused`; anyone may read `open_paths`."""
    description = deepcopy(description)
    description["paths"] = dict(_split(description["paths"]))
    components = description.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in _FASTAPIS:
        schemas.pop(name, None)
    statuses: set[int] = set()
    bodies: set[str] = set()
    for path, method, operation in operations(description):
        statuses |= _add_errors(operation, method, refused)
        _add_headers(operation, method)
        if method == "get" and path in open_paths:
            operation["security"] = []
        _name_schemas(operation, schemas)
        bodies |= {media["schema"]["$ref"].rpartition("/")[2] for media in _bodies(operation)}
    errors = described_errors(refused, iter(sorted(statuses)))
    schemas |= errors["schemas"]
    components["responses"] = errors["responses"]
    components["headers"] = header_components()
    _add_keys(description, settings)
    _number_ids(description)
    components["schemas"] = schemas = {
        name: schema if name in bodies else _tidy(schema, schema.get("title")) for name, schema in schemas.items()
    }
    served = ServedLimits(settings)
    for _, _, operation in operations(description):
        served.describe(operation, schemas)
    return description


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the operations with their paths and methods."""
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _bodies(operation: dict[str, Any]) -> list[dict[str, Any]]:
    return list(operation.get("requestBody", {}).get("content", {}).values())


def _split(paths: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for path, methods in paths.items():
        variants = {method: each.pop(VARIANTS) for method, each in methods.items() if VARIANTS in each}
        if not variants:
            yield path, methods
        for method, parameters in variants.items():
            for parameter, values in parameters.items():
                for value, fields in values.items():
                    variant = deepcopy(methods[method]) | fields
                    variant["operationId"] += f"_{value}"
                    variant["parameters"] = [each for each in variant["parameters"] if each["name"] != parameter]
                    yield path.replace(f"{{{parameter}}}", value), {method: variant}


def _add_errors(operation: dict[str, Any], method: str, refused: type[BaseModel]) -> set[int]:
    """Describe what may go wrong; a route adds to it by naming a status without saying more."""
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    own = {int(status) for status in responses if int(status) >= 400}
    added = {*ALWAYS, *own, *(GENERATING if method == "post" else ())}
    for status in sorted(added):
        described = responses.get(str(status), {})
        if "content" not in described:
            responses[str(status)] = {"$ref": f"#/components/responses/{reference_name(refused, status)}"}
    return added


def _add_headers(operation: dict[str, Any], method: str) -> None:
    if method == "post":
        # openapi-python-client also needs an optional parameter where there are two kinds of bodies.
        operation["parameters"] = [*operation.get("parameters", []), REQUEST_ID]
    names = ("X-Request-ID", *(RATE_HEADERS if method == "post" else ()))
    for status, response in operation["responses"].items():
        if int(status) < 400:
            response["headers"] = {**response.get("headers", {}), **header_references(names)}


def _name_schemas(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Make components of the schemas of bodies and events that have a title."""
    answers = [answer for answer in operation["responses"].values() if "content" in answer]
    for holder in (operation.get("requestBody", {}), *answers):
        for media in holder.get("content", {}).values():
            media["schema"] = _named(media["schema"], schemas)
            if EVENTS in media:
                media[EVENTS] = {name: _named(schema, schemas) for name, schema in media[EVENTS].items()}


def _named(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    for name, definition in schema.pop("$defs", {}).items():
        _add(name, definition, schemas)
    if schema.get("type") != "object" or "title" not in schema:
        return schema
    _add(schema["title"], schema, schemas)
    return {"$ref": REF.format(model=schema["title"])}


def _tidy(part: Any, title: str | None = None) -> Any:
    """Return a schema without its noise: titles of fields, and defaults of null."""
    if isinstance(part, list):
        return [_tidy(each) for each in part]
    if not isinstance(part, dict):
        return part
    kept = {name: _tidy(value) for name, value in part.items() if not _says_nothing(name, value)}
    return kept if title is None else {"title": title, **kept}


def _says_nothing(name: str, value: Any) -> bool:
    # A field may itself be called title.
    return (name == "default" and value is None) or (name == "title" and isinstance(value, str))


def _add(name: str, schema: dict[str, Any], schemas: dict[str, Any]) -> None:
    assert schemas.setdefault(name, schema) == schema, f"two schemas are called {name}"


def _add_keys(description: dict[str, Any], settings: Settings) -> None:
    says = "A key of this server: `Authorization: Bearer KEY`. Servers without keys need none."
    description["components"]["securitySchemes"] = {KEY: {"type": "http", "scheme": "bearer", "description": says}}
    description["security"] = [{KEY: []}] if Keyring.of(settings).closed else [{}, {KEY: []}]


def _number_ids(description: dict[str, Any]) -> None:
    """Make ids unique where one function serves several addresses."""
    seen: set[str] = set()
    for path, _, operation in operations(description):
        if operation["operationId"] in seen:
            operation["operationId"] += "_" + (path.strip("/").replace("/", "_") or "root")
        seen.add(operation["operationId"])
