"""Replicas on simulated cards: where each goes, and what is refused."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from itertools import product

import pytest

from core.device_names import first_device
from core.errors import StartError
from models.catalogue.catalogue import Catalogue, full_catalogue
from models.catalogue.placement import machine_spots
from models.catalogue.placement.groups import SpotGroup, groups_of
from models.catalogue.placement.machine_spots import spots_for
from models.catalogue.placement.place import Demand, Place, Spot
from models.catalogue.placement.planner import PlacementPlan, plan
from models.catalogue.placement.server_placement import KEPT, replica_places, single_places
from processes.machine.cards import UsableCard, visible
from processes.machine.nvml import CardMemory
from settings import Settings

UNEVEN_GIB = (80.0, 24.0, 24.0, 48.0, 16.0, 80.0, 8.0, 24.0)
CARDS = [Spot(Place(f"cuda:{number}"), size, size) for number, size in enumerate(UNEVEN_GIB)]
CORES = [Spot(Place("cpu", slot, 2), 64.0, 32.0, crowded=True) for slot in range(2)]


def devices(made: PlacementPlan, model: str) -> list[str]:
    return [place.device for place in made.places[model]]


def test_models_are_spread_over_the_cards_by_free_memory() -> None:
    used = [Spot(Place("cuda:0"), 24, 3), Spot(Place("cuda:1"), 24, 20)]
    assert devices(plan(used, [Demand("a", 8)]), "a") == ["cuda:1"]
    made = plan([Spot(Place("cuda:0"), 24, 24), Spot(Place("cuda:1"), 24, 24)], [Demand("a", 8), Demand("b", 8)])
    assert {*devices(made, "a"), *devices(made, "b")} == {"cuda:0", "cuda:1"}


def test_the_largest_model_is_placed_first() -> None:
    made = plan(CARDS, [Demand("small", 4), Demand("huge", 75), Demand("large", 70)])
    assert {*devices(made, "huge"), *devices(made, "large")} == {"cuda:0", "cuda:5"}
    assert devices(made, "small") == ["cuda:3"]


def test_replicas_go_to_cards_of_their_own_before_they_share_one() -> None:
    made = plan(CARDS, [Demand("a", 8, replicas=8)])
    assert sorted(devices(made, "a")) == [f"cuda:{number}" for number in range(8)]
    assert len(plan(CARDS, [Demand("a", 8, replicas=20)]).places["a"]) == 20


def test_auto_is_one_on_each_card_with_room_beside_the_others() -> None:
    made = plan(CARDS, [Demand("auto", 20, replicas=None), Demand("fixed", 70, replicas=2)])
    assert sorted(devices(made, "fixed")) == ["cuda:0", "cuda:5"]
    assert sorted(devices(made, "auto")) == ["cuda:1", "cuda:2", "cuda:3", "cuda:7"]
    two = plan(CARDS[1:3], [Demand("a", 12, replicas=None), Demand("b", 12, replicas=None)])
    assert sorted(devices(two, "a")) == sorted(devices(two, "b")) == ["cuda:1", "cuda:2"]


def test_more_replicas_than_fit_are_refused_with_the_limit() -> None:
    with pytest.raises(
        StartError, match=r"JUBAKO_REPLICAS: a:9 is more than the 7 that fit, at 30 GiB.*cuda:3 48\.0 of"
    ):
        plan([*CARDS[:4], CARDS[5], Spot(Place("cuda:9"), 64, 60)], [Demand("a", 30, replicas=9)])
    with pytest.raises(StartError, match=r"more than the 2 that fit: one on each of cpu .*cpu:N"):
        plan(CORES, [Demand("a", 1, replicas=3)])


def both(made: PlacementPlan, model: str) -> list[tuple[str, ...]]:
    return sorted(place.devices for place in made.places[model])


def test_a_model_over_several_devices_reserves_all_of_them() -> None:
    four = [Spot(Place(f"cuda:{number}"), 24, 24) for number in range(4)]
    made = plan(four, [Demand("split", 20, device_count=2), Demand("a", 20), Demand("b", 20)])
    assert both(made, "split") == [("cuda:0", "cuda:1")]
    assert {*devices(made, "a"), *devices(made, "b")} == {"cuda:2", "cuda:3"}
    assert both(plan(four, [Demand("split", 20, 2, device_count=2)]), "split") == [
        ("cuda:0", "cuda:1"),
        ("cuda:2", "cuda:3"),
    ]
    assert both(plan(four, [Demand("split", 10, None, device_count=2)]), "split") == [
        ("cuda:0", "cuda:1"),
        ("cuda:2", "cuda:3"),
    ]
    assert str(made.places["split"][0]) == "cuda:0 and cuda:1"
    with pytest.raises(StartError, match="split:3 is more than the 2 that fit, at 20 GiB each on 2 devices"):
        plan(four, [Demand("split", 20, 3, device_count=2)])


def test_what_only_fits_across_pairs_goes_there() -> None:
    sizes = [Spot(Place(f"cuda:{number}"), size, size) for number, size in enumerate((8.0, 24.0, 24.0, 8.0))]
    assert both(plan(sizes, [Demand("split", 20, device_count=2)]), "split") == [("cuda:1", "cuda:2")]


def test_pairs_leave_room_for_others() -> None:
    """The two with most memory are in the middle, and what is beside them would be no pair."""
    sizes = [Spot(Place(f"cuda:{number}"), size, size) for number, size in enumerate((24.0, 30.0, 30.0, 24.0))]
    assert both(plan(sizes, [Demand("split", 20, 2, device_count=2)]), "split") == [
        ("cuda:0", "cuda:1"),
        ("cuda:2", "cuda:3"),
    ]


def test_devices_of_one_model_follow_each_other() -> None:
    apart = [Spot(Place(f"cuda:{number}"), 24, 24) for number in (0, 2)]
    with pytest.raises(StartError, match=r"split: parallel: needs 2 devices whose .* may have cuda:0, cuda:2"):
        plan(apart, [Demand("split", 8, device_count=2)])
    with pytest.raises(StartError, match="split: parallel: needs 2 devices"):
        plan(CARDS, [Demand("split", 8, devices=("cuda:5",), device_count=2)])
    assert both(plan(CARDS, [Demand("split", 8, devices=("cuda:5", "cuda:6"), device_count=2)]), "split") == [
        ("cuda:5", "cuda:6")
    ]
    assert both(plan(CORES[:1], [Demand("split", 8, device_count=2)]), "split") == [("cpu",)]


def test_an_entry_names_its_devices() -> None:
    made = plan(CARDS, [Demand("a", 8, replicas=2, devices=("cuda:4", "cuda:7")), Demand("b", 2, devices=("cuda:6",))])
    assert sorted(devices(made, "a")) == ["cuda:4", "cuda:7"]
    assert devices(made, "b") == ["cuda:6"]
    with pytest.raises(StartError, match=r"a: devices: cuda:8 is not among those .* \(JUBAKO_DEVICE\): cuda:0, "):
        plan(CARDS, [Demand("a", 8, devices=("cuda:1", "cuda:8"))])


def test_a_model_without_room_takes_turns_where_most_is_left() -> None:
    made = plan(CARDS[1:3], [Demand("a", 20), Demand("b", 20), Demand("c", 18)])
    assert {*devices(made, "a"), *devices(made, "b")} == {"cuda:1", "cuda:2"}
    assert devices(made, "c")[0] in ("cuda:1", "cuda:2")
    assert made.notes == ()


def cards_of(*sizes_gib: float) -> list[Spot]:
    return [Spot(Place(f"cuda:{number}"), size, size) for number, size in enumerate(sizes_gib)]


def test_models_move_for_one_that_must_be_on_a_card() -> None:
    made = plan(cards_of(24, 20), [Demand("anywhere", 18), Demand("fixed", 16, devices=("cuda:0",))])
    assert (devices(made, "anywhere"), devices(made, "fixed")) == (["cuda:1"], ["cuda:0"])


def test_models_share_cards_so_that_all_have_room() -> None:
    """By free memory alone, the second 4 GiB would find 1 and 3."""
    made = plan(cards_of(10, 8), [Demand("a", 5), Demand("b", 5), Demand("c", 4), Demand("d", 4)])
    assert devices(made, "a") == devices(made, "b") == ["cuda:0"]
    assert devices(made, "c") == devices(made, "d") == ["cuda:1"]


def test_models_move_for_replicas() -> None:
    made = plan(cards_of(12, 10), [Demand("one", 8), Demand("two", 6, replicas=2)])
    assert (devices(made, "one"), devices(made, "two")) == (["cuda:1"], ["cuda:0", "cuda:0"])
    with pytest.raises(StartError, match="two:3 is more than the 2 that fit"):
        plan(cards_of(12, 10), [Demand("one", 8), Demand("two", 6, replicas=3)])


def test_components_have_room_on_their_own_cards() -> None:
    split = Demand("split", 12, elsewhere_gib=(("cuda:1", 6.0), ("cuda:9", 6.0)))
    assert devices(plan(cards_of(24, 24), [split]), "split") == ["cuda:0"]
    # All of it shares a card, if that is what leaves room for another model.
    made = plan(cards_of(24, 24), [split, Demand("other", 20)])
    assert (devices(made, "split"), devices(made, "other")) == (["cuda:1"], ["cuda:0"])
    made = plan(cards_of(24, 24), [split, Demand("filling", 9, replicas=None)])
    assert devices(made, "filling") == ["cuda:1", "cuda:0"]
    with pytest.raises(StartError, match="split:2 is more than the 1 that fit"):
        plan([Spot(Place("cpu"), 35, 35)], [replace(split, memory_gib=6, replicas=2)])


def memory_left_gib(spots: list[Spot], placed: Iterable[tuple[Demand, SpotGroup]]) -> float:
    """On the fullest card."""
    left = {spot.place.device: spot.free_gib for spot in spots}
    for demand, group in placed:
        for device, gib in group.needed_gib(demand).items():
            left[device] -= gib
    return min(left.values())


def test_room_is_found_wherever_trying_all_ways_finds_it() -> None:
    chance, possible = random.Random(7), 0
    for _ in range(150):
        cards = cards_of(*chance.choices([8, 12, 16, 24], k=3))
        devices = [spot.place.device for spot in cards]
        demands = [
            Demand(
                f"model-{number}",
                chance.randint(2, 14),
                replicas=chance.choice([1, 1, 2]),
                devices=tuple(chance.sample(devices, 2)) if chance.random() < 0.3 else (),
                elsewhere_gib=((chance.choice(devices), 3.0),) if chance.random() < 0.3 else (),
            )
            for number in range(3)
        ]
        each = [demand for demand in demands for _ in range(demand.replicas or 1)]
        ways = product(*(groups_of(cards, demand) for demand in each))
        if not any(memory_left_gib(cards, zip(each, way, strict=True)) >= 0 for way in ways):
            continue
        possible += 1
        places = plan(cards, demands).places
        spots = {spot.place: spot for spot in cards}
        placed = [(demand, SpotGroup((spots[place],))) for demand in demands for place in places[demand.model]]
        assert len(placed) == len(each)
        assert memory_left_gib(cards, placed) >= 0
    assert possible > 50


def test_the_search_for_room_ends() -> None:
    """Without room for the last, all ways to place the others would be tried."""
    crowd = [Demand(f"model-{number}", 7 + number / 16) for number in range(24)]
    cards = cards_of(*[24] * 8)
    first, second = (plan(cards, [*crowd, Demand("fixed", 17, devices=("cuda:0",))]) for _ in range(2))
    assert first == second
    assert devices(first, "fixed") == ["cuda:0"]


def test_a_model_larger_than_any_card_gets_a_hint() -> None:
    (note,) = plan(CARDS, [Demand("giant", 100)]).notes
    assert "giant needs 100 GiB" in note
    assert "offload: model" in note


def test_parts_of_the_cores_have_one_replica_each() -> None:
    assert [place.slot for place in plan(CORES, [Demand("a", 1, replicas=2)]).places["a"]] == [0, 1]
    made = plan(CORES, [Demand("a", 1), Demand("b", 1)])
    assert {made.places["a"][0].slot, made.places["b"][0].slot} == {0, 1}


def test_the_machine_s_cores_are_divided() -> None:
    assert [str(spot.place) for spot in spots_for("cpu:2", None)] == ["cpu (cores 1 of 2)", "cpu (cores 2 of 2)"]
    with pytest.raises(StartError, match=r"cpu:4096 is more than this machine's \d+ cores"):
        spots_for("cpu:4096", None)


def test_the_first_process_decides_and_its_children_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUBAKO_DEVICE", "cuda")
    monkeypatch.setenv("JUBAKO_REPLICAS", "miniature:2")
    monkeypatch.setenv(KEPT, "{}")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "")
    free_gib = [20.0, 23.0]
    cards = lambda: [UsableCard(f"cuda:{number}", 24, free) for number, free in enumerate(free_gib)]  # noqa: E731
    monkeypatch.setattr(machine_spots, "usable_cards", cards)
    settings, catalogue = Settings(), full_catalogue(None)
    served = Catalogue([catalogue.get("miniature")])
    first = replica_places(settings, served, list(served.entries.values()))
    assert [place.device for place in first["miniature"]] == ["cuda:1", "cuda:0"]
    # Meanwhile other cards are free, as a child sees.
    free_gib.reverse()
    assert replica_places(settings, served, list(served.entries.values())) == first
    monkeypatch.setenv("JUBAKO_DEVICE", "cuda:1")
    changed = replica_places(Settings(), served, list(served.entries.values()))
    assert [place.device for place in changed["miniature"]] == ["cuda:1", "cuda:1"]


def test_models_leave_an_upscaling_model_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEPT, "{}")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "")
    monkeypatch.setattr(
        machine_spots, "usable_cards", lambda: [UsableCard(f"cuda:{number}", 24, 22) for number in range(2)]
    )
    assert [spot.free_gib for spot in spots_for("cuda:1,0", None, 5)] == [17, 22]
    assert [spot.free_gib for spot in spots_for("cuda", 20, 5)] == [17, 20]
    served = Catalogue([full_catalogue(None).get("miniature")])
    monkeypatch.setenv("JUBAKO_DEVICE", "cuda")
    alone = replica_places(Settings(), served, list(served.entries.values()))
    beside = replica_places(Settings(upscaler="someone/esrgan"), served, list(served.entries.values()))
    assert [places["miniature"][0].device for places in (alone, beside)] == ["cuda:0", "cuda:1"]


def test_a_process_of_one_replica_refuses_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUBAKO_DEVICE", "cpu:2")
    monkeypatch.setenv(KEPT, "{}")
    entries = [full_catalogue(None).get("miniature")]
    assert single_places(Settings(), Catalogue(entries), entries)["miniature"].device == "cpu"
    monkeypatch.setenv("JUBAKO_REPLICAS", "auto")
    with pytest.raises(StartError, match="JUBAKO_REPLICAS: this process runs one replica of miniature, not 2"):
        single_places(Settings(), Catalogue(entries), entries)


@pytest.mark.parametrize(
    ("variable", "expected"),
    [(None, "abc"), ("", ""), ("-1", ""), ("2,0", "ca"), ("1,9,0", "b"), ("GPU-c,0", "ca")],
)
def test_cards_are_those_that_cuda_may_see(variable: str | None, expected: str) -> None:
    every = [CardMemory(f"GPU-{name}", 8.0, 8.0) for name in "abc"]
    assert "".join(card.uuid[-1] for card in visible(every, variable)) == expected


@pytest.mark.parametrize(
    ("text", "first"),
    [("cuda:2,0", "cuda:2"), ("cuda", "cuda"), ("cpu:2", "cpu"), ("auto", "auto"), ("xpu:1", "xpu:1")],
)
def test_what_uses_one_device_has_the_first(text: str, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUBAKO_DEVICE", text)
    assert Settings().first_device == first_device(text) == first


@pytest.mark.parametrize(
    ("text", "read"),
    [("sdxl:4, flux-dev:2", {"sdxl": 4, "flux-dev": 2}), ("auto", {"*": "auto"}), ("a:auto", {"a": "auto"})],
)
def test_replicas_are_counted_by_model(text: str, read: dict[str, int | str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUBAKO_REPLICAS", text)
    assert Settings().replicas == read
