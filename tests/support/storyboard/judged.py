"""Whether the embedded model's pictures show what they should: its judge looks at them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from models.miniature.judge import load_judge, name_concepts


def seen_in(picture: Image.Image) -> str:
    """Return the concept in a picture, such as `apple`."""
    values = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    return name_concepts(load_judge(), torch.from_numpy(values[None]).permute(0, 3, 1, 2) * 2 - 1)[0]
