"""What an entry replaces or adds: another VAE, other text encoders, embeddings of new words."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from transformers import CLIPTextModel, T5EncoderModel

from core.errors import LoadFailed
from models.catalogue.entry import Entry
from models.catalogue.families import FAMILIES
from models.catalogue.showing.capabilities import capabilities
from models.catalogue.sources import Source
from models.weights.files.overrides import Override, read_overrides
from models.weights.loading import load
from tests.support.engine.drawing import draw_plain, draw_together, largest_difference, pictures, request
from tests.support.engine.engines import running
from tests.support.engine.parity import TOLERANCE
from tests.support.servers.serving import DEFAULTS, ENTRY_FIELDS, LIMITS
from tests.tiny import TINY
from tests.tiny.files import prefixed, saved, scaled_fp8
from tests.tiny.original_names import original_vae

WIDTH = 32
"""Of the tiny encoders' vectors."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    families = ("stable-diffusion", "stable-diffusion-xl", "flux")
    return {family: TINY[family].save(tmp_path_factory.mktemp(family)) for family in families}


def entry_of(family: str, folder: Path, **changes: Any) -> Entry:
    fields = {
        **ENTRY_FIELDS,
        "id": "tiny",
        "family": family,
        "source": {"path": folder},
        "defaults": {**DEFAULTS, "scheduler": TINY[family].scheduler},
        "limits": {**LIMITS, "multiple_px": max(16, FAMILIES[family].size_multiple_px)},
        "preview": None,
    }
    return Entry.model_validate({**fields, **changes})


def other(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights like a module's, and not its own."""
    torch.manual_seed(5)
    return {name: w + torch.randn_like(w) * 0.01 for name, w in module.state_dict().items() if w.is_floating_point()}


@pytest.mark.parametrize("layout", ["diffusers", "original", "prefixed", "scaled", "folder"])
def test_another_vae(layout: str, folders: Mapping[str, Path], tmp_path: Path) -> None:
    own = AutoencoderKL.from_pretrained(folders["stable-diffusion"] / "vae")
    weights, file = other(own), tmp_path / "vae.safetensors"
    if layout == "folder":
        own.load_state_dict(weights)
        own.save_pretrained(tmp_path / "vae")
        file = tmp_path / "vae"
    elif layout == "diffusers":
        save_file(weights, file)
    else:
        named = prefixed(original_vae(weights), "first_stage_model." if layout == "prefixed" else "")
        saved(scaled_fp8(named) if layout == "scaled" else named, file)
    model = load(entry_of("stable-diffusion", folders["stable-diffusion"], vae={"path": file}), "cpu")
    for name, weight in model.components["vae"].state_dict().items():
        assert torch.allclose(weight, weights[name], atol=0.2 if layout == "scaled" else 0), name


def test_the_vae_of_the_checkpoint_is_not_needed_then(folders: Mapping[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["stable-diffusion"], tmp_path / "without"))
    shutil.move(folder / "vae", tmp_path / "vae")
    shutil.copytree(
        folder.parent / "vae", folder / "vae", ignore=lambda _folder, names: [n for n in names if "safet" in n]
    )
    with pytest.raises(LoadFailed, match="lacks its vae"):
        load(entry_of("stable-diffusion", folder), "cpu")
    model = load(entry_of("stable-diffusion", folder, vae={"path": tmp_path / "vae"}), "cpu")
    plain = load(entry_of("stable-diffusion", folders["stable-diffusion"]), "cpu")
    assert largest_difference(draw_plain(model, request()), draw_plain(plain, request())) <= TOLERANCE


@pytest.mark.parametrize("prefix", ["", "text_model.", "text_encoders.clip_l.transformer.text_model."])
def test_another_clip(prefix: str, folders: Mapping[str, Path], tmp_path: Path) -> None:
    weights = other(CLIPTextModel.from_pretrained(folders["flux"] / "text_encoder"))
    beside = {"logit_scale": torch.ones(1), "text_projection.weight": torch.ones(2, 2)}
    save_file({**prefixed(weights, prefix), **beside}, tmp_path / "clip.safetensors")
    entry = entry_of("flux", folders["flux"], text_encoder={"path": tmp_path / "clip.safetensors"})
    found = load(entry, "cpu").components["text_encoder"].state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in weights.items())


