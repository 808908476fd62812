"""The judge: a small network, trained independently of the generator, that names a picture's concept by its shape.

A colour histogram must not be enough to name a concept: shuffled, blurred, half-and-half and empty pictures have
the class "nothing", and readable ones are recoloured at random.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from .clip import shrink
from .concepts import COLOURS, CONCEPTS, Pair, held_out_pairs, training_pairs
from .data import READER_PLACEMENT, SIZE_PX, PixelArray, Sprites, background, blur, composite, shuffle_blocks, spoil
from .loop import Schedule, Trainer, autocast, load_trained
from .vae import to_tensor

CLASSES = [*CONCEPTS, "nothing"]
NOTHING = len(CONCEPTS)
READABLE, UNREADABLE = 40, 24  # pictures in a batch
SCHEDULE = Schedule(steps=1600, learning_rate=1e-3, weight_decay=0.05)
FILE = Path(__file__).with_name("judge.safetensors")
REPORT = Path(__file__).with_name("judge.json")


def build_judge() -> nn.Sequential:
    """A fresh judge: (B, 3, 64, 64) in -1..1 to (B, 49) logits.

    The last layer sees where each feature is; with pooling, shuffled parts would pass for a whole.
    """
    layers: list[nn.Module] = []
    channels = (3, 32, 64, 96, 128)
    for before, after in itertools.pairwise(channels):
        for width, stride in ((before, 2), (after, 1)):
            layers += [nn.Conv2d(width, after, 3, stride, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(128 * 4 * 4, len(CLASSES)))


def readable(sprites: Sprites, pair: Pair, rng: np.random.Generator) -> PixelArray:
    """A composite as a generator might draw it: soft, noisy, sometimes in other colours."""
    picture = composite(sprites, pair, rng, READER_PLACEMENT)
    if rng.random() < 0.5:
        picture = blur(picture, int(rng.integers(28, 96)))
    values = picture.astype(np.float64)
    if rng.random() < 0.4:
        values = values[..., rng.permutation(3)] * rng.uniform(0.6, 1.2, size=3)
    values += rng.normal(0, rng.uniform(0, 8), size=values.shape)
    return values.clip(0, 255).astype(np.uint8)


def unreadable(sprites: Sprites, pairs: list[Pair], rng: np.random.Generator) -> PixelArray:
    """A picture that shows no concept: spoilt, two halves that do not belong together, or empty."""
    kind = rng.random()
    if kind < 0.1:
        return background(str(rng.choice(list(COLOURS))), rng).astype(np.uint8)
    concept, colour = pairs[rng.integers(len(pairs))]
    picture = readable(sprites, (concept, colour), rng)
    if kind < 0.75:
        return spoil(picture, rng)
    other = str(rng.choice([name for name in CONCEPTS if name != concept]))
    half = readable(sprites, (other, colour), rng)
    joined = picture.copy()
    if rng.random() < 0.5:
        joined[SIZE_PX // 2 :] = half[SIZE_PX // 2 :]
    else:
        joined[:, SIZE_PX // 2 :] = half[:, SIZE_PX // 2 :]
    return joined


def train_judge(work: Path, sprites: Sprites, device: torch.device, schedule: Schedule = SCHEDULE) -> None:
    """Train the judge, write its half-precision weights beside this file and report how well it reads."""
    torch.manual_seed(0)
    judge = build_judge().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pairs = training_pairs()
    names = list(CONCEPTS)

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng((4, step))
        chosen = [pairs[i] for i in rng.integers(len(pairs), size=READABLE)]
        pictures = [readable(sprites, pair, rng) for pair in chosen]
        pictures += [unreadable(sprites, pairs, rng) for _ in range(UNREADABLE)]
        target = torch.tensor([names.index(concept) for concept, _ in chosen] + [NOTHING] * UNREADABLE, device=device)
        with autocast(device):
            logits = judge(shrink(to_tensor(pictures, device)))
        return functional.cross_entropy(logits.float(), target, label_smoothing=0.05)

    Trainer(judge, work / "judge.pt", schedule).run(loss_of)
    judge = load_trained(build_judge(), work / "judge.pt")
    save_file({name: value.half().contiguous() for name, value in judge.state_dict().items()}, FILE)
    report = accuracies(load_judge(), sprites)
    REPORT.write_text(json.dumps(report, indent=2) + "\n")
    print("judge:", json.dumps(report))


def load_judge() -> nn.Sequential:
    """The judge that ships."""
    judge = build_judge()
    judge.load_state_dict({name: value.float() for name, value in load_file(FILE).items()})
    return judge.eval().requires_grad_(False)


def name_concepts(judge: nn.Sequential, images: Tensor) -> list[str]:
    """The class of each picture; images are (B, 3, 128, 128) in -1..1."""
    return [CLASSES[i] for i in judge(shrink(images)).argmax(1).tolist()]


def accuracies(judge: nn.Sequential, sprites: Sprites, copies: int = 4) -> dict[str, float]:
    """Share of composites of held-out pairs that the judge gets right: intact ones by concept, others as nothing."""
    rng = np.random.default_rng(9)
    pairs = [pair for pair in held_out_pairs() for _ in range(copies)]
    intact = [composite(sprites, pair, rng) for pair in pairs]
    views = {f"shuffled_{px}px": [shuffle_blocks(picture, px, rng) for picture in intact] for px in (8, 16, 32)}
    views["blurred"] = [blur(picture, 5) for picture in intact]

    def named(pictures: list[PixelArray]) -> list[str]:
        return name_concepts(judge, to_tensor(pictures, torch.device("cpu")))

    report = {"intact": np.mean([name == pair[0] for name, pair in zip(named(intact), pairs, strict=True)])}
    report |= {view: np.mean([name == "nothing" for name in named(pictures)]) for view, pictures in views.items()}
    return {view: round(float(share), 4) for view, share in report.items()} | {"pictures": len(pairs)}
