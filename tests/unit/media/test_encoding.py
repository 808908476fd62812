from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pytest
from PIL import Image

from core.errors import InvalidRequest
from core.generation.events import Picture
from core.generation.request import GenerationRequest, Lora, Task
from core.generation.step_cache import StepCache
from gateway.media import metadata
from gateway.media.encoding import (
    PICTURE_FORMATS,
    VIDEO_FORMATS,
    OutputFormat,
    encode_result,
    format_for,
    parameters_of,
    png_metadata,
)
from gateway.media.metadata import Metadata
from settings import Settings
from tests.support.metadata import read_parameters, user_comment
from tests.support.servers.serving import photo

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


@pytest.mark.parametrize("output_format", PICTURE_FORMATS)
def test_it_may_tell_it_as_the_web_ui_does_with_ours_beside_it(output_format: OutputFormat) -> None:
    image = opened(encode_result(request(), PICTURE, output_format, quality=80, metadata=Metadata.A1111))
    text = image.info["parameters"] if output_format is OutputFormat.PNG else user_comment(image)
    assert text is not None
    assert text.startswith("ein Äpfel 🍎\nNegative prompt: blurry\nSteps: 7, Sampler: Euler, Schedule type: Automatic")
    assert read_parameters(image)["prompt"] == "ein Äpfel 🍎"


def test_what_is_transparent_stays_so_but_in_a_jpeg_which_shows_it_on_white() -> None:
    glass = Picture(0, 7, Image.new("RGBA", (64, 64), (200, 0, 0, 0)))
    for output_format in (OutputFormat.PNG, OutputFormat.WEBP):
        image = opened(encode_result(request(), glass, output_format, quality=80))
        assert (image.mode, image.getchannel("A").getextrema()) == ("RGBA", (0, 0))
    image = opened(encode_result(request(), glass, OutputFormat.JPEG, quality=100))
    assert (image.mode, image.getpixel((32, 32))) == ("RGB", (255, 255, 255))


def test_an_operator_may_choose_the_web_uis_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "settings", lambda: Settings(image_metadata="a1111"))
    image = opened(encode_result(request(), PICTURE, OutputFormat.PNG, quality=80))
    assert image.info["parameters"].startswith("ein Äpfel")
    assert "Sampler: Euler" in png_metadata(request(), PICTURE).chunks[0][1].decode("utf-8", errors="replace")


def test_both_texts_of_a_jpeg_share_its_block() -> None:
    long = request(prompt="Äpfel " * 10_000)
    image = opened(encode_result(long, PICTURE, OutputFormat.JPEG, quality=80, metadata=Metadata.A1111))
    assert read_parameters(image)["prompt"].startswith("Äpfel Äpfel")
    assert (user_comment(image) or "").startswith("Äpfel Äpfel")


@pytest.mark.parametrize("output_format", PICTURE_FORMATS)
def test_a_file_tells_how_its_picture_was_drawn(output_format: OutputFormat) -> None:
    image = opened(encode_result(request(Task.IMAGE_TO_IMAGE), PICTURE, output_format, quality=80))
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
        "step_cache": "off",
        "strength": 0.5,
        "seed": 2**62,
        "output_format": output_format.value,
    }


@pytest.mark.parametrize("output_format", PICTURE_FORMATS)
@pytest.mark.parametrize("longest", ["🍎" * 32_000, "a" * 32_000, "\n" * 32_000, "a" * 100_000])
def test_the_longest_prompts_fit_or_begin(longest: str, output_format: OutputFormat) -> None:
    both = request(prompt=longest).model_copy(update={"negative_prompt": longest})
    parameters = read_parameters(opened(encode_result(both, PICTURE, output_format, quality=80)))
    for kept in (parameters["prompt"], parameters["negative_prompt"]):
        # JPEG has 64 KB for all of it.
        assert longest.startswith(kept) if output_format is OutputFormat.JPEG else kept == longest
        assert len(kept) > 5000


def test_png_keeps_every_pixel() -> None:
    data = encode_result(request(), PICTURE, OutputFormat.PNG, quality=1)
    assert opened(data).tobytes() == PICTURE.image.tobytes()


@pytest.mark.parametrize("output_format", [OutputFormat.JPEG, OutputFormat.WEBP])
def test_quality_costs_bytes(output_format: OutputFormat) -> None:
    small, large = (encode_result(request(), PICTURE, output_format, quality) for quality in (10, 95))
    assert len(small) < len(large)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_other_pictures_have_no_parameters(file_format: str) -> None:
    buffer = BytesIO()
    photo().save(buffer, file_format)
    with pytest.raises(ValueError, match="no parameters"):
        read_parameters(opened(buffer.getvalue()))


def test_whatever_steers_a_picture_is_among_its_parameters() -> None:
    steered = request().model_copy(
        update={
            "loras": (Lora(name="sketch", scale=0.5),),
            "reference_image": photo(),
            "reference_scale": 0.7,
            "control_image": photo(),
            "control_type": "canny",
            "control_scale": 0.9,
        }
    )
    parameters = parameters_of(steered, PICTURE)
    assert parameters["loras"] == [{"name": "sketch", "scale": 0.5}]
    assert parameters["reference_scale"] == 0.7
    assert (parameters["control_type"], parameters["control_scale"]) == ("canny", 0.9)


@pytest.mark.parametrize("used", [StepCache.OFF, StepCache.QUALITY, StepCache.FAST])
def test_the_step_cache_is_the_one_that_was_used(used: StepCache) -> None:
    automatic = request().model_copy(update={"step_cache": StepCache.AUTO})
    assert parameters_of(automatic, replace(PICTURE, step_cache=used))["step_cache"] == used


@pytest.mark.parametrize("task", [Task.TEXT_TO_IMAGE, Task.EDIT])
def test_what_a_request_does_not_use_is_not_among_its_parameters(task: Task) -> None:
    unused = {"strength", "loras", "reference_scale", "control_type", "control_scale", "num_frames", "fps"}
    assert not unused & parameters_of(request(task), PICTURE).keys()


def test_a_layer_says_how_many_there_are() -> None:
    layer = request(Task.EDIT).model_copy(update={"layered": True, "num_images": 3})
    assert parameters_of(layer, PICTURE)["num_images"] == 3
    assert "layered" not in parameters_of(layer, PICTURE), "that follows from the model"
    assert "num_images" not in parameters_of(request(), PICTURE)


@pytest.mark.parametrize("task", list(Task))
def test_files_fit_their_task(task: Task) -> None:
    fitting, others = (VIDEO_FORMATS, PICTURE_FORMATS) if task.is_video else (PICTURE_FORMATS, VIDEO_FORMATS)
    assert format_for(task, None) is fitting[0]
    assert [format_for(task, wanted) for wanted in fitting] == list(fitting)
    for wanted in others:
        with pytest.raises(InvalidRequest, match=f"{wanted} is not a format for {task}; choose one of {fitting[0]}, "):
            format_for(task, wanted)
