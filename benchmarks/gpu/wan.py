"""Wan: the cost of a clip's step, of decoding it, and of converting its frames."""

from __future__ import annotations

import time

import torch
from diffusers.video_processor import VideoProcessor

from benchmarks.gpu.measuring import drawing, request
from benchmarks.gpu.models import wan_model
from benchmarks.gpu.setup import Setup
from models.weights.loading import LoadedModel

SIZES = {"480p": (832, 480), "720p": (1280, 720)}
FRAMES = 81
BATCH_TOKENS = 2**20


def wan(setup: Setup) -> None:
    model = wan_model(setup)
    setup.emit(what="weights", gib=model.weights_gib)
    _draw_clips(setup, model)
    for name, size_px in SIZES.items():
        for tiled in (False, True):
            try:
                _decode(setup, model, name, size_px if setup.full else (64, 64), tiled)
            except torch.OutOfMemoryError:
                setup.emit(what=_decoding(name, tiled), failed=["out_of_memory"])


def _draw_clips(setup: Setup, model: LoadedModel) -> None:
    size_px, frames = (SIZES["480p"], FRAMES) if setup.full else ((64, 64), 5)
    with drawing(setup, model, BATCH_TOKENS) as draw:
        draw([request(model, 0, steps=1, size_px=size_px, sampler="unipc", num_frames=5)])
        for count in (1, 2):
            setup.forget()
            clips = [
                request(model, number, steps=2, size_px=size_px, sampler="unipc", num_frames=frames)
                for number in range(count)
            ]
            drawn = draw(clips)
            what = f"{count} x {size_px[0]}x{size_px[1]}x{frames}, 2 steps"
            setup.emit(what=what, **drawn.figures(), peak_gib=setup.peak_gib())


@torch.no_grad()
def _decode(setup: Setup, model: LoadedModel, name: str, size_px: tuple[int, int], tiled: bool) -> None:
    vae = model.components["vae"]
    vae.enable_tiling() if tiled else vae.disable_tiling()
    latent_frames = (FRAMES - 1) // 4 + 1 if setup.full else 2
    width, height = size_px[0] // 8, size_px[1] // 8
    setup.forget()
    held_gib = setup.held_gib()
    latents = torch.randn(1, 16, latent_frames, height, width, device=setup.device)  # (B, C, F, h, w)
    started_s = time.perf_counter()
    frames = vae.decode(latents).sample
    setup.synchronise()
    decoded_s = time.perf_counter()
    peak_gib = setup.peak_gib()
    VideoProcessor().postprocess_video(frames, output_type="pil")
    setup.emit(
        what=_decoding(name, tiled),
        seconds=decoded_s - started_s,
        above_weights_gib=None if peak_gib is None else peak_gib - held_gib,
        pil_s=time.perf_counter() - decoded_s,
    )


def _decoding(name: str, tiled: bool) -> str:
    return f"decoding {FRAMES} frames of {name}{', tiled' if tiled else ''}"
