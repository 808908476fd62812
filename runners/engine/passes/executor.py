"""Runs batches of parked calls and returns an outcome for each, without waiting for the device.

A call is a pure function of its arguments, so a batch that fails can be run again in smaller pieces until only the
culprit fails.
"""

from __future__ import annotations

import logging
import traceback
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch.utils import _pytree as pytree

from core.errors import GenerationFailed, JubakoError, NonFinite, OutOfMemory
from models.catalogue.families import CallStage, Part
from models.weights.compiling.denoisers import uncompiled
from models.weights.devices import free_memory
from models.weights.loading import LoadedModel
from models.weights.memory.vae_tiling import can_tile, tiled
from processes.machine.core_turns import CoreTurns
from runners.engine.device_copies import DeviceCopy, Stopwatch
from runners.engine.loras.hooks import Adapter, NotBySample
from runners.engine.lost_device import end_if_lost
from runners.engine.passes.buckets import compiled_shape, padded_to_bucket
from runners.engine.passes.merging import finite_samples, merge, split
from runners.engine.passes.module_calls import ModuleCall, Operation
from runners.engine.passes.signatures import tensors_in
from runners.options import EngineLimits

log = logging.getLogger("jubako.engine")

MEMO_BYTES = 256 * 2**20
"""The memory for an engine's cached encodings: about 40 of SDXL's larger encoder, which returns all of its layers."""

PASSES_TO_UNLEARN = 256
"""Passes after which a learnt limit has about doubled; raising it too early costs one failed pass."""

TOO_LARGE = "the image does not fit into the device's memory; ask for a smaller one"
TOO_LARGE_TO_REPEAT = (
    "the passes of fixed size that `reproducible` takes do not fit into the device's memory; ask without it, or for a "
    "smaller image"
)


@dataclass(frozen=True)
class Pass:
    """A finished forward pass, for metrics."""

    part: Part
    calls: int
    samples: int
    tokens: int
    """Latent positions."""
    budget_tokens: int
    """The most that it could have had."""
    seconds: float
    idle_s: float | None
    """How long the device was idle between the pass before and this one; None if there was no work in between."""


ERROR, OUT_OF_MEMORY = FAILURES = ("error", "out_of_memory")


@dataclass(frozen=True)
class FailedPass:
    """A forward pass that failed, so that its calls are run again in smaller pieces."""

    part: Part
    cause: str
    """One of FAILURES."""


class BegunPass:
    """A pass that may still be running on the device."""

    def __init__(
        self,
        calls: Sequence[ModuleCall],
        watch: Stopwatch,
        before: Stopwatch | None,
        finite: torch.Tensor,
        budget_tokens: int,
        on_end: Callable[[Pass], None],
    ) -> None:
        """`finite`, (samples,) of bool, is on the device; `before` timed the pass before this one."""
        self.part = calls[0].part
        self._calls = len(calls)
        self._budget_tokens = budget_tokens
        self._tokens = sum(call.tokens for call in calls)
        self._watch = watch
        self._before = before
        self._finite = DeviceCopy(finite)
        self._on_end = on_end

    @cached_property
    def finite(self) -> list[bool]:
        """Whether each sample is free of NaN and infinity; waits for the end of the pass, and reports it."""
        finite: list[bool] = self._finite.read().tolist()
        idle_s = None if self._before is None else self._watch.seconds_since(self._before)
        tokens, budget = self._tokens, self._budget_tokens
        self._on_end(Pass(self.part, self._calls, len(finite), tokens, budget, self._watch.seconds, idle_s))
        return finite


@dataclass(frozen=True)
class Verdict:
    """Whether an output can be used."""

    begun: BegunPass
    samples: slice
    """The call's samples among those of the pass."""

    def refusal(self) -> NonFinite | None:
        """Return the error if the output cannot be used; waits for the end of the pass."""
        if all(self.begun.finite[self.samples]):
            return None
        return NonFinite(f"{self.begun.part.component} produced NaN or infinity")


@dataclass(frozen=True)
class CallOutput:
    """A call's output, which the device may still be computing."""

    output: Any
    verdict: Verdict
    tiled: bool = False
    """Whether an autoencoder worked in tiles, which may change pixels."""


