"""What libraries put on `cuda`, without a number, lands on the card of the model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from models.catalogue.entry import Entry
from models.weights import loading
from models.weights.devices import current_device
from models.weights.loading import LoadedModel, load
from runners.engine.engine import Engine, EngineLimits
from tests.support.servers.serving import ENTRY_FIELDS

SECOND = torch.device("cuda", 1)


class Cards:
    """The current card of each thread, on a machine without any."""

    def __init__(self) -> None:
        self._local = threading.local()
        self.chosen: list[tuple[str, int]] = []

    @property
    def current(self) -> int:
        index: int = getattr(self._local, "index", 0)
        return index

    def choose(self, index: int) -> None:
        self._local.index = index
        self.chosen.append((threading.current_thread().name, index))

    @contextmanager
    def device_index(self, index: int | None) -> Iterator[None]:
        before = self.current
        if index is not None:
            self.choose(index)
        yield
        self._local.index = before


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Cards:
    cards = Cards()
    monkeypatch.setattr(torch.accelerator, "set_device_index", cards.choose)
    monkeypatch.setattr(torch.accelerator, "device_index", cards.device_index)
    return cards


def test_a_model_is_loaded_with_its_card_as_the_current_one(cards: Cards, monkeypatch: pytest.MonkeyPatch) -> None:
    during: list[int] = []

    def load_entry(*_: Any) -> dict[Any, Any]:
        during.append(cards.current)
        return {}

    monkeypatch.setattr(loading, "resolve_device", str)
    monkeypatch.setattr(loading, "_load_entry", load_entry)
    entry = Entry.model_validate(
        {**ENTRY_FIELDS, "id": "any", "family": "stable-diffusion", "source": {"path": Path("nowhere")}}
    )
    load(entry, str(SECOND))
    load(entry, "cpu")
    assert during == [1, 0]
    assert cards.current == 0, "the caller's own, as before"


def test_the_engine_computes_with_the_models_card_as_the_current_one(cards: Cards, tiny_model: LoadedModel) -> None:
    engine = Engine(replace(tiny_model, device=SECOND), EngineLimits(4096))
    engine.close()
    assert cards.chosen == [(f"engine-{tiny_model.id}", 1)]
    assert cards.current == 0


def test_a_cpu_has_no_number(cards: Cards) -> None:
    with current_device("cpu"):
        assert not cards.chosen
