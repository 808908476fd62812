"""Bodies as forms: JSON, and multipart as OpenAI's clients and those of similar servers write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from api.http.requests.forms import check_files
from api.http.requests.parsing import plain_values, read_body
from api.openai.foreign_fields import translated
from api.openai.image_references import without_references
from api.openai.reading import form_from, present, with_loras
from api.openai.videos.forms import VideoForm
from core.errors import fields_named
from core.generation.animation import VIDEOS
from core.generation.hints import ignored_hint

REFERENCE = "input_reference"
FILES = (REFERENCE, *VIDEOS)
_OTHER_NAMES = {"image_reference": REFERENCE, "reference_url": REFERENCE}
"""Names that vLLM-Omni and SGLang use."""
_OWNED = "videos belong to the key that asks for them"
_IDLE = {"user": _OWNED, "safety_identifier": _OWNED, "output_path": "videos are kept where the operator says"}
"""Why fields are ignored that have no effect on videos, beside those that have none on images."""


@dataclass(frozen=True)
class VideoBody:
    """What a client sent, and fields of it that have no effect."""

    form: VideoForm
    hints: tuple[str, ...]
    fields: Mapping[str, Any]
    """The fields as sent, files as bytes."""
    names: Mapping[str, str]
    """The body's names for the form's fields, where they differ."""


async def read_video(request: Request) -> VideoBody:
    """Read a request's body. Raises InvalidRequest."""
    body = await read_body(request)
    sent = translated(present({_OTHER_NAMES.get(name, name): value for name, value in body.items()}))
    names = {**sent.names, **{_OTHER_NAMES[name]: name for name in body if name in _OTHER_NAMES}}
    with fields_named(names):
        fields = await with_loras(await plain_values(without_references(sent.fields), FILES), request)
        known = {name: value for name, value in fields.items() if name not in _IDLE}
        await check_files(known, FILES)
        hints = (*sent.hints, *(ignored_hint(name, _IDLE[name]) for name in _IDLE if name in fields))
        return VideoBody(form_from(known, VideoForm), hints, fields, names)
