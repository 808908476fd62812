"""The request that is to be written as code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.calls import FILES

KEY = "JUBAKO_CLIENT_KEY"
"""The variable that holds the caller's key, which no snippet shows; our client reads it by itself."""
VIDEOS = ("text_to_video", "image_to_video")
STORY, PLAN = "storyboard", "plan"
"""A story, and what its frames would show."""


@dataclass(frozen=True)
class Said:
    address: str
    """Of the server, as the reader's browser has it."""
    api: str
    """A typed API, such as `text_to_image`, or PLAN, which is none."""
    parameters: Mapping[str, Any]
    """Without those that are None. Files are paths."""
    keyed: bool = False
    """Whether the server wants a key."""

    @property
    def seeds(self) -> range:
        """One for each image: those of a request have seeds that follow each other."""
        first = self.parameters["seed"]
        return range(first, first + self.parameters.get("num_images", 1))

    @property
    def own(self) -> dict[str, Any]:
        """What one image needs beside its seed; files are names."""
        rest = {name: value for name, value in self.parameters.items() if name not in ("num_images", "seed")}
        return {name: _named(name, value) for name, value in rest.items()}

    @property
    def has_files(self) -> bool:
        return not {*FILES, "images"}.isdisjoint(self.parameters)

    @property
    def ending(self) -> str:
        """Of the file that comes back."""
        return str(self.parameters.get("output_format", "mp4" if self.api in VIDEOS else "png"))


def _named(name: str, value: Any) -> Any:
    if name in FILES:
        return Path(value).name
    return [Path(each).name for each in value] if name == "images" else value
