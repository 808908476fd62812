"""Uploaded videos: which files are read, what of them is known, and how their frames come to a size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from struct import pack
from typing import cast

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import Image

from core.errors import InvalidRequest
from core.generation.events import Clip
from core.pixels import video_frames
from core.pixels.fitting import Fit
from core.pixels.video import UploadedVideo
from gateway.media.reading import uploaded_videos
from gateway.media.reading.uploaded_videos import PROBED_BYTES, uploaded_video
from gateway.media.video_encoding import MP4, WEBM, encode_video
from tests.support.engine.animation_videos import gif
from tests.support.servers.serving import photo, png

SIZE = WIDTH, HEIGHT = 64, 48
COLOURS = tuple((30 * number, 255 - 30 * number, 120) for number in range(8))
"""Of each frame."""
CLIP = Clip(0, 7, tuple(Image.new("RGB", SIZE, colour) for colour in COLOURS), 12)
MP4_FILE, WEBM_FILE = (encode_video(CLIP, codec, 100, "") for codec in (MP4, WEBM))
MATRIX = 44
"""Bytes from the name of an MP4's track header (tkhd, version 0) to its display matrix (ISO 14496-12)."""
MAX_PX = 10**7


def read(file: bytes, field: str = "face_video", max_px: int = MAX_PX) -> UploadedVideo:
    return uploaded_video([file], field, max_px)


def encoded(
    codec: str, container: str, *frames: Image.Image, pixels: str = "yuv420p", cover: bool = False, parameters: str = ""
) -> bytes:
    """Return a file of an encoder that clips here have not, or of x264 with `parameters`; a `cover` comes first."""
    file = BytesIO()
    with av.open(file, "w", container) as output:
        if cover:
            picture = output.add_stream("mjpeg", rate=8)
            picture.width, picture.height, picture.pix_fmt = *frames[0].size, "yuvj420p"
            picture.disposition = Disposition.attached_pic
        stream = cast(
            VideoStream, output.add_stream(codec, rate=8, options={"x264-params": parameters} if parameters else {})
        )
        stream.width, stream.height, stream.pix_fmt = *frames[0].size, pixels
        if cover:
            output.mux(picture.encode(av.VideoFrame.from_ndarray(np.asarray(frames[0]), "rgb24")))
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(frame), "rgb24")))
        output.mux(stream.encode(None))
    return file.getvalue()


def only_sound() -> bytes:
    file = BytesIO()
    with av.open(file, "w", "mp4") as output:
        stream = output.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), "fltp", "mono")
        frame.sample_rate = 48_000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def lying(file: bytes) -> bytes:
    """Return an MP4 whose frames are to be shown a quarter turn clockwise."""
    at = file.index(b"tkhd") + MATRIX
    return file[:at] + pack(">9i", 0, 2**16, 0, -(2**16), 0, 0, 0, 0, 2**30) + file[at + 36 :]


@pytest.mark.parametrize(
    ("file", "media_type"), [(MP4_FILE, "video/mp4"), (WEBM_FILE, "video/webm")], ids=["mp4", "webm"]
)
def test_frames_come_in_their_order_and_colours(file: bytes, media_type: str) -> None:
    video = read(file)
    assert (video.size, video.num_frames, video.fps, video.media_type) == (SIZE, 8, 12, media_type)
    means = [np.asarray(frame).mean((0, 1)) for frame in video.open()]
    assert np.abs(np.array(means) - COLOURS).max() < 4


def test_animated_gifs_are_videos() -> None:
    video = read(gif(9))
    assert (video.size, video.num_frames, video.fps, video.media_type) == ((64, 64), 9, 10, "image/gif")
    first, *_, last = video.open()
    with Image.open(BytesIO(gif(9))) as shown:
        assert np.array_equal(np.asarray(first), np.asarray(shown.convert("RGB")))
        shown.seek(8)
        assert np.array_equal(np.asarray(last), np.asarray(shown.convert("RGB")))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.97])
@pytest.mark.parametrize("file", [MP4_FILE, WEBM_FILE, gif(9)], ids=["mp4", "webm", "gif"])
def test_what_was_cut_off_is_refused(file: bytes, share: float) -> None:
    with pytest.raises(InvalidRequest, match=r"^face_video: .*incomplete"):
        read(file[: int(len(file) * share)])


def test_what_is_damaged_is_refused() -> None:
    noise = encode_video(Clip(0, 7, tuple(photo(64, 64) for _ in range(8)), 12), MP4, 100, "")
    at = noise.index(b"mdat") + 100
    with pytest.raises(InvalidRequest, match=r"^pose_video: is damaged or incomplete"):
        read(noise[:at] + bytes(2000) + noise[at + 2000 :], "pose_video")


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (b"", "is not a video; readable are MP4, MOV, WebM, GIF"),
        (b"#EXTM3U\nfile:///etc/passwd", "is not a video"),
        (png(photo()), "is not a video"),
        (only_sound(), "has no pictures"),
        (encoded("ffv1", "matroska", photo(64, 64)), "is encoded as ffv1; readable are av1, gif, h264"),
    ],
    ids=["empty", "playlist", "image", "sound", "codec"],
)
def test_what_is_no_video_is_refused(file: bytes, says: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^face_video: {says}"):
        read(file)


def test_one_field_has_one_video() -> None:
    with pytest.raises(InvalidRequest, match=r"^face_video: 2 were given; only one is allowed"):
        uploaded_video([MP4_FILE, MP4_FILE], "face_video", MAX_PX)
    with pytest.raises(InvalidRequest, match=r"^face_video: is an empty list"):
        uploaded_video([], "face_video", MAX_PX)


def test_large_frames_are_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_frames, "MAX_FRAME_PX", 1000)
    for file in (MP4_FILE, WEBM_FILE, gif(3)):
        with pytest.raises(InvalidRequest, match=r"^face_video: has .* pixels; at most 1000 in each"):
            read(file)


