"""What is shown while something is being drawn: previews, progress, and what it waits for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from html import escape

from client.events import Event
from client.results import Job

EMPTY = '<div class="stage"><p>What you draw appears here.</p></div>'


@dataclass
class ProgressDisplay:
    """The state of one job, from its events."""

    started_s: float | None = None
    waiting: str = "Waiting for the server."
    steps: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By image: the steps done, and their total."""
    previews: dict[int, str] = field(default_factory=dict)
    """By image: its preview as a data URL."""
    hint: str | None = None

    def handle(self, event: Event) -> bool:
        """Update the state; return whether the change is to be shown at once."""
        data = event.data
        match event.name:
            case "loading":
                self.waiting = f"The model is loading: {float(data.get('progress') or 0):.0%}."
            case "queued":
                self.waiting = f"In the queue: place {data.get('position', '?')}."
            case "started":
                self.started_s = time.monotonic()
                self.waiting = "The first step is being drawn."
                self.hint = data.get("hint") or self.hint
            case "step":
                index = data.get("index", 0)
                self.steps[index] = data["step"], data["steps"]
            case "preview":
                self.previews[data.get("index", 0)] = str(data["image"])
            case "saving":
                self.waiting = "Nearly done."
        return event.name == "preview"

    def said_of(self, job: Job, seconds: float) -> str:
        """Return the message about a completed job."""
        seeds = ", ".join(str(each["seed"]) for each in job.results)
        return f"Drawn in {seconds:.1f} s, with seed {seeds}."

    def html(self) -> str:
        """Return it as HTML."""
        images = "".join(
            f'<img src="{escape(self.previews[index])}" alt="Preview of image {index + 1}">'
            for index in sorted(self.previews)
        )
        bar = f'<progress aria-label="Progress" max="1" value="{self._share():.3f}"></progress>' if self.steps else ""
        previews = f'<div class="previews">{images}</div>' if images else ""
        # Not a status during steps: a text that changes ten times a second is never read out, unlike the bar.
        role = "" if self.steps else ' role="status"'
        return f'<div class="stage">{previews}{bar}<p{role}>{escape(self._said())}</p></div>'

    def _share(self) -> float:
        done, steps = self._counted()
        return done / max(steps, 1)

    def _counted(self) -> tuple[int, int]:
        return sum(done for done, _ in self.steps.values()), sum(steps for _, steps in self.steps.values())

    def _said(self) -> str:
        if not self.steps:
            return self.waiting
        done, steps = self._counted()
        left = self._left_s()
        return f"Step {done} of {steps}" + (f", about {left:.0f} s left." if left is not None and left >= 1 else ".")

    def _left_s(self) -> float | None:
        if self.started_s is None or not self._share():
            return None
        return (time.monotonic() - self.started_s) * (1 / self._share() - 1)


def ended_html(text: str) -> str:
    """Return what replaces the stage afterwards."""
    return f'<div class="stage done"><p role="status">{escape(text)}</p></div>'


def hints_html(*texts: str | None, error: bool = False) -> str:
    """Return the messages under the prompt: what the server says about the request."""
    kind = ' class="error" role="alert"' if error else ' role="status"'
    return f'<div class="hints">{"".join(f"<p{kind}>{escape(each)}</p>" for each in texts if each)}</div>'
