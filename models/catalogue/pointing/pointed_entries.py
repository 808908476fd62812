"""Makes entries of the models that an operator points at."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from core.errors import StartError
from core.validation import mistakes_text
from models.catalogue.catalogue import Catalogue, read_catalogue, with_folders
from models.catalogue.entry import Entry
from models.catalogue.pointing.description_process import Permissions, describe_in_subprocess
from models.catalogue.pointing.model_cache import Fields, model_cache
from models.catalogue.pointing.pointers import Pointer, pointer
from models.catalogue.pointing.slugs import free_id, plain_id
from models.catalogue.sources import Source
from settings import Settings


def whole_catalogue(texts: Iterable[str], settings: Settings, *, again: bool = False) -> Catalogue:
    """Return all that can be served: the catalogues, what these texts point at, and what is in the operator's folders.

    Descriptions of pointed-at models come from the cache unless `again` is set. Raises StartError.
    """
    catalogue = _with_pointed(read_catalogue(settings.catalogue), texts, settings, again=again)
    return with_folders(catalogue, settings.lora_folder, settings.embedding_folder)


def _with_pointed(catalogue: Catalogue, texts: Iterable[str], settings: Settings, *, again: bool) -> Catalogue:
    """Return the catalogue with an entry for each text that is not a name in it but points at a model."""
    pointers = [found for text in dict.fromkeys(texts) if catalogue.named(text) is None and (found := pointer(text))]
    catalogue, pointers = _with_known(catalogue, pointers)
    if not pointers:
        return catalogue
    fields = _fields(pointers, settings, again=again)
    entries: dict[str, Entry] = {}
    notes = []
    for each, own in zip(pointers, fields, strict=True):
        # Two ways to write one place are one model.
        same = next((entry for entry in entries.values() if entry.source == Source.model_validate(own["source"])), None)
        if same is not None:
            entries[same.id] = same.pointed_at_by(*same.pointers, each.text)
            continue
        name = free_id(each.name, lambda name: name in entries or catalogue.named(name) is not None)
        if name != plain_id(each.name):
            notes.append(f"JUBAKO_MODELS: {each.text} is called {name}, since there is another {plain_id(each.name)}")
        entries[name] = _entry(each, name, own)
    return Catalogue([*catalogue.entries.values(), *entries.values()], notes=[*catalogue.notes, *notes])


def _with_known(catalogue: Catalogue, pointers: list[Pointer]) -> tuple[Catalogue, list[Pointer]]:
    """Add pointers at entries' own repositories to these entries; return the catalogue and the other pointers."""
    entries = dict(catalogue.entries)
    unknown = []
    for each in pointers:
        repo = each.source and each.source.repo
        entry = catalogue.named(repo) if repo and each.source == Source(repo=repo) else None
        if entry is None:
            unknown.append(each)
        else:
            entries[entry.id] = entries[entry.id].pointed_at_by(*entries[entry.id].pointers, each.text)
    return Catalogue(entries.values(), notes=catalogue.notes), unknown


def _fields(pointers: list[Pointer], settings: Settings, *, again: bool) -> list[Fields]:
    kept = model_cache(settings.model_cache)
    found = {each.text: None if again else kept.get(each) for each in pointers}
    unknown = [each for each in pointers if found[each.text] is None]
    allowed = Permissions(settings.allow_pickle, settings.model_urls, kept.folder / "downloads")
    for each, fields in zip(unknown, describe_in_subprocess(unknown, allowed) if unknown else (), strict=True):
        kept.put(each, fields)
        found[each.text] = fields
    return [fields for fields in found.values() if fields is not None]


def _entry(each: Pointer, name: str, fields: Fields) -> Entry:
    try:
        return Entry.model_validate({"id": name, **fields}).pointed_at_by(each.text)
    except ValidationError as error:
        raise StartError(f"{each.text}: {mistakes_text(error)}; write it as an entry of JUBAKO_CATALOGUE") from error
