"""What is shown while a story is being drawn: its frames, each as soon as it is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Any

from client.events import Event
from client.results import Job


@dataclass
class StoryProgressDisplay:
    """The state of one story, from its job's events."""

    waiting: str = "Waiting for the server."
    scenes: list[dict[str, Any]] = field(default_factory=list)
    frames: dict[int, str] = field(default_factory=dict)
    """Frames by number, as data URLs."""
    follows: dict[int, list[str]] = field(default_factory=dict)
    """By frame number: the characters whose references it follows."""
    message: str = ""
    hint: str | None = None

    def handle(self, event: Event) -> bool:
        """Update the state; return whether the change is to be shown at once."""
        data = event.data
        self.message = str(data.get("message") or self.message)
        match event.name:
            case "planned":
                self.scenes = data["scenes"]
            case "frame":
                self.frames[data["frame_number"]] = str(data["image"])
                self.follows[data["frame_number"]] = list(data["follows"])
            case "queued":
                self.waiting = f"In the queue: place {data.get('position', '?')}."
            case "loading":
                self.waiting = f"The model is loading: {float(data.get('progress') or 0):.0%}."
        return event.name in ("planned", "frame")

    def said_of(self, job: Job, seconds: float) -> str:
        """Return the message about a story that is drawn."""
        return f"{len(self.scenes) or len(job.results)} frames in {seconds:.1f} s. Choose one to see it whole."

    def html(self) -> str:
        """Return it as HTML."""
        if not self.scenes:
            return f'<div class="stage"><p role="status">{escape(self.waiting)}</p></div>'
        figures = "".join(map(self._figure, self.scenes))
        return f'<div class="story">{figures}</div><p role="status">{escape(self.message)}</p>'

    def _figure(self, scene: dict[str, Any]) -> str:
        number, caption = scene["frame_number"], escape(scene["caption"])
        image = self.frames.get(number)
        shown = f'<img src="{escape(image)}" alt="{caption}">' if image else '<div class="missing"></div>'
        return f"<figure>{shown}<figcaption>{number}. {caption}</figcaption></figure>"
