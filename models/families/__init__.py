"""Families: which diffusers pipelines draw which task, and which of their modules share batches.

A family is a declaration, not a subclass. The engine reads it; nothing here imports torch or diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping

from models.families.base import Family, Part, Stage
from models.families.flux import FLUX
from models.families.stable_diffusion import STABLE_DIFFUSION, STABLE_DIFFUSION_3, STABLE_DIFFUSION_XL

__all__ = ["FAMILIES", "Family", "Part", "Stage"]

FAMILIES: Mapping[str, Family] = {
    family.name: family for family in (STABLE_DIFFUSION, STABLE_DIFFUSION_XL, STABLE_DIFFUSION_3, FLUX)
}
