"""Converts colours from a file's profile to sRGB, as screens show them."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image, ImageChops, ImageCms

Convert = Callable[[Image.Image], Image.Image]

_GREY = ("1", "L", "LA", "I")
_WORKING_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's modes by a profile's colour space."""
_INVISIBLE = 2
"""A profile that changes colours by at most this much of 255 counts as sRGB, and its images are not converted."""


def to_srgb(file: Image.Image) -> Convert:
    """Return what converts parts of a file, of 8 bits a channel; without a usable profile it changes nothing."""
    profile = file.info.get("icc_profile")
    if not profile:
        return _unchanged
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        mode = _WORKING_MODES.get(source.profile.xcolor_space.strip(), "")
        if not _fits(mode, file.mode):
            return _unchanged
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return _unchanged
    return _unchanged if _is_srgb(mode, transform) else lambda part: _converted(part, mode, transform)


def _unchanged(part: Image.Image) -> Image.Image:
    return part


def _fits(mode: str, file_mode: str) -> bool:
    """Whether a profile for a mode can belong to a file; grey files may have an RGB profile."""
    if file_mode in _GREY or file_mode.startswith("I;16"):
        return mode in ("L", "RGB")
    return mode == ("CMYK" if file_mode == "CMYK" else "RGB")


def _is_srgb(mode: str, transform: ImageCms.ImageCmsTransform) -> bool:
    if mode != "RGB":
        return False
    levels = np.linspace(0, 255, 6, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(6, 36, 3)
    probe = Image.fromarray(cube)
    changes = ImageChops.difference(probe, ImageCms.applyTransform(probe, transform) or probe)
    return bool(np.asarray(changes).max() <= _INVISIBLE)


def _converted(part: Image.Image, mode: str, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(part.convert(mode), transform)
    assert converted is not None, "only a transform in place returns nothing"
    if part.has_transparency_data:
        converted.putalpha(part.convert("RGBA").getchannel("A"))
    return converted
