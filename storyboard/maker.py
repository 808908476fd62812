"""Stories into storyboards: planned, all frames generated at once through the gateway, poor ones again.

Frames of one story share the engine's batches with each other and with everybody else's, because each is an ordinary
request of its own. Seeds follow from the story's (`resolved_story.seed_of`), so an equal story gives equal frames.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from math import prod

from PIL import Image

from core.deadline import Deadline
from core.errors import Busy, GenerationFailed, JubakoError, LoadFailed, RateExceeded
from core.generation.events import Picture, Started, Step
from core.generation.request import GenerationRequest
from core.tasks import end, first_error
from gateway.gateway import Gateway
from models.catalogue.resolving.checks import at_most
from models.catalogue.resolving.deadlines import allowed_s, longest_deadline_s
from settings import Settings
from storyboard.errors import NotInitialized
from storyboard.frames import Finished, Frame, FrameDone, FrameStep, Planned, Storyboard, StoryEvent
from storyboard.resolved_story import ResolvedStory, resolve_story
from storyboard.scenes import MAX_FRAMES, MIN_FRAMES, Plan, Planner, Scene
from storyboard.scoring.scorers import Scorers
from storyboard.story import Story
from storyboard.telemetry import recorded
from storyboard.upscaling import FrameUpscaler

Emit = Callable[[StoryEvent], None]

TOO_EARLY = "before the first frame was done"


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
        return await self._first_frame(self._resolved(story))

    async def plan(self, story: Story) -> Planned:
        """Return what would be drawn, without drawing it: `Story.scenes` takes it back, changed or not.

        Raises what `check` raises, PlanningFailed, and DeadlineExceeded.
        """
        resolved = self._resolved(story)
        request = await self._first_frame(resolved)
        deadline = Deadline(self._deadline_s(resolved, request))
        return Planned(resolved.entry.id, await self._planned(resolved, deadline))

    async def take_in(self, story: Story) -> Story:
        """Return a story that is to be made later, by whatever process: checked, counted, and what the operator chose
        for its model, threshold, tries, reference and time named, so that it stays what it is.

        Raises what `check` raises, and RateExceeded.
        """
        resolved = self._resolved(story)
        request = await self._first_frame(resolved)
        if story.deadline_s is not None:
            self._deadline_s(resolved, request)
        await self._charge(story, request, frames_charged_at_acceptance(story))
        settled = {
            "model": request.model,
            "clip_threshold": resolved.threshold,
            "max_tries": resolved.max_tries,
            "deadline_s": story.deadline_s or self.settings.job_timeout_s,
        }
        if story.guided:
            settled["reference_scale"] = resolved.reference_scale
        return story.model_copy(update=settled)

    async def make(self, story: Story, frames_charged: int = 0) -> AsyncGenerator[StoryEvent, None]:
        """Yield what happens, down to Finished; closing the generator stops all generation.

        The current caller is charged for all planned frames at once, but for so many as were charged before, and for
        each further try. A story charged before is a job, which waits where a rate is exceeded.

        A deadline that passes ends the story with the frames that are there; a job has the one that it was taken in
        with. Raises the JubakoError that ended it otherwise; DeadlineExceeded when no frame is done.
        """
        resolved, events = self._resolved(story), asyncio.Queue[StoryEvent | None]()
        with recorded(story, resolved.entry.id) as record:
            request = await self._first_frame(resolved)
            deadline = Deadline(story.deadline_s if frames_charged else self._deadline_s(resolved, request))
            charge = partial(self._charge, story, request, charged=frames_charged)
            if frames_charged:
                # A job's plan, which a language model may have made, is worth waiting with.
                charge = partial(_once_there_is_room, charge)
            work = asyncio.create_task(self._run(resolved, deadline, events.put_nowait, charge))
            work.add_done_callback(lambda _: events.put_nowait(None))
            try:
                while (event := await events.get()) is not None:
                    record.add(event)
                    yield event
                await work
            finally:
                await end((work,))

    async def _run(
        self, resolved: ResolvedStory, deadline: Deadline, emit: Emit, charge: Callable[[int], Awaitable[None]]
    ) -> None:
        started = time.perf_counter()
        plan, model = await self._planned(resolved, deadline), resolved.entry.id
        # Before any is generated: a caller's rate refuses a story as a whole.
        async with deadline.limiting(TOO_EARLY):
            await charge(len(plan.scenes))
        emit(Planned(model, plan))
        frames = _Frames(self.gateway, resolved, plan, emit)
        error = await frames.generate(deadline)
        seconds = time.perf_counter() - started
        emit(Finished(Storyboard(resolved.story, model, plan, frames.best, seconds, error, frames.warnings)))

    async def _planned(self, resolved: ResolvedStory, deadline: Deadline) -> Plan:
        if (given := resolved.given_plan) is not None:
            return given
        async with deadline.limiting(TOO_EARLY):
            return await self.planner.plan(resolved.plan_request)

    async def _charge(self, story: Story, request: GenerationRequest, frames: int, charged: int = 0) -> None:
        """Count frames like the request's, and once the image that they follow."""
        if frames > charged:
            image = story.reference_image if charged == 0 else None
            decoded_px = image.width * image.height if image else 0
            upscaled_px = (prod(request.result_size) - prod(request.generated_size)) * (frames - charged)
            frame_requests = request.model_copy(update={"num_images": frames - charged})
            await self.gateway.meter.charge(frame_requests, decoded_px + upscaled_px)

    async def _first_frame(self, resolved: ResolvedStory) -> GenerationRequest:
        """Check what is known of the frames; return the first one's request."""
        story, plan = resolved.story, resolved.given_plan
        scenes = plan.scenes if plan else (Scene(1, story.prompt, ""),)
        first, *_ = [await self.gateway.check(resolved.draft(scene, 1, story.reference_image)) for scene in scenes]
        return first

    def _deadline_s(self, resolved: ResolvedStory, request: GenerationRequest) -> float:
        """Return how long a story may take, or its own deadline. Raises InvalidRequest where that is longer."""
        images = (resolved.story.frames_wanted or MAX_FRAMES) * resolved.max_tries
        limits, all_frames = self.gateway.limits, request.model_copy(update={"num_images": images})
        allowed = allowed_s(resolved.entry, all_frames, limits.max_deadline_s, limits.tflops)
        # What waits for the answer does so for as long as one request may take.
        limit_s = min(allowed, longest_deadline_s([resolved.entry], self.settings))
        return at_most("deadline_s", resolved.story.deadline_s or limit_s, limit_s)

    def _resolved(self, story: Story) -> ResolvedStory:
        return resolve_story(story, self.settings, self.gateway.catalogue, self.scorers)


