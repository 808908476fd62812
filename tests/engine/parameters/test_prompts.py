"""Long and weighted prompts: encoded as a straightforward computation does, and drawn like others."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.errors import InvalidRequest
from core.generation.prompt_syntax import PromptSyntax
from core.generation.request import GenerationRequest, Task
from models.catalogue.families.base import MAX_ENCODED_TOKENS
from models.weights.loading import LoadedModel
from models.weights.prompts import PromptLimits
from runners.engine.engine import Engine
from runners.engine.pipeline_run import pipeline_arguments
from runners.engine.text.chunks import chunks_of
from runners.engine.text.compel_syntax import MAX_CHARS, parse_ahead
from runners.engine.text.encoding import with_encodings
from tests.support.engine.drawing import draw_plain, draw_together, largest_difference, pictures, request
from tests.support.engine.engines import running

LONG = "a red apple on a table, " * 12 + "a boat"
WEIGHTED = f"a (red:1.5) apple [on] a table, {LONG}"
A1111, COMPEL = PromptSyntax.A1111, PromptSyntax.COMPEL


def arguments_of(model: LoadedModel, wanted: GenerationRequest) -> dict[str, Any]:
    pipeline = model.pipelines[wanted.task]
    with torch.no_grad():
        return with_encodings(pipeline, model.family, wanted, pipeline_arguments(model.family, wanted, 0))


def windows(tokenizer: Any, words: list[tuple[str, float]]) -> list[tuple[list[int], list[float]]]:
    """Return the tokens and weights of every window, by hand."""
    tokens, weights = [], []
    for word, weight in words:
        ids = tokenizer(word, add_special_tokens=False).input_ids
        tokens += ids
        weights += [weight] * len(ids)
    room = tokenizer.model_max_length - 2
    found = []
    for first in range(0, len(tokens), room):
        part, own = tokens[first : first + room], weights[first : first + room]
        rest = room - len(part)
        ids = [tokenizer.bos_token_id, *part, tokenizer.eos_token_id, *[tokenizer.pad_token_id] * rest]
        found.append((ids, [1.0, *own, 1.0, *[1.0] * rest]))
    return found


@torch.no_grad()
def test_a_long_weighted_prompt_is_encoded_window_by_window(tiny_model: LoadedModel) -> None:
    pipeline: Any = tiny_model.pipelines[Task.TEXT_TO_IMAGE]
    words = [("a ", 1.0), ("red", 1.5), (" apple ", 1.0), ("on", 1 / 1.1), (f" a table, {LONG}", 1.0)]
    expected = []
    for ids, weights in windows(pipeline.tokenizer, words):
        # This encoder's norm leaves no mean that could be kept.
        states = pipeline.text_encoder(torch.tensor([ids])).last_hidden_state
        expected.append(states * torch.tensor(weights)[None, :, None])
    made = arguments_of(tiny_model, request(prompt=WEIGHTED, prompt_syntax=A1111, negative_prompt="blurry"))
    assert len(expected) > 2
    torch.testing.assert_close(made["prompt_embeds"], torch.cat(expected, dim=1))
    empty, blurry = (windows(pipeline.tokenizer, [(text, 1.0)]) for text in ("", "blurry"))
    # An empty text has no window of its own here: its window is the ends and the filling.
    filling = [pipeline.tokenizer.pad_token_id] * (pipeline.tokenizer.model_max_length - 2)
    empty = [([pipeline.tokenizer.bos_token_id, pipeline.tokenizer.eos_token_id, *filling], [])]
    negative = [*blurry, *empty * (len(expected) - 1)]
    by_hand = [pipeline.text_encoder(torch.tensor([ids])).last_hidden_state for ids, _ in negative]
    torch.testing.assert_close(made["negative_prompt_embeds"], torch.cat(by_hand, dim=1))
    assert not {"prompt", "negative_prompt"} & made.keys()


@torch.no_grad()
def test_both_encoders_of_sdxl_read_all_of_a_prompt(tiny_xl_model: LoadedModel) -> None:
    pipeline: Any = tiny_xl_model.pipelines[Task.TEXT_TO_IMAGE]
    made = arguments_of(tiny_xl_model, request(prompt=LONG, prompt_2="a pear", scheduler="euler"))
    first = [
        pipeline.text_encoder(torch.tensor([ids]), output_hidden_states=True).hidden_states[-2]
        for ids, _ in windows(pipeline.tokenizer, [(LONG, 1.0)])
    ]
    second = pipeline.text_encoder_2(
        torch.tensor([windows(pipeline.tokenizer_2, [("a pear", 1.0)])[0][0]]), output_hidden_states=True
    )
    width, window = first[0].shape[-1], first[0].shape[1]
    torch.testing.assert_close(made["prompt_embeds"][..., :width], torch.cat(first, dim=1))
    torch.testing.assert_close(made["prompt_embeds"][:, :window, width:], second.hidden_states[-2])
    torch.testing.assert_close(made["pooled_prompt_embeds"], second.text_embeds)
    # As the pipeline itself does without a negative prompt.
    assert not made["negative_prompt_embeds"].any()
    assert made["negative_prompt_embeds"].shape == made["prompt_embeds"].shape


@torch.no_grad()
def test_weights_leave_the_mean_of_a_window(tiny_xl_model: LoadedModel) -> None:
    pipeline: Any = tiny_xl_model.pipelines[Task.TEXT_TO_IMAGE]
    made = arguments_of(tiny_xl_model, request(prompt="a (red:1.5) apple", prompt_syntax=A1111, scheduler="euler"))
    ((ids, weights),) = windows(pipeline.tokenizer, [("a ", 1.0), ("red", 1.5), (" apple", 1.0)])
    states = pipeline.text_encoder(torch.tensor([ids]), output_hidden_states=True).hidden_states[-2]
    weighted = states * torch.tensor(weights)[None, :, None]
    expected = weighted * states.mean() / weighted.mean()
    torch.testing.assert_close(made["prompt_embeds"][..., : states.shape[-1]], expected)


@torch.no_grad()
def test_one_window_is_encoded_as_the_pipeline_does(tiny_model: LoadedModel, tiny_xl_model: LoadedModel) -> None:
    for model in (tiny_model, tiny_xl_model):
        pipeline: Any = model.pipelines[Task.TEXT_TO_IMAGE]
        text = "a red apple"
        own = pipeline.encode_prompt(
            prompt=text,
            device="cpu",
            num_images_per_prompt=1,
            do_classifier_free_guidance=True,
            negative_prompt="blurry",
        )
        made = arguments_of(model, request(prompt=text, negative_prompt="blurry", prompt_syntax=A1111))
        assert torch.equal(made["prompt_embeds"], own[0])
        assert torch.equal(made["negative_prompt_embeds"], own[1])
        plain = arguments_of(model, request(prompt=text))
        assert plain["prompt"] == text
        assert "prompt_embeds" not in plain


@torch.no_grad()
def test_layers_are_skipped_as_diffusers_says(tiny_model: LoadedModel) -> None:
    pipeline: Any = tiny_model.pipelines[Task.TEXT_TO_IMAGE]
    made = arguments_of(tiny_model, request(clip_skip=1))
    ids = torch.tensor([windows(pipeline.tokenizer, [("a red apple", 1.0)])[0][0]])
    states = pipeline.text_encoder(ids, output_hidden_states=True).hidden_states[-2]
    torch.testing.assert_close(made["prompt_embeds"], pipeline.text_encoder.final_layer_norm(states))
    with pytest.raises(InvalidRequest, match="clip_skip: 11 is more than"):
        arguments_of(tiny_model, request(clip_skip=11))


@torch.no_grad()
def test_compels_syntax_is_that_of_the_library(tiny_model: LoadedModel) -> None:
    from compel import CompelForSD

    pipeline: Any = tiny_model.pipelines[Task.TEXT_TO_IMAGE]
    for prompt in (
        "a red++ apple",
        "a (red apple)0.5 and a boat",
        f"{LONG} (boat)1.4",
        '("a cat", "a dog").blend(1, 0.5)',
    ):
        wanted = request(prompt=prompt, prompt_syntax=COMPEL)
        parse_ahead(wanted)
        expected = CompelForSD(pipeline)(prompt, negative_prompt="").embeds
        torch.testing.assert_close(arguments_of(tiny_model, wanted)["prompt_embeds"], expected)


@pytest.mark.parametrize("prompt", ["a" * (MAX_CHARS + 1), "(" * 500])
def test_what_compel_cannot_read_is_refused(prompt: str) -> None:
    with pytest.raises(InvalidRequest, match="compel"):
        parse_ahead(request(prompt=prompt, prompt_syntax=COMPEL))


CROWD = [
    request(),
    request(prompt="a (red:1.4) apple", prompt_syntax=A1111),
    request(prompt="a red+++ apple", prompt_syntax=COMPEL),
    request(prompt=LONG, negative_prompt="blurry"),
    request(prompt=WEIGHTED, prompt_syntax=A1111),
    request(Task.INPAINT, prompt="a red apple BREAK a boat", prompt_syntax=A1111),
    request(Task.IMAGE_TO_IMAGE, prompt="a red apple", negative_prompt=LONG, clip_skip=1),
    request(prompt=LONG, guidance_scale=1.0),
]


async def test_a_mixed_crowd_is_drawn_as_the_plain_pipeline_draws_its_encodings(
    engine: Engine, tiny_model: LoadedModel
) -> None:
    drawn = await draw_together(engine, CROWD)
    first = pictures(drawn[0])[0].image
    for number, (wanted, events) in enumerate(zip(CROWD, drawn, strict=True)):
        image = pictures(events)[0].image
        assert largest_difference(image, draw_plain(tiny_model, wanted)) <= 1, number
        assert number == 0 or largest_difference(image, first) > 1, number


async def test_plain_and_weighted_prompts_share_passes_and_encodings(tiny_model: LoadedModel) -> None:
    with running(tiny_model) as (engine, recorder):
        await draw_together(engine, CROWD[:3])
        assert max(recorder.batch_sizes("unet")) == 3
        encoded = len(recorder.batch_sizes("text_encoder"))
        await draw_together(engine, CROWD[:3])
        assert len(recorder.batch_sizes("text_encoder")) == encoded


async def test_sdxl_draws_long_and_weighted_prompts_beside_plain_ones(
    xl_engine: Engine, tiny_xl_model: LoadedModel
) -> None:
    others: list[dict[str, Any]] = [
        {},
        {"prompt": LONG, "negative_prompt": "blurry"},
        {"prompt": WEIGHTED, "prompt_syntax": A1111, "prompt_2": "a boat"},
        {"prompt": "a red++ apple", "prompt_syntax": COMPEL, "clip_skip": 1},
    ]
    crowd = [request(scheduler="euler", num_inference_steps=2, **fields) for fields in others]
    for wanted, events in zip(crowd, await draw_together(xl_engine, crowd), strict=True):
        assert largest_difference(pictures(events)[0].image, draw_plain(tiny_xl_model, wanted)) <= 1, wanted


@pytest.mark.parametrize("prompt", ["apple " * 20_000, "BREAK " * 20_000])
def test_the_denoiser_never_sees_more_tokens_than_it_has_memory_for(tiny_model: LoadedModel, prompt: str) -> None:
    pipeline: Any = tiny_model.pipelines[Task.TEXT_TO_IMAGE]
    chunks = chunks_of(pipeline, pipeline.tokenizer, prompt, A1111)
    assert len(chunks) * len(chunks[0].tokens) == MAX_ENCODED_TOKENS // 24 * 24
    hint = PromptLimits(tiny_model).read(request(prompt=prompt)).hint
    assert f"the model reads {MAX_ENCODED_TOKENS // 24 * 22} tokens" in str(hint)
