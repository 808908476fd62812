"""What clients of similar servers send to OpenAI's routes: other names for our fields, and fields without effect."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import InvalidRequest
from core.generation.client_fields import RANDOM_SEEDS
from core.generation.hints import header_text, ignored_hint

NAMES = {
    "steps": "num_inference_steps",
    "cfg": "guidance_scale",
    "cfg_scale": "guidance_scale",
    "negativePrompt": "negative_prompt",
    "sampler": "scheduler",
    "sampler_name": "scheduler",
    "samplerName": "scheduler",
    "aspectRatio": "aspect_ratio",
}
"""Our parameters by the names that LobeHub, LocalAI and others use."""
IDLE = {
    "generator_device": "noise does not depend on the device",
    "enable_teacache": "step_cache is what this server has",
    "output_quality": "files have no such levels here",
    "annotations": "answers have no events beside the result",
    "boundary_ratio": "a model changes experts where it was trained to",
}
"""Why fields are ignored that clients of SGLang and Dynamo send unasked."""
EXTENSIONS = ("nvext", "video_params")
"""The objects in which clients of NVIDIA Dynamo and vLLM-Omni send parameters that OpenAI's API lacks."""
_NUMBER = re.compile(r"\s*[-+]?\d+(\.\d*)?\s*")


@dataclass(frozen=True)
class Translated:
    """A body's fields by our names, and hints about those that have no effect or a different one."""

    fields: Mapping[str, Any]
    names: Mapping[str, str]
    """The body's names for fields, where they differ."""
    hints: tuple[str, ...] = ()


def translated(fields: Mapping[str, Any], deployment: str | None = None) -> Translated:
    """Translate a body; `deployment` is the model that an address of Azure's names. Raises InvalidRequest."""
    given, hints = _given(_unwrapped(fields)), []
    own = _named(given)
    for name in IDLE.keys() & own.keys():
        del own[name]
        hints.append(ignored_hint(name, IDLE[name]))
    if isinstance(own.get("seed"), str) and not _NUMBER.fullmatch(own["seed"]):
        own["seed"] = _seed_of(own["seed"])
        hints.append(f"seed: {own['seed']} stands for the text")
    if deployment is not None:
        if own.get("model", deployment) != deployment:
            hints.append(ignored_hint("model", f"the address names {header_text(deployment)}"))
        own["model"] = deployment
    names = {NAMES[name]: name for name in NAMES.keys() & given.keys() if NAMES[name] not in given}
    return Translated(own, names, tuple(hints))


def _unwrapped(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a body with the extensions' fields moved to the top level."""
    for extension in EXTENSIONS:
        if fields.get(extension) is not None:
            fields = _joined(fields, extension)
    return fields


def _joined(fields: Mapping[str, Any], extension: str) -> Mapping[str, Any]:
    if not isinstance(fields[extension], Mapping):
        raise InvalidRequest(extension, "must be an object")
    inner = _given(fields[extension])
    others = {name: value for name, value in fields.items() if name != extension}
    for name, value in inner.items():
        if others.get(name) not in (None, value):
            raise InvalidRequest(extension, f"{str(name)[:40]} is given beside it too, with another value")
    return {**others, **inner}


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _named(given: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in given.items() if name not in NAMES}
    for name in NAMES.keys() & given.keys():
        if own.setdefault(NAMES[name], given[name]) != given[name]:
            raise InvalidRequest(name, f"is another name for {NAMES[name]}; give only one of them")
    return own


def _seed_of(text: str) -> int:
    """Return the seed that a text always stands for: Dify sends ids of letters and digits as seeds."""
    return int.from_bytes(hashlib.sha256(text.encode(errors="replace")).digest()[:8]) % RANDOM_SEEDS
