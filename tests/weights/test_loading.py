"""Where checkpoints come from, and what an operator learns when one cannot be loaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.models.attention_dispatch import AttentionBackendName
from pydantic import ValidationError

from core.errors import InvalidRequest, LoadFailed
from core.generation.request import Task
from models.catalogue.entry import Entry
from models.catalogue.families import FAMILIES
from models.catalogue.memory.options import ATTENTION_BACKENDS
from models.catalogue.placement.place import Place
from models.catalogue.sources import Source
from models.weights.devices import available_devices, resolve_device
from models.weights.fetching.explanations import explained
from models.weights.loading import load, load_pipelines
from models.weights.store import save_to_store
from runners.engine.engine import EngineLimits
from runners.host.warmup import warm_up, warmup_requests
from runners.service import Replica, runner_service
from settings import Settings
from tests.support.engine.drawing import draw_plain, largest_difference, request
from tests.support.servers.forked import run_forked
from tests.support.servers.serving import DEFAULTS, ENTRY_FIELDS, LIMITS, ROOT
from tests.support.surroundings.hub import refusing_hub
from tests.tiny import TINY
from tests.tiny.images.qwen_image import shrink_inputs
from tests.tiny.images.stable_diffusion import tiny_stable_diffusion

ONLY = Replica(1, Place("cpu"))
LOAD = """
import json, os, sys
from core.errors import JubakoError
from models.catalogue.entry import Entry
from models.weights.loading import load
for fields in json.load(sys.stdin):
    os.environ["HF_TOKEN"] = fields.pop("token", "")
    try:
        print(json.dumps(list(load(Entry.model_validate(fields), "cpu").pipelines)))
    except JubakoError as error:
        print(json.dumps(f"{error.code}: {error.message}"))
"""
"""Loads each entry that it reads, in a process of its own: the hub's client reads all settings but the token once."""
FULL_DISK = """
from huggingface_hub import file_download
real = file_download.http_get
def http_get(url, temp_file, **options):
    with open("/dev/full", "wb", buffering=0) as full:
        real(url, full, **options)
file_download.http_get = http_get
"""
"""Downloads go to the device that is always full."""
IMPATIENT = """
from huggingface_hub.utils import _http
_http.time.sleep = lambda _: None
"""
"""What the hub does not answer now is asked again at once, five times."""


REFUSED: Mapping[str, dict[str, str]] = {
    **{name: {"repo": f"someone/{name}"} for name in ("gated", "gone", "private", "busy", "strict")},
    **{
        f"{name} file": {"repo": f"someone/{name}", "file": "model.safetensors"}
        for name in ("gated", "busy", "strict", "large")
    },
    "old": {"repo": "someone/old", "revision": "v9"},
    "gated with a token": {"repo": "someone/gated"},
}
TOKENS: Mapping[str, str] = {
    "strict": "hf_mistyped",
    "strict file": "hf_mistyped",
    "gated with a token": "hf_of_nobody",
}
CACHED = ("cached", "other", "begun", "pickled")
"""Of these, `other` is not in the cache, and `begun` and `pickled` are not as they should be."""


def fields_of(source: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**ENTRY_FIELDS, "id": "tiny", "family": "stable-diffusion", "source": source, **changes}


def entry_of(source: dict[str, Any], **changes: Any) -> Entry:
    return Entry.model_validate(fields_of(source, **changes))


