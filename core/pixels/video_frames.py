"""The frames of a video file. What the file claims is compared with limits before anything of that size is decoded.

Only a few containers and codecs are read, from bytes alone: FFmpeg has readers that follow addresses and file names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from math import inf
from mmap import mmap

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from core.pixels.fitting import Size

FORMATS = ("MP4", "MOV", "WebM", "GIF")
CODECS = frozenset({"h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "gif"})
_DECODERS = ("h264", "hevc", "libdav1d", "av1", "vp8", "vp9", "libvpx", "libvpx-vp9", "mpeg4", "gif")
"""FFmpeg's names of the decoders of these codecs."""
MAX_FRAME_PX = 4096 * 2304
"""The most pixels in one frame, slightly more than 4K."""
MAX_STREAMS = 8
_FRAMES_KEPT = 17
"""The most frames that a decoder holds, including the one being decoded (H.264, annex A)."""
_CONVERTED_BYTES = 8
"""For each pixel of a frame while it is converted to RGBA and then to a Pillow image."""
_EBML, _GIF = b"\x1aE\xdf\xa3", b"GIF8"
_CONTAINERS = (
    (4, b"ftyp", "mp4", "video/mp4"),
    (0, _EBML, "matroska", "video/webm"),
    (0, _GIF, "gif", "image/gif"),
)
"""Where in a file its signature is, the signature, FFmpeg's demuxer for it, and the media type."""
_GIF_END = b";"
_SEGMENT = b"\x18\x53\x80\x67"
"""The id of the element that contains all frames of a WebM file."""
DAMAGED = "is damaged or incomplete and cannot be decoded"
INCOMPLETE = "is incomplete: its end is missing"
_TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
"""By the angle in degrees, counter-clockwise."""
_WIDEST = 4
"""The largest ratio of a pixel's sides, either way; larger ones are taken for errors and ignored."""


class UnreadableVideo(ValueError):
    """A file whose frames cannot be read; the message says why."""


@dataclass(frozen=True)
class Examined:
    size: Size
    """The size of the frames as displayed."""
    num_frames: int
    fps: float
    """Frames a second on average; 0 where the file does not say."""


def media_type_of(file: bytes | mmap) -> str:
    """Return the media type of a file. Raises UnreadableVideo."""
    return _container_of(file)[1]


