"""The videos of a job are kept as the files that they are."""

from __future__ import annotations

import json

from core.generation.animation import VIDEOS
from core.generation.request import GenerationRequest, Task
from core.pixels.fitting import Fit
from jobs.inputs import plain_fields, request_digest, restored_fields, store_inputs
from storage.client import Storage
from tests.support.engine.animation_videos import video
from tests.support.engine.drawing import request

WANTED = request(
    Task.IMAGE_TO_VIDEO,
    num_frames=5,
    fps=8,
    segment_frames=5,
    pose_video=video(9).resized(32, 64, Fit.PAD).first(5),
    face_video=video(5, 16),
    background_video=video(5, seed=1),
    mask_video=video(5, seed=2, mode="L"),
)


def digest(wanted: GenerationRequest) -> str:
    return request_digest("alice", wanted, "mp4", 90)


async def test_they_come_back_as_they_were(storage: Storage) -> None:
    fields = json.loads(json.dumps(plain_fields(WANTED)))
    inputs = await store_inputs(WANTED, "job", storage)
    assert set(inputs) == {"image", "pose_video", "face_video", "background_video", "mask_video"}
    restored = GenerationRequest.model_validate(await restored_fields(fields, inputs, storage))
    assert {name: getattr(restored, name) for name in VIDEOS} == {name: getattr(WANTED, name) for name in VIDEOS}
    assert digest(restored) == digest(WANTED)


def test_equal_requests_follow_equal_videos() -> None:
    assert digest(WANTED.model_copy(update={"pose_video": WANTED.pose_video})) == digest(WANTED)
    for changed in (video(9, seed=3).resized(32, 64, Fit.PAD).first(5), video(9).resized(32, 64, Fit.CROP).first(5)):
        assert digest(WANTED.model_copy(update={"pose_video": changed})) != digest(WANTED)
