"""Pipelines of several tasks share weights, in the precision in which these were loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.generation.request import Task
from models.catalogue.families import FAMILIES
from models.weights.loading import load_pipelines
from tests.support.engine.drawing import centre_mask, photo
from tests.tiny import TINY
from tests.tiny.images.flux2 import tiny_flux2_klein_distilled
from tests.tiny.images.stable_diffusion import tiny_stable_diffusion_3


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


def test_a_transformer_of_latents_with_other_channels_inpaints(tmp_path: Path) -> None:
    pipelines = load_pipelines(FAMILIES["stable-diffusion-3"], tiny_stable_diffusion_3(tmp_path, latent_channels=8))
    given = {"image": photo(), "mask_image": centre_mask(), "height": 64, "width": 64, "num_inference_steps": 2}
    assert pipelines[Task.INPAINT]("an apple", **given).images[0].size == (64, 64)
    assert pipelines[Task.TEXT_TO_IMAGE].transformer.config.in_channels == 8


def test_a_pipeline_that_was_saved_without_a_text_encoder_does_without(tmp_path: Path) -> None:
    pipelines = load_pipelines(FAMILIES["stable-diffusion-3"], tiny_stable_diffusion_3(tmp_path, t5=False))
    assert {pipeline.text_encoder_3 for pipeline in pipelines.values()} == {None}
    given = {"height": 64, "width": 64, "num_inference_steps": 1, "max_sequence_length": 16}
    assert pipelines[Task.TEXT_TO_IMAGE]("an apple", **given).images[0].size == (64, 64)
