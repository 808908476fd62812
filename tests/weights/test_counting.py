"""What models need is counted on their modules without weights; `make figures` counts all of the catalogue."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from models.catalogue.catalogue import SHIPPED, load_catalogue
from models.weights.counting.count import counted
from models.weights.counting.modules import architectures
from models.weights.counting.peak import need_of

CATALOGUE = load_catalogue(*SHIPPED)
FLOAT_BYTES = 4


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.widen, self.narrow = nn.Linear(8, 32), nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.narrow(torch.relu_(self.widen(x)))
        return functional.scaled_dot_product_attention(y, y, y)


def test_the_peak_is_the_largest_sum_of_tensors_that_live_together() -> None:
    with torch.device("meta"):
        module, x = Attending(), torch.empty(1, 1000, 8)
    need = need_of(module, module, {"x": x})
    assert need.peak_bytes == 1000 * (32 + 8) * FLOAT_BYTES, "views and inputs add nothing, and what is freed leaves"
    assert need.flop == 2 * 2 * 1000 * 8 * 32 + 2 * 2 * 1000 * 1000 * 8


def test_every_shipped_model_of_the_hub_has_an_architecture() -> None:
    known = architectures()
    assert {*known.models} == {model for model, entry in CATALOGUE.entries.items() if entry.source.repo}
    assert {name for parts in known.models.values() for name in parts.values()} == {*known.components}


@pytest.mark.parametrize("model", ["sd15"])
def test_the_catalogue_says_what_is_counted(model: str) -> None:
    entry = CATALOGUE.get(model)
    assert entry.figures is not None
    fresh: dict[str, Any] = counted(entry)
    assert entry.figures.model_dump() == fresh
