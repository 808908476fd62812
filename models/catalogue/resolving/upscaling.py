"""Whether results may be upscaled, and how large they may become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import InvalidRequest
from core.generation.draft import Draft
from core.generation.upscaling import FIELD, upscaled_size
from core.pixels.fitting import Size


def upscale_of(draft: Draft, size: Size) -> Mapping[str, Any]:
    """Return the request's field for upscaling results of this generated size. Raises InvalidRequest."""
    if draft.upscale is None:
        return {}
    if draft.task.is_video:
        raise InvalidRequest(FIELD, f"{draft.task} makes videos, and only images are upscaled")
    upscaled_size(size, draft.upscale)
    return {FIELD: draft.upscale}
