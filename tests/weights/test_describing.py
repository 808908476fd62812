"""Models that no catalogue has: what is found out about them, and that they generate as plain diffusers does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
import yaml
from diffusers import DiffusionPipeline, StableDiffusionXLImg2ImgPipeline

from core.errors import LoadFailed, LoadInterrupted, StartError
from core.generation.request import Task
from models.__main__ import main
from models.catalogue.catalogue import load_catalogue
from models.catalogue.entry import Entry
from models.catalogue.families import FAMILIES
from models.catalogue.pointing import pointed_entries
from models.catalogue.pointing.description_process import Permissions
from models.catalogue.pointing.pointers import Pointer, pointer
from models.catalogue.showing.as_yaml import entry_yaml
from models.catalogue.sources import Source
from models.weights.describing.describe import describe
from models.weights.describing.templates import shipped
from models.weights.describing.url_files import downloaded
from models.weights.fetching.explanations import explained_fetch
from models.weights.loading import load
from settings import settings
from tests.support.engine.drawing import draw_plain, largest_difference, photo, request
from tests.support.engine.parity import TOLERANCE
from tests.support.servers.forked import run_forked
from tests.support.servers.serving import ROOT
from tests.support.surroundings.small_hub import COMMIT, Repository, small_hub
from tests.tiny import TINY
from tests.tiny.files import COMFY, denoiser_file, prefixed, saved, saved_gguf, scaled_fp8, stable_diffusion_file
from tests.tiny.images.stable_diffusion import tiny_refiner
from tests.tiny.undeclared import BUILDERS, tiny_undeclared

SERVED = """
import json, sys
from models.catalogue.pointing.pointed_entries import whole_catalogue
from settings import settings
catalogue = whole_catalogue(sys.argv[1:], settings())
print(json.dumps([catalogue.get(text).model_dump(mode="json") for text in sys.argv[1:]]))
print(json.dumps("torch" in sys.modules))
"""
"""What a start makes of places, and whether it imports torch itself."""


Q8_DIFFERENCE = 40
"""Of 255: the picture of weights in 8 bits is nearly that of all bits."""
HEADER_BYTES = 100_001
"""That the hub's client asks for at once."""


