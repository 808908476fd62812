"""`python -m models`, in a process of its own where that matters, and the state of weights that it reports."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from models.__main__ import main
from models.catalogue.addons import ControlNetSpec, IpAdapterSpec, LoraSpec, PreviewSpec
from models.catalogue.catalogue import SHIPPED, load_catalogue
from models.catalogue.entry import Entry
from models.catalogue.limits import Defaults, Limits
from models.catalogue.memory.options import Memory, Quantization
from models.catalogue.presence import Presence, is_here, presence
from models.catalogue.showing.table import print_catalogue
from models.catalogue.sources import Source
from settings import settings
from tests.support.servers.serving import ENTRY_FIELDS, ROOT
from tests.tiny.images.stable_diffusion import tiny_stable_diffusion

GATED = {**ENTRY_FIELDS, "family": "stable-diffusion-xl", "source": {"repo": "someone/gated"}, "gated": True}
LOCAL = {**ENTRY_FIELDS, "family": "stable-diffusion", "source": {"path": "weights"}}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return tmp_path / "hub"


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """The operator's own file, with one model that is not there and one behind a licence."""
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({"own": LOCAL, "locked": GATED}))
    monkeypatch.setenv("JUBAKO_CATALOGUE", str(file))
    settings.cache_clear()
    return file


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    yield
    settings.cache_clear()


def snapshot(cache: Path, repo: str, *files: str) -> Path:
    """Lay out what the hub's client leaves in its cache."""
    root = cache / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("0" * 40)
    folder = root / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    return folder


def entry(fields: dict[str, Any], folder: Path) -> Entry:
    return Entry.model_validate({"id": "model", **fields}).under(folder)


