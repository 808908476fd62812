"""The asynchronous contract over a real server: the document's own examples, and what it leaves to us."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from PIL import Image
from websockets.sync.client import connect

from tests.support.engine.shipped import write_shipped
from tests.support.servers.replica import Replica, replica
from tests.support.servers.serving import parse_events, photo, png, wait_for
from tests.support.surroundings.object_store import object_store
from tests.support.surroundings.redis_server import PASSWORD, redis_server
from tests.support.web import WEB, client_of
from tests.tiny.images.flux import tiny_flux_schnell

SECRET = "a secret of at least sixteen"
FINAL = ("completed", "failed", "cancelled")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """With Redis and S3 set by the document's variables, and the model that bears its name `flux`."""
    folder = tmp_path_factory.mktemp("contract")
    catalogue = write_shipped(folder, {"flux-schnell": tiny_flux_schnell})
    with (
        redis_server(folder) as redis,
        object_store(folder) as store,
        replica(
            catalogue,
            JUBAKO_MODELS="flux-schnell",
            JUBAKO_STORAGE="",
            **store.environment,
            REDIS_HOST="127.0.0.1",
            REDIS_PORT=str(redis.port),
            REDIS_DB="0",
            REDIS_PASSWORD=PASSWORD,
            TASK_TTL="600",
            JUBAKO_WEBHOOK_SECRET=SECRET,
            JUBAKO_MAX_JOBS_PER_CALLER="50",
        ) as server,
    ):
        yield server


@pytest.fixture
def http(server: Replica) -> Iterator[httpx.Client]:
    with client_of(server.url) as client:
        yield client


def ended(http: httpx.Client, session_id: str) -> dict[str, Any]:
    wait_for(lambda: http.get(f"/api/{session_id}/status").json()["status"] in FINAL)
    body: dict[str, Any] = http.get(f"/api/{session_id}/status").json()
    return body


def submit(http: httpx.Client, **fields: Any) -> str:
    answer = http.post("/api/flux/t2i", json={"prompt": "a red apple", **fields})
    assert answer.status_code == 200, answer.text
    session_id: str = answer.json()["session_id"]
    return session_id


def open_jobs(http: httpx.Client) -> list[Any]:
    pages = [http.get("/api/jobs", params={"status": status}).json() for status in ("pending", "processing")]
    return [job for page in pages for job in page["jobs"]]


T2I = """curl -s -X POST "http://localhost:8000/api/flux/t2i" \
  -H "Content-Type: application/json" \
  -d '{
    "prompt": "A serene lake with mountains at sunset",
    "width": 128,
    "height": 64,
    "guidance_scale": 7.5,
    "num_inference_steps": 50
  }'"""
I2I = """curl -s -X POST "http://localhost:8000/api/flux/i2i" \
  -F "image=@input.jpg" \
  -F "prompt=Transform into a watercolor painting" \
  -F "strength=0.8" \
  -F "guidance_scale=7.5" """
STATUS = 'curl -s "http://localhost:8000/api/{session_id}/status"'


