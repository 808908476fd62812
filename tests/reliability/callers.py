"""Those who use a server while it is disturbed: owners of jobs, who try again, and callers who wait for an answer."""

from __future__ import annotations

import base64
import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.servers.serving import half_mask, photo, png
from tests.support.web import WEB

STORY = "A fox finds a key in the castle"
FINAL = ("completed", "failed", "cancelled")
ANSWER_S = 120.0
"""How long a caller waits for an answer."""
TRY_AGAIN_S = 0.5
TRIES = 8
"""Of a caller who does what Retry-After says."""
ANSWERED, ANSWERED_LATER, NO_ANSWER = "answered at once", "answered after retries", "no answer"


@dataclass(frozen=True)
class Order:
    """One job that its owner wants, whatever happens."""

    number: int
    path: str
    body: Mapping[str, Any]
    results: int
    """Files that belong to it once it is completed."""


def orders(seed: int, count: int) -> list[Order]:
    """Return a mixture: mostly images from text, some from images, a few stories; of all priorities and lengths."""
    chance = random.Random(seed)
    image = base64.b64encode(png(photo())).decode()
    made = []
    for number in range(count):
        # A seed of its own for each, or the result of another would be its result.
        common = {
            "priority": chance.choice(["high", "normal", "low"]),
            "num_inference_steps": chance.randint(4, 60),
            "seed": 1_000_000 * seed + number,
        }
        kind = chance.choices(["t2i", "several", "i2i", "storyboard"], [70, 15, 12, 3])[0]
        if kind == "storyboard":
            story = {**common, "prompt": STORY, "num_frames": 6, "num_inference_steps": 4, "max_tries": 1}
            made.append(Order(number, "/api/tiny/storyboard", story, 8))
        elif kind == "i2i":
            made.append(Order(number, "/api/tiny/i2i", {**common, "prompt": "a red apple", "image": image}, 1))
        else:
            images = 2 if kind == "several" else 1
            body = {**common, "prompt": "a red apple", "num_images": images}
            made.append(Order(number, "/api/tiny/t2i", body, images))
    return made


def submit(url: str, order: Order, until_s: float) -> str | None:
    """Submit an order until it is accepted, once, and return its id; None when that takes too long."""
    key = {"Idempotency-Key": f"order {order.number} of {order.body['seed']}"}
    while time.monotonic() < until_s:
        try:
            answer = WEB.post(f"{url}{order.path}", json=order.body, headers=key, timeout=ANSWER_S)
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.is_success:
            session_id: str = answer.json()["session_id"]
            return session_id
        assert answer is None or answer.status_code in (429, 500, 502, 503, 504), answer.text
        time.sleep(TRY_AGAIN_S)
    return None


def status(url: str, session_id: str) -> dict[str, Any] | None:
    """Return the record of a job; None while nobody can say."""
    try:
        answer = WEB.get(f"{url}/api/{session_id}/status", timeout=ANSWER_S)
    except httpx.TransportError:
        return None
    if answer.status_code >= 500:
        return None
    assert answer.status_code == 200, f"an accepted job is unknown: {answer.text}"
    body: dict[str, Any] = answer.json()
    return body


def wait_for_end(url: str, session_id: str, until_s: float) -> dict[str, Any] | None:
    """Return the final record of a job; None when there is none in time."""
    while time.monotonic() < until_s:
        if (body := status(url, session_id)) is not None and body["status"] in FINAL:
            return body
        time.sleep(TRY_AGAIN_S)
    return None


def ask(url: str, number: int) -> str:
    """Send one request of one of the contracts, again when an answer says so, and return how it ended in a few words.

    A connection that breaks is all that a killed gateway can say; an answer that takes longer than ANSWER_S is a fault.
    """
    for attempt in range(TRIES):
        end, retry_after_s = _asked_once(url, number)
        if end == ANSWERED:
            return end if attempt == 0 else ANSWERED_LATER
        if retry_after_s is None:
            return end
        time.sleep(retry_after_s)
    return f"{end}, {TRIES} times"


def _asked_once(url: str, number: int) -> tuple[str, float | None]:
    """Return how a request ended, and after how many seconds to send it again, if so."""
    try:
        match number % 4:
            case 3:
                return _streamed(url, number)
            case 2:
                form = {"prompt": "a red apple", "seed": str(number), "num_inference_steps": "8"}
                files = {"input_image": png(photo()), "mask_image": png(half_mask())}
                answer = WEB.post(f"{url}/generate-inpainting", data=form, files=files, timeout=ANSWER_S)
            case other:
                path = ("/text_to_image", "/v1/images/generations")[other]
                answer = WEB.post(f"{url}{path}", json=_fields(number), timeout=ANSWER_S)
    except httpx.TimeoutException:
        return NO_ANSWER, None
    except httpx.TransportError:
        return "connection broken", TRY_AGAIN_S
    return (ANSWERED, None) if answer.is_success else _refused(answer)


def _streamed(url: str, number: int) -> tuple[str, float | None]:
    with WEB.stream("POST", f"{url}/stream", json=_fields(number), timeout=ANSWER_S) as answer:
        if not answer.is_success:
            return _refused(answer)
        lines = [line for line in answer.iter_lines() if line.startswith(("event: ", "data: "))]
    if lines and "event: done" in lines[-2:]:
        return ANSWERED, None
    if lines and "event: error" in lines[-2:]:
        return "refused in the stream", json.loads(lines[-1].removeprefix("data: ")).get("retry_after_s")
    return "connection broken", TRY_AGAIN_S


def _refused(answer: httpx.Response) -> tuple[str, float | None]:
    retry_after = answer.headers.get("retry-after")
    return f"refused {answer.status_code}", None if retry_after is None else float(retry_after)


def _fields(number: int) -> Mapping[str, Any]:
    return {"prompt": "a red apple", "num_inference_steps": 8, "seed": number}


def shown(tally: Counter[str]) -> str:
    return json.dumps(dict(sorted(tally.items())))
