"""Files of a LoRA's kind that diffusers does not read: what each adds to a layer, and which layer that is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file

from core.errors import LoadFailed
from models.catalogue.addons import LoraSpec
from models.catalogue.families import FAMILIES
from models.catalogue.sources import Source
from models.weights.addons.loras import eject, fuse, inject, lora_modules, peft_layers
from models.weights.loading import load_pipelines
from tests.support.engine.parity import load_tiny
from tests.tiny.loras import KINDS, add, kohya_name, made, made_of_original, shapes_of
from tests.tiny.original_names import flux_modules, original_unet, wan_name
from tests.tiny.videos.wan import tiny_wan_a14b

CLOSE = 1e-4
ALL_KINDS = list(KINDS)


def pipeline_of(family: str, folder: Path) -> DiffusionPipeline:
    return next(iter(load_tiny(family, folder / "model").pipelines.values()))


def changes_of(module: Any, adapter: str) -> dict[str, torch.Tensor]:
    """What the injected adapter adds to each layer's outputs for the unit vectors as inputs, as its weight's change."""
    changes = {}
    for path, layer in module.named_modules():
        if hasattr(layer, "lora_A") and adapter in layer.lora_A:
            base = layer.get_base_layer()
            first, second = layer.lora_A[adapter], layer.lora_B[adapter]
            if isinstance(base, torch.nn.Linear):
                changes[path] = second(first(torch.eye(base.in_features))).T * layer.scaling[adapter]
            else:
                size = base.kernel_size[0]
                x = torch.eye(base.weight[0].numel()).reshape(-1, base.in_channels, size, size)
                # What a convolution makes of a picture that has the kernel's size, at its centre.
                middle = size // 2 if base.padding[0] else 0
                changes[path] = second(first(x))[:, :, middle, middle].T.reshape(base.weight.shape)
    return changes


def assert_adds(pipeline: DiffusionPipeline, component: str, file: Path, deltas: dict[str, torch.Tensor]) -> None:
    inject(pipeline, "odd", file, "a")
    found = changes_of(lora_modules(pipeline)[component], "a")
    assert set(found) == set(deltas)
    for path, delta in deltas.items():
        assert torch.allclose(found[path], delta, CLOSE, CLOSE), path
    eject(pipeline, "a")
    assert not any(True for module in lora_modules(pipeline).values() for _ in peft_layers(module))


@pytest.mark.parametrize("kind", ALL_KINDS[1:])
def test_kohyas_names_on_matrices_and_convolutions(kind: str, tmp_path: Path) -> None:
    pipeline = pipeline_of("stable-diffusion", tmp_path)
    shapes = shapes_of(pipeline.unet, ("to_q", "to_out.0", "conv1", "proj_in"))
    tensors, deltas = made(kind, shapes, kohya_name("lora_unet"))
    save_file(tensors, tmp_path / "odd.safetensors")
    assert_adds(pipeline, "unet", tmp_path / "odd.safetensors", deltas)


@pytest.mark.parametrize("kind", ["loha", "lokr"])
def test_a_text_encoder(kind: str, tmp_path: Path) -> None:
    pipeline = pipeline_of("stable-diffusion", tmp_path)
    name = kohya_name("lora_te_text_model")
    tensors, deltas = made(kind, shapes_of(pipeline.text_encoder, ("q_proj",)), name)
    save_file(tensors, tmp_path / "odd.safetensors")
    assert_adds(pipeline, "text_encoder", tmp_path / "odd.safetensors", deltas)


def test_the_original_names_of_xl(tmp_path: Path) -> None:
    pipeline = pipeline_of("stable-diffusion-xl", tmp_path)
    weights = pipeline.unet.state_dict()
    originals = dict(zip(weights, original_unet(weights), strict=True))
    shapes = shapes_of(pipeline.unet, ("to_q", "conv1", "time_emb_proj"))
    names = {path: originals[f"{path}.weight"].removesuffix(".weight").replace(".", "_") for path in shapes}
    tensors, deltas = made("loha", shapes, lambda path: f"lora_unet_{names[path]}")
    save_file(tensors, tmp_path / "odd.safetensors")
    assert_adds(pipeline, "unet", tmp_path / "odd.safetensors", deltas)


@pytest.mark.parametrize("kind", ALL_KINDS)
@pytest.mark.parametrize("name", [lambda n: f"diffusion_model.{n}", kohya_name("lora_unet")])
def test_the_original_names_of_flux(kind: str, name: Callable[[str], str], tmp_path: Path) -> None:
    """Queries, keys and values are one layer there."""
    pipeline = pipeline_of("flux", tmp_path)
    parts = {original: own for original, own in flux_modules().items() if "_in" not in original}
    tensors, deltas = made_of_original(kind, pipeline.transformer, parts, name)
    save_file(tensors, tmp_path / "odd.safetensors")
    assert_adds(pipeline, "transformer", tmp_path / "odd.safetensors", deltas)


def test_the_text_encoders_of_flux(tmp_path: Path) -> None:
    pipeline = pipeline_of("flux", tmp_path)
    clip, deltas = made("lora", shapes_of(pipeline.text_encoder, ("q_proj",)), kohya_name("lora_te1_text_model"))
    t5, t5_deltas = made("lora", shapes_of(pipeline.text_encoder_2, (".q", ".wo")), kohya_name("lora_te3"))
    save_file({**clip, **t5}, tmp_path / "odd.safetensors")
    inject(pipeline, "odd", tmp_path / "odd.safetensors", "a")
    for module, wanted in ((pipeline.text_encoder, deltas), (pipeline.text_encoder_2, t5_deltas)):
        found = changes_of(module, "a")
        assert set(found) == set(wanted)
        assert all(torch.allclose(found[path], wanted[path], CLOSE, CLOSE) for path in wanted)


SD3 = {
    "joint_blocks.0.x_block.attn.qkv": ("transformer_blocks.0.attn.to_q", "attn.to_k", "attn.to_v"),
    "joint_blocks.0.context_block.attn.qkv": (
        "transformer_blocks.0.attn.add_q_proj",
        "attn.add_k_proj",
        "attn.add_v_proj",
    ),
    "joint_blocks.1.x_block.mlp.fc1": ("transformer_blocks.1.ff.net.0.proj",),
    "joint_blocks.0.context_block.adaLN_modulation.1": ("transformer_blocks.0.norm1_context.linear",),
    "final_layer.linear": ("proj_out",),
}


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_kohyas_names_of_stable_diffusion_3(kind: str, tmp_path: Path) -> None:
    pipeline = pipeline_of("stable-diffusion-3", tmp_path)
    parts = {name: (own[0], *(f"transformer_blocks.0.{part}" for part in own[1:])) for name, own in SD3.items()}
    tensors, deltas = made_of_original(kind, pipeline.transformer, parts, kohya_name("lora_unet"))
    save_file(tensors, tmp_path / "odd.safetensors")
    assert_adds(pipeline, "transformer", tmp_path / "odd.safetensors", deltas)


@pytest.mark.parametrize(
    "module", ["joint_blocks.1.context_block.adaLN_modulation.1", "final_layer.adaLN_modulation.1"]
)
def test_shift_and_scale_are_swapped_where_they_are_in_the_original(module: str, tmp_path: Path) -> None:
    pipeline = pipeline_of("stable-diffusion-3", tmp_path)
    own = "norm_out.linear" if module.startswith("final") else "transformer_blocks.1.norm1_context.linear"
    tensors, deltas = made_of_original("diff", pipeline.transformer, {module: (own,)}, kohya_name("lora_unet"))
    save_file(tensors, tmp_path / "odd.safetensors")
    assert_adds(pipeline, "transformer", tmp_path / "odd.safetensors", {own: torch.cat(deltas[own].chunk(2)[::-1])})


@pytest.mark.parametrize("kind", ["loha", "lokr", "diff"])
def test_the_original_names_of_wan(kind: str, tmp_path: Path) -> None:
    pipeline = pipeline_of("wan", tmp_path)
    shapes = shapes_of(pipeline.transformer, ("attn1.to_q", "attn2.to_out.0", "ffn.net.2"))
    named = {path: wan_name(f"{path}.weight").removesuffix(".weight") for path in shapes}
    tensors, deltas = made(kind, shapes, lambda path: f"diffusion_model.{named[path]}")
    zeros = {"diffusion_model.blocks.0.norm3.diff": torch.zeros(24)}
    save_file({**tensors, **zeros}, tmp_path / "odd.safetensors")
    assert_adds(pipeline, "transformer", tmp_path / "odd.safetensors", deltas)


def test_biases_beside_a_lora_of_wan(tmp_path: Path) -> None:
    pipeline = pipeline_of("wan", tmp_path)
    tensors, _ = made(
        "lora", shapes_of(pipeline.transformer, ("attn1.to_q",)), lambda _p: "diffusion_model.blocks.0.self_attn.q"
    )
    bias = torch.ones(tensors["diffusion_model.blocks.0.self_attn.q.lora_up.weight"].shape[0])
    other = {"diffusion_model.blocks.0.self_attn.k.diff_b": bias.clone()}
    save_file({**tensors, "diffusion_model.blocks.0.self_attn.q.diff_b": bias, **other}, tmp_path / "odd.safetensors")
    inject(pipeline, "odd", tmp_path / "odd.safetensors", "a")
    for path in ("blocks.0.attn1.to_q", "blocks.0.attn1.to_k"):
        layer = pipeline.transformer.get_submodule(path)
        nothing = torch.zeros(1, layer.in_features)
        assert torch.equal(layer.lora_B["a"](layer.lora_A["a"](nothing))[0], bias)


def test_layers_that_cannot_be_changed_for_one_request_are_named(tmp_path: Path) -> None:
    pipeline = pipeline_of("wan", tmp_path)
    width = pipeline.transformer.blocks[0].norm2.weight.shape[0]
    tensors, _ = made(
        "diff", shapes_of(pipeline.transformer, ("attn1.to_q",)), lambda _p: "diffusion_model.blocks.0.self_attn.q"
    )
    save_file({**tensors, "diffusion_model.blocks.0.norm3.diff": torch.ones(width)}, tmp_path / "odd.safetensors")
    with pytest.raises(
        LoadFailed, match=r"changes layers of a kind that cannot be changed.*diffusion_model\.blocks\.0\.norm3"
    ):
        inject(pipeline, "odd", tmp_path / "odd.safetensors", "a")


def test_the_half_of_wan_for_the_less_noisy_steps(tmp_path: Path) -> None:
    pipeline = next(iter(load_pipelines(FAMILIES["wan"], tiny_wan_a14b(tmp_path / "model")).values()))
    tensors, deltas = made("loha", shapes_of(pipeline.transformer_2, ("attn1.to_q",)), lambda p: f"transformer.{p}")
    plain, _ = made("lora", shapes_of(pipeline.transformer_2, ("attn1.to_q",)), lambda p: f"transformer.{p}")
    peft = {n.replace("down", "A").replace("up", "B"): w for n, w in plain.items() if "alpha" not in n}
    for number, weights in enumerate((tensors, peft)):
        save_file(weights, tmp_path / "low.safetensors")
        inject(pipeline, "low", tmp_path / "low.safetensors", f"a{number}", "transformer_2")
        assert set(changes_of(pipeline.transformer_2, f"a{number}")) == set(deltas)
        assert not any(f"a{number}" in layer.lora_A for layer in peft_layers(pipeline.transformer))


def test_a_model_without_that_half_says_so(tmp_path: Path) -> None:
    pipeline = pipeline_of("wan", tmp_path)
    save_file(made("diff", shapes_of(pipeline.transformer, ("attn1.to_q",)))[0], tmp_path / "low.safetensors")
    with pytest.raises(
        LoadFailed, match="'low' cannot be loaded: it is for transformer_2, which this model does not have"
    ):
        inject(pipeline, "low", tmp_path / "low.safetensors", "a", "transformer_2")


@pytest.mark.parametrize("kind", ALL_KINDS[1:])
def test_those_that_are_always_part_of_the_model_are_fused(kind: str, tmp_path: Path) -> None:
    pipeline = pipeline_of("flux", tmp_path)
    parts = {original: own for original, own in flux_modules().items() if "attn" in original or "linear" in original}
    tensors, deltas = made_of_original(kind, pipeline.transformer, parts, lambda name: f"diffusion_model.{name}")
    save_file(tensors, tmp_path / "odd.safetensors")
    expected = next(iter(load_pipelines(FAMILIES["flux"], tmp_path / "model").values())).transformer
    add(expected, deltas, 0.7)
    spec = LoraSpec(source=Source(path=tmp_path / "odd.safetensors"), scale=0.7, always=True)
    fuse(pipeline, {"odd": spec})
    for name, weight in expected.state_dict().items():
        assert torch.allclose(pipeline.transformer.state_dict()[name], weight, CLOSE, CLOSE), name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lora_unet_a.oft_blocks", "it is an OFT; train or convert it as a LoRA"),
        ("lora_unet_a.dora_scale", "it is a DoRA in kohya's layout; convert it"),
        ("bundle_emb.x.string_to_param.*", "it is a LoRA with embeddings of new words"),
        ("emb_params", "it is an embedding of new words; name it in the entry's `embeddings`"),
        ("ip_adapter.1.to_k_ip.weight", "it is an IP-Adapter; name it in the entry's `ip_adapter`"),
        ("first_stage_model.a.weight", "it is a whole checkpoint; make a catalogue entry"),
        ("double_blocks.0.img_attn.norm.query_norm.scale", "it is a Control-LoRA of FLUX"),
    ],
)
def test_what_is_no_lora_is_said_to_be_what_it_is(name: str, said: str, tmp_path: Path) -> None:
    pipeline = pipeline_of("stable-diffusion", tmp_path)
    save_file({name: torch.ones(2, 2)}, tmp_path / "odd.safetensors")
    with pytest.raises(LoadFailed, match=rf"the LoRA 'odd' cannot be loaded: {said}"):
        inject(pipeline, "odd", tmp_path / "odd.safetensors", "a")


def test_of_other_kinds_too_what_fits_in_part_is_refused_and_says_what_does_not(tmp_path: Path) -> None:
    pipeline = pipeline_of("stable-diffusion", tmp_path)
    shapes = shapes_of(pipeline.unet, ("attn1.to_q",))
    tensors, _ = made("loha", {**shapes, "down_blocks.7.to_q": torch.Size((4, 4))}, kohya_name("lora_unet"))
    save_file(tensors, tmp_path / "odd.safetensors")
    said = rf"only {len(shapes)} of its {len(shapes) + 1} layers fit, and lora_unet_down_blocks_7_to_q do not"
    with pytest.raises(LoadFailed, match=said):
        inject(pipeline, "odd", tmp_path / "odd.safetensors", "a")