def test_many_frames_are_refused_once_they_are_too_many() -> None:
    most = 5 * WIDTH * HEIGHT
    with pytest.raises(InvalidRequest, match=f"^face_video: has more than {most} pixels in all: 64 x 48 in each of 8"):
        read(MP4_FILE, max_px=most)
    assert read(MP4_FILE, max_px=8 * WIDTH * HEIGHT).num_frames == 8


def test_what_lies_on_its_side_is_turned_upright() -> None:
    half = Image.new("RGB", SIZE, "blue")
    half.paste("red", (0, 0, WIDTH // 2, HEIGHT))
    video = read(lying(encode_video(Clip(0, 7, (half,) * 3, 12), MP4, 100, "")))
    assert video.size == (HEIGHT, WIDTH)
    for frame in video.open():
        (top_red, _, top_blue), (low_red, _, low_blue) = np.asarray(frame)[[10, 54], 24]
        assert top_red > 200 > 50 > top_blue
        assert low_blue > 200 > 50 > low_red


def test_pixels_that_are_not_square_are_made_square() -> None:
    wide = encoded("libx264", "mp4", photo(WIDTH, HEIGHT), parameters="sar=2/1")
    video = read(wide)
    assert video.size == (2 * WIDTH, HEIGHT)
    assert video.open()[0].size == (2 * WIDTH, HEIGHT)


def test_what_is_clear_is_the_colour_of_nothing() -> None:
    clear = [Image.new("RGBA", SIZE, (255, 0, 0, 255 * (number % 2))) for number in range(4)]
    file = BytesIO()
    clear[0].save(file, "GIF", save_all=True, append_images=clear[1:], disposal=2)
    shades = [frame.getpixel((5, 5)) for frame in read(file.getvalue(), "mask_video").open()]
    assert shades == [0, 0, 0, 0], "red is dark too"
    assert read(file.getvalue(), "face_video").open()[0].getpixel((5, 5)) == (255, 255, 255)


def test_the_picture_of_a_cover_is_no_video() -> None:
    assert read(encoded("libx264", "mp4", *(photo(WIDTH, HEIGHT) for _ in range(4)), cover=True)).num_frames == 4


def test_colours_that_nobody_converts_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"^face_video: is damaged"):
        read(encoded("libx264", "mp4", photo(WIDTH, HEIGHT), parameters="colormatrix=YCgCo"))


def test_many_streams_are_refused() -> None:
    file = BytesIO()
    with av.open(file, "w", "mp4") as output:
        for _ in range(video_frames.MAX_STREAMS + 1):
            stream = output.add_stream("libx264", rate=8)
            stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for stream in output.streams.video:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")))
            output.mux(stream.encode(None))
    with pytest.raises(InvalidRequest, match=r"^face_video: is damaged"):
        read(file.getvalue())


def test_masks_are_black_or_white() -> None:
    video = read(MP4_FILE, "mask_video")
    frames = video.resized(32, 24).open()
    assert {frame.mode for frame in frames} == {"L"}
    assert {shade for frame in frames for _, shade in frame.getcolors() or ()} == {0, 255}


@pytest.mark.parametrize(("field", "bars"), [("pose_video", "black"), ("face_video", "white")])
def test_frames_are_padded_in_the_colour_of_nothing(field: str, bars: str) -> None:
    frames = read(MP4_FILE, field).resized(64, 64, Fit.PAD).first(2).open()
    assert [frame.size for frame in frames] == [(64, 64)] * 2
    assert frames[0].getpixel((32, 0)) == Image.new("RGB", (1, 1), bars).getpixel((0, 0))
    assert frames[0].getpixel((32, 32)) != frames[0].getpixel((32, 0))


def test_frames_are_cropped_to_their_middle() -> None:
    striped = Image.new("RGB", SIZE, "red")
    striped.paste("blue", (WIDTH // 4, 0, 3 * WIDTH // 4, HEIGHT))
    frames = read(encode_video(Clip(0, 7, (striped,) * 2, 12), MP4, 100, "")).resized(16, 48, Fit.CROP).open()
    assert np.asarray(frames[0])[:, :, 2].min() > 200


def test_decoding_is_within_the_budget_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    class Recorded:
        @contextmanager
        def of(self, size: int) -> Iterator[None]:
            held.append(size)
            yield
            held.append(-size)

    def within(file: bytes, max_px: int) -> video_frames.Examined:
        assert held[-1] > 0
        return video_frames.examined(file, max_px)

    monkeypatch.setattr(uploaded_videos, "BUDGET", Recorded())
    monkeypatch.setattr(uploaded_videos, "examined", within)
    for file in (MP4_FILE, encoded("libx264", "mp4", photo(WIDTH, HEIGHT), pixels="yuv444p")):
        read(file)
    # Seventeen frames as they are kept, 1.5 or 3 bytes a pixel, and one that is converted.
    needed = [WIDTH * HEIGHT * (17 * bits // 8 + 8) for bits in (12, 24)]
    assert held == [
        PROBED_BYTES,
        -PROBED_BYTES,
        needed[0],
        -needed[0],
        PROBED_BYTES,
        -PROBED_BYTES,
        needed[1],
        -needed[1],
    ]
