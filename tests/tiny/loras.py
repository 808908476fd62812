"""LoRAs and their kin in the layouts of other programs, with random weights, and what each adds to the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from tests.tiny.original_names import Tensors

Deltas = Mapping[str, torch.Tensor]
"""What is added to the weight of each layer, by its path."""
RANK = 3


def shapes_of(module: nn.Module, endings: Sequence[str]) -> dict[str, torch.Size]:
    """Return the shapes of the weights of layers whose paths end so."""
    layers: dict[str, Any] = dict(module.named_modules())
    return {
        path: layer.weight.shape
        for path, layer in layers.items()
        if path.endswith(tuple(endings)) and isinstance(layer, nn.Linear | nn.Conv2d)
    }


def random(*shape: int, strength: float = 0.5) -> torch.Tensor:
    return torch.randn(*shape) * strength


def lora(shape: torch.Size) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    down, up = random(RANK, *shape[1:]), random(shape[0], RANK, *[1] * (len(shape) - 2))
    delta = (up.flatten(1) @ down.flatten(1)).reshape(shape) * 0.5
    return {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(RANK * 0.5)}, delta


def loha(shape: torch.Size) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    inputs = shape[1:].numel()
    w = {
        f"hada_w{n}_{side}": random(*size)
        for n in (1, 2)
        for side, size in zip("ab", sizes(shape, inputs), strict=True)
    }
    delta = (w["hada_w1_a"] @ w["hada_w1_b"]) * (w["hada_w2_a"] @ w["hada_w2_b"]) * 0.5
    return {**w, "alpha": torch.tensor(RANK * 0.5)}, delta.reshape(shape)


def sizes(shape: torch.Size, inputs: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (shape[0], RANK), (RANK, inputs)


def lokr(shape: torch.Size) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Both factors whole, which no alpha scales."""
    small, large = random(2, 2), random(shape[0] // 2, shape[1] // 2, *shape[2:])
    delta = torch.kron(small.reshape(2, 2, *[1] * (len(shape) - 2)), large)
    return {"lokr_w1": small, "lokr_w2": large, "alpha": torch.tensor(77.0)}, delta


def lokr_of_products(shape: torch.Size) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    small, a, b = random(4, 4), random(shape[0] // 4, RANK), random(RANK, shape[1] // 4 * shape[2:].numel())
    large = (a @ b).reshape(shape[0] // 4, shape[1] // 4, *shape[2:]) * 0.5
    delta = torch.kron(small.reshape(4, 4, *[1] * (len(shape) - 2)), large)
    return {"lokr_w1": small, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(RANK * 0.5)}, delta


def diff(shape: torch.Size) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    delta = random(*shape, strength=0.2)
    return {"diff": delta}, delta


Kind = Callable[[torch.Size], tuple[dict[str, torch.Tensor], torch.Tensor]]
KINDS: Mapping[str, Kind] = {
    "lora": lora,
    "loha": loha,
    "lokr": lokr,
    "lokr_of_products": lokr_of_products,
    "diff": diff,
}


def made(
    kind: str, shapes: Mapping[str, torch.Size], name: Callable[[str], str] = str
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return a file's tensors and what they add to each layer; `name` is that of a layer in the file."""
    torch.manual_seed(len(kind))
    tensors: dict[str, torch.Tensor] = {}
    deltas = {}
    for path, shape in shapes.items():
        parts, deltas[path] = KINDS[kind](shape)
        tensors |= {f"{name(path)}.{part}": tensor for part, tensor in parts.items()}
    return tensors, deltas


def kohya_name(prefix: str) -> Callable[[str], str]:
    return lambda path: f"{prefix}_{path.replace('.', '_')}"


def made_of_original(
    kind: str, module: nn.Module, parts: Mapping[str, tuple[str, ...]], name: Callable[[str], str]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The same, of layers of the original model, each of which has the outputs of several of diffusers'."""
    named = dict(module.named_parameters())
    layers = {original: [named[f"{part}.weight"] for part in own] for original, own in parts.items()}
    shapes = {original: torch.Size((sum(map(len, w)), *w[0].shape[1:])) for original, w in layers.items()}
    tensors, deltas = made(kind, shapes, name)
    rows = {original: torch.split(delta, list(map(len, layers[original]))) for original, delta in deltas.items()}
    return tensors, {
        part: row for original, own in parts.items() for part, row in zip(own, rows[original], strict=True)
    }


def add(module: nn.Module, deltas: Tensors, scale: float = 1.0) -> None:
    """Change the weights as the file would."""
    named = dict(module.named_parameters())
    for path, delta in deltas.items():
        named[f"{path}.weight"].data += scale * delta
