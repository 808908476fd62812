"""Weights in addition to a model's checkpoint that only some requests need, loaded for the first one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

import diffusers
import torch
from diffusers import ModelMixin

from core.errors import OutOfMemory
from core.generation.request import GenerationRequest
from models.weights.addons.controlnets import check_mode, load_controlnet
from models.weights.addons.ip_adapters import IpAdapter, load_ip_adapter, twin
from models.weights.addons.redux import load_redux
from models.weights.build_lock import build_lock
from models.weights.loading import LoadedModel

if TYPE_CHECKING:
    from models.weights.upscaling import UpscalingNet


class OptionalWeights:
    """The ControlNets, the IP-Adapter or Redux, and the upscaler of one model; usable from any thread."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        adapts = model.ip_adapter is not None and not model.ip_adapter.is_redux
        # Made now, before LoRAs can change the denoiser's layers.
        self._twin = twin(model.components[model.family.denoiser]) if adapts else None
        self._loaded: dict[Hashable, Any] = {}
        self._lock = Lock()
        self.gib = 0.0
        """GiB that have been loaded onto the model's device, not counting weights shared with the model."""

    def prepare(self, request: GenerationRequest) -> None:
        """Load what a request needs, downloading it if necessary; blocks. Raises LoadFailed or OutOfMemory."""
        if request.control_type is not None:
            self.controlnet(request.control_type)
        if request.reference_image is not None:
            self.ip_adapter()
        if request.hires is not None and request.hires.upscaler == "model":
            self.upscaler()

    def upscaler(self) -> UpscalingNet:
        # Imported late, since it reads the server's settings, which the engine alone does not need.
        from models.weights.upscaling import configured_upscaler

        net: UpscalingNet = self._once("upscaling model", lambda: configured_upscaler(str(self._model.device)).net)
        return net

    def controlnet(self, kind: str) -> ModelMixin:
        """Return the ControlNet of a kind; kinds of one source share it."""
        spec, family = self._model.controlnets[kind], self._model.family
        dtype = self._model.components[family.denoiser].dtype
        net_class = getattr(diffusers, family.controlnet)
        net: ModelMixin = self._once(
            f"ControlNet {kind!r}",
            lambda: load_controlnet(net_class, spec, self._model.device, dtype),
            key=(spec.source, spec.variant),
        )
        check_mode(net, kind, spec)
        return net

    def ip_adapter(self) -> IpAdapter:
        spec, denoiser = self._model.ip_adapter, self._twin
        assert spec is not None, "requests with a reference are refused without one"
        if denoiser is None:
            dtype = self._model.components[self._model.family.denoiser].dtype
            redux: IpAdapter = self._once("Redux", lambda: load_redux(spec, self._model.device, dtype))
            return redux
        pipeline, name = next(iter(self._model.pipelines.values())), self._model.family.denoiser
        adapter: IpAdapter = self._once(
            "IP-Adapter", lambda: load_ip_adapter(spec, pipeline, name, denoiser, self._model.device)
        )
        return adapter

    def _once(self, name: str, load: Callable[[], Any], key: Hashable = None) -> Any:
        """Return what is cached under a key, by default the name, which is also used in messages."""
        key = key or name
        # Checked before locking, so that loaded weights are returned at once while others are being loaded.
        if key not in self._loaded:
            with self._lock:
                if key not in self._loaded:
                    loaded = self._fitting(name, load)
                    self._loaded[key] = loaded
                    # Locked, since LoRAs that are injected meanwhile would change the modules being traversed.
                    with build_lock:
                        self.gib += self._own_gib(loaded)
        return self._loaded[key]

    def _own_gib(self, loaded: Any) -> float:
        components = loaded.values() if isinstance(loaded, Mapping) else [loaded]
        weights, known = (
            {
                id(weight): weight
                for each in modules
                if isinstance(each, torch.nn.Module)
                for weight in each.parameters()
            }
            for modules in (components, self._model.components.values())
        )
        return sum(weights[each].nbytes for each in weights.keys() - known.keys()) / 2**30

    def _fitting(self, name: str, load: Callable[[], Any]) -> Any:
        try:
            return load()
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(f"the {name} does not fit into the memory of {self._model.device}") from error
