"""Rank 0's side of a group: spreads the denoisers of a loaded model over several processes.

This is transparent to callers of a denoiser: its `forward` hands the call to the helpers, computes its own part, and
returns the whole output. All processes agree on the outcome of each call before the next: a call that runs out of
memory in one process counts as out of memory in all.
"""

from __future__ import annotations

import functools
import json
import logging
import tempfile
import threading
import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from core.errors import LoadFailed, OutOfMemory
from models.catalogue.families import CallStage
from models.weights.devices import devices_from
from models.weights.loading import LoadedModel
from runners.engine.lost_device import end_process
from runners.parallel.building import weights_of
from runners.parallel.helper import DONE, OUT_OF_MEMORY
from runners.parallel.messages import Gone, as_json, share
from runners.parallel.processes import Helper
from runners.parallel.rank import PASS_S, Rank

log = logging.getLogger("jubako.parallel")

START_S = 600.0
"""For a helper to import its libraries, and for weights to reach it."""


class Group:
    """Lives while the model is loaded. Blocks; after the start, it belongs to the thread that calls the denoisers."""

    def __init__(self, model: LoadedModel, devices: list[torch.device]) -> None:
        """`devices` are those of the ranks; the model is on the first. Ends again what it has started if it raises."""
        self._model = model.id
        self._meetings = tempfile.TemporaryDirectory(prefix="jubako-group-")
        self._numbers = count()
        self._serving = False
        self._rank = Rank(0, len(devices), devices[0])
        self._helpers = [Helper() for _ in devices[1:]]
        for helper in self._helpers:
            threading.Thread(target=self._watch, args=(helper,), daemon=True).start()
        try:
            self._start(model, devices)
            self._serving = True
        except BaseException:
            self.close()
            raise

    @property
    def helpers(self) -> list[int | None]:
        """Their process ids."""
        return [helper.process.pid for helper in self._helpers]

    def close(self) -> None:
        """End the helpers. The denoisers cannot be called any more."""
        self._serving = False
        self._rank.leave()
        for helper in self._helpers:
            helper.close()
        self._meetings.cleanup()

    def _watch(self, helper: Helper) -> None:
        helper.process.wait()
        self._lost()

    def _lost(self) -> None:
        if self._serving:
            end_process(
                "a process that computes a part of %s is lost; this process ends, so that all start again", self._model
            )

    def _start(self, model: LoadedModel, devices: list[torch.device]) -> None:
        for number, (helper, device) in enumerate(zip(self._helpers, devices[1:], strict=True), start=1):
            helper.channel.send(rank=number, size=len(devices), device=str(device))
        self._outcomes(START_S)
        self._meet()
        for name in denoiser_names(model):
            self._spread(name, model.components[name])

    def _spread(self, name: str, denoiser: Any) -> None:
        weights, tensors = weights_of(denoiser)
        config = json.loads(denoiser.to_json_string())
        order = {"name": name, "config": config, "attention": _attention(denoiser), "weights": weights}
        self._together({"build": order}, lambda: share(tensors), START_S)
        self._rank.split(denoiser)
        denoiser.forward = self._handing_out(name, denoiser.forward)

    def _handing_out(self, name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(forward)
        def run(*args: Any, **kwargs: Any) -> Any:
            tensors: list[torch.Tensor] = []
            order = {"name": name, "arguments": as_json((args, kwargs), tensors)}

            def take_part() -> Any:
                share(tensors)
                return forward(*args, **kwargs)

            return self._together({"call": order}, take_part, PASS_S)

        return run

    def _together(self, order: dict[str, Any], take_part: Callable[[], Any], within_s: float) -> Any:
        """Run `take_part` here while the helpers execute `order`. Raises torch.OutOfMemoryError if any process does."""
        failure: Exception | None = None
        output = None
        self._send(order)
        try:
            output = take_part()
        except Exception as error:  # noqa: BLE001 - raised below, once all know
            failure = error
            # Releases processes that wait for this one in the pass.
            traceback.clear_frames(error.__traceback__)
            self._rank.leave()
        outcomes = self._outcomes(within_s)
        if failure is None and set(outcomes) == {DONE}:
            return output
        self._meet()
        raise _common(failure, outcomes)

    def _send(self, order: dict[str, Any]) -> None:
        for helper in self._helpers:
            try:
                helper.channel.send(**order)
            except Gone:
                self._lost()
                raise

    def _outcomes(self, within_s: float) -> list[str]:
        try:
            return [helper.channel.receive(within_s)["outcome"] for helper in self._helpers]
        except Gone:
            self._lost()
            raise

    def _meet(self) -> None:
        """Join the group, at the start, or again after a failed pass."""
        meeting = Path(self._meetings.name, str(next(self._numbers)))
        self._send({"meet": str(meeting)})
        self._rank.leave()
        self._rank.join(meeting)
        self._outcomes(START_S)


def start_group(model: LoadedModel, device: str, size: int) -> Group:
    """Spread the denoisers of a model over `size` processes on consecutive devices from `device` on. Blocks.

    Raises InvalidRequest if there are too few devices, OutOfMemory, and LoadFailed.
    """
    if dist.is_initialized():
        raise LoadFailed("parallel: another model of this process has it; serve each by a process of its own")
    devices = [torch.device(each) for each in devices_from(device, size)]
    try:
        return Group(model, devices)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"the denoiser of {model.id} does not fit into the memory of each of {devices}") from error
    except Gone as error:
        raise LoadFailed("parallel: a process for it ended while it started; the log says why") from error


def denoiser_names(model: LoadedModel) -> list[str]:
    """Return the names of a model's components that denoise; Wan 2.2 has two."""
    names = dict.fromkeys(part.component for part in model.family.parts if part.stage is CallStage.DENOISE)
    return [name for name in names if model.components.get(name) is not None]


def _attention(denoiser: Any) -> str | None:
    """Return the attention backend that was chosen for a denoiser, or None."""
    chosen = (getattr(getattr(module, "processor", None), "_attention_backend", None) for module in denoiser.modules())
    return next((str(getattr(backend, "value", backend)) for backend in chosen if backend is not None), None)


def _common(failure: Exception | None, outcomes: list[str]) -> Exception:
    if isinstance(failure, torch.OutOfMemoryError):
        return failure
    if OUT_OF_MEMORY in outcomes:
        return torch.OutOfMemoryError("in another process of the group")
    return failure or RuntimeError("another process of the group failed")
