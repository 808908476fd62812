"""Prompts in the syntax of the compel library, which parses them and applies their weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from core.errors import InvalidRequest
from core.generation.prompt_syntax import PromptSyntax
from core.generation.request import GenerationRequest
from core.generation.tuning import PROMPTS

MAX_CHARS = 2000
"""A limit, since the library parses only about a word a millisecond."""


@lru_cache(maxsize=256)
def parsed(text: str) -> Any:
    """Return a prompt as parsed by compel. Blocks; raises ValueError."""
    import pyparsing

    # Without packrat parsing, each level of brackets multiplies the time by five.
    pyparsing.ParserElement.enable_packrat(None)
    from compel import Compel

    if len(text) > MAX_CHARS:
        raise ValueError(f"has {len(text)} characters; with compel's syntax at most {MAX_CHARS}")
    try:
        conjunction = Compel.parse_prompt_string(text)
    except Exception as error:
        raise ValueError("cannot be read in compel's syntax") from error
    if any(getattr(prompt, "wants_cross_attention_control", False) for prompt in conjunction.prompts):
        raise ValueError("asks for .swap(), which is not supported")
    if conjunction.lora_weights:
        raise ValueError("names LoRAs, which belong in `loras`")
    if len(conjunction.prompts) > 1 and conjunction.type != "AND":
        raise ValueError("joins prompts by what is not .and()")
    return conjunction


def parse_ahead(request: GenerationRequest) -> None:
    """Parse the request's prompts, which is slow, before the engine's thread needs them. Raises InvalidRequest."""
    if request.prompt_syntax is not PromptSyntax.COMPEL:
        return
    for field in PROMPTS:
        try:
            parsed(getattr(request, field))
        except ValueError as error:
            raise InvalidRequest(field, str(error)) from error


def compel_states(
    tokenizer: Any, module: Any, text: str, states_of: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
) -> torch.Tensor:
    """Return the weighted states (1, length, width) of a parsed prompt, of which `states_of` encodes windows."""
    conjunction = parsed(text)
    from compel import Compel
    from compel.embeddings_provider import EmbeddingsProvider, SplitLongTextMode

    class Provider(EmbeddingsProvider):  # type: ignore[misc]
        def _encode_token_ids_to_embeddings(self, token_ids: Any, attention_mask: Any = None) -> torch.Tensor:
            return states_of(token_ids, attention_mask)

    compel = Compel(tokenizer, module, truncate_long_prompts=False)
    compel.conditioning_provider = Provider(
        tokenizer, module, truncate=False, split_long_text_mode=SplitLongTextMode.SENTENCES
    )
    states: torch.Tensor = compel.build_conditioning_tensor_for_conjunction(conjunction)[0]
    return states
