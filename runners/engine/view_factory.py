"""Where a request's view comes from: which pipeline draws it, over which modules, parked by whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffusers
from diffusers import DiffusionPipeline

from core.request import GenerationRequest, Task
from models.catalogue.families import Part
from models.weights.ip_adapters import SCALE
from models.weights.loading import LoadedModel
from models.weights.sibling_pipelines import sibling
from runners.engine.extras import Extras
from runners.engine.module_calls import Operation
from runners.engine.views import Park, StandIn, make_view, parked_methods


class Studio:
    """Owns the operations of one model; all but `prepare` belongs to the engine's thread.

    One module has one operation of each part, whichever pipelines it serves, so that calls of all tasks can share.
    """

    def __init__(self, model: LoadedModel, park: Park) -> None:
        self._model = model
        self._park = park
        self._extras = Extras(model)
        self._operations: dict[tuple[Part, int], Operation] = {}
        self._controlled: dict[tuple[Task, str], DiffusionPipeline] = {}

    def prepare(self, request: GenerationRequest) -> None:
        """Load what the request needs beside the model, so that `view` need not; blocks, on any thread."""
        self._extras.prepare(request)

    def view(self, request: GenerationRequest) -> Any:
        """Return a pipeline for one picture of the request. Raises what is wrong with the request."""
        pipeline = self._pipeline(request)
        adapted: dict[str, Any] = {}
        added: dict[str, dict[str, Any]] = {}
        if request.reference_image is not None:
            adapted = vars(self._extras.ip_adapter())
            added["unet"] = {SCALE: request.reference_scale}
        seen = {**pipeline.components, **adapted}
        # An inpaint pipeline may see its UNet otherwise than those that it shares the weights with.
        run = {**seen, **self._model.components, **adapted}
        components = {**adapted, **self._stand_ins(seen, run, added)}
        return make_view(pipeline, components, self._model.family.schedulers[request.scheduler])

    def _pipeline(self, request: GenerationRequest) -> DiffusionPipeline:
        plain = self._model.pipelines[request.task]
        if request.control_type is None:
            return plain
        key = (request.task, request.control_type)
        if key not in self._controlled:
            pipeline_class = getattr(diffusers, self._model.family.controlled[request.task])
            net = self._extras.controlnet(request.control_type)
            self._controlled[key] = sibling(plain, pipeline_class, controlnet=net)
            self._controlled[key].set_progress_bar_config(disable=True)
        return self._controlled[key]

    def _stand_ins(
        self, seen: Mapping[str, Any], run: Mapping[str, Any], added: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, StandIn]:
        """For every batched component, what the pipeline sees, parking calls of what is run."""
        operations = {
            part: self._operation(part, run[part.component])
            for part in self._model.family.parts
            if run.get(part.component) is not None
        }
        methods = parked_methods(operations, self._park, added)
        return {name: StandIn(seen[name], methods[name]) for name in methods}

    def _operation(self, part: Part, module: Any) -> Operation:
        return self._operations.setdefault((part, id(module)), Operation(part, module))
