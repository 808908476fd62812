"""Encodes prompts for pipelines that take encodings of any length, with the pipeline's own encoders.

Called inside the greenlet of a pipeline: its encoders are stand-ins, so calls are merged with others', and equal ones
made once. Each chunk is a call of its own, so prompts that begin alike share the encoding of equal chunks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.errors import InvalidRequest
from core.generation.prompt_syntax import PromptSyntax
from core.generation.request import GenerationRequest
from models.catalogue.families import Family
from models.catalogue.families.base import ClipEncoder
from runners.engine.text.chunks import Chunk, chunks_of, empty_chunk, token_ids, window_of
from runners.engine.text.compel_syntax import compel_states

_TEXTS = ("prompt", "negative_prompt", "prompt_2", "negative_prompt_2", "clip_skip")

LEAST_MEAN = 1e-3
"""The smallest mean of states, in standard deviations, that is not noise."""


def with_encodings(
    pipeline: Any, family: Family, request: GenerationRequest, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments, with encodings in place of prompts that the pipeline would misread.

    Raises InvalidRequest.
    """
    encoders = [_Encoder(pipeline, spec, request, place) for place, spec in enumerate(family.clip_encoders)]
    # SDXL's refiner has only the second encoder.
    encoders = [each for each in encoders if each.module is not None]
    if not _needs_encodings(encoders, request):
        return dict(arguments)
    guided = request.guidance_scale > family.guided_above
    zeroed = guided and _is_zeroed(pipeline, request)
    positive = [each.encoded(each.prompt) for each in encoders]
    guiding = encoders if guided and not zeroed else []
    negative = [each.encoded(each.negative_prompt, negative=True) for each in guiding]
    length = max(each.states.shape[1] for each in [*positive, *negative])
    given = {name: value for name, value in arguments.items() if name not in _TEXTS}
    encoded = _named(encoders, positive, length, "")
    if negative:
        encoded |= _named(encoders, negative, length, "negative_")
    elif zeroed:
        encoded |= {f"negative_{name}": torch.zeros_like(value) for name, value in encoded.items()}
    return {**given, **encoded}


@dataclass(frozen=True)
class _Encoding:
    states: torch.Tensor
    """(1, length, width)"""
    pooled: torch.Tensor | None
    """(1, width): the encoder's summary of the whole prompt, if it has one."""
    skipped: int = 0
    """The number of layers that were skipped."""


@dataclass(frozen=True)
class _Encoder:
    """One text encoder of a pipeline, for one request."""

    pipeline: Any
    spec: ClipEncoder
    request: GenerationRequest
    place: int
    """Its number among its family's encoders, of which the second may have prompts of its own."""

    @property
    def prompt(self) -> str:
        return (self.request.prompt_2 if self.place else "") or self.request.prompt

    @property
    def negative_prompt(self) -> str:
        return (self.request.negative_prompt_2 if self.place else "") or self.request.negative_prompt

    @property
    def tokenizer(self) -> Any:
        return getattr(self.pipeline, self.spec.tokenizer)

    @property
    def module(self) -> Any:
        return getattr(self.pipeline, self.spec.component)

    def is_too_long(self, text: str) -> bool:
        return len(token_ids(self.pipeline, self.tokenizer, text)) > window_of(self.tokenizer)

    def encoded(self, text: str, *, negative: bool = False) -> _Encoding:
        # diffusers skips no layers for negative prompts.
        skipped = 0 if negative else self.request.clip_skip
        most = self.module.config.num_hidden_layers + 1 - self.spec.layer
        if skipped > most:
            raise InvalidRequest("clip_skip", f"{skipped} is more than {most}, all that this model can do without")
        chunks = chunks_of(self.pipeline, self.tokenizer, text, self.request.prompt_syntax)
        first = self._asked(self._tokens(chunks[0]), skipped)
        if self.request.prompt_syntax is PromptSyntax.COMPEL:
            states = compel_states(
                self.tokenizer, self.module, text, lambda tokens, mask: self._asked(tokens, skipped, mask).states
            )
        else:
            encodings = [first, *(self._asked(self._tokens(chunk), skipped) for chunk in chunks[1:])]
            weighted = [_weighted(each.states, chunk) for each, chunk in zip(encodings, chunks, strict=True)]
            states = torch.cat(weighted, dim=1)
        return _Encoding(states, first.pooled, skipped)

    def lengthened(self, encoding: _Encoding, length: int) -> torch.Tensor:
        """Return states, padded to `length` with those of empty chunks."""
        states = encoding.states
        if states.shape[1] == length:
            return states
        empty = self._asked(self._tokens(empty_chunk(self.tokenizer)), encoding.skipped).states
        return torch.cat([states, *[empty] * ((length - states.shape[1]) // empty.shape[1])], dim=1)

    def _asked(self, tokens: torch.Tensor, skipped: int, mask: torch.Tensor | None = None) -> _Encoding:
        """Call the encoder exactly as the pipeline itself does, so that equal texts are equal calls."""
        if self.spec.normed and not skipped:
            return _Encoding(self.module(tokens, attention_mask=mask)[0], None)
        output = self.module(tokens, attention_mask=mask, output_hidden_states=True)
        states = output.hidden_states[-(skipped + self.spec.layer)]
        if self.spec.normed:
            # The norm is called by itself, and may be wherever offloading has put the encoder.
            norm = self.module.final_layer_norm
            states = norm(states.to(norm.weight.device)).to(states.device)
        return _Encoding(states, output[0] if output[0].ndim == 2 else None)

    def _tokens(self, chunk: Chunk) -> torch.Tensor:
        return torch.tensor([chunk.tokens], device=self.module.device)


def _needs_encodings(encoders: Sequence[_Encoder], request: GenerationRequest) -> bool:
    if not encoders:
        return False
    if request.prompt_syntax is not PromptSyntax.PLAIN or request.clip_skip:
        return True
    return any(each.is_too_long(each.prompt) or each.is_too_long(each.negative_prompt) for each in encoders)


def _is_zeroed(pipeline: Any, request: GenerationRequest) -> bool:
    """Whether an absent negative prompt is encoded as zeros, as SDXL does."""
    given = request.negative_prompt or request.negative_prompt_2
    return not given and bool(pipeline.config.get("force_zeros_for_empty_prompt", False))


def _named(encoders: Sequence[_Encoder], made: Sequence[_Encoding], length: int, prefix: str) -> dict[str, Any]:
    """Return the pipeline's arguments: states of all encoders side by side, and the last one's pooled output."""
    states = [encoder.lengthened(each, length) for encoder, each in zip(encoders, made, strict=True)]
    named = {f"{prefix}prompt_embeds": torch.cat(states, dim=-1)}
    pooled = made[-1].pooled
    return named if pooled is None else {**named, f"{prefix}pooled_prompt_embeds": pooled}


def _weighted(states: torch.Tensor, chunk: Chunk) -> torch.Tensor:
    """Multiply states (1, length, width) by the tokens' weights, and restore their mean, as A1111's web UI does.

    A mean close to zero is not restored: the quotient would be noise.
    """
    if not chunk.is_weighted:
        return states
    weights = torch.tensor(chunk.weights, dtype=states.dtype, device=states.device)[None, :, None]
    weighted = states * weights
    means = torch.stack([states.mean(), weighted.mean()])
    # Decided on the device, to avoid waiting for it.
    kept = (means.abs() > LEAST_MEAN * states.std()).all()
    return torch.where(kept, weighted * (means[0] / means[1]), weighted)
