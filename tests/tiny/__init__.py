"""Random-weight checkpoints in the real diffusers classes, saved with `save_pretrained`.

They draw noise, but through the very pipelines that the real checkpoints use; each takes a second to
build and is the same every time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.tiny.flux import tiny_flux
from tests.tiny.stable_diffusion import tiny_stable_diffusion, tiny_stable_diffusion_3, tiny_stable_diffusion_xl


@dataclass(frozen=True)
class Tiny:
    """How to make a checkpoint of one family, and how to draw with it."""

    save: Callable[[Path], Path]
    """Save it into a folder and return that."""
    scheduler: str = "flow_euler"
    num_frames: int = 1


TINY: Mapping[str, Tiny] = {
    "stable-diffusion": Tiny(tiny_stable_diffusion, "ddim"),
    "stable-diffusion-xl": Tiny(tiny_stable_diffusion_xl, "euler"),
    "stable-diffusion-3": Tiny(tiny_stable_diffusion_3),
    "flux": Tiny(tiny_flux),
}
"""By the name of the family."""
