"""The spots of this machine that JUBAKO_DEVICE names."""

from __future__ import annotations

import psutil

from core.device_names import CPU, devices_in
from core.errors import StartError
from models.catalogue.memory.other_processes import gib_for_models
from models.catalogue.placement.place import Place, Spot
from processes.machine.cards import UsableCard, usable_cards
from processes.machine.cores import own_cores


def spots_for(wanted: str, budget_gib: float | None, beside_gib: float = 0.0) -> list[Spot]:
    """Return the spots that JUBAKO_DEVICE names; models take at most `budget_gib` of each device.

    On the first device, `beside_gib` is kept free for other processes.

    Without NVIDIA cards, `auto` and other names stay as they are: only torch, in the process that uses them, knows what
    they mean. Raises StartError for a card that does not exist, or more slots than cores.
    """
    kind, numbers = devices_in(wanted)
    if kind == CPU:
        return _slots(int(numbers[0]) if numbers else 1, budget_gib, beside_gib)
    cards = usable_cards() if kind in ("auto", "cuda") else []
    if not cards:
        names = [f"{kind}:{number}" for number in numbers] or [kind]
        return [Spot(Place(name), crowded=True) for name in names]
    first, *others = _chosen(cards, numbers)
    return [_spot(first, budget_gib, beside_gib), *(_spot(card, budget_gib) for card in others)]


def _chosen(cards: list[UsableCard], numbers: tuple[int, ...]) -> list[UsableCard]:
    if unknown := [number for number in numbers if number >= len(cards)]:
        there = ", ".join(card.device for card in cards)
        raise StartError(f"JUBAKO_DEVICE: there is no cuda:{unknown[0]} on this machine; it has {there}")
    return [cards[number] for number in numbers] or cards


def _spot(card: UsableCard, budget_gib: float | None, beside_gib: float = 0.0) -> Spot:
    total_gib, free_gib = (gib_for_models(gib, beside_gib, budget_gib) for gib in (card.total_gib, card.free_gib))
    return Spot(Place(card.device), total_gib, free_gib)


def _slots(slots: int, budget_gib: float | None, beside_gib: float) -> list[Spot]:
    cores = len(own_cores())
    if slots > cores:
        raise StartError(f"JUBAKO_DEVICE: cpu:{slots} is more than this machine's {cores} cores")
    memory = psutil.virtual_memory()
    sizes_gib = memory.total / 2**30, memory.available / 2**30
    total_gib, free_gib = (gib_for_models(gib, beside_gib, budget_gib) for gib in sizes_gib)
    return [Spot(Place(CPU, slot, slots), total_gib, free_gib, crowded=True) for slot in range(slots)]
