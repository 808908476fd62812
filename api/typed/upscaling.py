"""The typed API that upscales an image, without a prompt and without a model that generates."""

from __future__ import annotations

from PIL import Image
from starlette.responses import Response

from api.http.refusals import refusal
from api.http.responses.disconnects import unless_disconnected
from api.typed.forms import TypedCall, Upscale
from core.deadline import Deadline
from core.errors import JubakoError
from core.generation.hints import hint_header, joined_hints
from core.generation.upscaling import FIELD, UpscaleFactor, upscaled_size
from core.pixels.upload import UploadedImage
from gateway.gateway import Gateway
from gateway.media.encoding import OutputFormat, encode_image, idle_quality
from gateway.media.reading.uploads import in_image_thread
from gateway.metrics import measured
from gateway.upscaling import Upscaler
from settings import settings


async def answer_with_upscaled(gateway: Gateway, call: TypedCall[Upscale]) -> Response:
    """Upscale a call's image and answer with the file, or with the error."""
    try:
        return await unless_disconnected(call.request, _file(gateway, call))
    except JubakoError as error:
        return refusal(error)


async def _file(gateway: Gateway, call: TypedCall[Upscale]) -> Response:
    with measured() as measure:
        measure.model, measure.task = gateway.upscaler.name, FIELD
        form, upload = call.form, call.form.upload
        width, height = upscaled_size(upload.size, form.upscale)
        await gateway.meter.charge_pixels(FIELD, upload.width * upload.height + width * height)
        output_format = OutputFormat(form.output_format)
        deadline = Deadline(settings().request_timeout_s)
        async with deadline.limiting("while the image was upscaled"), gateway.upscaler.places:
            image = await _upscaled(gateway.upscaler, upload, form.upscale)
            data = await in_image_thread(encode_image, image, output_format, form.quality)
        hint = joined_hints(*idle_quality(output_format, form.quality), gateway.upscaler.hint)
        headers = {"X-Jubako-Upscaler": gateway.upscaler.name, **hint_header(hint)}
        return Response(data, headers=headers, media_type=output_format.media_type)


async def _upscaled(upscaler: Upscaler, upload: UploadedImage, factor: UpscaleFactor) -> Image.Image:
    return await upscaler.upscaled(await in_image_thread(upload.open), factor)