def loaded_elsewhere(entries: list[dict[str, Any]], home: Path, *, prelude: str = "", **environment: str) -> list[Any]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = {**clean, "HF_HOME": str(home), **environment}
    result = run_forked(["-c", prelude + LOAD], environment, ROOT, json.dumps(entries))
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def spoilt(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(checkpoint, tmp_path / "spoilt"))


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Why nothing of `REFUSED` is loaded."""
    entries = [{**fields_of(source), "token": TOKENS.get(name, "")} for name, source in REFUSED.items()]
    home = tmp_path_factory.mktemp("refused")
    with refusing_hub() as address:
        said = loaded_elsewhere(
            entries, home, prelude=FULL_DISK + IMPATIENT, HF_ENDPOINT=address, HF_HUB_DISABLE_XET="1"
        )
    return dict(zip(REFUSED, said, strict=True))


@pytest.fixture(scope="module")
def offline(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What is loaded of `CACHED` and of a single file without the hub, or why it is not."""
    home = tmp_path_factory.mktemp("offline")
    in_cache(checkpoint, home, "someone/cached")
    begun = in_cache(checkpoint, home, "someone/begun")
    shutil.rmtree(begun / "vae")
    weights = in_cache(checkpoint, home, "someone/pickled") / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    file = home / "model.safetensors"
    shutil.copy(checkpoint / "unet" / "diffusion_pytorch_model.safetensors", file)
    sources = {name: {"repo": f"someone/{name}"} for name in CACHED} | {"file": {"path": str(file)}}
    said = loaded_elsewhere([fields_of(source) for source in sources.values()], home, HF_HUB_OFFLINE="1")
    return dict(zip(sources, said, strict=True))


class TestHub:
    def test_refusals_say_what_to_do(self, refused: Mapping[str, str]) -> None:
        assert refused["gated"] == refused["gated file"]
        assert "someone/gated is gated: accept the licence at https://huggingface.co/someone/gated" in refused["gated"]
        assert "set HF_TOKEN" in refused["gated"]
        assert "there is no repository someone/gone" in refused["gone"]
        assert "if it is private, set HF_TOKEN" in refused["private"]
        assert "someone/old has no revision v9" in refused["old"]
        for name in ("busy", "busy file"):
            assert refused[name] == (
                "load_interrupted: someone/busy cannot be downloaded now: the hub answers 503; try again later"
            )

    def test_a_token_that_the_hub_does_not_know_is_named(self, refused: Mapping[str, str]) -> None:
        for name in ("strict", "strict file"):
            assert refused[name].startswith("load_failed: the hub does not accept the token of HF_TOKEN")

    def test_a_disk_that_fills_up_during_a_download_is_called_that(self, refused: Mapping[str, str]) -> None:
        assert refused["large file"].startswith(
            "load_failed: the disk is full; someone/large needs more space: free some, or set HF_HOME"
        )

    def test_a_token_that_does_not_suffice_is_told_apart_from_none(self, refused: Mapping[str, str]) -> None:
        assert "the account of HF_TOKEN may not read it" in refused["gated with a token"]

    def test_offline_the_cache_is_used_and_what_it_lacks_is_named(self, offline: Mapping[str, Any]) -> None:
        assert offline["cached"] == ["text-to-image", "image-to-image", "inpaint"]
        assert "load_failed: someone/other is not in the cache, and HF_HUB_OFFLINE is set" in offline["other"]
        assert "python -m models fetch" in offline["other"]

    def test_a_file_that_is_there_is_never_said_to_be_missing(self, offline: Mapping[str, Any]) -> None:
        """Offline, it is the configuration of a single file that cannot be fetched."""
        said = offline["file"]
        assert "the configuration of .../model.safetensors, and all that it does not hold itself, are those of" in said
        assert "stable-diffusion-v1-5/stable-diffusion-v1-5 is not in the cache, and HF_HUB_OFFLINE is set" in said
        assert "as `config` in the catalogue entry" in said

    def test_a_download_that_was_interrupted_is_told_apart_from_none(self, offline: Mapping[str, Any]) -> None:
        assert "someone/begun lacks its vae" in offline["begun"]

    def test_pickles_in_the_cache_are_refused(self, offline: Mapping[str, Any]) -> None:
        assert "diffusion_pytorch_model.bin is a pickle" in offline["pickled"]

    def test_a_hub_that_cannot_be_reached_leaves_the_cache(self, checkpoint: Path, tmp_path: Path) -> None:
        in_cache(checkpoint, tmp_path, "someone/cached")
        entries = [fields_of({"repo": name}) for name in ("someone/cached", "someone/other")]
        cached, other = loaded_elsewhere(entries, tmp_path, prelude=IMPATIENT, HF_ENDPOINT="http://127.0.0.1:9")
        assert cached == ["text-to-image", "image-to-image", "inpaint"]
        assert other.startswith("load_interrupted: someone/other is not in the cache, and the hub cannot be reached")


