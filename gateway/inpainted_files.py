"""Files of inpainted images at the size of their upload, upscaled if requested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.deadline import Deadline
from core.generation.events import Picture
from core.generation.request import GenerationRequest
from core.generation.upscaling import UpscaleFactor
from core.pixels.upload import UploadedImage
from gateway.media.encoding import OutputFormat, encode_result
from gateway.media.kept_pixels import inpainted, inpainted_png
from gateway.media.reading.uploads import in_image_thread
from gateway.upscaling import Upscaler


@dataclass(frozen=True)
class Upscaling:
    """How to upscale results: by what, how much, and until when."""

    upscaler: Upscaler
    factor: UpscaleFactor
    deadline: Deadline

    async def file(
        self, request: GenerationRequest, picture: Picture, upload: UploadedImage, mask: UploadedImage
    ) -> bytes:
        """Put a generated image into its upload and upscale the whole, kept pixels included; return it as a PNG."""
        async with self.deadline.limiting("while the image was upscaled"), self.upscaler.places:
            whole = await in_image_thread(inpainted, picture, upload, mask)
            larger = replace(whole, image=await self.upscaler.upscaled(whole.image, self.factor))
            shown = request.model_copy(update={"upscale": self.factor})
            return await in_image_thread(encode_result, shown, larger, OutputFormat.PNG, 100)


async def inpainted_files(
    request: GenerationRequest,
    pictures: Sequence[Picture],
    upload: UploadedImage,
    mask: UploadedImage,
    upscaling: Upscaling | None = None,
) -> list[bytes]:
    """Put each generated image into its upload and return the PNGs; one after the other, since they may be large.

    Raises what `Upscaler.upscaled` raises, and DeadlineExceeded.
    """
    if upscaling is None:
        return [await in_image_thread(inpainted_png, request, picture, upload, mask) for picture in pictures]
    return [await upscaling.file(request, picture, upload, mask) for picture in pictures]
