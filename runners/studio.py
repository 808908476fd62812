"""Where a request's view comes from: which pipeline draws it, over which modules, parked by whom."""

from __future__ import annotations

from typing import Any

from models.families import Part
from models.loading import LoadedModel
from models.request import GenerationRequest
from runners.calls import Operation
from runners.views import Park, StandIn, make_view, parked_methods


class Studio:
    """Owns the operations of one model; belongs to the engine's thread.

    One module has one operation of each part, whichever pipelines it serves, so that calls of all tasks can share.
    """

    def __init__(self, model: LoadedModel, park: Park) -> None:
        self._model = model
        self._park = park
        self._operations: dict[tuple[Part, int], Operation] = {}

    def view(self, request: GenerationRequest) -> Any:
        """Return a pipeline for one picture of the request. Raises what is wrong with the request."""
        pipeline = self._model.pipelines[request.task]
        scheduler = self._model.family.schedulers[request.scheduler]
        return make_view(pipeline, self._stand_ins(pipeline), scheduler)

    def _stand_ins(self, pipeline: Any) -> dict[str, StandIn]:
        """Stand-ins look like the pipeline's own modules; what they park is shared by all tasks."""
        modules = self._model.components
        operations = {
            part: self._operation(part, modules[part.component])
            for part in self._model.family.parts
            if modules.get(part.component) is not None
        }
        methods = parked_methods(operations, self._park)
        return {name: StandIn(getattr(pipeline, name), methods[name]) for name in methods}

    def _operation(self, part: Part, module: Any) -> Operation:
        return self._operations.setdefault((part, id(module)), Operation(part, module))
