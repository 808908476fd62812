"""JUBAKO_FIT: the mildest options that make a model fit."""

from __future__ import annotations

import json

import pytest

from core.errors import StartError
from models.__main__ import main
from models.catalogue.capabilities import capabilities
from models.catalogue.catalogue import SHIPPED, load_catalogue
from models.catalogue.presets import fitted
from models.catalogue.served import served_catalogue
from settings import settings
from tests.unit.models.test_served import settings_of

CATALOGUE = load_catalogue(*SHIPPED)


@pytest.mark.parametrize(
    ("model", "room_gib", "offload", "tiling"),
    [
        ("sdxl", 24, "none", False),
        ("flux-dev", 80, "none", False),
        ("flux-dev", 26, "model", False),
        ("flux-dev", 16, "sequential", True),
        ("qwen-image", 48, "model", False),
    ],
)
def test_the_mildest_option_is_taken(model: str, room_gib: float, offload: str, tiling: bool) -> None:
    entry = fitted(CATALOGUE.get(model), room_gib)
    assert (entry.memory.offload, entry.memory.vae_tiling) == (offload, tiling)
    assert entry.memory_gib <= room_gib


def test_what_cannot_fit_is_refused_and_what_is_not_counted_stays() -> None:
    with pytest.raises(StartError, match=r"JUBAKO_FIT: flux-dev needs .* more than 0.5"):
        fitted(CATALOGUE.get("flux-dev"), 0.5)
    assert fitted(CATALOGUE.get("miniature"), 0.1) is CATALOGUE.get("miniature")


def test_an_offloaded_model_offers_no_ip_adapter() -> None:
    assert fitted(CATALOGUE.get("sdxl"), 24).ip_adapter is not None
    assert fitted(CATALOGUE.get("sdxl"), 7.5).ip_adapter is None


def test_the_served_models_are_fitted_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    served = served_catalogue(settings_of(monkeypatch, JUBAKO_MODELS="flux-dev", JUBAKO_FIT="26"))
    assert served.default.memory.offload == "model"
    assert capabilities(served.default)["memory_gib"] == fitted(CATALOGUE.get("flux-dev"), 26).memory_gib
    with pytest.raises(StartError, match="JUBAKO_FIT: flux-dev"):
        served_catalogue(settings_of(monkeypatch, JUBAKO_MODELS="flux-dev", JUBAKO_FIT="0.5"))


def test_showing_a_model_shows_it_as_it_would_be_served(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("models.__main__.settings", lambda: settings().model_copy(update={"fit": 26}))
    assert main(["show", "flux-dev", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["memory_gib"] == fitted(CATALOGUE.get("flux-dev"), 26).memory_gib
