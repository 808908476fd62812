"""Videos are decoded beside the engine's thread, and only those of the request that is next."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from threading import Event

import pytest
from PIL import Image

from core.generation.events import Failed, Queued, Started
from core.pixels.video import UploadedVideo
from models.weights.loading import LoadedModel
from runners.engine import video_decoding
from runners.engine.engine import Engine
from tests.support.engine.animation_videos import video
from tests.support.engine.drawing import draw, draw_together, is_cancelled, pictures, request
from tests.support.engine.engines import running


@pytest.fixture
def lone_engine(tiny_model: LoadedModel) -> Iterator[Engine]:
    """Has room for one request, so that those behind it wait."""
    with running(tiny_model, batch_tokens=2**16, max_running=1) as (engine, _):
        yield engine


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Keeps all videos from being decoded until it is set."""
    released, decode = Event(), UploadedVideo.frames

    def frames(self: UploadedVideo) -> Iterator[Image.Image]:
        released.wait()
        return decode(self)

    monkeypatch.setattr(UploadedVideo, "frames", frames)
    yield released
    released.set()


async def test_others_go_on_until_a_video_is_open(tiny_model: LoadedModel, held: Event) -> None:
    with running(tiny_model, batch_tokens=2**16) as (engine, _):
        events = aiter(engine.submit(request(pose_video=video(3))).events())
        # Though it came later.
        assert pictures(await draw(engine, request()))
        held.set()
        seen = [event async for event in events]
    assert next(type(event) for event in seen if not isinstance(event, Queued)) is Started
    assert pictures(seen)


async def test_who_is_cancelled_meanwhile_ends(lone_engine: Engine, held: Event) -> None:
    ticket = lone_engine.submit(request(pose_video=video(3)))
    ticket.cancel()
    events = [event async for event in ticket.events()]
    assert is_cancelled(events[-1])
    held.set()
    assert pictures(await draw(lone_engine, request()))


async def test_frames_of_who_has_ended_are_not_decoded(
    lone_engine: Engine, held: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    frames = UploadedVideo.frames

    def counted(self: UploadedVideo) -> Iterator[Image.Image]:
        for image in frames(self):
            decoded.append(self.num_frames)
            yield image

    monkeypatch.setattr(UploadedVideo, "frames", counted)
    ticket = lone_engine.submit(request(pose_video=video(3), face_video=video(4)))
    ticket.cancel()
    assert is_cancelled([event async for event in ticket.events()][-1])
    held.set()
    # Its turn is behind that one's.
    assert pictures(await draw(lone_engine, request(pose_video=video(5))))
    assert [count for count in decoded if count != 5] in ([], [3])


async def test_large_videos_run_one_after_the_other(tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_decoding, "MOST_PX", 5 * 64 * 64)
    with running(tiny_model, batch_tokens=2**16) as (engine, recorder):
        drawn = await draw_together(engine, [request(pose_video=video(3), seed=seed) for seed in range(2)])
        assert all(map(pictures, drawn))
        assert set(recorder.batch_sizes("unet")) == {1}


async def test_a_video_that_is_not_one_ends_its_own_request(lone_engine: Engine) -> None:
    broken = UploadedVideo(b"none", (64, 64), 3, 8.0)
    events, others = await asyncio.gather(draw(lone_engine, request(pose_video=broken)), draw(lone_engine, request()))
    assert isinstance(events[-1], Failed)
    assert events[-1].message == "pose_video cannot be decoded"
    assert pictures(others)
