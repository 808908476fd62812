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
LAYERS = (
    "# Typed APIs answer with one file, and layers are made together; OpenAI's API has up to ten of them, jubako all."
)


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
    layered: bool = False
    """Whether its images are the layers of one."""

    @property
    def count(self) -> int:
        """How many images it has."""
        return int(self.parameters.get("num_images", 1))

    @property
    def in_layers(self) -> bool:
        """Whether it has several images of one seed, which no other requests have one by one."""
        return self.layered and self.count > 1

    @property
    def seeds(self) -> range:
        """One for each image: those of a request have seeds that follow each other, unless they are layers."""
        first = self.parameters["seed"]
        return range(first, first + (1 if self.layered else self.count))

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
