"""Stable Diffusion XL: passes, decoding, memory; the gain from running ahead of the device; running out of memory."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.measuring import Passes, WaitedPasses, difference, drawing, request
from benchmarks.gpu.models import sdxl_model
from benchmarks.gpu.setup import GIB, Setup
from models.weights.loading import LoadedModel

SIZE_PX = 1024
SCARCE_GIB = 24
"""The memory that the last stage leaves of the card, so that any card is too small for it."""


def sdxl(setup: Setup) -> None:
    model = sdxl_model(setup)
    setup.emit(what="weights", gib=model.weights_gib)
    _draw_batches(setup, model)
    for images in (1, 4):
        _draw_plain(setup, model, images)
    _compare_crowd(setup, model)


def _draw_batches(setup: Setup, model: LoadedModel) -> None:
    batches = [(count, SIZE_PX, "euler", 10, 5.0) for count in (1, 2, 4, 8)]
    batches += [
        (16, 512, sampler, 4, guidance)
        for sampler, guidance in (("euler_trailing", 0.0), ("unipc", 5.0), ("dpmpp_2m", 5.0))
    ]
    with drawing(setup, model) as draw:
        draw([request(model, 0, steps=2, size_px=setup.px(SIZE_PX))])
        for count, size_px, sampler, steps, guidance in batches:
            setup.forget()
            requests = [
                request(
                    model, n, steps=setup.steps(steps), size_px=setup.px(size_px), sampler=sampler, guidance=guidance
                )
                for n in range(setup.crowd(count))
            ]
            drawn = draw(requests)
            setup.emit(
                what=f"{count} x {size_px} px, {sampler}, {steps} steps, guidance {guidance:g}",
                **drawn.figures(),
                peak_gib=setup.peak_gib(),
            )


def _draw_plain(setup: Setup, model: LoadedModel, images: int) -> None:
    pipeline: Any = next(iter(model.pipelines.values()))
    setup.forget()
    started_s = time.perf_counter()
    pipeline(
        "a picture",
        num_images_per_prompt=images,
        num_inference_steps=setup.steps(10),
        width=setup.px(SIZE_PX),
        height=setup.px(SIZE_PX),
        generator=torch.Generator("cpu").manual_seed(0),
    )
    setup.synchronise()
    seconds = time.perf_counter() - started_s
    setup.emit(what=f"plain pipeline, {images} images", seconds=seconds, peak_gib=setup.peak_gib())


def _compare_crowd(setup: Setup, model: LoadedModel) -> None:
    requests = [
        request(model, number, steps=setup.steps(20), size_px=setup.px(SIZE_PX)) for number in range(setup.crowd(8))
    ]
    with drawing(setup, model) as draw:
        differences = difference(draw(requests[:1]).results[0], draw(requests).results[0])
    noise = max(float((differences**2).mean()), 1e-9)
    setup.emit(
        what="the same image alone and among 8, half precision",
        largest_difference=float(differences.max()),
        psnr_db=float(10 * np.log10(255**2 / noise)),
    )


def ahead(setup: Setup) -> None:
    """Compare the engine with one that waits for the device after every pass."""
    model = sdxl_model(setup)
    for count, size_px, sampler, guidance, steps in (
        (1, 1024, "euler", 5.0, 10),
        (8, 1024, "euler", 5.0, 10),
        (1, 512, "euler_trailing", 0.0, 4),
        (16, 512, "euler_trailing", 0.0, 4),
        (16, 512, "unipc", 5.0, 10),
    ):
        requests = [
            request(
                model, number, steps=setup.steps(steps), size_px=setup.px(size_px), sampler=sampler, guidance=guidance
            )
            for number in range(setup.crowd(count))
        ]
        for title, passes in (("waits", WaitedPasses(setup)), ("runs ahead", Passes())):
            with drawing(setup, model, passes=passes) as draw:
                draw(requests)
                drawn = draw(requests)
            what = f"{count} x {size_px} px, {sampler}, {steps} steps: {title}"
            setup.emit(what=what, seconds=drawn.seconds, busy=drawn.figures()["busy"])


def oom(setup: Setup) -> None:
    """Ask for more than fits on the card at once: batches are halved, the limit is learnt, and memory is freed."""
    model = sdxl_model(setup)
    count, size_px = setup.crowd(32), setup.px(1536)
    if setup.on_gpu:
        torch.cuda.set_per_process_memory_fraction(min(1.0, SCARCE_GIB * GIB / torch.cuda.mem_get_info()[1]))
    with drawing(setup, model, batch_tokens=2**24) as draw:
        many = draw([request(model, number, steps=2, size_px=size_px) for number in range(count)])
        setup.emit(what=f"{count} x {size_px} px at once", **many.figures(), peak_gib=setup.peak_gib())
        one = draw([request(model, 0, steps=2, size_px=setup.px(SIZE_PX))])
        setup.emit(what="one more afterwards", **one.figures(), held_gib=setup.held_gib())
