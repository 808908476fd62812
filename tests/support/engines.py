"""Fixtures: engines of tiny models in this process. A folder's `conftest.py` imports what its tests use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from models.catalogue.families import FAMILIES
from models.weights.loading import LoadedModel, load_pipelines
from models.weights.previews import LatentPreview
from runners.engine.engine import Engine, EngineLimits
from tests.tiny.stable_diffusion import tiny_stable_diffusion, tiny_stable_diffusion_xl

GREY = LatentPreview(weight=[[0.25] * 3] * 4, bias=[0.0] * 3)


def _loaded(family: str, folder: object) -> LoadedModel:
    pipelines = load_pipelines(FAMILIES[family], str(folder))
    return LoadedModel("tiny", FAMILIES[family], pipelines, torch.device("cpu"), GREY)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return _loaded("stable-diffusion", tiny_stable_diffusion(tmp_path_factory.mktemp("sd")))


@pytest.fixture(scope="session")
def tiny_xl_model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return _loaded("stable-diffusion-xl", tiny_stable_diffusion_xl(tmp_path_factory.mktemp("sdxl")))


def _running(model: LoadedModel) -> Iterator[Engine]:
    engine = Engine(model, EngineLimits(batch_tokens=1024))
    yield engine
    engine.close()


@pytest.fixture
def engine(tiny_model: LoadedModel) -> Iterator[Engine]:
    yield from _running(tiny_model)


@pytest.fixture
def xl_engine(tiny_xl_model: LoadedModel) -> Iterator[Engine]:
    yield from _running(tiny_xl_model)
