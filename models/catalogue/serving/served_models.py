"""Which models are served, by our own settings and by those of the text-to-image microservice."""

from __future__ import annotations

import logging

from core.errors import StartError
from core.validation import did_you_mean
from models.catalogue.addons import LoraSpec
from models.catalogue.catalogue import Catalogue, carried_models
from models.catalogue.entry import Entry
from models.catalogue.pointing.pointed_entries import whole_catalogue
from models.catalogue.serving.presets import fitted
from models.catalogue.sources import Source
from settings import Settings

log = logging.getLogger("jubako")

CHARACTER = "story-character"
"""The name in requests of the LoRA at LORA_PATH."""


def served_catalogue(settings: Settings) -> Catalogue:
    """Return the models that are served, the default first. Raises StartError."""
    catalogue = whole_catalogue(_asked_for(settings), settings)
    wanted = _wanted(settings, catalogue)
    served = catalogue.only(_models(settings, wanted), settings.aliases)
    if settings.text2image_model is not None and served.named(wanted or settings.text2image_model) is None:
        raise StartError(f"TEXT2IMAGE_MODEL: {wanted!r} is not one of the served models (JUBAKO_MODELS)")
    return _with_character(settings, _fitted(settings, served))


def _fitted(settings: Settings, served: Catalogue) -> Catalogue:
    if settings.fit is None:
        return served
    return Catalogue([fitted(entry, settings.fit) for entry in served.entries.values()], served.aliases, served.notes)


def story_entry(settings: Settings, served: Catalogue) -> Entry:
    """Return the model that generates stories which name none. Raises StartError."""
    name = settings.story_model
    if name is not None and served.named(name) is None:
        raise StartError(f"JUBAKO_STORY_MODEL: {name!r} is not one of the served models (JUBAKO_MODELS)")
    entry = served.default if name is None else served.get(name)
    if settings.story_lora is not None and settings.story_lora not in entry.choosable_loras:
        raise StartError(f"JUBAKO_STORY_LORA: {entry.id} has no LoRA {settings.story_lora!r}")
    return entry


def _with_character(settings: Settings, served: Catalogue) -> Catalogue:
    """Add the LoRA at LORA_PATH to those of the stories' model; stories check that it exists."""
    storyteller = story_entry(settings, served)
    if settings.lora_path is None:
        return served
    character = LoraSpec(
        source=Source(path=settings.lora_path.expanduser().absolute()), description="The character of the storyboards."
    )
    completed = storyteller.model_copy(update={"loras": {**storyteller.loras, CHARACTER: character}})
    entries = (completed if entry is storyteller else entry for entry in served.entries.values())
    return Catalogue(entries, served.aliases, served.notes)


def text2image_model(settings: Settings, served: Catalogue) -> str:
    """Return the id of the model that the microservice's addresses use."""
    for name in (settings.text2image_model, settings.model):
        if name is not None and (entry := served.named(name)) is not None:
            return entry.id
    return served.default.id


def ignored_model(settings: Settings, served: Catalogue) -> str | None:
    """Return the value of MODEL when it is none of JUBAKO_MODELS."""
    name = None if settings.text2image_model else settings.model
    return None if name is None or served.named(name) is not None else name


def log_ignored(settings: Settings, served: Catalogue) -> None:
    """Warn of a value that the operator gave and nothing uses."""
    for note in served.notes:
        log.warning("%s", note)
    if (ignored := ignored_model(settings, served)) is not None:
        log.warning("MODEL=%s is not one of the served models, and is ignored", ignored)


def _asked_for(settings: Settings) -> tuple[str, ...]:
    """Return what the settings ask to serve: names of models, or places that they point at."""
    if "models" in settings.model_fields_set:
        return settings.models
    name = settings.text2image_model or settings.model
    aliases = {alias.lower(): model for alias, model in settings.aliases.items()}
    return () if name is None or settings.stands_in else (aliases.get(name.lower(), name),)


def _models(settings: Settings, wanted: str | None) -> tuple[str, ...]:
    """The ids of the models that are served, the default first."""
    if "models" in settings.model_fields_set:
        return settings.models
    # If only the microservice's variables name a model, it replaces the default.
    return carried_models() or settings.models if wanted is None else (wanted,)


def _wanted(settings: Settings, catalogue: Catalogue) -> str | None:
    """The id of the model that the microservice's variables name; None where one model stands in for all names.

    Other tools use a variable MODEL too, so beside JUBAKO_MODELS an unknown value of it is ignored. Raises StartError
    for all other unknown names, rather than serve the default instead.
    """
    given = {"TEXT2IMAGE_MODEL": settings.text2image_model, "MODEL": settings.model}
    variable, name = next(((variable, name) for variable, name in given.items() if name is not None), ("", None))
    if name is None or settings.stands_in:
        return None
    aliases = {alias.lower(): model for alias, model in settings.aliases.items()}
    entry = catalogue.named(aliases.get(name.lower(), name))
    if entry is None and (variable == "TEXT2IMAGE_MODEL" or "models" not in settings.model_fields_set):
        hint = did_you_mean(name.lower(), [*catalogue.entries, *catalogue.aliases])
        raise StartError(f"{variable}: the catalogue has no model {name!r}{hint}; JUBAKO_MODELS names what to serve")
    return None if entry is None else entry.id
