"""Checkpoints of one file: whole ones, denoisers alone, and those whose tensors mean something else than it seems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.errors import LoadFailed
from core.generation.request import Task
from models.catalogue.entry import Entry
from models.catalogue.families import FAMILIES
from models.weights.files.completing import base_repo
from models.weights.loading import LoadedModel, load
from tests.support.engine.drawing import draw_plain, largest_difference, request
from tests.support.engine.parity import TOLERANCE, load_tiny
from tests.support.servers.serving import DEFAULTS, ENTRY_FIELDS, LIMITS
from tests.tiny import TINY
from tests.tiny.files import COMFY, component, denoiser_file, prefixed, saved, scaled_fp8, stable_diffusion_file

FP8_MEAN = 12
"""Of 255: how far a picture of weights in 8 bits may be from that of all bits, on average; noise is at about 70."""
FAMILY_NAMES = ["stable-diffusion", "flux", "qwen-image", "z-image", "wan"]


class Tinies:
    """Checkpoints in diffusers layout and the models in them, each made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._models: dict[str, LoadedModel] = {}

    def folder(self, family: str) -> Path:
        self.model(family)
        return self._folder / family

    def model(self, family: str) -> LoadedModel:
        if family not in self._models:
            self._models[family] = load_tiny(family, self._folder / family)
        return self._models[family]


@pytest.fixture(scope="module")
def tinies(tmp_path_factory: pytest.TempPathFactory) -> Tinies:
    return Tinies(tmp_path_factory.mktemp("tinies"))


def entry_of(family: str, file: Path, **changes: Any) -> Entry:
    tiny, spec = TINY[family], FAMILIES[family]
    video = {"num_frames": tiny.num_frames} if tiny.num_frames > 1 else {}
    fields = {
        **ENTRY_FIELDS,
        "id": "tiny",
        "family": family,
        "source": {"path": file},
        "defaults": {**DEFAULTS, "scheduler": tiny.scheduler, **video},
        "limits": {**LIMITS, "multiple_px": max(16, spec.size_multiple_px), **({"max_frames": 17} if video else {})},
        "tasks": {first_task(family): {}},
        "preview": None,
    }
    return Entry.model_validate({**fields, **changes})


def first_task(family: str) -> Task:
    return next(iter(FAMILIES[family].pipelines))


def drawn(model: LoadedModel, family: str) -> Image.Image:
    tiny = TINY[family]
    frames = {"num_frames": tiny.num_frames} if tiny.num_frames > 1 else {}
    return draw_plain(model, request(first_task(family), scheduler=tiny.scheduler, **frames))


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean())


@pytest.mark.parametrize("prefix", ["", COMFY])
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_denoiser_alone_is_completed_from_config(family: str, prefix: str, tinies: Tinies, tmp_path: Path) -> None:
    file = saved(prefixed(denoiser_file(family, tinies.folder(family)), prefix), tmp_path / "denoiser.safetensors")
    model = load(entry_of(family, file, config={"path": tinies.folder(family)}), "cpu")
    assert largest_difference(drawn(model, family), drawn(tinies.model(family), family)) <= TOLERANCE


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_in_fewer_bits_the_picture_is_nearly_the_same(dtype: torch.dtype, tinies: Tinies, tmp_path: Path) -> None:
    file = saved(denoiser_file("flux", tinies.folder("flux")), tmp_path / "denoiser.safetensors", dtype)
    model = load(entry_of("flux", file, config={"path": tinies.folder("flux")}), "cpu")
    assert model.components["transformer"].dtype is torch.float32
    same = {name: tensor.to(dtype).float() for name, tensor in component(tinies.folder("flux"), "transformer").items()}
    weights = model.components["transformer"].state_dict()
    assert all(torch.equal(weights[name], t) for name, t in same.items() if t.ndim == 2)