def test_another_t5_in_scaled_fp8(folders: Mapping[str, Path], tmp_path: Path) -> None:
    """Its file names the words' vectors once, and the model twice."""
    weights = other(T5EncoderModel.from_pretrained(folders["flux"] / "text_encoder_2"))
    once = {name: weight for name, weight in weights.items() if name != "encoder.embed_tokens.weight"}
    tensors = {**scaled_fp8(once), "scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    tensors["spiece_model"] = torch.zeros(9, dtype=torch.uint8)
    file = saved(tensors, tmp_path / "t5.safetensors")
    model = load(entry_of("flux", folders["flux"], text_encoder_2={"path": file}), "cpu")
    found = model.components["text_encoder_2"].state_dict()
    assert all(torch.allclose(found[name], weight, atol=0.2) for name, weight in once.items())
    assert torch.equal(found["encoder.embed_tokens.weight"], found["shared.weight"])
    draw_plain(model, request(scheduler="flow_euler"))


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("text_encoder_2", "text_encoder_2: the pipeline has none; it has .*vae"),
        ("text_encoder", r"/other\.safetensors is not the CLIPTextModel of its pipeline: .*; take another file"),
        ("vae", r"/other\.safetensors is not the AutoencoderKL of its pipeline: .*"),
    ],
)
def test_what_is_no_such_component_is_refused(
    part: str, said: str, folders: Mapping[str, Path], tmp_path: Path
) -> None:
    save_file({"blocks.0.weight": torch.ones(2, 2)}, tmp_path / "other.safetensors")
    entry = entry_of(
        "stable-diffusion", folders["stable-diffusion"], **{part: {"path": tmp_path / "other.safetensors"}}
    )
    with pytest.raises(LoadFailed, match=said):
        load(entry, "cpu")


@pytest.mark.parametrize("broken", [b"", b"no safetensors"])
def test_what_cannot_be_read_is_called_as_the_operator_does(
    broken: bytes, folders: Mapping[str, Path], tmp_path: Path
) -> None:
    """And not by the folder of the hub's cache where it is."""
    (tmp_path / "vae.safetensors").write_bytes(broken)
    source = Source(repo="someone/vae", file="vae.safetensors")
    overrides = {"vae": Override(source, tmp_path / "vae.safetensors")}
    with pytest.raises(LoadFailed, match=r"someone/vae/vae\.safetensors") as failed:
        read_overrides(overrides, folders["stable-diffusion"], {"vae": torch.float32})
    assert str(tmp_path) not in str(failed.value)


def test_the_language_model_comes_with_its_tokenizer_from_elsewhere(tmp_path: Path) -> None:
    whole = TINY["hidream"].save(tmp_path / "whole")
    llama = tmp_path / "llama"
    shutil.copytree(whole / "text_encoder_4", llama)
    shutil.copytree(whole / "tokenizer_4", llama, dirs_exist_ok=True)
    lacking = shutil.copytree(whole, tmp_path / "lacking", ignore=shutil.ignore_patterns("*_4"))
    wanted = request(scheduler="unipc", num_inference_steps=2)
    model = load(entry_of("hidream", lacking, text_encoder_4={"path": llama}), "cpu")
    expected = draw_plain(load(entry_of("hidream", whole), "cpu"), wanted)
    assert largest_difference(draw_plain(model, wanted), expected) == 0
    with pytest.raises(LoadFailed, match="lacks its text_encoder_4, tokenizer_4"):
        load(entry_of("hidream", lacking), "cpu")


