"""A story together with everything that its frames have in common, decided once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from core.errors import InvalidRequest
from core.generation.draft import Draft
from core.generation.hints import ignored_hint
from core.generation.request import Lora
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.serving.served import CHARACTER, story_entry
from settings import Settings
from storyboard.errors import NotInitialized
from storyboard.scenes import GIVEN, Plan, PlanRequest, Scene
from storyboard.scoring.scorers import ClipScorer, Scorers
from storyboard.story import Story

SEED_BYTES = 4


@dataclass(frozen=True)
class ResolvedStory:
    story: Story
    entry: Entry
    """The model that generates the frames."""
    loras: tuple[Lora, ...]
    trigger: str
    scorer: ClipScorer
    threshold: float
    """The score below which a frame is generated again."""
    max_tries: int
    reference_scale: float
    hints: tuple[str, ...]
    """Which parameters of the story are ignored, and why."""

    @property
    def plan_request(self) -> PlanRequest:
        story = self.story
        return PlanRequest(
            story.prompt, story.frames_wanted, story.gpt_temperature, story.seed, entry=self.entry, trigger=self.trigger
        )

    @property
    def given_plan(self) -> Plan | None:
        """The caller's own."""
        scenes = self.story.scenes
        if scenes is None:
            return None
        numbered = (Scene(number, scene.prompt, scene.caption) for number, scene in enumerate(scenes, 1))
        return Plan(GIVEN, tuple(numbered))

    @property
    def names_its_loras(self) -> bool:
        """Whether the caller, and not the operator, chose them."""
        return bool(self.story.loras)

    def draft(self, scene: Scene, attempt: int, reference: Image.Image | None) -> Draft:
        """Return what is asked of the model for one try of one frame."""
        story = self.story
        return Draft.of(
            story,
            prompt=scene.prompt,
            model=self.entry.id,
            seed=seed_of(story.seed, scene.number, attempt),
            loras=self.loras,
            reference_image=reference,
            reference_scale=None if reference is None else self.reference_scale,
            # A story's frames are images, and its deadline is for all of them.
            num_frames=None,
            deadline_s=None,
            progress=True,
        )


def resolve_story(story: Story, settings: Settings, catalogue: Catalogue, scorers: Scorers) -> ResolvedStory:
    """Complete a story with what the operator chose. Raises UnknownModel, InvalidRequest or NotInitialized."""
    entry = story_entry(settings, catalogue) if story.model is None else catalogue.get(story.model)
    if story.guided and entry.ip_adapter is None:
        raise InvalidRequest("use_ref_guided", f"{entry.id} has no IP-Adapter, which this mode needs")
    is_operators = not story.loras and entry.id == story_entry(settings, catalogue).id
    loras = _operators_loras(settings) if is_operators else story.loras
    trigger = (is_operators and settings.story_lora_trigger) or _triggers(entry, loras)
    scorer = scorers.of(entry, trigger)
    return ResolvedStory(
        story=story,
        entry=entry,
        loras=loras,
        trigger=trigger,
        scorer=scorer,
        threshold=scorer.threshold if story.clip_threshold is None else story.clip_threshold,
        max_tries=story.max_tries or settings.story_max_tries,
        reference_scale=settings.story_reference_scale if story.reference_scale is None else story.reference_scale,
        hints=tuple(_hints(story, settings)),
    )


def _hints(story: Story, settings: Settings) -> Iterator[str]:
    if story.reference_scale is not None and not story.guided:
        yield ignored_hint("reference_scale", "set use_ref_guided, or send a reference_image")
    if story.gpt_temperature != Story.model_fields["gpt_temperature"].default and not settings.asks_language_model:
        yield ignored_hint("gpt_temperature", "no language model plans the stories here")


def seed_of(seed: int, number: int, attempt: int) -> int:
    """Return the seed of one try of one frame: unrelated for all of them, and always the same."""
    digest = hashlib.sha256(f"{seed} {number} {attempt}".encode()).digest()
    return int.from_bytes(digest[:SEED_BYTES], "big")


def _triggers(entry: Entry, loras: Sequence[Lora]) -> str:
    """Return the trigger words of the LoRAs, from the catalogue."""
    known = entry.choosable_loras
    return ", ".join(known[lora.name].trigger for lora in loras if lora.name in known and known[lora.name].trigger)


def _operators_loras(settings: Settings) -> tuple[Lora, ...]:
    if settings.lora_path is not None:
        if not settings.lora_path.expanduser().exists():
            raise NotInitialized(f"{settings.lora_path}: there is no such file or folder")
        return (Lora(name=CHARACTER),)
    return () if settings.story_lora is None else (Lora(name=settings.story_lora),)
