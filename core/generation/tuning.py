"""Parameters that only some pipelines have; those left at their defaults are not passed to the pipeline."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from core.generation.client_fields import ClientFields
from core.generation.prompt_syntax import PromptSyntax
from core.generation.step_cache import StepCache


def _from_text(value: object) -> object:
    """Parse a form's text: numbers separated by commas, with or without JSON's brackets."""
    return value.strip().strip("[]").split(",") if isinstance(value, str) and value.strip() else value


MOST_STEPS = 900
"""Samplers choose among 1000 training timesteps; some divide by zero when asked for nearly all of them."""
Numbers = Annotated[tuple[float, ...], BeforeValidator(_from_text)]


StepCaching = Annotated[
    StepCache | None,
    Field(
        description="Whether denoising steps whose outcome can be predicted are not computed: off, quality (looks the "
        "same), fast (may differ visibly), or auto, which does so only while the server is behind. Default: the "
        "server's."
    ),
]
GuidanceEnd = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="The share of the steps that are guided; the others take half the work, and no negative prompt.",
    ),
]


class Tuning(ClientFields):
    """Further parameters; `GET /models` says which of them a model has."""

    prompt_syntax: PromptSyntax | None = Field(
        default=None,
        description="a1111 reads (word:1.3), [word], BREAK and <lora:name:0.8>, compel what its library does, plain "
        "words alone. Default: the server's.",
    )
    step_cache: StepCaching = None
    prompt_2: str = Field(
        default="", description="For the second text encoder of SDXL, SD 3 and FLUX. Default: prompt."
    )
    negative_prompt_2: str = Field(default="", description="As prompt_2. Default: negative_prompt.")
    clip_skip: int = Field(
        default=0,
        ge=0,
        le=11,
        description="Layers of CLIP to leave out at its end, counted from 0: what A1111 calls clip skip 2 is 1.",
    )
    max_sequence_length: int | None = Field(
        default=None, ge=1, le=4096, description="Tokens of the prompt that the model reads. Default: the model's."
    )
    guidance_rescale: float = Field(
        default=0, ge=0, le=1, description="How much to pull guided images back to the contrast of unguided ones."
    )
    guidance_end: GuidanceEnd = 1
    guidance_scale_2: float | None = Field(
        default=None, ge=0, description="For the model that takes over at low noise (Wan 2.2). Default: guidance_scale."
    )
    audio_guidance_scale: float | None = Field(
        default=None, ge=1, le=100, description="For the sound of a video (LTX-2). Default: the model's."
    )
    stg_scale: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Strength of spatio-temporal guidance: away from what the model generates without some of its "
        "attention; 0 is off and saves a call in each step (LTX-2). Default: the model's.",
    )
    modality_scale: float | None = Field(
        default=None,
        ge=1,
        le=100,
        description="How closely sound and video match each other; 1 is off and saves a call in each step (LTX-2). "
        "Default: the model's.",
    )
    eta: float = Field(default=0, ge=0, le=1, description="How much noise ddim and tcd add at each step.")
    flow_shift: float | None = Field(
        default=None,
        # Near 0, every step is at zero noise, and multistep samplers divide by zero.
        ge=0.1,
        le=100,
        description="More spends more steps at high noise (flow matching). Default: the model's.",
    )
    sigmas: Numbers = Field(
        default=(),
        max_length=MOST_STEPS,
        description="The noise at each step, falling, in place of a schedule; in forms between commas.",
    )
    timesteps: Numbers = Field(
        default=(),
        max_length=MOST_STEPS,
        description="The training time of each step, falling, in place of a schedule; as sigmas.",
    )

    @property
    def tuned(self) -> dict[str, Any]:
        """The fields that were changed from their defaults, except those whose default the server sets."""
        values = {name: getattr(self, name) for name in TUNING}
        return {name: value for name, value in values.items() if value != Tuning.model_fields[name].default}


TUNING = tuple(name for name in Tuning.model_fields if name not in ("prompt_syntax", "step_cache"))
PROMPTS = ("prompt", "negative_prompt", "prompt_2", "negative_prompt_2")
"""All texts of a request that a model reads."""
