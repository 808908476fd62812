"""From a body's fields to a form, for all contracts: files are checked first, then everything else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from api.http.refusals import InvalidForm
from core.generation.animation import VIDEOS
from gateway.media.reading.decoding import uploaded_field
from gateway.media.reading.uploaded_videos import uploaded_video
from gateway.media.reading.uploads import in_image_thread
from settings import settings

FormT = TypeVar("FormT", bound=BaseModel)


async def check_files(fields: dict[str, Any], names: Collection[str]) -> None:
    """Put uploads in place of the bytes of the fields named. Raises InvalidRequest."""
    for name in (name for name in names if name in fields):
        if name in VIDEOS:
            fields[name] = await in_image_thread(uploaded_video, fields[name], name, settings().max_video_px)
        else:
            fields[name] = await in_image_thread(uploaded_field, name, fields[name], settings().max_image_px)


def validated(fields: Mapping[str, Any], form: type[FormT]) -> FormT:
    """Return fields as a form. Raises InvalidForm."""
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        raise InvalidForm(error) from error
