"""How much of a device a replica may count on, beside the others that are placed there."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from models.catalogue.catalogue import full_catalogue
from models.catalogue.memory.bounds import MemoryBounds
from models.catalogue.placement import machine_spots
from models.catalogue.placement.server_placement import KEPT
from processes.machine.cards import UsableCard
from runners import service
from runners.service import host_options, runner_services
from settings import Settings


def of_card(*others: Mapping[str, float], budget_gib: float | None = None, fit_gib: float | None = None) -> float:
    """The share of one that needs 10 GiB of a card of 48."""
    return MemoryBounds(others, budget_gib, fit_gib).share_gib("cuda:0", 48.0, 10.0)


def test_one_alone_has_all_of_the_device() -> None:
    assert of_card() == 48
    assert of_card({"cuda:1": 40.0}) == 48


def test_what_nobody_needs_is_divided() -> None:
    assert of_card({"cuda:0": 20.0}) == 10 + 18 / 2
    assert of_card({"cuda:0": 20.0, "cuda:1": 5.0}, {"cuda:0": 6.0}) == 10 + 12 / 3
    assert MemoryBounds(({"cuda:0": 10.0},)).share_gib("cuda:0", 48.0, 20.0) == 48 - of_card({"cuda:0": 20.0})


def test_those_that_take_turns_have_what_they_need() -> None:
    assert of_card({"cuda:0": 30.0}, {"cuda:0": 30.0}) == 10


@pytest.mark.parametrize(("bounds", "share"), [({"budget_gib": 40.0}, 15), ({"fit_gib": 12.0}, 12)])
def test_what_the_operator_allows_holds(bounds: dict[str, float], share: float) -> None:
    assert of_card({"cuda:0": 20.0}, **bounds) == share


def test_a_device_is_never_larger_than_it_is() -> None:
    assert MemoryBounds().share_gib("cuda:0", 8.0, 10.0) == 8
    assert of_card(budget_gib=100.0) == 48


def test_what_is_beside_models_is_none_of_theirs() -> None:
    assert MemoryBounds(beside_gib={"cuda:0": 5.0}).share_gib("cuda:0", 48.0, 10.0) == 43
    assert MemoryBounds(beside_gib={"cuda:1": 5.0}).share_gib("cuda:0", 48.0, 10.0) == 48
    bounds = MemoryBounds(({"auto": 20.0},), beside_gib={"auto": 5.0}).named({"auto": "cuda:0"}.__getitem__)
    assert bounds == MemoryBounds(({"cuda:0": 20.0},), beside_gib={"cuda:0": 5.0})


def test_others_are_found_by_the_name_that_the_device_has() -> None:
    bounds = MemoryBounds(({"auto": 20.0},), 40.0, 14.0).named({"auto": "cuda:0"}.__getitem__)
    assert bounds == MemoryBounds(({"cuda:0": 20.0},), 40.0, 14.0)


def test_each_replica_knows_what_is_placed_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """On two simulated cards: the larger model and an SDXL on one, another SDXL on the other."""
    chosen = {
        "JUBAKO_MODELS": "sdxl,z-image-turbo",
        "JUBAKO_REPLICAS": "sdxl:2",
        "JUBAKO_DEVICE": "cuda",
        "JUBAKO_MEMORY_BUDGET_GIB": "40",
        "JUBAKO_FIT": "30",
        "CUDA_DEVICE_ORDER": "",
        KEPT: "{}",
    }
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        machine_spots, "usable_cards", lambda: [UsableCard(f"cuda:{number}", 48, 47) for number in range(2)]
    )
    monkeypatch.setattr(
        service,
        "runner_service",
        lambda _entry, settings, replica: host_options(settings, replica.place.device, replica.others_gib),
    )
    made = runner_services(Settings())
    bounds = {(each.device, model): each.memory_bounds for model, replicas in made.items() for each in replicas}
    entries = map(full_catalogue(None).get, ("sdxl", "z-image-turbo"))
    sdxl, z_image = (entry.full_gib_on(["cuda:0"])["cuda:0"] for entry in entries)
    assert sdxl > 10.6 + 2 * 2.33, "its ControlNets too"
    assert bounds == {
        ("cuda:1", "sdxl"): MemoryBounds(({"cuda:0": sdxl}, {"cuda:0": z_image}), 40.0, 30.0),
        ("cuda:0", "sdxl"): MemoryBounds(({"cuda:1": sdxl}, {"cuda:0": z_image}), 40.0, 30.0),
        ("cuda:0", "z-image-turbo"): MemoryBounds(({"cuda:1": sdxl}, {"cuda:0": sdxl}), 40.0, 30.0),
    }
