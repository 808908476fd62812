"""Turns stories into storyboards: checks, plans, charges and illustrates (`illustrator.py`) them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from math import prod

from core.asyncio_tasks import end
from core.deadline import Deadline
from core.errors import RateExceeded, fields_named
from core.generation.request import GenerationRequest
from gateway.gateway import Gateway
from models.catalogue.resolving.checks import at_most
from models.catalogue.resolving.deadlines import allowed_s, longest_deadline_s
from settings import Settings
from storyboard.characters import Mode
from storyboard.frames import Finished, Planned, Storyboard, StoryEvent
from storyboard.illustrator import TOO_EARLY, Emit, Illustrator
from storyboard.references import References
from storyboard.resolved_story import ResolvedStory, resolve_story
from storyboard.scenes import MAX_FRAMES, MIN_FRAMES, Plan, Planner, Scene
from storyboard.scoring.scorers import Scorers
from storyboard.story import Story
from storyboard.telemetry import recorded


@dataclass(frozen=True)
class Maker:
    gateway: Gateway
    planner: Planner
    scorers: Scorers
    settings: Settings

    async def check(self, story: Story) -> GenerationRequest:
        """Return a request like those of the frames to come.

        Raises the errors that refuse a story before it is planned: UnknownModel, InvalidRequest, NotInitialized.
        """
        return await self._first_frame(self._resolved(story))

    async def plan(self, story: Story) -> Planned:
        """Return a story's plan without drawing it; `Story.scenes` accepts the scenes, changed or not.

        Raises what `check` raises, PlanningFailed, and DeadlineExceeded.
        """
        resolved = self._resolved(story)
        request = await self._first_frame(resolved)
        deadline = Deadline(self._deadline_s(resolved, request))
        return Planned(resolved.entry.id, resolved.story.mode, await self._planned(resolved, deadline))

    async def take_in(self, story: Story) -> Story:
        """Check and charge a story that any process will make later; return it with the operator's current choices of
        model, mode, threshold, tries, reference and deadline written into it, so that they stay.

        Raises what `check` raises, and RateExceeded.
        """
        resolved = self._resolved(story)
        request = await self._first_frame(resolved)
        if story.deadline_s is not None:
            self._deadline_s(resolved, request)
        await self._charge(resolved, request, frames_charged_at_acceptance(story))
        settled = {
            "model": request.model,
            "mode": resolved.story.mode,
            "clip_threshold": resolved.threshold,
            "max_tries": resolved.max_tries,
            "deadline_s": story.deadline_s or self.settings.job_timeout_s,
        }
        if resolved.story.mode is Mode.REF_GUIDED:
            settled["reference_scale"] = resolved.reference_scale
        if resolved.drawer is not None:
            settled["reference_model"] = resolved.drawer.id
        return story.model_copy(update=settled)

    async def make(self, story: Story, frames_charged: int = 0) -> AsyncGenerator[StoryEvent, None]:
        """Yield a story's events, up to Finished; closing the generator stops all generation.

        The current caller is charged for all planned frames at once, less the `frames_charged` before, and for each
        further try. A story that was charged before is a job, which waits if a rate is exceeded.

        When its deadline passes, a story ends with the frames that are done; a job has the deadline with which it was
        taken in. Raises DeadlineExceeded when no frame is done, or else the JubakoError that ended it.
        """
        resolved, events = self._resolved(story), asyncio.Queue[StoryEvent | None]()
        with recorded(resolved.story, resolved.entry.id) as record:
            request = await self._first_frame(resolved)
            deadline = Deadline(story.deadline_s if frames_charged else self._deadline_s(resolved, request))
            charge = partial(self._charge, resolved, request, charged=frames_charged)
            if frames_charged:
                # Wait rather than lose a job's plan, which a language model may have made.
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
        # Before any frame is generated: a rate refuses a story as a whole.
        async with deadline.limiting(TOO_EARLY):
            await charge(len(plan.scenes))
        emit(Planned(model, resolved.story.mode, plan))
        drawn = Illustrator(self.gateway, resolved, plan, emit)
        error = await drawn.generate(deadline)
        seconds = time.perf_counter() - started
        emit(
            Finished(
                Storyboard(resolved.story, model, plan, drawn.best, seconds, error, drawn.warnings, drawn.references)
            )
        )

    async def _planned(self, resolved: ResolvedStory, deadline: Deadline) -> Plan:
        if (given := resolved.given_plan) is not None:
            return given
        async with deadline.limiting(TOO_EARLY):
            return resolved.with_cast(await self.planner.plan(resolved.plan_request))

    async def _charge(self, resolved: ResolvedStory, request: GenerationRequest, frames: int, charged: int = 0) -> None:
        """Charge for frames like the request's, and once for their references: those to be drawn count as frames."""
        if frames <= charged:
            return
        given_px, drawn = 0, 0
        if charged == 0:
            given_px = sum(image.width * image.height for image in resolved.story.references)
            drawn = resolved.references_drawn
        upscaled_px = (prod(request.result_size) - prod(request.generated_size)) * (frames - charged)
        all_frames = request.model_copy(update={"num_images": frames - charged + drawn})
        await self.gateway.meter.charge(all_frames, given_px + upscaled_px)

    async def _first_frame(self, resolved: ResolvedStory) -> GenerationRequest:
        """Check what is known about the frames and references; return a typical frame's request."""
        plan, references = resolved.given_plan, resolved.stand_ins()
        scenes = plan.scenes if plan else (Scene(1, resolved.story.prompt, ""),)
        for number, wanted in enumerate(resolved.wanted(scenes[0].prompt), 1):
            if wanted.image is None:
                with fields_named(resolved.names_in_reference(number)):
                    await self.gateway.check(resolved.reference_draft(number, wanted, 1))
        first, *_ = [await self._frame(resolved, scene, references) for scene in scenes]
        return first

    async def _frame(self, resolved: ResolvedStory, scene: Scene, references: References) -> GenerationRequest:
        draft = resolved.draft(scene, 1, resolved.references_for(scene, references))
        with fields_named(resolved.names_in_frame(scene.number)):
            return await self.gateway.check(draft)

    def _deadline_s(self, resolved: ResolvedStory, request: GenerationRequest) -> float:
        """Return a story's own deadline, or how long it may take. Raises InvalidRequest if its own is longer."""
        images = ((resolved.story.frames_wanted or MAX_FRAMES) + resolved.references_drawn) * resolved.max_tries
        limits, all_frames = self.gateway.limits, request.model_copy(update={"num_images": images})
        allowed = allowed_s(resolved.entry, all_frames, limits.max_deadline_s, limits.tflops)
        # Whatever waits for the answer waits no longer than a single request may take.
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
    """Return how many frames are charged when a job is accepted, before its story is planned."""
    return story.frames_wanted or MIN_FRAMES
