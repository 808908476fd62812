"""Keys, roles and rates: a real server with keys, and two that share Redis."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import bentoml
import httpx
import openai
import pytest
import websockets
from pydantic import ValidationError
from websockets.sync.client import connect

from access.keys import Keyring, hash_of, new_key
from access.rates import RateLimiter
from core.caller import Caller, Rates, set_caller
from core.errors import InvalidRequest, RateExceeded, StartError
from core.generation.request import GenerationRequest, Priority, Task
from jobs.webhooks.sender import secret_of
from settings import Settings
from settings.sections.access import AccessOptions
from tests.support.mcp_client import agent, fields_of
from tests.support.raw_sockets import opened, said_to
from tests.support.servers.replica import Replica
from tests.support.servers.serving import (
    MAX_UPLOAD_BYTES,
    ROOT,
    START_TIMEOUT_S,
    STORAGE,
    free_port,
    parse_events,
    serving,
    wait_for,
    write_tiny_catalogue,
)
from tests.support.surroundings.redis_server import PASSWORD, redis_server
from tests.support.web import WEB, client_of

NAMES = ("alice", "bob", "carol", "dave", "boss", "nobody", "metrics")
ALICE, BOB, CAROL, DAVE, BOSS, WRONG, METRICS = (f"jbk_{name}-0123456789abcdef" for name in NAMES)
SECRET = "a secret of at least sixteen"
CLIENT_TIMEOUT_S = 3
AT_ONCE_S = 10.0
"""Generous, on a busy machine; the server's own limit is 630 s."""
PAGE = "https://app.example"
RED_APPLE = {"prompt": "a red apple", "seed": 7}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def key_file(folder: Path, text: str) -> Path:
    file = folder / "keys.yaml"
    file.write_text(text)
    return file


def keyring(folder: Path, text: str, **options: Any) -> Keyring:
    return Keyring.of(AccessOptions(api_keys_file=key_file(folder, text), **options))


class TestTheFileOfKeys:
    def test_a_line_is_a_name_and_a_hash(self, tmp_path: Path) -> None:
        keys = keyring(tmp_path, f"alice: {hash_of(ALICE)}\n", rate_requests_per_min=5)
        assert keys.owner(ALICE) == Caller("alice", rates=Rates(requests_per_min=5))
        assert keys.owner(WRONG) is None

    def test_a_key_may_have_a_role_and_rates_of_its_own(self, tmp_path: Path) -> None:
        entry = f"{{hash: '{hash_of(BOSS)}', admin: true, requests_per_min: null, megapixels_per_min: 2.5}}"
        keys = keyring(tmp_path, f"boss: {entry}\n", rate_requests_per_min=5, rate_megapixels_per_min=1)
        assert keys.owner(BOSS) == Caller("boss", admin=True, rates=Rates(megapixels_per_min=2.5))

    def test_a_key_may_have_a_limit_of_its_priority(self, tmp_path: Path) -> None:
        keys = keyring(tmp_path, f"alice: {{hash: '{hash_of(ALICE)}', priority: low, steps_per_min: 100}}\n")
        assert keys.owner(ALICE) == Caller("alice", rates=Rates(steps_per_min=100), best_priority=Priority.LOW)

    def test_the_command_makes_a_key_and_its_line(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "access", "new", "alice", "--admin"]
        made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        key = made.stderr.splitlines()[0].rpartition(" ")[2]
        assert key not in made.stdout
        assert keyring(tmp_path, made.stdout).owner(key) == Caller("alice", admin=True)

    def test_keys_are_long_and_differ(self) -> None:
        assert len(new_key()) > 40
        assert new_key() != new_key()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (f"alice: {ALICE}\n", "64 hexadecimal digits; look at alice"),
            ("alice: {admin: true}\n", "alice.hash: is missing"),
            (f"alice: {{hash: '{hash_of(ALICE)}', admn: true}}\n", "alice.admn: is not a known field"),
            (f"'a b': {hash_of(ALICE)}\n", "a b"),
            ("alice: [", "is not YAML"),
        ],
    )
    def test_a_wrong_file_stops_the_start_and_shows_no_key(self, text: str, message: str, tmp_path: Path) -> None:
        with pytest.raises(StartError, match=message) as caught:
            keyring(tmp_path, text)
        assert ALICE not in str(caught.value)

    def test_two_keys_of_one_name_are_a_mistake(self, tmp_path: Path) -> None:
        with pytest.raises(StartError, match="two keys have one name: alice"):
            keyring(tmp_path, f"alice: {hash_of(ALICE)}\n", api_keys={"alice": BOB})


