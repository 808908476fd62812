"""ControlNets and IP-Adapters as callers use them, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support.engine.drawing import largest_difference
from tests.support.servers.serving import half_mask, photo, png
from tests.support.web import client_of

ASKED = {"prompt": "a red apple", "seed": "7"}
EDGES = {"control_image": png(half_mask())}
REFERENCE = {"reference_image": png(photo(100, 80))}


@pytest.fixture(scope="module")
def http(server: str) -> Iterator[httpx.Client]:
    with client_of(server) as client:
        yield client


def drawn(http: httpx.Client, files: dict[str, bytes], path: str = "/text_to_image", **fields: str) -> Image.Image:
    response = http.post(path, data={**ASKED, **fields}, files=files) if files else http.post(path, json=ASKED)
    assert response.status_code == 200, response.text
    return Image.open(BytesIO(response.content))


def refused(http: httpx.Client, files: dict[str, bytes], **fields: str) -> dict[str, Any]:
    response = http.post("/text_to_image", data={**ASKED, **fields}, files=files)
    assert response.status_code == 400, response.text
    body: dict[str, Any] = response.json()
    return body


def test_conditions_make_the_picture(http: httpx.Client) -> None:
    wanted: list[tuple[dict[str, bytes], dict[str, str]]] = [
        ({}, {}),
        (EDGES, {"control_type": "canny"}),
        (EDGES, {"control_type": "depth"}),
        (EDGES, {"control_type": "canny", "control_scale": "0.5"}),
        (REFERENCE, {}),
        (REFERENCE, {"reference_scale": "1.2"}),
        ({**EDGES, **REFERENCE}, {"control_type": "canny"}),
    ]
    alone = [drawn(http, files, **fields) for files, fields in wanted]
    assert len({picture.tobytes() for picture in alone}) == len(wanted)
    with ThreadPoolExecutor(len(wanted)) as callers:
        together = list(callers.map(lambda each: drawn(http, each[0], **each[1]), wanted))
    assert max(map(largest_difference, alone, together)) <= 1


def test_every_task_takes_them(http: httpx.Client) -> None:
    image, mask = {"image": png(photo())}, {"mask": png(half_mask())}
    for path, files in (("/image_to_image", image), ("/inpaint", {**image, **mask})):
        plain = drawn(http, files, path)
        for condition, fields in ((EDGES, {"control_type": "canny"}), (REFERENCE, {})):
            assert largest_difference(plain, drawn(http, {**files, **condition}, path, **fields)) > 1


def test_models_say_what_they_take(http: httpx.Client) -> None:
    tiny, tiny_xl, *_ = http.get("/models").json()["models"]
    assert sorted(tiny["controlnets"]) == ["canny", "depth"]
    assert not tiny_xl["controlnets"]


@pytest.mark.parametrize(
    ("files", "fields", "field"),
    [
        (EDGES, {}, "control_type"),
        (EDGES, {"control_type": "pose"}, "control_type"),
        (EDGES, {"control_type": "canny", "control_scale": "3"}, "control_scale"),
        (EDGES, {"model": "tiny-xl"}, "control_image"),
        (REFERENCE, {"model": "tiny-xl"}, "reference_image"),
        ({"control_image": b"no picture"}, {"control_type": "canny"}, "control_image"),
    ],
)
def test_what_a_model_does_not_take_is_refused(
    http: httpx.Client, files: dict[str, bytes], fields: dict[str, str], field: str
) -> None:
    assert refused(http, files, **fields)["field"] == field
