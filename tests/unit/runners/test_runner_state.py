"""What a runner says of itself comes through to `GET /health`."""

from __future__ import annotations

from core.generation.events import Download
from runners.state import Card, ModelState, RunnerState

CARD = Card(allocated_gib=2, reserved_gib=3, peak_gib=2.5, total_gib=80, utilisation=0.5, temperature_c=None)
LOADING = RunnerState(
    model="sdxl", state=ModelState.LOADING, download=Download(1, 7, 3), cards={"cuda:0": CARD}, running=0
)


def test_cards_and_a_download_come_through() -> None:
    shown = LOADING.as_json()
    assert shown["download"] == {"done_bytes": 1, "total_bytes": 7, "bytes_per_s": 3}
    assert shown["cards"]["cuda:0"]["peak_gib"] == 2.5
    assert RunnerState.model_validate(shown) == LOADING


def test_each_of_several_runners_shows_its_own_memory_and_cards() -> None:
    cards = {"cuda:0": CARD, "cuda:1": CARD, "cuda:2": CARD}
    states = [
        LOADING.model_copy(update={"replica": number, "device": device, "cards": cards, "memory_gib": 2.0})
        for number, device in enumerate(("cuda:0", "cuda:2"), 1)
    ]
    shown = RunnerState.of_several("sdxl", states).as_json()
    assert shown["download"]["total_bytes"] == 7
    assert not {"cards", "memory_gib", "replica"} & shown.keys()
    assert [(one["replica"], list(one["cards"]), one["memory_gib"]) for one in shown["runners"]] == [
        (1, ["cuda:0"], 2.0),
        (2, ["cuda:2"], 2.0),
    ]
