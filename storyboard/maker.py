"""Stories into storyboards: planned, all frames drawn at once through the gateway, each scored and drawn again if poor.

Frames of one story share the engine's batches with each other and with everybody else's, because each is an ordinary
request of its own. Seeds follow from the story's (`commission.seed_of`), so an equal story gives equal frames.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from PIL import Image

from core.errors import Busy, DeadlineExceeded, GenerationFailed, JubakoError, LoadFailed
from core.events import Picture, Step
from core.request import GenerationRequest
from gateway.gateway import Gateway
from settings import Settings
from storyboard.errors import NotInitialized
from storyboard.frames import Drawn, Finished, Frame, FrameDone, Planned, Storyboard, StoryEvent
from storyboard.resolved_story import Commission, commission
from storyboard.scenes import MIN_FRAMES, Plan, Planner, Scene
from storyboard.scoring.scorers import Scorers
from storyboard.story import Story
from storyboard.telemetry import told


@dataclass(frozen=True)
class Maker:
    gateway: Gateway
    planner: Planner
    scorers: Scorers
    settings: Settings

    async def check(self, story: Story) -> GenerationRequest:
        """Return a request like those that the frames will be.

        Raises whatever would refuse a story before anything is planned: UnknownModel, InvalidRequest, NotInitialized.
        """
        wanted = self._commission(story)
        return await self.gateway.check(wanted.draft(Scene(1, story.prompt, ""), 1, story.reference_image))

    async def take_in(self, story: Story) -> Story:
        """Return a story that is to be made later, by whatever process: checked, counted, and what the operator chose
        for its model, threshold, tries and reference named, so that it stays what it is.

        Raises what `check` raises, and RateExceeded.
        """
        request = await self.check(story)
        frames = story.num_frames or MIN_FRAMES
        await self.gateway.meter.charge(request.model_copy(update={"num_images": frames}))
        wanted = self._commission(story)
        settled = {"model": request.model, "clip_threshold": wanted.threshold, "max_tries": wanted.max_tries}
        if story.guided:
            settled["reference_scale"] = wanted.reference_scale
        return story.model_copy(update=settled)

    async def make(self, story: Story) -> AsyncGenerator[StoryEvent, None]:
        """Yield what happens, down to Finished; closing the generator stops all drawing.

        A deadline that passes ends the story with the frames that are there. Raises the JubakoError that ended it
        otherwise; DeadlineExceeded when no frame is done.
        """
        wanted, happened = self._commission(story), asyncio.Queue[StoryEvent | None]()
        making = _Making(self, wanted, happened.put_nowait)
        with told(story, wanted.entry.id) as telling:
            await self.check(story)
            work = asyncio.create_task(making.run())
            work.add_done_callback(lambda _: happened.put_nowait(None))
            try:
                while (event := await happened.get()) is not None:
                    telling.of(event)
                    yield event
                await work
            finally:
                work.cancel()
                await asyncio.wait({work})

    def _commission(self, story: Story) -> Commission:
        return commission(story, self.settings, self.gateway.catalogue, self.scorers)


class _Making:
    """One story in the making."""

    def __init__(self, maker: Maker, wanted: Commission, tell: Callable[[StoryEvent], None]) -> None:
        self._maker = maker
        self._wanted = wanted
        self._tell = tell
        self._plan: Plan | None = None
        self._best: dict[int, Frame] = {}
        """By the number of the scene; a frame may be here that is being drawn again."""
        self._told: set[int] = set()
        """The scenes whose frames were delivered."""
        self._warnings: tuple[str, ...] = ()

    async def run(self) -> None:
        started, error = time.perf_counter(), None
        deadline_s = self._wanted.story.deadline_s
        try:
            async with asyncio.timeout(deadline_s) as limit:
                await self._make()
        except TimeoutError:
            if not limit.expired():
                raise
            error = self._late(deadline_s)
        except BaseExceptionGroup as group:
            raise _first(group) from group
        assert self._plan is not None
        frames = tuple(self._best[number] for number in sorted(self._best))
        seconds = time.perf_counter() - started
        model = self._wanted.entry.id
        board = Storyboard(self._wanted.story, model, self._plan, frames, seconds, error, self._warnings)
        self._tell(Finished(board))

    def _late(self, deadline_s: float | None) -> str | None:
        """Deliver what is there of a story whose deadline has passed; return what to say if frames are missing.

        Raises DeadlineExceeded when there is nothing to show.
        """
        passed = f"deadline_s: {deadline_s:g} s have passed"
        if self._plan is None or not self._best:
            raise DeadlineExceeded(f"{passed} before the first frame was done")
        for number in sorted(self._best.keys() - self._told):
            self._deliver(number)
        if len(self._best) < len(self._plan.scenes):
            return f"{passed} with {len(self._best)} of {len(self._plan.scenes)} frames done"
        self._warnings += (f"{passed} while frames were scored or drawn again",)
        return None

    async def _make(self) -> None:
        self._plan = await self._maker.planner.plan(self._wanted.plan_request)
        self._tell(Planned(self._wanted.entry.id, self._plan))
        scenes: Sequence[Scene] = self._plan.scenes
        reference = self._wanted.story.reference_image
        if self._wanted.story.guided and reference is None:
            first, *scenes = scenes
            reference = (await self._frame(first, await self._admitted(first, 1, None), None)).picture.image
        # All are accepted before any is drawn: a caller's rate refuses a story as a whole.
        requests = [await self._admitted(scene, 1, reference) for scene in scenes]
        async with asyncio.TaskGroup() as group:
            for scene, request in zip(scenes, requests, strict=True):
                group.create_task(self._frame(scene, request, reference))

    async def _admitted(self, scene: Scene, attempt: int, reference: Image.Image | None) -> GenerationRequest:
        # Only the story has a deadline.
        draft = self._wanted.draft(scene, attempt, reference)
        return await self._maker.gateway.admit(draft, background=True)

    async def _frame(self, scene: Scene, request: GenerationRequest, reference: Image.Image | None) -> Frame:
        """Draw until a frame scores well enough, or tries are used up; the best is kept."""
        score, attempt = await self._try(scene, request, 1), 1
        while score is not None and score < self._wanted.threshold and attempt < self._wanted.max_tries:
            attempt += 1
            try:
                score = await self._try(scene, await self._admitted(scene, attempt, reference), attempt)
            except JubakoError:
                # A used-up rate, a full line, a picture that is not to be shown: there is one already.
                break
        return self._deliver(scene.number)

    async def _try(self, scene: Scene, request: GenerationRequest, attempt: int) -> float | None:
        """Draw a frame once and keep it if it is the best; return its score."""
        frame = Frame(scene, request, await self._drawn(scene, request, attempt), None, attempt)
        # Before there is a score, for the deadline may pass meanwhile.
        self._keep(frame)
        score = await self._score(frame.picture, scene)
        self._keep(replace(frame, clip_score=score))
        return score

    def _deliver(self, number: int) -> Frame:
        assert self._plan is not None
        self._told.add(number)
        frame = self._best[number]
        self._tell(FrameDone(frame, len(self._told), len(self._plan.scenes)))
        return frame

    def _keep(self, frame: Frame) -> None:
        """Keep the better one of this frame and what was there; `tries` counts all."""
        before = self._best.get(frame.scene.number)
        best = frame if before is None or frame.worth > before.worth else before
        self._best[frame.scene.number] = replace(best, tries=frame.tries)

    async def _drawn(self, scene: Scene, request: GenerationRequest, attempt: int) -> Picture:
        try:
            async with aclosing(self._maker.gateway.draw(request)) as events:
                async for event in events:
                    if isinstance(event, Picture):
                        return event
                    if isinstance(event, Step):
                        self._tell(Drawn(scene.number, attempt, event.step, event.steps))
        except LoadFailed as error:
            if self._wanted.names_its_loras:
                raise
            raise NotInitialized(error.message) from error
        raise GenerationFailed("the model ended without an image")

    async def _score(self, picture: Picture, scene: Scene) -> float | None:
        """The CLIP score; without a scorer that answers, a story is worth more than none."""
        if self._warnings:
            return None
        try:
            return await self._wanted.scorer.score(picture.image, scene.prompt)
        except Busy as error:
            self._warnings = (f"frames are neither scored nor drawn again: {error.message}",)
            return None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first of the errors that ended a story: the others follow from it, or say the same."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
