"""The content policy: what may be requested, and what may be returned."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from itertools import islice
from typing import Protocol

from PIL import Image

from core.errors import ContentPolicyViolation
from core.generation.events import Picture, Result
from core.generation.prompt_syntax import PromptSyntax, plain_text
from core.generation.request import GenerationRequest
from core.pixels.upload import Pixels, pixels_of
from core.pixels.video import UploadedVideo
from gateway.media.reading.uploads import in_image_thread
from gateway.safety.blocked_words import BlockedWords

_MARKS = re.compile(r"[()\[\]{}+-]+(\d*\.?\d+)?")
"""Compel's syntax for weights."""
SEEN_VIDEOS = ("face_video", "background_video")
"""Videos that show what a camera saw; poses are drawn lines, and masks are areas."""
FRAMES_AT_ONCE = 16
REFUSED = "is refused by this server's content policy"


class ImageCheck(Protocol):
    """Checks images; `gateway.safety.picture_check` has one."""

    async def refuses(self, images: list[Image.Image]) -> bool: ...


class ContentPolicy:
    """Checks prompts if it is given words, and images if it is given a check; without either, it allows everything."""

    def __init__(self, words: BlockedWords | None = None, pictures: ImageCheck | None = None) -> None:
        self._words = words
        self._pictures = pictures
        self._one_video = asyncio.Lock()

    @property
    def hides_previews(self) -> bool:
        """Whether to withhold previews, since they are not checked."""
        return self._pictures is not None

    async def check_request(self, request: GenerationRequest) -> None:
        """Raise ContentPolicyViolation for the prompt, or for an uploaded image or a frame of a video.

        Negative prompts may have any word: it is kept out of the image, and no syntax can reverse that.
        """
        for field in ("prompt", "prompt_2"):
            if self._words is not None and any(map(self._words.are_in, _readings(getattr(request, field)))):
                raise ContentPolicyViolation(field, REFUSED)
        if self._pictures is not None:
            for field, images in _uploads(request):
                if await self._pictures.refuses([await in_image_thread(pixels_of, image) for image in images]):
                    raise ContentPolicyViolation(field, REFUSED)
            for field in SEEN_VIDEOS:
                if await self._refuses_video(getattr(request, field)):
                    raise ContentPolicyViolation(field, REFUSED)

    async def _refuses_video(self, video: UploadedVideo | None) -> bool:
        if video is None or self._pictures is None:
            return False
        # One video and a few frames at a time: all frames can be gigabytes, a decoder hundreds of megabytes.
        async with self._one_video:
            frames = video.frames()
            while batch := await in_image_thread(list, islice(frames, FRAMES_AT_ONCE)):
                if await self._pictures.refuses(batch):
                    return True
        return False

    async def check_result(self, result: Result) -> None:
        """Raise ContentPolicyViolation for an image, or for any frame of a video."""
        images = [result.image] if isinstance(result, Picture) else list(result.frames)
        if self._pictures is not None and await self._pictures.refuses(images):
            raise ContentPolicyViolation("prompt", "the result " + REFUSED)


def _readings(prompt: str) -> Iterator[str]:
    """Yield a prompt as written, and as it reads once the syntaxes for weights are removed."""
    yield prompt
    yield plain_text(prompt, PromptSyntax.A1111)
    # Marks may be within a word, or between two.
    yield _MARKS.sub("", prompt)
    yield _MARKS.sub(" ", prompt)


def _uploads(request: GenerationRequest) -> Iterator[tuple[str, list[Pixels]]]:
    for field in ("image", "last_image", "control_image", "reference_image"):
        if (image := getattr(request, field)) is not None:
            yield field, [image]
    if request.images:
        yield "images", list(request.images)
