"""Models that come and go while a real server runs: memory budget, load and unload by request, runners that die."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from PIL import Image

from tests.support.engine.drawing import largest_difference
from tests.support.servers.forked import none_to_spare
from tests.support.servers.serving import parse_events, serving, wait_for, write_tiny_catalogue
from tests.support.web import WEB, client_of

ENDLESS = {"prompt": "a red apple", "num_inference_steps": 900, "width": 128}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_catalogue(tmp_path_factory.mktemp("catalogue"))


@pytest.fixture(scope="module")
def on_demand(catalogue: Path) -> Iterator[httpx.Client]:
    """A server of `tiny` and `tiny-xl` that loads on demand, with memory for one of them."""
    settings = {"models": "tiny,tiny-xl", "load": "demand", "memory_budget_gib": "0.15"}
    with (
        serving(catalogue, catalogue.parent / "demand.log", **settings) as url,
        client_of(url) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def health_at_start(on_demand: httpx.Client) -> dict[str, Any]:
    health: dict[str, Any] = on_demand.get("/health").json()
    return health


@pytest.fixture
def http(on_demand: httpx.Client, health_at_start: dict[str, Any]) -> httpx.Client:
    """The server that loads on demand, whose health was read before any test sent a request."""
    return on_demand


@pytest.fixture(scope="module")
def roomy(catalogue: Path) -> Iterator[httpx.Client]:
    """A server of both with memory for both, loaded at the start; one of them is no entry, but a folder."""
    folder = catalogue.parent
    (folder / "tiny-xl").symlink_to("sdxl")
    entries = yaml.safe_load(catalogue.read_text())
    (folder / "one.yaml").write_text(yaml.safe_dump({"tiny": entries["tiny"]}))
    settings = {"models": f"tiny,{folder / 'tiny-xl'}", "model_cache": str(folder / "cache")}
    with (
        serving(folder / "one.yaml", folder / "start.log", **settings) as url,
        client_of(url) as client,
    ):
        yield client


def draw(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/text_to_image", json={"prompt": "a red apple", "seed": 7, **fields})


def picture(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    return Image.open(BytesIO(response.content))


def states(http: httpx.Client) -> dict[str, dict[str, Any]]:
    return {model["model"]: model for model in http.get("/health").json()["models"]}


def state_of(http: httpx.Client, model: str) -> str:
    state: str = states(http)[model]["state"]
    return state


class TestOnDemand:
    def test_nothing_is_loaded_before_the_first_request_and_the_server_is_ready(
        self, http: httpx.Client, health_at_start: dict[str, Any]
    ) -> None:
        assert {model["state"] for model in health_at_start["models"]} == {"unloaded"}
        assert health_at_start["status"] == "healthy"
        assert http.get("/readyz").status_code == 200

    def test_a_stream_hears_of_the_loading_first(self, http: httpx.Client) -> None:
        http.post("/models/tiny/unload")
        response = http.post("/stream", json={"prompt": "a red apple", "seed": 7})
        events = parse_events([response.text])
        assert events[0].name == "loading"
        assert [event.name for event in events][-1] == "done"
        assert all(0 <= event.data["progress"] <= 1 for event in events if event.name == "loading")

    def test_a_model_leaves_for_another_when_memory_is_short(self, http: httpx.Client) -> None:
        for model, other in (("tiny", "tiny-xl"), ("tiny-xl", "tiny"), ("tiny", "tiny-xl")):
            picture(draw(http, model=model))
            assert (state_of(http, model), state_of(http, other)) == ("ready", "unloaded")

    def test_a_model_in_use_keeps_its_memory_and_the_other_waits_within_its_deadline(self, http: httpx.Client) -> None:
        with http.stream("POST", "/stream", json={**ENDLESS, "model": "tiny"}) as running:
            lines = until_step(running)
            refused = draw(http, model="tiny-xl", deadline_s=1)
            assert (refused.status_code, refused.json()["code"]) == (504, "deadline_exceeded")
            assert state_of(http, "tiny") == "ready"
            waiting = ThreadPoolExecutor(1).submit(draw, http, model="tiny-xl")
            assert next(lines), "still drawing"
        picture(waiting.result())

    def test_requests_to_both_at_once_are_all_drawn(self, http: httpx.Client) -> None:
        asked = [{"model": model, "seed": seed} for seed in range(3) for model in ("tiny", "tiny-xl")]
        with ThreadPoolExecutor(6) as callers:
            answers = list(callers.map(lambda fields: draw(http, **fields), asked))
        assert [answer.status_code for answer in answers] == [200] * 6


def until_step(response: httpx.Response) -> Iterator[str]:
    """Read a stream up to its first step; the lines that follow are only there while somebody holds them."""
    lines = response.iter_lines()
    next(line for line in lines if line == "event: step")
    return lines


class TestManaging:
    def test_one_model_is_unloaded_while_the_other_draws_and_comes_back(self, roomy: httpx.Client) -> None:
        before = {model: picture(draw(roomy, model=model)) for model in ("tiny", "tiny-xl")}
        with roomy.stream("POST", "/stream", json={**ENDLESS, "model": "tiny"}) as running:
            lines = until_step(running)
            assert roomy.post("/models/tiny-xl/unload").json()["state"] == "unloaded"
            during = picture(draw(roomy, model="tiny"))
            assert next(lines), "still drawing"
        assert largest_difference(during, before["tiny"]) <= 1
        assert state_of(roomy, "tiny-xl") == "unloaded"
        assert largest_difference(picture(draw(roomy, model="tiny-xl")), before["tiny-xl"]) <= 1
        assert state_of(roomy, "tiny-xl") == "ready"

    def test_requests_to_both_in_parallel_while_one_of_them_is_unloaded(self, roomy: httpx.Client) -> None:
        alone = {model: picture(draw(roomy, model=model, num_inference_steps=30)) for model in ("tiny", "tiny-xl")}
        with ThreadPoolExecutor(4) as callers:
            asked = [
                (model, callers.submit(draw, roomy, model=model, num_inference_steps=30))
                for model in ("tiny", "tiny-xl", "tiny", "tiny-xl")
            ]
            assert roomy.post("/models/tiny-xl/unload").json()["state"] in ("unloaded", "loading")
            for model, answer in asked:
                assert largest_difference(picture(answer.result()), alone[model]) <= 1

    def test_loading_answers_with_the_state(self, roomy: httpx.Client) -> None:
        roomy.post("/models/tiny/unload")
        begun = roomy.post("/models/tiny/load", json={"device": "cpu"})
        assert (begun.status_code, begun.json()["state"]) == (202, "loading")
        wait_for(lambda: state_of(roomy, "tiny") == "ready")
        assert roomy.post("/models/tiny/load").status_code == 200

    def test_a_forced_unload_ends_what_is_running(self, roomy: httpx.Client) -> None:
        with roomy.stream("POST", "/stream", json={**ENDLESS, "model": "tiny"}) as running:
            lines = until_step(running)
            assert roomy.post("/models/tiny/unload", json={"force": True}).json()["state"] == "unloaded"
            assert "event: error" in list(lines)

    @pytest.mark.parametrize(
        ("path", "body", "status", "says"),
        [
            ("/models/sd9/load", {}, 404, "'sd9' is not served"),
            ("/models/sd9/unload", {}, 404, "'sd9' is not served"),
            ("/models/tiny/load", {"device": "gpu"}, 400, "device: "),
            ("/models/tiny/load", {"device": "cuda:9"}, 400, "there is no cuda:9 on this machine"),
            ("/models/tiny/load", {"devise": "cpu"}, 400, "not permitted"),
            ("/models/tiny/unload", {"force": "maybe"}, 400, "boolean"),
        ],
    )
    def test_what_cannot_be_done_is_refused(
        self, roomy: httpx.Client, path: str, body: dict[str, Any], status: int, says: str
    ) -> None:
        response = roomy.post(path, json=body)
        assert response.status_code == status, response.text
        assert says in response.json()["error"]


class TestRestart:
    def test_a_runner_that_dies_fails_its_requests_is_told_of_and_comes_back(self, roomy: httpx.Client) -> None:
        before = picture(draw(roomy))
        pid = states(roomy)["tiny"]["pid"]
        with none_to_spare(pid):
            with roomy.stream("POST", "/stream", json={**ENDLESS, "model": "tiny"}) as running:
                lines = until_step(running)
                os.kill(pid, signal.SIGKILL)
                assert "event: error" in list(lines)
            refused, told = draw(roomy), roomy.get("/health").json()
            assert (refused.status_code, refused.json()["code"]) == (503, "busy"), refused.text
            assert int(refused.headers["retry-after"]) > 0
            assert told["status"] == "degraded"
            assert [model["state"] for model in told["models"]] == ["restarting", "ready"]
            picture(draw(roomy, model="tiny-xl"))
        wait_for(lambda: state_of(roomy, "tiny") == "ready", timeout_s=120)
        assert largest_difference(picture(draw(roomy)), before) <= 1
        assert roomy.get("/health").json()["status"] == "healthy"

    def test_a_runner_that_hangs_costs_no_more_than_the_deadline(self, roomy: httpx.Client) -> None:
        pid = states(roomy)["tiny-xl"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            start = time.monotonic()
            refused = draw(roomy, model="tiny-xl", deadline_s=1)
            assert (refused.status_code, refused.json()["code"]) == (504, "deadline_exceeded"), refused.text
            assert time.monotonic() - start < 15
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: draw(roomy, model="tiny-xl").status_code == 200)


def test_a_model_larger_than_the_budget_is_refused_with_both_figures_and_managing_can_be_closed(
    catalogue: Path,
) -> None:
    settings = {"models": "tiny", "memory_budget_gib": "0.05", "manage": "false"}
    with serving(catalogue, catalogue.parent / "small.log", **settings) as url:
        refused = WEB.post(f"{url}/text_to_image", json={"prompt": "a red apple"}, timeout=60)
        assert (refused.status_code, refused.json()["code"]) == (500, "load_failed")
        assert "0.1 GiB" in refused.json()["error"]
        assert "0.05 GiB" in refused.json()["error"]
        assert refused.headers["x-should-retry"] == "false"
        closed = WEB.post(f"{url}/models/tiny/load")
        assert (closed.status_code, closed.json()["code"]) == (403, "forbidden")
