"""The frames of a video file. What the file claims is compared with limits before anything of that size is decoded.

Only a few containers and codecs are read, from bytes alone: FFmpeg has readers that follow addresses and file names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from mmap import mmap

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from core.pixels.fitting import Size

FORMATS = ("MP4", "MOV", "WebM", "GIF")
CODECS = frozenset({"h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "gif"})
MAX_FRAME_PX = 4096 * 2304
"""Of one frame: a little more than 4K has."""
_EBML, _GIF = b"\x1aE\xdf\xa3", b"GIF8"
_CONTAINERS = (
    (4, b"ftyp", "mp4", "video/mp4"),
    (0, _EBML, "matroska", "video/webm"),
    (0, _GIF, "gif", "image/gif"),
)
"""Where a file says what it is, and how; FFmpeg's name for what reads it, and its media type."""
_GIF_END = b";"
_SEGMENT = b"\x18\x53\x80\x67"
"""What all frames of a WebM file are in."""
DAMAGED = "is damaged or incomplete and cannot be decoded"
_TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
"""By degrees counter-clockwise."""


class UnreadableVideo(ValueError):
    """A file whose frames cannot be read; the message says why."""


@dataclass(frozen=True)
class Examined:
    size: Size
    """Of the frames, upright."""
    num_frames: int
    fps: float
    """Frames a second on average; 0 where the file does not say."""


def media_type_of(file: bytes | mmap) -> str:
    """Return the media type of a file. Raises UnreadableVideo."""
    return _container_of(file)[1]


def frame_px(file: bytes) -> int:
    """Return how many pixels each frame has, as the file says. Raises UnreadableVideo."""
    with _opened(file) as (_, stream):
        return stream.width * stream.height


def examined(file: bytes, max_px: int) -> Examined:
    """Decode a whole file, and return what it has. Blocks.

    Raises UnreadableVideo, also for more than `max_px` pixels in all frames.
    """
    size, count, fps = (0, 0), 0, 0.0
    for frame, stream in _decoded(file):
        count += 1
        if count == 1:
            size, fps = _upright_size(frame), _frames_a_second(stream)
        if count * frame.width * frame.height > max_px:
            raise UnreadableVideo(
                f"has more than {max_px} pixels in all: {frame.width} x {frame.height} in each of "
                f"{max(count, stream.frames)} frames or more"
            )
    if not count:
        raise UnreadableVideo("has no frames")
    return Examined(size, count, fps)


def upright_frames(file: bytes) -> Iterator[Image.Image]:
    """Decode frames one by one, RGB, as they are to be seen. Blocks. Raises UnreadableVideo."""
    for frame, _ in _decoded(file):
        image = Image.fromarray(frame.to_ndarray(format="rgb24"))
        turn = _TURNS.get(frame.rotation % 360)
        yield image if turn is None else image.transpose(turn)


def _decoded(file: bytes) -> Iterator[tuple[VideoFrame, VideoStream]]:
    with _opened(file) as (container, stream):
        # What is decoded at once is then a few frames, and no file keeps all cores busy.
        stream.codec_context.thread_count = 1
        first: VideoFrame | None = None
        packets = 0
        for packet in container.demux(stream):
            packets += packet.size > 0
            for frame in packet.decode():
                first = first or frame
                if packet.is_corrupt or frame.is_corrupt:
                    raise UnreadableVideo(DAMAGED)
                if (frame.width, frame.height) != (first.width, first.height):
                    raise UnreadableVideo(
                        f"has frames of {first.width} x {first.height} and of {frame.width} x {frame.height} pixels; "
                        "all must be equal"
                    )
                yield frame, stream
        # Where a file was cut off, FFmpeg just ends; but an MP4 says how many frames there are.
        if packets < stream.frames or not _has_end(file):
            raise UnreadableVideo("is incomplete: its end is missing")


def _container_of(file: bytes | mmap) -> tuple[str, str]:
    for at, mark, demuxer, media_type in _CONTAINERS:
        if file[at : at + len(mark)] == mark:
            return demuxer, media_type
    raise UnreadableVideo(f"is not a video; readable are {', '.join(FORMATS)}")


@contextmanager
def _opened(file: bytes) -> Iterator[tuple[InputContainer, VideoStream]]:
    demuxer, _ = _container_of(file)
    limits = {"max_pixels": str(MAX_FRAME_PX)}
    with (
        _readable(),
        av.open(BytesIO(file), "r", demuxer, metadata_errors="ignore", options=limits) as container,
    ):
        stream = _checked(container.streams.video)
        # Those above are for the look at the file that FFmpeg takes first.
        stream.codec_context.options = limits
        yield container, stream


def _has_end(file: bytes) -> bool:
    if file.startswith(_GIF):
        return file.rstrip(b"\0").endswith(_GIF_END)
    if file.startswith(_EBML) and (at := file.find(_SEGMENT)) >= 0:
        # The length of what follows, EBML's own way (RFC 8794): leading zeros of the first byte say how many bytes it
        # has; all ones stand for a stream of unknown length.
        start = at + len(_SEGMENT)
        size = 9 - file[start].bit_length()
        unknown = (1 << 7 * size) - 1
        length = int.from_bytes(file[start : start + size]) & unknown
        return length == unknown or start + size + length <= len(file)
    return True


def _checked(streams: tuple[VideoStream, ...]) -> VideoStream:
    if not streams:
        raise UnreadableVideo("has no pictures")
    stream = streams[0]
    codec = stream.codec_context.codec.canonical_name
    if codec not in CODECS:
        raise UnreadableVideo(f"is encoded as {codec}; readable are {', '.join(sorted(CODECS))}")
    size_px = stream.width * stream.height
    # Of larger frames, some decoders say no size.
    if not 0 < size_px <= MAX_FRAME_PX:
        has = f"frames of {stream.width} x {stream.height}" if size_px else "too many"
        raise UnreadableVideo(f"has {has} pixels; at most {MAX_FRAME_PX} in each frame are allowed")
    return stream


def _upright_size(frame: VideoFrame) -> Size:
    lies = frame.rotation % 180 != 0
    return (frame.height, frame.width) if lies else (frame.width, frame.height)


def _frames_a_second(stream: VideoStream) -> float:
    return float(stream.average_rate or stream.guessed_rate or Fraction(0))


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (UnreadableVideo, MemoryError):
        raise
    # FFmpeg's errors are those of many types, among them OSError and ValueError.
    except (av.FFmpegError, ValueError) as error:
        raise UnreadableVideo(DAMAGED) from error
