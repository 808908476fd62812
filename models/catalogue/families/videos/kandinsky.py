"""Kandinsky 5: videos from a prompt."""

from __future__ import annotations

from core.generation.request import Task
from models.catalogue.families.base import CallStage, Family, Part, PromptWindow, TextTokens, Unguided
from models.catalogue.families.samplers import FLOW

VAE_FACTOR = 8
FRAMES_MULTIPLE = 4
TEXT_TOKENS = 512

KANDINSKY_5 = Family(
    name="kandinsky-5",
    pipelines={Task.TEXT_TO_VIDEO: "Kandinsky5T2VPipeline"},
    bases=("kandinskylab/Kandinsky-5.0-T2V-Lite-sft-5s-Diffusers",),
    parts=(
        # Only the hidden states are read, so neither logits nor a cache for generation are needed.
        Part("text_encoder", CallStage.ENCODE, memoised=True, fixed={"logits_to_keep": 1, "use_cache": False}),
        Part("text_encoder_2", CallStage.ENCODE, memoised=True),
        Part("vae", CallStage.DECODE, "decode", casts=True),
        # Prompts are neither padded nor masked: only those of equal lengths share, and the unguided halves with the
        # usual negative prompt.
        Part(
            "transformer",
            CallStage.DENOISE,
            shared=frozenset({"visual_rope_pos", "text_rope_pos", "sparse_params"}),
            # It looks at 2x2 latents at a time.
            pixels_per_token=4,
        ),
    ),
    schedulers=FLOW,
    size_multiple_px=2 * VAE_FACTOR,
    frames_multiple=FRAMES_MULTIPLE,
    components={"tokenizer": "models.weights.pipelines.chat_tokenizer:load_tokenizer"},
    # With the one that ends the text.
    prompt_windows=(PromptWindow(tokens=TEXT_TOKENS - 1),),
    text_tokens=TextTokens(TEXT_TOKENS, 2 * TEXT_TOKENS),
    unguided=Unguided.SECOND_CALL,
)
