"""Reuse of earlier requests: what is known about them, and which tab takes them."""

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
"""The files that each task cannot do without."""
GUIDES = {"control_type": "control_image", "control_scale": "control_image", "reference_scale": "reference_image"}
"""The parameters of guiding files, with the file that each belongs to."""
ABOUT_THE_ANSWER = {"task", "model", "seed", "num_images", "output_format", "quality", "fit", "method", "iterations"}
"""Parameters that tabs need not take: they have their own, or the task implies it."""


@dataclass(frozen=True)
class Reuse:
    """How a tab takes an earlier request."""

    tab: str
    tasks: Collection[str]
    outputs: Sequence[Any]
    """The components that `fill` fills."""
    fill: Callable[[Sequence[dict[str, Any]], dict[str, Any], bool], dict[Any, Any]]
    """Given the models, the request's parameters, and whether its seed is kept, returns updates of the tab."""
    knows: Collection[str]
    """The parameters for which the tab has controls."""
    said: gr.HTML
    """Where the tab lists parameters for which it has none."""
    vary: gr.State
    """A state whose change makes the tab draw."""


class Requests:
    """The files of this page's latest requests, since the server keeps none once a request is done.

    No permission is checked: a request's files are found by its job's id, which only its owner sees.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def keep(self, job_id: str, parameters: Mapping[str, Any]) -> None:
        """Remember the files of a job's request; the oldest are forgotten."""
        files = {name: parameters[name] for name in (*FILES, LISTED) if parameters.get(name)}
        if files:
            self._kept[job_id] = files
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)

    def files_of(self, job_id: str | None) -> dict[str, Any]:
        """Return the files of a job's request by field; empty if one of them no longer exists.

        Without it, the rest might make a different request, such as a clip without its last image.
        """
        kept = self._kept.get(job_id or "", {})
        return kept if all(Path(each).exists() for value in kept.values() for each in _listed(value)) else {}


def missing(parameters: Mapping[str, Any]) -> list[str]:
    """Return the fields of files that a request needs and that no longer exist."""
    needed = {*NEEDED.get(parameters.get("task", ""), ()), *(GUIDES[name] for name in GUIDES if parameters.get(name))}
    return sorted(name for name in needed if not parameters.get(name))


def parameters_left_out(parameters: Mapping[str, Any], knows: Collection[str]) -> list[str]:
    """Return the request's parameters for which a tab has no control."""
    taken = {*knows, *ABOUT_THE_ANSWER, *FILES, LISTED}
    return sorted(name for name, value in parameters.items() if value and name not in taken)


def made_together(parameters: Mapping[str, Any], layered: bool) -> int:
    """Return how many images to make to get one of them again: all layers, or else just this one."""
    count: int = parameters.get("num_images", 1) if layered else 1
    return count


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)
