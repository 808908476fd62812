"""Our OpenAPI description, as long as there is time to try requests made from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.web import WEB

KIND, TRIED_KINDS = "/api/{model}/", ("t2i", "i2i")
"""All other kinds of jobs have the bodies of typed APIs."""
SUBMIT, TRIED_TASK = "/submit", "/text_to_image"
"""BentoML's tasks of all typed APIs are the same code, with the bodies of these."""
REQUEST_ID = "X-Request-ID"
"""A parameter of every POST, and one of them has to be tried."""
SAID = ("title", "description", "default", "example", "examples")
INPUTS = ("prompt", "image")
"""Without them hardly anything is generated, also where a description leaves them open."""
STEPS = ("num_inference_steps", "steps")
AMOUNTS = (*STEPS, "num_images", "n", "num_generations", "num_frames", "max_tries", "iterations")
"""Say how much to generate."""
IMPATIENCE = "options"
"""Of Hugging Face's inference: who does not wait for a model is rightly told that the server is not ready."""
MAX_STEPS = 4
"""Of as many as models allow, one request may take a minute."""


def shortened_description(url: str, folder: Path, *, fields_once: bool = False) -> Path:
    """Write the description of the server at `url` to a file in a folder; of each body only the first kind.

    With `fields_once`, the first body that has a field of some name and bounds is the one with which they are tried.
    """
    described = WEB.get(f"{url}/openapi.json").raise_for_status().json()
    tasks = {path.removesuffix(SUBMIT) for path in described["paths"] if path.endswith(SUBMIT)}
    described["paths"] = {path: each for path, each in described["paths"].items() if _is_tried(path, tasks)}
    for operations in described["paths"].values():
        for operation in operations.values():
            if operation["operationId"] != "text_to_image":
                named = operation.get("parameters", [])
                operation["parameters"] = [each for each in named if each["name"] != REQUEST_ID]
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]
                operation["requestBody"]["content"] = dict(list(content.items())[:1])
    for schema in described["components"]["schemas"].values():
        for name in STEPS:
            _bound_steps(schema.get("properties", {}).get(name, {}))
        schema.get("properties", {}).pop(IMPATIENCE, None)
    if fields_once:
        _keep_fields_once(described)
    file = folder / "openapi.json"
    file.write_text(json.dumps(described))
    return file


def _keep_fields_once(described: dict[str, Any]) -> None:
    """Of fields seen before, the optional ones go, prompts are examples, and amounts are at their least.

    Amounts are always given: what a model generates by itself would be more, in each request that tries another field.
    """
    seen: set[tuple[str, str]] = set()
    for body in _bodies_and_their_parts(described):
        known = {name: (name, json.dumps(_bounds(field), sort_keys=True)) for name, field in body["properties"].items()}
        amounts = [name for name in known if name in AMOUNTS]
        for name in amounts:
            body["properties"][name] = _given(body["properties"][name])
        inputs = [name for name in known if name in INPUTS]
        needed = body["required"] = [*dict.fromkeys([*body.get("required", ()), *inputs, *amounts])]
        for name in [name for name in known if known[name] in seen]:
            if name in amounts:
                body["properties"][name] = {"enum": [_least(body["properties"][name])]}
            elif name in inputs and "examples" in body["properties"][name]:
                body["properties"][name] = {"enum": body["properties"][name]["examples"][:1]}
            elif name not in needed:
                del body["properties"][name]
        seen.update(known.values())


def _given(field: dict[str, Any]) -> dict[str, Any]:
    """A field without null among its values."""
    kinds = [part for part in field.get("anyOf", ()) if part.get("type") != "null"]
    return {**field, "anyOf": kinds} if kinds else field


def _least(field: dict[str, Any]) -> int:
    return max(int(part.get("minimum", 1)) for part in field.get("anyOf", [field]))


def _bodies(described: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of all bodies, in the order of their operations."""
    operations = [each for methods in described["paths"].values() for each in methods.values()]
    content = [media for each in operations for media in each.get("requestBody", {}).get("content", {}).values()]
    names = dict.fromkeys(media["schema"]["$ref"].rpartition("/")[2] for media in content)
    return [described["components"]["schemas"][name] for name in names]


def _bodies_and_their_parts(described: dict[str, Any]) -> list[dict[str, Any]]:
    """The bodies and the objects that are fields of them, each once."""
    schemas = described["components"]["schemas"]
    objects: dict[int, dict[str, Any]] = {}
    for body in _bodies(described):
        parts = [part for field in body["properties"].values() for part in field.get("anyOf", [field])]
        named = [schemas[part["$ref"].rpartition("/")[2]] for part in parts if "$ref" in part]
        objects |= {id(each): each for each in (body, *named) if "properties" in each}
    return list(objects.values())


def _bounds(schema: Any) -> Any:
    """What a schema allows, without what it says about it; 1.0 is a bound like 1."""
    if isinstance(schema, dict):
        return {name: _bounds(part) for name, part in schema.items() if name not in SAID}
    if isinstance(schema, float):
        return int(schema) if schema.is_integer() else schema
    return [_bounds(part) for part in schema] if isinstance(schema, list) else schema


def _is_tried(path: str, tasks: set[str]) -> bool:
    if (api := path.rpartition("/")[0]) in tasks:
        return api == TRIED_TASK
    return not path.startswith(KIND) or path.removeprefix(KIND) in TRIED_KINDS


def _bound_steps(field: dict[str, Any]) -> None:
    for each in field.get("anyOf", [field]):
        if "maximum" in each:
            each["maximum"] = MAX_STEPS