class TestTheDocument:
    """Its curls as they stand, host, port and the size of the picture apart."""

    @pytest.mark.parametrize("command", [T2I, I2I])
    def test_its_examples_run(self, command: str, server: Replica, http: httpx.Client, tmp_path: Path) -> None:
        photo().save(tmp_path / "input.jpg")
        answer = self._run(command, server, tmp_path)
        assert answer == {
            "session_id": answer["session_id"],
            "status": "pending",
            "message": "Task submitted. Use /api/{session_id}/status to check progress.",
        }
        ended(http, answer["session_id"])
        status = self._run(STATUS.replace("{session_id}", answer["session_id"]), server, tmp_path)
        assert list(status)[:6] == ["session_id", "status", "progress", "message", "result_url", "error"]
        assert (status["status"], status["progress"], status["error"]) == ("completed", 100, None)
        assert status["message"] == "Generation completed successfully"
        assert status["hint"] == "guidance_scale is ignored: flux-schnell has no input for guidance"
        assert f"/generations/{status['created_at'][:4]}" in status["result_url"]
        assert f"_{answer['session_id']}.png" in status["result_url"]
        picture = Image.open(BytesIO(WEB.get(status["result_url"]).content))
        assert picture.size == ((128, 64) if "t2i" in command else (64, 64))

    def _run(self, command: str, server: Replica, folder: Path) -> dict[str, Any]:
        here = command.replace("http://localhost:8000", server.url)
        done = subprocess.run(["bash", "-c", here], cwd=folder, capture_output=True, check=True, timeout=60)
        body: dict[str, Any] = json.loads(done.stdout)
        return body

    def test_its_defaults_hold(self, http: httpx.Client) -> None:
        done = ended(http, submit(http))
        parameters = Image.open(BytesIO(WEB.get(done["result_url"]).content)).info["parameters"]
        assert json.loads(parameters)["num_inference_steps"] == 50
        # The model has no input for the documented 7.5, and nobody asked for it.
        assert (json.loads(parameters)["guidance_scale"], done["hint"]) == (0.0, None)

    def test_the_root_answers_programs_and_browsers(self, http: httpx.Client) -> None:
        body = http.get("/").json()
        assert (body["status"], body["redis"], body["storage"]) == ("healthy", "connected", "connected")
        assert http.get("/api/health").json() == body
        assert "<html" in http.get("/", headers={"Accept": "text/html,*/*"}).text

    @pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
    def test_its_documentation_is_there(self, http: httpx.Client, path: str) -> None:
        assert http.get(path).status_code == 200

    def test_it_holds_under_a_prefix_of_its_own(self, http: httpx.Client) -> None:
        assert http.get("/generator/").json() == http.get("/generator/health").json() == http.get("/api/health").json()
        session_id = http.post("/generator/api/flux/t2i", json={"prompt": "a"}).json()["session_id"]
        assert http.get(f"/generator/api/{session_id}/status").json()["session_id"] == session_id
        assert list(http.get("/generator/openapi.json").json()["paths"]) >= ["/", "/api/batch"]

    def test_one_page_documents_all_contracts(self, http: httpx.Client) -> None:
        paths = http.get("/openapi.json").json()["paths"]
        assert {
            "/v1/images/generations",
            "/api/{model}/t2i",
            "/pipeline/run",
            "/generate-inpainting",
        } <= paths.keys()

    def test_a_failed_job_says_why(self, http: httpx.Client) -> None:
        status = ended(http, submit(http, deadline_s=0.01, num_inference_steps=900))
        assert (status["status"], status["progress"], status["result_url"]) == ("failed", 0, None)
        assert status["message"] == "Generation failed"
        assert status["error"].startswith("deadline_s: ")


class TestFollowing:
    def test_progress_rises_step_by_step(self, http: httpx.Client) -> None:
        session_id = submit(http, num_inference_steps=30, preview_every=10)
        with http.stream("GET", f"/api/{session_id}/events") as stream:
            events = parse_events(stream.iter_text())
        steps = [event.data["step"] for event in events if event.name == "step"]
        assert steps == list(range(1, 31))
        progress = [event.data["progress"] for event in events]
        assert progress == sorted(progress)
        assert len(set(progress)) > 25
        assert [event.data["image"][:22] for event in events if event.name == "preview"] == [
            "data:image/png;base64,"
        ] * 3
        assert events[-1].name == "completed"

    def test_polling_sees_progress_too(self, http: httpx.Client) -> None:
        session_id = submit(http, num_inference_steps=400)
        seen = set()

        def is_over() -> bool:
            body = http.get(f"/api/{session_id}/status").json()
            seen.add(body["progress"])
            return body["status"] in FINAL

        wait_for(is_over)
        assert len(seen) >= 3

    def test_the_same_over_a_websocket(self, server: Replica, http: httpx.Client) -> None:
        session_id = submit(http)
        with connect(f"{server.url.replace('http', 'ws')}/api/{session_id}/events") as socket:
            events = [json.loads(message) for message in socket]
        assert [event["step"] for event in events if event["event"] == "step"] == list(range(1, 51))
        assert events[-1]["event"] == "completed"

    def test_the_result_is_led_to(self, http: httpx.Client) -> None:
        session_id = submit(http)
        ended(http, session_id)
        answer = http.get(f"/api/{session_id}/result", follow_redirects=True)
        assert answer.headers["content-type"] == "image/png"
        assert http.get(f"/api/{session_id}/result", params={"index": 1}).status_code == 409

    def test_jobs_are_listed_by_status_and_page(self, http: httpx.Client) -> None:
        ids = [submit(http, num_images=1) for _ in range(3)]
        for session_id in ids:
            ended(http, session_id)
        first = http.get("/api/jobs", params={"status": "completed", "limit": 2}).json()
        rest = http.get("/api/jobs", params={"status": "completed", "before": first["next_before"]}).json()
        found = [job["session_id"] for job in (*first["jobs"], *rest["jobs"])]
        assert found[:3] == ids[::-1]


