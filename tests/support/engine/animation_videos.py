"""Videos that the clips of tests follow."""

from __future__ import annotations

from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image

from core.pixels.video import UploadedVideo
from tests.tiny.videos.wan import TINY_FACE_PX


def animated(frames: int, segment_frames: int, seed: int) -> dict[str, object]:
    """Return a request's fields for a clip that is made in segments; every second one has a background."""
    videos = {"pose_video": video(frames, seed=seed), "face_video": video(frames, TINY_FACE_PX, seed=seed)}
    if seed % 2:
        videos |= {"background_video": video(frames, seed=seed + 1), "mask_video": video(frames, seed=seed, mode="L")}
    return {**videos, "segment_frames": segment_frames}


@cache
def video(frames: int, size_px: int = 64, *, seed: int = 0, mode: str = "RGB") -> UploadedVideo:
    """Return a video of coarse noise."""
    return UploadedVideo(
        gif(frames, size_px, seed=seed), (size_px, size_px), frames, 10.0, mode="L" if mode == "L" else "RGB"
    )


def gif(frames: int, size_px: int = 64, *, seed: int = 0) -> bytes:
    """Return a file of coarse noise, which GIF keeps as it is but for its palette, at ten frames a second."""
    shades = np.random.default_rng(seed).integers(0, 256, (frames, 4, 4, 3), dtype=np.uint8)
    first, *rest = (Image.fromarray(frame).resize((size_px, size_px), Image.Resampling.NEAREST) for frame in shades)
    file = BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest, duration=100)
    return file.getvalue()
