"""What a request's file cannot have is said before it is generated."""

from __future__ import annotations

from typing import Any, cast

import pytest

from core.generation.draft import Draft
from core.generation.request import Task
from gateway.gateway import Gateway
from gateway.media.encoding import OutputFormat
from gateway.safety.content_policy import ContentPolicy
from models.catalogue.catalogue import SHIPPED, load_catalogue
from models.catalogue.resolving.resolve import resolve
from tests.support.resolving import LIMITS_OF_SERVER

CATALOGUE = load_catalogue(*SHIPPED)
GATEWAY = Gateway(CATALOGUE, {}, LIMITS_OF_SERVER, cast(Any, None), cast(Any, None), ContentPolicy())
SILENT = "output_format: gif is silent; the model makes sound too, which mp4 or webm has"


@pytest.mark.parametrize(
    ("model", "task", "output_format", "quality", "hints"),
    [
        ("ltx-2", Task.TEXT_TO_VIDEO, OutputFormat.MP4, 50, ()),
        ("ltx-2", Task.TEXT_TO_VIDEO, OutputFormat.GIF, 90, (SILENT,)),
        ("ltx-2.3-distilled", Task.TEXT_TO_VIDEO, OutputFormat.GIF, 50, ("quality is ignored: gif has none", SILENT)),
        ("ltx-video", Task.TEXT_TO_VIDEO, OutputFormat.GIF, 90, ()),
        ("sd15", Task.TEXT_TO_IMAGE, OutputFormat.PNG, 50, ("quality is ignored: png has none",)),
    ],
)
def test_quality_and_sound_that_a_format_lacks(
    model: str, task: Task, output_format: OutputFormat, quality: int, hints: tuple[str, ...]
) -> None:
    request = resolve(Draft(prompt="an apple", model=model, task=task), CATALOGUE, LIMITS_OF_SERVER)
    assert GATEWAY.with_file_hints(request, output_format, quality).hints == (*request.hints, *hints)