def in_cache(checkpoint: Path, home: Path, repo: str) -> Path:
    """Lay a checkpoint out as the hub's client does after a download; return its folder."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = home / "hub" / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    return Path(shutil.copytree(checkpoint, folder / "snapshots" / commit))


class TestFiles:
    @pytest.mark.parametrize("part", ["vae", "tokenizer", "scheduler", "unet"])
    def test_a_component_that_is_not_there_is_named(self, spoilt: Path, part: str) -> None:
        shutil.rmtree(spoilt / part)
        with pytest.raises(LoadFailed, match=f"lacks its {part}; get the whole"):
            load(entry_of({"path": spoilt}), "cpu")

    def test_a_component_without_weights_is_named(self, spoilt: Path) -> None:
        (spoilt / "unet/diffusion_pytorch_model.safetensors").unlink()
        with pytest.raises(LoadFailed, match="lacks its unet"):
            load(entry_of({"path": spoilt}), "cpu")

    def test_a_folder_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(LoadFailed, match=f"there is no {tmp_path}/nothing") as caught:
            load(entry_of({"path": tmp_path / "nothing"}), "cpu")
        assert caught.value.message == "there is no .../nothing"

    def test_a_folder_that_is_no_pipeline_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(LoadFailed, match=r"has no model_index\.json"):
            load(entry_of({"path": tmp_path}), "cpu")

    @pytest.mark.parametrize("name", ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"])
    def test_truncated_weights_are_damaged(self, spoilt: Path, name: str) -> None:
        with (spoilt / name).open("r+b") as file:
            file.truncate(2000)
        with pytest.raises(LoadFailed, match="is damaged; delete the files"):
            load(entry_of({"path": spoilt}), "cpu")

    @pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
    def test_broken_configurations_are_damaged(self, spoilt: Path, name: str) -> None:
        (spoilt / name).write_text('{"_class_name": ')
        with pytest.raises(LoadFailed, match="is damaged; delete the files"):
            load(entry_of({"path": spoilt}), "cpu")

    def test_weights_of_another_shape_are_not_of_the_family(self, spoilt: Path) -> None:
        config = json.loads((spoilt / "unet/config.json").read_text())
        (spoilt / "unet/config.json").write_text(json.dumps({**config, "block_out_channels": [16, 64]}))
        with pytest.raises(LoadFailed, match="cannot be read as a checkpoint of its family"):
            load(entry_of({"path": spoilt}), "cpu")

    def test_pickles_are_refused_unless_they_are_allowed(self, checkpoint: Path, spoilt: Path) -> None:
        pipeline = DiffusionPipeline.from_pretrained(spoilt)
        (spoilt / "unet/diffusion_pytorch_model.safetensors").unlink()
        pipeline.unet.save_pretrained(spoilt / "unet", safe_serialization=False)
        with pytest.raises(LoadFailed, match=r"diffusion_pytorch_model\.bin is a pickle.*JUBAKO_ALLOW_PICKLE=true"):
            load(entry_of({"path": spoilt}), "cpu")
        allowed = load(entry_of({"path": spoilt}), "cpu", allow_pickle=True)
        plain = load(entry_of({"path": checkpoint}), "cpu")
        assert largest_difference(draw_plain(allowed, request()), draw_plain(plain, request())) == 0

    def test_a_single_file_that_is_a_pickle_is_refused(self, tmp_path: Path) -> None:
        torch.save({}, tmp_path / "model.ckpt")
        with pytest.raises(LoadFailed, match=r"model\.ckpt is a pickle"):
            load(entry_of({"path": tmp_path / "model.ckpt"}), "cpu")

    def test_a_full_disk_is_called_that(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_args: object, **_options: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("models.weights.fetching.fetch.hf_hub_download", full)
        with pytest.raises(LoadFailed, match="the disk is full; someone/large needs more space"):
            load(entry_of({"repo": "someone/large", "file": "model.safetensors"}), "cpu")

    def test_memory_that_runs_out_while_reading_is_no_damage(self) -> None:
        with pytest.raises(torch.OutOfMemoryError), explained(Source(path=Path("adapter.safetensors"))):
            raise torch.OutOfMemoryError


class TestStore:
    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        from bentoml._internal.configuration.containers import BentoMLContainer
        from bentoml._internal.models import ModelStore

        store = ModelStore(tmp_path)
        BentoMLContainer.model_store.set(store)
        yield store
        BentoMLContainer.model_store.reset()

    def test_a_saved_model_is_loaded_from_bentomls_store(self, checkpoint: Path, store: Any) -> None:
        original = entry_of({"path": checkpoint}, licence="CreativeML Open RAIL-M (2022)")
        tag = save_to_store(original)
        assert tag.startswith("tiny:")
        stored = load(entry_of({"bento": tag}), "cpu")
        assert largest_difference(draw_plain(stored, request()), draw_plain(load(original, "cpu"), request())) == 0

    def test_a_model_that_is_not_in_the_store_is_named(self, store: Any) -> None:
        with pytest.raises(LoadFailed, match="BentoML's model store has no tiny:none; put it there with"):
            load(entry_of({"bento": "tiny:none"}), "cpu")

    def test_a_bento_carries_what_its_runners_load_from_the_store(self, checkpoint: Path, store: Any) -> None:
        weights, lora = save_to_store(entry_of({"path": checkpoint})), "style:1"
        entry = entry_of({"bento": weights}, loras={"style": {"source": {"bento": lora, "file": "a.safetensors"}}})
        settings = Settings()
        declared = [str(model.tag) for model in runner_service(entry, settings, ONLY).models]
        assert declared == [weights, lora]
        assert runner_service(entry_of({"path": checkpoint}), settings, ONLY).models == []


FLOW = {**DEFAULTS, "scheduler": "flow_euler"}


class TestSingleFiles:
    def test_attention_backends_are_those_of_diffusers(self) -> None:
        assert {backend.value for backend in AttentionBackendName} == ATTENTION_BACKENDS

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"memory": {"attention": "flesh"}}, "memory.attention: 'flesh' is unknown; .*did you mean 'flash'"),
            (
                {"memory": {"attention": "_native_cudnn"}},
                "memory.attention: has no effect on stable-diffusion, whose attention is always PyTorch's own",
            ),
            (
                {"family": "z-image", "defaults": FLOW, "memory": {"attention": "sage"}},
                "memory.attention: sage takes no mask, and z-image masks the padding .*choose one of _flash_3_varlen",
            ),
            (
                {"memory": {"compile": True, "warm": [{"width": 64, "height": 60}]}},
                "memory.warm.0.height: 60 is not a multiple of",
            ),
            (
                {"memory": {"warm": [{"width": 64, "height": 64}]}},
                "memory.warm: has an effect with memory.compile only",
            ),
            ({"memory": {"compile": True, "text_buckets": [48]}}, "should be a multiple of 32"),
            (
                {"memory": {"quantization": {"backend": "torchao", "components": ["unet"]}}},
                "memory.quantization.options: torchao needs a quant_type",
            ),
            (
                {
                    "source": {"path": "a.safetensors"},
                    "memory": {"quantization": {"backend": "bitsandbytes_4bit", "components": ["unet"]}},
                },
                "memory.quantization: a single file is read as it is",
            ),
        ],
    )
    def test_what_would_have_no_effect_or_fail_late_is_refused(self, changes: dict[str, Any], said: str) -> None:
        with pytest.raises(ValidationError, match=said):
            Entry.model_validate({**fields_of({"path": "folder"}), **changes})


class TestFamilies:
    @pytest.mark.parametrize("family", TINY)
    async def test_each_is_loaded_from_a_catalogue_and_warmed_up(
        self, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shrink_inputs(monkeypatch)
        entry = catalogue_entry(family, TINY[family].save(tmp_path))
        model = load(entry, "cpu")
        assert set(model.pipelines) == set(FAMILIES[family].pipelines)
        await warm_up(model, warmup_requests(entry, model), EngineLimits(entry.batch_tokens))


def catalogue_entry(family: str, folder: Path) -> Entry:
    spec, tiny = FAMILIES[family], TINY[family]
    moves = any(task.is_video for task in spec.pipelines)
    defaults = {**DEFAULTS, "scheduler": tiny.scheduler, **({"num_frames": tiny.num_frames} if moves else {})}
    limits = {**LIMITS, "multiple_px": max(16, spec.size_multiple_px), **({"max_frames": 17} if moves else {})}
    fields = fields_of({"path": folder}, family=family, defaults=defaults, limits=limits, batch_tokens=2**16)
    return Entry.model_validate({**fields, "preview": None})


class TestPipelines:
    def test_only_the_tasks_of_the_entry_are_built(self, checkpoint: Path) -> None:
        model = load(entry_of({"path": checkpoint}, tasks={"image-to-image": {}}), "cpu")
        assert list(model.pipelines) == [Task.IMAGE_TO_IMAGE]
        assert draw_plain(model, request(Task.IMAGE_TO_IMAGE)).size == (64, 64)

    def test_the_safety_checker_is_left_out(self, spoilt: Path) -> None:
        index = json.loads((spoilt / "model_index.json").read_text())
        checker = {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
        (spoilt / "model_index.json").write_text(json.dumps({**index, **checker, "requires_safety_checker": True}))
        pipelines = load(entry_of({"path": spoilt}), "cpu").pipelines
        assert [pipeline.safety_checker for pipeline in pipelines.values()] == [None] * 3

    def test_progress_grows_to_one(self, checkpoint: Path) -> None:
        heard: list[float] = []
        load(entry_of({"path": checkpoint}), "cpu", report=heard.append)
        assert heard == sorted(heard)
        assert len(heard) == 6, "five components, and the device"
        assert heard[-1] == 1.0

    def test_components_of_the_family_stay_in_float32(self, tmp_path: Path) -> None:
        from tests.tiny.videos.wan import tiny_wan_ti2v

        pipelines = load_pipelines(FAMILIES["wan-ti2v"], tiny_wan_ti2v(tmp_path), dtype=torch.bfloat16)
        pipeline = next(iter(pipelines.values()))
        assert (pipeline.vae.dtype, pipeline.transformer.dtype) == (torch.float32, torch.bfloat16)

    def test_libraries_draw_no_bars_and_print_no_warnings(self, checkpoint: Path, tmp_path: Path) -> None:
        result = subprocess.run(
            [sys.executable, "-c", LOAD],
            input=json.dumps([fields_of({"path": str(checkpoint)})]),
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        said = [line for line in result.stderr.splitlines() if "requires torchvision" not in line]
        assert said == []


class TestDevices:
    def test_auto_is_the_accelerator_or_the_cpu(self) -> None:
        assert resolve_device("auto") == (available_devices()[1:] or ["cpu"])[0]

    def test_a_device_that_is_not_there_is_refused_with_those_that_are(self) -> None:
        with pytest.raises(InvalidRequest, match="there is no cuda:42 on this machine; it has cpu"):
            resolve_device("cuda:42")
