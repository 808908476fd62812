"""Stories into frames: a tiny SDXL with a LoRA and an IP-Adapter, drawn by the real engine in this process."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image
from safetensors.torch import load_file, save_file

from core.errors import Busy, DeadlineExceeded, InvalidRequest, LoadFailed, PlanningFailed, RateExceeded
from core.generation.events import Event
from core.generation.request import GenerationRequest, Lora
from core.pixels.upload import pixels_of
from gateway.upscaling import NO_MODEL, Upscaler
from models.catalogue.catalogue import Catalogue
from models.catalogue.memory.figures import Figures
from models.catalogue.resolving.deadlines import work_s
from models.catalogue.serving.served_models import CHARACTER, served_catalogue
from models.catalogue.sources import Source
from runners.host.host import Host
from runners.upscaling.wire import AskedTile
from settings import Settings
from standalone.in_process import HostRunner
from storyboard.errors import NotInitialized
from storyboard.files.answer import image_file
from storyboard.frames import Finished, FrameDone, FrameStep, Planned, Storyboard
from storyboard.maker import Maker, frames_charged_at_acceptance
from storyboard.planning.builtin import BuiltinPlanner
from storyboard.resolved_story import seed_of
from storyboard.scenes import Plan, PlanRequest
from storyboard.scoring.clip_host import ClipHost
from storyboard.scoring.pairs import ImageTextPair
from storyboard.scoring.scorers import OWN_THRESHOLD
from storyboard.story import Story
from tests.support.engine.drawing import largest_difference, photo
from tests.support.metadata import read_parameters
from tests.support.storyboard.judged import seen_in
from tests.support.storyboard.stories import (
    SCENES,
    STORY,
    Purse,
    Scores,
    Studio,
    board_of,
    events_of,
    story_studio,
    write_story_catalogue,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
THRESHOLD = 0.5
DEADLINE_S = 8
"""Enough for six frames of few steps on a busy machine."""
FOX = "A little fox looks for its friends in the forest"


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_story_catalogue(tmp_path_factory.mktemp("stories"))


def settings_with(catalogue: Path, **changes: Any) -> Settings:
    fields = {"story_clip_threshold": THRESHOLD, "device": "cpu", **changes}
    return Settings(catalogue=catalogue, JUBAKO_MODELS="tiny-xl,tiny").model_copy(update=fields)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def studio(catalogue: Path) -> AsyncIterator[Studio]:
    async with story_studio(settings_with(catalogue)) as studio:
        # What is timed below must not wait for the model.
        await board_of(studio.maker, seed=1)
        yield studio


def bytes_of(board: Storyboard) -> list[bytes]:
    return [frame.picture.image.tobytes() for frame in board.frames]


class TestFrames:
    async def test_a_story_has_a_frame_for_each_scene_in_order(self, studio: Studio) -> None:
        board = await board_of(studio.maker)
        assert [frame.scene.prompt for frame in board.frames] == list(SCENES)
        assert [frame.request.prompt for frame in board.frames] == list(SCENES)
        assert (board.model, board.plan.planner, board.story.mode, board.error) == ("tiny-xl", "scenes", "simple", None)

    async def test_each_frame_has_a_seed_of_its_own_that_follows_from_the_story(self, studio: Studio) -> None:
        board = await board_of(studio.maker, seed=7)
        assert [frame.picture.seed for frame in board.frames] == [seed_of(7, n, 1) for n in range(1, 7)]
        assert len({seed_of(seed, n, attempt) for seed in (7, 8) for n in range(10) for attempt in range(3)}) == 60

    async def test_the_same_story_gives_the_same_bytes(self, studio: Studio) -> None:
        first, again = await board_of(studio.maker, seed=7), await board_of(studio.maker, seed=7)
        assert bytes_of(first) == bytes_of(again)
        assert bytes_of(await board_of(studio.maker, seed=8)) != bytes_of(first)

    async def test_frames_share_passes(self, studio: Studio) -> None:
        studio.passes.passes.clear()
        await board_of(studio.maker, num_inference_steps=8)
        calls = Counter(studio.passes.denoising)
        assert max(calls) == len(SCENES)
        assert sum(studio.passes.denoising) == 8 * len(SCENES)
        assert len(studio.passes.denoising) <= 12, calls

    async def test_events_tell_the_plan_each_step_and_each_frame(self, studio: Studio) -> None:
        events = await events_of(studio.maker)
        assert isinstance(events[0], Planned)
        assert isinstance(events[-1], Finished)
        assert sum(isinstance(event, FrameStep) for event in events) == 4 * len(SCENES)
        done = [event for event in events if isinstance(event, FrameDone)]
        assert [(event.done, event.of) for event in done] == [(n, 6) for n in range(1, 7)]

    async def test_what_is_said_of_frames_reaches_the_model(self, studio: Studio) -> None:
        wanted = {"width": 32, "height": 64, "num_inference_steps": 3, "guidance_scale": 2.0, "negative_prompt": "blur"}
        board = await board_of(studio.maker, **wanted)
        assert {name: getattr(board.frames[0].request, name) for name in wanted} == wanted
        assert board.frames[0].picture.image.size == (32, 64)

    async def test_the_log_says_how_long_a_story_is_and_not_what_it_says(
        self, studio: Studio, caplog: pytest.LogCaptureFixture
    ) -> None:
        logger = logging.getLogger("jubako.storyboard")
        logger.addHandler(caplog.handler)
        with caplog.at_level(logging.INFO, logger.name):
            await board_of(studio.maker, prompt="a story\nof an apple", seed=3)
        logger.removeHandler(caplog.handler)
        told = [record.getMessage() for record in caplog.records if record.name == logger.name]
        assert "seed 3, a story of 19 characters" in told[0]
        assert not any("apple" in line for line in told)

    async def test_what_cannot_act_is_a_warning(self, studio: Studio) -> None:
        board = await board_of(
            studio.maker, gpt_temperature=0.2, reference_scale=0.5, guidance_scale=1.0, negative_prompt="a"
        )
        assert [warning.rpartition(": ")[0] for warning in board.warnings] == [
            "reference_scale is ignored",
            "gpt_temperature is ignored",
            "all frames: negative_prompt is ignored",
        ]

    async def test_the_planner_is_told_everything(self, studio: Studio) -> None:
        await board_of(studio.maker, num_frames=9, gpt_temperature=0.2, seed=3)
        planner: Any = studio.maker.planner
        asked: PlanRequest = planner.asked[-1]
        assert (asked.story, asked.num_frames, asked.temperature, asked.seed) == (STORY, 9, 0.2, 3)
        assert (asked.entry.id, asked.trigger) == ("tiny-xl", "")


class TestValidation:
    async def test_a_poor_frame_is_drawn_again_with_another_seed(self, studio: Studio) -> None:
        scores = falling("a green tree", 0.2, 0.9)
        board = await board_of(studio.with_(scores=scores))
        frame = board.frames[2]
        assert (frame.tries, frame.clip_score, frame.picture.seed) == (2, 0.9, seed_of(42, 3, 2))
        assert [other.tries for other in board.frames] == [1, 1, 2, 1, 1, 1]

    async def test_the_best_is_kept_when_none_is_good(self, studio: Studio) -> None:
        board = await board_of(studio.with_(scores=falling("a green tree", 0.1, 0.3, 0.2)))
        frame = board.frames[2]
        assert (frame.tries, frame.clip_score, frame.picture.seed) == (3, 0.3, seed_of(42, 3, 2))

    async def test_a_story_may_have_a_threshold_and_tries_of_its_own(self, studio: Studio) -> None:
        poor = Scores(lambda *_: 0.6)
        assert [f.tries for f in (await board_of(studio.with_(scores=poor))).frames] == [1] * 6
        strict = await board_of(studio.with_(scores=poor), clip_threshold=0.7, max_tries=2)
        assert [frame.tries for frame in strict.frames] == [2] * 6

    async def test_what_is_made_later_is_made_as_the_operator_had_it_then(self, studio: Studio) -> None:
        story = await studio.maker.take_in(Story(prompt=STORY, use_ref_guided=True))
        assert (story.model, story.clip_threshold, story.max_tries, story.reference_scale) == (
            "tiny-xl",
            THRESHOLD,
            3,
            0.2,
        )

    async def test_frames_are_compared_with_their_prompts(self, studio: Studio) -> None:
        scores = Scores(lambda *_: 1.0)
        await board_of(studio.with_(scores=scores))
        assert sorted(text for text, _ in scores.given) == sorted(SCENES)

    async def test_without_a_scorer_there_are_frames_and_a_warning(self, studio: Studio) -> None:
        board = await board_of(studio.with_(scores=Away()))
        assert [(frame.clip_score, frame.tries) for frame in board.frames] == [(None, 1)] * 6
        assert board.warnings == ("frames are neither scored nor generated again: the scorer is away",)

    async def test_a_rate_that_is_used_up_leaves_the_best(self, studio: Studio) -> None:
        maker = studio.with_(scores=Scores(lambda *_: 0.1), meter=Purse(pictures=7))
        assert sum(frame.tries for frame in (await board_of(maker)).frames) == 7

    async def test_a_try_that_fails_leaves_the_best(self, studio: Studio) -> None:
        jammed = {"tiny-xl": Jammed(studio.hosts["tiny-xl"], room=8)}
        board = await board_of(studio.with_(scores=Scores(lambda *_: 0.1), runners=jammed))
        assert sorted(frame.tries for frame in board.frames) in ([1, 1, 1, 1, 2, 2], [1, 1, 1, 1, 1, 3])

    async def test_a_rate_that_is_too_small_refuses_the_story_before_it_draws(self, studio: Studio) -> None:
        studio.passes.passes.clear()
        with pytest.raises(RateExceeded):
            await board_of(studio.with_(meter=Purse(pictures=5)))
        assert studio.passes.denoising == []

    async def test_a_story_that_is_made_later_pays_then_only_for_what_it_has_not_paid(self, studio: Studio) -> None:
        purse = Purse(pictures=8)
        maker = studio.with_(scores=Scores(lambda *_: 0.1), meter=purse)
        story = await maker.take_in(Story(prompt=STORY))
        async with aclosing(maker.make(story, frames_charged_at_acceptance(story))) as making:
            (board,) = [event.storyboard async for event in making if isinstance(event, Finished)]
        assert sum(frame.tries for frame in board.frames) == 8, "six planned frames, and two further tries"

    async def test_one_that_is_made_later_keeps_its_plan_while_it_waits_for_its_rate(self, studio: Studio) -> None:
        story = Story(prompt=STORY)
        purse = Purse(pictures=0, refusals=1)
        maker = studio.with_(meter=purse)
        async with aclosing(maker.make(story, frames_charged_at_acceptance(story) - 1)) as making:
            happened = [type(event) async for event in making]
        assert happened.count(Planned) == 1
        assert purse.refused == 1

    async def test_the_image_that_a_story_follows_counts_once(self, studio: Studio) -> None:
        purse = Purse(pictures=6)
        await board_of(studio.with_(meter=purse), reference_image=Image.new("RGB", (50, 40)))
        assert purse.other_px == 2000


class TestReferences:
    async def test_the_others_are_drawn_after_the_first(self, studio: Studio) -> None:
        board = await board_of(studio.maker, use_ref_guided=True)
        first, *others = board.frames
        assert board.story.mode == "ref_guided"
        assert first.request.reference_image is None
        for frame in others:
            assert frame.request.reference_image is not None
            assert pixels_of(frame.request.reference_image).tobytes() == first.picture.image.tobytes()
            assert frame.request.reference_scale == 0.2
        simple = await board_of(studio.maker)
        assert bytes_of(simple)[0] == bytes_of(board)[0]
        assert all(one != other for one, other in zip(bytes_of(simple)[1:], bytes_of(board)[1:], strict=True))

    async def test_the_reference_is_a_frame_that_was_accepted(self, studio: Studio) -> None:
        board = await board_of(studio.with_(scores=falling(SCENES[0], 0.1, 0.9)), use_ref_guided=True)
        assert board.frames[0].picture.seed == seed_of(42, 1, 2)
        assert board.frames[1].request.reference_image is not None
        assert pixels_of(board.frames[1].request.reference_image).tobytes() == board.frames[0].picture.image.tobytes()

    async def test_a_given_reference_guides_all_frames_at_once(self, studio: Studio) -> None:
        studio.passes.passes.clear()
        board = await board_of(studio.maker, reference_image=photo(), reference_scale=0.6)
        assert max(studio.passes.denoising) == len(SCENES)
        for frame in board.frames:
            assert frame.request.reference_image is not None
            assert pixels_of(frame.request.reference_image).tobytes() == photo().tobytes()
            assert frame.request.reference_scale == 0.6

    async def test_a_model_without_an_ip_adapter_says_so(self, studio: Studio) -> None:
        with pytest.raises(InvalidRequest, match="use_ref_guided: tiny has no IP-Adapter"):
            await board_of(studio.maker, model="tiny", use_ref_guided=True)


class TestCharacters:
    async def test_a_named_lora_changes_every_frame(self, studio: Studio) -> None:
        plain = await board_of(studio.maker)
        worn = await board_of(studio.maker, loras=[{"name": "character"}])
        assert all(one != other for one, other in zip(bytes_of(plain), bytes_of(worn), strict=True))

    async def test_the_operators_lora_is_worn_and_its_trigger_told(self, studio: Studio) -> None:
        maker = studio.with_(settings={"story_lora": "character", "story_lora_trigger": "aldar"})
        board = await board_of(maker)
        assert [frame.request.loras for frame in board.frames] == [(Lora(name="character"),)] * 6
        planner: Any = maker.planner
        assert planner.asked[-1].trigger == "aldar"
        own = await board_of(maker, loras=[{"name": "character", "scale": 0.5}])
        assert own.frames[0].request.loras == (Lora(name="character", scale=0.5),)
        assert planner.asked[-1].trigger == ""

    async def test_an_unknown_lora_is_refused_with_those_there_are(self, studio: Studio) -> None:
        with pytest.raises(InvalidRequest, match=r"loras.*nobody.*character"):
            await board_of(studio.maker, loras=[{"name": "nobody"}])

    async def test_a_lora_of_another_family_is_named(self, studio: Studio) -> None:
        with pytest.raises(LoadFailed, match=r"'stranger'.*not made for this model"):
            await board_of(studio.maker, loras=[{"name": "stranger"}])

    async def test_the_lora_of_the_path_is_among_those_of_the_model(self, catalogue: Path) -> None:
        file = catalogue.parent / "character.safetensors"
        async with story_studio(settings_with(catalogue, lora_path=file)) as studio:
            board = await board_of(studio.maker)
            named = await board_of(studio.maker, loras=[{"name": "character"}])
            assert board.frames[0].request.loras == (Lora(name=CHARACTER),)
            assert bytes_of(board) == bytes_of(named)

    async def test_a_path_may_be_a_folder(self, catalogue: Path, tmp_path: Path) -> None:
        (tmp_path / "pytorch_lora_weights.safetensors").symlink_to(catalogue.parent / "character.safetensors")
        async with story_studio(settings_with(catalogue, lora_path=tmp_path)) as studio:
            named = await board_of(studio.maker, loras=[{"name": "character"}])
            assert bytes_of(await board_of(studio.maker)) == bytes_of(named)

    async def test_a_folder_may_be_one_of_pefts_own(self, catalogue: Path, tmp_path: Path) -> None:
        weights = load_file(catalogue.parent / "character.safetensors")
        own = {f"base_model.model.{name.removeprefix('unet.')}": weight for name, weight in weights.items()}
        save_file(own, tmp_path / "adapter_model.safetensors")
        (tmp_path / "adapter_config.json").write_text('{"r": 3, "lora_alpha": 6}')
        async with story_studio(settings_with(catalogue, lora_path=tmp_path)) as studio:
            named = await board_of(studio.maker, loras=[{"name": "character", "scale": 2.0}])
            for one, other in zip((await board_of(studio.maker)).frames, named.frames, strict=True):
                assert largest_difference(one.picture.image, other.picture.image) <= 1

    async def test_a_path_that_is_not_there_is_the_documents_error(self, catalogue: Path) -> None:
        async with story_studio(settings_with(catalogue, lora_path=Path("/nowhere/final"))) as studio:
            with pytest.raises(NotInitialized, match=r"Set LORA_PATH .*/nowhere/final") as caught:
                await board_of(studio.maker)
            assert caught.value.reason == ".../final: there is no such file or folder"
            assert "nowhere" not in caught.value.message

    async def test_a_path_to_a_lora_of_another_family_is_too(self, catalogue: Path) -> None:
        file = catalogue.parent / "stranger.safetensors"
        async with story_studio(settings_with(catalogue, lora_path=file)) as studio:
            with pytest.raises(NotInitialized, match="not made for this model"):
                await board_of(studio.maker)

    async def test_the_model_of_stories_need_not_be_the_first(self, catalogue: Path) -> None:
        settings = settings_with(catalogue, story_model="tiny", lora_path=catalogue.parent / "stranger.safetensors")
        served = served_catalogue(settings)
        assert CHARACTER in served.get("tiny").loras
        assert CHARACTER not in served.get("tiny-xl").loras


class TestTheTransformer:
    async def test_it_shows_every_scene_of_a_planned_story_with_fewer_steps(self) -> None:
        """The shipped weights, planner and CLIP; and the judge, who has seen neither story nor prompts."""
        clips = ClipHost("cpu")
        settings = Settings(JUBAKO_MODELS="miniature-dit").model_copy(update={"device": "cpu"})
        async with story_studio(settings) as studio:
            maker = studio.with_(planner=BuiltinPlanner(), scores=clips)
            board = await board_of(maker, prompt=FOX, step_cache="quality", max_tries=1)
        clips.close()
        assert [seen_in(frame.picture.image) in frame.scene.prompt.split() for frame in board.frames] == [True] * 6
        assert all((frame.clip_score or 0) >= OWN_THRESHOLD for frame in board.frames)
        computed = sum(studio.passes.denoising)
        assert computed + sum(frame.picture.skipped_steps for frame in board.frames) == 6 * 20
        assert computed < 0.8 * 6 * 20


class TestUpscaling:
    async def test_the_files_of_frames_are_upscaled_and_all_else_is_as_without(self, studio: Studio) -> None:
        plain, board = await board_of(studio.maker, seed=7), await board_of(studio.maker, seed=7, upscale=2)
        assert (bytes_of(board), board.warnings) == (bytes_of(plain), (NO_MODEL,))
        for frame in board.frames:
            image, file = frame.picture.image, Image.open(BytesIO(image_file(frame, "png")))
            larger = image.resize((2 * image.width, 2 * image.height), Image.Resampling.LANCZOS)
            assert file.convert("RGB").tobytes() == larger.tobytes()
            assert read_parameters(file)["upscale"] == 2

    async def test_frames_are_worth_more_than_an_upscaler_that_is_away(self, studio: Studio) -> None:
        asked: list[AskedTile] = []

        async def upscale(tile: AskedTile) -> Image.Image:
            asked.append(tile)
            if len(asked) > 1:
                raise Busy("away for now")
            return tile.image.resize((2 * tile.image.width, 2 * tile.image.height))

        board = await board_of(studio.with_(upscaler=Upscaler("tiny", upscale)), upscale=2)
        larger = [frame.upscaled is not None for frame in board.frames]
        assert (sorted(larger), board.error) == ([False] * 5 + [True], None)
        others = ", ".join(str(number) for number, is_larger in enumerate(larger, 1) if not is_larger)
        assert board.warnings == (f"upscale: frames {others} are not upscaled: away for now",)


class TestEnds:
    async def test_a_deadline_returns_the_frames_that_are_done(self, studio: Studio) -> None:
        runners = {"tiny-xl": Stuck(studio.hosts["tiny-xl"], "a green car", "a red car")}
        board = await board_of(studio.with_(runners=runners), deadline_s=DEADLINE_S)
        assert [frame.scene.number for frame in board.frames] == [1, 2, 3, 5]
        assert board.error == f"deadline_s: {DEADLINE_S} s have passed with 4 of 6 frames done"

    async def test_a_deadline_delivers_frames_that_wait_for_a_score_or_are_drawn_again(self, studio: Studio) -> None:
        events = await events_of(studio.with_(scores=Slow("a green car", "a red car")), deadline_s=DEADLINE_S)
        delivered = [event for event in events if isinstance(event, FrameDone)]
        assert sorted(event.frame.scene.number for event in delivered) == [1, 2, 3, 4, 5, 6]
        assert [(event.done, event.of) for event in delivered] == [(n, 6) for n in range(1, 7)]
        assert isinstance(events[-1], Finished)
        board = events[-1].storyboard
        assert [frame.clip_score for frame in board.frames] == [1.0, 1.0, 1.0, None, 1.0, None]
        assert (board.error, board.warnings) == (
            None,
            (f"deadline_s: {DEADLINE_S} s have passed while frames were scored, generated again or upscaled",),
        )

    async def test_the_longest_deadline_follows_the_work_of_all_frames(self, studio: Studio) -> None:
        figures = {"weights_gib": {}, "denoising_gib": 0, "decoding_gib": 0, "tiled_gib": 0, "decoder_latents": 1}
        counted = {"figures": Figures(**figures, call_tflop=50)}
        known = studio.maker.gateway
        entries = [entry.model_copy(update=counted) for entry in known.catalogue.entries.values()]
        limits = replace(known.limits, max_deadline_s=1, tflops=1)
        slow = {"request_timeout_s": 1, "expected_tflops": 1}
        maker = studio.with_(settings=slow, catalogue=Catalogue(entries), limits=limits)
        frame = await maker.check(Story(prompt=STORY))
        six_s = slow["request_timeout_s"] + 6 * work_s(entries[0], frame, tflops=1)
        story = Story(prompt=STORY, num_frames=6, max_tries=1, deadline_s=six_s)
        assert (await maker.take_in(story)).deadline_s == six_s
        unsaid = story.model_copy(update={"deadline_s": None})
        assert (await maker.take_in(unsaid)).deadline_s == maker.settings.job_timeout_s, "nobody waits for it"
        with pytest.raises(InvalidRequest, match=rf"deadline_s.*{six_s:g}"):
            await maker.take_in(story.model_copy(update={"deadline_s": six_s + 1}))
        with pytest.raises(InvalidRequest, match=rf"deadline_s.*{six_s:g}"):
            await board_of(maker, num_frames=6, max_tries=1, deadline_s=six_s + 1)

    async def test_a_deadline_without_any_frame_is_an_error(self, studio: Studio) -> None:
        with pytest.raises(DeadlineExceeded, match="before the first frame"):
            await board_of(studio.maker, num_inference_steps=800, deadline_s=2)
        await until_idle(studio)

    async def test_leaving_frees_everything(self, studio: Studio) -> None:
        async with aclosing(studio.maker.make(Story(prompt=STORY, num_inference_steps=800))) as emitted:
            async for event in emitted:
                if isinstance(event, FrameStep):
                    break
            await until(lambda: studio.running == len(SCENES))
        await until_idle(studio)

    async def test_one_frame_that_fails_ends_the_story_and_its_other_frames(self, studio: Studio) -> None:
        with pytest.raises(InvalidRequest, match="clip is broken"):
            await board_of(studio.with_(scores=Broken()), num_inference_steps=40)
        await until_idle(studio)

    async def test_a_story_that_cannot_be_planned_says_why(self, studio: Studio) -> None:
        with pytest.raises(PlanningFailed, match="no answer"):
            await board_of(studio.with_(planner=Speechless()))

    async def test_what_no_frame_could_be_is_refused_before_planning(self, studio: Studio) -> None:
        maker: Maker = studio.with_(planner=Speechless())
        with pytest.raises(InvalidRequest, match="width"):
            await board_of(maker, width=33)


def falling(prompt: str, *scores: float) -> Scores:
    """Scores of the tries of one scene; all others are good at once."""
    left = list(scores)
    return Scores(lambda _, text: left.pop(0) if text == prompt else 1.0)


class Away:
    async def compare(self, clip: Source, pair: ImageTextPair) -> float:
        raise Busy("the scorer is away")


class Broken:
    async def compare(self, clip: Source, pair: ImageTextPair) -> float:
        raise InvalidRequest("clip", "clip is broken")


class Slow:
    """Never has a score for some texts."""

    def __init__(self, *texts: str) -> None:
        self._texts = texts

    async def compare(self, clip: Source, pair: ImageTextPair) -> float:
        if pair[1] in self._texts:
            await asyncio.Event().wait()
        return 1.0


class Stuck(HostRunner):
    """Never draws some prompts."""

    def __init__(self, host: Host, *prompts: str) -> None:
        super().__init__(host)
        self._prompts = prompts

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        if request.prompt in self._prompts:
            await asyncio.Event().wait()
        async with aclosing(super().generate(request)) as emitted:
            async for event in emitted:
                yield event


class Jammed(HostRunner):
    """Has room for no more than so many requests, ever."""

    def __init__(self, host: Host, room: int) -> None:
        super().__init__(host)
        self._room = room

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        self._room -= 1
        if self._room < 0:
            raise Busy("the line is full")
        return super().generate(request)


class Speechless:
    async def plan(self, request: PlanRequest) -> Plan:
        raise PlanningFailed("there is no answer")


async def until_idle(studio: Studio) -> None:
    await until(lambda: not studio.running)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110, since engines tell nobody what they have
            await asyncio.sleep(0.01)
