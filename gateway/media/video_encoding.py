"""Clips as files: MP4 and WebM by FFmpeg's encoders, GIF by Pillow. The same clip and comment give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from core.generation.events import Clip, Sound

GIF_TICKS_PER_S = 100
GIF_MIN_TICKS = 2
"""Browsers treat a frame of one tick as a mistake and show it for ten."""
SOUND_BITS_PER_S = 160_000
RESAMPLED_HZ = 48_000
"""The rate for encoders that do not support a sound's own."""
LAYOUTS = {1: "mono", 2: "stereo"}


@dataclass(frozen=True)
class Codec:
    """An FFmpeg encoder in its container; `crf` is its constant rate factor at quality 1 and at quality 100."""

    container: str
    encoder: Literal["libx264", "libvpx-vp9"]
    sound_encoder: Literal["aac", "libopus"]
    crf: tuple[int, int]
    options: Mapping[str, str]
    container_options: Mapping[str, str]

    def crf_at(self, quality: int) -> int:
        worst, best = self.crf
        return round(worst + (best - worst) * (quality - 1) / 99)


MP4 = Codec(
    container="mp4",
    encoder="libx264",
    sound_encoder="aac",
    crf=(48, 14),
    # With frames that depend on later ones (B-frames), x264 sometimes writes different bytes for the same input.
    options={"bf": "0"},
    container_options={"movflags": "+faststart", "fflags": "+bitexact"},
)
WEBM = Codec(
    container="webm",
    encoder="libvpx-vp9",
    sound_encoder="libopus",
    crf=(60, 16),
    # A bit rate of 0 leaves the size to the rate factor; `cpu-used` trades a little size for speed.
    options={"b": "0", "deadline": "good", "cpu-used": "4"},
    container_options={"fflags": "+bitexact"},
)


def encode_video(clip: Clip, codec: Codec, quality: int, comment: str) -> bytes:
    """Write a clip of even width and height as BT.709 with halved colour resolution, and its sound, if it has one.

    `quality` is that of the frames, 1 to 100.
    """
    with TemporaryDirectory() as folder:
        # A file, since FFmpeg rereads an MP4 to put its index in front.
        file = Path(folder, "clip")
        with av.open(file, "w", format=codec.container, options=dict(codec.container_options)) as container:
            container.metadata["comment"] = comment
            options = {**codec.options, "crf": str(codec.crf_at(quality))}
            stream = container.add_stream(codec.encoder, rate=clip.fps, options=options)
            stream.width, stream.height = clip.frames[0].size
            stream.pix_fmt = "yuv420p"
            _describe(stream.codec_context)
            track = None if clip.sound is None else _SoundTrack(container, codec.sound_encoder, clip.sound)
            for number, image in enumerate(clip.frames, start=1):
                frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24").reformat(
                    format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
                )
                container.mux(stream.encode(frame))
                if track is not None:
                    track.write_until(number / clip.fps)
            container.mux(stream.encode())
            if track is not None:
                track.end()
        return file.read_bytes()


class _SoundTrack:
    """Writes a clip's sound in pieces between its frames, since players look for both in one place of the file."""

    def __init__(self, container: OutputContainer, encoder: str, sound: Sound) -> None:
        self._container = container
        self._sound = sound
        self._samples = np.frombuffer(sound.samples, "<i2").reshape(-1, sound.channels)
        self._written = 0
        rates = av.codec.Codec(encoder, "w").audio_rates or [sound.rate_hz]
        rate = sound.rate_hz if sound.rate_hz in rates else RESAMPLED_HZ
        self._stream = cast(AudioStream, container.add_stream(encoder, rate=rate, layout=LAYOUTS[sound.channels]))
        self._stream.bit_rate = SOUND_BITS_PER_S

    def write_until(self, seconds: float) -> None:
        self._write(min(len(self._samples), round(seconds * self._sound.rate_hz)))

    def end(self) -> None:
        self._write(len(self._samples))
        self._container.mux(self._stream.encode())

    def _write(self, end: int) -> None:
        if end <= self._written:
            return
        piece = np.ascontiguousarray(self._samples[self._written : end]).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(piece, format="s16", layout=LAYOUTS[self._sound.channels])
        frame.sample_rate, frame.time_base = self._sound.rate_hz, Fraction(1, self._sound.rate_hz)
        frame.pts = self._written
        self._container.mux(self._stream.encode(frame))
        self._written = end


def _describe(context: VideoCodecContext) -> None:
    """Declare the colour space, so that players need not guess, and use one thread, for equal bytes on all machines."""
    context.thread_count = 1
    context.colorspace = Colorspace.ITU709
    context.color_range = ColorRange.MPEG
    context.color_primaries = ColorPrimaries.BT709
    context.color_trc = ColorTrc.BT709


def encode_gif(clip: Clip, comment: str) -> bytes:
    """Write a clip as a GIF that loops for ever; consecutive equal frames become one that is shown longer."""
    buffer = BytesIO()
    first, *rest = clip.frames
    durations = gif_durations_ms(len(clip.frames), clip.fps)
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, comment=comment.encode())
    return buffer.getvalue()


def gif_durations_ms(frames: int, fps: int) -> list[int]:
    """Return how long each frame is shown, rounded to ticks without drifting from the clip's time."""
    ticks = [round(number * GIF_TICKS_PER_S / fps) for number in range(frames + 1)]
    return [max(GIF_MIN_TICKS, end - start) * (1000 // GIF_TICKS_PER_S) for start, end in pairwise(ticks)]
