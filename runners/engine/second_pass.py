"""The second pass over an image: the first pass's result is upscaled, and image-to-image goes on from it.

Both passes run in the image's own greenlet, so that their calls are merged with those of other images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import ceil, isqrt
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image

from core.generation.request import GenerationRequest, Task
from core.generation.tuning import Tuning
from core.generation.upscaling import MOST_UPSCALED_PX
from core.pixels.fitting import Fit, Size, placement
from core.pixels.tiles import Stretch, rows
from core.pixels.upload import pixels_of
from models.catalogue.families import Family
from models.catalogue.families.tunable import ARGUMENTS, taken_by

LOBES = 3
"""The lobes of the Lanczos kernel, as in Pillow."""


def second_request(family: Family, request: GenerationRequest) -> GenerationRequest:
    """Return the image-to-image request of the second pass, without its image; `request` has `hires`."""
    hires = request.hires
    assert hires is not None
    task = Task.IMAGE_TO_IMAGE
    pipeline = (family.pipelines if request.control_type is None else family.controlled)[task]
    # Explicit steps would be those of the first pass, which start from pure noise.
    idle = (ARGUMENTS - taken_by(family, pipeline)) | {"sigmas", "timesteps"}
    changes: dict[str, Any] = {name: Tuning.model_fields[name].default for name in idle}
    if request.control_image is not None:
        changes["control_image"] = pixels_of(request.control_image).resize(hires.size, Image.Resampling.LANCZOS)
    own = hires.model_dump(exclude={"upscaler"})
    return request.model_copy(update={"task": task, "hires": None, **changes, **own})


def upscaled(frames: torch.Tensor, size: Size, upscale: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Upscale frames, (F, C, H, W), 0 to 1, by a model, repeatedly if needed, and then resize as `resized_frames` does.

    The model gets tiles, (F, C, h, w), one by one, so that its calls have equal shapes and may share passes.
    """
    while frames.shape[3] < size[0] or frames.shape[2] < size[1]:
        frames = _by_tiles(frames, upscale, _most_times((frames.shape[3], frames.shape[2]), size))
    return resized_frames(frames, size)


def _most_times(full: Size, size: Size) -> int:
    """Return how many times larger frames may get on their way to a size.

    A model's scale may be far larger than the size needs, and its whole output would fill the memory: so it is reduced
    tile by tile.
    """
    needed = ceil(max(size[0] / full[0], size[1] / full[1]))
    return max(needed, isqrt(MOST_UPSCALED_PX // (full[0] * full[1])))


def _at_most(larger: torch.Tensor, tile: torch.Tensor, most: int) -> torch.Tensor:
    """Return an upscaled tile, reduced to at most `most` times the size of the original one."""
    size = [most * side for side in tile.shape[2:]]
    if larger.shape[3] <= size[1]:
        return larger
    return F.interpolate(larger, size, mode="bicubic", antialias=True).clamp(0, 1)


def _by_tiles(frames: torch.Tensor, upscale: Callable[[torch.Tensor], torch.Tensor], most: int) -> torch.Tensor:
    whole = list(rows((frames.shape[3], frames.shape[2])))
    bands = []
    for row in whole:
        band = frames.narrow(2, row.down.start, row.down.length)
        parts = [band.narrow(3, each.start, each.length) for each in row.columns]
        tiles = [_at_most(upscale(part), part, most) for part in parts]
        bands.append(_blended(tiles, row.columns, 3))
    return _blended(bands, [row.down for row in whole], 2)


def _blended(pieces: Sequence[torch.Tensor], stretches: Sequence[Stretch], axis: int) -> torch.Tensor:
    """Join the upscaled stretches of an axis, each blended over the one before."""
    factor = pieces[0].shape[axis] // stretches[0].length
    shape = list(pieces[0].shape)
    shape[axis] = (stretches[-1].start + stretches[-1].length) * factor
    canvas = pieces[0].new_zeros(shape)
    for piece, stretch in zip(pieces, stretches, strict=True):
        under = canvas.narrow(axis, stretch.start * factor, stretch.length * factor)
        along = [-1 if each == axis else 1 for each in range(4)]
        shares = torch.tensor(stretch.shares(factor), dtype=piece.dtype, device=piece.device).view(along)
        under.copy_(torch.lerp(under, piece, shares))
    return canvas


def resized_frames(frames: torch.Tensor, size: Size) -> torch.Tensor:
    """Resize frames, (F, C, H, W), 0 to 1, with Lanczos as Pillow does, cropping them to the new proportions.

    This runs on the device, as two matrix products, so that the engine's thread need not wait for the pixels.
    """
    full = frames.shape[3], frames.shape[2]
    left, top, right, bottom = placement(full, size, Fit.CROP).box
    across = _lanczos(full[0], size[0], left, right).to(frames.device)  # (width, W)
    down = _lanczos(full[1], size[1], top, bottom).to(frames.device)  # (height, H)
    wider = (frames.float() @ across.T).clamp(0, 1)
    return (down @ wider).clamp(0, 1).to(frames.dtype)


@lru_cache(maxsize=8)
def _lanczos(full: int, size: int, start: float, end: float) -> torch.Tensor:
    """Return the weights, (size, full), with which `full` pixels contribute to the `size` pixels that show the range
    from `start` to `end`.
    """
    scale = (end - start) / size
    # When reducing, the kernel widens to cover all pixels that become one.
    width = max(scale, 1.0)
    centres = start + (torch.arange(size, dtype=torch.float64) + 0.5) * scale
    offsets = (torch.arange(full, dtype=torch.float64) + 0.5 - centres[:, None]) / width
    weights = torch.sinc(offsets) * torch.sinc(offsets / LOBES) * (offsets.abs() < LOBES)
    return (weights / weights.sum(1, keepdim=True)).float()
