"""What the options of `memory` and `components` go together with, and what is counted of entries of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from models.catalogue.catalogue import SHIPPED, load_catalogue
from models.catalogue.entry import Entry
from models.catalogue.memory.options import Quantization
from tests.support.servers.serving import ENTRY_FIELDS

DEFAULTS: Any = ENTRY_FIELDS["defaults"]
FIELDS: dict[str, Any] = {
    **ENTRY_FIELDS,
    "id": "own",
    "family": "flux",
    "source": {"path": "weights"},
    "defaults": DEFAULTS | {"scheduler": "flow_euler"},
}
CATALOGUE = load_catalogue(*SHIPPED)
FLOAT8 = "float8_e4m3fn"
FOUR_BITS = {"backend": "bitsandbytes_4bit", "components": ["transformer"]}


def shipped_fields(model: str) -> dict[str, Any]:
    found = (yaml.safe_load(file.read_text("utf-8")) for file in SHIPPED)
    fields: dict[str, Any] = next(entries[model] for entries in found if model in entries)
    return fields


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory": {"storage_dtype": {"vae": FLOAT8}}}, "storage_dtype.vae: only denoisers and text encoders can be"),
        ({"memory": {"storage_dtype": {"transformer": "int8"}}}, "float8_e4m3fn"),
        (
            {"memory": {"storage_dtype": {"transformer": FLOAT8}, "quantization": FOUR_BITS}},
            "storage_dtype.transformer: is in memory.quantization.components already",
        ),
        (
            {"memory": {"storage_dtype": {"transformer": FLOAT8}, "compile": True}},
            "storage_dtype.transformer: cannot be combined with memory.compile",
        ),
        (
            {"source": {"path": "a.gguf"}, "memory": {"storage_dtype": {"transformer": FLOAT8}}},
            "memory.storage_dtype: the weights of a GGUF file are quantized already",
        ),
        (
            {"memory": {"offload": "group", "quantization": FOUR_BITS}},
            "memory.offload: group cannot .*choose model",
        ),
        (
            {"memory": {"offload": "group", "compile": True}},
            "memory.offload: group cannot be .* memory.compile",
        ),
        (
            {"components": {"transformer": "cuda:1"}},
            "components.transformer: stays on the model's device; .*vae",
        ),
        ({"components": {"vae": "second"}}, "components"),
        ({"components": {"vae": "cuda:1"}, "memory": {"offload": "model"}}, "components: cannot .* memory.offload"),
        (
            {
                "components": {"text_encoder_2": "cuda:1"},
                "memory": {"quantization": {**FOUR_BITS, "components": ["text_encoder_2"]}},
            },
            "components.text_encoder_2: cannot be combined with memory.quantization of it",
        ),
    ],
)
def test_what_cannot_be_combined_is_refused_with_its_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Entry.model_validate({**FIELDS, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"memory": {"offload": "model", "quantization": FOUR_BITS}},
        {"memory": {"offload": "group", "storage_dtype": {"transformer": FLOAT8, "text_encoder_2": "float8_e5m2"}}},
        {"memory": {"storage_dtype": {"text_encoder_2": FLOAT8}, "compile": True}},
        {"components": {"text_encoder": "cpu", "text_encoder_2": "cuda:1", "vae": "cuda:1"}},
    ],
)
def test_what_goes_together_is_taken(change: dict[str, Any]) -> None:
    Entry.model_validate({**FIELDS, **change})


def test_an_ip_adapter_needs_the_denoisers_own_weights() -> None:
    fields = {**shipped_fields("sdxl"), "id": "own", "memory_gib": 11}
    Entry.model_validate({**fields, "memory": {"storage_dtype": {"text_encoder": FLOAT8}}})
    with pytest.raises(ValidationError, match=r"ip_adapter: cannot share weights with memory\.storage_dtype"):
        Entry.model_validate({**fields, "memory": {"storage_dtype": {"unet": FLOAT8}}})


@pytest.mark.parametrize(
    ("backend", "options", "bits"),
    [
        ("bitsandbytes_4bit", {}, 4),
        ("bitsandbytes_8bit", {}, 8),
        ("torchao", {"quant_type": "Int8WeightOnlyConfig"}, 8),
        ("torchao", {"quant_type": "Int8DynamicActivationInt4WeightConfig"}, 4),
        ("torchao", {"quant_type": "Float8WeightOnlyConfig"}, 8),
        ("torchao", {"quant_type": "UIntXWeightOnlyConfig"}, None),
        ("quanto", {}, 8),
        ("quanto", {"weights": "int4"}, 4),
    ],
)
def test_the_bits_of_a_quantization_are_known_by_its_name(
    backend: str, options: dict[str, Any], bits: int | None
) -> None:
    wanted = {"backend": backend, "components": ["transformer"], "options": options}
    assert Quantization.model_validate(wanted).bits == bits


def own(folder: Path, **changes: Any) -> Entry:
    file = folder / "own.yaml"
    file.write_text(yaml.safe_dump({"mine": {**shipped_fields("flux-dev"), "ip_adapter": None, **changes}}), "utf-8")
    return load_catalogue(file).default


def test_an_entry_of_ones_own_is_counted_if_its_weights_are_those_of_a_shipped_model(tmp_path: Path) -> None:
    shipped = CATALOGUE.get("flux-dev")
    assert own(tmp_path).figures == shipped.figures
    assert own(tmp_path).memory_gib == shipped.memory_gib
    assert own(tmp_path, memory={"offload": "model"}).memory_gib < own(tmp_path, memory={}).memory_gib - 5
    assert own(tmp_path, memory={"quantization": FOUR_BITS}).memory_gib == pytest.approx(18.0, abs=0.1)
    assert own(tmp_path, components={"vae": "cuda:1"}).memory_gib < shipped.memory_gib
    assert own(tmp_path, memory_gib=5).memory_gib == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"source": {"repo": "someone/else"}},
        {"dtype": "float32"},
        {"vae": {"repo": "someone/vae"}},
        {"defaults": {**shipped_fields("flux-dev")["defaults"], "width": 512}},
    ],
)
def test_any_other_says_what_it_needs_itself(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="memory_gib: is missing"):
        own(tmp_path, **changes)
    assert own(tmp_path, **changes, memory_gib=5).figures is None
