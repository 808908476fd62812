"""Pipelines of several tasks share weights, in the precision in which these were loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.generation.request import Task
from models.catalogue.families import FAMILIES
from models.weights.loading import load_pipelines
from tests.tiny import TINY
from tests.tiny.flux2 import tiny_flux2_klein_distilled


@pytest.mark.parametrize("family", ["stable-diffusion", "stable-diffusion-3", "flux"])
def test_every_task_keeps_the_precision_of_the_model(family: str, tmp_path: Path) -> None:
    pipelines = load_pipelines(FAMILIES[family], TINY[family].save(tmp_path), dtype=torch.bfloat16)
    for pipeline in pipelines.values():
        assert {m.dtype for m in pipeline.components.values() if isinstance(m, torch.nn.Module)} == {torch.bfloat16}
        assert pipeline.vae is pipelines[Task.TEXT_TO_IMAGE].vae


def test_an_autoencoder_in_float32_stays_so(tmp_path: Path) -> None:
    family = FAMILIES["stable-diffusion-xl"]
    pipelines = load_pipelines(family, TINY[family.name].save(tmp_path), dtype=torch.float16)
    assert {pipeline.vae.dtype for pipeline in pipelines.values()} == {torch.float32}
    assert {pipeline.unet.dtype for pipeline in pipelines.values()} == {torch.float16}


def test_settings_of_the_checkpoint_hold_for_every_task(tmp_path: Path) -> None:
    pipelines = load_pipelines(FAMILIES["flux2-klein"], tiny_flux2_klein_distilled(tmp_path))
    assert all(pipeline.config.is_distilled for pipeline in pipelines.values())
