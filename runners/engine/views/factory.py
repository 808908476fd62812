"""Makes the view for each image: chooses its pipeline and modules, and makes calls of batched modules park."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pkgutil import resolve_name
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline, SchedulerMixin

from core.generation.request import GenerationRequest, Task
from models.catalogue.families import CallStage, Part
from models.weights.addons.ip_adapters import SCALE
from models.weights.loading import LoadedModel
from models.weights.pipelines.sibling_pipelines import sibling
from runners.engine.loras.sets import LoraSets
from runners.engine.passes.module_calls import ModuleCall, Operation
from runners.engine.sampler_steps import SamplerStep, let_share
from runners.engine.step_cache.denoising_steps import DenoisingSteps
from runners.engine.text.compel_syntax import parse_ahead
from runners.engine.views.optional_weights import OptionalWeights
from runners.engine.views.samplers import SamplerMaker
from runners.engine.views.stand_ins import StandIn, make_view, traits

UPSCALING = Part("upscaler", CallStage.DECODE, casts=True, pixels_per_token=64)
"""The upscaling model between two passes; a tile counts like the latents of an image of its size."""
Park = Callable[[ModuleCall | SamplerStep], Any]
"""Leaves the calling greenlet with a call or a sampler's step, and returns its result."""


class ViewFactory:
    """Owns the operations of one model; all but `prepare` belongs to the engine's thread.

    A module has one operation for each part, whichever pipelines use it, so that calls of all tasks can share.
    """

    def __init__(self, model: LoadedModel, loras: LoraSets, park: Park, batch_tokens: int) -> None:
        """`batch_tokens` is the most that passes of fixed size hold."""
        self._model = model
        self._loras = loras
        self._park = park
        self._batch_tokens = batch_tokens
        self._optional = OptionalWeights(model)
        self._samplers = SamplerMaker()
        self._operations: dict[tuple[Part, int], Operation] = {}
        self._traits: dict[int, dict[str, Any]] = {}
        self._controlled: dict[tuple[Task, str], DiffusionPipeline] = {}
        self._component_names: dict[type, tuple[str, ...]] = {}

    def prepare(self, request: GenerationRequest) -> None:
        """Load the addons that the request needs, so that `view` need not; blocks, on any thread."""
        self._optional.prepare(request)
        self._loras.prepare(request.loras)
        parse_ahead(request)

    @property
    def addons_gib(self) -> float:
        """GiB on the model's device of the addons that were loaded for requests."""
        return self._optional.gib

    def view(self, request: GenerationRequest, steps: DenoisingSteps | None = None) -> Any:
        """Return a pipeline for one image of the request, whose LoRAs must be loaded. Raises the request's errors.

        With `steps`, these answer the denoiser's calls.
        """
        pipeline = self._pipeline(request)
        adapted: Mapping[str, Any] = {} if request.reference_image is None else self._optional.ip_adapter()
        seen = {**self._components_of(pipeline), **adapted}
        # An inpaint pipeline's UNet may be a view with another configuration.
        run = {**seen, **self._model.components, **adapted}
        # Samplers count their steps; some pipelines have further ones beside `scheduler`.
        samplers = {
            name: type(each).from_config(each.config)
            for name, each in seen.items()
            if isinstance(each, SchedulerMixin) and name != "scheduler"
        }
        own = {name: make(getattr(pipeline, name), request) for name, make in self._model.family.own.items()}
        components = {**adapted, **samplers, **own, **self._stand_ins(request, seen, run, steps)}
        sampler = self._samplers.make(self._model.family.sampler(request), pipeline.scheduler.config)
        if self._model.family.parts:
            let_share(sampler, self._park)
        view = make_view(pipeline, components, sampler)
        if steps is not None:
            steps.follow(view)
        return view

    def _components_of(self, pipeline: DiffusionPipeline) -> dict[str, Any]:
        """Return the same as its `components`, which inspects the pipeline's signature each time, for half a
        millisecond.
        """
        kind = type(pipeline)
        if kind not in self._component_names:
            self._component_names[kind] = tuple(pipeline.components)
        return {name: getattr(pipeline, name) for name in self._component_names[kind]}

    def upscaler(self, request: GenerationRequest) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return a function that upscales a tile, (1, 3, h, w), by parking a call of the upscaling model."""
        module = self._optional.upscaler()
        operation = self._operations.setdefault((UPSCALING, id(module)), Operation(UPSCALING, module))
        fixed_tokens = self._batch_tokens if request.reproducible else None

        def upscale(tile: torch.Tensor) -> torch.Tensor:
            larger: torch.Tensor = self._park(operation.call((tile,), {}, {}, fixed_tokens=fixed_tokens))
            return larger

        return upscale

    def _pipeline(self, request: GenerationRequest) -> DiffusionPipeline:
        plain = self._model.pipelines[request.task]
        if request.control_type is None:
            return plain
        key = (request.task, request.control_type)
        if key not in self._controlled:
            pipeline_class = getattr(diffusers, self._model.family.controlled[request.task])
            net = self._optional.controlnet(request.control_type)
            self._controlled[key] = sibling(plain, pipeline_class, controlnet=net)
            self._controlled[key].set_progress_bar_config(disable=True)
        return self._controlled[key]

    def _stand_ins(
        self,
        request: GenerationRequest,
        seen: Mapping[str, Any],
        run: Mapping[str, Any],
        steps: DenoisingSteps | None,
    ) -> dict[str, StandIn]:
        """Return a stand-in for every batched component, by the name in the pipeline."""
        methods: dict[str, dict[str, Callable[..., Any]]] = {}
        for part in self._model.family.parts:
            if (module := run.get(part.component)) is not None:
                methods.setdefault(part.component, {})[part.method] = self._parking(request, part, module, steps)
        for name, translate in self._model.family.translated.items():
            methods[name] |= resolve_name(translate)(methods[name])
        return {name: StandIn(seen[name], self._traits_of(seen[name]) | methods[name]) for name in methods}

    def _traits_of(self, module: Any) -> dict[str, Any]:
        if id(module) not in self._traits:
            self._traits[id(module)] = traits(module, self._model.device)
        return self._traits[id(module)]

    def _parking(
        self, request: GenerationRequest, part: Part, module: Any, steps: DenoisingSteps | None
    ) -> Callable[..., Any]:
        """Return a function that replaces a method of a module and parks its caller."""
        home = self._model.device if part.component in self._model.elsewhere else None
        operation = self._operations.setdefault((part, id(module)), Operation(part, module, home))
        spec = self._model.ip_adapter if request.reference_image is not None else None
        adapted = part.component == self._model.family.denoiser and spec is not None and not spec.is_redux
        added = {SCALE: request.reference_scale} if adapted else {}
        fixed_tokens = self._batch_tokens if request.reproducible else None

        def make_call(*args: Any, **kwargs: Any) -> ModuleCall:
            # Looked up at each call, since a LoRA may turn out not to mix, which changes the adapter.
            adapter = self._loras.adapter(part.component, request.loras)
            return operation.call(args, kwargs, added, adapter, fixed_tokens)

        if steps is None or part.stage not in (CallStage.DENOISE, CallStage.CONTROL):
            return lambda *args, **kwargs: self._park(make_call(*args, **kwargs))
        return lambda *args, **kwargs: steps.answer(part, partial(make_call, *args, **kwargs))
