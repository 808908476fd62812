"""The videos that a clip follows: which ones a model takes, how many of their frames, and at which size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core.errors import InvalidRequest
from core.generation.draft import Draft
from core.generation.request import MOST_FPS
from core.pixels.fitting import Size
from core.pixels.video import UploadedVideo
from models.catalogue.entry import Entry
from models.catalogue.limits import Limits, TaskSettings
from models.catalogue.resolving.checks import within
from models.catalogue.resolving.sizes import fit_for, seen_size

FOLLOWED = ("pose_video", "face_video")
REPLACED_IN = ("background_video", "mask_video")
FPS_SLACK = 0.02
"""Rates that differ by less, such as 29.97 and 30, count as equal."""


def check_videos(draft: Draft, entry: Entry) -> None:
    """Raise InvalidRequest for a video that the model does not take, or for one that is missing."""
    given = draft.named_videos
    if entry.family_spec.animation is None:
        for field in given:
            raise InvalidRequest(field, f"{entry.id} takes none")
        return
    for field in FOLLOWED:
        if field not in given:
            raise InvalidRequest(field, f"{entry.id} needs one")
    for field, other in (REPLACED_IN, REPLACED_IN[::-1]):
        if other in given and field not in given:
            raise InvalidRequest(field, f"is needed beside {other}")


def frames_of(draft: Draft, entry: Entry, settings: TaskSettings) -> Mapping[str, Any]:
    """Return the request's fields for a clip's number of frames and frame rate. Raises InvalidRequest."""
    if not draft.task.is_video:
        return {}
    poses, most = draft.pose_video, settings.limits.max_frames
    if poses is not None and draft.num_frames is None and poses.num_frames > most:
        raise InvalidRequest(
            "pose_video", f"has {poses.num_frames} frames; at most {most} are allowed; num_frames takes the first ones"
        )
    usual = settings.defaults.num_frames if poses is None else poses.num_frames
    frames = within("num_frames", draft.num_frames or usual, 1, most)
    multiple = entry.family_spec.lengths_multiple
    if (frames - 1) % multiple:
        raise InvalidRequest("num_frames", f"{frames} is not one more than a multiple of {multiple}")
    fps = fps_of(draft.fps, poses, settings)
    if frames < (least := entry.family_spec.least_frames(fps)):
        if poses is not None and draft.num_frames is None:
            raise InvalidRequest("pose_video", f"has {frames} frames; at least {least} are needed")
        raise InvalidRequest("num_frames", f"{frames} at {fps} a second is too short for {entry.id}; at least {least}")
    return {"num_frames": frames, "fps": fps}


def fps_of(asked: int | None, poses: UploadedVideo | None, settings: TaskSettings) -> int:
    """Return a clip's frame rate: the requested one, or else that of the poses up to the most that clips have."""
    own = round(min(max(poses.fps, 1), MOST_FPS)) if poses and poses.fps else None
    return asked or own or settings.defaults.fps


def video_hints(draft: Draft, num_frames: int, fps: int) -> Iterator[str]:
    """Yield hints about which frames are followed, and when, unless the request is explicit about it."""
    own = draft.pose_video.fps if draft.pose_video else 0
    for field, video in draft.named_videos.items():
        if draft.num_frames is None and video.num_frames > num_frames:
            yield f"{field}: the first {num_frames} of its {video.num_frames} frames are followed, as many as the poses"
        if _differ(video.fps, own):
            yield f"{field}: it has {video.fps:g} frames a second, the poses {own:g}; each frame belongs to one pose"
    if draft.fps is None and _differ(fps, own):
        yield f"fps: the poses have {own:g} frames a second, the clip {fps}"


def _differ(fps: float, poses_fps: float) -> bool:
    """Whether two rates differ, if both are known."""
    return bool(fps and poses_fps) and abs(fps - poses_fps) > FPS_SLACK * poses_fps


def videos_of(draft: Draft, entry: Entry, size: Size, num_frames: int, limits: Limits) -> Mapping[str, Any]:
    """Return the request's fields for its videos, each in its size. Raises InvalidRequest."""
    animation = entry.family_spec.animation
    if animation is None:
        return {}
    fields: dict[str, Any] = {}
    for field, video in draft.named_videos.items():
        if video.num_frames < num_frames:
            raise InvalidRequest(
                field, f"has {video.num_frames} frames; {num_frames} are needed, one for each of the clip"
            )
        seen = seen_size(field, entry, size)
        fields[field] = video.resized(*seen, fit_for(draft, video, seen, limits)).first(num_frames)
    return {**fields, "segment_frames": animation.segment_of(num_frames, entry.family_spec.frames_multiple)}
