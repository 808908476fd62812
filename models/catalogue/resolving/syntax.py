"""Prompt syntax: LoRA tags are taken out of prompts, and so are weights that a model cannot apply."""

from __future__ import annotations

from pydantic import ValidationError

from core.errors import InvalidRequest
from core.generation.draft import Draft
from core.generation.hints import ignored_hint
from core.generation.prompt_syntax import (
    MOST_WEIGHT,
    LoraTag,
    PromptSyntax,
    plain_text,
    prompt_parts,
    suspected_syntax,
    without_lora_tags,
)
from core.generation.request import Lora, Method
from core.generation.tuning import PROMPTS
from models.catalogue.entry import Entry

MOST_PARTS = 64
"""The most parts of a prompt, each of which takes at least one window of an encoder."""
NEGATIVES = ("negative_prompt", "negative_prompt_2")


def with_syntax(draft: Draft, entry: Entry, usual: PromptSyntax) -> tuple[Draft, tuple[str, ...]]:
    """Return a draft with its syntax decided and its tags' LoRAs added, and hints. Raises InvalidRequest."""
    syntax = draft.prompt_syntax or usual
    tagged: tuple[str, ...] = ()
    if syntax is PromptSyntax.A1111:
        tagged = tuple(f"{field} names LoRAs; only those in prompt are applied" for field in _tagged(draft))
        draft = _with_loras(draft)
        _check_weights(draft)
    if entry.family_spec.clip_encoders and draft.method is Method.DIFFUSION:
        return draft.model_copy(update={"prompt_syntax": syntax}), (*tagged, *_suspicions(draft, syntax))
    words = {field: plain_text(getattr(draft, field), syntax) for field in PROMPTS}
    changed = [field for field in PROMPTS if words[field] != getattr(draft, field)]
    hints = [f"{field}: its weights are left out: {entry.id} reads words alone" for field in changed]
    if draft.prompt_syntax is PromptSyntax.COMPEL:
        hints.append(ignored_hint("prompt_syntax", f"{entry.id} reads words alone"))
    return draft.model_copy(update={**words, "prompt_syntax": PromptSyntax.PLAIN}), (*tagged, *hints)


def _tagged(draft: Draft) -> list[str]:
    others = (field for field in PROMPTS if field != "prompt")
    return [field for field in others if "<lora:" in getattr(draft, field).lower()]


def _with_loras(draft: Draft) -> Draft:
    try:
        prompt, tags = without_lora_tags(draft.prompt)
    except ValueError as error:
        raise InvalidRequest("prompt", str(error)) from error
    if tags and not prompt:
        raise InvalidRequest("prompt", "has nothing but LoRAs; write what to generate too")
    return draft.model_copy(update={"prompt": prompt, "loras": (*draft.loras, *map(_lora, tags))})


def _lora(tag: LoraTag) -> Lora:
    try:
        return Lora(name=tag.name, scale=float(tag.scale))
    except (ValueError, ValidationError) as error:
        wrong = f"{tag.scale[:20]!r} is not a scale of the LoRA {tag.name[:40]!r}; write one number between -4 and 4"
        raise InvalidRequest("prompt", wrong) from error


def _check_weights(draft: Draft) -> None:
    for field in PROMPTS:
        parts = prompt_parts(getattr(draft, field))
        if len(parts) > MOST_PARTS:
            raise InvalidRequest(field, f"has {len(parts)} parts between BREAKs; at most {MOST_PARTS} are allowed")
        for weight in (fragment.weight for part in parts for fragment in part):
            if abs(weight) > MOST_WEIGHT:
                raise InvalidRequest(field, f"has a weight of {weight:g}; at most {MOST_WEIGHT:g} is allowed")
            # A negative weight in a negative prompt would be a way to ask for blocked content.
            if weight < 0 and field in NEGATIVES:
                raise InvalidRequest(field, f"has a weight of {weight:g}; at least 0 is allowed here")


def _suspicions(draft: Draft, syntax: PromptSyntax) -> tuple[str, ...]:
    """Return hints about plain prompts that look like another syntax."""
    if syntax is not PromptSyntax.PLAIN:
        return ()
    found = {field: suspected_syntax(getattr(draft, field)) for field in PROMPTS}
    return tuple(
        f"{field} is read as it is; prompt_syntax={suspected} reads weights"
        for field, suspected in found.items()
        if suspected
    )
