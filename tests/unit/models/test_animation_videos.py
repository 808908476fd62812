"""The videos that a clip follows: which are needed, how long they are, how large, and what they cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.errors import ContentPolicyViolation, InvalidRequest
from core.generation.draft import Draft
from core.generation.request import GenerationRequest, Task
from core.pixels.fitting import Fit
from core.pixels.video import UploadedVideo
from gateway.safety.content_policy import FRAMES_AT_ONCE, ContentPolicy
from models.catalogue.catalogue import Catalogue, full_catalogue
from models.catalogue.entry import Entry
from models.catalogue.resolving.deadlines import work_s
from models.catalogue.resolving.resolve import resolve
from tests.support.engine.animation_videos import video
from tests.support.resolving import LIMITS_OF_SERVER
from tests.support.servers.serving import ANIMATE_ENTRY, VIDEO_ENTRY, photo

TINY, OTHER, LARGE = "tiny-animate", "tiny-video", "wan22-animate-14b"
CATALOGUE = Catalogue(
    [
        *(
            Entry.model_validate({**entry, "id": model})
            for model, entry in ((TINY, ANIMATE_ENTRY), (OTHER, VIDEO_ENTRY))
        ),
        full_catalogue(None).get(LARGE),
    ]
)
FOLLOWED = {"pose_video": video(9), "face_video": video(9)}
PLACE = {"background_video": video(9), "mask_video": video(9, mode="L")}


def following(**fields: Any) -> GenerationRequest:
    given = {"task": Task.IMAGE_TO_VIDEO, "model": TINY, "image": photo(64, 64), **FOLLOWED, **fields}
    return resolve(Draft(prompt="a fox", **given), CATALOGUE, LIMITS_OF_SERVER)


def long(frames: int, size_px: int = 256) -> UploadedVideo:
    """Return what is known of a video, whose file is shorter."""
    return replace(video(2), num_frames=frames, size=(size_px, size_px))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"pose_video": None}, f"^pose_video: {TINY} needs one"),
        ({"face_video": None}, f"^face_video: {TINY} needs one"),
        ({"background_video": video(9)}, "^mask_video: is needed beside background_video"),
        ({"mask_video": video(9)}, "^background_video: is needed beside mask_video"),
        ({"model": OTHER}, f"^pose_video: {OTHER} takes none"),
        (
            {"model": OTHER, "pose_video": None, "face_video": None, "mask_video": video(9)},
            "^mask_video: .* takes none",
        ),
        ({"image": None}, "^image: image-to-video needs one"),
        ({"last_image": photo(64, 64)}, f"^last_image: {TINY} takes none"),
        ({"face_video": video(5)}, "^face_video: has 5 frames; 9 are needed, one for each of the clip"),
        ({"num_frames": 10}, "^pose_video: has 9 frames; 10 are needed"),
        ({"num_frames": 18}, "^num_frames: 18 is not between 1 and 17"),
        (
            {"pose_video": video(18), "face_video": video(18)},
            "^pose_video: has 18 frames; at most 17 are allowed; num_f",
        ),
        ({"pose_video": video(1)}, "^pose_video: has 1 frames; at least 2 are needed"),
        ({"face_video": replace(video(9), size=(90, 10))}, "^face_video: is 90 x 10 pixels"),
    ],
)
def test_a_mistake_is_named(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        following(**fields)


def test_a_clip_is_as_long_and_as_fast_as_its_poses() -> None:
    request = following(pose_video=video(7), face_video=video(7))
    assert (request.num_frames, request.fps, request.segment_frames, request.hints) == (7, 10, 9, ())
    first = following(num_frames=6, fps=24, pose_video=video(40))
    assert (first.num_frames, first.fps, first.hints) == (6, 24, ())
    assert [each.num_frames for each in (first.pose_video, first.face_video) if each] == [6, 6]
    unknown = following(pose_video=replace(video(9), fps=0.0))
    assert unknown.fps == 16, "the model's"


def test_what_of_a_longer_video_is_not_followed_is_in_a_hint() -> None:
    hint = "face_video: the first 9 of its 12 frames are followed, as many as the poses"
    assert following(face_video=video(12)).hints == (hint,)


def test_other_rates_are_in_a_hint() -> None:
    fast = {"pose_video": replace(video(9), fps=120.0), "face_video": replace(video(9), fps=119.88)}
    assert following(**fast).hints == ("fps: the poses have 120 frames a second, the clip 60",)
    assert following(**fast, fps=30).hints == ()
    slower = following(face_video=replace(video(9), fps=5.0))
    assert slower.hints == ("face_video: it has 5 frames a second, the poses 10; each frame belongs to one pose",)


def test_a_clip_has_the_size_of_the_poses() -> None:
    request = following(**{**FOLLOWED, **PLACE, "pose_video": replace(video(9), size=(128, 64))})
    assert (request.width, request.height) == (128, 64)
    videos = (request.pose_video, request.face_video, request.background_video, request.mask_video)
    assert [each.size for each in videos if each] == [(128, 64), (512, 512), (128, 64), (128, 64)]
    fits = [each.fit for each in videos if each]
    assert fits == [Fit.STRETCH, Fit.STRETCH, Fit.CROP, Fit.CROP]
    cropped = [hint.partition(" was cropped to ")[0] for hint in request.hints]
    assert cropped == ["image", "background_video", "mask_video"]


@pytest.mark.parametrize(
    ("frames", "at_once", "segments"), [(5, 5, 1), (77, 77, 1), (78, 77, 2), (153, 77, 2), (305, 77, 4)]
)
def test_long_clips_are_made_in_segments(frames: int, at_once: int, segments: int) -> None:
    request = following(model=LARGE, pose_video=long(frames), face_video=long(frames), num_inference_steps=4)
    assert (request.segment_frames, request.segments) == (at_once, segments)
    assert request.passes == [((256, 256), 4)] * segments
    assert (request.denoising_steps, request.pixels) == (4 * segments, 256 * 256 * at_once)
    assert request.generated_px == 256 * 256 * at_once * segments


def test_segments_take_their_time_each() -> None:
    entry = CATALOGUE.get(LARGE)
    one, three = (
        work_s(entry, following(model=LARGE, pose_video=long(frames), face_video=long(frames)), tflops=100)
        for frames in (77, 229)
    )
    assert one > 0
    assert three == pytest.approx(3 * one)


class Counting:
    """A check of images that refuses those of one size."""

    def __init__(self, refused: tuple[int, int] | None = None) -> None:
        self.refused, self.batches = refused, list[int]()

    async def refuses(self, images: Any) -> bool:
        self.batches.append(len(images))
        return any(image.size == self.refused for image in images)


@pytest.mark.parametrize(("field", "size"), [("face_video", (512, 512)), ("background_video", (64, 64))])
async def test_what_a_camera_saw_is_looked_at(field: str, size: tuple[int, int]) -> None:
    def frames(size_px: int) -> UploadedVideo:
        return video(17, size_px)

    request = following(
        image=photo(80, 80), fit=Fit.STRETCH, num_frames=17, pose_video=frames(64), face_video=frames(48),
        background_video=frames(64), mask_video=video(17, mode="L"),
    )  # fmt: skip
    allowing = Counting()
    await ContentPolicy(pictures=allowing).check_request(request)
    assert (sum(allowing.batches), max(allowing.batches)) == (1 + 17 + 17, FRAMES_AT_ONCE)
    seen = request.model_copy(update={"image": photo(80, 80)})
    with pytest.raises(ContentPolicyViolation, match=f"^{field}: is refused"):
        await ContentPolicy(pictures=Counting(size)).check_request(seen)
