"""Sizes of what is generated, and of the images that it is generated from: docs/images.md has the rules for callers."""

from __future__ import annotations

import math

from PIL import Image

from core.errors import InvalidRequest
from core.generation.draft import Draft
from core.generation.hints import cropped_hint, ignored_hint, snapped_hint
from core.pixels.fitting import Fit, Size, placed, placement
from core.pixels.upload import Pixels, UploadedImage
from core.pixels.video import UploadedVideo
from models.catalogue.entry import Entry
from models.catalogue.limits import Limits, TaskSettings
from models.catalogue.resolving.checks import within

MAX_PROPORTION = 8
"""The largest ratio of sides of any image, uploaded or generated."""
PROPORTION = f"one side may be at most {MAX_PROPORTION} times as long as the other"


def size_of(draft: Draft, entry: Entry, *, snaps: bool = False) -> Size:
    """Return the size to generate: the request's, the first image's, or the model's. Raises InvalidRequest.

    With `snaps`, a size that is not allowed becomes the nearest one that is. Pipelines that choose the size themselves
    keep only the proportions of that; for layers only its area, as they have their image's proportions.
    """
    size = _size_within_limits(draft, entry.tasks[draft.task], snaps)
    own = entry.family_spec.own_size.get(draft.task)
    if own is None:
        return size
    return own(*(_in_proportions(draft.images[0], size) if entry.family_spec.layered else size))


def _size_within_limits(draft: Draft, settings: TaskSettings, snaps: bool) -> Size:
    defaults, limits = settings.defaults, settings.limits
    image = draft.leading
    if image is None:
        width, height = draft.width or defaults.width, draft.height or defaults.height
    elif draft.width is not None:
        width, height = draft.width, draft.height or _other_side(draft.width, image.height / image.width, limits)
    elif draft.height is not None:
        width, height = _other_side(draft.height, image.width / image.height, limits), draft.height
    else:
        width, height = fitted_size(*image.size, limits)
    if snaps:
        width, height = fitted_size(width, height, limits)
    check_size(width, height, limits)
    if (draft.width or draft.height) and too_long(width, height):
        raise InvalidRequest("width", f"{width} x {height}: {PROPORTION}")
    return width, height


def fitted_size(width: int, height: int, limits: Limits) -> Size:
    """Return the default output size for an uploaded image of this size.

    The image is scaled, keeping its proportions, until it is within the limits, and each side is rounded to
    the nearest allowed multiple.
    """
    largest = min(limits.max_px / max(width, height), math.sqrt(limits.max_pixels / (width * height)))
    scale = max(min(1.0, largest), limits.min_px / min(width, height))
    sides = [_nearest_allowed(side * scale, limits) for side in (width, height)]
    while sides[0] * sides[1] > limits.max_pixels:
        sides[sides.index(max(sides))] -= limits.multiple_px
    return sides[0], sides[1]


def check_proportions(field: str, image: Pixels | UploadedVideo) -> None:
    """Raise InvalidRequest for an image so elongated that models would scale it to something huge."""
    if too_long(*image.size):
        raise InvalidRequest(field, f"is {image.width} x {image.height} pixels; {PROPORTION}")


def fit_for(draft: Draft, image: Pixels | UploadedVideo, size: Size, limits: Limits) -> Fit:
    """Return how to fit an image to the size: as asked, or cropped if the proportions differ by more than rounding.

    A requested size is taken as exact; one derived from an image was rounded to the model's multiple.
    """
    if draft.fit is not None:
        return draft.fit
    follows = draft.leading is not None and size != (draft.width, draft.height)
    slack = limits.multiple_px / 2 if follows else 0.5
    lowest, highest = (
        [(side + sign * slack) / full for side, full in zip(size, image.size, strict=True)] for sign in (-1, 1)
    )
    return Fit.STRETCH if max(lowest) <= min(highest) else Fit.CROP