async def _once_there_is_room(charge: Callable[[int], Awaitable[None]], frames: int) -> None:
    while True:
        try:
            return await charge(frames)
        except RateExceeded as error:
            await asyncio.sleep(error.retry_after_s or 1)


def frames_charged_at_acceptance(story: Story) -> int:
    """Return how many frames a story that is made later is charged for before it is planned."""
    return story.frames_wanted or MIN_FRAMES


class _Frames:
    """The frames of one plan."""

    def __init__(self, gateway: Gateway, resolved: ResolvedStory, plan: Plan, emit: Emit) -> None:
        self._warnings = resolved.hints
        self._unscored = False
        self._upscaler = FrameUpscaler(gateway.upscaler, resolved.story)
        self._hints: dict[int, str] = {}
        """By the number of the scene."""
        self._gateway = gateway
        self._resolved = resolved
        self._plan = plan
        self._emit = emit
        self._best: dict[int, Frame] = {}
        """By the number of the scene; a frame may be here that is being generated again."""
        self._delivered: set[int] = set()

    @property
    def best(self) -> tuple[Frame, ...]:
        """The best try of each scene, in the order of the story."""
        return tuple(self._best[number] for number in sorted(self._best))

    @property
    def warnings(self) -> tuple[str, ...]:
        warnings = (*self._warnings, *self._upscaler.warnings(self.best))
        if len(self._hints) > 1 and len(set(self._hints.values())) == 1:
            return (*warnings, f"all frames: {next(iter(self._hints.values()))}")
        hints = (f"frame {number}: {hint}" for number, hint in sorted(self._hints.items()))
        return (*warnings, *hints)

    async def generate(self, deadline: Deadline) -> str | None:
        """Generate the frames of all scenes; return what went wrong if the deadline passes before all are there.

        Raises DeadlineExceeded when there is nothing to show, and the JubakoError that ended the story otherwise.
        """
        try:
            async with asyncio.timeout(deadline.left_s) as limit:
                await self._generate_all()
        except TimeoutError:
            if not limit.expired():
                raise
            return self._late(deadline)
        except BaseExceptionGroup as group:
            raise first_error(group) from group
        return None

    def _late(self, deadline: Deadline) -> str | None:
        """Deliver the frames that are there."""
        if not self._best:
            raise deadline.exceeded(TOO_EARLY)
        for number in sorted(self._best.keys() - self._delivered):
            self._deliver(number)
        if len(self._best) < len(self._plan.scenes):
            return deadline.exceeded(f"with {len(self._best)} of {len(self._plan.scenes)} frames done").message
        self._warnings += (deadline.exceeded("while frames were scored, generated again or upscaled").message,)
        return None

    async def _generate_all(self) -> None:
        scenes: Sequence[Scene] = self._plan.scenes
        reference = self._resolved.story.reference_image
        if self._resolved.story.guided and reference is None:
            first, *scenes = scenes
            reference = (await self._frame(first, await self._checked(first, 1, None), None)).picture.image
        # All are checked before any is generated.
        requests = [await self._checked(scene, 1, reference) for scene in scenes]
        async with asyncio.TaskGroup() as group:
            for scene, request in zip(scenes, requests, strict=True):
                group.create_task(self._frame(scene, request, reference))

    async def _checked(self, scene: Scene, attempt: int, reference: Image.Image | None) -> GenerationRequest:
        """Return the request of a try; only the frame that is kept is upscaled."""
        request = await self._gateway.check(self._resolved.draft(scene, attempt, reference))
        return request.model_copy(update={"upscale": None})

    async def _frame(self, scene: Scene, request: GenerationRequest, reference: Image.Image | None) -> Frame:
        """Generate until a frame scores well enough, or the tries are used up; the best is kept."""
        score, attempt = await self._try(scene, request, 1), 1
        while score is not None and score < self._resolved.threshold and attempt < self._resolved.max_tries:
            attempt += 1
            try:
                again = await self._checked(scene, attempt, reference)
                await self._gateway.meter.charge(again)
                score = await self._try(scene, again, attempt)
            except JubakoError:
                # A used-up rate, a full line, a picture that is not to be shown: there is one already.
                break
        self._best[scene.number] = await self._upscaler.upscaled(self._best[scene.number])
        return self._deliver(scene.number)

    async def _try(self, scene: Scene, request: GenerationRequest, attempt: int) -> float | None:
        """Generate a frame once and keep it if it is the best; return its score."""
        frame = Frame(scene, request, await self._generate(scene, request, attempt), None, attempt)
        # Before there is a score, for the deadline may pass meanwhile.
        self._keep(frame)
        score = await self._score(frame.picture, scene)
        self._keep(replace(frame, clip_score=score))
        return score

    def _deliver(self, number: int) -> Frame:
        self._delivered.add(number)
        frame = self._best[number]
        self._emit(FrameDone(frame, len(self._delivered), len(self._plan.scenes)))
        return frame

    def _keep(self, frame: Frame) -> None:
        """Keep the better one of this frame and what was there; `tries` counts all."""
        before = self._best.get(frame.scene.number)
        best = frame if before is None or frame.worth > before.worth else before
        self._best[frame.scene.number] = replace(best, tries=frame.tries)

    async def _generate(self, scene: Scene, request: GenerationRequest, attempt: int) -> Picture:
        try:
            async with aclosing(self._gateway.draw(request)) as events:
                async for event in events:
                    if isinstance(event, Picture):
                        return event
                    if isinstance(event, Started) and event.hint is not None:
                        self._hints[scene.number] = event.hint
                    if isinstance(event, Step):
                        self._emit(FrameStep(scene.number, attempt, event.step, event.steps, event.skipped))
        except LoadFailed as error:
            if self._resolved.names_its_loras:
                raise
            raise NotInitialized(error.message) from error
        raise GenerationFailed("the model ended without an image")

    async def _score(self, picture: Picture, scene: Scene) -> float | None:
        """The CLIP score; without a scorer that answers, a story is worth more than none."""
        if self._unscored:
            return None
        try:
            return await self._resolved.scorer.score(picture.image, scene.prompt)
        except (Busy, LoadFailed) as error:
            self._unscored = True
            self._warnings += (f"frames are neither scored nor generated again: {error.message}",)
            return None
