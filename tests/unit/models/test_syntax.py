"""Requests with weighted prompts: their LoRAs, their limits, and models that read words alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.errors import InvalidRequest
from core.generation.draft import Draft
from core.generation.prompt_syntax import PromptSyntax
from core.generation.request import GenerationRequest, Lora
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.resolving.resolve import resolve
from tests.support.resolving import LIMITS_OF_SERVER
from tests.support.servers.serving import ENTRY_FIELDS

LORAS = {name: {"source": {"path": f"{name}.safetensors"}, "description": name} for name in ("ink", "film")}
SD = Entry.model_validate(
    {**ENTRY_FIELDS, "id": "sd", "family": "stable-diffusion", "source": {"path": "weights"}, "loras": LORAS}
)
FLUX = Entry.model_validate(
    {
        **ENTRY_FIELDS,
        "id": "flux",
        "family": "flux",
        "source": {"path": "weights"},
        "defaults": {**ENTRY_FIELDS["defaults"], "scheduler": "flow_euler"},  # type: ignore[dict-item]
        "limits": {**ENTRY_FIELDS["limits"], "multiple_px": 16},  # type: ignore[dict-item]
        "loras": LORAS,
    }
)


def resolved(prompt: str, entry: Entry = SD, usual: str = "plain", **fields: Any) -> GenerationRequest:
    server = replace(LIMITS_OF_SERVER, prompt_syntax=PromptSyntax(usual))
    return resolve(Draft(prompt=prompt, **fields), Catalogue([entry]), server)


def test_loras_in_a_prompt_are_loras() -> None:
    request = resolved("a (red:1.3) <lora:ink:0.5> apple <lora:film>", prompt_syntax="a1111")
    assert request.prompt == "a (red:1.3) apple"
    assert request.loras == (Lora(name="film"), Lora(name="ink", scale=0.5))
    again = resolved(request.prompt, prompt_syntax=request.prompt_syntax, loras=request.loras)
    assert (again.prompt, again.loras, again.hints) == (request.prompt, request.loras, ())


@pytest.mark.parametrize(
    ("prompt", "field", "message"),
    [
        ("a <lora:pencil:1>", "loras", "'pencil' is unknown; known: film, ink"),
        ("a <lora:ink:1> <lora:ink:2>", "loras", "'ink' is given 2 times"),
        ("a <lora:ink:much>", "prompt", "'much' is not a scale of the LoRA 'ink'"),
        ("a <lora:ink:1:0.5>", "prompt", "is not a scale"),
        ("a <lora:ink:9>", "prompt", "between -4 and 4"),
        ("a <hypernet:x:1>", "prompt", "hypernetworks are not supported"),
        ("a (red:11)", "prompt", "a weight of 11; at most 10"),
        ("(" * 50 + "red" + ")" * 50, "prompt", "at most 10"),
    ],
)
def test_what_a_weighted_prompt_may_not_say(prompt: str, field: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        resolved(prompt, prompt_syntax="a1111")
    assert refused.value.field == field
    assert message in str(refused.value)


def test_the_server_has_a_usual_syntax_and_requests_have_their_own() -> None:
    assert resolved("a (red:1.3) apple", usual="a1111").prompt_syntax is PromptSyntax.A1111
    assert resolved("a (red:1.3) apple", usual="a1111", prompt_syntax="plain").prompt_syntax is PromptSyntax.PLAIN


def test_a_plain_prompt_that_looks_weighted_gets_a_hint() -> None:
    assert resolved("a (red:1.3) apple").hints == ("prompt is read as it is; prompt_syntax=a1111 reads weights",)
    assert resolved("an apple", negative_prompt="red++").hints == (
        "negative_prompt is read as it is; prompt_syntax=compel reads weights",
    )
    assert resolved("an apple (red), at 10:30").hints == ()


def test_a_model_that_weighs_nothing_reads_the_words() -> None:
    request = resolved("a (red:1.3) apple <lora:ink:1>", FLUX, prompt_syntax="a1111")
    assert (request.prompt, request.prompt_syntax) == ("a red apple", PromptSyntax.PLAIN)
    assert request.loras == (Lora(name="ink"),)
    assert request.hints == ("prompt: its weights are left out: flux reads words alone",)
    assert resolved("red++", FLUX, prompt_syntax="compel").hints == (
        "prompt_syntax is ignored: flux reads words alone",
    )
