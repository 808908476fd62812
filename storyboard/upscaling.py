"""Upscales each frame once: tries, references, scores and sheets keep the generated size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from core.errors import Busy, GenerationFailed, LoadFailed
from core.generation.upscaling import FIELD
from gateway.media.reading.uploads import in_image_thread
from gateway.upscaling import Upscaler
from storyboard.files.answer import image_file
from storyboard.frames import Frame
from storyboard.story import Story

NO_TIME = "the time was over"


class FrameUpscaler:
    """Of one story."""

    def __init__(self, upscaler: Upscaler, story: Story) -> None:
        self._upscaler = upscaler
        self._story = story
        self._trouble: str | None = None
        """Why no further frames are upscaled, if so."""

    async def upscaled(self, frame: Frame) -> Frame:
        """Return a frame with an upscaled file, if the story asks for that; if it fails, return the frame unchanged."""
        factor = self._story.upscale
        if factor is None or self._trouble is not None:
            return frame
        try:
            async with self._upscaler.places:
                image = await self._upscaler.upscaled(frame.picture.image, factor)
                request = frame.request.model_copy(update={"upscale": factor})
                larger = replace(frame, request=request, picture=replace(frame.picture, image=image))
                file = await in_image_thread(image_file, larger, self._story.output_format)
        except (Busy, LoadFailed, GenerationFailed) as error:
            self._trouble = error.message
            return frame
        return replace(frame, upscaled=file)

    def warnings(self, frames: Sequence[Frame]) -> Iterator[str]:
        """Yield warnings about a story's frames."""
        if self._story.upscale is None:
            return
        if self._upscaler.hint is not None:
            yield self._upscaler.hint
        if plain := [str(frame.scene.number) for frame in frames if frame.upscaled is None]:
            yield f"{FIELD}: frames {', '.join(plain)} are not upscaled: {self._trouble or NO_TIME}"
