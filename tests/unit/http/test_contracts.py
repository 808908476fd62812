"""The table of contracts: what the server knows of an address before any route is reached."""

from __future__ import annotations

import re

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Scope

from api.contracts import CONTRACTS
from api.http.contract_app import contract_app
from api.http.contract_table import Contract, ContractTable
from api.http.docs_pages import PAGES
from api.http.refusals import Refused, refusal
from api.openai.errors import openai_refusal
from core.errors import Busy, JubakoError
from tests.support.servers.serving import ROOT


def scope_of(path: str, method: str = "GET", kind: str = "http") -> Scope:
    return {"type": kind, "path": path, "method": method}


def own_paths(contract: Contract) -> list[str]:
    """Its addresses at the root. FastAPI keeps included routers whole; its description lists their routes."""
    if isinstance(contract.app, FastAPI):
        paths = list(contract.app.openapi()["paths"])
    else:
        assert isinstance(contract.app, Starlette)
        paths = [route.path for route in contract.app.routes if isinstance(route, Route)]
    return [path for path in paths if path not in PAGES]


@pytest.mark.parametrize("contract", CONTRACTS.contracts, ids=lambda contract: contract.name)
class TestEachContract:
    def test_answers_errors_at_all_of_its_addresses_in_its_own_shape(self, contract: Contract) -> None:
        error = Busy("too many requests are waiting", 7)
        own = bytes(contract.refusal(error).body)
        paths = own_paths(contract)
        assert paths
        for path in (*paths, *filter(None, [contract.prefix])):
            answer = CONTRACTS.refusal_for(path, error)
            assert (path, bytes(answer.body)) == (path, own)
            assert answer.headers["retry-after"] == "7"

    def test_shows_its_pages_to_anybody_and_nothing_else(self, contract: Contract) -> None:
        for prefix in ("", *filter(None, [contract.prefix])):
            assert all(CONTRACTS.is_open(scope_of(prefix + page)) for page in PAGES)
        assert not any(CONTRACTS.is_open(scope_of(path, "POST")) for path in own_paths(contract))

    def test_reads_json_by_the_one_parser_that_checks_its_text(self, contract: Contract) -> None:
        if not isinstance(contract.app, FastAPI):
            return
        methods = [method for path in contract.app.openapi()["paths"].values() for method in path.values()]
        bodies = [method["requestBody"]["content"] for method in methods if "requestBody" in method]
        # FastAPI calls the models that it reads itself by their own names, and `described_body` does not.
        described = [media["schema"]["$ref"] for content in bodies for media in content.values()]
        assert [name for name in described if not name.endswith(("Request", "Form"))] == []


@pytest.mark.parametrize("path", ["/pipeline/run", "/pipeline/select-device", "/api/batch", "/v1/images/generations"])
@pytest.mark.parametrize("body", [rb'{"prompt": "\ud800"}', rb'{"\udfff": 1}', rb'{"requests": [{"model": "\ud800"}]}'])
def test_lone_surrogates_are_refused(path: str, body: bytes) -> None:
    contract = next(each for each in CONTRACTS.contracts if path.startswith(each.paths))
    answer = TestClient(contract.app).post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "not valid text" in answer.text


def test_other_addresses_have_the_typed_apis_shape() -> None:
    error = JubakoError("no")
    assert CONTRACTS.refusal_for("/text_to_image", error).body == refusal(error).body
    assert ContractTable(other=openai_refusal).refusal_for("/any", error).body == openai_refusal(error).body


def test_only_admins_change_what_is_loaded() -> None:
    for path in (
        "/models/tiny/load",
        "/models/tiny/unload/",
        "/models/tiny/loras",
        "/pipeline/select-device",
        "/text2image/pipeline/select-device",
    ):
        assert CONTRACTS.needs_admin(scope_of(path, "POST"))
    assert not CONTRACTS.needs_admin(scope_of("/models"))


def test_only_files_of_models_may_be_larger_than_images() -> None:
    assert CONTRACTS.takes_models(scope_of("/models/tiny/loras", "POST"))
    assert CONTRACTS.takes_models(scope_of("/ui/gradio_api/upload", "POST")), "the page passes them on"
    assert not CONTRACTS.takes_models(scope_of("/models/tiny/load", "POST"))
    assert not CONTRACTS.takes_models(scope_of("/text_to_image", "POST"))


def test_what_generates_and_what_only_watches() -> None:
    assert CONTRACTS.generates(scope_of("/v1/images/stream", kind="websocket"))
    assert CONTRACTS.generates(scope_of("/generate", "POST"))
    assert not CONTRACTS.generates(scope_of("/api/some-id/events", kind="websocket"))
    assert not CONTRACTS.generates(scope_of("/api/some-id/status"))


def test_the_health_of_the_jobs_contract_is_open_and_its_jobs_are_not() -> None:
    assert CONTRACTS.is_open(scope_of("/generator/api/health"))
    assert not CONTRACTS.is_open(scope_of("/api/jobs"))


def test_an_open_address_is_described_as_open() -> None:
    router = APIRouter()

    @router.get("/ping")
    @router.get("/ping/health")
    async def ping() -> None: ...

    app = contract_app("New", "new", router, refusal, Refused)
    table = ContractTable(Contract("New", app, refusal, paths=("/ping",), open_paths=("/ping",)))
    described = app.openapi()["paths"]
    assert [path for path in described if table.is_open(scope_of(path))] == ["/ping"]
    assert [path for path in described if described[path]["get"].get("security") == []] == ["/ping"]


def test_the_page_names_tests_that_are_there() -> None:
    page = (ROOT / "docs" / "contracts.md").read_text("utf-8")
    sources = "\n".join(file.read_text("utf-8") for file in (ROOT / "tests").rglob("*.py"))
    there = set(re.findall(r"^\s*(?:async )?(?:def|class) (\w+)", sources, re.MULTILINE))
    assert set(re.findall(r"`(?:\w+\.)?((?:test_|Test)\w+)`", page)) - there == set()
    assert [file for file in re.findall(r"`(tests/[\w/.]+)`", page) if not (ROOT / file).exists()] == []
