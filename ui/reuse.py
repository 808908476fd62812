"""Requests that were made before, to be made again: what is known of them, and which tab takes them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.calls import FILES

if TYPE_CHECKING:
    import gradio as gr

MOST_KEPT = 1000
LISTED = "images"
NEEDED = {"image-to-image": ("image",), "inpaint": ("image", "mask"), "edit": (LISTED,), "image-to-video": ("image",)}
"""The files without which a task is none, by task."""
GUIDES = {"control_type": "control_image", "control_scale": "control_image", "reference_scale": "reference_image"}
"""What is said of a file that guides, and the file."""
ABOUT_THE_ANSWER = {"task", "model", "seed", "num_images", "output_format", "quality", "fit", "method", "iterations"}
"""What no tab has to take: it has its own, or the task says it."""


@dataclass(frozen=True)
class Reuse:
    """How a tab takes a request that was made before."""

    tab: str
    tasks: Collection[str]
    outputs: Sequence[Any]
    """The components that `fill` fills."""
    fill: Callable[[Sequence[dict[str, Any]], dict[str, Any], bool], dict[Any, Any]]
    """Of the models, the request's parameters, and whether its seed is kept."""
    knows: Collection[str]
    """The parameters that it has controls for."""
    said: gr.HTML
    """Where it says what it has none for."""
    vary: gr.State
    """Whose change has it draw."""


class Requests:
    """The latest requests with files that came from this page: the server keeps no files of requests that are done.

    Who asks for a request's files has seen its job, which only its owner does.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def keep(self, job_id: str, parameters: Mapping[str, Any]) -> None:
        """Remember the files of a job's request, in place of those of the oldest."""
        files = {name: parameters[name] for name in (*FILES, LISTED) if parameters.get(name)}
        if files:
            self._kept[job_id] = files
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)

    def files_of(self, job_id: str | None) -> dict[str, Any]:
        """Return the files of a job's request by their fields; none when one of them is no longer here.

        What is left of them may be another request: a clip that ends anywhere.
        """
        kept = self._kept.get(job_id or "", {})
        return kept if all(Path(each).exists() for value in kept.values() for each in _listed(value)) else {}


def missing(parameters: Mapping[str, Any]) -> list[str]:
    """Return the files that a request had and that are no longer here."""
    needed = {*NEEDED.get(parameters.get("task", ""), ()), *(GUIDES[name] for name in GUIDES if parameters.get(name))}
    return sorted(name for name in needed if not parameters.get(name))


def left_out(parameters: Mapping[str, Any], knows: Collection[str]) -> list[str]:
    """Return what a request says and a tab has no control for."""
    taken = {*knows, *ABOUT_THE_ANSWER, *FILES, LISTED}
    return sorted(name for name, value in parameters.items() if value and name not in taken)


def made_together(parameters: Mapping[str, Any], layered: bool) -> int:
    """Return how many images are to be made for one of them: layers need each other, all else is made again alone."""
    count: int = parameters.get("num_images", 1) if layered else 1
    return count


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)
