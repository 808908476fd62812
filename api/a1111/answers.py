"""Images as the web UI's API returns them: base64, `parameters` as they came, and `info`, which is JSON in a text."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from api.a1111.requests.drafting import AdmittedDrawing
from api.a1111.requests.forms import DrawForm, TextForm
from api.a1111.session.running_requests import RUNNING, Drawing
from core.deadline import Deadline
from core.generation.events import Picture, Started
from core.generation.infotext import infotext, sampler_names
from core.generation.request import GenerationRequest
from core.version import VERSION
from gateway.gateway import Gateway
from gateway.media.encoding import OutputFormat, encode_result, parameters_of
from gateway.media.metadata import Metadata
from gateway.media.reading.uploads import in_image_thread
from gateway.upscaling import LANCZOS


class Results:
    """Draws an admitted request part by part; keeps the finished images even if the caller ends it early."""

    def __init__(self, gateway: Gateway, admitted: AdmittedDrawing) -> None:
        self._gateway = gateway
        self._admitted = admitted
        self.pictures: list[Picture] = []
        self.hint: str | None = None

    async def draw(self, drawing: Drawing) -> None:
        """Draw until it is done or ended. Raises JubakoError."""
        request, images = self._admitted.request, self._admitted.images_of_part
        deadline = Deadline(request.deadline_s)
        with RUNNING.holding(drawing):
            for part in range(self._admitted.parts):
                if drawing.interrupted:
                    break
                drawing.begin(part)
                first = part * images
                changes = {"num_images": images, "seed": request.seed + first}
                work = self._draw_part(deadline.remaining(request.model_copy(update=changes)), first, drawing)
                await drawing.unless_stopped(work)
        self.pictures.sort(key=lambda picture: picture.index)

    async def _draw_part(self, request: GenerationRequest, first: int, drawing: Drawing) -> None:
        async with aclosing(self._gateway.draw(request, keep=self._admitted.repainting is None)) as events:
            async for event in events:
                drawing.watch(event)
                match event:
                    case Started():
                        self.hint = self.hint or event.hint
                    case Picture():
                        self.pictures.append(replace(event, index=event.index + first))


async def answer(gateway: Gateway, admitted: AdmittedDrawing, job: str) -> tuple[dict[str, Any], str | None]:
    """Generate all images; return the body and the hint. Raises JubakoError."""
    results = Results(gateway, admitted)
    await results.draw(Drawing(job, admitted.parts, admitted.request.denoising_steps))
    files = await asyncio.gather(*(in_image_thread(_file, admitted, picture) for picture in results.pictures))
    shown = [base64.b64encode(file).decode() for file in files] if admitted.form.send_images else []
    info = json.dumps(_info(admitted, results.pictures), ensure_ascii=False)
    return {"images": shown, "parameters": _parameters(admitted), "info": info}, results.hint


def _file(admitted: AdmittedDrawing, picture: Picture) -> bytes:
    if admitted.repainting is not None:
        picture = replace(picture, image=admitted.repainting.composed(picture))
    return encode_result(admitted.request, picture, OutputFormat.PNG, quality=100, metadata=Metadata.A1111)


def _parameters(admitted: AdmittedDrawing) -> dict[str, Any]:
    """Return the form's fields as they came, without files."""
    files = {"init_images", "mask", "alwayson_scripts"}
    return admitted.form.model_dump(mode="json", exclude=files)


def _info(admitted: AdmittedDrawing, pictures: Sequence[Picture]) -> dict[str, Any]:
    """Return the fields of `Processed.js` in the web UI's `modules/processing.py`, for the finished images."""
    form, request = admitted.form, admitted.request
    texts = [infotext(parameters_of(request, picture)) for picture in pictures]
    seeds = [picture.seed for picture in pictures]
    return {
        "prompt": form.prompt,
        "all_prompts": [form.prompt] * len(pictures),
        "negative_prompt": form.negative_prompt,
        "all_negative_prompts": [form.negative_prompt] * len(pictures),
        "seed": request.seed,
        "all_seeds": seeds,
        "subseed": request.seed,
        "all_subseeds": seeds,
        "all_skipped_steps": [picture.skipped_steps for picture in pictures],
        "subseed_strength": 0,
        "width": request.width,
        "height": request.height,
        "sampler_name": sampler_names(request.scheduler)[0],
        "cfg_scale": request.guidance_scale,
        "steps": request.num_inference_steps,
        "batch_size": admitted.images_of_part,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": request.model,
        "sd_model_hash": None,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": _strength(request),
        "extra_generation_params": {
            "Schedule type": sampler_names(request.scheduler)[1],
            **_hires_params(form, request),
        },
        "index_of_first_image": 0,
        "infotexts": texts,
        "styles": [],
        "job_timestamp": "0",
        "clip_skip": request.clip_skip + 1,
        "is_using_inpainting_conditioning": False,
        "version": f"Jubako {VERSION}",
    }


def _strength(request: GenerationRequest) -> float | None:
    if request.hires is not None:
        return request.hires.strength
    return request.strength if request.task.takes_strength else None


def _hires_params(form: DrawForm, request: GenerationRequest) -> dict[str, Any]:
    hires = request.hires
    if hires is None:
        return {}
    resize = f"{hires.width}x{hires.height}"
    upscaler = form.hr_upscaler if hires.upscaler == "model" and isinstance(form, TextForm) else LANCZOS
    return {"Hires resize": resize, "Hires steps": hires.denoising_steps, "Hires upscaler": upscaler}
