"""Our OpenAPI description: what it says, and requests made up from it, none of which causes a server's error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.contracts import CONTRACTS
from api.openapi_description.errors import error_codes
from tests.support.descriptions import shortened_description
from tests.support.servers.serving import wait_for
from tests.support.web import WEB

EXAMPLES = 4
"""Requests for each operation, beside those that its limits suggest."""

PREFIXES = ("", *(contract.prefix for contract in CONTRACTS.contracts if contract.prefix))
Operation = tuple[str, str, dict[str, Any]]
"""Its path, its method, and what is said of it."""

SETTINGS = """
# All others that an address does not have are answered by the same code.
[phases.coverage]
unexpected-methods = ["PATCH", "TRACE"]

[checks.not_a_server_error]
# A deadline that a request sets itself may pass.
expected-statuses = ["2xx", "3xx", "4xx", "504"]
"""


@pytest.fixture
def unloading_server(server: str) -> Iterator[str]:
    """The shared server; made-up requests leave jobs and may unload its models, and other tests find it as it was."""
    yield server
    for status in ("pending", "processing"):
        for job in WEB.get(f"{server}/api/jobs", params={"status": status, "limit": 100}).json()["jobs"]:
            WEB.delete(f"{server}/api/{job['session_id']}")
    wait_for(lambda: not WEB.get(f"{server}/pipeline/status").json()["running"])
    for model in WEB.get(f"{server}/models").json()["models"]:
        WEB.post(f"{server}/models/{model['id']}/load").raise_for_status()
    wait_for(lambda: all(model["state"] == "ready" for model in WEB.get(f"{server}/health").json()["models"]))


@pytest.mark.timeout(470)
@pytest.mark.parametrize(("phase", "fields_once"), [("coverage", True), ("fuzzing", False)])
def test_no_request_is_answered_by_a_server_error(
    phase: str, fields_once: bool, unloading_server: str, tmp_path: Path
) -> None:
    """Each field's limits once, in the first operation that has it, and requests of all fields for each operation.

    `make fuzz` tries all limits in all operations.
    """
    server = unloading_server
    program = str(Path(sys.executable).with_name("schemathesis"))
    options = ["--url", server, "--checks", "not_a_server_error", "--max-examples", str(EXAMPLES)]
    # A story is several pictures.
    options += ["--request-timeout", "150"]
    # The same requests every time.
    repeatable = ["--generation-deterministic", "--no-color"]
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    command = [
        program,
        "--config-file",
        str(tmp_path / "schemathesis.toml"),
        "run",
        str(shortened_description(server, tmp_path, fields_once=fields_once)),
        *options,
        *repeatable,
        "--phases",
        phase,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=440)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr


@pytest.fixture(scope="module")
def described(server: str) -> dict[str, Any]:
    description: dict[str, Any] = WEB.get(f"{server}/openapi.json").json()
    return description


@pytest.fixture(scope="module")
def operations(described: dict[str, Any]) -> list[Operation]:
    return [(path, method, each) for path, methods in described["paths"].items() for method, each in methods.items()]


@pytest.fixture(scope="module")
def bodies(described: dict[str, Any], operations: list[Operation]) -> dict[str, dict[str, Any]]:
    """The schemas of all bodies, by their names."""
    content = [media for *_, each in operations for media in each.get("requestBody", {}).get("content", {}).values()]
    names = {media["schema"]["$ref"].rpartition("/")[2] for media in content}
    return {name: described["components"]["schemas"][name] for name in names}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_it_is_valid_and_has_one_name_for_each_operation(prefix: str, server: str) -> None:
    description = WEB.get(f"{server}{prefix}/openapi.json").json()
    assert [error.message for error in OpenAPIV31SpecValidator(description).iter_errors()] == []
    names = [each["operationId"] for methods in description["paths"].values() for each in methods.values()]
    assert len(set(names)) == len(names) > 0


def test_bentomls_address_has_the_same(server: str, described: dict[str, Any]) -> None:
    assert WEB.get(f"{server}/docs.json").json() == described


def test_typed_apis_and_contracts_are_in_it(operations: list[Operation]) -> None:
    paths = {path for path, *_ in operations}
    assert {"/text_to_image", "/v1/images/edits", "/api/{model}/i2v", "/generate", "/models", "/pipeline/run"} <= paths
    assert [path for path in paths if "{kind}" in path] == []


def test_images_are_sent_as_files_or_as_base64(operations: list[Operation], described: dict[str, Any]) -> None:
    body = next(each for path, _, each in operations if path == "/inpaint")["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/json"}
    schemas = described["components"]["schemas"]
    assert schemas["InpaintForm"]["properties"]["mask"]["format"] == "binary"
    assert schemas["InpaintRequest"]["properties"]["mask"]["contentEncoding"] == "base64"


def test_whatever_is_sent_has_bounds(bodies: dict[str, dict[str, Any]]) -> None:
    fields = [(name, field, part) for name, body in bodies.items() for field, part in _all_of(body)]
    for kind, bounds in {"array": {"maxItems"}, "integer": {"maximum", "enum"}, "number": {"maximum"}}.items():
        assert [(name, field) for name, field, part in fields if _is(part, kind) and not bounds & part.keys()] == []


def _all_of(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for field, part in body["properties"].items():
        for each in part.get("anyOf", [part]):
            yield field, each


def _is(part: dict[str, Any], kind: str) -> bool:
    return kind in (part["type"] if isinstance(part.get("type"), list) else [part.get("type")])


def test_the_models_served_set_the_bounds(bodies: dict[str, dict[str, Any]]) -> None:
    form = bodies["TextToImageForm"]["properties"]
    assert (form["width"]["maximum"], form["num_inference_steps"]["maximum"]) == (128, 900)
    assert form["width"]["example"] is None
    assert bodies["TextToVideoForm"]["properties"]["model"]["example"] == "tiny-video"


def test_each_kind_of_job_has_the_fields_of_its_typed_api(bodies: dict[str, dict[str, Any]]) -> None:
    for name in ("TextToImage", "ImageToImage", "Inpaint", "Edit", "TextToVideo", "ImageToVideo"):
        job, typed = (set(bodies[f"{name}{suffix}"]["properties"]) for suffix in ("JobForm", "Form"))
        assert job - typed <= {"webhook_url", "preview_every"}
        assert typed - job <= {"task", "model"}


def test_every_answer_has_a_schema(operations: list[Operation]) -> None:
    for path, method, operation in operations:
        for status, answer in operation["responses"].items():
            content = answer.get("content", {})
            assert "$ref" in answer or status == "307" or content, (path, method, status)
            assert all(media["schema"] for media in content.values()), (path, method, status)


def test_every_code_of_an_error_is_told(described: dict[str, Any], operations: list[Operation]) -> None:
    codes = {code for each in error_codes().values() for code in each}
    for name in ("Refused", "JobRefused", "StoryRefused"):
        properties = described["components"]["schemas"][name]["properties"]
        assert codes <= set(properties["code"]["enum"])
        assert "field" in properties
    for *_, operation in operations:
        assert {"400", "401", "403", "404", "413", "429", "500", "503"} <= operation["responses"].keys()


def test_who_needs_a_key_is_told(described: dict[str, Any], operations: list[Operation]) -> None:
    assert described["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert described["security"] == [{}, {"key": []}]
    for path, method, operation in operations:
        is_open = CONTRACTS.is_open({"type": "http", "path": path, "method": method.upper()})
        assert (operation.get("security") == []) == is_open, (path, method)


def test_headers_and_events_are_described(operations: list[Operation], described: dict[str, Any]) -> None:
    answers = {path: each["responses"]["200"] for path, _, each in operations if "200" in each["responses"]}
    assert {"X-Jubako-Seed", "X-Jubako-Model", "X-Request-ID"} <= answers["/text_to_image"]["headers"].keys()
    for path in ("/stream", "/generate", "/v1/images/generations", "/api/{session_id}/events"):
        events = answers[path]["content"]["text/event-stream"]["x-events"]
        assert all(event["$ref"].rpartition("/")[2] in described["components"]["schemas"] for event in events.values())
        assert "error" in events


def test_nothing_of_its_making_is_left(described: dict[str, Any]) -> None:
    assert [mark for mark in ("x-task", "x-variants", "HTTPValidationError", "#/$defs") if mark in str(described)] == []


def test_no_field_has_a_default_for_which_makers_of_clients_would_demand_it(bodies: dict[str, dict[str, Any]]) -> None:
    fields = [(name, field, part) for name, body in bodies.items() for field, part in body["properties"].items()]
    assert [(name, field) for name, field, part in fields if "default" in part] == []
    assert bodies["TextToImageRequest"]["properties"]["quality"]["description"].endswith("Default: 90.")
