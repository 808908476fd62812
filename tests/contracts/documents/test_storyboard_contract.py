"""The storyboard server's contract over a real server: the embedded model, and its document's examples as written."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import bentoml
import httpx
import pytest
from PIL import Image

from api.storyboard.forms import Shape
from storyboard.files.sheet import Cell, sheet_with
from tests.support.engine.drawing import largest_difference
from tests.support.servers.replica import Replica, replica
from tests.support.servers.serving import ServerEvent, parse_events, photo, png, wait_for
from tests.support.storyboard.stories import write_story_catalogue
from tests.support.web import client_of

STORY = "Aldar Kose tricks a merchant and steals his horse"
FAST = {"num_frames": 6, "num_inference_steps": 4, "max_tries": 1}
DOCUMENTED = ["success", "story_prompt", "num_frames", "frames", "generation_time_seconds", "mode"]
DOCUMENTED_FRAME = ["frame_number", "image", "prompt", "clip_score"]
PREFIXES = ["", "/storyboard"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """The embedded model, and a tiny SDXL with a LoRA and an IP-Adapter."""
    catalogue = write_story_catalogue(tmp_path_factory.mktemp("storyboard"))
    with replica(catalogue, JUBAKO_MODELS="miniature,tiny-xl") as server:
        yield server


@pytest.fixture
def http(server: Replica) -> Iterator[httpx.Client]:
    with client_of(server.url) as client:
        yield client


def story(http: httpx.Client, path: str = "/generate", **fields: Any) -> dict[str, Any]:
    answer = http.post(path, json={"prompt": STORY, **FAST, **fields})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def opened(frame: dict[str, Any]) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(frame["image"])))


def assert_alike(one: bytes, other: bytes) -> None:
    """Two files of one frame: which calls share a batch depends on the machine, and may move pixels by 1."""
    images = [Image.open(BytesIO(data)) for data in (one, other)]
    assert images[0].info["parameters"] == images[1].info["parameters"]
    assert largest_difference(*images) <= 1


class TestTheDocument:
    """Its examples; of host and port, only the port is another."""

    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_its_simple_curl(self, server: Replica, prefix: str) -> None:
        body = shell(f"""curl -s -X POST "{server.url}{prefix}/generate" \\
  -H "Content-Type: application/json" \\
  -d '{{
    "prompt": "Aldar Kose tricks a merchant and steals his horse",
    "use_ref_guided": false,
    "seed": 42
  }}'""")
        assert list(body)[: len(DOCUMENTED)] == DOCUMENTED
        assert (body["success"], body["story_prompt"], body["mode"]) == (True, STORY, "simple")
        assert 6 <= body["num_frames"] == len(body["frames"]) <= 10
        assert body["generation_time_seconds"] > 0
        for number, frame in enumerate(body["frames"], start=1):
            assert list(frame)[: len(DOCUMENTED_FRAME)] == DOCUMENTED_FRAME
            assert frame["frame_number"] == number
            assert opened(frame).format == "PNG"
            assert frame["prompt"]
            assert 0 < frame["clip_score"] <= 1

    def test_its_reference_guided_curl(self, server: Replica) -> None:
        body = shell(f"""curl -s -X POST "{server.url}/generate" \\
  -H "Content-Type: application/json" \\
  -d '{{
    "prompt": "Aldar Kose riding across the steppe",
    "use_ref_guided": true,
    "num_frames": 8
  }}'""")
        assert (body["success"], body["num_frames"], body["mode"]) == (True, 8, "ref_guided")

    def test_its_curls_for_testing(self, server: Replica) -> None:
        # At the root, health is that of all contracts; theirs alone is under the prefix.
        health = shell(f"curl -s {server.url}/health")
        assert health["status"] == "healthy"
        assert {"model_loaded", "lora_path", "ref_guided_available"} <= health.keys()
        body = shell(f"""curl -s -X POST "{server.url}/generate" \\
  -H "Content-Type: application/json" \\
  -d '{{"prompt": "Aldar Kose riding his horse", "seed": 123}}'""")
        assert body["success"]

    def test_its_python_client(self, server: Replica, tmp_path: Path) -> None:
        pytest.importorskip("requests")
        run([sys.executable, "-c", PYTHON.replace("http://localhost:8000", server.url)], tmp_path)
        saved = sorted(tmp_path.glob("frame_*.png"))
        assert len(saved) >= 6
        assert saved[0].name == "frame_001.png"

    def test_its_javascript(self, server: Replica, tmp_path: Path) -> None:
        node = shutil.which("node")
        if node is None:
            pytest.skip("there is no node")
        (tmp_path / "story.mjs").write_text(JAVASCRIPT.replace("http://localhost:8000", server.url))
        shown = json.loads(run([node, "story.mjs"], tmp_path))
        assert len(shown) >= 6
        assert all(source.startswith("data:image/png;base64,iVBOR") for source in shown)

    @pytest.mark.parametrize("path", ["/storyboard/", "/storyboard/health"])
    def test_its_health(self, http: httpx.Client, path: str) -> None:
        body = http.get(path).json()
        assert list(body)[:4] == ["status", "model_loaded", "lora_path", "ref_guided_available"]
        assert (body["status"], body["model_loaded"], body["lora_path"]) == ("running", True, None)
        assert body["ref_guided_available"]

    def test_its_documentation(self, http: httpx.Client) -> None:
        for page in ("/docs", "/redoc", "/storyboard/docs", "/storyboard/redoc"):
            assert http.get(page).status_code == 200
        assert "/generate" in http.get("/openapi.json").json()["paths"]
        assert {"/generate", "/plan", "/sheet", "/health", "/"} == set(
            http.get("/storyboard/openapi.json").json()["paths"]
        )


