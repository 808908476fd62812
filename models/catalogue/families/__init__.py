"""Families: which diffusers pipelines do which task, and which of their modules share batches.

A family is a declaration, not a subclass. The engine reads it; nothing here imports torch or diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping

from models.catalogue.families.base import IN_ONE_CALL, TEXT_ENCODERS, CallStage, Family, Part, Unguided, tokenizer_of
from models.catalogue.families.images.chroma import CHROMA
from models.catalogue.families.images.flux import FLUX, FLUX_FILL, FLUX_KONTEXT, FLUX_SCHNELL
from models.catalogue.families.images.flux2 import FLUX_2, FLUX_2_KLEIN
from models.catalogue.families.images.glm_image import GLM_IMAGE
from models.catalogue.families.images.hidream import HIDREAM
from models.catalogue.families.images.qwen_image import (
    QWEN_IMAGE,
    QWEN_IMAGE_EDIT,
    QWEN_IMAGE_EDIT_PLUS,
    QWEN_IMAGE_LAYERED,
)
from models.catalogue.families.images.qwen_image_21 import QWEN_IMAGE_21
from models.catalogue.families.images.sana import SANA, SANA_SPRINT
from models.catalogue.families.images.stable_diffusion import STABLE_DIFFUSION, STABLE_DIFFUSION_3, STABLE_DIFFUSION_XL
from models.catalogue.families.images.z_image import Z_IMAGE
from models.catalogue.families.videos.hunyuan_video import HUNYUAN_VIDEO_1_5
from models.catalogue.families.videos.kandinsky import KANDINSKY_5
from models.catalogue.families.videos.ltx import LTX, LTX_DISTILLED
from models.catalogue.families.videos.ltx2 import LTX_2, LTX_2_3, LTX_2_3_DISTILLED, LTX_2_DISTILLED
from models.catalogue.families.videos.wan import (
    WAN,
    WAN_ANIMATE,
    WAN_FIRST_AND_LAST,
    WAN_IMAGE_TO_VIDEO,
    WAN_TEXT_AND_IMAGE_TO_VIDEO,
    WAN_VACE,
)

__all__ = ["FAMILIES", "IN_ONE_CALL", "TEXT_ENCODERS", "CallStage", "Family", "Part", "Unguided", "tokenizer_of"]

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        STABLE_DIFFUSION,
        STABLE_DIFFUSION_XL,
        STABLE_DIFFUSION_3,
        FLUX,
        FLUX_SCHNELL,
        FLUX_FILL,
        FLUX_KONTEXT,
        FLUX_2,
        FLUX_2_KLEIN,
        CHROMA,
        QWEN_IMAGE,
        QWEN_IMAGE_EDIT,
        QWEN_IMAGE_EDIT_PLUS,
        QWEN_IMAGE_LAYERED,
        QWEN_IMAGE_21,
        Z_IMAGE,
        GLM_IMAGE,
        HIDREAM,
        SANA,
        SANA_SPRINT,
        WAN,
        WAN_IMAGE_TO_VIDEO,
        WAN_FIRST_AND_LAST,
        WAN_TEXT_AND_IMAGE_TO_VIDEO,
        WAN_VACE,
        WAN_ANIMATE,
        LTX,
        LTX_DISTILLED,
        LTX_2,
        LTX_2_DISTILLED,
        LTX_2_3,
        LTX_2_3_DISTILLED,
        HUNYUAN_VIDEO_1_5,
        KANDINSKY_5,
    )
}
