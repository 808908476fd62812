"""Frames as edits of references: tiny FLUX.2 klein and Qwen-Image-Edit-Plus, by the real engine in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from core.errors import InvalidRequest, RateExceeded
from core.generation.request import Task
from core.pixels.upload import pixels_of
from jobs.inputs import plain_fields
from settings import Settings
from storyboard.characters import Mode
from storyboard.files.bundle import files_of
from storyboard.frames import FrameDone, FrameStep, Planned, ReferenceDone, Storyboard
from storyboard.story import Story
from tests.support.engine.drawing import photo
from tests.support.storyboard.stories import (
    SCENES,
    STORY,
    Purse,
    Scenes,
    Scores,
    Studio,
    board_of,
    events_of,
    story_studio,
    write_editing_catalogue,
)
from tests.tiny.images.qwen_image import shrink_inputs

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAIR: dict[str, Any] = {"characters": [{"name": "Aldar Kose", "prompt": "a man in a red robe"}, {"name": "horse"}]}
TOLD = ("Aldar rides the horse", "a green tree", "Aldar's coat", "the horse sleeps", "horse, Aldar", "the horsemen")
FAST: dict[str, Any] = {"num_inference_steps": 1}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def studio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Studio]:
    catalogue = write_editing_catalogue(tmp_path_factory.mktemp("edits"))
    settings = Settings(catalogue=catalogue, JUBAKO_MODELS="klein,one,qwen")
    async with story_studio(settings.model_copy(update={"device": "cpu", "story_clip_threshold": 0.5})) as studio:
        yield studio


def images_of(board: Storyboard) -> list[list[bytes]]:
    return [[pixels_of(image).tobytes() for image in frame.request.images] for frame in board.frames]


async def test_characters_are_drawn_first_and_each_frame_is_an_edit_of_those_it_names(studio: Studio) -> None:
    events = await events_of(studio.with_(planner=Scenes(*TOLD)), **PAIR, **FAST)
    kinds = [type(event) for event in events]
    assert kinds[:3] == [Planned, ReferenceDone, ReferenceDone]
    assert kinds.count(FrameStep) == kinds.count(FrameDone) == len(TOLD)
    board: Storyboard = events[-1].storyboard  # type: ignore[union-attr]
    aldar, horse = board.references
    assert [(each.name, each.request.prompt, each.request.task) for each in board.references] == [
        ("Aldar Kose", "a man in a red robe", Task.TEXT_TO_IMAGE),
        ("horse", "horse", Task.TEXT_TO_IMAGE),
    ]
    one, other = aldar.picture.image.tobytes(), horse.picture.image.tobytes()
    assert images_of(board) == [[one, other], [one], [one], [other], [one, other], [one]]
    assert [len(frame.follows) for frame in board.frames] == [2, 1, 1, 1, 2, 1]
    assert {(frame.request.task, frame.request.model) for frame in board.frames} == {(Task.EDIT, "klein")}
    assert board.frames[0].request.prompt == "Image 1 is Aldar Kose, image 2 is horse. Aldar rides the horse"
    assert board.frames[3].request.prompt == "the horse sleeps"
    assert board.warnings == tuple(
        f"frame {number}: characters: the scene names none of them, so it follows Aldar Kose" for number in (2, 6)
    )
    assert board.story.mode is Mode.EDIT


async def test_the_callers_images_are_the_first_characters_and_all_references_are_paid_once(studio: Studio) -> None:
    purse = Purse(pictures=len(TOLD) + 1)
    maker = studio.with_(planner=Scenes(*TOLD), meter=purse)
    board = await board_of(maker, **PAIR, **FAST, images=(photo(1),))
    assert purse.other_px == photo(1).width * photo(1).height
    with pytest.raises(RateExceeded):
        await board_of(studio.with_(meter=Purse(pictures=len(SCENES))), **PAIR, **FAST, images=(photo(1),))
    assert [each.name for each in board.references] == ["horse"]
    assert images_of(board)[2] == [photo(1).tobytes()]


async def test_frames_follow_their_references_and_have_one_size_of_their_own(studio: Studio) -> None:
    wide = Image.new("RGB", (96, 32), "red")
    boards = [await board_of(studio.maker, images=(image,), **FAST) for image in (wide, photo(2))]
    frames = [[frame.picture.image for frame in board.frames] for board in boards]
    assert {image.size for board in frames for image in board} == {(64, 64)}
    assert all(one.tobytes() != other.tobytes() for one, other in zip(*frames, strict=True))
    assert boards[0].references == ()
    assert images_of(boards[0]) == [[wide.tobytes()]] * len(SCENES)


async def test_several_images_of_nobody_in_particular_are_for_every_frame(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_inputs(monkeypatch)
    board = await board_of(studio.maker, model="qwen", images=(photo(1), photo(2)), **FAST)
    assert images_of(board) == [[photo(1).tobytes(), photo(2).tobytes()]] * len(SCENES)
    assert [frame.request.prompt for frame in board.frames] == list(SCENES)
    with pytest.raises(InvalidRequest, match="images: are 4; at most 3 are allowed"):
        await board_of(studio.maker, model="qwen", images=tuple(map(photo, range(4))))


async def test_without_references_the_first_frame_is_one(studio: Studio) -> None:
    board = await board_of(studio.maker, use_ref_guided=True, **FAST)
    first, *others = board.frames
    assert (board.story.mode, first.request.task, board.references) == (Mode.EDIT, Task.TEXT_TO_IMAGE, ())
    assert images_of(board)[1:] == [[first.picture.image.tobytes()]] * len(others)
    assert (await board_of(studio.maker, **FAST)).story.mode is Mode.SIMPLE


async def test_another_model_draws_for_one_that_only_edits(studio: Studio) -> None:
    board = await board_of(studio.maker, model="one", **FAST)
    (reference,) = board.references
    assert (reference.request.model, reference.request.prompt) == ("klein", SCENES[0])
    assert images_of(board) == [[reference.picture.image.tobytes()]] * len(SCENES)
    assert {frame.request.model for frame in board.frames} == {"one"}
    alone = studio.maker.gateway.catalogue.only(["one"])
    with pytest.raises(InvalidRequest, match="images: one only edits images"):
        await board_of(studio.with_(catalogue=alone, settings={"story_model": "one"}), **FAST)


async def test_whom_the_model_does_not_see_is_named(studio: Studio) -> None:
    board = await board_of(
        studio.with_(planner=Scenes(*TOLD)), model="one", images=(photo(1), photo(2)), **PAIR, **FAST
    )
    assert images_of(board)[0] == [photo(1).tobytes()]
    assert board.frames[0].request.prompt == TOLD[0]
    assert "frame 1: characters: the model takes 1 image, so it does not see horse" in board.warnings


async def test_scenes_may_say_who_is_in_them(studio: Studio) -> None:
    scenes = [{"prompt": SCENES[0], "characters": ["horse"]}, *({"prompt": "Aldar"} for _ in range(5))]
    board = await board_of(studio.maker, scenes=scenes, images=(photo(1), photo(2)), **PAIR, **FAST)
    assert images_of(board)[:2] == [[photo(2).tobytes()], [photo(1).tobytes()]]
    planned = await studio.with_(planner=Scenes(*TOLD)).plan(Story(prompt=STORY, **PAIR))
    assert planned.mode is Mode.EDIT
    assert [scene.characters for scene in planned.plan.scenes][3:5] == [("horse",), ("Aldar Kose", "horse")]


async def test_a_poor_reference_is_drawn_again(studio: Studio) -> None:
    scores = [0.1, 0.9]
    rising = Scores(lambda _, text: scores.pop(0) if text == "horse" else 1.0)
    board = await board_of(studio.with_(scores=rising), characters="horse", **FAST)
    (reference,) = board.references
    assert (reference.clip_score, scores) == (0.9, [])
    again = await board_of(studio.maker, characters="horse", **FAST)
    assert again.references[0].picture.seed != reference.picture.seed


async def test_what_is_made_later_is_drawn_by_the_same_models(studio: Studio) -> None:
    story = await studio.maker.take_in(Story(prompt=STORY, model="one", **PAIR))
    assert (story.mode, story.reference_model) == (Mode.EDIT, "klein")
    kept = await studio.maker.take_in(Story(prompt=STORY, images=(photo(1),)))
    restored = Story.model_validate({**plain_fields(kept), "images": (photo(1),)})
    assert restored == kept


async def test_references_are_files_after_the_sheet(studio: Studio) -> None:
    board = await board_of(studio.maker, **PAIR, **FAST)
    names = [file.name for file in files_of(board)]
    assert names[-3:] == ["sheet.png", "reference_001.png", "reference_002.png"]