class TestStories:
    def test_the_same_request_gives_the_same_frames(self, http: httpx.Client) -> None:
        first, again = story(http, seed=7), story(http, seed=7)
        for one, other in zip(first["frames"], again["frames"], strict=True):
            assert_alike(base64.b64decode(one["image"]), base64.b64decode(other["image"]))
        others = zip(first["frames"], story(http, seed=8)["frames"], strict=False)
        assert all(largest_difference(opened(one), opened(other)) > 10 for one, other in others)

    def test_the_answer_says_what_drew_it(self, http: httpx.Client) -> None:
        body = story(http)
        assert (body["planner"], body["model"], body["seed"], body["warnings"]) == ("builtin", "miniature", 42, [])
        assert all(frame["seed"] != body["seed"] and frame["tries"] == 1 for frame in body["frames"])

    def test_a_plan_is_changed_and_drawn(self, http: httpx.Client) -> None:
        fields = {"prompt": STORY, "num_frames": 6, "model": "miniature", "num_inference_steps": 2, "max_tries": 1}
        planned = http.post("/storyboard/plan", json=fields).raise_for_status().json()
        assert len(planned["scenes"]) == 6
        planned["scenes"][2] |= {"prompt": "a red apple on a blue background", "caption": "An apple"}
        drawn = http.post("/generate", json=fields | {"scenes": planned["scenes"]}).raise_for_status().json()
        assert [each["prompt"] for each in drawn["frames"]] == [each["prompt"] for each in planned["scenes"]]
        assert (drawn["frames"][2]["caption"], drawn["planner"]) == ("An apple", "given")

    def test_scenes_that_contradict_the_number_of_frames(self, http: httpx.Client) -> None:
        scenes = [{"prompt": "a red apple"}] * 7
        answer = http.post("/generate", json={"prompt": STORY, "num_frames": 6, "scenes": scenes})
        assert answer.status_code == 400
        assert "7 scenes" in answer.json()["detail"]

    def test_a_story_may_be_a_form_with_a_reference(self, http: httpx.Client) -> None:
        files = {"reference_image": ("face.png", png(photo()), "image/png")}
        form = {"prompt": STORY, "num_frames": "6", "model": "tiny-xl", "loras": "character", "output_format": "webp"}
        answer = http.post("/generate", data=form, files=files)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert (body["mode"], body["model"], opened(body["frames"][0]).format) == ("ref_guided", "tiny-xl", "WEBP")

    def test_a_deadline_that_passes_without_a_frame(self, http: httpx.Client) -> None:
        answer = http.post("/generate", json={"prompt": STORY, "deadline_s": 0.01})
        assert answer.status_code == 504
        assert answer.json()["detail"].startswith("Generation failed: deadline_s: 0.01 s have passed")

    def test_figures_for_operators(self, http: httpx.Client) -> None:
        story(http)
        for name in (
            "storyboards_total",
            "storyboard_seconds_sum",
            "storyboard_frames_sum",
            "storyboard_clip_score_sum",
        ):
            # They are counted a moment after the answer left.
            wait_for(partial(is_told, http, f"jubako_{name}"))


