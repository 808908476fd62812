"""What models need is counted on their modules without weights; `.ci/run` counts all of the catalogue."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import WanTransformer3DModel
from torch import nn
from torch.nn import functional
from transformers import T5Config, T5EncoderModel

from core.generation.request import Task
from models.catalogue.catalogue import SHIPPED, load_catalogue
from models.catalogue.families import CallStage
from models.catalogue.memory.figures import FILE
from models.weights.counting import __main__ as counting
from models.weights.counting.count import controlnets_gib, counted
from models.weights.counting.ip_adapters import ip_adapter_bytes
from models.weights.counting.modules import architectures, built, weights_bytes
from models.weights.counting.peak import need_of
from models.weights.counting.stored_weights import quantized_bytes
from models.weights.counting.traced_calls import decoding, denoising
from runners.engine.passes.module_calls import Operation

CATALOGUE = load_catalogue(*SHIPPED)
FLOAT_BYTES = 4


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.widen, self.narrow = nn.Linear(8, 32), nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.narrow(torch.relu_(self.widen(x)))
        return functional.scaled_dot_product_attention(y, y, y)


def test_the_peak_is_the_largest_sum_of_tensors_that_live_together() -> None:
    with torch.device("meta"):
        module, x = Attending(), torch.empty(1, 1000, 8)
    need = need_of(module, module, {"x": x})
    assert need.peak_bytes == 1000 * (32 + 8) * FLOAT_BYTES, "views and inputs add nothing, and what is freed leaves"
    assert need.flop == 2 * 2 * 1000 * 8 * 32 + 2 * 2 * 1000 * 1000 * 8


def test_every_shipped_model_of_the_hub_has_an_architecture() -> None:
    known = architectures()
    assert {*known.models} == {model for model, entry in CATALOGUE.entries.items() if entry.source.repo}
    of_models = {name for parts in known.models.values() for name in parts.values()}
    of_addons = {*known.controlnets.values(), *known.image_encoders.values(), *chain(*known.redux.values())}
    assert of_models | of_addons == {*known.components}


def test_every_shipped_controlnet_is_counted() -> None:
    nets = {net.source.repo for entry in CATALOGUE.entries.values() for net in entry.controlnets.values()}
    assert {*architectures().controlnets} == nets
    for model in ("flux-dev", "qwen-image", "z-image-turbo", "sd35-large"):
        entry = CATALOGUE.get(model)
        assert entry.figures is not None
        assert entry.figures.controlnets_gib == controlnets_gib(entry)


def test_every_shipped_ip_adapter_is_counted() -> None:
    for model, millions_in_its_file in (("sd15", 22), ("flux-dev", 491)):
        entry = CATALOGUE.get(model)
        assert entry.figures is not None
        assert entry.ip_adapter is not None
        encoder = built(architectures().image_encoders[str(entry.ip_adapter.image_encoder)], torch.bfloat16)
        ((source, counted_bytes),) = ip_adapter_bytes(entry).items()
        assert (counted_bytes - weights_bytes(encoder)) / 2e6 == pytest.approx(millions_in_its_file, abs=1)
        assert entry.figures.ip_adapters_gib == {source: round(counted_bytes / 2**30, 2)}


def test_what_an_entry_has_not_is_not_counted_with_it() -> None:
    entry = CATALOGUE.get("flux-dev")
    assert entry.figures is not None
    (adapter_gib,), nets_gib = entry.figures.ip_adapters_gib.values(), entry.figures.controlnets_gib.values()
    assert entry.addons_gib == pytest.approx(adapter_gib + sum(nets_gib))
    assert entry.model_copy(update={"controlnets": {}}).addons_gib == adapter_gib
    assert entry.model_copy(update={"controlnets": {}, "ip_adapter": None}).addons_gib == 0
    there = entry.full_gib_on(["cuda:0"])["cuda:0"]
    assert there == pytest.approx(entry.gib_on(["cuda:0"])["cuda:0"] + entry.addons_gib)


def test_decoded_layers_are_counted_as_the_engine_does() -> None:
    entry = CATALOGUE.get("qwen-image-layered")
    assert entry.figures is not None
    vae = built(architectures().models[entry.id]["vae"], torch.bfloat16)
    part = next(part for part in entry.family_spec.parts if part.stage is CallStage.DECODE)
    call = Operation(part, vae).call((), decoding(entry, vae, 1), {})
    assert call.samples == 4
    assert entry.figures.decoder_latents == call.tokens


def test_what_an_edit_or_redux_sees_is_counted_as_further_tokens() -> None:
    edits, redux = CATALOGUE.get("qwen-image-2.1"), CATALOGUE.get("flux-dev-redux")
    draws = edits.model_copy(update={"tasks": {Task.TEXT_TO_IMAGE: edits.tasks[Task.TEXT_TO_IMAGE]}})
    denoiser = built(architectures().models[edits.id]["transformer"], torch.bfloat16)
    edited, drawn = (denoising(entry, denoiser, 1)["hidden_states"] for entry in (edits, draws))
    assert edited.shape[1] - drawn.shape[1] == 1024 * 1024 // 16**2
    denoiser = built(architectures().models[redux.id]["transformer"], torch.bfloat16)
    seen, unseen = (denoising(entry, denoiser, 1) for entry in (redux, CATALOGUE.get("flux-dev")))
    for name, axis in (("encoder_hidden_states", 1), ("txt_ids", 0)):
        assert seen[name].shape[axis] - unseen[name].shape[axis] == 27 * 27


@pytest.mark.parametrize("model", ["sd15", "sdxl", "flux-dev-redux", "flux2-klein-4b", "ltx-video"])
def test_the_catalogue_says_what_is_counted(model: str) -> None:
    entry = CATALOGUE.get(model)
    assert entry.figures is not None
    fresh: dict[str, Any] = counted(entry)
    assert entry.figures.model_dump() == fresh


def test_a_figure_that_is_no_longer_true_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "figures.yaml"
    monkeypatch.setattr(counting, "FILE", file)
    text = FILE.read_text(encoding="utf-8")
    file.write_text(text, encoding="utf-8")
    counting.main(["--check", "sd15"])
    figures = yaml.safe_load(text)
    figures["sd15"]["decoding_gib"] += 0.01
    file.write_text(changed := yaml.safe_dump(figures), encoding="utf-8")
    with pytest.raises(SystemExit, match="other figures of sd15"):
        counting.main(["--check", "sd15"])
    assert file.read_text(encoding="utf-8") == changed


def linear_bytes(module: Any, *names: str) -> int:
    return sum(
        layer.weight.nbytes
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and {*names} & {*name.split(".")}
    )


def test_what_quantizers_leave_as_it_is_counts_whole() -> None:
    """T5's `wo`, a third of it, and the times of Wan."""
    t5 = T5EncoderModel(T5Config(vocab_size=32, d_model=64, d_kv=16, num_heads=4, d_ff=256, num_layers=2))
    converted = linear_bytes(t5, "q", "k", "v", "o", "wi")
    scales = sum(len(m.weight) for n, m in t5.named_modules() if isinstance(m, nn.Linear) and not n.endswith("wo"))
    assert linear_bytes(t5, "wo")
    assert quantized_bytes(t5, 8) == weights_bytes(t5) - converted * 3 // 4 + scales * FLOAT_BYTES
    # A scale of 4 bytes for 64 weights.
    assert quantized_bytes(t5, 4) == weights_bytes(t5) - converted * 7 // 8 + converted // 64
    wan = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        text_dim=16,
        freq_dim=16,
        ffn_dim=64,
        num_layers=1,
        rope_max_seq_len=32,
    )
    assert linear_bytes(wan, "time_embedder")
    all_linear = sum(m.weight.nbytes for m in wan.modules() if isinstance(m, nn.Linear))
    rows = sum(len(m.weight) for n, m in wan.named_modules() if isinstance(m, nn.Linear) and "time_embedder" not in n)
    saved = (all_linear - linear_bytes(wan, "time_embedder")) * 3 // 4 - rows * FLOAT_BYTES
    assert quantized_bytes(wan, 8) == weights_bytes(wan) - saved
