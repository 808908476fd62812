"""Clips as files that players can show, and the families' other checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from diffusers import UniPCMultistepScheduler
from PIL import Image, ImageSequence

from core.events import Clip, Preview, Step
from core.request import GenerationRequest, Task
from gateway.media.encoding import OutputFormat, encode_result
from gateway.media.videos import gif_durations_ms
from models.catalogue.families import FAMILIES
from models.catalogue.families.schedulers import FLOW_MULTISTEP
from models.weights.previews import LatentPreview
from runners.engine.engine import Engine, EngineLimits
from runners.engine.views import make_scheduler
from tests.support.drawing import draw, largest_difference, pixels
from tests.support.drawing import request as drawing_request
from tests.support.metadata import read_comment, read_parameters
from tests.support.parity import BATCH_TOKENS, TOLERANCE, compare, load_tiny
from tests.support.serving import decoded, photo
from tests.tiny import TINY, Tiny
from tests.tiny.wan import tiny_wan_a14b, tiny_wan_i2v_a14b

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


@pytest.mark.parametrize(
    ("family", "tiny"),
    [
        ("wan", Tiny(tiny_wan_a14b, "unipc", num_frames=5)),
        ("wan", Tiny(tiny_wan_a14b, "flow_euler", num_frames=5)),
        ("wan-i2v", Tiny(tiny_wan_i2v_a14b, "dpmpp_2m", num_frames=5)),
    ],
)
async def test_checkpoints_with_two_transformers_are_drawn_as_alone(family: str, tiny: Tiny, tmp_path: Path) -> None:
    results = await compare(family, tmp_path, tiny)
    assert max(result.difference for result in results) <= TOLERANCE
    assert all(result.largest_batch > 1 for result in results), "nothing was shared"


@pytest.mark.parametrize(
    ("name", "setting"), [("unipc", "flow_shift"), ("dpmpp_2m", "flow_shift"), ("flow_euler", "shift")]
)
def test_samplers_shift_as_the_checkpoint_says(name: str, setting: str) -> None:
    checkpoint = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0)
    sampler = make_scheduler(FLOW_MULTISTEP[name], checkpoint.config)
    assert sampler.config[setting] == 5.0
    sampler.set_timesteps(4)
    # Unshifted, the second of four steps starts at 0.75 or below.
    assert float(sampler.sigmas[1]) > 0.85


@pytest.mark.parametrize(
    ("family", "channels", "size_px"),
    [("wan", 16, 8), ("wan-i2v", 16, 8), ("wan-ti2v", 48, 4), ("ltx", 8, 2), ("ltx-distilled", 8, 2)],
)
async def test_steps_and_previews_arrive_before_the_clip(
    family: str, channels: int, size_px: int, tmp_path: Path
) -> None:
    tiny = TINY[family]
    model = replace(load_tiny(family, tmp_path), preview=LatentPreview([[0.01] * 3] * channels, [0.0] * 3))
    engine = Engine(model, EngineLimits(BATCH_TOKENS))
    try:
        for task in FAMILIES[family].pipelines:
            wanted = {"scheduler": tiny.scheduler, "num_frames": tiny.num_frames, "num_inference_steps": 8, "fps": 16}
            events = await draw(engine, drawing_request(task, **wanted, progress=True, preview_every=4))
            assert [event.step for event in events if isinstance(event, Step)] == list(range(1, 9))
            previews = [event.image.size for event in events if isinstance(event, Preview)]
            assert previews == [(size_px, size_px)] * 2
            clip = events[-1]
            assert isinstance(clip, Clip)
            assert (len(clip.frames), clip.fps, clip.seed) == (tiny.num_frames, 16, 7)
    finally:
        engine.close()
