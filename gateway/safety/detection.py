"""Prepare images for the detector, and judge its scores. Does not need the detector."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

SIZE_PX = 320
"""The detector's input size."""
# In the order of the detector's output (nudenet 3.4.2, nudenet.py).
LABELS = (
    "FEMALE_GENITALIA_COVERED",
    "FACE_FEMALE",
    "BUTTOCKS_EXPOSED",
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED",
    "ANUS_EXPOSED",
    "FEET_EXPOSED",
    "BELLY_COVERED",
    "FEET_COVERED",
    "ARMPITS_COVERED",
    "ARMPITS_EXPOSED",
    "FACE_MALE",
    "BELLY_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
    "ANUS_COVERED",
    "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
)
REFUSED = (
    "ANUS_EXPOSED",
    "BUTTOCKS_EXPOSED",
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
)
_REFUSED = [LABELS.index(label) for label in REFUSED]


def as_seen(images: list[Image.Image]) -> npt.NDArray[np.uint8]:
    """Return images as the detector takes them: (N, 320, 320, 3), RGB, padded with black to squares.

    nudenet 3.4.2 means to show its model RGB, and swaps the channels twice; on the photograph in
    tests/contracts/rules/test_safety.py the model is surer of the face in RGB (0.81) than in BGR (0.68).
    """
    return np.stack([np.asarray(_square(image)) for image in images])


def worst(scores: npt.NDArray[np.float32]) -> float:
    """Return how sure the detector is that something refused is in one of the images; scores are (N, labels)."""
    return float(scores[:, _REFUSED].max())


def _square(image: Image.Image) -> Image.Image:
    # Smaller first: a padded copy of a large image would only be shrunk.
    scale = SIZE_PX / max(image.size)
    small = image.convert("RGB").resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.BILINEAR)
    square = Image.new("RGB", (SIZE_PX, SIZE_PX))
    square.paste(small)
    return square
