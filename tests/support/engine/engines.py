"""Fixtures: engines of tiny models in this process. A folder's `conftest.py` imports what its tests use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch

from models.catalogue.families import FAMILIES
from models.weights.loading import LoadedModel, load_pipelines
from models.weights.pipelines.previews import LatentPreview
from runners.engine.engine import Engine, EngineLimits
from tests.support.engine.drawing import SIZE_PX
from tests.support.engine.parity import load_conditioned
from tests.support.engine.recorder import Recorder
from tests.tiny.images.stable_diffusion import tiny_stable_diffusion, tiny_stable_diffusion_xl

CALL_TOKENS = 2 * (SIZE_PX // 8) ** 2
"""Latent tokens of one guided denoiser call."""
GREY = LatentPreview(weight=[[0.25] * 3] * 4, bias=[0.0] * 3)


def _loaded(family: str, folder: Path) -> LoadedModel:
    pipelines = load_pipelines(FAMILIES[family], folder)
    return LoadedModel("tiny", FAMILIES[family], pipelines, torch.device("cpu"), GREY)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return _loaded("stable-diffusion", tiny_stable_diffusion(tmp_path_factory.mktemp("sd")))


@pytest.fixture(scope="session")
def tiny_xl_model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return _loaded("stable-diffusion-xl", tiny_stable_diffusion_xl(tmp_path_factory.mktemp("sdxl")))


@contextmanager
def running(model: LoadedModel, **limits: Any) -> Iterator[tuple[Engine, Recorder]]:
    """Run an engine, by default with room for 16 guided calls in a pass, until the block ends."""
    recorder = Recorder()
    engine = Engine(model, EngineLimits(**({"batch_tokens": 16 * CALL_TOKENS} | limits)), recorder)
    try:
        yield engine, recorder
    finally:
        engine.close()


@contextmanager
def denoiser(model: LoadedModel, forward: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Replace the denoiser's forward by `forward(real, sample, **others)`."""
    unet = model.components["unet"]
    real = unet.forward
    unet.forward = wraps(real)(lambda sample, **others: forward(real, sample, **others))
    try:
        yield real
    finally:
        del unet.forward


@pytest.fixture
def engine(tiny_model: LoadedModel) -> Iterator[Engine]:
    with running(tiny_model, batch_tokens=1024) as (engine, _):
        yield engine


@pytest.fixture
def xl_engine(tiny_xl_model: LoadedModel) -> Iterator[Engine]:
    with running(tiny_xl_model, batch_tokens=1024) as (engine, _):
        yield engine


@pytest.fixture(scope="module", params=["stable-diffusion", "stable-diffusion-xl"])
def conditioned_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """One with ControlNets and an IP-Adapter."""
    return load_conditioned(request.param, tmp_path_factory.mktemp("tiny"))
