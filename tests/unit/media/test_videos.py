"""Clips as files that players can show."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from core.generation.events import Clip, Sound
from core.generation.request import GenerationRequest, Task
from gateway.media.encoding import OutputFormat, encode_result, has_sound, idle_sound
from gateway.media.video_encoding import gif_durations_ms
from tests.support.engine.drawing import largest_difference, pixels
from tests.support.metadata import read_comment, read_parameters
from tests.support.servers.serving import decoded, photo

VIDEO = [OutputFormat.MP4, OutputFormat.WEBM]
FPS = 12
NOTE_HZ = 440
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


def tone(rate_hz: int, channels: int = 2) -> Sound:
    """Return as much of one note as the clip has pictures, in each channel an octave higher than in the one before."""
    moments = np.arange(round(len(FRAMES) / FPS * rate_hz)) / rate_hz
    waves = [np.sin(2 * np.pi * NOTE_HZ * 2**channel * moments) for channel in range(channels)]
    samples = (np.stack(waves, axis=1) * 20_000).astype("<i2").tobytes()
    return Sound(samples, channels=channels, rate_hz=rate_hz)


@pytest.mark.parametrize(("rate_hz", "channels"), [(24_000, 2), (48_000, 2), (16_000, 1), (11_025, 2)])
@pytest.mark.parametrize(("output_format", "codec"), [(OutputFormat.MP4, "aac"), (OutputFormat.WEBM, "opus")])
def test_a_video_is_heard_beside_its_pictures(
    output_format: OutputFormat, codec: str, rate_hz: int, channels: int
) -> None:
    clip = replace(CLIP, sound=tone(rate_hz, channels))
    files = {encode_result(request(), clip, output_format, 90) for _ in range(3)}
    (data,) = files
    assert has_sound(clip, output_format)
    assert parameters_in(data, output_format)["seed"] == 2**62
    with av.open(BytesIO(data), "r") as container:
        (track,) = container.streams.audio
        assert (track.codec_context.name, track.codec_context.channels) == (codec, channels)
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(track)], axis=1)
        seconds, rate = heard.shape[1] / track.rate, track.rate
    assert seconds == pytest.approx(len(FRAMES) / FPS, abs=0.1)
    for channel, samples in enumerate(heard):
        loudest = np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples)
        assert loudest == pytest.approx(NOTE_HZ * 2**channel, abs=5)
    assert len(decoded(data)) == len(FRAMES)


@pytest.mark.parametrize("output_format", VIDEO)
def test_sound_and_pictures_of_one_moment_are_near_each_other(output_format: OutputFormat) -> None:
    """Players look ahead for so much of a file, and no more."""
    long = replace(CLIP, frames=FRAMES * 8, sound=Sound(tone(24_000).samples * 8, 2, 24_000))
    with av.open(BytesIO(encode_result(request(), long, output_format, 90)), "r") as container:
        packets = [(each.stream.type, float(each.pts * each.time_base)) for each in container.demux() if each.pts]
    until = dict.fromkeys(("video", "audio"), 0.0)
    for kind, moment in packets:
        until[kind] = moment
        assert abs(until["video"] - until["audio"]) < 0.5, packets


def test_a_gif_is_silent_and_says_so() -> None:
    clip = replace(CLIP, sound=tone(24_000))
    assert encode_result(request(), clip, OutputFormat.GIF, 90) == encoded(OutputFormat.GIF)
    assert not has_sound(clip, OutputFormat.GIF)
    assert not has_sound(CLIP, OutputFormat.MP4)
    assert [len(idle_sound(each)) for each in (*VIDEO, OutputFormat.GIF)] == [0, 0, 1]
    assert idle_sound(OutputFormat.GIF)[0].startswith("output_format: gif is silent")


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
