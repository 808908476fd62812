from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.catalogue.catalogue import full_catalogue
from settings import Settings, refuse_unknown_variables

ROOT = Path(__file__).parents[3]


def test_models_are_separated_by_commas_and_each_is_served_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUBAKO_MODELS", "sdxl, miniature,sdxl,")
    assert Settings().models == ("sdxl", "miniature")


def test_a_wrong_value_names_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUBAKO_MAX_QUEUE", "-1")
    with pytest.raises(ValidationError, match="max_queue"):
        Settings()


@pytest.mark.parametrize(("device", "good"), [("cuda:1", True), ("cpu", True), ("gpu", False)])
def test_devices_are_the_known_ones(device: str, good: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUBAKO_DEVICE", device)
    if good:
        assert Settings().device == device
    else:
        with pytest.raises(ValidationError, match="DEVICE"):
            Settings()


def test_variables_of_the_diffuser_api_are_understood_and_ours_go_before(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {"MODEL_ID": "Qwen/Qwen-Image-Edit", "DEVICE": "cuda", "TORCH_DTYPE": "bfloat16", "ENABLE_WARMUP": "false"}
    for name, value in theirs.items():
        monkeypatch.setenv(f"DIFFUSER_{name}", value)
    monkeypatch.setenv("JUBAKO_DEVICE", "cpu")
    read = Settings()
    assert (read.device, read.dtype, read.load) == ("cpu", "bfloat16", "demand")
    served = full_catalogue(None).only(read.models)
    assert list(served.entries) == ["qwen-image-edit"]
    assert served.get("Qwen/Qwen-Image-Edit").id == "qwen-image-edit"


def test_an_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUBAKO_BATCH_TOKENS", "")
    assert Settings().batch_tokens is None


def test_a_misspelt_variable_is_refused_with_the_right_spelling() -> None:
    with pytest.raises(ValueError, match=r"JUBAKO_MAX_QUEU \(did you mean JUBAKO_MAX_QUEUE\?\)"):
        refuse_unknown_variables(["PATH", "JUBAKO_DEVICE", "JUBAKO_MAX_QUEU"])


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_start_with_a_wrong_setting_ends_in_one_line() -> None:
    environment = {**os.environ, "JUBAKO_MODELS": "miniatur"}
    command = [sys.executable, "-c", "import service"]
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == "jubako: the catalogue has no model 'miniatur'; did you mean 'miniature'?"
    assert "Traceback" not in run.stderr