class TestTheSettings:
    def test_keys_come_from_the_environment_and_are_not_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JUBAKO_API_KEYS", f"alice:{ALICE}, bob:{BOB}")
        monkeypatch.setenv("JUBAKO_ADMIN_KEY", BOSS)
        settings = Settings()
        assert settings.api_keys == {"alice": ALICE, "bob": BOB}
        assert not any(key in repr(settings) for key in (ALICE, BOB, BOSS))

    @pytest.mark.parametrize("name", ["JUBAKO_API_KEYS", "JUBAKO_ADMIN_KEY"])
    def test_a_short_key_is_refused_without_being_shown(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, "alice:secret" if name == "JUBAKO_API_KEYS" else "secret")
        with pytest.raises(ValidationError) as caught:
            Settings()
        messages = [each["msg"] for each in caught.value.errors()]
        assert "fewer than 16 characters" in messages[0]
        assert "secret" not in messages[0]

    def test_an_admin_key_alone_closes_only_what_needs_it(self) -> None:
        assert not Keyring.of(AccessOptions(admin_key=BOSS)).closed
        assert Keyring.of(AccessOptions(admin_key=BOSS, api_keys={"alice": ALICE})).closed


class TestCounting:
    @staticmethod
    def request(**fields: Any) -> GenerationRequest:
        usual = {"width": 1000, "height": 1000, "num_inference_steps": 1, "guidance_scale": 1, "seed": 0}
        return GenerationRequest.model_validate(
            {"model": "tiny", "task": Task.TEXT_TO_IMAGE, "prompt": "", "scheduler": "ddim", **usual, **fields}
        )

    async def test_requests_are_counted_for_each_caller(self) -> None:
        limiter, rates = RateLimiter(None), Rates(requests_per_min=2)
        for _ in range(2):
            await limiter.count_request(Caller("alice", rates=rates))
        with pytest.raises(RateExceeded, match="more than 2 requests a minute") as caught:
            await limiter.count_request(Caller("alice", rates=rates))
        assert 30 <= (caught.value.retry_after_s or 0) <= 60
        await limiter.count_request(Caller("bob", rates=rates))

    async def test_pictures_and_frames_are_counted_by_their_pixels(self) -> None:
        limiter, caller = RateLimiter(None), Caller("alice", rates=Rates(megapixels_per_min=6.5))
        set_caller(caller)
        await limiter.charge(self.request(num_images=2))
        await limiter.charge(self.request(task=Task.TEXT_TO_VIDEO, num_frames=3))
        headers = await limiter.headers(caller)
        assert re.fullmatch("(60|[345][0-9])s", headers.pop("x-ratelimit-reset-megapixels"))
        assert headers == {"x-ratelimit-limit-megapixels": "6.5", "x-ratelimit-remaining-megapixels": "1.5"}
        with pytest.raises(RateExceeded):
            await limiter.charge(self.request(num_images=2))
        await limiter.charge(self.request())

    async def test_what_is_more_than_a_minute_allows_is_not_to_be_tried_again(self) -> None:
        set_caller(Caller("alice", rates=Rates(megapixels_per_min=1)))
        with pytest.raises(InvalidRequest, match=r"the request has 1\.1 megapixels; this key may have 1 a minute"):
            await RateLimiter(None).charge(self.request(width=1100))

    async def test_a_redis_that_is_away_lets_everybody_through(self) -> None:
        limiter, caller = RateLimiter("redis://127.0.0.1:9/0"), Caller("alice", rates=Rates(requests_per_min=1))
        for _ in range(2):
            await limiter.count_request(caller)
        assert (await limiter.headers(caller))["x-ratelimit-remaining-requests"] == "1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("access")


