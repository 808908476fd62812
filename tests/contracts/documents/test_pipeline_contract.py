"""The text-to-image microservice's contract over a real server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO

import httpx
import pytest
from PIL import Image

from api.pipeline import device_named
from models.catalogue.serving.served_models import ignored_model, served_catalogue, text2image_model
from runners.state import ModelState, RunnerState
from settings import Settings
from tests.support.raw_sockets import answer_on, asking
from tests.support.servers.forked import run_forked
from tests.support.servers.serving import ROOT, SIZE_PX, wait_for
from tests.support.web import client_of

STARTED = {"status": "success", "message": "Pipeline execution started in background."}
NOT_STARTED = {
    "status": "error",
    "message": "Pipeline execution is already running or pipeline is not initialized.",
}
PREFIXES = ["", "/text2image"]


@pytest.fixture
def http(server: str) -> Iterator[httpx.Client]:
    with client_of(server) as client:
        yield client


def run_to_its_end(http: httpx.Client, prefix: str = "") -> None:
    answer = http.post(f"{prefix}/pipeline/run", json={"prompt": "a red apple"})
    assert (answer.status_code, answer.json()) == (200, STARTED)
    wait_for(lambda: not http.get(f"{prefix}/pipeline/status").json()["running"])


class TestTheDocument:
    """Its routes, at the root and under the prefix."""

    @pytest.mark.parametrize("prefix", PREFIXES)
    @pytest.mark.parametrize("device", ["CPU", "cpu", "auto"])
    def test_a_device_is_selected(self, http: httpx.Client, prefix: str, device: str) -> None:
        answer = http.post(f"{prefix}/pipeline/select-device", json={"device": device})
        assert answer.status_code == 200
        assert answer.json() == {"status": "success", "message": f"Pipeline prepared on {device}."}

    @pytest.mark.parametrize("device", ["GPU", "cuda:7", "NPU"])
    def test_a_device_that_is_absent_is_an_error(self, http: httpx.Client, device: str) -> None:
        answer = http.post("/pipeline/select-device", json={"device": device})
        assert answer.status_code == 400
        assert answer.json() == {
            "status": "error",
            "message": f"device: there is no {device!r} on this machine; it has CPU",
        }

    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_a_run_ends_with_an_image(self, http: httpx.Client, prefix: str) -> None:
        run_to_its_end(http, prefix)
        assert http.get(f"{prefix}/pipeline/status").json() == {"running": False, "completed": True}
        answer = http.get(f"{prefix}/pipeline/image")
        assert answer.headers["content-type"] == "image/png"
        picture = Image.open(BytesIO(answer.content))
        assert (picture.format, picture.size) == ("PNG", (SIZE_PX, SIZE_PX))
        assert '"model": "tiny-xl"' in picture.info["parameters"]

    def test_one_run_at_a_time(self, http: httpx.Client, server: str) -> None:
        with ExitStack() as stack:
            # All are there before the first is done: a thread for each might be late.
            asked = [asking(server, "/pipeline/run", {"prompt": "a red apple"}) for _ in range(4)]
            answers = [answer_on(stack.enter_context(connection)) for connection in asked]
            bodies = [json.load(answer) for answer in answers]
        assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]
        assert sorted(bodies, key=str) == sorted([STARTED, *[NOT_STARTED] * 3], key=str)
        wait_for(lambda: not http.get("/pipeline/status").json()["running"])

    def test_health(self, http: httpx.Client) -> None:
        assert http.get("/text2image/health").json() == {"status": "healthy"}
        assert http.get("/health").json()["status"] == "healthy"

    @pytest.mark.parametrize("page", ["/docs", "/redoc", "/openapi.json"])
    def test_its_documentation_is_its_own(self, http: httpx.Client, page: str) -> None:
        answer = http.get(f"/text2image{page}")
        assert answer.status_code == 200
        assert "Text-to-image microservice" in answer.text


def test_what_else_a_client_sends_is_in_the_hint(http: httpx.Client) -> None:
    assert http.post("/pipeline/run", json={"prompt": "an apple", "width": 64, "steps\n": 4}).json() == STARTED
    wait_for(lambda: http.get("/pipeline/status").json()["completed"])
    hints = [http.get(f"/pipeline/{path}").headers["x-jubako-hint"] for path in ("status", "image")]
    assert hints == ["unknown fields are ignored: steps%0A, width"] * 2


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("select-device", b"{}", "device: "),
        ("select-device", b'{"device": 1}', "device: "),
        ("run", b"{}", "prompt: "),
        ("run", b'{"prompt": " "}', "prompt: "),
        ("run", b'{"prompt": "' + 33_000 * b"a" + b'"}', "prompt: "),
        ("run", b'{"prompt"', "JSON"),
    ],
)
def test_mistakes_are_named_in_the_documents_shape(http: httpx.Client, path: str, body: bytes, word: str) -> None:
    answer = http.post(f"/pipeline/{path}", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["status"] == "error"
    assert word in answer.json()["message"]


def settings_of(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name in ("JUBAKO_MODELS", "MODEL", "TEXT2IMAGE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Settings()


class TestTheModel:
    @pytest.mark.parametrize("variable", ["MODEL", "TEXT2IMAGE_MODEL"])
    @pytest.mark.parametrize(
        ("name", "model"),
        [
            ("stable-diffusion-xl", "sdxl"),
            ("stable-diffusion-v3.5", "sd35-medium"),
            ("stable-diffusion-v3", "sd3-medium"),
            ("flux.1-schnell", "flux-schnell"),
            ("flux.1-dev", "flux-dev"),
        ],
    )
    def test_the_documents_names_choose_it(
        self, variable: str, name: str, model: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = settings_of(monkeypatch, **{variable: name})
        served = served_catalogue(settings)
        assert list(served.entries) == [model]
        assert text2image_model(settings, served) == model

    def test_unset_it_is_the_first_served(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = settings_of(monkeypatch, JUBAKO_MODELS="miniature,sdxl")
        assert text2image_model(settings, served_catalogue(settings)) == "miniature"

    def test_beside_ours_it_is_one_of_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = settings_of(monkeypatch, JUBAKO_MODELS="miniature,sdxl", MODEL="stable-diffusion-xl")
        served = served_catalogue(settings)
        assert (list(served.entries), text2image_model(settings, served)) == (["miniature", "sdxl"], "sdxl")

    @pytest.mark.parametrize("value", ["Latitude 5420", "flux.1-dev"])
    def test_what_other_tools_mean_by_model_is_ignored(self, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = settings_of(monkeypatch, JUBAKO_MODELS="miniature", MODEL=value)
        served = served_catalogue(settings)
        assert text2image_model(settings, served) == "miniature"
        assert ignored_model(settings, served) == value

    @pytest.mark.parametrize("value", ["stable-diffusion-xxl", "flux.1-dev"])
    def test_a_wrong_name_of_its_own_variable_stops_the_start(self, value: str) -> None:
        environment = {**os.environ, "JUBAKO_MODELS": "miniature", "TEXT2IMAGE_MODEL": value}
        run = run_forked(["-c", "import service"], environment, ROOT)
        assert run.returncode == 1
        assert run.stderr.splitlines()[-1].startswith("jubako: ")
        assert value in run.stderr or "flux-dev" in run.stderr


@pytest.mark.parametrize(
    ("name", "device"),
    [("GPU", "cuda:0"), ("CPU", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("auto", "cuda:0")],
)
def test_devices_have_the_documents_names_and_ours(name: str, device: str) -> None:
    state = RunnerState(model="m", state=ModelState.READY, devices=("cpu", "cuda:0", "cuda:1"))
    assert device_named(name, state) == device
