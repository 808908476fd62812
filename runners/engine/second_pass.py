"""The second pass over an image: what the first has made is enlarged, and image-to-image goes on from it.

Both run in the image's own greenlet, so that the calls of either are merged with those of whatever else is generated.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from PIL import Image

from core.generation.fitting import Fit, Size, placement
from core.generation.request import GenerationRequest, Task
from core.generation.tuning import Tuning
from core.generation.upload import pixels_of
from models.catalogue.families import Family
from models.catalogue.families.tunable import ARGUMENTS, taken_by

LOBES = 3
"""Of the Lanczos kernel, as Pillow has it."""


def second_request(family: Family, request: GenerationRequest) -> GenerationRequest:
    """Return what image-to-image is asked for, but for the image itself; the request has `hires`."""
    hires = request.hires
    assert hires is not None
    task = Task.IMAGE_TO_IMAGE
    pipeline = (family.pipelines if request.control_type is None else family.controlled)[task]
    # Steps of its own would be those of the first pass, from all noise.
    idle = (ARGUMENTS - taken_by(family, pipeline)) | {"sigmas", "timesteps"}
    changes: dict[str, Any] = {name: Tuning.model_fields[name].default for name in idle}
    if request.control_image is not None:
        changes["control_image"] = pixels_of(request.control_image).resize(hires.size, Image.Resampling.LANCZOS)
    return request.model_copy(update={"task": task, "hires": None, **changes, **hires.model_dump()})


def enlarged(frames: torch.Tensor, size: Size) -> torch.Tensor:
    """Resize frames, (F, C, H, W) of 0 to 1, as Pillow does with Lanczos, where they are; cropped to the proportions.

    It is done on the device, by two products of matrices: the engine's thread need not wait for the pixels. A model
    that enlarges would take its place.
    """
    full = frames.shape[3], frames.shape[2]
    left, top, right, bottom = placement(full, size, Fit.CROP).box
    across = _lanczos(full[0], size[0], left, right).to(frames.device)  # (width, W)
    down = _lanczos(full[1], size[1], top, bottom).to(frames.device)  # (height, H)
    wider = (frames.float() @ across.T).clamp(0, 1)
    return (down @ wider).clamp(0, 1).to(frames.dtype)


@lru_cache(maxsize=8)
def _lanczos(full: int, size: int, start: float, end: float) -> torch.Tensor:
    """Return how much each of `full` pixels counts for each of `size` that show those from `start` to `end`,
    (size, full).
    """
    scale = (end - start) / size
    # Where it reduces, it looks at all that become one.
    width = max(scale, 1.0)
    centres = start + (torch.arange(size, dtype=torch.float64) + 0.5) * scale
    offsets = (torch.arange(full, dtype=torch.float64) + 0.5 - centres[:, None]) / width
    weights = torch.sinc(offsets) * torch.sinc(offsets / LOBES) * (offsets.abs() < LOBES)
    return (weights / weights.sum(1, keepdim=True)).float()
