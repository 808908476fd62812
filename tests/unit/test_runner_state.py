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


def test_of_several_runners_the_download_is_shown_and_their_cards_are_not() -> None:
    shown = RunnerState.of_several("sdxl", [LOADING, LOADING]).as_json()
    assert shown["download"]["total_bytes"] == 7
    assert "cards" not in shown
    assert all("cards" not in runner and runner["download"] for runner in shown["runners"])