Outcome = CallOutput | JubakoError
"""A call's answer, or the error in its place."""


class Executor:
    """`token_limits` is what out-of-memory errors have taught about each part; it starts empty."""

    def __init__(
        self,
        on_pass: Callable[[Pass], None],
        on_failed_pass: Callable[[FailedPass], None],
        applied: Callable[[str, torch.nn.Module, Sequence[Adapter]], AbstractContextManager[None]],
        model: LoadedModel,
        limits: EngineLimits,
    ) -> None:
        """`applied` is entered around every pass, to apply its calls' adapters. A call that decodes more than
        `limits.decode_tokens` works in tiles. The process ends if an error shows that the device of `model` is lost.
        """
        self._on_pass = on_pass
        self._on_failed_pass = on_failed_pass
        self._logged: set[Hashable] = set()
        self._applied = applied
        self._device = model.device
        self._model = model
        self._limits = limits
        self._memo: OrderedDict[Hashable, CallOutput] = OrderedDict()
        self._memo_bytes = 0
        self._before: Stopwatch | None = None
        self._cores = _core_turns() if self._device.type == "cpu" else None
        self.token_limits: dict[Part, int] = {}

    def run(self, calls: Sequence[ModuleCall]) -> list[Outcome]:
        """Run calls of one signature; return their outcomes in order."""
        if calls[0].operation.part.memoised:
            return self._run_memoised(calls)
        return self._run(calls)

    def rest(self) -> None:
        """Note that there is no work, so that the time until the next pass does not count as idle."""
        self._before = None

    def _run_memoised(self, calls: Sequence[ModuleCall]) -> list[Outcome]:
        keys = [call.content_key() for call in calls]
        known: dict[Hashable, Outcome] = {key: self._memo[key] for key in keys if key in self._memo}
        unknown = {key: call for key, call in zip(keys, calls, strict=True) if key not in known}
        if unknown:
            known |= dict(zip(unknown, self._checked(self._run(list(unknown.values()))), strict=True))
        for key, outcome in known.items():
            if key in self._memo:
                self._memo.move_to_end(key)
            elif isinstance(outcome, CallOutput):
                self._remember(key, outcome)
        return [known[key] for key in keys]

    def _checked(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Wait for outcomes that will be cached for others, and replace unusable ones by errors."""
        return [(isinstance(each, CallOutput) and each.verdict.refusal()) or each for each in outcomes]

    def _remember(self, key: Hashable, answer: CallOutput) -> None:
        # Cloned, since a view would keep the whole batch in memory.
        self._memo[key] = replace(answer, output=pytree.tree_map_only(torch.Tensor, torch.clone, answer.output))
        # A running total, since there may be thousands of small ones.
        self._memo_bytes += _bytes_in(self._memo[key])
        while self._memo_bytes > MEMO_BYTES:
            _, oldest = self._memo.popitem(last=False)
            self._memo_bytes -= _bytes_in(oldest)

    def _run(self, calls: Sequence[ModuleCall]) -> list[Outcome]:
        out_of_memory = False
        try:
            return self._forward(calls, tiles=self._too_large_whole(calls))
        except torch.OutOfMemoryError:
            out_of_memory = True
        except NotBySample:
            # Expected, once for each LoRA, in some modules.
            pass
        except Exception as error:
            end_if_lost(self._device)
            if len(calls) == 1:
                log.exception("a call of %s failed", calls[0].operation.part.component)
                return [GenerationFailed("the model failed")]
            self._report_failure(calls[0].operation.part, error)
        # Only after the handler are the failed pass's tensors free: the traceback keeps all frames alive.
        if out_of_memory:
            return self._run_halves(calls)
        return [outcome for call in calls for outcome in self._run([call])]

    def _report_failure(self, part: Part, error: Exception) -> None:
        """Count a merged pass that failed, and log it the first time only, since every step may fail alike."""
        self._on_failed_pass(FailedPass(part, ERROR))
        cause = (part, type(error), *traceback.extract_tb(error.__traceback__)[-1][:2])
        if cause not in self._logged:
            self._logged.add(cause)
            said = "calls of %s cannot share a pass; they run one by one, which is slower"
            log.error(said, part.component, exc_info=error)

    def _run_halves(self, calls: Sequence[ModuleCall]) -> list[Outcome]:
        self._memo.clear()
        self._memo_bytes = 0
        free_memory()
        part = calls[0].operation.part
        if calls[0].calls_in_pass is not None:
            return [OutOfMemory(TOO_LARGE_TO_REPEAT)] * len(calls)
        if len(calls) == 1:
            return self._run_in_tiles(calls)
        self._on_failed_pass(FailedPass(part, OUT_OF_MEMORY))
        half = len(calls) // 2
        self.token_limits[part] = max(1, sum(call.tokens for call in calls[:half]))
        log.warning("out of memory: %s is limited to %d tokens", part.component, self.token_limits[part])
        return self._run(calls[:half]) + self._run(calls[half:])

    def _too_large_whole(self, calls: Sequence[ModuleCall]) -> bool:
        call = calls[0]
        decode_tokens = self._limits.decode_tokens
        if decode_tokens is None or call.stage is not CallStage.DECODE or call.calls_in_pass is not None:
            return False
        return call.tokens > decode_tokens and can_tile(call.operation.module)

    def _run_in_tiles(self, calls: Sequence[ModuleCall]) -> list[Outcome]:
        """Run a single call of an autoencoder again in tiles, after it ran out of memory."""
        operation = calls[0].operation
        if not can_tile(operation.module) or self._too_large_whole(calls):
            return [OutOfMemory(TOO_LARGE)]
        self._on_failed_pass(FailedPass(operation.part, OUT_OF_MEMORY))
        log.warning("out of memory: %s works in tiles on %d tokens", operation.part.component, calls[0].tokens)
        try:
            return self._forward(calls, tiles=True)
        except torch.OutOfMemoryError:
            return [OutOfMemory(TOO_LARGE)]

    def _unlearn(self, part: Part) -> None:
        """Let a learnt limit grow again, since another process that took the memory may have ended."""
        if part in self.token_limits:
            self.token_limits[part] += 1 + self.token_limits[part] // PASSES_TO_UNLEARN

    def _forward(self, calls: Sequence[ModuleCall], *, tiles: bool) -> list[Outcome]:
        operation = calls[0].operation
        batch = padded_to_bucket(calls, self._model.batch_buckets)
        samples = sum(call.samples for call in batch)
        adapters = [call.adapter for call in batch for _ in range(call.samples)]
        pieces = tiled(operation.module) if tiles else nullcontext()
        with self._cores.turn() if self._cores else nullcontext():
            watch = Stopwatch(self._device)
            with self._applied(operation.part.component, operation.module, adapters), pieces:
                output = self._run_merged(operation, batch)
            finite = finite_samples(operation.part, output, samples)
            watch.stop()
        budget = self._limits.of_pass(operation.part.stage)
        begun = BegunPass(calls, watch, self._before, finite, budget, self._on_pass)
        self._before = watch
        self._unlearn(operation.part)
        ends = accumulate(call.samples for call in calls)
        return [
            CallOutput(call.answered(own), Verdict(begun, slice(end - call.samples, end)), tiles)
            for call, own, end in zip(calls, split(output, batch), ends, strict=False)
        ]

    def _run_merged(self, operation: Operation, batch: Sequence[ModuleCall]) -> Any:
        model, part = self._model, operation.part
        arguments = merge(batch, model.text_buckets)
        if model.compiled is None or part.stage is not CallStage.DENOISE:
            return operation.run(**arguments)
        known = model.compiled.admit(compiled_shape(part, arguments, model.text_buckets))
        with nullcontext() if known else uncompiled():
            return operation.run(**arguments)


def _core_turns() -> CoreTurns | None:
    """Return None if there is no file to lock; models' passes then only slow each other down."""
    try:
        return CoreTurns()
    except OSError as error:
        log.warning("models that share this CPU will slow each other down: no file to take turns by (%s)", error)
        return None


def _bytes_in(answer: CallOutput) -> int:
    return sum(tensor.nbytes for tensor in tensors_in(answer.output))