class TestControl:
    def test_cancelling_while_it_runs(self, http: httpx.Client) -> None:
        session_id = submit(http, num_inference_steps=900)
        wait_for(lambda: http.get(f"/api/{session_id}/status").json()["progress"] > 0)
        assert http.delete(f"/api/{session_id}").json()["status"] == "cancelled"
        wait_for(lambda: http.get("/health").json()["models"][0]["running"] == 0)
        assert http.get(f"/api/{session_id}/status").json()["status"] == "cancelled"

    def test_cancelling_after_the_end_changes_nothing(self, http: httpx.Client) -> None:
        session_id = submit(http)
        ended(http, session_id)
        assert http.delete(f"/api/{session_id}").json()["status"] == "completed"

    def test_an_idempotency_key_is_one_job(self, http: httpx.Client) -> None:
        key = {"Idempotency-Key": "an order number"}
        answers = [http.post("/api/flux/t2i", json={"prompt": "a"}, headers=key).json() for _ in range(3)]
        assert len({answer["session_id"] for answer in answers}) == 1

    def test_an_idempotency_key_stands_for_one_request(self, http: httpx.Client) -> None:
        key, form = {"Idempotency-Key": str(uuid4())}, {"prompt": "a", "num_inference_steps": "2"}
        picture = png(photo())
        one, same = [
            http.post("/api/flux/i2i", data=form, files={"image": picture}, headers=key).json() for _ in range(2)
        ]
        assert one["session_id"] == same["session_id"]
        others = [
            http.post("/api/flux/i2i", data=form, files={"image": png(photo(32, 64))}, headers=key),
            http.post("/api/flux/i2i", data={**form, "prompt": "b"}, files={"image": picture}, headers=key),
            http.post("/api/flux/t2i", json={"prompt": "a"}, headers=key),
            http.post("/api/batch", json={"requests": [{"prompt": "a"}]}, headers=key),
        ]
        expected = (422, "idempotency_key_reused")
        assert [(answer.status_code, answer.json()["code"]) for answer in others] == [expected] * 4

    def test_an_empty_idempotency_key_is_none(self, http: httpx.Client) -> None:
        answers = [http.post("/api/flux/t2i", json={"prompt": "a"}, headers={"Idempotency-Key": ""}) for _ in range(2)]
        assert answers[0].json()["session_id"] != answers[1].json()["session_id"]

    def test_an_idempotency_key_of_a_batch_is_one_batch(self, http: httpx.Client) -> None:
        key, requests = {"Idempotency-Key": str(uuid4())}, [{"model": "flux", "prompt": "a"}] * 2
        one, same = [http.post("/api/batch", json={"requests": requests}, headers=key).json() for _ in range(2)]
        assert one == same
        assert http.post("/api/batch", json={"requests": requests * 2}, headers=key).status_code == 422

    def test_results_are_deleted_on_request(self, http: httpx.Client) -> None:
        done = ended(http, submit(http))
        assert WEB.get(done["result_url"]).status_code == 200
        kept = http.delete(f"/api/{done['session_id']}/result").json()
        assert (kept["status"], kept["results"], kept["result_url"]) == ("completed", [], None)
        assert WEB.get(done["result_url"]).status_code in (403, 404)
        running = submit(http, num_inference_steps=900)
        refused = http.delete(f"/api/{running}/result")
        assert (refused.status_code, refused.json()["code"]) == (409, "not_ended")
        http.delete(f"/api/{running}")
        assert http.delete("/api/nothing/result").status_code == 404

    def test_without_keys_the_webhook_secret_is_not_shown(self, http: httpx.Client) -> None:
        answer = http.get("/api/webhook-secret")
        assert answer.status_code == 403
        assert SECRET not in answer.text

    def test_an_equal_seeded_request_is_complete_at_once(self, http: httpx.Client) -> None:
        first = ended(http, submit(http, seed=77))
        again = http.get(f"/api/{submit(http, seed=77)}/status").json()
        assert again["status"] == "completed"
        assert again["results"][0]["seed"] == 77
        assert again["session_id"] != first["session_id"]

    def test_a_batch_is_followed_by_one_id(self, http: httpx.Client) -> None:
        requests = [{"model": "flux", "task": "t2i", "prompt": "a", "seed": seed} for seed in range(3)]
        requests.append({"model": "flux", "task": "i2i", "image": _base64(png(photo()))})
        answer = http.post("/api/batch", json={"requests": requests})
        assert answer.status_code == 202
        body = ended(http, answer.json()["session_id"])
        assert (body["status"], body["progress"], body["counts"]["completed"]) == ("completed", 100, 4)
        assert [job["session_id"] for job in body["jobs"]] == answer.json()["session_ids"]

    def test_a_batch_is_cancelled_as_a_whole(self, http: httpx.Client) -> None:
        requests = [{"model": "flux", "prompt": "a", "num_inference_steps": 900} for _ in range(3)]
        batch_id = http.post("/api/batch", json={"requests": requests}).json()["session_id"]
        body = http.delete(f"/api/{batch_id}").json()
        assert (body["status"], body["counts"]["cancelled"]) == ("cancelled", 3)

    def test_priorities_change_until_the_end(self, server: Replica, http: httpx.Client) -> None:
        requests = [{"model": "flux", "prompt": "a", "num_inference_steps": 900} for _ in range(2)]
        # What is drawn in part is moved no more.
        with server.runner_stopped():
            batch_id = http.post("/api/batch", json={"requests": requests}).json()["session_id"]
            moved = http.patch(f"/api/{batch_id}", json={"priority": "low"})
        assert moved.status_code == 200, moved.text
        assert [job["priority"] for job in moved.json()["jobs"]] == ["low", "low"]
        wrong = http.patch(f"/api/{batch_id}", json={"priority": "highest"})
        assert (wrong.status_code, wrong.json()["field"]) == (400, "priority")
        http.delete(f"/api/{batch_id}")
        late = http.patch(f"/api/{batch_id}", json={"priority": "high"})
        assert (late.status_code, late.json()["code"]) == (409, "not_waiting")

    def test_a_batch_with_a_mistake_is_refused_as_a_whole(self, http: httpx.Client) -> None:
        before = submit(http)
        requests = [{"model": "flux", "prompt": "a"}, {"model": "flux", "prompt": "a", "width": 65}]
        answer = http.post("/api/batch", json={"requests": requests})
        assert answer.status_code == 400
        assert answer.json()["field"] == "requests.1"
        assert http.get("/api/jobs").json()["jobs"][0]["session_id"] == before


