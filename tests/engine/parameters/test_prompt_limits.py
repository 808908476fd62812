"""What a model ignores of a long prompt, said for each family as its own pipeline would cut it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from core.generation.events import Started
from core.generation.prompt_syntax import PromptSyntax
from models.catalogue.entry import Entry
from models.catalogue.families import FAMILIES
from models.weights.loading import LoadedModel
from models.weights.prompts import PromptLimits
from tests.support.engine.drawing import request
from tests.support.engine.hosts import drawn, hosting
from tests.support.engine.parity import load_tiny
from tests.support.servers.serving import ENTRY_FIELDS
from tests.tiny import TINY
from tests.tiny.images.flux import tiny_flux

LONG = " ".join(["apple"] * 700) + " pear"


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LoadedModel]:
    """Return the tiny model of a family, which no test changes."""
    return cache(lambda family: load_tiny(family, tmp_path_factory.mktemp(family)))


@pytest.mark.parametrize("family", TINY)
def test_every_family_says_what_it_ignores(family: str, model_of: Callable[[str], LoadedModel]) -> None:
    limits = PromptLimits(model_of(family))
    wanted = request(prompt=LONG)
    if not FAMILIES[family].prompt_windows or FAMILIES[family].clip_encoders:
        # They read all of it.
        assert limits.read(wanted).hint is None
        return
    assert "prompt is too long: the model reads" in str(limits.read(wanted).hint)
    short = request(prompt="a red apple")
    assert limits.read(short).hint is None


@pytest.mark.parametrize("family", TINY)
def test_every_family_counts_a_prompts_tokens_as_its_own_tokenizer_does(
    family: str, model_of: Callable[[str], LoadedModel]
) -> None:
    model = model_of(family)
    windows = FAMILIES[family].prompt_windows
    seeing = model.components.get("processor")
    own: Any = model.components[windows[-1].tokenizer] if windows or seeing is None else seeing.tokenizer
    for prompt in ("a red apple", "", LONG):
        expected = len(own(prompt, add_special_tokens=False, verbose=False).input_ids)
        assert PromptLimits(model).read(request(prompt=prompt)).tokens == expected


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_the_marks_of_a_syntax_are_no_text(field: str, cutting_model: LoadedModel) -> None:
    read, limit = PromptLimits(cutting_model), cutting_model.components["tokenizer"].model_max_length - 2
    words = ["a"] * limit
    plain: dict[str, Any] = {field: " ".join(words), "prompt_syntax": PromptSyntax.A1111}
    while read.read(request(**plain)).hint is not None:
        words.pop()
        plain[field] = " ".join(words)
    marked = {**plain, field: f"({plain[field]}:1.3)"}
    assert read.read(request(**marked)).hint is None
    assert "too long" in str(read.read(request(**{**marked, field: f"({plain[field]} a a:1.3)"})).hint)


@pytest.fixture
def cutting_model(tiny_model: LoadedModel) -> LoadedModel:
    """One whose pipeline makes the encodings, and cuts what is too long for them."""
    return replace(tiny_model, family=replace(tiny_model.family, clip_encoders=()))


def test_what_is_cut_is_what_has_no_effect(cutting_model: LoadedModel) -> None:
    tokenizer: Any = cutting_model.components["tokenizer"]
    words = [f"{chr(97 + number)}{chr(98 + number)}" for number in range(20)]
    prompt = " ".join(words)
    read = tokenizer(prompt, truncation=True, max_length=tokenizer.model_max_length).input_ids[1:-1]
    hint = str(PromptLimits(cutting_model).read(request(prompt=prompt)).hint)
    assert hint.startswith(f"prompt is too long: the model reads {len(read)} tokens")
    ignored = hint.partition("ignored: ")[2].partition(" and ")[0]
    assert ignored[0] not in tokenizer.decode(read).split()
    assert ignored in prompt


def test_both_prompts_are_looked_at(cutting_model: LoadedModel) -> None:
    hint = str(PromptLimits(cutting_model).read(request(prompt=LONG, negative_prompt=LONG)).hint)
    assert hint.count("is too long") == 2
    assert "; negative_prompt is too long" in hint


async def test_the_start_of_a_request_says_what_is_ignored(tmp_path: Path) -> None:
    entry = Entry.model_validate(
        {
            **ENTRY_FIELDS,
            "id": "tiny",
            "family": "flux",
            "source": {"path": tiny_flux(tmp_path)},
            "defaults": {**ENTRY_FIELDS["defaults"], "scheduler": "flow_euler"},  # type: ignore[dict-item]
            "limits": {**ENTRY_FIELDS["limits"], "multiple_px": 16},  # type: ignore[dict-item]
        }
    )
    async with hosting(entry) as host:
        for prompt, cut in ((LONG, True), ("a red apple", False)):
            started = next(event for event in await drawn(host, prompt=prompt) if isinstance(event, Started))
            assert (started.hint is not None) is cut
            assert started.prompt_tokens


def test_a_request_may_say_how_much_is_read(model_of: Callable[[str], LoadedModel]) -> None:
    limits = PromptLimits(model_of("flux"))
    for tokens in (64, 256):
        assert f"the model reads {tokens - 1} tokens" in str(
            limits.read(request(prompt=LONG, max_sequence_length=tokens)).hint
        )
