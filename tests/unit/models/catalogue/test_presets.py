"""JUBAKO_FIT: of the options that make a model fit, those that cost the least speed."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.operations.status import router
from core.errors import StartError
from models.__main__ import main
from models.catalogue.catalogue import SHIPPED, load_catalogue
from models.catalogue.entry import Entry
from models.catalogue.memory.figures import RESERVE_GIB
from models.catalogue.memory.needs import HERE, needed_gib
from models.catalogue.memory.options import Memory, denoisers_of
from models.catalogue.memory.parallel import Parallel
from models.catalogue.serving.presets import fitted
from models.catalogue.serving.served_models import served_catalogue
from models.catalogue.showing.capabilities import capabilities
from runners.state import ModelState, RunnerState
from settings import settings
from tests.unit.models.catalogue.test_served_models import settings_of

CATALOGUE = load_catalogue(*SHIPPED)


ENCODERS, ALL = 1, 2
"""What is stored in 8 bits."""


@pytest.mark.parametrize(
    ("model", "room_gib", "offload", "in_8_bits", "tiling"),
    [
        ("sdxl", 24, "none", 0, False),
        ("flux-dev", 80, "none", 0, False),
        ("flux-dev", 31, "none", ENCODERS, False),
        ("flux-dev", 24, "none", ALL, False),
        ("sdxl", 8, "none", ENCODERS, True),
        ("sdxl", 6, "none", ALL, True),
        ("ltx-video", 12, "model", 0, False),
        ("qwen-image", 24, "model", ALL, False),
        ("qwen-image", 16, "group", 0, False),
        ("qwen-image", 5, "group", 0, True),
        ("flux-dev", 2, "sequential", 0, True),
    ],
)
def test_the_first_choice_that_fits_is_taken(
    model: str, room_gib: float, offload: str, in_8_bits: int, tiling: bool
) -> None:
    entry = fitted(CATALOGUE.get(model), room_gib)
    assert (entry.memory.offload, entry.memory.vae_tiling) == (offload, tiling)
    denoisers = {*denoisers_of(entry.family_spec)}
    cast = {*entry.memory.storage_dtype}
    assert bool(cast - denoisers) == (in_8_bits >= ENCODERS)
    assert bool(cast & denoisers) == (in_8_bits == ALL)
    assert entry.memory_gib <= room_gib


def own(**memory: Any) -> Entry:
    """FLUX with wishes of its own."""
    entry = CATALOGUE.get("flux-dev")
    wanted = Memory.model_validate(memory)
    assert entry.figures is not None
    needed = needed_gib(entry.figures, wanted, entry.default_request)
    return entry.model_copy(update={"memory": wanted, "memory_gib": needed[HERE]})


def test_what_an_entry_asks_for_itself_counts_and_stays() -> None:
    four_bits = {"backend": "bitsandbytes_4bit", "components": ["transformer", "text_encoder_2"]}
    small = own(quantization=four_bits)
    assert small.memory_gib == pytest.approx(13.1, abs=0.1)
    assert fitted(small, 14) is small
    fits = fitted(small, 8).memory
    assert fits.quantization == small.memory.quantization
    assert {*fits.storage_dtype} <= {"text_encoder"}, "what is quantized is not cast as well"
    assert fitted(own(offload="sequential"), 6).memory.offload == "sequential"
    with pytest.raises(StartError, match="flux-dev needs"):
        fitted(own(offload="model"), 6)
    compiled = fitted(own(compile=True), 31).memory
    assert (compiled.offload, {*compiled.storage_dtype}) == ("none", {"text_encoder", "text_encoder_2"})
    assert not {*fitted(own(compile=True), 24).memory.storage_dtype} & {"transformer"}


def test_components_elsewhere_are_counted_for_their_device() -> None:
    entry = CATALOGUE.get("flux-dev")
    assert entry.figures is not None
    split = {"text_encoder_2": "cuda:1", "vae": "cuda:1"}
    needed = needed_gib(entry.figures, Memory(), entry.default_request, split)
    weights = entry.figures.weights_gib
    assert needed[HERE] == pytest.approx(weights["transformer"] + weights["text_encoder"] + 0.45 + RESERVE_GIB, abs=0.1)
    assert needed["cuda:1"] == pytest.approx(weights["text_encoder_2"] + weights["vae"] + 1.5 + RESERVE_GIB, abs=0.1)
    wan = CATALOGUE.get("wan21-t2v-1.3b").model_copy(update={"memory_gib": 6.2})
    clips = wan.model_copy(update={"components": {"text_encoder": "cuda:1"}})
    assert {*fitted(clips, 10).memory.storage_dtype} == {"text_encoder"}, "that card has 10 GiB as well"
    on_cpu = wan.model_copy(update={"components": {"text_encoder": "cpu"}})
    assert fitted(on_cpu, 10) is on_cpu
    spread = entry.model_copy(update={"components": split})
    assert fitted(spread, 26).memory.offload == "none"
    with pytest.raises(StartError, match="flux-dev needs"):
        fitted(spread, 12)


def test_a_process_of_a_model_over_several_cards_may_share_one_with_components() -> None:
    entry = CATALOGUE.get("flux-dev")
    both: dict[str, Any] = {"components": {"text_encoder_2": "cuda:1"}, "parallel": Parallel(ulysses=2)}
    assert entry.figures is not None
    needed = needed_gib(entry.figures, Memory(), entry.default_request, both["components"])
    spread = entry.model_copy(update={**both, "memory_gib": needed[HERE]})
    together = needed[HERE] + needed["cuda:1"]
    assert fitted(spread, together) is spread
    assert fitted(spread, together - 3).memory.storage_dtype == {
        "text_encoder": "float8_e4m3fn",
        "text_encoder_2": "float8_e4m3fn",
    }
    with pytest.raises(StartError, match="JUBAKO_FIT: flux-dev needs"):
        fitted(spread, needed[HERE])
    apart = spread.model_copy(update={"devices": ("cuda:2", "cuda:3")})
    assert fitted(apart, needed[HERE]) is apart


def test_what_cannot_fit_is_refused_and_what_is_not_counted_stays() -> None:
    with pytest.raises(StartError, match=r"JUBAKO_FIT: flux-dev needs .* more than 0.5"):
        fitted(CATALOGUE.get("flux-dev"), 0.5)
    assert fitted(CATALOGUE.get("miniature"), 0.1) is CATALOGUE.get("miniature")


@pytest.mark.parametrize(
    ("model", "room_gib", "offload", "offers"),
    [
        ("z-image-turbo", 80, "none", True),
        ("z-image-turbo", 6, "group", False),
        ("qwen-image", 16, "group", True),
        ("sd35-large", 6, "group", True),
        ("sd35-large", 2, "sequential", False),
    ],
)
def test_a_model_that_is_offloaded_offers_no_controlnets_that_need_its_layers(
    model: str, room_gib: float, offload: str, offers: bool
) -> None:
    fits = fitted(CATALOGUE.get(model), room_gib)
    assert (fits.memory.offload, bool(fits.controlnets)) == (offload, offers)


def test_a_model_whose_denoiser_is_cast_or_offloaded_offers_no_ip_adapter() -> None:
    assert fitted(CATALOGUE.get("sdxl"), 10).ip_adapter is not None, "its encoders alone are in 8 bits"
    for room_gib, offload in ((6, "none"), (5, "model"), (2, "sequential")):
        fits = fitted(CATALOGUE.get("sdxl"), room_gib)
        assert (fits.ip_adapter, fits.memory.offload) == (None, offload)


def test_redux_needs_nothing_of_the_denoiser() -> None:
    fits = fitted(CATALOGUE.get("flux-dev-redux"), 16)
    assert fits.memory.offload == "model"
    assert fits.ip_adapter is not None


def test_the_served_models_are_fitted_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    served = served_catalogue(settings_of(monkeypatch, JUBAKO_MODELS="flux-dev", JUBAKO_FIT="16"))
    assert served.default.memory.offload == "model"
    assert capabilities(served.default)["memory_gib"] == fitted(CATALOGUE.get("flux-dev"), 16).memory_gib
    with pytest.raises(StartError, match="JUBAKO_FIT: flux-dev"):
        served_catalogue(settings_of(monkeypatch, JUBAKO_MODELS="flux-dev", JUBAKO_FIT="0.5"))


async def test_models_show_what_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    served = served_catalogue(settings_of(monkeypatch, JUBAKO_MODELS="flux-dev,sdxl", JUBAKO_FIT="16"))

    class Unloaded:
        async def state(self) -> RunnerState:
            return RunnerState(model="flux-dev", state=ModelState.UNLOADED)

    gateway = SimpleNamespace(catalogue=served, runners={"flux-dev": Unloaded(), "sdxl": Unloaded()})
    monkeypatch.setattr("api.operations.status.current_gateway", lambda: gateway)
    app = FastAPI()
    app.include_router(router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://jubako") as http:
        flux, sdxl = (await http.get("/models")).json()["models"]
    cast = dict.fromkeys(("transformer", "text_encoder", "text_encoder_2"), "float8_e4m3fn")
    assert flux["memory"] == {"offload": "model", "storage_dtype": cast}
    assert flux["memory_gib"] == served.default.memory_gib <= 16
    assert sdxl["memory"] == {}


def test_showing_a_model_shows_it_as_it_would_be_served(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("models.__main__.settings", lambda: settings().model_copy(update={"fit": 26}))
    assert main(["show", "flux-dev", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["memory_gib"] == fitted(CATALOGUE.get("flux-dev"), 26).memory_gib
