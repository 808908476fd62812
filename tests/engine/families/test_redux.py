"""FLUX.1 Redux: a reference image becomes tokens behind those of the prompt, and the denoiser stays as it is.

That each picture equals the plain pipelines', amid a crowd, `test_families.py` shows for flux-schnell and flux-fill.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from models.catalogue.entry import Entry
from models.weights.loading import LoadedModel
from runners.engine.views.optional_weights import OptionalWeights
from tests.support.engine.drawing import draw_plain, draw_together, largest_difference, photo, pictures, request
from tests.support.engine.engines import running
from tests.support.engine.parity import TOLERANCE, load_conditioned
from tests.support.servers.serving import DEFAULTS, ENTRY_FIELDS

REFERENCE: dict[str, Any] = {"reference_image": photo(seed=6, size_px=96)}


@pytest.fixture
def model(tmp_path: Path) -> LoadedModel:
    return load_conditioned("flux-schnell", tmp_path)


async def test_requests_with_a_reference_share_passes(model: LoadedModel) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"prompt": "a boat"},
        {**REFERENCE, "prompt": "a boat"},
        {**REFERENCE, "reference_scale": 1.0},
        {**REFERENCE, "reference_scale": 0.5},
        {**REFERENCE, "reference_scale": 0.0},
    ]
    wanted = [request(scheduler="flow_euler", **change) for change in changes]
    with running(model) as (engine, recorder):
        drawn = [pictures(events)[0].image for events in await draw_together(engine, wanted)]
    assert max(recorder.batch_sizes("transformer")) == 4, "all with a reference, and none without"
    assert recorder.batch_sizes("image_encoder") == [1]
    assert recorder.batch_sizes("image_embedder") == [1]
    assert len({image.tobytes() for image in drawn}) == len(drawn)
    assert largest_difference(drawn[0], draw_plain(model, wanted[0])) <= TOLERANCE


def test_it_has_no_denoiser_of_its_own(model: LoadedModel) -> None:
    assert {*OptionalWeights(model).ip_adapter()} == {"image_encoder", "feature_extractor", "image_embedder"}


def test_it_goes_with_offloading_and_not_with_several_devices() -> None:
    fields: dict[str, Any] = {
        **ENTRY_FIELDS,
        "id": "tiny",
        "family": "flux",
        "source": {"path": "weights"},
        "defaults": {**DEFAULTS, "scheduler": "flow_euler"},
        "ip_adapter": {"source": {"path": "redux"}},
    }
    entry = Entry.model_validate({**fields, "memory": {"offload": "model"}})
    assert entry.ip_adapter is not None
    assert entry.ip_adapter.is_redux
    with pytest.raises(ValidationError, match="ip_adapter: cannot be combined with parallel: prompts"):
        Entry.model_validate({**fields, "parallel": {"ulysses": 2}})
