"""Tests a whole model: small requests must give the same images alone, interleaved, and merged."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from core.errors import JubakoError
from core.generation.request import GenerationRequest
from models.catalogue.entry import Entry
from models.catalogue.families import TEXT_ENCODERS
from models.catalogue.file_changes import stamps
from models.catalogue.sharing import Sharing, keep_sharing, read_sharing
from models.weights.compiling.denoisers import not_yet_compiled
from models.weights.devices import current_device
from models.weights.loading import LoadedModel
from processes.threads import in_thread
from runners.certifying.modules import by_method, tested, untested
from runners.certifying.probes import PixelArray, at_once, one_by_one, probes, with_parts
from runners.certifying.recording import RecordedCall, recording
from runners.trial_requests import first_image_failed

log = logging.getLogger("jubako.loading")

SAME = 2.0
"""The most that an image's values, 0 to 255, may be off on average to count as the same image."""
MERGED = 8.0
"""The same where passes were merged: rounding adds up from step to step."""
SAID_OF_MODULES = {"source", "pipeline", "variant", "memory", "loras", "embeddings", "vae", *TEXT_ENCODERS}
"""The fields of an entry that affect what its modules compute."""
PACKAGES = ("jubako", "diffusers", "torch", "transformers")


async def certified(entry: Entry, model: LoadedModel, file: Path | None) -> LoadedModel:
    """Return a model of an undeclared family with the parts that requests may share, from `file` or by a test.

    Raises LoadFailed if the model cannot generate at all.
    """
    tested_with = _tested_with(entry, model)
    found = read_sharing(file, tested_with) if file else None
    if found is None:
        # The test's small passes would each take minutes to compile, for sizes that are not needed later.
        with not_yet_compiled(model.components.values()):
            found = await _found(entry, model, tested_with)
        if file is not None:
            _keep(entry, file, found)
        for name, what in found.summary.items():
            log.info("%s: %s: %s", entry.id, name, what)
    return replace(with_parts(model, found.parts), sharing=found.summary)


def _tested_with(entry: Entry, model: LoadedModel) -> dict[str, str]:
    packages = {name: version(name) for name in PACKAGES}
    read_from = Path(next(iter(model.pipelines.values())).name_or_path)
    files = hashlib.sha256(json.dumps(list(stamps(read_from))).encode()).hexdigest()
    entered = entry.model_dump_json(include=SAID_OF_MODULES)
    return {**packages, "device": model.device.type, "dtype": model.dtype, "entry": entered, "files": files}


def _keep(entry: Entry, file: Path, found: Sharing) -> None:
    try:
        keep_sharing(file, found)
    except OSError as error:
        why = f"{file}: {error.strerror}"
        log.warning("%s: what may share passes is tested at each start, since it cannot be kept in %s", entry.id, why)


async def _found(entry: Entry, model: LoadedModel, tested_with: dict[str, str]) -> Sharing:
    try:
        requests = probes(entry)
        alone, calls = await _alone(model, requests)
    except JubakoError:
        # Some pipelines need more steps.
        requests = probes(entry, entry.defaults.num_inference_steps)
        alone, calls = await _alone(model, requests)
    apart = Sharing(tested_with=tested_with, alternates=True, modules=tuple(untested(calls)))
    if (why := await _differs(model, apart, requests, alone, SAME)) is not None:
        return Sharing(tested_with=tested_with, alternates=False, reason=f"in turns, {why}")
    shared = apart.model_copy(update={"modules": await in_thread(lambda: _tested(model, apart, calls))})
    if (why := await _differs(model, shared, requests, alone, MERGED)) is not None:
        modules = (each.model_copy(update={"reason": f"together, {why}"}) for each in apart.modules)
        return apart.model_copy(update={"modules": tuple(modules)})
    return shared


async def _alone(
    model: LoadedModel, requests: Sequence[GenerationRequest]
) -> tuple[list[PixelArray], list[RecordedCall]]:
    images: list[PixelArray] = []
    with recording(model.components) as record:
        for request in requests:
            record.begin()
            try:
                images += await one_by_one(model, [request])
            except JubakoError as error:
                raise first_image_failed(model.id, error.message) from error
    return images, record.calls


async def _differs(
    model: LoadedModel,
    sharing: Sharing,
    requests: Sequence[GenerationRequest],
    alone: Sequence[PixelArray],
    most: float,
) -> str | None:
    """Return how images generated together differ from those generated alone, or None."""
    try:
        images = await at_once(model, sharing.parts, requests)
    except JubakoError as error:
        return f"requests fail: {error.message}"
    pairs = zip(images, alone, strict=True)
    off = max(float(np.abs(one.astype(float) - other).mean()) for one, other in pairs)
    return None if off <= most else f"an image is off by {off:.0f} of 255"


def _tested(model: LoadedModel, apart: Sharing, calls: Sequence[RecordedCall]) -> tuple[object, ...]:
    components, of_methods = model.components, by_method(calls)
    with torch.no_grad(), current_device(model.device):
        return tuple(
            tested(components[part.component], part, of_methods[part.component, part.method]) for part in apart.modules
        )
