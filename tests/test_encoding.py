from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from api.encoding import OutputFormat, encode_picture, read_parameters
from models.request import GenerationRequest, Task
from runners.events import Picture
from tests.serving import photo

PICTURE = Picture(index=1, seed=2**62, image=photo())


def request(task: Task = Task.TEXT_TO_IMAGE, prompt: str = "ein Äpfel 🍎") -> GenerationRequest:
    return GenerationRequest(
        model="tiny",
        task=task,
        prompt=prompt,
        negative_prompt="blurry",
        width=64,
        height=64,
        num_inference_steps=7,
        guidance_scale=2.5,
        seed=2**62 - 1,
        num_images=2,
        scheduler="euler",
        strength=0.5 if task is not Task.TEXT_TO_IMAGE else 1.0,
    )


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_a_file_tells_how_its_picture_was_drawn(output_format: OutputFormat) -> None:
    image = opened(encode_picture(request(Task.IMAGE_TO_IMAGE), PICTURE, output_format, quality=80))
    assert image.format == output_format.value.upper()
    parameters = read_parameters(image)
    assert parameters.pop("quality", 80) == 80
    assert parameters == {
        "model": "tiny",
        "task": "image-to-image",
        "prompt": "ein Äpfel 🍎",
        "negative_prompt": "blurry",
        "width": 64,
        "height": 64,
        "num_inference_steps": 7,
        "guidance_scale": 2.5,
        "scheduler": "euler",
        "strength": 0.5,
        "seed": 2**62,
        "output_format": output_format.value,
    }


@pytest.mark.parametrize("output_format", list(OutputFormat))
def test_the_longest_prompts_fit(output_format: OutputFormat) -> None:
    longest = "🍎" * 7000
    image = opened(encode_picture(request(prompt=longest), PICTURE, output_format, quality=80))
    assert read_parameters(image)["prompt"] == longest


def test_png_keeps_every_pixel() -> None:
    data = encode_picture(request(), PICTURE, OutputFormat.PNG, quality=1)
    assert opened(data).tobytes() == PICTURE.image.tobytes()


@pytest.mark.parametrize("output_format", [OutputFormat.JPEG, OutputFormat.WEBP])
def test_quality_costs_bytes(output_format: OutputFormat) -> None:
    small, large = (encode_picture(request(), PICTURE, output_format, quality) for quality in (10, 95))
    assert len(small) < len(large)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_other_pictures_have_no_parameters(file_format: str) -> None:
    buffer = BytesIO()
    photo().save(buffer, file_format)
    with pytest.raises(ValueError, match="no parameters"):
        read_parameters(opened(buffer.getvalue()))
