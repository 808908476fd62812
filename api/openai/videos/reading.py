"""Bodies as forms: JSON, and multipart as OpenAI's clients and those of similar servers write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from api.http.parsing import plain_values, read_body
from api.openai.reading import form_from, present, with_loras
from api.openai.references import without_references
from api.openai.videos.forms import VideoForm
from core.generation.hints import ignored_hint
from gateway.media.decoding import uploaded_field
from gateway.media.uploads import in_image_thread
from settings import settings

REFERENCE = "input_reference"
_OTHER_NAMES = {"image_reference": REFERENCE, "reference_url": REFERENCE}
"""Of vLLM-Omni and SGLang."""
_IDLE = {
    "user": "videos belong to the key that asks for them",
    "safety_identifier": "videos belong to the key that asks for them",
    "generator_device": "noise does not depend on the device",
    "enable_teacache": "step_cache is what this server has",
    "output_path": "videos are kept where the operator says",
    "output_quality": "videos have one quality",
}
"""What clients of similar servers send, and what changes nothing of the video here."""


@dataclass(frozen=True)
class VideoBody:
    """What a client sent, and fields of it that have no effect."""

    form: VideoForm
    hints: tuple[str, ...]
    fields: Mapping[str, Any]
    """As they came, files as bytes."""


async def read_video(request: Request) -> VideoBody:
    """Read a request's body. Raises InvalidRequest."""
    named = {_OTHER_NAMES.get(name, name): value for name, value in (await read_body(request)).items()}
    fields = await with_loras(await plain_values(without_references(present(named)), (REFERENCE,)), request)
    known = {name: value for name, value in fields.items() if name not in _IDLE}
    if REFERENCE in known:
        known[REFERENCE] = await in_image_thread(uploaded_field, REFERENCE, known[REFERENCE], settings().max_image_px)
    hints = tuple(ignored_hint(name, _IDLE[name]) for name in _IDLE if name in fields)
    return VideoBody(form_from(known, VideoForm), hints, fields)
