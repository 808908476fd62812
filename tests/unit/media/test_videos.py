"""Clips as files that players can show."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from core.generation.events import Clip
from core.generation.request import GenerationRequest, Task
from gateway.media.encoding import OutputFormat, encode_result
from gateway.media.videos import gif_durations_ms
from tests.support.engine.drawing import largest_difference, pixels
from tests.support.metadata import read_comment, read_parameters
from tests.support.servers.serving import decoded, photo

VIDEO = [OutputFormat.MP4, OutputFormat.WEBM]
FPS = 12
FRAMES = tuple(Image.blend(photo(64, 48), Image.new("RGB", (64, 48)), number / 12) for number in range(9))
CLIP = Clip(index=0, seed=2**62, frames=FRAMES, fps=FPS)
PROMPT = "ein Äpfel 🍎"


def request(prompt: str = PROMPT) -> GenerationRequest:
    return GenerationRequest(
        model="tiny-video",
        task=Task.TEXT_TO_VIDEO,
        prompt=prompt,
        width=64,
        height=48,
        num_inference_steps=7,
        guidance_scale=2.5,
        seed=2**62,
        scheduler="unipc",
        num_frames=len(FRAMES),
        fps=FPS,
    )


def encoded(output_format: OutputFormat, quality: int = 90, prompt: str = PROMPT) -> bytes:
    return encode_result(request(prompt), CLIP, output_format, quality)


def parameters_in(data: bytes, output_format: OutputFormat) -> dict[str, Any]:
    if output_format is OutputFormat.GIF:
        return read_parameters(Image.open(BytesIO(data)))
    parameters: dict[str, Any] = json.loads(read_comment(data) or "")
    return parameters


@pytest.mark.parametrize(("output_format", "codec"), [(OutputFormat.MP4, "h264"), (OutputFormat.WEBM, "vp9")])
def test_a_video_has_every_frame_at_its_time(output_format: OutputFormat, codec: str) -> None:
    with av.open(BytesIO(encoded(output_format)), "r") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == (codec, "yuv420p")
        assert (stream.width, stream.height) == (64, 48)
        assert stream.average_rate == FPS
        times = [frame.time for frame in container.decode(stream)]
    assert times == pytest.approx([number / FPS for number in range(len(FRAMES))], abs=0.001)


@pytest.mark.parametrize("output_format", VIDEO)
def test_a_video_looks_like_its_frames(output_format: OutputFormat) -> None:
    for frame, shown in zip(FRAMES, decoded(encoded(output_format, quality=100)), strict=True):
        assert np.abs(pixels(frame) - pixels(shown)).mean() < 4


@pytest.mark.parametrize("output_format", VIDEO)
@pytest.mark.parametrize("colour", ["red", "lime", "blue", "white", "black", "orange"])
def test_colours_are_kept(output_format: OutputFormat, colour: str) -> None:
    image = Image.new("RGB", (64, 48), colour)
    clip = Clip(index=0, seed=1, frames=(image,), fps=FPS)
    (shown,) = decoded(encode_result(request(), clip, output_format, quality=100))
    assert largest_difference(image, shown) <= 3


@pytest.mark.parametrize("output_format", [*VIDEO, OutputFormat.GIF])
def test_a_file_tells_how_its_clip_was_made(output_format: OutputFormat) -> None:
    parameters = parameters_in(encoded(output_format), output_format)
    assert parameters.pop("quality", 90) == 90
    assert parameters == {
        "model": "tiny-video",
        "task": "text-to-video",
        "prompt": PROMPT,
        "negative_prompt": "",
        "width": 64,
        "height": 48,
        "num_inference_steps": 7,
        "guidance_scale": 2.5,
        "scheduler": "unipc",
        "step_cache": "off",
        "num_frames": len(FRAMES),
        "fps": FPS,
        "seed": 2**62,
        "output_format": output_format.value,
    }


@pytest.mark.parametrize("output_format", [*VIDEO, OutputFormat.GIF])
def test_the_longest_prompts_fit(output_format: OutputFormat) -> None:
    longest = "🍎" * 7000
    assert parameters_in(encoded(output_format, prompt=longest), output_format)["prompt"] == longest


@pytest.mark.parametrize("output_format", [*VIDEO, OutputFormat.GIF])
def test_equal_clips_give_equal_bytes(output_format: OutputFormat) -> None:
    assert len({encoded(output_format) for _ in range(3)}) == 1


@pytest.mark.parametrize("output_format", VIDEO)
def test_quality_costs_bytes(output_format: OutputFormat) -> None:
    sizes = [len(encoded(output_format, quality)) for quality in (1, 50, 90, 100)]
    assert sizes == sorted(set(sizes))


def test_an_mp4_can_be_played_while_it_arrives() -> None:
    data = encoded(OutputFormat.MP4)
    assert data.index(b"moov") < data.index(b"mdat")


def test_a_gif_repeats_and_keeps_time() -> None:
    gif = Image.open(BytesIO(encoded(OutputFormat.GIF)))
    assert (gif.size, gif.info["loop"]) == ((64, 48), 0)
    shown_ms = [frame.info["duration"] for frame in ImageSequence.Iterator(gif)]
    assert (len(shown_ms), sum(shown_ms)) == (len(FRAMES), 1000 * len(FRAMES) / FPS)


@pytest.mark.parametrize(("fps", "durations"), [(10, [100] * 4), (16, [60, 60, 70, 60]), (30, [30, 40, 30, 30])])
def test_gif_times_are_rounded_without_drifting(fps: int, durations: list[int]) -> None:
    assert gif_durations_ms(4, fps) == durations
    assert min(gif_durations_ms(60, 60)) == 20, "browsers show faster frames slowly"