class TestShapes:
    @pytest.mark.parametrize(
        ("headers", "query", "field", "shape"),
        [
            ({"Accept": "image/png"}, "", None, Shape.SHEET),
            ({"Accept": "application/zip, */*"}, "", None, Shape.ZIP),
            ({}, "?format=pdf", None, Shape.PDF),
            ({}, "", "sheet", Shape.SHEET),
            ({"Accept": "text/html, */*"}, "", None, Shape.JSON),
        ],
    )
    def test_a_caller_chooses_one(
        self, http: httpx.Client, headers: dict[str, str], query: str, field: str | None, shape: Shape
    ) -> None:
        answer = http.post(f"/generate{query}", headers=headers, json={"prompt": STORY, **FAST, "format": field})
        assert (answer.status_code, answer.headers["content-type"]) == (200, shape.media_type)

    def test_the_sheet_is_a_picture_of_all_frames(self, http: httpx.Client) -> None:
        answer = http.post("/generate?format=sheet", json={"prompt": STORY, **FAST})
        sheet = Image.open(BytesIO(answer.content))
        assert (sheet.format, answer.headers["x-jubako-frames"]) == ("PNG", "6")
        assert sheet.width > 3 * 320

    def test_a_sheet_of_frames_that_were_changed(self, http: httpx.Client) -> None:
        frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")]
        files = [("images", (f"{number}.png", png(frame))) for number, frame in enumerate(frames)]
        form = {"captions": '["He rides", "He \\"rests\\""]', "prompt": STORY}
        answer = http.post("/storyboard/sheet", data=form, files=files)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        expected = sheet_with(STORY, [Cell(frames[0], 1, "He rides"), Cell(frames[1], 2, 'He "rests"')])
        assert largest_difference(Image.open(BytesIO(answer.content)), expected) == 0
        assert (
            http.post("/storyboard/sheet", json={"images": []}).json()["detail"]
            == "images must have at least 1 entries"
        )
        refused = http.post("/storyboard/sheet", data={"captions": json.dumps(["x" * 1001])}, files=files)
        assert refused.json()["detail"] == "captions.0 must be at most 1000 characters"

    def test_the_zip_has_the_frames_and_their_description(self, http: httpx.Client) -> None:
        archive = ZipFile(BytesIO(http.post("/generate?format=zip", json={"prompt": STORY, **FAST}).content))
        frames = [f"frame_{number:03d}.png" for number in range(1, 7)]
        assert archive.namelist() == ["story.json", *frames, "sheet.png"]
        told = json.loads(archive.read("story.json"))
        assert [frame["image"] for frame in told["frames"]] == frames
        assert_alike(archive.read(frames[0]), base64.b64decode(story(http)["frames"][0]["image"]))

    def test_the_pdf_has_the_sheet_and_a_page_for_each_frame(self, http: httpx.Client) -> None:
        data = http.post("/generate?format=pdf", json={"prompt": STORY, **FAST}).content
        assert data.startswith(b"%PDF-")
        assert data.count(b"/Type /Page\n") + data.count(b"/Type /Page ") == 7 or b"/Count 7" in data

    def test_events_deliver_each_frame_when_it_is_done(self, http: httpx.Client) -> None:
        told = events(http, "/generate?format=events", {"prompt": STORY, **FAST})
        names = [event.name for event in told]
        assert names[0] == "planned"
        assert names[-1] == "done"
        assert names.count("progress") == 6 * 4
        frames = [event for event in told if event.name == "frame"]
        assert [(event.data["done"], event.data["of"]) for event in frames] == [(n, 6) for n in range(1, 7)]
        assert {event.data["frame_number"] for event in frames} == set(range(1, 7))
        assert frames[0].picture.format == "PNG"
        assert len(told[0].data["scenes"]) == told[-1].data["num_frames"] == 6
        assert told[-1].data["success"]

    def test_a_stream_that_is_refused_is_an_ordinary_error(self, http: httpx.Client) -> None:
        answer = http.post("/generate?format=events", json={"prompt": STORY, "width": 33})
        assert (answer.status_code, answer.json()["field"]) == (400, "width")

    def test_whoever_leaves_a_stream_frees_the_model(self, http: httpx.Client) -> None:
        endless = {"prompt": STORY, "model": "tiny-xl", "num_inference_steps": 800}
        with http.stream("POST", "/generate?format=events", json=endless) as response:
            # Kept: without its reader, httpx closes the connection.
            texts = response.iter_text()
            assert next(texts).startswith("event: planned")
            wait_for(lambda: running(http) > 0)
        wait_for(lambda: running(http) == 0)

    def test_the_typed_client_has_it_too(self, server: Replica) -> None:
        with bentoml.SyncHTTPClient(server.url, timeout=120) as client:
            body: Any = client.storyboard(prompt=STORY, **FAST)
        assert (body["story_prompt"], len(body["frames"])) == (STORY, 6)


