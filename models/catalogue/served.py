"""Which models are served, as the settings say it: ours, and those of the text-to-image microservice."""

from __future__ import annotations

from core.errors import StartError
from models.catalogue.addons import LoraSpec
from models.catalogue.catalogue import Catalogue, carried_models, full_catalogue
from models.catalogue.entry import Entry
from models.catalogue.sources import Source
from settings import Settings

CHARACTER = "story-character"
"""What requests call the LoRA at LORA_PATH."""


def served_catalogue(settings: Settings) -> Catalogue:
    """Return the models that are served, the default first. Raises StartError."""
    catalogue = full_catalogue(settings.catalogue, settings.lora_folder)
    wanted = _wanted(settings, catalogue)
    served = catalogue.only(_models(settings, wanted), settings.aliases)
    if settings.text2image_model is not None and wanted not in served.entries:
        raise StartError(f"TEXT2IMAGE_MODEL: {wanted!r} is none of the served models (JUBAKO_MODELS)")
    return _with_character(settings, served)


def story_entry(settings: Settings, served: Catalogue) -> Entry:
    """Return the model that generates stories which name none. Raises StartError."""
    name = settings.story_model
    if name is not None and not _is_known(name, served):
        raise StartError(f"JUBAKO_STORY_MODEL: {name!r} is none of the served models (JUBAKO_MODELS)")
    entry = served.default if name is None else served.get(name)
    if settings.story_lora is not None and settings.story_lora not in entry.choosable_loras:
        raise StartError(f"JUBAKO_STORY_LORA: {entry.id} has no LoRA {settings.story_lora!r}")
    return entry


def _with_character(settings: Settings, served: Catalogue) -> Catalogue:
    """Name the LoRA at LORA_PATH among those of the stories' model; stories check that it exists."""
    storyteller = story_entry(settings, served)
    if settings.lora_path is None:
        return served
    character = LoraSpec(
        source=Source(path=settings.lora_path.expanduser().absolute()), description="The character of the storyboards."
    )
    completed = storyteller.model_copy(update={"loras": {**storyteller.loras, CHARACTER: character}})
    return Catalogue((completed if e is storyteller else e for e in served.entries.values()), settings.aliases)


def text2image_model(settings: Settings, served: Catalogue) -> str:
    """Return the id of the model that the microservice's addresses use."""
    for name in (settings.text2image_model, settings.model):
        if name is not None and _is_known(name, served):
            return served.get(name).id
    return served.default.id


def ignored_model(settings: Settings, served: Catalogue) -> str | None:
    """Return the value of MODEL when it is no served model, for a warning to the operator."""
    name = None if settings.text2image_model else settings.model
    return None if name is None or _is_known(name, served) else name


def _models(settings: Settings, wanted: str | None) -> tuple[str, ...]:
    """The ids of the models that are served, the default first."""
    if "models" in settings.model_fields_set:
        return settings.models
    # Asked for by the microservice's variables alone, its model takes the place of the default.
    return carried_models() or settings.models if wanted is None else (wanted,)


def _wanted(settings: Settings, catalogue: Catalogue) -> str | None:
    """The id of the model that the microservice's variables name."""
    named = {name: settings.aliases.get(name, name) for name in (settings.text2image_model, settings.model) if name}
    if settings.text2image_model is not None:
        return catalogue.find(named[settings.text2image_model]).id
    if settings.model is not None and _is_known(named[settings.model], catalogue):
        return catalogue.find(named[settings.model]).id
    return None


def _is_known(name: str, catalogue: Catalogue) -> bool:
    return name in catalogue.entries or name in catalogue.aliases
