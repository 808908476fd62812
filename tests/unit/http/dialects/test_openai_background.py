"""OpenAI's `background`: transparency where the model and the file have it, and white where it is not wanted."""

from __future__ import annotations

from io import BytesIO
from typing import Any, cast

import pytest
from PIL import Image

from api.openai.answers import common_fields, file_of
from api.openai.drafting import AdmittedImages, admit, check_background
from api.openai.forms import EditForm, GenerationForm
from core.errors import InvalidRequest
from core.generation.events import Picture
from core.pixels.upload import UploadedImage
from gateway.gateway import Gateway
from gateway.media.reading.decoding import uploaded
from gateway.safety.content_policy import ContentPolicy
from models.catalogue.catalogue import SHIPPED, load_catalogue
from standalone.in_process import Unmetered
from tests.support.engine.drawing import request
from tests.support.image_files import MAX_PX, saved
from tests.support.resolving import LIMITS_OF_SERVER
from tests.support.servers.serving import half_mask, photo

CATALOGUE = load_catalogue(*SHIPPED)
GLASS = Picture(0, 7, Image.new("RGBA", (64, 64), (200, 0, 0, 0)))


@pytest.mark.parametrize(("transparent", "mode", "shown"), [(True, "RGBA", "transparent"), (False, "RGB", "opaque")])
def test_files_are_what_the_answer_says(transparent: bool, mode: str, shown: str) -> None:
    admitted = AdmittedImages(GenerationForm(prompt="glass"), request(), False, None, {}, transparent)
    with Image.open(BytesIO(file_of(admitted, GLASS))) as file:
        assert file.mode == mode
    assert common_fields(admitted)["background"] == shown


@pytest.mark.parametrize(
    ("model", "fields", "said"),
    [
        ("sdxl", {}, "background: sdxl generates no transparency"),
        ("qwen-image-2.1", {"output_format": "jpeg"}, "background: jpeg files have no transparency"),
    ],
)
def test_transparency_that_cannot_be_is_refused(model: str, fields: dict[str, Any], said: str) -> None:
    form = GenerationForm(prompt="glass", background="transparent", **fields)
    with pytest.raises(InvalidRequest, match=said):
        check_background(form, CATALOGUE.get(model))
    check_background(GenerationForm(prompt="glass", background="transparent"), CATALOGUE.get("qwen-image-2.1"))
    check_background(GenerationForm(prompt="glass", background="opaque", **fields), CATALOGUE.get(model))


async def test_what_a_mask_keeps_is_opaque() -> None:
    gateway = Gateway(CATALOGUE, {}, LIMITS_OF_SERVER, cast(Any, None), Unmetered(), ContentPolicy())
    form = EditForm(prompt="glass", model="qwen-image-2.1", image=(photo(),), mask=half_mask(), size="1024x1024")
    assert not (await admit(gateway, form)).transparent
    assert (await admit(gateway, form.model_copy(update={"mask": None}))).transparent
    with pytest.raises(InvalidRequest, match="background: what a mask keeps is opaque"):
        await admit(gateway, form.model_copy(update={"background": "transparent"}))


async def test_a_hole_that_is_the_mask_is_not_called_one_that_was_sent() -> None:
    catalogue = CATALOGUE.only(["qwen-image-2.1"], {"dall-e-2": "qwen-image-2.1"})
    gateway = Gateway(catalogue, {}, LIMITS_OF_SERVER, cast(Any, None), Unmetered(), ContentPolicy())
    image = uploaded(saved(GLASS.image), "image", MAX_PX)
    form = EditForm(prompt="glass", model="dall-e-2", image=(image,), background="transparent", size="1024x1024")
    with pytest.raises(InvalidRequest, match="background: the image's transparent part is repainted"):
        await admit(gateway, form)
    unread = UploadedImage(b"", image.size, cast(Any, None))
    with pytest.raises(InvalidRequest, match="background: jpeg files have no transparency"):
        await admit(gateway, form.model_copy(update={"image": (unread,), "output_format": "jpeg"}))