class TestList:
    def test_every_model_has_a_row(self, catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([]) == 0
        printed = capsys.readouterr().out
        rows = {line.split()[0]: line for line in printed.splitlines() if line.strip()}
        assert {"miniature", "sdxl", "own", "locked"} <= rows.keys()
        cells = ["miniature", "t2i", "i2i", "inpaint", "128x128", "20", "Apache-2.0", "0.2", "here"]
        assert rows["miniature"].split() == cells
        assert rows["own"].split()[-1] == "missing"
        assert rows["locked"].split()[-1] == "gated"
        assert "none*" in rows["locked"]
        assert "accepted the licence" in printed

    def test_an_operator_with_a_token_is_not_told_to_get_one(
        self, catalogue: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_x")
        assert main(["list", "--json"]) == 0
        states = {model["id"]: model["state"] for model in json.loads(capsys.readouterr().out)}
        assert states["locked"] == "to download"

    @pytest.mark.parametrize("columns", [80, 100, 160])
    def test_names_sizes_and_states_stay_whole_on_any_terminal(self, columns: int, cache: Path) -> None:
        shipped, screen = load_catalogue(*SHIPPED), io.StringIO()
        print_catalogue(shipped, Console(file=screen, width=columns))
        lines = screen.getvalue().splitlines()
        assert max(map(len, lines)) <= columns
        for each in shipped.entries.values():
            (row,) = [line for line in lines if line.startswith(f"  {each.id} ")]
            assert f"{each.defaults.width}x{each.defaults.height}" in row
            assert row.rstrip().endswith(presence(each).value)

    @pytest.mark.parametrize("arguments", [["--json"], ["list", "--json"]])
    def test_machines_get_what_callers_get_and_the_state(
        self, arguments: list[str], catalogue: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(arguments) == 0
        models = {model["id"]: model for model in json.loads(capsys.readouterr().out)}
        assert models["own"]["state"] == "missing"
        assert models["own"]["tasks"]["text-to-image"]["defaults"]["num_inference_steps"] == 4


class TestShow:
    def test_everything_about_one_model(self, catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["show", "sdxl-lightning"]) == 0
        printed = capsys.readouterr().out
        assert "stabilityai/stable-diffusion-xl-base-1.0 (fp16)" in printed
        assert "guidance_scale 0 to 5" in printed
        assert "built in      lightning" in printed

    def test_a_mistyped_model_is_one_line_and_status_2(
        self, catalogue: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["show", "miniatur"]) == 2
        assert capsys.readouterr().err == "models: the catalogue has no model 'miniatur'; did you mean 'miniature'?\n"


class TestFetch:
    def test_weights_are_brought_here(self, catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["fetch", "own"]) == 2
        assert "there is no " in capsys.readouterr().err
        tiny_stable_diffusion(catalogue.parent / "weights")
        assert main(["fetch", "own"]) == 0
        assert capsys.readouterr().out == f"own is on this machine: {catalogue.parent / 'weights'}\n"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("JUBAKO_CATALOGUE", "broken.yaml", "models: broken.yaml: own: title: is missing"),
        ("JUBAKO_MAX_QUEUE", "-1", "models: JUBAKO_MAX_QUEUE: should be greater than or equal to 0, got '-1'"),
        ("JUBAKO_MODLES", "own", "models: unknown settings: JUBAKO_MODLES (did you mean JUBAKO_MODELS?)"),
    ],
)
def test_what_the_operator_wrote_wrong_is_one_line_and_status_2(
    name: str, value: str, says: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.yaml").write_text(yaml.safe_dump({"own": {**LOCAL, "title": None}}).replace("title: null", ""))
    run = subprocess.run(
        [sys.executable, "-m", "models"],
        env={**os.environ, "PYTHONPATH": str(ROOT), name: value},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (2, "", f"{says}\n")


class TestPresence:
    def test_a_folder_or_file_is_here_or_missing(self, tmp_path: Path) -> None:
        model = entry(LOCAL, tmp_path)
        assert presence(model) is Presence.MISSING
        (tmp_path / "weights").mkdir()
        assert presence(model) is Presence.HERE

    def test_a_lora_that_is_part_of_the_model_counts_and_one_to_choose_does_not(self, tmp_path: Path) -> None:
        (tmp_path / "weights").mkdir()
        lora = {"source": {"path": "lora.safetensors"}}
        assert presence(entry({**LOCAL, "loras": {"a": lora}}, tmp_path)) is Presence.HERE
        assert presence(entry({**LOCAL, "loras": {"a": {**lora, "always": True}}}, tmp_path)) is Presence.MISSING

    def test_one_file_of_a_repository(self, cache: Path) -> None:
        source = Source(repo="someone/loras", file="a.safetensors")
        assert not is_here(source)
        snapshot(cache, "someone/loras", "a.safetensors")
        assert is_here(source)
        assert not is_here(Source(repo="someone/loras", file="b.safetensors"))

    def test_a_snapshot_that_was_broken_off_is_not_here(self, cache: Path) -> None:
        files = ["unet/config.json", "scheduler/scheduler_config.json", "unet/model.fp16.safetensors"]
        folder = snapshot(cache, "someone/model", *files)
        parts: dict[str, list[str | None]] = {
            "unet": ["diffusers", "UNet"],
            "scheduler": ["diffusers", "S"],
            "image_encoder": [None, None],
        }
        parts["safety_checker"] = ["stable_diffusion", "C"]
        (folder / "model_index.json").write_text(json.dumps({"_class_name": "P", **parts}))
        source = Source(repo="someone/model")
        assert is_here(source)
        (folder / files[2]).unlink()
        assert not is_here(source)

    def test_weights_in_shards_are_here_when_all_shards_are(self, cache: Path) -> None:
        index, shards = "model.safetensors.index.json", [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
        folder = snapshot(cache, "someone/net", "config.json", *shards)
        (folder / index).write_text(json.dumps({"weight_map": {"a": shards[0], "b": shards[1]}}))
        assert is_here(Source(repo="someone/net"))
        (folder / shards[1]).unlink()
        assert not is_here(Source(repo="someone/net"))

    def test_bentomls_store(self) -> None:
        assert not is_here(Source(bento="nobody-has-this:1"))


EXAMPLES = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "models.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_of_the_documentation_are_valid(example: str, tmp_path: Path) -> None:
    (tmp_path / "example.yaml").write_text(example, encoding="utf-8")
    assert load_catalogue(tmp_path / "example.yaml").entries


def test_the_documentation_names_every_field() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    addons = (LoraSpec, ControlNetSpec, IpAdapterSpec, PreviewSpec)
    parts = (Entry, Defaults, Limits, Memory, Quantization, Source, *addons)
    fields = {name for part in parts for name in part.model_fields} - {"id"}
    assert sorted(name for name in fields if not re.search(rf"\b{name}\b", text)) == []
