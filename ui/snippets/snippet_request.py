"""The request that is to be written as code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.calls import FILES

KEY = "JUBAKO_CLIENT_KEY"
"""The environment variable for the caller's key, which snippets never show; our client reads it by itself."""
VIDEOS = ("text_to_video", "image_to_video")
STORY, PLAN = "storyboard", "plan"
"""The API of stories, and our name for that of plans."""
LAYERS = (
    "# Typed APIs answer with one file, and layers are made together; OpenAI's API has up to ten of them, jubako all."
)


@dataclass(frozen=True)
class SnippetRequest:
    address: str
    """The server's address, as the reader's browser knows it."""
    api: str
    """A typed API, such as `text_to_image`, or PLAN, which is not one."""
    parameters: Mapping[str, Any]
    """Parameters, without those that are None. Files are paths."""
    keyed: bool = False
    """Whether the server requires a key."""
    layered: bool = False
    """Whether the images are layers of one."""

    @property
    def count(self) -> int:
        """How many images the request makes."""
        return int(self.parameters.get("num_images", 1))

    @property
    def in_layers(self) -> bool:
        """Whether the request makes several layers, which cannot be requested one by one."""
        return self.layered and self.count > 1

    @property
    def seeds(self) -> range:
        """A seed for each image: consecutive ones, or a single one for layers."""
        first = self.parameters["seed"]
        return range(first, first + (1 if self.layered else self.count))

    @property
    def own(self) -> dict[str, Any]:
        """The parameters of a single image, without its seed; files as names."""
        rest = {name: value for name, value in self.parameters.items() if name not in ("num_images", "seed")}
        return {name: _named(name, value) for name, value in rest.items()}

    @property
    def has_files(self) -> bool:
        return not {*FILES, "images"}.isdisjoint(self.parameters)

    @property
    def ending(self) -> str:
        """The extension of the returned file."""
        return str(self.parameters.get("output_format", "mp4" if self.api in VIDEOS else "png"))


def _named(name: str, value: Any) -> Any:
    if name in FILES:
        return Path(value).name
    return [Path(each).name for each in value] if name == "images" else value
