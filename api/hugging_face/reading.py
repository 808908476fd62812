"""Bodies as inferences: JSON of `inputs` and `parameters`, or the bytes of an image alone."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from api.http.requests.base64_text import decoded_base64
from api.http.requests.forms import check_files, validated
from api.http.requests.parsing import body_type, plain_values, read_body
from api.hugging_face.forms import InferenceForm, InferenceParameters
from core.generation.animation import VIDEOS
from core.pixels.upload import UploadedImage
from gateway.media.reading.decoded_kinds import IMAGE, MASK, DecodedKind
from gateway.media.reading.decoding import uploaded
from gateway.media.reading.uploads import in_image_thread
from settings import settings

WAIT_HEADER = "x-wait-for-model"
_NO = ("false", "0", "no")
_JSON = "application/json"
_SHORTEST_IMAGE_CHARS = 64
"""Every image is longer than this in base64, and hardly any prompt is without a space for so long."""
_BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_BOX = slice(4, 8)
"""AVIF and HEIC begin with a box of this name."""


@dataclass(frozen=True)
class Inference:
    """What a client asks for."""

    prompt: str
    image: UploadedImage | None
    parameters: InferenceParameters
    waits: bool
    """Whether it waits for a model that is not loaded."""


async def read_inference(request: Request) -> Inference:
    """Read a request's body. Raises InvalidRequest."""
    waits = request.headers.get(WAIT_HEADER, "").lower() not in _NO
    if not await _is_json(request):
        image = await _image(await request.body(), "inputs", IMAGE)
        return Inference("", image, InferenceParameters(), waits)
    form = validated(await plain_values(await read_body(request), ()), InferenceForm)
    fields = await plain_values(form.parameters or {}, ("mask_image", *VIDEOS))
    await check_files(fields, VIDEOS)
    if masks := fields.get("mask_image"):
        fields["mask_image"] = await _image(masks[0], "mask_image", MASK)
    parameters = validated(fields, InferenceParameters)
    file = _image_bytes(form.inputs)
    waits = waits and form.options.wait_for_model
    if file is None:
        return Inference(form.inputs, None, parameters, waits)
    return Inference(parameters.prompt, await _image(file, "inputs", IMAGE), parameters, waits)


async def _is_json(request: Request) -> bool:
    return body_type(request.headers) == _JSON or (await request.body()).lstrip()[:1] in (b"{", b"")


async def _image(file: bytes, field: str, kind: DecodedKind) -> UploadedImage:
    return await in_image_thread(uploaded, file, field, settings().max_image_px, kind)


def _image_bytes(inputs: str) -> bytes | None:
    """Return the image that a text encodes, or None for a prompt: one field takes both."""
    if len(inputs) < _SHORTEST_IMAGE_CHARS:
        return None
    try:
        file = decoded_base64(inputs)
    except ValueError:
        return None
    return file if file.startswith(_BEGINNINGS) or file[_BOX] == b"ftyp" else None
