"""Start here: the server as its clients see it, in three tests.

`server` is the address of a real server, started with `bentoml serve`, whose models are tiny and have random weights.
It is the one that most tests in this folder share.
"""

from __future__ import annotations

import json
from io import BytesIO

import httpx
from PIL import Image

from tests.support.servers.serving import parse_events, wait_for


def test_one_image(server: str) -> None:
    # Only the prompt is required. The model's entry in the catalogue has defaults for all else.
    answer = httpx.post(f"{server}/text_to_image", json={"prompt": "a red apple", "seed": 7}, timeout=60)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    image = Image.open(BytesIO(answer.content))
    assert image.size == (64, 64)
    # The file says how it was generated, so that it can be generated again.
    assert json.loads(image.info["parameters"])["seed"] == 7


def test_progress_as_a_stream_of_events(server: str) -> None:
    body = {"prompt": "a red apple", "num_inference_steps": 3}
    with httpx.stream("POST", f"{server}/stream", json=body, timeout=60) as answer:
        events = parse_events(answer.iter_text())

    # Server-sent events: the request starts, makes its steps (with previews), and delivers its image.
    names = [event.name for event in events]
    assert names.count("step") == 3
    assert names.index("started") < names.index("step") < names.index("image")
    assert names[-1] == "done"
    image = next(event for event in events if event.name == "image")
    assert image.picture.size == (64, 64)


def test_a_job_from_its_submission_to_its_result(server: str) -> None:
    # A job survives a restart of the server: the answer is an id, and the image is stored once it is generated.
    submitted = httpx.post(f"{server}/api/tiny/t2i", json={"prompt": "a red apple"}, timeout=60).json()
    assert submitted["status"] == "pending"
    job = f"{server}/api/{submitted['session_id']}"

    # Clients ask for its status, listen to `/events`, or have a webhook called.
    wait_for(lambda: httpx.get(f"{job}/status", timeout=60).json()["status"] == "completed")

    done = httpx.get(f"{job}/status", timeout=60).json()
    assert (done["progress"], done["error"]) == (100, None)
    result = httpx.get(httpx.URL(server).join(done["result_url"]), timeout=60)
    assert Image.open(BytesIO(result.content)).format == "PNG"
