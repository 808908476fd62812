"""Put what this server's models allow into its description: the largest values, and a model that does the task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from api.openapi_description.bodies import MULTIPART, TASK
from core.generation.tuning import PROMPTS
from models.catalogue.catalogue import Catalogue
from models.catalogue.resolving.deadlines import longest_deadline_s
from models.catalogue.serving.served_models import served_catalogue
from settings import Settings

_KEYWORDS = {"integer": "maximum", "number": "maximum", "array": "maxItems", "string": "maxLength"}
"""Which upper bound a type can have."""


class ServedLimits:
    """What a server's description says about its models."""

    def __init__(self, settings: Settings) -> None:
        catalogue = served_catalogue(settings)
        self._bounds = dict(_bounds(settings, catalogue))
        # The first that can do the task.
        self._able = {task: entry.id for entry in reversed(list(catalogue.entries.values())) for task in entry.tasks}
        self._default = catalogue.default

    def describe(self, operation: dict[str, Any], schemas: Mapping[str, Any]) -> None:
        """Complete an operation and the schemas of its bodies, which are among `schemas`."""
        task = operation.pop(TASK, None)
        content = operation.get("requestBody", {}).get("content", {})
        for media_type, media in content.items():
            properties = schemas[media["schema"]["$ref"].rpartition("/")[2]]["properties"]
            for name, part in properties.items():
                self._bound(name, part)
            if task in self._able and task not in self._default.tasks and "model" in properties:
                _exemplify(media_type, media, properties["model"], self._able[task])
        for parameter in operation.get("parameters", []):
            if task is not None and parameter["name"] == "model":
                parameter["example"] = self._able.get(task, self._default.id)

    def _bound(self, name: str, part: dict[str, Any]) -> None:
        typed = part if "type" in part else next((each for each in part.get("anyOf", ()) if "type" in each), part)
        kinds = [typed["type"]] if isinstance(typed.get("type"), str) else typed.get("type", [])
        for keyword in {_KEYWORDS[kind] for kind in kinds if kind in _KEYWORDS}:
            if (bound := self._bounds.get((name, keyword))) is not None:
                typed.setdefault(keyword, bound)


def _exemplify(media_type: str, media: dict[str, Any], field: dict[str, Any], model: str) -> None:
    """Have the example ask for this model."""
    if media_type == MULTIPART:
        field["example"] = model
    elif "example" in media:
        media["example"]["model"] = model


_SCALES = ("guidance_scale", "true_cfg_scale", "cfg_scale", "guidance_scale_2")


def _bounds(settings: Settings, catalogue: Catalogue) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield the largest value that any model allows, by field and keyword."""
    limits = [task.limits for entry in catalogue.entries.values() for task in entry.tasks.values()]
    iterations = [entry.token_opt.max_iterations for entry in catalogue.entries.values() if entry.token_opt]
    largest: dict[tuple[str, ...], tuple[str, float]] = {
        ("num_inference_steps", "steps"): ("maximum", max(each.max_steps for each in limits)),
        _SCALES: ("maximum", max(each.guidance_scale[1] for each in limits)),
        ("num_frames",): ("maximum", max(each.max_frames for each in limits)),
        ("num_images", "num_generations"): ("maximum", settings.max_num_images),
        ("iterations",): ("maximum", max(iterations, default=1)),
        ("image", "images", "init_images"): ("maxItems", max(each.max_images for each in limits)),
        PROMPTS: ("maxLength", settings.max_prompt_chars),
        ("deadline_s",): ("maximum", longest_deadline_s(catalogue.entries.values(), settings)),
    }
    if not settings.snaps_sizes:
        largest["width", "height"] = ("maximum", max(each.max_px for each in limits))
    for names, (keyword, value) in largest.items():
        for name in names:
            yield (name, keyword), value
