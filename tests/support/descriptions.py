"""Our OpenAPI description, as long as there is time to try requests made from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.web import WEB

KIND, TRIED_KINDS = "/api/{model}/", ("t2i", "i2i")
"""All other kinds of jobs have the bodies of typed APIs."""
REQUEST_ID = "X-Request-ID"
"""A parameter of every POST, and one of them has to be tried."""
MAX_STEPS = 20
"""Of as many as models allow, one request may take a minute."""


def shortened_description(url: str, folder: Path) -> Path:
    """Write the description of the server at `url` to a file in a folder; of each body only the first kind."""
    described = WEB.get(f"{url}/openapi.json").raise_for_status().json()
    described["paths"] = {path: each for path, each in described["paths"].items() if _is_tried(path)}
    for operations in described["paths"].values():
        for operation in operations.values():
            if operation["operationId"] != "text_to_image":
                named = operation.get("parameters", [])
                operation["parameters"] = [each for each in named if each["name"] != REQUEST_ID]
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]
                operation["requestBody"]["content"] = dict(list(content.items())[:1])
    for schema in described["components"]["schemas"].values():
        _bound_steps(schema.get("properties", {}).get("num_inference_steps"))
    file = folder / "openapi.json"
    file.write_text(json.dumps(described))
    return file


def _is_tried(path: str) -> bool:
    return not path.startswith(KIND) or path.removeprefix(KIND) in TRIED_KINDS


def _bound_steps(field: Any) -> None:
    for each in (field or {}).get("anyOf", [field or {}]):
        if "maximum" in each:
            each["maximum"] = MAX_STEPS
