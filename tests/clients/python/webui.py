"""What webuiapi makes of a server: `python webui.py ADDRESS PICTURE MASK` prints JSON.

Runs in an environment of its own (tools/need-clients).
"""

from __future__ import annotations

import base64
import json
import sys
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from webuiapi import WebUIApi  # type: ignore[import-not-found]

ADDRESS, PICTURE, MASK = urlsplit(sys.argv[1]), Image.open(sys.argv[2]), Image.open(sys.argv[3])
APPLE: dict[str, Any] = {"prompt": "a red apple", "steps": 2, "width": 64, "height": 64, "seed": 7}


def in_base64(image: Image.Image) -> str:
    """Return an image with its texts, as files have them."""
    texts, buffer = PngInfo(), BytesIO()
    for name, text in image.info.items():
        texts.add_itxt(str(name), str(text))
    image.save(buffer, "PNG", pnginfo=texts)
    return base64.b64encode(buffer.getvalue()).decode()


def shown(result: Any) -> dict[str, Any]:
    return {"images": [in_base64(image) for image in result.images], "info": result.info}


def error(api: WebUIApi) -> Any:
    try:
        api.txt2img(**{**APPLE, "width": 7})
    except RuntimeError as refused:
        return refused.args


api = WebUIApi(host=ADDRESS.hostname, port=ADDRESS.port)
api.util_set_model("tiny", find_closest=False)
drawn = api.txt2img(**APPLE, batch_size=2)
seen = {
    "models": api.util_get_model_names(),
    "model": api.util_get_current_model(),
    "samplers": api.util_get_sampler_names(),
    "schedulers": api.util_get_scheduler_names(),
    "drawn": shown(drawn),
    "changed": shown(api.img2img(images=[PICTURE], **APPLE)),
    "repainted": shown(api.img2img(images=[PICTURE], mask_image=MASK, **APPLE)),
    "said": api.png_info(drawn.image).info,
    "upscaled": in_base64(api.extra_single_image(PICTURE, upscaler_1="Lanczos", upscaling_resize=2).image),
    "progress": api.get_progress(),
    "error": error(api),
}
json.dump(seen, sys.stdout)
