"""Server-sent events of streams and jobs."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image as Pillow

from .results import Result, result_of


@dataclass(frozen=True)
class Event:
    """Something that happened: `loading`, `queued`, `started`, `step`, `preview`, `image`, `video`, `done`, ..."""

    name: str
    data: dict[str, Any]

    @property
    def preview(self) -> Pillow.Image | None:
        """A small image of the state so far."""
        if self.name != "preview":
            return None
        # In a job's events it is a data URL.
        return Pillow.open(BytesIO(base64.b64decode(self.data["image"].rpartition(",")[2])))

    @property
    def result(self) -> Result | None:
        """The image or video in a stream's event, if any."""
        if self.name not in ("image", "video"):
            return None
        about = {"seed": self.data["seed"], "model": self.data["parameters"]["model"]}
        return result_of(base64.b64decode(self.data[self.name]), self.data["media_type"], **about)

    @property
    def share(self) -> float | None:
        """How much is done, 0 to 1, if the event says so. `index` counts the images of one request."""
        if "progress" in self.data and self.name != "loading":
            return float(self.data["progress"]) / 100
        if self.name == "step":
            return float(self.data["step"]) / float(self.data["steps"])
        return None


class EventReader:
    """Turns the lines of a stream into events."""

    def __init__(self) -> None:
        self._name = ""

    def read(self, line: str) -> Iterator[Event]:
        """Yield the event that a line completes; the server writes each as two lines."""
        if line.startswith("event: "):
            self._name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield Event(self._name, json.loads(line.removeprefix("data: ")))