@pytest.fixture(scope="module")
def closed(folder: Path) -> Iterator[str]:
    """The address of a server that alice, bob, carol and dave have keys for, and an admin.

    Bob and dave may ask twice a minute. Pages of one other site may use it.
    """
    lines = (
        f"bob: {{hash: '{hash_of(BOB)}', requests_per_min: 2, megapixels_per_min: 0.03}}\n"
        f"carol: {{hash: '{hash_of(CAROL)}', priority: normal}}\n"
        f"dave: {{hash: '{hash_of(DAVE)}', requests_per_min: 2}}\n"
    )
    settings = {
        "models": "tiny",
        "api_keys": f"alice:{ALICE}",
        "api_keys_file": str(key_file(folder, lines)),
        "admin_key": BOSS,
        "metrics_key": METRICS,
        "client_timeout_s": str(CLIENT_TIMEOUT_S),
        "cors_origins": PAGE,
        "webhook_secret": SECRET,
    }
    with serving(write_tiny_catalogue(folder), folder / "log", **settings) as url:
        yield url


@pytest.fixture
def http(closed: str) -> Iterator[httpx.Client]:
    with client_of(closed) as client:
        yield client


class TestAClosedServer:
    @pytest.mark.parametrize(
        "path",
        ["/", "/livez", "/readyz", "/health", "/api/health", "/openai/health", "/openai/openapi.json"],
    )
    def test_probes_and_documentation_need_no_key(self, http: httpx.Client, path: str) -> None:
        assert http.get(path).status_code == 200

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/text_to_image"),
            ("POST", "/stream"),
            ("GET", "/models"),
            ("POST", "/models/tiny/unload"),
            ("POST", "/models/tiny/loras"),
            ("GET", "/schema.json"),
            ("POST", "/api/tiny/t2i"),
            ("GET", "/api/jobs"),
            ("POST", "/v1/images/generations"),
            ("POST", "/openai/v1/images/generations"),
            ("POST", "/mcp"),
            ("POST", "/openai/deployments/tiny/images/generations"),
            ("POST", "/images/generations"),
            ("POST", "/v1/videos"),
            ("GET", "/v1/videos"),
            ("POST", "/v1/chat/completions"),
            ("POST", "/v1/responses"),
            ("POST", "/models/tiny"),
            ("POST", "/"),
            ("POST", "/health"),
            ("GET", "/nowhere"),
        ],
    )
    def test_everything_else_does(self, http: httpx.Client, method: str, path: str) -> None:
        for headers in ({}, bearer(WRONG), {"Authorization": f"Basic {ALICE}"}, {"Authorization": ALICE}):
            response = http.request(method, path, headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"

    def test_refusals_have_the_shape_of_the_contract(self, http: httpx.Client) -> None:
        ours = http.post("/text_to_image", headers=bearer(WRONG)).json()
        assert ours == {"error": "the key is wrong", "code": "unauthorized"}
        assert http.get("/api/jobs").json()["detail"] == "a key is needed: Authorization: Bearer KEY"
        openai = http.post("/v1/images/generations").json()["error"]
        assert (openai["code"], openai["type"]) == ("invalid_api_key", "authentication_error")
        for path in ("/images/edits", "/openai/deployments/tiny/images/edits", "/v1/videos", "/v1/responses"):
            assert http.post(path).json()["error"] == openai
        assert http.post("/models/tiny").json() == http.post("/").json() == http.post("/text_to_image").json()
        assert http.post("/text2image/pipeline/run").json()["status"] == "error"
        assert http.post("/generate-inpainting").json().keys() == {"detail"}
        assert http.post("/generate").json().keys() == http.post("/storyboard").json().keys() == {"detail", "code"}

    def test_a_key_is_a_password_too(self, http: httpx.Client) -> None:
        url = "/sdapi/v1/txt2img"
        apple = {"prompt": "a red apple", "steps": 1, "seed": 7}
        assert http.post(url, json=apple, auth=("someone", ALICE)).status_code == 200
        refused = http.post(url, json=apple, auth=(ALICE, "wrong"))
        assert (refused.status_code, refused.json()["detail"]) == (401, "the key is wrong")

    def test_a1111s_choice_of_a_model_is_each_keys_own(self, http: httpx.Client) -> None:
        chosen = [http.get("/sdapi/v1/options", headers=bearer(key)).json() for key in (ALICE, CAROL)]
        assert [options["sd_model_checkpoint"] for options in chosen] == ["tiny", "tiny"]
        assert http.get("/sdapi/v1/progress").status_code == 401

    def test_a_key_opens_every_contract(self, http: httpx.Client) -> None:
        http.headers.update(bearer(ALICE))
        assert http.post("/text_to_image", json=RED_APPLE).headers["content-type"] == "image/png"
        assert http.post("/models/tiny", json={"inputs": "a red apple"}).headers["content-type"] == "image/png"
        assert http.get("/v1/videos").json()["data"] == []
        events = parse_events(http.post("/stream", json=RED_APPLE).iter_text())
        assert events[-1].name == "done"
        assert http.post("/v1/images/generations", json={**RED_APPLE, "model": "tiny"}).status_code == 200

    async def test_an_agent_has_its_own_jobs_and_only_what_it_generates_counts(self, closed: str) -> None:
        async with agent(closed, key=ALICE) as alice:
            job = fields_of(await alice.call_tool("generate_image", RED_APPLE))["job"]
        async with agent(closed, "legacy", key=DAVE) as dave:
            for _ in range(3):
                assert fields_of(await dave.call_tool("job_status", {"job": job}))["code"] == "unknown_job"
            codes = [
                fields_of(await dave.call_tool("generate_image", {"prompt": "a fox", "width": 7})).get("code")
                for _ in range(3)
            ]
            # The third in a minute, though none was generated.
            assert codes[2] == "rate_limit_exceeded"
            assert codes[2] not in codes[:2]

    def test_results_of_jobs_are_reached_by_their_addresses_alone(self, http: httpx.Client, folder: Path) -> None:
        address = httpx.URL(done(http, ALICE)["result_url"])
        assert http.get(address).headers["content-type"] == "image/png"
        for guessed in (address.copy_with(query=None), address.copy_set_param("token", "0" * 32)):
            refused = http.get(guessed)
            assert (refused.status_code, refused.json()["code"]) == (404, "not_stored")
        # By other users of its machine, they are not.
        files = [*(folder / STORAGE / "generations").iterdir(), *folder.glob("jobs-*.sqlite*")]
        assert {file.suffix for file in files} >= {".png", ".sqlite", ".sqlite-wal"}
        assert [file for file in files if file.stat().st_mode & 0o077] == []

    def test_openais_addresses_are_fetched_without_a_key(self, http: httpx.Client) -> None:
        body = {**RED_APPLE, "model": "tiny", "response_format": "url"}
        address = http.post("/v1/images/generations", json=body, headers=bearer(ALICE)).json()["data"][0]["url"]
        assert WEB.get(address).headers["content-type"] == "image/png"
        assert http.delete(address, headers=bearer(CAROL)).status_code == 404
        assert http.delete(address, headers=bearer(ALICE)).status_code == 204
        assert WEB.get(address).status_code == 404

    def test_others_do_not_find_a_job(self, http: httpx.Client) -> None:
        session = done(http, ALICE)["session_id"]
        carol, boss = bearer(CAROL), bearer(BOSS)
        addresses = [f"/api/{session}/{part}" for part in ("status", "events", "result", "webhook")]
        answers = [http.get(address, headers=carol) for address in addresses]
        answers += [http.delete(address, headers=carol) for address in (f"/api/{session}", f"/api/{session}/result")]
        assert [answer.status_code for answer in answers] == [404] * 6
        unknown = http.get("/api/0/status", headers=carol).json()
        assert str(answers[0].json()).replace(session, "0") == str(unknown)
        assert session not in http.get("/api/jobs", headers=carol).text
        assert session in http.get("/api/jobs", headers=boss).text
        assert http.get(f"/api/{session}/status", headers=boss).json()["status"] == "completed"

    def test_others_do_not_find_a_batch_or_its_members(self, http: httpx.Client) -> None:
        answer = http.post("/api/batch", json={"requests": [RED_APPLE, RED_APPLE]}, headers=bearer(ALICE)).json()
        for session in (answer["session_id"], *answer["session_ids"]):
            assert http.get(f"/api/{session}/status", headers=bearer(CAROL)).status_code == 404
            assert http.delete(f"/api/{session}", headers=bearer(CAROL)).status_code == 404

    def test_a_run_of_the_microservice_is_its_callers(self, http: httpx.Client) -> None:
        assert http.post("/pipeline/run", json={"prompt": "a red apple"}, headers=bearer(ALICE)).status_code == 200
        wait_for(lambda: http.get("/pipeline/status", headers=bearer(ALICE)).json()["completed"])
        assert http.get("/pipeline/image", headers=bearer(ALICE)).status_code == 200
        idle = {"running": False, "completed": False}
        for key in (CAROL, BOSS):
            assert http.get("/pipeline/status", headers=bearer(key)).json() == idle
            assert http.get("/pipeline/image", headers=bearer(key)).status_code == 409
        assert http.get("/api/text2image:alice/status", headers=bearer(CAROL)).status_code == 404

    def test_a_socket_of_anothers_job_says_that_there_is_none(self, closed: str, http: httpx.Client) -> None:
        session = done(http, ALICE)["session_id"]
        address = f"{closed.replace('http', 'ws')}/api/{session}/events"
        with connect(address, additional_headers=bearer(CAROL)) as socket:
            assert json.loads(socket.recv())["code"] == "unknown_job"

    def test_each_key_sees_its_own_webhook_secret(self, http: httpx.Client) -> None:
        shown = [http.get("/api/webhook-secret", headers=bearer(key)) for key in (ALICE, CAROL)]
        secrets = [answer.json()["secret"] for answer in shown]
        assert secrets == [secret_of("alice", SECRET), secret_of("carol", SECRET)]
        assert shown[0].headers["cache-control"] == "no-store"
        assert http.get("/api/webhook-secret").status_code == 401

    def test_a_key_may_be_without_high_priority(self, http: httpx.Client) -> None:
        urgent = {**RED_APPLE, "priority": 0}
        answers = [
            http.post("/text_to_image", json=urgent, headers=bearer(CAROL)),
            http.post("/api/tiny/t2i", json={**urgent, "priority": "high"}, headers=bearer(CAROL)),
            http.post("/api/batch", json={"requests": [urgent]}, headers=bearer(CAROL)),
        ]
        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "forbidden")] * 3
        assert http.post("/text_to_image", json=urgent, headers=bearer(ALICE)).status_code == 200

    def test_bentomls_client_sends_a_token(self, closed: str, http: httpx.Client) -> None:
        with bentoml.SyncHTTPClient(closed, token=ALICE, timeout=120) as client:
            picture = client.text_to_image(**RED_APPLE)
        assert picture.size == (64, 64)

    def test_openais_client_sends_its_key(self, closed: str) -> None:
        def client(key: str) -> openai.OpenAI:
            return openai.OpenAI(base_url=f"{closed}/v1", api_key=key, max_retries=0)

        assert client(ALICE).images.generate(model="tiny", prompt="a red apple").data
        with pytest.raises(openai.AuthenticationError, match="the key is wrong"):
            client(WRONG).models.list()

    def test_loading_needs_an_admin(self, http: httpx.Client) -> None:
        refused = http.post("/models/tiny/load", headers=bearer(ALICE))
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        for path in ("/pipeline/select-device", "/text2image/pipeline/select-device"):
            assert http.post(path, json={"device": "CPU"}, headers=bearer(ALICE)).status_code == 403
        assert http.post("/models/tiny/load", headers=bearer(BOSS)).status_code in (200, 202)

    def test_websockets_need_a_key(self, closed: str) -> None:
        async def opened(headers: dict[str, str]) -> int:
            address = closed.replace("http", "ws") + "/api/no-such-job/events"
            try:
                async with websockets.connect(address, additional_headers=headers):
                    return 101
            except websockets.InvalidStatus as error:
                return error.response.status_code

        assert asyncio.run(opened({})) == 401
        assert asyncio.run(opened(bearer(WRONG))) == 401
        assert asyncio.run(opened(bearer(ALICE))) == 101

    @pytest.mark.parametrize(
        "path", ["/v1/images/generations", "/text_to_image", "/stream", "/api/tiny/t2i", "/generate-inpainting"]
    )
    def test_an_allowed_page_may_ask_whether_it_may_ask(self, http: httpx.Client, path: str) -> None:
        wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        answer = http.options(path, headers={"Origin": PAGE, **wanted})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
        assert answer.headers["access-control-allow-headers"] == "authorization"

    def test_an_allowed_page_may_read_answers_and_refusals(self, http: httpx.Client) -> None:
        page = {"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}
        answers = [
            http.post("/text_to_image", json=RED_APPLE, headers=page | bearer(ALICE)),
            http.post("/text_to_image", json=RED_APPLE, headers=page),
            http.post("/text_to_image", content=bytes(MAX_UPLOAD_BYTES + 1), headers=page | bearer(ALICE)),
        ]
        assert [answer.status_code for answer in answers] == [200, 401, 413]
        assert all(answer.headers["access-control-allow-origin"] == PAGE for answer in answers)
        assert "x-jubako-seed" in answers[0].headers["access-control-expose-headers"].lower()
        other = http.post("/text_to_image", json=RED_APPLE, headers=bearer(ALICE) | {"Origin": "https://evil.example"})
        assert other.status_code == 403

    def test_rates_are_told_and_kept(self, http: httpx.Client) -> None:
        http.headers.update(bearer(BOB))
        first = http.post("/text_to_image", json=RED_APPLE)
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert first.headers["x-ratelimit-remaining-megapixels"] == "0.02"
        # 20480 pixels: less than a minute allows, more than is left of it.
        big = http.post("/v1/images/generations", json={**RED_APPLE, "model": "tiny", "n": 5, "size": "64x64"})
        assert (big.status_code, big.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 1 <= int(big.headers["retry-after"]) <= 60
        third = http.post("/text_to_image", json=RED_APPLE)
        assert (third.status_code, third.json()["code"]) == (429, "rate_limit_exceeded")
        assert third.headers["x-ratelimit-remaining-requests"] == "0"
        assert 1 <= int(third.headers["retry-after"]) <= 60
        assert http.get("/models").status_code == 200, "reading is free"

    def test_no_key_is_in_the_log(self, http: httpx.Client, folder: Path) -> None:
        """Runs last, and causes errors of its own."""
        for key in (ALICE, WRONG):
            http.post("/text_to_image", content=b"{", headers=bearer(key))
            http.post("/api/tiny/nothing", headers=bearer(key))
        wait_for(lambda: "/text_to_image" in (folder / "log").read_text())
        log = (folder / "log").read_text()
        assert not any(key in log for key in (ALICE, BOB, BOSS, WRONG))

    def test_no_word_of_a_prompt_is_in_the_log(self, http: httpx.Client, folder: Path) -> None:
        long = {**RED_APPLE, "prompt": "a red apple " + "xylophone " * 100}
        assert http.post("/text_to_image", json=long, headers=bearer(ALICE)).status_code == 200
        # Its line is written after the answer.
        wait_for(lambda: "/text_to_image" in (folder / "log").read_text())
        assert "xylophone" not in (folder / "log").read_text()

    def test_no_path_can_forge_a_line_of_the_log(self, http: httpx.Client, folder: Path) -> None:
        http.get("/before%0Aforged%1B[31m", headers=bearer(ALICE))
        # Its line is written after the answer.
        wait_for(lambda: rb"path=/before\nforged\x1b[31m," in (folder / "log").read_bytes())
        assert b"\x1b" not in (folder / "log").read_bytes()

    def test_settings_in_force_are_logged_once_and_keys_are_masked(self, http: httpx.Client, folder: Path) -> None:
        assert http.get("/livez").status_code == 200
        lines = [line for line in (folder / "log").read_text().splitlines() if "[jubako.settings]" in line]
        told = [line.partition("[jubako.settings] ")[2] for line in lines]
        assert sum("settings are set; docs/configuration.md describes all" in line for line in told) == 1
        assert {"models = tiny (JUBAKO_MODELS)", "admin_key = **** (JUBAKO_ADMIN_KEY)"} <= set(told)
        assert told[-1].startswith("by default: ")
        assert "without API keys" not in (folder / "log").read_text()


class TestMetrics:
    def test_they_need_a_key_of_their_own(self, http: httpx.Client) -> None:
        for headers in ({}, bearer(ALICE), bearer(WRONG)):
            refused = http.get("/metrics", headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert "_total" not in refused.text
        for key in (METRICS, BOSS):
            assert http.get("/metrics", headers=bearer(key)).status_code == 200
        assert http.get("/models", headers=bearer(METRICS)).status_code == 401

    def test_requests_are_labelled_by_their_routes(self, http: httpx.Client) -> None:
        before = self.not_found(http)
        for number in range(20):
            http.get(f"/nowhere/{number}", headers=bearer(ALICE))
            http.get(f"/api/session-{number}/status", headers=bearer(ALICE))
            http.get(f"/files/generations/secret-{number}.png")
        told = http.get("/metrics", headers=bearer(METRICS)).text
        assert "secret-" not in told
        assert "session-" not in told
        # Other tests, too, ask this server for what is not there.
        counted = "\n".join(self.not_found(http) - before)
        labels = set(re.findall(r'endpoint="([^"]*)"', counted))
        assert labels == {"other", "/api/{session_id}/status", "/files/generations/{path:path}"}

    @staticmethod
    def not_found(http: httpx.Client) -> set[str]:
        """Return the lines that count requests for what is not there."""
        lines = http.get("/metrics", headers=bearer(METRICS)).text.splitlines()
        return {line for line in lines if line.startswith("bentoml_service_request_total{") and '"404"' in line}


class TestRawSockets:
    """What no client library sends."""

    @pytest.mark.parametrize(
        ("target", "status"), [("nowhere", 400), ("*", 400), ("http://a/", 400), ("/" + "a" * 2048, 414)]
    )
    def test_bad_targets_are_refused_at_once(self, closed: str, target: str, status: int) -> None:
        began = time.monotonic()
        answer = said_to(closed, f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        assert int(answer.split()[1]) == status
        assert time.monotonic() - began < AT_ONCE_S

    def test_a_content_type_that_is_no_text_is_answered(self, closed: str) -> None:
        head = b"POST /text_to_image HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n"
        answer = said_to(closed, head + b"Content-Type: \xff\xfe\r\n\r\n")
        assert answer.endswith(b'{"error":"a key is needed: Authorization: Bearer KEY","code":"unauthorized"}')

    def test_half_a_head_and_half_a_body_are_not_waited_for(self, closed: str) -> None:
        began = time.monotonic()
        head = f"POST /text_to_image HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ALICE}\r\n"
        with ThreadPoolExecutor() as pool:
            half_head = pool.submit(said_to, closed, head.encode())
            half_body = pool.submit(said_to, closed, f"{head}Content-Length: 9\r\n\r\nhalf".encode())
            assert half_head.result() == b""
            assert int(half_body.result().split()[1]) == 408
        assert time.monotonic() - began + 0.5 >= CLIENT_TIMEOUT_S

    def test_a_websocket_that_asks_for_nothing_is_not_waited_for(self, closed: str) -> None:
        with connect(f"{closed.replace('http', 'ws')}/v1/images/stream", additional_headers=bearer(ALICE)) as socket:
            *_, last = [json.loads(text) for text in socket]
        assert (last["type"], last["error"]["code"]) == ("error", "request_timeout")

    def test_who_leaves_during_an_upload_is_a_499(self, http: httpx.Client, closed: str, folder: Path) -> None:
        paths = ["/text_to_image", "/v1/images/edits", "/api/tiny/i2i", "/generate-inpainting", "/generate"]
        paths += ["/v1/videos", "/models/tiny"]
        form = "Content-Type: multipart/form-data; boundary=a\r\nContent-Length: 999\r\n\r\n--a\r\n"
        written = len((folder / "log").read_text())
        for path in paths:
            head = f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ALICE}\r\n"
            with opened(closed) as socket:
                socket.sendall(f"{head}{form}".encode())

        def left() -> set[str]:
            told = http.get("/metrics", headers=bearer(METRICS)).text
            return set(re.findall(r'request_total{endpoint="([^"]*)",http_response_code="499"', told))

        names = {"/api/tiny/i2i": "/api/{model}/{kind}", "/models/tiny": "/models/{model:path}"}
        wait_for(lambda: left() == {names.get(path, path) for path in paths})
        assert "Traceback" not in (folder / "log").read_text()[written:]


def done(http: httpx.Client, key: str) -> dict[str, Any]:
    """Have a job done; return its status."""
    session = http.post("/api/tiny/t2i", json=RED_APPLE, headers=bearer(key)).json()["session_id"]

    def status() -> dict[str, Any]:
        body: dict[str, Any] = http.get(f"/api/{session}/status", headers=bearer(key)).json()
        return body

    wait_for(lambda: status()["result_url"] is not None)
    return status()


class TestReplicas:
    def test_rates_of_addresses_are_shared_through_redis(self, tmp_path: Path) -> None:
        catalogue = write_tiny_catalogue(tmp_path)
        with ExitStack() as stack:
            redis = stack.enter_context(redis_server(tmp_path))
            # Requests count whether or not a model is there, and gateways without one start sooner.
            away = {
                "JUBAKO_RUNNERS": f"tiny=http://127.0.0.1:{free_port()}",
                "JUBAKO_RUNNER_KEY": "a secret that they share",
            }
            options = {"JUBAKO_REDIS_URL": redis.url, "JUBAKO_RATE_REQUESTS_PER_MIN": "3", **away}
            proxies: list[dict[str, str]] = [{}, {"JUBAKO_TRUSTED_PROXIES": "10.0.0.0/8,127.0.0.1"}]
            replicas = [Replica(catalogue, options | trusted) for trusted in proxies]
            for each in replicas:
                each.begin()
                stack.callback(each.stop)
            for each in replicas:
                wait_for(each.answers, START_TIMEOUT_S)
            left = [self.left(each) for each in (*replicas, replicas[0])]
            assert left == ["2", "1", "0"]
            assert self.ask(replicas[1]).status_code == 429
            # The second believes a proxy on this machine; what was before it in the list is only a client's word.
            assert self.ask(replicas[0], "203.0.113.9").status_code == 429
            assert self.left(replicas[1], "198.51.100.1, 203.0.113.9") == "2"
            assert self.left(replicas[1], "198.51.100.2, 203.0.113.9") == "1"
        logs = [(tmp_path / f"log-{each.port}").read_text() for each in replicas]
        assert all(f"redis_url = redis://****@127.0.0.1:{redis.port}/0 (JUBAKO_REDIS_URL)" in log for log in logs)
        assert not any(PASSWORD in log for log in logs)

    @staticmethod
    def ask(server: Replica, forwarded_for: str | None = None) -> httpx.Response:
        headers = {} if forwarded_for is None else {"X-Forwarded-For": forwarded_for}
        return WEB.post(f"{server.url}/text_to_image", json=RED_APPLE, headers=headers, timeout=60)

    def left(self, server: Replica, forwarded_for: str | None = None) -> str:
        return self.ask(server, forwarded_for).headers["x-ratelimit-remaining-requests"]