class TestMistakes:
    @pytest.mark.parametrize(
        ("fields", "detail"),
        [
            ({"prompt": "too short"}, "prompt must be at least 10 characters"),
            ({"prompt": "  short    "}, "prompt must be at least 10 characters"),
            ({"prompt": "x" * 501}, "prompt must be at most 500 characters"),
            ({}, "prompt is missing"),
            ({"prompt": STORY, "num_frames": 5}, "num_frames must be at least 6"),
            ({"prompt": STORY, "num_frames": 11}, "num_frames must be at most 10"),
            ({"prompt": STORY, "gpt_temperature": 1.5}, "gpt_temperature must be at most 1"),
            ({"prompt": STORY, "frames": 8}, "frames is not a parameter of a story"),
            ({"prompt": STORY, "format": "gif"}, "format: 'gif' is not one of json, events, sheet, zip, pdf"),
            ({"prompt": STORY, "loras": [{"name": "nobody"}]}, "loras: "),
            ({"prompt": STORY, "reference_image": "http://example.com/a.png"}, "reference_image: "),
            ({"prompt": STORY, "reference_image": []}, "reference_image: is an empty list"),
        ],
    )
    @pytest.mark.parametrize("path", ["/generate", "/storyboard/generate"])
    def test_they_are_named_in_the_documents_shape(
        self, http: httpx.Client, path: str, fields: dict[str, Any], detail: str
    ) -> None:
        answer = http.post(path, json=fields)
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith(detail)

    def test_the_typed_api_names_them_likewise(self, http: httpx.Client) -> None:
        answer = http.post("/storyboard", json={"prompt": "too short"})
        assert (answer.status_code, answer.json()["detail"]) == (400, "prompt must be at least 10 characters")

    def test_a_lora_of_another_family(self, http: httpx.Client) -> None:
        fields = {"prompt": STORY, "model": "tiny-xl", "loras": [{"name": "stranger"}]}
        answer = http.post("/generate", json=fields)
        assert (answer.status_code, answer.headers["x-should-retry"]) == (500, "false")
        assert "retry-after" not in answer.headers
        assert answer.json()["detail"].startswith("Generation failed: the LoRA 'stranger' cannot be loaded")

    def test_an_unknown_model(self, http: httpx.Client) -> None:
        answer = http.post("/generate", json={"prompt": STORY, "model": "sdxl"})
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_model")


