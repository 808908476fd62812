"""Paths as clients and proxies write them, and what they lead to; HEAD, and the ids of answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from _bentoml_impl.server.mount import PassiveMount as Mount  # type: ignore[import-untyped]
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.contract_app import contract_app
from api.http.contract_table import Contract, ContractTable
from api.http.joint_docs import docs_app
from api.middleware.head_requests import HeadLikeGet
from api.middleware.paths import Addresses, UnderPrefix
from api.middleware.request_ids import RequestIds
from api.openai.errors import OpenAIRefused, openai_refusal
from processes.http.closing_stream import ClosingResponse

PROXY, STRANGER = "127.0.0.1", "192.0.2.1"
PREFIXED = {"X-Forwarded-Prefix": "/pictures"}

router = APIRouter()


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> JSONResponse:
    return JSONResponse({"name": name, "base": str(request.base_url)})


@router.get("/")
async def first_page() -> JSONResponse:
    return JSONResponse({})


@router.post("/v1/images/generations")
async def generate(request: Request) -> JSONResponse:
    return JSONResponse({"sent": (await request.body()).decode()})


@router.get("/v1/away")
async def away(request: Request) -> Response:
    return RedirectResponse(f"{request.base_url}v1/models/x", 307)


@router.get("/v1/events")
async def events() -> Response:
    async def endless() -> AsyncGenerator[str, None]:
        while True:
            yield "data: 1\n\n"

    return ClosingResponse(endless(), "text/event-stream")


CONTRACT = contract_app("Test", "test", router, openai_refusal, OpenAIRefused)
TABLE = ContractTable(Contract("Test", CONTRACT, openai_refusal, paths=("/v1",), prefix="/openai"))


def client(peer: str = PROXY, public_url: str | None = None) -> TestClient:
    """The middleware as a server has it, in front of the same contract at the root and under a prefix."""
    routes = [Mount("/openai", CONTRACT), Mount("/docs", docs_app(TABLE, CONTRACT.openapi)), Mount("", CONTRACT)]
    app: ASGIApp = UnderPrefix(Starlette(routes=routes), TABLE)
    app = Addresses(HeadLikeGet(app), TABLE, public_url, trusted_proxies=["127.0.0.0/8"])

    async def with_peer(scope: Scope, receive: Receive, send: Send) -> None:
        await RequestIds(app)({**scope, "state": {"jubako.peer": peer}}, receive, send)

    return TestClient(with_peer, follow_redirects=False)


class TestSlashes:
    @pytest.mark.parametrize(
        "path", ["//v1/images/generations", "/v1//images///generations", "/v1/images/generations/"]
    )
    def test_a_post_is_answered_where_it_is(self, path: str) -> None:
        answer = client().post(f"http://testserver{path}", content="a prompt")
        assert (answer.status_code, answer.json()) == (200, {"sent": "a prompt"})

    @pytest.mark.parametrize("path", ["/openai", "/openai/", "//openai//", "/docs/"])
    @pytest.mark.parametrize("method", ["POST", "PUT", "TRACE", "OPTIONS"])
    def test_no_write_is_redirected(self, method: str, path: str) -> None:
        answer = client().request(method, f"http://testserver{path}")
        assert answer.status_code in (404, 405)
        assert "location" not in answer.headers

    def test_they_are_no_part_of_a_name(self) -> None:
        assert client().get("/v1/models/black-forest-labs//flux/").json()["name"] == "black-forest-labs/flux"


class TestPrefix:
    def test_a_trusted_proxy_tells_it(self) -> None:
        assert client().get("/v1/models/x", headers=PREFIXED).json()["base"] == "http://testserver/pictures/"
        under = client().get("/openai/v1/models/x", headers=PREFIXED).json()
        assert under == {"name": "x", "base": "http://testserver/pictures/"}

    @pytest.mark.parametrize("prefix", ["//evil.example", "/a b", '/a"><script>', "pictures", "/", "/a/../b?c"])
    def test_what_is_no_path_is_ignored(self, prefix: str) -> None:
        told = client().get("/v1/models/x", headers={"X-Forwarded-Prefix": prefix}).json()
        assert told["base"] == "http://testserver/"

    def test_strangers_tell_nothing(self) -> None:
        assert client(STRANGER).get("/v1/models/x", headers=PREFIXED).json()["base"] == "http://testserver/"

    @pytest.mark.parametrize("path", ["/v1/models/x", "/under/v1/models/x"])
    def test_the_public_address_tells_it_whether_or_not_a_proxy_removes_it(self, path: str) -> None:
        answer = client(STRANGER, "https://public.example/under").get(path)
        assert answer.json() == {"name": "x", "base": "http://testserver/under/"}

    def test_one_that_is_called_like_a_contract_hides_none(self) -> None:
        assert client(public_url="https://public.example/v1").get("/v1/models/v1/x").json()["name"] == "v1/x"
        told = client().get("/v1/models/x", headers={"X-Forwarded-Prefix": "/v1"}).json()
        assert told == {"name": "x", "base": "http://testserver/v1/"}

    def test_redirects_and_pages_keep_it(self) -> None:
        assert client().get("/v1/away", headers=PREFIXED).headers["location"].endswith("/pictures/v1/models/x")
        assert client().get("/openai", headers=PREFIXED).headers["location"].endswith("/pictures/openai/")
        assert 'data-description="/pictures/openai/openapi.json"' in client().get("/openai/docs", headers=PREFIXED).text
        servers = client().get("/openai/openapi.json", headers=PREFIXED).json()["servers"]
        assert servers == [{"url": "/pictures/openai"}]


class TestNothingThere:
    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1", "/openai/v1/nothing"])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_unknown_addresses_have_the_contracts_shape(self, method: str, path: str) -> None:
        answer = client().request(method, path)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (404, "unknown_url", None)
        assert error["type"] == "invalid_request_error"

    def test_wrong_methods_too(self) -> None:
        answer = client().delete("/v1/images/generations")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert answer.json()["error"]["code"] == "method_not_supported"

    def test_what_answers_get_answers_head(self) -> None:
        answer = client().delete("/v1/models/x")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")

    def test_routes_of_others_have_the_shape_of_the_typed_apis(self) -> None:
        async def typed(_: Request) -> Response:
            return Response()

        app = UnderPrefix(Starlette(routes=[Route("/text_to_image", typed, methods=["POST"])]), TABLE)
        answer = TestClient(Addresses(app, TABLE, None, ())).put("/text_to_image")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert answer.json()["code"] == "wrong_method"

    def test_addresses_of_no_contract_have_the_shape_of_the_typed_apis(self) -> None:
        routes = [Mount("/v1", CONTRACT)]
        answer = TestClient(Addresses(UnderPrefix(Starlette(routes=routes), TABLE), TABLE, None, ())).get("/nothing")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_address")


class TestHead:
    def test_it_is_the_head_of_get(self) -> None:
        get, head = (client().request(method, "/v1/models/x") for method in ("GET", "HEAD"))
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == get.headers["content-length"]

    def test_a_stream_ends_at_once(self) -> None:
        head = client().head("/v1/events")
        assert head.headers["content-type"].startswith("text/event-stream")

    def test_where_there_is_no_get_there_is_no_head(self) -> None:
        assert client().head("/v1/images/generations").headers["allow"] == "POST"
        assert client().head("/v1/nothing").status_code == 404


class TestIds:
    @pytest.mark.parametrize(("method", "path"), [("GET", "/v1/models/x"), ("GET", "/v1/no"), ("PUT", "/v1/away")])
    def test_every_answer_has_one(self, method: str, path: str) -> None:
        ids = {client().request(method, path).headers["x-request-id"] for _ in range(2)}
        assert len(ids) == 2

    @pytest.mark.parametrize(("given", "kept"), [("a-1:b", True), ("x" * 129, False), ("a b", False), ("", False)])
    def test_that_of_a_proxy_is_kept(self, given: str, kept: bool) -> None:
        answer: Any = client().get("/v1/models/x", headers={"X-Request-ID": given})
        assert (answer.headers["x-request-id"] == given) is kept
