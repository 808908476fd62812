"""A story together with everything that its frames share, decided once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from core.generation.draft import Draft
from core.generation.hints import ignored_hint
from core.generation.request import Lora, Task
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.serving.served_models import CHARACTER, story_entry
from settings import Settings
from storyboard.characters import Mode, named_in
from storyboard.errors import NotInitialized
from storyboard.modes import drawer_of, mode_of
from storyboard.references import References, SceneReferences, WantedReference
from storyboard.scenes import GIVEN, Plan, PlanRequest, Scene
from storyboard.scoring.scorers import ClipScorer, Scorers
from storyboard.story import Story

SEED_BYTES = 4
IP_ADAPTER_SCALE = 0.2
STAND_IN_PX = (64, 64)
"""Any size will do, since the frames' size does not depend on their references."""


@dataclass(frozen=True)
class ResolvedStory:
    story: Story
    """The story; its mode is never AUTO."""
    entry: Entry
    """The model that generates the frames."""
    loras: tuple[Lora, ...]
    trigger: str
    scorer: ClipScorer
    threshold: float
    """The score below which a frame is generated again."""
    max_tries: int
    reference_scale: float
    drawer: Entry | None
    """The model that draws the references, or a first frame that serves as one; None if none are drawn."""
    drawn_scorer: ClipScorer
    """Scores what the drawer draws."""
    hints: tuple[str, ...]
    """Which parameters of the story are ignored, and why."""

    @property
    def plan_request(self) -> PlanRequest:
        story = self.story
        return PlanRequest(
            *(story.prompt, story.frames_wanted, story.gpt_temperature, story.seed),
            entry=self.entry,
            trigger=self.trigger,
            characters=self._names,
        )

    @property
    def given_plan(self) -> Plan | None:
        """The caller's own plan, if any."""
        scenes = self.story.scenes
        if scenes is None:
            return None
        numbered = [Scene(number, scene.prompt, scene.caption) for number, scene in enumerate(scenes, 1)]
        plan = self.with_cast(Plan(GIVEN, tuple(numbered)))
        pairs = zip(plan.scenes, scenes, strict=True)
        own = (
            found if given.characters is None else replace(found, characters=given.characters) for found, given in pairs
        )
        return replace(plan, scenes=tuple(own))

    def with_cast(self, plan: Plan) -> Plan:
        """Return a plan with the characters of each scene, by the names in its texts."""
        cast = (
            replace(scene, characters=named_in(f"{scene.prompt} {scene.caption}", self._names)) for scene in plan.scenes
        )
        return replace(plan, scenes=tuple(cast))

    @property
    def follows_first_frame(self) -> bool:
        """Whether all other frames follow the first one, which is drawn from text alone."""
        if self.story.mode is Mode.SIMPLE or self.story.references or self.story.characters:
            return False
        return self.drawer is self.entry or self.story.mode is Mode.REF_GUIDED

    def wanted(self, first_prompt: str) -> tuple[WantedReference, ...]:
        """Return the references needed before the first frame; `first_prompt` is the first scene's prompt."""
        given, characters = self.story.references, self.story.characters
        if self.story.mode is Mode.SIMPLE or self.follows_first_frame:
            return ()
        if not characters:
            return tuple(WantedReference("", "", image) for image in given) or (WantedReference("", first_prompt),)
        images = (*given, *[None] * (len(characters) - len(given)))
        return tuple(
            WantedReference(each.name, each.looks, image) for each, image in zip(characters, images, strict=True)
        )

    @property
    def references_drawn(self) -> int:
        """How many references are drawn in addition to the frames."""
        return sum(each.image is None for each in self.wanted(self.story.prompt))

    def stand_ins(self) -> References:
        """Return the references, with blank images for those not drawn yet."""
        blank = Image.new("RGB", STAND_IN_PX)
        return References(tuple((each.name, each.image or blank) for each in self.wanted(self.story.prompt)))

    def references_for(self, scene: Scene, references: References) -> SceneReferences:
        """Return which of the references a frame follows, with hints about it."""
        edits = self.story.mode is Mode.EDIT
        most = self.entry.tasks[Task.EDIT].limits.max_images if edits else 1
        return references.for_scene(scene, most)

    @property
    def names_its_loras(self) -> bool:
        """Whether the caller, rather than the operator, chose the LoRAs."""
        return bool(self.story.loras)

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(character.name for character in self.story.characters)

    def names_in_frame(self, number: int) -> Mapping[str, str]:
        """Return the story's names for the fields of a frame's draft, where they differ."""
        prompt = {} if self.story.scenes is None else {"prompt": f"scenes.{number - 1}.prompt"}
        images = {} if self.story.reference_image is None else {"images": "reference_image"}
        return {**prompt, **images}

    def names_in_reference(self, number: int) -> Mapping[str, str]:
        """Return the same for the draft of a reference: a character's, or else like the first frame."""
        if not self.story.characters:
            return self.names_in_frame(1)
        described = "prompt" if self.story.characters[number - 1].prompt else "name"
        return {"prompt": f"characters.{number - 1}.{described}"}

    def draft(self, scene: Scene, attempt: int, references: SceneReferences) -> Draft:
        """Return the draft for one try of a frame; a frame that follows nothing is drawn from text."""
        seed = seed_of(self.story.seed, scene.number, attempt)
        if not references.images:
            return self._draft(scene.prompt, seed)
        if self.story.mode is Mode.REF_GUIDED:
            (image,) = references.images
            return self._draft(scene.prompt, seed, reference_image=image, reference_scale=self.reference_scale)
        return self._draft(f"{references.legend}{scene.prompt}", seed, task=Task.EDIT, images=references.images)

    def reference_draft(self, number: int, wanted: WantedReference, attempt: int) -> Draft:
        """Return the draft for one try of a reference, from 1; a drawer other than the story's model uses its own
        defaults.
        """
        # Negative, so that it is not the seed of a frame.
        seed = seed_of(self.story.seed, -number, attempt)
        if self.drawer is self.entry:
            return self._draft(", ".join(filter(None, (self.trigger, wanted.prompt))), seed, upscale=None)
        assert self.drawer is not None
        return Draft(prompt=wanted.prompt, model=self.drawer.id, seed=seed, priority=self.story.priority)

    @property
    def _size(self) -> dict[str, int]:
        """The size if the story edits: otherwise each edit would have the size of its first image."""
        if self.story.mode is not Mode.EDIT:
            return {}
        defaults = self.entry.tasks[Task.EDIT].defaults
        return {"width": self.story.width or defaults.width, "height": self.story.height or defaults.height}

    def _draft(self, prompt: str, seed: int, **fields: Any) -> Draft:
        # Frames are images, and the story's deadline is for all of them together.
        common = {"num_frames": None, "deadline_s": None, "progress": True, **self._size}
        none = {"reference_image": None, "reference_scale": None, "images": ()}
        own = {"prompt": prompt, "model": self.entry.id, "seed": seed, "loras": self.loras}
        return Draft.of(self.story, **{**none, **common, **own, **fields})