class TestJobs:
    def test_a_story_is_a_job_like_others(self, http: httpx.Client) -> None:
        session_id = submit(http)
        told = events(http, f"/api/{session_id}/events")
        names = [event.name for event in told]
        assert names[-1] == "completed"
        frames = [event.data for event in told if event.name == "frame"]
        assert [frame["message"] for frame in frames] == [f"{n} of 6 frames generated" for n in range(1, 7)]
        assert frames[0]["image"].startswith("data:image/jpeg;base64,")
        progress = [event.data["progress"] for event in told]
        assert progress == sorted(progress)
        status = http.get(f"/api/{session_id}/status").json()
        assert (status["status"], status["task"], status["model"]) == ("completed", "storyboard", "miniature")
        kinds = [result["media_type"] for result in status["results"]]
        assert kinds == ["application/json", *["image/png"] * 7]

    def test_its_results_are_those_of_the_contract(self, http: httpx.Client) -> None:
        status = ended(http, submit(http))
        told = http.get(f"/api/{status['session_id']}/result", follow_redirects=True).json()
        assert (told["story_prompt"], told["num_frames"]) == (STORY, 6)
        drawn = story(http)["frames"]
        for result, frame in zip(status["results"][1:], drawn, strict=False):
            assert_alike(http.get(result["url"]).content, base64.b64decode(frame["image"]))
            assert result["seed"] == frame["seed"]

    def test_what_a_deadline_left_over_is_nobody_elses_result(self, http: httpx.Client) -> None:
        first = ended(http, submit(http, seed=11, deadline_s=60))
        assert ended(http, submit(http, seed=11))["attempts"] == first["attempts"] == 1
        assert ended(http, submit(http, seed=11))["attempts"] == 0

    def test_it_is_cancelled_like_others(self, http: httpx.Client) -> None:
        session_id = submit(http, "tiny-xl", num_inference_steps=800)
        wait_for(lambda: running(http) > 0)
        assert http.delete(f"/api/{session_id}").json()["status"] == "cancelled"
        wait_for(lambda: running(http) == 0)

    def test_one_of_a_batch_may_be_a_story(self, http: httpx.Client) -> None:
        wanted = [{"task": "storyboard", "prompt": STORY, **FAST}, {"task": "t2i", "prompt": "an apple"}]
        batch = http.post("/api/batch", json={"requests": wanted}).json()
        tasks = [ended(http, session_id)["task"] for session_id in batch["session_ids"]]
        assert tasks == ["storyboard", "text-to-image"]

    def test_mistakes_have_the_shape_of_jobs(self, http: httpx.Client) -> None:
        answer = http.post("/api/miniature/storyboard", json={"prompt": "too short"})
        assert (answer.status_code, answer.json()["error"]) == (400, "prompt must be at least 10 characters")


def submit(http: httpx.Client, model: str = "miniature", **fields: Any) -> str:
    answer = http.post(f"/api/{model}/storyboard", json={"prompt": STORY, **FAST, **fields})
    assert answer.status_code == 200, answer.text
    session_id: str = answer.json()["session_id"]
    return session_id


def ended(http: httpx.Client, session_id: str) -> dict[str, Any]:
    def status() -> dict[str, Any]:
        body: dict[str, Any] = http.get(f"/api/{session_id}/status").json()
        return body

    wait_for(lambda: status()["status"] in ("completed", "failed", "cancelled"), 120)
    return status()


def events(http: httpx.Client, path: str, body: dict[str, Any] | None = None) -> list[ServerEvent]:
    with http.stream("GET" if body is None else "POST", path, json=body) as response:
        return parse_events(response.iter_text())


def is_told(http: httpx.Client, figure: str) -> bool:
    return figure in http.get("/metrics").text


def running(http: httpx.Client) -> int:
    models = http.get("/health").json()["models"]
    return sum(model["running"] + model["queued"] for model in models)


def shell(command: str) -> dict[str, Any]:
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=120)
    body: dict[str, Any] = json.loads(done.stdout)
    return body


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


PYTHON = """
import requests
import base64
from PIL import Image
from io import BytesIO

# Generate story
response = requests.post(
    "http://localhost:8000/generate",
    json={
        "prompt": "Aldar Kose tricks a merchant and steals his horse",
        "use_ref_guided": False,
        "seed": 42
    }
)

data = response.json()

# Save frames
for frame in data["frames"]:
    img_data = base64.b64decode(frame["image"])
    img = Image.open(BytesIO(img_data))
    img.save(f"frame_{frame['frame_number']:03d}.png")
    print(f"Frame {frame['frame_number']}: {frame['prompt']}")
"""
JAVASCRIPT = """
// What the example needs of a browser.
const shown = [];
const document = { createElement: () => ({}), body: { appendChild: (img) => shown.push(img.src) } };

const response = await fetch('http://localhost:8000/generate', {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({
    prompt: 'Aldar Kose tricks a merchant and steals his horse',
    use_ref_guided: false,
    seed: 42
  })
});

const data = await response.json();

// Display frames
data.frames.forEach(frame => {
  const img = document.createElement('img');
  img.src = `data:image/png;base64,${frame.image}`;
  document.body.appendChild(img);
});

console.log(JSON.stringify(shown));
"""
