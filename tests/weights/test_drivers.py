"""A card that torch does not see is not quietly left unused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.errors import InvalidRequest
from models.weights import devices, drivers
from models.weights.devices import resolve_device

VERSION = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.57.02  Tue Jul 13 16:14:05 UTC 2021\nGCC version: 9.4.0"


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with a card and an old driver, on which torch sees none."""
    (tmp_path / "nvidia0").touch()
    (tmp_path / "version").write_text(VERSION)
    monkeypatch.setattr(drivers, "CARDS", tmp_path)
    monkeypatch.setattr(drivers, "DRIVER", tmp_path / "version")
    monkeypatch.setattr(devices, "available_devices", lambda: ["cpu"])
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize("wanted", ["auto", "cuda", "cuda:1"])
def test_the_driver_that_is_needed_is_named(wanted: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve_device(wanted)
    for said in ("NVIDIA driver 470.57.02", "CUDA 12.8, which needs driver 525.60.13 or newer", "JUBAKO_DEVICE=cpu"):
        assert said in caught.value.message


def test_a_torch_without_cuda_is_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(InvalidRequest, match="built without CUDA; install torch for CUDA"):
        resolve_device("cuda")
    drivers._say_once.cache_clear()
    assert [resolve_device("auto") for _ in range(2)] == ["cpu", "cpu"]
    assert caplog.text.count("built without CUDA; install torch for CUDA, or set JUBAKO_DEVICE=cpu") == 1


def test_who_asks_for_the_cpu_gets_it() -> None:
    assert resolve_device("cpu") == "cpu"


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_cards_that_are_hidden_are_not_missed(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert resolve_device("auto") == "cpu"


def test_a_machine_without_cards_computes_on_its_cpu(tmp_path: Path) -> None:
    (tmp_path / "nvidia0").unlink()
    assert resolve_device("auto") == "cpu"
