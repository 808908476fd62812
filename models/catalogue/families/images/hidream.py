"""HiDream-I1: a sparse transformer, prompted by two CLIPs, T5 and Llama."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

from core.generation.request import GenerationRequest, Task
from models.catalogue.families.base import CallStage, Family, Part, PromptWindow, TextTokens, Unguided
from models.catalogue.families.images.stable_diffusion import VAE
from models.catalogue.families.schedulers import Samplers, SchedulerSpec

VAE_FACTOR = 8
TEXT_TOKENS = 128
ABOVE = 1 + 1e-6
"""Factor for a size that the pipeline rounds down to a multiple, so that float error does not shrink it."""


def _sample_size(_loaded: Any, request: GenerationRequest) -> float:
    """Return the request's own size, since the pipeline scales every request to its `default_sample_size`."""
    return sqrt(request.width * request.height) / VAE_FACTOR * ABOVE


def _sample_tokens(denoiser: Any, arguments: Mapping[str, Any]) -> int:
    """Return the tokens of one image, (B, C, h, w): one that is not square is padded to the most that any may have."""
    height, width = arguments["hidden_states"].shape[-2:]
    padded: int = denoiser.max_seq
    return padded if height != width else height * width // denoiser.config.patch_size**2


HIDREAM = Family(
    name="hidream",
    pipelines={Task.TEXT_TO_IMAGE: "HiDreamImagePipeline"},
    bases=("HiDream-ai/HiDream-I1-Full", "HiDream-ai/HiDream-I1-Dev"),
    parts=(
        Part("text_encoder", CallStage.ENCODE, memoised=True),
        Part("text_encoder_2", CallStage.ENCODE, memoised=True),
        Part("text_encoder_3", CallStage.ENCODE, memoised=True),
        # The pipeline also asks for attentions, but reads only the hidden states.
        Part(
            "text_encoder_4",
            CallStage.ENCODE,
            memoised=True,
            fixed={"output_attentions": False, "use_cache": False, "logits_to_keep": 1},
        ),
        *VAE,
        Part(
            "transformer",
            CallStage.DENOISE,
            stacked=frozenset({"encoder_hidden_states_llama3"}),
            sample_tokens=_sample_tokens,
        ),
    ),
    # Its pipeline passes `mu` to every sampler but UniPC; other multistep samplers refuse it.
    schedulers=Samplers(
        {
            "unipc": SchedulerSpec(
                "UniPCMultistepScheduler",
                {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
                renamed={"shift": "flow_shift"},
            ),
            "flow_euler": SchedulerSpec(
                "FlowMatchEulerDiscreteScheduler", renamed={"flow_shift": "shift"}, labels=("euler",)
            ),
            "lcm": SchedulerSpec("FlowMatchLCMScheduler", renamed={"flow_shift": "shift"}, draws=True),
        }
    ),
    size_multiple_px=2 * VAE_FACTOR,
    own={"default_sample_size": _sample_size},
    # With the one that begins a text.
    prompt_windows=(PromptWindow("tokenizer_4", TEXT_TOKENS - 1),),
    text_tokens=TextTokens(TEXT_TOKENS, 4 * TEXT_TOKENS),
    chooses_attention=False,
    unguided=Unguided.FIRST_HALF,
)
