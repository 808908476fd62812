"""The videos that animate the figure in an image, in drafts, requests and the contracts' forms."""

from __future__ import annotations

from pydantic import Field

from core.generation.client_fields import ClientFields
from core.pixels.video import UploadedVideo, VideoField

POSE_VIDEO = "A video of poses that the figure in the image takes: an MP4, MOV, WebM or GIF file of drawn skeletons."
FACE_VIDEO = "A video of a face whose expressions the figure takes, frame by frame with the poses."
BACKGROUND_VIDEO = "The video in which a figure is replaced by that of the image; needs mask_video."
MASK_VIDEO = "Where the background video is replaced, frame by frame: white is generated, black is kept."


class AnimationVideos(ClientFields):
    """The poses and expressions that the figure takes; the video that it is put into, and where: both or neither."""

    pose_video: VideoField | None = Field(default=None, description=POSE_VIDEO)
    face_video: VideoField | None = Field(default=None, description=FACE_VIDEO)
    background_video: VideoField | None = Field(default=None, description=BACKGROUND_VIDEO)
    mask_video: VideoField | None = Field(default=None, description=MASK_VIDEO)

    @property
    def named_videos(self) -> dict[str, UploadedVideo]:
        """All its videos, by field."""
        return {name: video for name in VIDEOS if (video := getattr(self, name)) is not None}


VIDEOS = tuple(AnimationVideos.model_fields)