@pytest.mark.parametrize("ending", [".scale_weight", ".weight_scale"])
def test_scales_of_fp8_are_applied(ending: str, tinies: Tinies, tmp_path: Path) -> None:
    whole = stable_diffusion_file(tinies.folder("stable-diffusion"))
    tensors = {**scaled_fp8(whole, ending), "scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    file = saved(tensors, tmp_path / "scaled.safetensors")
    model = load(entry_of("stable-diffusion", file, config={"path": tinies.folder("stable-diffusion")}), "cpu")
    plain = tinies.model("stable-diffusion")
    assert 0 < mean_difference(drawn(model, "stable-diffusion"), drawn(plain, "stable-diffusion")) < FP8_MEAN
    for name, weight in plain.components["unet"].state_dict().items():
        # 3 bits of mantissa, and the smallest numbers of the range.
        allowed = weight.abs() / 16 + weight.abs().max() / 2**16
        assert ((model.components["unet"].state_dict()[name] - weight).abs() <= allowed).all(), name


def test_a_scale_for_each_row_is_applied(tinies: Tinies, tmp_path: Path) -> None:
    tensors = dict(denoiser_file("qwen-image", tinies.folder("qwen-image")))
    name = "transformer_blocks.0.attn.to_q.weight"
    rows = torch.arange(1.0, len(tensors[name]) + 1)
    scaled = {name: (tensors[name] * 8).to(torch.float8_e4m3fn), name.replace("weight", "weight_scale"): rows}
    file = saved({**tensors, **scaled}, tmp_path / "rows.safetensors")
    model = load(entry_of("qwen-image", file, config={"path": tinies.folder("qwen-image")}), "cpu")
    expected = (tensors[name] * 8).to(torch.float8_e4m3fn).float() * rows[:, None]
    assert torch.equal(model.components["transformer"].state_dict()[name], expected)


@pytest.mark.parametrize("left_out", [(), ("first_stage_model.",), ("cond_stage_model.",), ("first", "cond_stage")])
def test_what_a_file_lacks_comes_from_config(left_out: tuple[str, ...], tinies: Tinies, tmp_path: Path) -> None:
    whole = stable_diffusion_file(tinies.folder("stable-diffusion"))
    held = {name: tensor for name, tensor in whole.items() if not name.startswith(left_out)} if left_out else whole
    file = saved({**held, "model_ema.decay": torch.tensor(0.9)}, tmp_path / "some.safetensors")
    model = load(entry_of("stable-diffusion", file, config={"path": tinies.folder("stable-diffusion")}), "cpu")
    plain = tinies.model("stable-diffusion")
    assert largest_difference(drawn(model, "stable-diffusion"), drawn(plain, "stable-diffusion")) <= TOLERANCE


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"blocks.0.attn.to_q.wscales": 1}, "SVDQuant, which only the package nunchaku reads.*use the model in bf16"),
        ({"a.weight.absmax": 1}, r"4 bits of bitsandbytes.*memory\.quantization: \{backend: bitsandbytes_4bit\}"),
        ({"a.weight": 2, "a.SCB": 1}, "8 bits of bitsandbytes"),
        ({"a.weight": 2, "a.weight_scale_2": 1}, "NVFP4"),
        ({"a.qweight": 2}, "GPTQ or AWQ"),
        ({"a.weight._data": 2}, "optimum-quanto"),
        ({"unet.a.lora_A.weight": 2}, "a LoRA; name it in the entry's `loras`"),
        ({"a.weight": 2, "a.outliers": 1}, r"tensors beside its weights whose meaning is not known: a\.outliers"),
        ({"a.weight": torch.ones(2, 2, dtype=torch.int8)}, r"weights in whole numbers, such as a\.weight"),
    ],
)
def test_what_would_be_dropped_is_refused_as_what_it_is(tensors: dict[str, Any], said: str, tmp_path: Path) -> None:
    made = {name: each if isinstance(each, torch.Tensor) else torch.ones([2] * each) for name, each in tensors.items()}
    file = saved(made, tmp_path / "odd.safetensors")
    with pytest.raises(LoadFailed, match=rf"odd\.safetensors .*{said}"):
        load(entry_of("qwen-image", file, config={"path": tmp_path}), "cpu")


def test_scales_of_blocks_are_refused(tinies: Tinies, tmp_path: Path) -> None:
    tensors = dict(denoiser_file("qwen-image", tinies.folder("qwen-image")))
    name = "transformer_blocks.0.attn.to_q.weight"
    file = saved({**tensors, name.replace("weight", "weight_scale"): torch.ones(2, 2)}, tmp_path / "a.safetensors")
    with pytest.raises(LoadFailed, match=r"has a scale of shape \(2, 2\), which is not known; use the model in bf16"):
        load(entry_of("qwen-image", file, config={"path": tinies.folder("qwen-image")}), "cpu")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("lacking", r"it lacks img_in\.weight; name the pipeline that it was made for as `config`"),
        ("more", r"that has no transformer_blocks\.9\.attn\.to_q\.weight; name the pipeline"),
        ("wider", r"img_in\.weight is of shape \(3, 3\), and not"),
    ],
)
def test_a_denoiser_of_another_model_says_what_does_not_fit(
    change: str, said: str, tinies: Tinies, tmp_path: Path
) -> None:
    tensors = dict(denoiser_file("qwen-image", tinies.folder("qwen-image")))
    if change == "lacking":
        del tensors["img_in.weight"]
    elif change == "more":
        tensors["transformer_blocks.9.attn.to_q.weight"] = torch.ones(2, 2)
    else:
        tensors["img_in.weight"] = torch.ones(3, 3)
    file = saved(tensors, tmp_path / "other.safetensors")
    with pytest.raises(LoadFailed, match=rf"other\.safetensors is not the QwenImageTransformer2DModel of .*{said}"):
        load(entry_of("qwen-image", file, config={"path": tinies.folder("qwen-image")}), "cpu")


def test_a_config_without_the_weights_that_are_lacking_is_named(tinies: Tinies, tmp_path: Path) -> None:
    file = saved(denoiser_file("flux", tinies.folder("flux")), tmp_path / "denoiser.safetensors")
    config = tmp_path / "config"
    for each in tinies.folder("flux").rglob("*.*"):
        if each.suffix != ".safetensors" and each.is_file():
            target = config / each.relative_to(tinies.folder("flux"))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(each.read_bytes())
    with pytest.raises(LoadFailed, match=r"does not hold its text_encoder, text_encoder_2, vae, and neither does"):
        load(entry_of("flux", file, config={"path": config}), "cpu")


def test_a_file_that_was_never_downloaded_is_damaged_and_no_denoiser(tinies: Tinies, tmp_path: Path) -> None:
    file = tmp_path / "pointer.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4265146304\n")
    with pytest.raises(LoadFailed, match="is damaged; delete the files and get them again"):
        load(entry_of("flux", file, config={"path": tinies.folder("flux")}), "cpu")


def test_the_base_is_what_the_tensors_fit_within_the_family() -> None:
    schnell = {"double_blocks.0.img_attn.norm.key_norm.scale": torch.ones(1)}
    assert base_repo(FAMILIES["flux"], schnell) == "black-forest-labs/FLUX.1-schnell"
    assert base_repo(FAMILIES["flux-kontext"], schnell) == "black-forest-labs/FLUX.1-Kontext-dev"
    assert base_repo(FAMILIES["qwen-image"], {}) == "Qwen/Qwen-Image"
