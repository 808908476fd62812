"""Where weights come from, as written in a catalogue. `models.weights.fetching.fetch` fetches them."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import model_validator

from core.validation import Strict


class Source(Strict):
    """A local folder or file, a repository of the Hugging Face hub, or a model of BentoML's store."""

    path: Path | None = None
    """A folder in diffusers layout, or a single safetensors or GGUF file; relative to the catalogue file."""
    repo: str | None = None
    revision: str | None = None
    """A commit, tag or branch of `repo`."""
    bento: str | None = None
    """A tag of BentoML's model store, `name:version`."""
    subfolder: str | None = None
    """Where in the folder, repository or model the weights are."""
    file: str | None = None
    """A single file in the repository or model; None: all of it."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(place is not None for place in (self.path, self.repo, self.bento)) != 1:
            raise ValueError("give one of path, repo and bento")
        if self.revision is not None and self.repo is None:
            raise ValueError("a revision is that of a repo")
        return self

    @property
    def is_one_file(self) -> bool:
        """Whether it is one file rather than a folder or repository; a path counts only if the file exists."""
        return self.file is not None or (self.path is not None and self.subfolder is None and self.path.is_file())

    def under(self, folder: Path) -> Source:
        """Return the source with its path, if it has one, starting at `folder`."""
        return self if self.path is None else self.model_copy(update={"path": folder / self.path})

    def __str__(self) -> str:
        place = str(self.path or self.repo or self.bento)
        return "/".join(filter(None, (place, self.subfolder, self.file)))
