"""Turns plans into frames: generates them all at once through the gateway, after what they follow, poor ones again.

Each frame is an ordinary request, so frames share the engine's batches with each other and with other callers. Seeds
follow from the story's (`resolved_story.seed_of`), so equal stories give equal frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from PIL import Image

from core.asyncio_tasks import first_error
from core.deadline import Deadline
from core.errors import Busy, GenerationFailed, JubakoError, LoadFailed
from core.generation.events import Event, Picture, Started, Step
from core.generation.request import GenerationRequest
from gateway.gateway import Gateway
from gateway.media.kept_pixels import on_white
from storyboard.errors import NotInitialized
from storyboard.frames import Frame, FrameDone, FrameStep, ReferenceDone, StoryEvent
from storyboard.references import DrawnReference, References, WantedReference
from storyboard.resolved_story import ResolvedStory
from storyboard.scenes import Plan, Scene
from storyboard.scoring.scorers import ClipScorer
from storyboard.upscaling import FrameUpscaler

Emit = Callable[[StoryEvent], None]

TOO_EARLY = "before the first frame was done"


class Illustrator:
    """The frames of one plan, and the references that they follow."""

    def __init__(self, gateway: Gateway, resolved: ResolvedStory, plan: Plan, emit: Emit) -> None:
        self._warnings = resolved.hints
        self._unscored = False
        self._upscaler = FrameUpscaler(gateway.upscaler, resolved.story)
        self._hints: dict[int, str] = {}
        """Hints by scene number."""
        self._follows: dict[int, tuple[str, ...]] = {}
        self._reference_hints: dict[int, str] = {}
        self._gateway = gateway
        self._resolved = resolved
        self._plan = plan
        self._emit = emit
        self._best: dict[int, Frame] = {}
        """Frames by scene number; a frame stays here while it is generated again."""
        self._delivered: set[int] = set()
        self._references: dict[int, DrawnReference] = {}
        """The references that were drawn, by number."""

    @property
    def best(self) -> tuple[Frame, ...]:
        """The best try of each scene, in the order of the story."""
        return tuple(self._best[number] for number in sorted(self._best))

    @property
    def references(self) -> tuple[DrawnReference, ...]:
        return tuple(self._references[number] for number in sorted(self._references))

    @property
    def warnings(self) -> tuple[str, ...]:
        of_references = (f"reference {number}: {hint}" for number, hint in sorted(self._reference_hints.items()))
        common = (*self._warnings, *self._upscaler.warnings(self.best), *of_references)
        if len(self._hints) == len(self._plan.scenes) and len(set(self._hints.values())) == 1:
            return (*common, f"all frames: {next(iter(self._hints.values()))}")
        hints = (f"frame {number}: {hint}" for number, hint in sorted(self._hints.items()))
        return (*common, *hints)

    async def generate(self, deadline: Deadline) -> str | None:
        """Generate the frames of all scenes; return an error message if the deadline passes before all are done.

        Raises DeadlineExceeded when there is nothing to show, or else the JubakoError that ended the story.
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
        """Deliver the frames that are done; return what the deadline prevented, or None if all frames are there."""
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
        if self._resolved.follows_first_frame:
            first, *scenes = scenes
            frame = await self._frame(first, await self._checked(first, 1, References()), References())
            references = References((("", frame.picture.image),))
        else:
            references = await self._all_references()
        # Check all before any is generated.
        requests = [await self._checked(scene, 1, references) for scene in scenes]
        async with asyncio.TaskGroup() as group:
            for scene, request in zip(scenes, requests, strict=True):
                group.create_task(self._frame(scene, request, references))

    async def _all_references(self) -> References:
        """Draw the missing references, all at once; return all references."""
        wanted = self._resolved.wanted(self._plan.scenes[0].prompt)
        async with asyncio.TaskGroup() as group:
            drawing = [group.create_task(self._reference(number, each)) for number, each in enumerate(wanted, 1)]
        return References(tuple((each.name, task.result()) for each, task in zip(wanted, drawing, strict=True)))

    async def _reference(self, number: int, wanted: WantedReference) -> Image.Image:
        """Return the caller's image, or draw one; as with frames, poor ones are drawn again and the best is kept."""
        if wanted.image is not None:
            return wanted.image
        tries: list[DrawnReference] = []

        async def draw(attempt: int) -> float | None:
            tries.append(await self._drawn_reference(number, wanted, attempt))
            return tries[-1].clip_score

        await self._until_good(draw, self._reference_threshold)
        best = self._references[number] = max(tries, key=lambda each: each.worth)
        self._emit(ReferenceDone(number, best))
        return best.picture.image

    async def _until_good(self, draw: Callable[[int], Awaitable[float | None]], threshold: float) -> None:
        """Call `draw` with attempts from 1 until a score is good or tries are used up; only the first must succeed."""
        score, attempt = await draw(1), 1
        while score is not None and score < threshold and attempt < self._resolved.max_tries:
            attempt += 1
            try:
                score = await draw(attempt)
            except JubakoError:
                # A rate or a queue is exhausted, or the picture was refused: the earlier one will do.
                break

    async def _drawn_reference(self, number: int, wanted: WantedReference, attempt: int) -> DrawnReference:
        request = await self._gateway.check(self._resolved.reference_draft(number, wanted, attempt))
        if attempt > 1:
            await self._gateway.meter.charge(request)

        def hear(event: Event) -> None:
            if isinstance(event, Started) and event.hint is not None:
                self._reference_hints[number] = event.hint

        picture = await self._picture(request, hear)
        score = await self._score(picture, request.prompt, self._resolved.drawn_scorer)
        return DrawnReference(wanted.name, request, picture, score)

    @property
    def _reference_threshold(self) -> float:
        wanted = self._resolved.story.clip_threshold
        return self._resolved.drawn_scorer.threshold if wanted is None else wanted

    async def _checked(self, scene: Scene, attempt: int, references: References) -> GenerationRequest:
        """Return a try's request, without upscaling: only the frame that is kept is upscaled."""
        chosen = self._resolved.references_for(scene, references)
        self._follows[scene.number] = chosen.names
        request = await self._gateway.check(self._resolved.draft(scene, attempt, chosen))
        return request.model_copy(update={"upscale": None}).hinted(*chosen.hints)

    async def _frame(self, scene: Scene, request: GenerationRequest, references: References) -> Frame:
        """Generate a frame until it scores well enough or the tries are used up; deliver the best."""

        async def draw(attempt: int) -> float | None:
            if attempt == 1:
                return await self._try(scene, request, 1)
            again = await self._checked(scene, attempt, references)
            await self._gateway.meter.charge(again)
            return await self._try(scene, again, attempt)

        await self._until_good(draw, self._resolved.threshold)
        self._best[scene.number] = await self._upscaler.upscaled(self._best[scene.number])
        return self._deliver(scene.number)

    async def _try(self, scene: Scene, request: GenerationRequest, attempt: int) -> float | None:
        """Generate a frame once and keep it if it is the best; return its score."""
        picture = await self._generate(scene, request, attempt)
        frame = Frame(scene, request, picture, None, attempt, self._follows[scene.number])
        # Kept even before it is scored, since the deadline may pass meanwhile.
        self._keep(frame)
        score = await self._score(frame.picture, scene.prompt, self._resolved.scorer)
        self._keep(replace(frame, clip_score=score))
        return score

    def _deliver(self, number: int) -> Frame:
        self._delivered.add(number)
        frame = self._best[number]
        self._emit(FrameDone(frame, len(self._delivered), len(self._plan.scenes)))
        return frame

    def _keep(self, frame: Frame) -> None:
        """Keep the better of this frame and the one so far; `tries` counts all."""
        before = self._best.get(frame.scene.number)
        best = frame if before is None or frame.worth > before.worth else before
        self._best[frame.scene.number] = replace(best, tries=frame.tries)

    async def _generate(self, scene: Scene, request: GenerationRequest, attempt: int) -> Picture:
        def hear(event: Event) -> None:
            if isinstance(event, Started) and event.hint is not None:
                self._hints[scene.number] = event.hint
            if isinstance(event, Step):
                self._emit(FrameStep(scene.number, attempt, event.step, event.steps, event.skipped))

        return await self._picture(request, hear)

    async def _picture(self, request: GenerationRequest, hear: Callable[[Event], None]) -> Picture:
        try:
            async with aclosing(self._gateway.draw(request)) as events:
                async for event in events:
                    if isinstance(event, Picture):
                        # Frames serve as references and go on sheets and pages, which are all opaque.
                        return on_white(event)
                    hear(event)
        except LoadFailed as error:
            if self._resolved.names_its_loras or request.model != self._resolved.entry.id:
                raise
            raise NotInitialized(error.message) from error
        raise GenerationFailed("the model ended without an image")

    async def _score(self, picture: Picture, prompt: str, scorer: ClipScorer) -> float | None:
        """Return the CLIP score, or None if the scorer does not answer: an unscored story is better than none."""
        if self._unscored:
            return None
        try:
            return await scorer.score(picture.image, prompt)
        except (Busy, LoadFailed) as error:
            self._unscored = True
            self._warnings += (f"frames are neither scored nor generated again: {error.message}",)
            return None
