"""Random-weight checkpoints in the real diffusers classes, saved with `save_pretrained`.

They draw noise, but through the very pipelines that the real checkpoints use; each takes a second to
build and is the same every time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.tiny.images.chroma import tiny_chroma
from tests.tiny.images.flux import tiny_flux, tiny_flux_fill, tiny_flux_kontext, tiny_flux_schnell
from tests.tiny.images.flux2 import tiny_flux2, tiny_flux2_klein
from tests.tiny.images.glm_image import tiny_glm_image
from tests.tiny.images.hidream import tiny_hidream
from tests.tiny.images.qwen_image import (
    tiny_qwen_image,
    tiny_qwen_image_edit,
    tiny_qwen_image_edit_plus,
    tiny_qwen_image_layered,
)
from tests.tiny.images.qwen_image_21 import tiny_qwen_image_21
from tests.tiny.images.sana import tiny_sana, tiny_sana_sprint
from tests.tiny.images.stable_diffusion import tiny_stable_diffusion, tiny_stable_diffusion_3, tiny_stable_diffusion_xl
from tests.tiny.images.z_image import tiny_z_image
from tests.tiny.videos.hunyuan_video import tiny_hunyuan_video
from tests.tiny.videos.kandinsky import tiny_kandinsky
from tests.tiny.videos.ltx import tiny_ltx, tiny_ltx_distilled
from tests.tiny.videos.ltx2 import tiny_ltx2, tiny_ltx2_3, tiny_ltx2_3_distilled, tiny_ltx2_distilled
from tests.tiny.videos.wan import (
    tiny_wan,
    tiny_wan_animate,
    tiny_wan_flf2v,
    tiny_wan_i2v,
    tiny_wan_i2v_a14b,
    tiny_wan_ti2v,
    tiny_wan_vace,
)


@dataclass(frozen=True)
class Tiny:
    """How to make a checkpoint of one family, and how to draw with it."""

    save: Callable[[Path], Path]
    """Save it into a folder and return that."""
    scheduler: str = "flow_euler"
    num_frames: int = 1
    last_image: bool = False
    """Whether its clips may be given the last frame beside the first."""
    redux: bool = False
    """Whether Redux follows reference images for it, and not an IP-Adapter."""


TINY: Mapping[str, Tiny] = {
    "stable-diffusion": Tiny(tiny_stable_diffusion, "ddim"),
    "stable-diffusion-xl": Tiny(tiny_stable_diffusion_xl, "euler"),
    "stable-diffusion-3": Tiny(tiny_stable_diffusion_3),
    "flux": Tiny(tiny_flux),
    "flux-schnell": Tiny(tiny_flux_schnell, redux=True),
    "flux-fill": Tiny(tiny_flux_fill, redux=True),
    "flux-kontext": Tiny(tiny_flux_kontext),
    "flux2": Tiny(tiny_flux2),
    "flux2-klein": Tiny(tiny_flux2_klein),
    "chroma": Tiny(tiny_chroma),
    "qwen-image": Tiny(tiny_qwen_image),
    "qwen-image-edit": Tiny(tiny_qwen_image_edit),
    "qwen-image-edit-plus": Tiny(tiny_qwen_image_edit_plus),
    "qwen-image-layered": Tiny(tiny_qwen_image_layered),
    "qwen-image-2.1": Tiny(tiny_qwen_image_21),
    "z-image": Tiny(tiny_z_image),
    "glm-image": Tiny(tiny_glm_image),
    "hidream": Tiny(tiny_hidream, "unipc"),
    "sana": Tiny(tiny_sana, "dpmpp_2m"),
    "sana-sprint": Tiny(tiny_sana_sprint, "scm"),
    "wan": Tiny(tiny_wan, "unipc", num_frames=5),
    "wan-i2v": Tiny(tiny_wan_i2v, "unipc", num_frames=5),
    "wan-flf2v": Tiny(tiny_wan_flf2v, "unipc", num_frames=5, last_image=True),
    "wan-ti2v": Tiny(tiny_wan_ti2v, "unipc", num_frames=5),
    "wan-vace": Tiny(tiny_wan_vace, "unipc", num_frames=5, last_image=True),
    "wan-animate": Tiny(tiny_wan_animate, "unipc", num_frames=5),
    "ltx": Tiny(tiny_ltx, num_frames=9),
    "ltx-distilled": Tiny(tiny_ltx_distilled, num_frames=9, last_image=True),
    "ltx-2": Tiny(tiny_ltx2, num_frames=9),
    "ltx-2-distilled": Tiny(tiny_ltx2_distilled, num_frames=9),
    "ltx-2.3": Tiny(tiny_ltx2_3, num_frames=9),
    "ltx-2.3-distilled": Tiny(tiny_ltx2_3_distilled, num_frames=9),
    "hunyuan-video-1.5": Tiny(tiny_hunyuan_video, num_frames=5),
    "kandinsky-5": Tiny(tiny_kandinsky, num_frames=5),
}
"""By the name of the family."""

FURTHER: Mapping[str, tuple[str, Tiny]] = {
    "wan-i2v of 2.2": ("wan-i2v", Tiny(tiny_wan_i2v_a14b, "dpmpp_2m", num_frames=5, last_image=True)),
}
"""Checkpoints that can do what those of their families above cannot."""
