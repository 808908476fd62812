"""Uploaded videos: decoded once when they come, to see that they are whole and how many frames they have."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import InvalidRequest
from core.pixels.video import UploadedVideo
from core.pixels.video_frames import UnreadableVideo, decoding_bytes, examined
from gateway.media.reading.decoding import BUDGET, check_count
from gateway.media.reading.spooling import spooled

PROBED_BYTES = 64 * 2**20
"""Memory for FFmpeg's first look at a file, for which it decodes a frame or two of each stream."""
_MASKS = ("mask_video",)
_ON_BLACK = ("mask_video", "pose_video")
"""In masks and poses, black means nothing."""


def uploaded_video(files: Sequence[bytes], field: str, max_px: int) -> UploadedVideo:
    """Check the one file of a field, of at most `max_px` pixels in all frames. Blocks. Raises InvalidRequest."""
    if not files:
        raise InvalidRequest(field, "is an empty list")
    check_count(field, len(files), most=1)
    data = files[0]
    try:
        with BUDGET.of(PROBED_BYTES):
            needed_bytes = decoding_bytes(data)
        with BUDGET.of(needed_bytes):
            found = examined(data, max_px)
    except UnreadableVideo as error:
        raise InvalidRequest(field, str(error)) from error
    return UploadedVideo(
        spooled(data),
        found.size,
        found.num_frames,
        found.fps,
        mode="L" if field in _MASKS else "RGB",
        background="black" if field in _ON_BLACK else "white",
    )
