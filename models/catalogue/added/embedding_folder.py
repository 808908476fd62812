"""The operator's folder of embeddings: `<model id>/<token>.safetensors`. Unusable files are skipped with a note."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from models.catalogue.addons import TOKEN_PATTERN, EmbeddingSpec
from models.catalogue.entry import Entry
from models.catalogue.sources import Source


def read_embedding_folder(
    folder: Path, find: Callable[[str], Entry | None], notes: list[str]
) -> Iterator[tuple[str, str, EmbeddingSpec]]:
    """Yield model, token and embedding; `find` returns the entry that a name means, or None."""
    for file in sorted(folder.glob("*/*.safetensors")):
        entry = find(file.parent.name)
        if entry is None:
            notes.append(f"{file} is skipped: the catalogue has no model {file.parent.name!r}")
        elif not re.fullmatch(TOKEN_PATTERN, file.stem):
            notes.append(f"{file} is skipped: its name is one word of a prompt, without spaces")
        elif file.stem in entry.embeddings:
            notes.append(f"{file} is skipped: the catalogue has an embedding of this name already")
        else:
            yield entry.id, file.stem, EmbeddingSpec(source=Source(path=file.resolve()))
