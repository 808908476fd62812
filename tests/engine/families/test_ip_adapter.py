"""IP-Adapters: pictures are drawn after a reference, and requests without one never notice.

That each picture equals the plain pipeline's, amid a crowd of all conditions, `test_families.py` shows.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from core.generation.request import Task
from models.catalogue.entry import Entry
from models.weights.loading import LoadedModel
from runners.engine.views.optional_weights import OptionalWeights
from tests.support.engine.drawing import draw_plain, draw_together, largest_difference, photo, pictures, request
from tests.support.engine.engines import running
from tests.support.engine.loras import largest_batch, loaded, wearing
from tests.support.engine.parity import TOLERANCE, load_conditioned
from tests.support.servers.serving import DEFAULTS, ENTRY_FIELDS
from tests.tiny.conditions import EMBEDDING

REFERENCE: dict[str, Any] = {"reference_image": photo(seed=6, size_px=96)}
ADAPTER = {"source": {"path": "adapter.safetensors"}, "image_encoder": {"path": "encoder"}}
ENTRY = {
    **ENTRY_FIELDS,
    "id": "tiny",
    "family": "stable-diffusion",
    "source": {"path": "weights"},
    "ip_adapter": ADAPTER,
}
FLOW = {**DEFAULTS, "scheduler": "flow_euler"}
CONTROL: dict[str, Any] = {"control_image": photo(seed=4), "control_type": "canny"}


async def test_tasks_and_scales_share_passes(conditioned_model: LoadedModel) -> None:
    scales = (0.0, 0.4, 1.0, 1.7)
    wanted = [
        request(task, strength=1.0, **REFERENCE, reference_scale=scale)
        for task in Task
        if task in conditioned_model.pipelines
        for scale in scales
    ]
    with running(conditioned_model) as (engine, recorder):
        await draw_together(engine, wanted)
    assert recorder.batch_sizes("unet") == [len(wanted)] * wanted[0].num_inference_steps


async def test_a_reference_is_looked_at_once(conditioned_model: LoadedModel) -> None:
    with running(conditioned_model) as (engine, recorder):
        await draw_together(engine, [request(**REFERENCE, seed=seed) for seed in range(3)])
    assert recorder.batch_sizes("image_encoder") == [1]


async def test_the_reference_and_its_scale_make_the_picture(conditioned_model: LoadedModel) -> None:
    changes = [
        {},
        REFERENCE,
        {**REFERENCE, "reference_scale": 0.5},
        {"reference_image": photo(seed=7)},
        CONTROL,
        CONTROL | REFERENCE,
    ]
    with running(conditioned_model) as (engine, _):
        drawn = await draw_together(engine, [request(**change) for change in changes])
    assert len({pictures(events)[0].image.tobytes() for events in drawn}) == len(changes)


async def test_a_scale_of_nothing_is_no_reference(conditioned_model: LoadedModel) -> None:
    with running(conditioned_model) as (engine, _):
        (events,) = await draw_together(engine, [request(**REFERENCE, reference_scale=0.0)])
    assert largest_difference(pictures(events)[0].image, draw_plain(conditioned_model, request())) <= TOLERANCE


async def test_requests_without_a_reference_keep_their_unet(conditioned_model: LoadedModel) -> None:
    before = {name: type(processor) for name, processor in conditioned_model.components["unet"].attn_processors.items()}
    plain = draw_plain(conditioned_model, request())
    with running(conditioned_model) as (engine, recorder):
        _, events = await draw_together(engine, [request(**REFERENCE), request()])
    assert max(recorder.batch_sizes("unet")) == 1, "with and without a reference are different networks"
    assert largest_difference(pictures(events)[0].image, plain) <= TOLERANCE
    assert {name: type(p) for name, p in conditioned_model.components["unet"].attn_processors.items()} == before
    assert conditioned_model.components["unet"].encoder_hid_proj is None


def test_the_adapted_unet_is_made_of_the_same_weights(conditioned_model: LoadedModel) -> None:
    unet, adapted = conditioned_model.components["unet"], OptionalWeights(conditioned_model).ip_adapter()["unet"]
    weights = dict(chain(adapted.named_parameters(), adapted.named_buffers()))
    assert all(weights.pop(name) is weight for name, weight in chain(unet.named_parameters(), unet.named_buffers()))
    assert all("_ip." in name or name.startswith("encoder_hid_proj.") for name in weights), (
        "what is left is the adapter's"
    )


@pytest.mark.parametrize("family", ["stable-diffusion", "stable-diffusion-xl"])
async def test_loras_act_on_the_adapted_unet_too(family: str, tmp_path: Path) -> None:
    model, plain = loaded(family, tmp_path, conditioned=True)
    sets: list[dict[str, float]] = [{}, {"a": 1.0}, {"a": 0.5, "b": -0.7}]
    conditions = (REFERENCE, CONTROL, CONTROL | REFERENCE)
    wanted = [wearing(request(**condition), **scales) for condition in conditions for scales in sets]
    assert await largest_batch(model, plain, wanted) == len(sets), "those under one kind of condition share"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory": {"offload": "model"}}, r"ip_adapter: cannot share weights with memory\.offload"),
        (
            {"family": "flux", "defaults": FLOW, "parallel": {"ulysses": 2}},
            "ip_adapter: cannot be combined with parallel",
        ),
        (
            {"ip_adapter": {**ADAPTER, "source": {"path": "adapter.bin"}}},
            r"ip_adapter\.source: adapter\.bin is not the saf",
        ),
    ],
)
def test_an_adapter_that_cannot_be_used_is_a_mistake_of_the_catalogue(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Entry.model_validate({**ENTRY, **change})


async def test_fluxs_own_transformer_stays_as_it_is(tmp_path: Path) -> None:
    model = load_conditioned("flux", tmp_path)
    conditions: list[dict[str, Any]] = [{}, REFERENCE]
    wanted = [request(scheduler="flow_euler", seed=seed, **each) for seed in (0, 1) for each in conditions]
    with running(model) as (engine, recorder):
        drawn = await draw_together(engine, wanted)
    assert set(recorder.batch_sizes("transformer")) == {2}, "with a reference and without, each shares with its like"
    assert recorder.batch_sizes("image_encoder") == [1, 1], "the reference, and nothing, which is guided away from"
    assert len({pictures(events)[0].image.tobytes() for events in drawn}) == len(drawn)
    for each, events in zip(wanted, drawn, strict=True):
        assert largest_difference(pictures(events)[0].image, draw_plain(model, each)) <= TOLERANCE
    assert not hasattr(model.components["transformer"], "encoder_hid_proj")


@torch.no_grad()
def test_fluxs_transformer_leaves_the_reference_where_it_is(tmp_path: Path) -> None:
    transformer = OptionalWeights(load_conditioned("flux", tmp_path)).ip_adapter()["transformer"]
    reference = {"ip_adapter_image_embeds": [torch.ones(1, 1, EMBEDDING)]}
    inputs = {
        "hidden_states": torch.ones(1, 4, 16),
        "encoder_hidden_states": torch.ones(1, 2, 32),
        "pooled_projections": torch.ones(1, 32),
        "timestep": torch.ones(1),
        "guidance": torch.ones(1),
        "img_ids": torch.zeros(4, 3),
        "txt_ids": torch.zeros(2, 3),
        "ip_adapter_scale": torch.ones(1, 1, 1, 1),
    }
    first, again = (transformer(**inputs, joint_attention_kwargs=reference).sample for _ in range(2))
    assert torch.equal(first, again)
    assert [*reference] == ["ip_adapter_image_embeds"]


def test_an_adapter_that_can_be_used_is_none() -> None:
    assert Entry.model_validate(ENTRY).ip_adapter is not None