def resized(image: Pixels, width: int, height: int, fit: Fit = Fit.STRETCH, background: str = "white") -> Pixels:
    """Return the image at this size, unchanged if it has it already. An upload knows its own background."""
    if image.size == (width, height):
        return image
    if isinstance(image, UploadedImage):
        return image.resized(width, height, fit)
    # Masks are not smoothed: areas that their author did not paint must not be partly repainted.
    is_mask = image.mode == "L"
    resampling = Image.Resampling.NEAREST if is_mask else Image.Resampling.LANCZOS
    place = placement(image.size, (width, height), fit)
    return placed(image, place, (width, height), resampling, "black" if is_mask else background)


def looked_at(image: Pixels, max_pixels: int) -> Pixels:
    """Return an image reduced to at most `max_pixels`, in its own proportions."""
    scale = (max_pixels / (image.width * image.height)) ** 0.5
    if scale >= 1:
        return image
    width, height = (max(1, int(side * scale)) for side in image.size)
    return resized(image, width, height)


def seen_size(field: str, entry: Entry, size: Size) -> Size:
    """Return the size at which a model sees an image or video when generating results of `size`."""
    animation = entry.family_spec.animation
    return (animation.face_px, animation.face_px) if animation and field == "face_video" else size


def size_hints(draft: Draft, entry: Entry, size: Size, limits: Limits) -> tuple[str, ...]:
    """Return hints about how images and videos were fitted to the size."""
    given: dict[str, Pixels | UploadedVideo | None] = {
        "image": draft.image,
        "last_image": draft.last_image,
        "control_image": draft.control_image,
        **draft.named_videos,
    }
    if draft.mask is not None and draft.images:
        given["images"] = draft.images[0]
    fitted = {name: each for name, each in given.items() if each is not None}
    asked = draft.width or size[0], draft.height or size[1]
    snapped = None if asked == size else snapped_hint(asked, size)
    if draft.fit is not None and not fitted:
        return tuple(
            filter(None, (snapped, ignored_hint("fit", "only images that get the size of the result are fitted")))
        )
    hints = (_cropped(name, each, draft, seen_size(name, entry, size), limits) for name, each in fitted.items())
    return tuple(filter(None, (snapped, *hints)))


def _cropped(name: str, image: Pixels | UploadedVideo, draft: Draft, size: Size, limits: Limits) -> str | None:
    if fit_for(draft, image, size, limits) is not Fit.CROP:
        return None
    return cropped_hint(name, image.size, placement(image.size, size, Fit.CROP).box)


def _in_proportions(image: Pixels, size: Size) -> tuple[float, float]:
    """Return the sides of an image scaled to the area of `size`.

    They are not rounded, so that asking for the size that results gives the same size again.
    """
    scale = math.sqrt(size[0] * size[1] / (image.width * image.height))
    return image.width * scale, image.height * scale


def _other_side(side: int, proportion: float, limits: Limits) -> int:
    """Return the side that was not given, by the image's proportions."""
    most = limits.max_pixels // side // limits.multiple_px * limits.multiple_px
    return _nearest_allowed(min(side * proportion, most), limits)


def too_long(width: int, height: int, most: int = MAX_PROPORTION) -> bool:
    return max(width, height) > most * min(width, height)


def _nearest_allowed(side: float, limits: Limits) -> int:
    multiple = limits.multiple_px
    smallest, largest = math.ceil(limits.min_px / multiple), limits.max_px // multiple
    return multiple * min(max(round(side / multiple), smallest), largest)


def check_size(width: int, height: int, limits: Limits, of: str = "") -> None:
    """Raise InvalidRequest for a size that a model does not generate; `of` is a prefix for the fields' names."""
    for field, side in ((f"{of}width", width), (f"{of}height", height)):
        within(field, side, limits.min_px, limits.max_px)
        if side % limits.multiple_px:
            raise InvalidRequest(field, f"{side} is not a multiple of {limits.multiple_px}")
    if width * height > limits.max_pixels:
        raise InvalidRequest(
            f"{of}width", f"{width} x {height} is {width * height} pixels; at most {limits.max_pixels} are allowed"
        )
