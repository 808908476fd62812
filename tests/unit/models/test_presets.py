"""JUBAKO_FIT: the mildest options that make a model fit."""

from __future__ import annotations

import pytest

from core.errors import StartError
from models.catalogue.catalogue import SHIPPED, load_catalogue
from models.catalogue.presets import fitted

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
