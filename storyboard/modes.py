"""Which mode a story has: the one it names, if the model can do that, or else what its other fields mean."""

from __future__ import annotations

from collections.abc import Iterator

from core.errors import InvalidRequest
from core.generation.request import Task
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from storyboard.characters import Mode
from storyboard.story import Story


def mode_of(story: Story, entry: Entry) -> Mode:
    """Return the mode of a story on a model, never AUTO. Raises InvalidRequest if story and model do not fit."""
    mode = _meant(story, entry) if story.mode is Mode.AUTO else story.mode
    for field, reason in _mistakes(story, entry, mode):
        raise InvalidRequest(field, reason)
    return mode


def drawer_of(story: Story, entry: Entry, catalogue: Catalogue) -> Entry:
    """Return the model that draws references: the story's choice or own, the one that was made into it, or the first.

    Raises UnknownModel, or InvalidRequest where no model draws from text.
    """
    if story.reference_model is not None:
        chosen = catalogue.get(story.reference_model)
        if not _draws(chosen):
            raise InvalidRequest("reference_model", f"{chosen.id} draws nothing from text")
        return chosen
    base = None if entry.base is None else catalogue.named(entry.base)
    able = (each for each in (entry, base, *catalogue.entries.values()) if each is not None and _draws(each))
    found = next(able, None)
    if found is None:
        raise InvalidRequest(
            "images", f"{entry.id} only edits images, and no model here draws the first: send references"
        )
    return found


def _meant(story: Story, entry: Entry) -> Mode:
    if story.characters or story.images:
        return Mode.EDIT
    edits = Task.EDIT in entry.tasks
    if story.use_ref_guided or story.reference_image is not None:
        return Mode.EDIT if edits and entry.ip_adapter is None else Mode.REF_GUIDED
    return Mode.EDIT if edits and not _draws(entry) else Mode.SIMPLE


def _mistakes(story: Story, entry: Entry, mode: Mode) -> Iterator[tuple[str, str]]:
    """Yield fields that are wrong, and why."""
    given = {name: bool(getattr(story, name)) for name in ("use_ref_guided", "reference_image", "characters", "images")}
    asked = (
        "mode" if story.mode is not Mode.AUTO else next((name for name, is_given in given.items() if is_given), "mode")
    )
    yield from _strangers(story)
    match mode:
        case Mode.EDIT:
            if Task.EDIT not in entry.tasks:
                yield asked, f"{entry.id} cannot edit images, which this mode needs"
            yield from _wrong_references(story)
        case Mode.REF_GUIDED:
            if entry.ip_adapter is None:
                yield asked, f"{entry.id} has no IP-Adapter, which this mode needs"
            for name in ("characters", "images"):
                if given[name]:
                    yield name, "only mode edit takes them"
        case _:
            for name, is_given in given.items():
                if is_given:
                    yield name, "mode simple follows no reference"


def _wrong_references(story: Story) -> Iterator[tuple[str, str]]:
    names = [character.name for character in story.characters]
    if story.reference_image is not None and story.images:
        yield "reference_image", "cannot be combined with images; make it one of them"
    if story.characters and len(story.references) > len(names):
        yield "images", f"are {len(story.references)}, for {len(names)} characters"
    for name in names:
        if names.count(name) > 1:
            yield "characters", f"{name!r} is given {names.count(name)} times"


def _strangers(story: Story) -> Iterator[tuple[str, str]]:
    names = [character.name for character in story.characters]
    for number, scene in enumerate(story.scenes or ()):
        for name in scene.characters or ():
            if name not in names:
                yield f"scenes.{number}.characters", f"{name!r} is none of the story's characters"


def _draws(entry: Entry) -> bool:
    return Task.TEXT_TO_IMAGE in entry.tasks