@pytest.fixture(scope="module")
def tinies(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a family's tiny checkpoint, made once."""
    root = tmp_path_factory.mktemp("tinies")

    def folder(family: str) -> Path:
        place = root / family
        return place if place.exists() else TINY[family].save(place)

    return folder


def entry_of(path: Path, name: str = "tiny", **changes: Any) -> Entry:
    fields = describe(Source(path=path), name, allow_pickle=False)
    return Entry.model_validate({"id": "tiny", **json.loads(json.dumps(fields)), **changes})


def changed(folder: Path, copy: Path, name: str, **fields: Any) -> Path:
    """Return a copy of a checkpoint with other fields in one of its configurations."""
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    own = json.loads((copy / name).read_text())
    (copy / name).write_text(json.dumps({**own, **fields}))
    return copy


@pytest.mark.parametrize("family", TINY)
def test_a_folder_of_each_family(family: str, tinies: Callable[[str], Path], tmp_path: Path) -> None:
    entry = entry_of(tinies(family))
    assert entry.family == family
    assert set(entry.tasks) == set(FAMILIES[family].pipelines)
    assert entry.licence == "unknown"
    assert entry.defaults.scheduler == TINY[family].scheduler
    (tmp_path / "own.yaml").write_text(entry_yaml(entry))
    assert load_catalogue(tmp_path / "own.yaml").get("tiny") == entry


@pytest.mark.parametrize("family", ["stable-diffusion", "stable-diffusion-xl", "flux", "wan"])
def test_a_folder_generates_as_plain_diffusers_does(family: str, tinies: Callable[[str], Path]) -> None:
    entry = entry_of(tinies(family))
    task, settings = next(iter(entry.tasks.items()))
    frames = {"num_frames": 5} if task.is_video else {}
    small = {"width": 64, "height": 64, "num_inference_steps": 3, "scheduler": settings.defaults.scheduler, **frames}
    plain = DiffusionPipeline.from_pretrained(tinies(family))
    plain.set_progress_bar_config(disable=True)
    arguments = {name: value for name, value in small.items() if name != "scheduler"}
    output = plain(
        "a red apple", guidance_scale=5.0, generator=torch.Generator().manual_seed(7), output_type="pil", **arguments
    )
    expected = output.frames[0][0] if task.is_video else output.images[0]
    assert largest_difference(draw_plain(load(entry, "cpu"), request(task, **small)), expected) <= TOLERANCE


@pytest.mark.parametrize("steps", [1, 4])
def test_defaults_are_those_of_the_checkpoint(steps: int, tinies: Callable[[str], Path], tmp_path: Path) -> None:
    folder = changed(
        tinies("stable-diffusion"), tmp_path / "sd", "scheduler/scheduler_config.json", _class_name="LCMScheduler"
    )
    entry = entry_of(folder, f"Some LCM {steps}-step")
    defaults = entry.defaults
    assert (defaults.width, defaults.height, defaults.num_inference_steps) == (64, 64, steps)
    assert (defaults.guidance_scale, defaults.scheduler) == (0.0, "lcm")
    strong = entry.tasks[Task.IMAGE_TO_IMAGE].defaults
    assert int(strong.num_inference_steps * strong.strength) >= 1


@pytest.mark.parametrize(
    ("config", "sampler"),
    [
        ({"_class_name": "PNDMScheduler", "skip_prk_steps": True}, "pndm"),
        ({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver++"}, "dpmpp_2m"),
        ({"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": True}, "dpmpp_2m_karras"),
        (
            {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++", "solver_order": 2},
            "dpmpp_2m_sde",
        ),
        ({"_class_name": "EulerAncestralDiscreteScheduler"}, "euler_a"),
        ({"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}, "euler_trailing"),
        ({"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}, "euler"),
        ({"_class_name": "EDMEulerScheduler"}, "dpmpp_2m"),
    ],
)
def test_the_sampler_is_that_of_the_checkpoint(
    config: dict[str, Any], sampler: str, tinies: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = changed(tinies("stable-diffusion"), tmp_path / "sd", "scheduler/scheduler_config.json")
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(config))
    assert entry_of(folder).defaults.scheduler == sampler


@pytest.mark.parametrize(
    ("name", "family", "steps", "guidance"),
    [
        ("RealVisXL_V4.0_Lightning", "stable-diffusion-xl", 4, 0.0),
        ("my-sdxl-turbo", "stable-diffusion-xl", 1, 0.0),
        ("Hyper-SDXL-8steps", "stable-diffusion-xl", 8, 0.0),
        ("Juggernaut XL", "stable-diffusion-xl", 30, 5.0),
        ("FLUX.1-Turbo-8-steps", "flux", 8, 3.5),
        ("Qwen-Image-Lightning-4steps", "qwen-image", 4, 0.0),
        ("Wan2.1-lightning", "wan", 4, 1.0),
    ],
)
def test_names_say_for_how_few_steps(
    name: str, family: str, steps: int, guidance: float, tinies: Callable[[str], Path]
) -> None:
    defaults = entry_of(tinies(family), name).defaults
    assert (defaults.num_inference_steps, defaults.guidance_scale) == (steps, guidance)


class TestTasks:
    def test_a_unet_that_sees_masks_offers_inpainting_alone(
        self, tinies: Callable[[str], Path], tmp_path: Path
    ) -> None:
        folder = changed(tinies("stable-diffusion"), tmp_path / "sd", "unet/config.json", in_channels=9)
        assert list(entry_of(folder).tasks) == [Task.INPAINT]

    def test_one_that_sees_an_image_is_another_pipeline(self, tinies: Callable[[str], Path], tmp_path: Path) -> None:
        folder = changed(tinies("stable-diffusion"), tmp_path / "sd", "unet/config.json", in_channels=8)
        found = entry_of(folder)
        assert list(found.tasks) == [Task.EDIT]
        assert found.family_spec.pipelines[Task.EDIT] == "StableDiffusionInstructPix2PixPipeline"

    def test_a_refiner_changes_images_alone(self, tmp_path: Path) -> None:
        folder = tiny_refiner(tmp_path)
        entry = entry_of(folder)
        assert list(entry.tasks) == [Task.IMAGE_TO_IMAGE]
        pipeline = StableDiffusionXLImg2ImgPipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        wanted = request(Task.IMAGE_TO_IMAGE, scheduler="euler")
        plain = pipeline(
            wanted.prompt,
            image=photo(),
            strength=wanted.strength,
            num_inference_steps=wanted.num_inference_steps,
            guidance_scale=wanted.guidance_scale,
            generator=torch.Generator().manual_seed(7),
        ).images[0]
        assert largest_difference(draw_plain(load(entry, "cpu"), wanted), plain) <= TOLERANCE

    def test_a_file_that_sees_masks(self, tinies: Callable[[str], Path], tmp_path: Path) -> None:
        tensors = stable_diffusion_file(tinies("stable-diffusion"))
        first = f"{COMFY}input_blocks.0.0.weight"
        wide = torch.cat([tensors[first], tensors[first], tensors[first][:, :1]], dim=1)
        assert list(entry_of(saved({**tensors, first: wide}, tmp_path / "a.safetensors")).tasks) == [Task.INPAINT]


FILES = ["stable-diffusion", "flux", "qwen-image", "z-image", "wan"]


class TestFiles:
    @pytest.mark.parametrize("prefix", ["", COMFY])
    @pytest.mark.parametrize("family", FILES)
    def test_a_denoiser_by_the_names_of_others(
        self, family: str, prefix: str, tinies: Callable[[str], Path], tmp_path: Path
    ) -> None:
        tensors = prefixed(denoiser_file(family, tinies(family)), prefix)
        assert entry_of(saved(tensors, tmp_path / "some.safetensors")).family == family

    @pytest.mark.parametrize("family", TINY)
    def test_a_denoiser_by_diffusers_names(self, family: str, tinies: Callable[[str], Path], tmp_path: Path) -> None:
        (weights,) = (tinies(family) / FAMILIES[family].denoiser).glob("*.safetensors")
        names = {"flux-kontext": "kontext", "qwen-image-edit": "edit", "qwen-image-edit-plus": "edit-2511"}
        file = tmp_path / f"{names.get(family, 'distilled' if 'distilled' in family else 'a')}.safetensors"
        shutil.copy(weights, file)
        alike = {"flux-fill": "flux", "wan-ti2v": "wan-ti2v"}
        entry = entry_of(file, file.name)
        assert entry.family in (family, alike.get(family))

    def test_a_whole_file_generates_as_the_folder_does(self, tinies: Callable[[str], Path], tmp_path: Path) -> None:
        folder = tinies("stable-diffusion")
        file = saved(stable_diffusion_file(folder), tmp_path / "My_Model.safetensors")
        entry = entry_of(file, file.name, config={"path": folder})
        assert (entry.title, entry.family, entry.defaults.width) == ("My_Model", "stable-diffusion", 512)
        wanted = request(scheduler="ddim")
        plain = draw_plain(load(entry_of(folder), "cpu"), wanted)
        assert largest_difference(draw_plain(load(entry, "cpu"), wanted), plain) <= TOLERANCE

    @pytest.mark.parametrize("family", FILES)
    def test_gguf(self, family: str, tinies: Callable[[str], Path], tmp_path: Path) -> None:
        folder = tinies(family)
        entry = entry_of(saved_gguf(denoiser_file(family, folder), tmp_path / "a.gguf"), config={"path": folder})
        assert entry.family == family

    def test_gguf_generates_nearly_as_the_folder_does(self, tinies: Callable[[str], Path], tmp_path: Path) -> None:
        folder = tinies("qwen-image")
        file = saved_gguf(denoiser_file("qwen-image", folder), tmp_path / "a.gguf")
        wanted = request(scheduler="flow_euler")
        plain = draw_plain(load(entry_of(folder), "cpu"), wanted)
        drawn = draw_plain(load(entry_of(file, config={"path": folder}), "cpu"), wanted)
        assert 0 < largest_difference(drawn, plain) < Q8_DIFFERENCE

    def test_scaled_fp8(self, tinies: Callable[[str], Path], tmp_path: Path) -> None:
        tensors = scaled_fp8(denoiser_file("flux", tinies("flux")))
        assert entry_of(saved(tensors, tmp_path / "fp8.safetensors")).family == "flux"

    def test_numbers_follow_the_file(self, tinies: Callable[[str], Path], tmp_path: Path) -> None:
        tensors = stable_diffusion_file(tinies("stable-diffusion"))
        dtypes = {kind: saved(tensors, tmp_path / "a.safetensors", kind) for kind in (torch.float32,)}
        assert entry_of(dtypes[torch.float32]).dtype == "float16"
        assert entry_of(saved(tensors, tmp_path / "b.safetensors", torch.bfloat16)).dtype == "bfloat16"

    @pytest.mark.parametrize(
        ("tensors", "said"),
        [
            ({"lora_unet_x.lora_down.weight": 2}, "a LoRA; name it in the entry's `loras`"),
            ({"a.processor.to_k_lora.down.weight": 2}, "a LoRA; name it in the entry's `loras`"),
            ({"a.k_proj.lora_linear_layer.down.weight": 2}, "a LoRA; name it in the entry's `loras`"),
            ({"controlnet_cond_embedding.conv_in.weight": 4, "conv_in.weight": 4}, "a ControlNet; name it in `contr"),
            ({"text_model.embeddings.token_embedding.weight": 2}, "a text encoder alone; name it as `text_encoder`"),
            ({"encoder.block.0.layer.0.SelfAttention.q.weight": 2}, "a text encoder alone"),
            ({"encoder.conv_in.weight": 4, "decoder.conv_in.weight": 4}, "a VAE alone; name it as `vae`"),
            ({"decoder.middle.0.residual.0.gamma": 1, "encoder.conv1.weight": 4}, "a VAE alone"),
            ({"image_proj.proj.weight": 2, "ip_adapter.1.to_k_ip.weight": 2}, "an IP-Adapter; name it in"),
            ({"redux_up.weight": 2}, "FLUX.1 Redux; name its repository or folder in `ip_adapter`"),
            ({"emb_params": 2}, "an embedding of new words; name it in `embeddings`"),
            ({"body.0.rdb1.conv1.weight": 4}, "an upscaler"),
            (
                {"audio_patchify_proj.weight": 2, "transformer_blocks.27.scale_shift_table": 2},
                "of the kind of Lightricks/LTX-2, which is read as a folder",
            ),
            ({"something.weight": 2}, "of no model that is known: something.weight"),
        ],
    )
    def test_what_is_no_model_is_called_what_it_is(self, tensors: dict[str, int], said: str, tmp_path: Path) -> None:
        file = saved({name: torch.zeros([2] * axes) for name, axes in tensors.items()}, tmp_path / "a.safetensors")
        with pytest.raises(LoadFailed, match=said):
            entry_of(file)

    def test_pickles_need_a_setting(self, tmp_path: Path) -> None:
        (tmp_path / "a.ckpt").write_bytes(b"")
        with pytest.raises(LoadFailed, match=r"a\.ckpt is a pickle.*JUBAKO_ALLOW_PICKLE=true"):
            entry_of(tmp_path / "a.ckpt")

    def test_a_damaged_file_is_called_that(self, tmp_path: Path) -> None:
        (tmp_path / "a.safetensors").write_bytes(b"<html>")
        with pytest.raises(LoadFailed, match="is damaged; delete the files"):
            entry_of(tmp_path / "a.safetensors")

    def test_one_half_of_wan_is_refused(self, tinies: Callable[[str], Path], tmp_path: Path) -> None:
        file = saved(denoiser_file("wan", tinies("wan")), tmp_path / "wan2.2_t2v_high_noise_14B.safetensors")
        with pytest.raises(LoadFailed, match=r"one of the two transformers of Wan 2\.2"):
            entry_of(file, file.name)


class TestFolders:
    def test_a_card_says_the_licence(self, tinies: Callable[[str], Path], tmp_path: Path) -> None:
        folder = changed(tinies("flux"), tmp_path / "flux", "model_index.json")
        card = "---\nlicense: other\nlicense_name: flux-1-dev-non-commercial-license\n---\n# Hello\n"
        (folder / "README.md").write_text(card)
        assert entry_of(folder).licence == "flux-1-dev-non-commercial-license"
        (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
        assert entry_of(folder).licence == "apache-2.0"
        (folder / "README.md").write_text("---\n: [\n---\n")
        assert entry_of(folder).licence == "unknown"

    def test_half_precision_that_is_apart_is_taken(self, tinies: Callable[[str], Path], tmp_path: Path) -> None:
        folder = changed(tinies("stable-diffusion-xl"), tmp_path / "xl", "model_index.json")
        for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
            (file,) = (folder / part).glob("*.safetensors")
            shutil.copy(file, file.with_suffix(".fp16.safetensors"))
        assert entry_of(folder).variant == "fp16"
        load(entry_of(folder), "cpu")

    @pytest.mark.parametrize(
        ("files", "said"),
        [
            ({}, "no model_index.json, and no checkpoint"),
            ({"config.json": {"_class_name": "ControlNetModel"}}, "a ControlNet; name it in `controlnets`"),
            ({"config.json": {"_class_name": "AutoencoderKL"}}, "a VAE alone; name it as `vae`"),
            ({"config.json": {"_class_name": "FluxTransformer2DModel"}}, "a transformer alone"),
            ({"config.json": {"model_type": "t5"}}, "a text encoder or language model alone"),
            ({"pytorch_lora_weights.safetensors": {}}, "it is a LoRA"),
            ({"a.safetensors": {}, "b.gguf": {}}, "2 checkpoints; name one: .*/a.safetensors, .*/b.gguf"),
        ],
    )
    def test_what_is_no_pipeline_is_called_what_it_is(self, files: dict[str, Any], said: str, tmp_path: Path) -> None:
        for name, content in files.items():
            (tmp_path / name).write_text(json.dumps(content))
        with pytest.raises(LoadFailed, match=said):
            entry_of(tmp_path)

    def test_the_only_checkpoint_of_a_folder_is_meant(self, tinies: Callable[[str], Path], tmp_path: Path) -> None:
        saved(stable_diffusion_file(tinies("stable-diffusion")), tmp_path / "my.safetensors")
        assert entry_of(tmp_path).source == Source(path=tmp_path / "my.safetensors")

    def test_a_broken_index_is_damaged(self, tinies: Callable[[str], Path], tmp_path: Path) -> None:
        folder = changed(tinies("flux"), tmp_path / "flux", "model_index.json")
        (folder / "model_index.json").write_text("{")
        with pytest.raises(LoadFailed, match="is damaged"):
            entry_of(folder)

    @pytest.mark.parametrize("part", ["transformer", "text_encoder", "tokenizer", "vae", "scheduler"])
    def test_a_folder_that_arrived_in_part_is_called_that(
        self, part: str, tinies: Callable[[str], Path], tmp_path: Path
    ) -> None:
        folder = changed(tinies("flux"), tmp_path / "flux", "model_index.json")
        shutil.rmtree(folder / part)
        with pytest.raises(LoadFailed, match=f"lacks its {part}; get the whole"):
            entry_of(folder)

    def test_one_of_several_files_that_is_missing_is_too(self, tinies: Callable[[str], Path], tmp_path: Path) -> None:
        folder = changed(tinies("flux"), tmp_path / "flux", "model_index.json")
        (file,) = (folder / "transformer").glob("*.safetensors")
        first, second = (f"{file.stem}-0000{number}-of-00002.safetensors" for number in (1, 2))
        file.rename(file.with_name(first))
        index = {"metadata": {}, "weight_map": {"first": first, "second": second}}
        file.with_name(f"{file.name}.index.json").write_text(json.dumps(index))
        with pytest.raises(LoadFailed, match="lacks its transformer"):
            entry_of(folder)

    @pytest.mark.parametrize("kind", ["flux", "AuraFlowPipeline"])
    @pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1", bytes(1000)])
    def test_damaged_weights_are_called_that(self, kind: str, content: bytes, tmp_path: Path) -> None:
        folder = tiny_undeclared(kind, tmp_path) if kind in BUILDERS else TINY[kind].save(tmp_path)
        (file,) = (folder / "transformer").glob("*.safetensors")
        file.write_bytes(content)
        with pytest.raises(LoadFailed, match="is damaged; delete the files"):
            entry_of(folder)

    def test_an_index_of_nothing_names_no_pipeline(self, tmp_path: Path) -> None:
        (tmp_path / "model_index.json").write_text("{}")
        with pytest.raises(LoadFailed, match="names no pipeline"):
            entry_of(tmp_path)

    def test_a_damaged_configuration_of_a_part_is_called_that(self, tmp_path: Path) -> None:
        folder = tiny_undeclared("AuraFlowPipeline", tmp_path)
        (folder / "tokenizer" / "tokenizer_config.json").write_text("{")
        with pytest.raises(LoadFailed, match="is damaged; delete the files"):
            entry_of(folder)

    def test_pickles_need_a_setting(self, tinies: Callable[[str], Path], tmp_path: Path) -> None:
        folder = changed(tinies("flux"), tmp_path / "flux", "model_index.json")
        (file,) = (folder / "transformer").glob("*.safetensors")
        file.rename(file.with_suffix(".bin"))
        with pytest.raises(LoadFailed, match=r"transformer/.*\.bin is a pickle"):
            entry_of(folder)

    def test_a_model_that_is_not_distilled_says_so(self, tinies: Callable[[str], Path], tmp_path: Path) -> None:
        folder = changed(tinies("flux2-klein"), tmp_path / "klein", "model_index.json", is_distilled=False)
        entry = entry_of(folder)
        assert entry.defaults.num_inference_steps == 50
        assert entry.takes_guidance


def its_own(home: Path, **environment: str) -> dict[str, str]:
    """An environment with a hub and a cache of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return {**clean, "HF_HOME": str(home), "PYTHONPATH": str(ROOT), **environment}


def served(home: Path, *texts: str, **environment: str) -> list[Any]:
    """Return what a start makes of places, in a process that has imported nothing else."""
    command = [sys.executable, "-c", SERVED, *texts]
    own = its_own(home, **environment)
    return printed(subprocess.run(command, env=own, cwd=home, capture_output=True, text=True, timeout=300))


def printed(done: subprocess.CompletedProcess[str]) -> list[Any]:
    """Return the lines of JSON that a process printed."""
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def looked_at(home: Path, *texts: str, **environment: str) -> list[Any]:
    """Return what the process that looks at models answers."""
    pointers = [each for text in texts if (each := pointer(text)) and each.source]
    asked = [{"name": p.name, "url": p.url, "source": p.source and p.source.model_dump(mode="json")} for p in pointers]
    question = json.dumps({"pointers": asked, "pickle": False, "downloads": str(home)})
    command = ["-m", "models.weights.describing"]
    (answers,) = printed(run_forked(command, its_own(home, **environment), home, question))
    return list(answers)


class TestHub:
    @pytest.fixture
    def repositories(self, tinies: Callable[[str], Path], tmp_path: Path) -> dict[str, Repository]:
        single = tmp_path / "single"
        single.mkdir()
        saved(denoiser_file("flux", tinies("flux")), single / "my-flux.safetensors")
        return {
            "someone/My-SD-v1.5": Repository(tinies("stable-diffusion"), {"license": "mit", "base_model": "a/b"}),
            "someone/single": Repository(single, {"license": "apache-2.0"}),
            "someone/closed": Repository(tinies("stable-diffusion"), gated=True),
            "someone/empty": Repository(tmp_path / "empty"),
        }

    def test_what_was_found_out_is_known_without_the_hub_and_without_torch(
        self, repositories: dict[str, Repository], tmp_path: Path
    ) -> None:
        texts = ("someone/My-SD-v1.5@v1", "someone/single/my-flux.safetensors")
        with small_hub(repositories) as hub:
            (whole, file), with_torch = served(tmp_path, *texts, HF_ENDPOINT=hub.address)
            weights = [name for name in hub.fetched if ".safetensors" in name]
            assert all(int(name.split()[1]) <= HEADER_BYTES for name in weights), "headers alone"
        assert not with_torch
        assert (whole["id"], whole["family"], whole["licence"]) == ("my-sd", "stable-diffusion", "mit")
        assert (whole["source"]["revision"], whole["download_gib"]) == ("v1", 0.01)
        assert (file["id"], file["family"], file["licence"]) == ("my-flux", "flux", "apache-2.0")
        assert served(tmp_path, *texts, HF_HUB_OFFLINE="1") == [[whole, file], False]

    def test_what_cannot_be_served_is_called_what_it_is(
        self, repositories: dict[str, Repository], tmp_path: Path
    ) -> None:
        texts = ("closed", "empty", "nothing", "My-SD-v1.5@v9", "single/other.safetensors")
        with small_hub(repositories) as hub:
            said = looked_at(tmp_path, *(f"someone/{text}" for text in texts), HF_ENDPOINT=hub.address)
        closed, empty, nothing, old, other = said
        assert "someone/closed is gated: accept the licence" in closed
        assert "no model_index.json, and no checkpoint" in empty
        assert "there is no repository someone/nothing" in nothing
        assert "someone/My-SD-v1.5 has no revision v9" in old
        assert "lacks a file" in other

    def test_without_the_hub_the_cache_is_looked_at(self, tinies: Callable[[str], Path], tmp_path: Path) -> None:
        snapshot = tmp_path / "hub" / "models--someone--here"
        shutil.copytree(tinies("stable-diffusion"), snapshot / "snapshots" / COMMIT)
        (snapshot / "refs").mkdir()
        (snapshot / "refs" / "main").write_text(COMMIT)
        texts = ("someone/here", "someone/other")
        here, offline = looked_at(tmp_path, *texts, HF_HUB_OFFLINE="1")
        assert here["family"] == "stable-diffusion"
        assert "someone/other is not in the cache, and HF_HUB_OFFLINE is set" in offline

    def test_a_hub_that_is_away_is_called_that(self) -> None:
        away = "someone/other is not in the cache, and the hub cannot be reached"
        with pytest.raises(LoadInterrupted, match=away), explained_fetch(Source(repo="someone/other")):
            raise httpx2.ConnectError("refused")


def test_an_address_is_downloaded_once_and_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"0123456789")
    with small_hub({"any/where": Repository(tmp_path)}) as hub:
        url = f"{hub.address}/any/where/resolve/main/a.safetensors"
        file = downloaded(url, tmp_path / "downloads").path
        assert file is not None
        assert file.read_bytes() == b"0123456789"
        file.rename(file.with_name("a.safetensors.part"))
        file.with_name("a.safetensors.part").write_bytes(b"0123")
        assert downloaded(url, tmp_path / "downloads").path == file
        assert file.read_bytes() == b"0123456789"
        downloaded(url, tmp_path / "downloads")
        assert hub.fetched == ["a.safetensors 10", "a.safetensors 6"]
        with pytest.raises(LoadFailed, match="cannot be downloaded"):
            downloaded(f"{hub.address}/any/where/resolve/main/b.safetensors", tmp_path)


def test_a_checkpoint_without_its_largest_text_encoder_needs_as_much(
    tinies: Callable[[str], Path], tmp_path: Path
) -> None:
    vae_and_clip = {"vae.x.weight": torch.zeros(1), "text_encoders.clip_l.transformer.x.weight": torch.zeros(1)}
    tensors = {**prefixed(denoiser_file("flux", tinies("flux")), COMFY), **vae_and_clip}
    assert entry_of(saved(tensors, tmp_path / "a.safetensors")).memory_gib == pytest.approx(33.9, abs=0.1)
    tensors["text_encoders.t5xxl.transformer.x.weight"] = torch.zeros(1)
    assert entry_of(saved(tensors, tmp_path / "b.safetensors")).memory_gib < 5


def test_the_command_prints_what_would_be_served(
    tinies: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pointed_entries, "describe_in_subprocess", here)
    monkeypatch.setenv("JUBAKO_MODEL_CACHE", str(tmp_path / "cache"))
    settings.cache_clear()
    folder = str(tinies("stable-diffusion"))
    assert main(["show", folder]) == 0
    assert "licence       unknown" in capsys.readouterr().out
    assert main(["show", folder, "--yaml"]) == 0
    (tmp_path / "own.yaml").write_text(capsys.readouterr().out)
    monkeypatch.setenv("JUBAKO_CATALOGUE", str(tmp_path / "own.yaml"))
    settings.cache_clear()
    (name,) = yaml.safe_load((tmp_path / "own.yaml").read_text())
    assert main(["show", name, "--json"]) == 0
    as_entry = json.loads(capsys.readouterr().out)
    monkeypatch.delenv("JUBAKO_CATALOGUE")
    settings.cache_clear()
    assert main(["show", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == as_entry
    assert main(["show", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err == f"models: {tmp_path}/nothing: there is no {tmp_path}/nothing\n"
    settings.cache_clear()


def here(pointers: Sequence[Pointer], _allowed: Permissions) -> list[Any]:
    """Look at models in this process, which has torch anyway."""
    try:
        return [describe(each.source, each.name, allow_pickle=False) for each in pointers if each.source]
    except LoadFailed as error:
        raise StartError(f"{pointers[0].text}: {error}") from error


def test_yaml_of_every_shipped_entry_is_that_entry(tmp_path: Path) -> None:
    for entry in shipped().entries.values():
        (tmp_path / "own.yaml").write_text(entry_yaml(entry))
        assert load_catalogue(tmp_path / "own.yaml").get(entry.id) == entry
        assert yaml.safe_load(entry_yaml(entry))[entry.id].get("tasks") != {}
