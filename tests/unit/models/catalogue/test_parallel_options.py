"""What one model over several devices goes together with."""

from __future__ import annotations

from typing import Any

import pytest
from diffusers.models.attention_dispatch import _AttentionBackendRegistry
from pydantic import ValidationError

from core.errors import InvalidRequest
from models.catalogue.catalogue import SHIPPED, load_catalogue
from models.catalogue.entry import Entry
from models.catalogue.families import FAMILIES
from models.catalogue.memory.parallel import PARALLEL_BACKENDS, PARALLEL_FAMILIES
from models.catalogue.serving.presets import fitted
from models.weights import devices
from models.weights.devices import devices_from
from tests.support.servers.serving import ENTRY_FIELDS

DEFAULTS: Any = ENTRY_FIELDS["defaults"]
FIELDS: dict[str, Any] = {
    **ENTRY_FIELDS,
    "id": "split",
    "family": "flux",
    "source": {"path": "weights"},
    "parallel": {"ulysses": 2},
    "defaults": DEFAULTS | {"scheduler": "flow_euler"},
}
INK = {"source": {"path": "ink.safetensors"}, "description": "ink"}


def entry(**changes: Any) -> Entry:
    return Entry.model_validate({**FIELDS, **changes})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "z-image"}, "parallel: z-image cannot be split; families that can: flux, flux-fill"),
        ({"family": "ltx"}, "parallel: ltx cannot be split; families that can: flux, flux-fill"),
        ({"family": "qwen-image", "parallel": {"ulysses": 4}}, "parallel.ulysses: qwen-image masks .* at most 2"),
        ({"parallel": {"ulysses": 1}}, "greater than or equal to 2"),
        ({"parallel": {"ring": 2}}, "ring"),
        ({"memory": {"offload": "model"}}, "parallel: cannot be combined with memory.offload"),
        ({"memory": {"compile": True}}, "parallel: cannot be combined with memory.compile"),
        (
            {"memory": {"storage_dtype": {"transformer": "float8_e4m3fn"}}},
            "parallel: cannot be combined with memory.storage_dtype of transformer",
        ),
        (
            {"memory": {"quantization": {"backend": "bitsandbytes_8bit", "components": ["transformer"]}}},
            "parallel: cannot be combined with memory.quantization",
        ),
        ({"memory": {"attention": "flex"}}, "parallel: .* memory.attention flex; choose one of .*native"),
        ({"source": {"path": "weights.gguf"}}, "parallel: cannot be combined with source weights.gguf"),
        ({"loras": {"ink": INK}}, "parallel: cannot be combined with loras.ink, unless .*always: true"),
    ],
)
def test_what_cannot_be_combined_is_refused_by_both_names(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        entry(**change)


def test_a_fused_lora_and_a_backend_that_can_are_taken() -> None:
    found = entry(loras={"ink": {**INK, "always": True}}, memory={"attention": "_native_cudnn"})
    assert found.parallel is not None
    assert found.parallel.ulysses == 2
    assert found.choosable_loras == {}


def test_the_operators_loras_are_not_for_it() -> None:
    class Shelf:
        def of(self, _model: str) -> Any:
            raise AssertionError("nobody may choose from it")

        place_for: Any = None

    assert entry().with_folder(Shelf()).choosable_loras == {}
    assert entry().with_folder(Shelf()).folder is None


def test_its_backends_are_those_of_diffusers() -> None:
    assert _AttentionBackendRegistry._supports_context_parallel == PARALLEL_BACKENDS


def test_its_families_are_declared() -> None:
    assert set(PARALLEL_FAMILIES) <= set(FAMILIES)


def test_no_offloading_makes_it_fit() -> None:
    flux = load_catalogue(*SHIPPED).get("flux-dev").model_copy(update={"parallel": entry().parallel})
    with pytest.raises(Exception, match="JUBAKO_FIT: flux-dev needs"):
        fitted(flux, 16)


def test_the_devices_are_those_from_the_first_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available_devices", lambda: ["cpu", "cuda:0", "cuda:1", "cuda:2"])
    assert devices_from("cuda:1", 2) == ["cuda:1", "cuda:2"]
    assert devices_from("cpu", 2) == ["cpu", "cpu"]
    with pytest.raises(InvalidRequest, match="needs 3 devices from cuda:1 on; there are cuda:1, cuda:2"):
        devices_from("cuda:1", 3)