def resolve_story(story: Story, settings: Settings, catalogue: Catalogue, scorers: Scorers) -> ResolvedStory:
    """Complete a story with what the operator chose. Raises UnknownModel, InvalidRequest or NotInitialized."""
    entry = story_entry(settings, catalogue) if story.model is None else catalogue.get(story.model)
    mode = mode_of(story, entry)
    must_draw = mode is Mode.EDIT and len(story.references) < max(1, len(story.characters))
    drawer = drawer_of(story, entry, catalogue) if must_draw else None
    is_operators = not story.loras and entry.id == story_entry(settings, catalogue).id
    loras = _operators_loras(settings) if is_operators else story.loras
    trigger = (is_operators and settings.story_lora_trigger) or _triggers(entry, loras)
    scorer = scorers.of(entry, trigger)
    return ResolvedStory(
        story=story.model_copy(update={"mode": mode}),
        entry=entry,
        loras=loras,
        trigger=trigger,
        scorer=scorer,
        threshold=scorer.threshold if story.clip_threshold is None else story.clip_threshold,
        max_tries=story.max_tries or settings.story_max_tries,
        reference_scale=default_reference_scale(settings, entry)
        if story.reference_scale is None
        else story.reference_scale,
        drawer=drawer,
        drawn_scorer=scorer if drawer is None or drawer is entry else scorers.of(drawer),
        hints=tuple(_hints(story, mode, drawer, settings)),
    )


def default_reference_scale(settings: Settings, entry: Entry) -> float:
    """Return how strongly frames follow the reference by default: the operator's choice, or ours."""
    if settings.story_reference_scale is not None:
        return settings.story_reference_scale
    # An IP-Adapter's usual scale leaves no room for scenes; Redux reads its reference beside the prompt.
    return entry.ip_adapter.scale if entry.ip_adapter and entry.ip_adapter.is_redux else IP_ADAPTER_SCALE


def _hints(story: Story, mode: Mode, drawer: Entry | None, settings: Settings) -> Iterator[str]:
    if story.reference_scale is not None and mode is not Mode.REF_GUIDED:
        has_none = mode is Mode.EDIT
        reason = "edits have none" if has_none else "set use_ref_guided, or send a reference_image"
        yield ignored_hint("reference_scale", reason)
    if story.use_ref_guided and (story.characters or story.references):
        yield ignored_hint("use_ref_guided", "frames follow the references, not the first frame")
    if story.reference_model is not None and drawer is None:
        yield ignored_hint("reference_model", "no reference is drawn")
    if story.gpt_temperature != Story.model_fields["gpt_temperature"].default and not settings.asks_language_model:
        yield ignored_hint("gpt_temperature", "no language model plans the stories here")


def seed_of(seed: int, number: int, attempt: int) -> int:
    """Return the seed for one try of one frame: reproducible, and unrelated to all others."""
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
