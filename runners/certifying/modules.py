"""Tests whether calls of a module may share passes, by merging recorded calls and comparing the results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch

from models.catalogue.families import CallStage, Part
from models.catalogue.sharing import ModuleSharing
from runners.certifying.agreement import NOISE, difference, rounding
from runners.certifying.recording import CODING, RecordedCall
from runners.engine.passes.merging import merge, split
from runners.engine.passes.module_calls import ModuleCall, Operation
from runners.engine.passes.signatures import tensors_in

NEVER_ALIKE = "no two calls of different requests were alike enough"
Alone = tuple[ModuleCall, RecordedCall]
"""A call in the engine's form, and as it was recorded."""


def untested(calls: Sequence[RecordedCall]) -> list[ModuleSharing]:
    """Return the methods that were called, as if none could share passes."""
    return [
        ModuleSharing(component=component, method=method, stage=_stage(component, method, own), together=False)
        for (component, method), own in by_method(calls).items()
    ]


def tested(module: torch.nn.Module, part: ModuleSharing, calls: Sequence[RecordedCall]) -> ModuleSharing:
    """Return the result of merging `calls` of one method. Blocks; raises OutOfMemoryError."""
    reason = ""
    for shared in _possibly_shared(module, part, calls):
        tried = part.model_copy(
            update={
                "together": True,
                "shared": shared,
                "casts": part.method in CODING,
                "memoised": part.stage is CallStage.ENCODE and not _takes_numbers(calls[0]),
            }
        )
        refusal = _refusal(Operation(tried.part, module), calls)
        if refusal is None:
            return tried
        reason = reason or refusal
    return part.model_copy(update={"reason": reason})


def by_method(calls: Sequence[RecordedCall]) -> Mapping[tuple[str, str], list[RecordedCall]]:
    """Return the calls of each method, by component and method name."""
    methods: defaultdict[tuple[str, str], list[RecordedCall]] = defaultdict(list)
    for call in calls:
        methods[call.component, call.method].append(call)
    return methods


def _stage(component: str, method: str, calls: Sequence[RecordedCall]) -> CallStage:
    if method in CODING:
        return CallStage[method.upper()]
    repeated = sum(call.request == calls[0].request for call in calls) > 1
    return CallStage.DENOISE if repeated and "encoder" not in component else CallStage.ENCODE


def _takes_numbers(call: RecordedCall) -> bool:
    """Whether a call has floating-point inputs, and not just token ids."""
    return any(tensor.is_floating_point() for tensor in tensors_in((call.args, call.kwargs)))


def _possibly_shared(
    module: torch.nn.Module, part: ModuleSharing, calls: Sequence[RecordedCall]
) -> Iterator[frozenset[str]]:
    """Yield sets of arguments that may apply to a whole pass: those without an entry per sample, and then also those
    that never change.
    """
    operation = Operation(Part(part.component, part.stage, part.method), module)
    try:
        made = [operation.call(call.args, call.kwargs, {}) for call in calls]
    except TypeError:
        # Without tensors there is nothing to merge.
        return
    whole = {name for call in made for name, value in call.arguments.items() if not _by_sample(value, call.samples)}
    yield frozenset(whole)
    constant = {name for name in made[0].arguments if _is_constant([call.arguments.get(name) for call in made])}
    if not constant <= whole:
        yield frozenset(whole | constant)


def _by_sample(value: Any, samples: int) -> bool:
    if isinstance(value, list) and value and isinstance(value[0], torch.Tensor):
        return len(value) != samples and all(tensor.shape[:1] == (samples,) for tensor in value)
    return all(tensor.shape[:1] == (samples,) for tensor in tensors_in(value))


def _is_constant(values: Sequence[Any]) -> bool:
    tensors = [tensors_in(value) for value in values]
    return bool(tensors[0]) and all(
        len(own) == len(tensors[0]) and all(map(torch.equal, own, tensors[0])) for own in tensors
    )


def _refusal(operation: Operation, calls: Sequence[RecordedCall]) -> str | None:
    """Return why calls cannot be merged, or None if all merged calls gave the same results as alone."""
    try:
        passes = list(_passes(operation, calls))
        failed = (why for batch in passes if (why := _compared(operation, batch)) is not None)
        return next(failed, None) if passes else NEVER_ALIKE
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a module of unknown kind raises
        return f"merged calls fail with {type(error).__name__}"


def _passes(operation: Operation, calls: Sequence[RecordedCall]) -> Iterator[list[Alone]]:
    """Yield calls to merge: of different requests, and of different steps of them."""
    alike: defaultdict[Hashable, defaultdict[int, list[Alone]]] = defaultdict(lambda: defaultdict(list))
    for call in calls:
        made = operation.call(call.args, call.kwargs, {})
        alike[made.signature][call.request].append((made, call))
    for of_requests in alike.values():
        if len(of_requests) > 1:
            # Start at another step for each request.
            turned = [own[at % len(own) :] + own[: at % len(own)] for at, own in enumerate(of_requests.values())]
            yield from ([one for one in step if one is not None] for step in zip_longest(*turned))


def _compared(operation: Operation, batch: Sequence[Alone]) -> str | None:
    if len(batch) == 1:
        return None
    calls = [call for call, _ in batch]
    merged = _answers(operation, calls)
    for (call, recorded), output in zip(batch, merged, strict=True):
        off, explained = difference(recorded.output, output), rounding(recorded.output)
        if off <= explained / 10:
            continue
        with_itself = difference(recorded.output, _answers(operation, [call, call])[0])
        if off > explained or off > NOISE * with_itself + explained / 10:
            return f"merged, a result is off by {off:.1%}, and by {with_itself:.1%} beside itself"
    return None


def _answers(operation: Operation, calls: Sequence[ModuleCall]) -> list[Any]:
    outputs = split(operation.run(**merge(calls)), calls)
    return [call.answered(output) for call, output in zip(calls, outputs, strict=True)]