def test_a_text_encoder_of_one_file_comes_without_its_tokenizer(folders: Mapping[str, Path], tmp_path: Path) -> None:
    lacking = shutil.copytree(folders["flux"], tmp_path / "lacking", ignore=shutil.ignore_patterns("tokenizer_2"))
    file = saved(other(T5EncoderModel.from_pretrained(lacking / "text_encoder_2")), tmp_path / "t5.safetensors")
    entry = entry_of("flux", lacking, text_encoder_2={"path": file})
    assert entry.given == {"text_encoder_2"}
    with pytest.raises(LoadFailed, match="text_encoder_2 is one file, which brings no tokenizer; give a folder"):
        load(entry, "cpu")
    shutil.rmtree(lacking / "vae")
    with pytest.raises(LoadFailed, match="lacks its tokenizer_2, vae; get the whole"):
        load(entry, "cpu")


EMBEDDED = {
    "a1111": ({"emb_params": 2}, ("text_encoder",)),
    "one vector": ({"<s0>": 1}, ("text_encoder",)),
    "xl": ({"clip_l": 3, "clip_g": 3}, ("text_encoder", "text_encoder_2")),
}


@pytest.mark.parametrize("layout", EMBEDDED)
async def test_embeddings_are_called_by_their_token(layout: str, folders: Mapping[str, Path], tmp_path: Path) -> None:
    """In batches with prompts that have none, and twice, so that encodings are remembered."""
    counts, encoders = EMBEDDED[layout]
    family = "stable-diffusion-xl" if len(encoders) > 1 else "stable-diffusion"
    torch.manual_seed(3)
    tensors = {name: torch.randn(count, WIDTH) for name, count in counts.items()}
    save_file(tensors, tmp_path / "style.safetensors")
    embeddings = {"mystyle": {"source": {"path": tmp_path / "style.safetensors"}, "description": "Mine."}}
    entry = entry_of(family, folders[family], embeddings=embeddings)
    assert capabilities(entry)["embeddings"] == {"mystyle": "Mine."}
    model, plain = load(entry, "cpu"), load(entry_of(family, folders[family]), "cpu")
    pipeline = next(iter(plain.pipelines.values()))
    for encoder, tensor in zip(encoders, tensors.values(), strict=True):
        own = {
            "text_encoder": getattr(pipeline, encoder),
            "tokenizer": getattr(pipeline, encoder.replace("text_encoder", "tokenizer")),
        }
        pipeline.load_textual_inversion(tensor, token="mystyle", **own)
    one = request(scheduler=TINY[family].scheduler, num_inference_steps=2)
    wanted = [one.model_copy(update={"prompt": p}) for p in ("a mystyle", "a red", "mystyle", "a mystyle", "a mystyl")]
    with running(model, batch_tokens=2**16) as (engine, recorder):
        drawn = [pictures(events)[0].image for events in await draw_together(engine, wanted)]
    for each, picture in zip(wanted, drawn, strict=True):
        assert largest_difference(picture, draw_plain(plain, each)) <= TOLERANCE, each.prompt
    assert max(recorder.batch_sizes("unet")) == len(wanted)
    assert largest_difference(drawn[0], drawn[4]) > 0


@pytest.mark.parametrize(
    ("token", "tensors", "said"),
    [
        ("wide", {"emb_params": 7}, "its vectors have 7 numbers, and this model's have 32; it is for another model"),
        ("x", None, "the file is damaged, or not in safetensors"),
        ("two", {"a.weight": WIDTH, "b.weight": WIDTH}, r"it is not an embedding: it holds a\.weight, b\.weight"),
        ("a</w>", {"emb_params": WIDTH}, "the model knows a word of this name already"),
    ],
)
def test_embeddings_that_do_not_fit_are_named(
    token: str, tensors: Mapping[str, int] | None, said: str, folders: Mapping[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "style.safetensors"
    if tensors is None:
        file.write_text("<html>")
    else:
        save_file({name: torch.ones(1, width) for name, width in tensors.items()}, file)
    token = token if len(token) > 1 else "xx"
    entry = entry_of("stable-diffusion", folders["stable-diffusion"], embeddings={token: {"source": {"path": file}}})
    with pytest.raises(LoadFailed, match=rf"the embedding '{token}' cannot be loaded: {said}"):
        load(entry, "cpu")