def decoding_bytes(file: bytes) -> int:
    """Return the most memory that decoding takes, going by what the file says of its frames. Raises UnreadableVideo."""
    with _opened(file) as (_, stream):
        frame_px, pixels = stream.width * stream.height, stream.codec_context.format
        # If unknown, the most there can be: three planes of 16 bits.
        bits = 48 if pixels is None else pixels.padded_bits_per_pixel
        return frame_px * (_FRAMES_KEPT * bits // 8 + _CONVERTED_BYTES)


def examined(file: bytes, max_px: int) -> Examined:
    """Decode a whole file, and return what it contains. Blocks.

    Raises UnreadableVideo, also for more than `max_px` pixels in all frames.
    """
    size, count, fps = (0, 0), 0, 0.0
    for frame, stream in _decoded(file, max_px):
        count += 1
        if count == 1:
            size, fps = _upright(frame, stream, "black").size, _frames_a_second(stream)
    if not count:
        raise UnreadableVideo("has no frames")
    return Examined(size, count, fps)


def upright_frames(file: bytes, background: str) -> Iterator[Image.Image]:
    """Decode frames one by one, RGB, as displayed on a background. Blocks. Raises UnreadableVideo."""
    for frame, stream in _decoded(file):
        yield _upright(frame, stream, background)


def _decoded(file: bytes, max_px: float = inf) -> Iterator[tuple[VideoFrame, VideoStream]]:
    with _opened(file) as (container, stream):
        # So that only a few frames are decoded at once, and no file keeps all cores busy.
        stream.codec_context.thread_count = 1
        first: VideoFrame | None = None
        packets = frames = 0
        for packet in container.demux(stream):
            packets += packet.size > 0
            # Packets count too, since not every decoded frame is shown.
            if max(packets, frames) * stream.width * stream.height > max_px:
                raise UnreadableVideo(
                    f"has more than {max_px} pixels in all: {stream.width} x {stream.height} in each of "
                    f"{max(packets, stream.frames)} frames or more"
                )
            for frame in packet.decode():
                frames += 1
                first = first or frame
                if packet.is_corrupt or frame.is_corrupt:
                    raise UnreadableVideo(DAMAGED)
                if (frame.width, frame.height) != (first.width, first.height):
                    raise UnreadableVideo(
                        f"has frames of {first.width} x {first.height} and of {frame.width} x {frame.height} pixels; "
                        "all must be equal"
                    )
                yield frame, stream


def _container_of(file: bytes | mmap) -> tuple[str, str]:
    for at, mark, demuxer, media_type in _CONTAINERS:
        if file[at : at + len(mark)] == mark:
            return demuxer, media_type
    raise UnreadableVideo(f"is not a video; readable are {', '.join(FORMATS)}")


@contextmanager
def _opened(file: bytes) -> Iterator[tuple[InputContainer, VideoStream]]:
    demuxer, _ = _container_of(file)
    if not _has_end(file, demuxer):
        # FFmpeg would stop at the missing end without an error.
        raise UnreadableVideo(INCOMPLETE)
    limits = {"max_pixels": str(MAX_FRAME_PX), "codec_whitelist": ",".join(_DECODERS)}
    options = {**limits, "max_streams": str(MAX_STREAMS)}
    with (
        _readable(),
        av.open(BytesIO(file), "r", demuxer, metadata_errors="ignore", options=options) as container,
    ):
        stream = _checked(container.streams.video)
        # The options given to `av.open` apply only to FFmpeg's first probe of the file.
        stream.codec_context.options = limits
        yield container, stream


def _has_end(file: bytes, demuxer: str) -> bool:
    """Whether a file is as long as its outermost elements say."""
    if demuxer == "gif":
        return file.rstrip(b"\0").endswith(_GIF_END)
    if demuxer == "mp4":
        return _boxes_end(file) <= len(file)
    if (at := file.find(_SEGMENT)) < 0:
        return False
    # The element's length as an EBML variable-size integer (RFC 8794): the leading zeros of the first byte say how many
    # bytes it has; all ones stand for a stream of unknown length.
    start = at + len(_SEGMENT)
    size = 9 - file[start : start + 1].ljust(1, b"\1")[0].bit_length()
    unknown = (1 << 7 * size) - 1
    length = int.from_bytes(file[start : start + size]) & unknown
    return length == unknown or start + size + length <= len(file)


def _boxes_end(file: bytes) -> int:
    """Return where the last of an MP4's outermost boxes ends: each begins with its length (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at + 8 <= len(file):
        length = int.from_bytes(file[at : at + 4])
        if length == 1:
            length = int.from_bytes(file[at + 8 : at + 16])
        # 0 means to the end of the file; other lengths below 8 are invalid.
        at = len(file) if length < 8 else at + length
    # A few bytes left over are the beginning of a truncated box.
    return at if at >= len(file) else at + 8


def _checked(streams: tuple[VideoStream, ...]) -> VideoStream:
    moving = [each for each in streams if not each.disposition & Disposition.attached_pic]
    if not moving:
        raise UnreadableVideo("has no pictures")
    stream = moving[0]
    codec = stream.codec_context.codec.canonical_name
    if codec not in CODECS:
        raise UnreadableVideo(f"is encoded as {codec}; readable are {', '.join(sorted(CODECS))}")
    size_px = stream.width * stream.height
    # Some decoders report no size for larger frames.
    if not 0 < size_px <= MAX_FRAME_PX:
        has = f"frames of {stream.width} x {stream.height}" if size_px else "too many"
        raise UnreadableVideo(f"has {has} pixels; at most {MAX_FRAME_PX} in each frame are allowed")
    return stream


def _upright(frame: VideoFrame, stream: VideoStream, background: str) -> Image.Image:
    """Return a frame as displayed, RGB: with square pixels, turned, and without transparency."""
    with _readable():
        pixels = Image.fromarray(frame.to_ndarray(format="rgba" if _has_transparency(frame) else "rgb24"))
    if pixels.mode == "RGBA":
        pixels = Image.alpha_composite(Image.new("RGBA", pixels.size, background), pixels).convert("RGB")
    pixels = pixels.resize(_square_pixels(stream, pixels.size))
    turn = _TURNS.get(frame.rotation % 360)
    return pixels if turn is None else pixels.transpose(turn)


def _has_transparency(frame: VideoFrame) -> bool:
    return any(component.is_alpha for component in frame.format.components)


def _square_pixels(stream: VideoStream, size: Size) -> Size:
    proportion = stream.sample_aspect_ratio or Fraction(1)
    width = round(size[0] * proportion)
    usual = Fraction(1, _WIDEST) <= proportion <= _WIDEST and 0 < width * size[1] <= MAX_FRAME_PX
    return (width, size[1]) if usual else size


def _frames_a_second(stream: VideoStream) -> float:
    return float(stream.average_rate or stream.guessed_rate or Fraction(0))


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except UnreadableVideo:
        raise
    # FFmpeg's errors are those of many types, among them OSError, ValueError and MemoryError.
    except (av.FFmpegError, ValueError) as error:
        raise UnreadableVideo(DAMAGED) from error
