"""The parameters of an image as A1111's web UI writes them: a prompt, and `Name: value` pairs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from core.generation.step_cache import StepCache
from core.version import VERSION

SAMPLERS: Mapping[str, str] = {
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "deis": "DEIS",
    "dpm2": "DPM2",
    "dpm2_a": "DPM2 a",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2s": "DPM++ 2S",
    "dpmpp_3m_sde": "DPM++ 3M SDE",
    "dpmpp_sde": "DPM++ SDE",
    "euler": "Euler",
    "euler_a": "Euler a",
    "euler_trailing": "Euler trailing",
    "flow_euler": "Euler",
    "heun": "Heun",
    "lcm": "LCM",
    "lms": "LMS",
    "pndm": "PLMS",
    "sa_solver": "SA Solver",
    "tcd": "TCD",
    "unipc": "UniPC",
}
"""The web UI's names of our samplers; those that it lacks get names in its style."""
SCHEDULES: Mapping[str, str] = {
    "karras": "Karras",
    "exponential": "Exponential",
    "beta": "Beta",
    "sgm_uniform": "SGM Uniform",
}
"""The web UI's names of our sigma schedules."""
AUTOMATIC = "Automatic"
"""The web UI's name for the sampler's or model's own schedule."""
_NEGATIVE = "Negative prompt:"
_FEWEST_PAIRS = 3
"""As in the web UI, a last line with fewer pairs than this is part of the prompt."""
# Lengths are bounded, so that no text takes long to match.
_PAIR = re.compile(r'(\w[\w /-]{0,60}):[ ]{0,3}("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")


def sampler_names(sampler: str) -> tuple[str, str]:
    """Return the web UI's names for a sampler's id: of the sampler, and of its schedule."""
    for schedule, label in SCHEDULES.items():
        base = sampler.removesuffix(f"_{schedule}")
        if base != sampler:
            return SAMPLERS.get(base, base), label
    return SAMPLERS.get(sampler, sampler), AUTOMATIC


def infotext(parameters: Mapping[str, Any]) -> str:
    """Return the text for parameters under our own names, as in an image's metadata."""
    negative = parameters.get("negative_prompt")
    pairs = (f"{name}: {_quoted(value)}" for name, value in _pairs(parameters))
    lines = [_tagged_prompt(parameters), f"{_NEGATIVE} {negative}" if negative else "", ", ".join(pairs)]
    return "\n".join(filter(None, lines))


def parsed_infotext(text: str) -> dict[str, str]:
    """Return a text's pairs by name, its prompts as `Prompt` and `Negative prompt`, and each size as two numbers."""
    *lines, last = text.strip().split("\n")
    pairs = _PAIR.findall(last)
    if len(pairs) < _FEWEST_PAIRS:
        lines, pairs = [*lines, last], []
    positive, _, negative = "\n".join(lines).partition(_NEGATIVE)
    parsed = {"Prompt": positive.strip(), "Negative prompt": negative.strip()}
    for name, value in pairs:
        if size := _SIZE.fullmatch(value):
            parsed |= {f"{name}-1": size[1], f"{name}-2": size[2]}
        else:
            parsed[name] = _unquoted(value)
    return parsed


def _pairs(parameters: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from _given(parameters, {"Steps": "num_inference_steps"})
    if "scheduler" in parameters:
        sampler, schedule = sampler_names(parameters["scheduler"])
        yield "Sampler", sampler
        yield "Schedule type", schedule
    yield from _given(parameters, {"CFG scale": "guidance_scale", "Seed": "seed"})
    yield "Size", f"{parameters['width']}x{parameters['height']}"
    yield from _given(parameters, {"Model": "model", "Denoising strength": "strength"})
    if "hires" in parameters:
        yield from _of_second_pass(parameters["hires"])
    yield from _given(parameters, {"Postprocess upscale by": "upscale"})
    if "clip_skip" in parameters:
        # Counted from 1.
        yield "Clip skip", parameters["clip_skip"] + 1
    yield from _given(parameters, {"Eta": "eta", "Guidance end": "guidance_end"})
    if parameters.get("step_cache", StepCache.OFF) != StepCache.OFF:
        yield "Step cache", parameters["step_cache"]
    yield "Version", f"Jubako {VERSION}"


def _of_second_pass(hires: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the pairs of a second pass; its steps are those that are computed."""
    yield from _given(hires, {"Denoising strength": "strength"})
    yield "Hires resize", f"{hires['width']}x{hires['height']}"
    yield "Hires steps", int(hires["num_inference_steps"] * hires["strength"])
    yield "Hires upscaler", "Model" if hires.get("upscaler") == "model" else "Lanczos"


def _given(parameters: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for label, name in names.items():
        if name in parameters:
            value = parameters[name]
            yield label, f"{value:g}" if isinstance(value, float) else value


def _tagged_prompt(parameters: Mapping[str, Any]) -> str:
    """Return the prompt with its LoRAs as tags, as the web UI writes them."""
    tags = (f"<lora:{lora['name']}:{lora['scale']:g}>" for lora in parameters.get("loras", ()))
    return " ".join([parameters["prompt"], *tags])


def _quoted(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r"[,:\n]", text) else text


def _unquoted(value: str) -> str:
    try:
        return str(json.loads(value)) if value.startswith('"') else value
    except ValueError:
        return value