class TestMistakes:
    @pytest.mark.parametrize(
        ("path", "fields", "status", "word"),
        [
            ("/api/nothing/t2i", {"prompt": "a"}, 404, "nothing"),
            ("/api/flux/t2x", {"prompt": "a"}, 400, "t2x"),
            ("/api/flux/edit", {"prompt": "a"}, 400, "cannot do edit"),
            ("/api/flux/t2i", {}, 400, "prompt"),
            ("/api/flux/t2i", {"prompt": "a", "width": 65}, 400, "width"),
            ("/api/flux/t2i", {"prompt": "a", "colour": "red"}, 400, "colour"),
            ("/api/flux/t2i", {"prompt": "a", "priority": "highest"}, 400, "priority"),
            ("/api/flux/t2i", {"prompt": "a", "webhook_url": "http://169.254.169.254/"}, 400, "private"),
            ("/api/flux/i2i", {"prompt": "a"}, 400, "image"),
        ],
    )
    def test_they_are_named(
        self, http: httpx.Client, path: str, fields: dict[str, Any], status: int, word: str
    ) -> None:
        answer = http.post(path, json=fields)
        assert answer.status_code == status
        assert word in answer.json()["error"]

    @pytest.mark.parametrize("path", ["status", "events", "result", "webhook"])
    def test_an_unknown_job_is_404(self, http: httpx.Client, path: str) -> None:
        assert http.get(f"/api/nothing/{path}").status_code == 404

    def test_too_many_jobs_are_429(self, http: httpx.Client) -> None:
        # Other tests do not all wait for the ends of their jobs, which count too.
        wait_for(lambda: not open_jobs(http))
        ids = []
        answer = httpx.Response(200)
        while answer.status_code == 200:
            answer = http.post("/api/flux/t2i", json={"prompt": "a", "num_inference_steps": 900, "priority": "low"})
            ids += [answer.json()["session_id"]] if answer.status_code == 200 else []
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        assert len(ids) == 50
        for session_id in ids:
            http.delete(f"/api/{session_id}")


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def test_the_queue_is_measured(http: httpx.Client) -> None:
    ended(http, submit(http))
    for figure in (
        'jubako_job_seconds_count{model="flux-schnell",outcome="completed",task="text-to-image"}',
        'jubako_job_attempts_total{model="flux-schnell"}',
        'jubako_jobs_waiting{priority="low"}',
        "jubako_oldest_job_seconds",
    ):
        # A moment after what it counts, or at the next look at the queue.
        wait_for(partial(is_counted, http, figure))


def is_counted(http: httpx.Client, figure: str) -> bool:
    return figure in http.get("/metrics").text
